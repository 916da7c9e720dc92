"""What a start does to a SQLite database before serving: put back what ran, index what memory will not know."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace

from gearstore.queue.job import HELD, QUEUED, RUNNING, Reason, coalescing_key
from gearstore.store.base import UNSTORED, Holds, Recovered, packed_entries, unique_hash
from gearstore.store.reader import recovered
from gearstore.store.reserve import MOVED_IN

LATER = 150_000  # entries that are made while the server runs, the front of two queues: 20 MB of memory until then
MOST = 500_000  # entries that are sorted at once
FRONT = (
    "INSERT INTO temp.fronts SELECT gearstore_hash(\"unique\", iif(\"unique\" = x'2d', workload, x'')) >> 32, id "
    "FROM jobs WHERE id IN (SELECT id FROM (SELECT id, position FROM jobs "
    f"WHERE state = {QUEUED:d} AND function_id = ? AND priority = ? ORDER BY position LIMIT ?) "
    "WHERE position >= (SELECT value FROM meta WHERE name = 'hashed_below')) "
    "AND unique_hash IS NULL AND \"unique\" <> x''"
)

INTERRUPTED = Reason.INTERRUPTED.decode()


def recover(
    connection: sqlite3.Connection, prefix: bytes, max_interruptions: int, window: int, holds: Holds
) -> Recovered:
    """Do all of it in one transaction, see `Store.open`."""
    execute = connection.execute
    execute("BEGIN IMMEDIATE")
    execute(MOVED_IN)
    interrupted, held = _put_back(connection, max_interruptions, holds)
    _enter_fronts(connection, _largest_window(connection, window) + interrupted + UNSTORED)
    _note_prefix(connection, prefix)
    execute("UPDATE meta SET value = 0 WHERE name = 'clean'")
    execute("COMMIT")
    return replace(recovered(connection), interrupted=interrupted, held=held)


def _put_back(connection: sqlite3.Connection, max_interruptions: int, holds: Holds) -> tuple[int, int]:
    """Queue what ran when the server ended, in its old place; hold what was interrupted too often, and what the
    policy of its function holds. Return how many were queued and held."""
    execute = connection.execute
    connection.create_function("gearstore_holds", 1, lambda name: int(holds(name)))
    execute(f"CREATE TEMP TABLE ran AS SELECT id FROM jobs WHERE state = {RUNNING:d}")
    execute(
        "INSERT INTO events (job_id, at, kind, started_at, worker, detail, next_at) "
        f"SELECT id, ?, CAST('{INTERRUPTED}' AS BLOB), started_at, worker, x'', 0 FROM jobs "
        "WHERE id IN (SELECT id FROM temp.ran)",
        (int(time.time() * 1000),),
    )
    _count(connection, -1)
    execute(
        f"UPDATE jobs SET interruptions = interruptions + 1, reason = CAST('{INTERRUPTED}' AS BLOB), state = "
        "iif(interruptions + 1 > ? OR gearstore_holds((SELECT name FROM functions WHERE functions.id = function_id)), "
        f"{HELD:d}, {QUEUED:d}) WHERE id IN (SELECT id FROM temp.ran)",
        (max_interruptions,),
    )
    _count(connection, 1)
    (ran, held) = execute(
        f"SELECT count(*), total(state = {HELD:d}) FROM jobs WHERE id IN (SELECT id FROM temp.ran)"
    ).fetchone()
    execute("DROP TABLE temp.ran")
    return ran - int(held), int(held)


def _count(connection: sqlite3.Connection, sign: int) -> None:
    """Add or take away what ran in the counts of the states that it is in now."""
    connection.execute(
        "INSERT INTO counts (function_id, state, priority, jobs, bytes) "
        "SELECT function_id, state, priority, count(*) * ?1, sum(length(workload) + length(result)) * ?1 FROM jobs "
        "WHERE id IN (SELECT id FROM temp.ran) GROUP BY function_id, state, priority "
        "ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, bytes = bytes + excluded.bytes",
        (sign,),
    )


def _enter_fronts(connection: sqlite3.Connection, window: int) -> None:
    """Let coalescing find the queued jobs that were in memory, and have no hash: they are in front of each queue. Few
    are entered while the server runs, many at once. Their rows stay as they are; below which number all are entered is
    noted, so that the next start has little to do."""
    connection.create_function("gearstore_hash", 2, _hash_of_row, deterministic=True)
    execute = connection.execute
    execute("CREATE TEMP TABLE fronts (hash INTEGER, job_id INTEGER)")
    entries = 0
    for function_id, priority in execute(
        f"SELECT function_id, priority FROM counts WHERE jobs <> 0 AND state = {QUEUED:d}"
    ).fetchall():
        entries += execute(FRONT, (function_id, priority, window)).rowcount
        if entries > MOST:
            _enter_at_once(connection)
            entries = 0
    if entries > LATER:
        _enter_at_once(connection)
    fronts = execute("SELECT hash, job_id FROM temp.fronts")
    while some := fronts.fetchmany(1024):
        execute("INSERT INTO uniques_log (entries) VALUES (?)", (packed_entries(some),))
    execute("DROP TABLE temp.fronts")
    execute("UPDATE meta SET value = (SELECT value FROM meta WHERE name = 'next_id') WHERE name = 'hashed_below'")


def _enter_at_once(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT OR IGNORE INTO uniques SELECT hash, job_id FROM temp.fronts ORDER BY hash")
    connection.execute("DELETE FROM temp.fronts")


def _largest_window(connection: sqlite3.Connection, window: int) -> int:
    """Return how many jobs of a queue the last server may have had in memory, and note how many this one may."""
    (before,) = connection.execute("SELECT value FROM meta WHERE name = 'window'").fetchone()
    connection.execute("UPDATE meta SET value = ? WHERE name = 'window'", (window,))
    return max(int(before), window)


def _hash_of_row(unique: bytes, workload: bytes) -> int | None:
    key = coalescing_key(unique, workload)
    return unique_hash(key) if key else None


def _note_prefix(connection: sqlite3.Connection, prefix: bytes) -> None:
    """Handles of jobs from now on begin with the prefix; those of older ones never change."""
    execute = connection.execute
    last = execute("SELECT prefix FROM prefixes ORDER BY first_id DESC LIMIT 1").fetchone()
    if last is None or last[0] != prefix:
        (next_id,) = execute("SELECT value FROM meta WHERE name = 'next_id'").fetchone()
        execute("INSERT OR REPLACE INTO prefixes (first_id, prefix) VALUES (?, ?)", (next_id if last else 0, prefix))
