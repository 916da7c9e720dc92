"""What must hold in a database whatever happened to its server: faults in plain words, none if all is well."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gearstore.queue.job import CANCELLED, DELAYED, DONE, FAILED, QUEUED, RUNNING, coalescing_key
from gearstore.store.base import checksum

LIVE = f"({QUEUED:d}, {DELAYED:d}, {RUNNING:d})"
ENDED = f"({DONE:d}, {FAILED:d}, {CANCELLED:d})"

# Each query finds rows that must not be there.
RULES = {
    "counts differ from the rows": """
        SELECT coalesce(c.function_id, r.function_id), coalesce(c.state, r.state), coalesce(c.priority, r.priority),
            c.jobs, r.jobs, c.bytes, r.bytes
        FROM (SELECT * FROM counts WHERE jobs <> 0 OR bytes <> 0) AS c FULL JOIN (
            SELECT function_id, state, priority, count(*) AS jobs, sum(length(workload) + length(result)) AS bytes
            FROM jobs GROUP BY function_id, state, priority
        ) AS r USING (function_id, state, priority) WHERE c.jobs IS NOT r.jobs OR c.bytes IS NOT r.bytes""",
    "an event of no job": "SELECT id, job_id FROM events WHERE job_id NOT IN (SELECT id FROM jobs)",
    "a job of no function": "SELECT id FROM jobs WHERE function_id NOT IN (SELECT id FROM functions)",
    "two jobs in one place of the queue": f"""
        SELECT position, group_concat(id) FROM jobs WHERE state = {QUEUED:d} GROUP BY position HAVING count(*) > 1""",
    "a newest copy that is not one": """
        SELECT o.id, o.replayed_as FROM jobs AS o JOIN jobs AS c ON c.id = o.replayed_as WHERE c.replay_of <> o.id""",
    "a copy that its original doesn't know": """
        SELECT c.id, o.id, o.replayed_as FROM jobs AS c JOIN jobs AS o ON o.id = c.replay_of
        WHERE o.replayed_as < c.id OR NOT EXISTS (
            SELECT 1 FROM events WHERE job_id = o.id AND kind = CAST('replay' AS BLOB)
            AND CAST(CAST(detail AS TEXT) AS INTEGER) = c.id)""",
    "a cause without a failure, or a failure without one": f"""
        SELECT id, state, cause FROM jobs WHERE (state = {FAILED:d}) <> (cause <> 0)""",
    "a cause that has no text": "SELECT id FROM jobs WHERE cause <> 0 AND cause NOT IN (SELECT id FROM causes)",
    "an end without a time": f"""
        SELECT id, state, ended_at FROM jobs WHERE state IN {ENDED} AND ended_at IN (0, 1000000000000)""",
    "a time that is waited for, without one": f"SELECT id FROM jobs WHERE state = {DELAYED:d} AND run_at = 0",
}


def faults(path: Path) -> list[str]:
    """Return what is wrong in a database; its server may run, with everything on disk."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        found = [f"{rule}: {row}" for rule, query in RULES.items() for row in connection.execute(query)]
        return found + list(faults_of_bytes(connection))


def faults_of_bytes(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield jobs whose bytes were altered, and live jobs that should be one."""
    twins: Counter[tuple[int, bytes]] = Counter()
    rows = connection.execute(
        f'SELECT id, function_id, "unique", reducer, workload, checksum, state IN {LIVE} FROM jobs'
    )
    for id, function, unique, reducer, workload, stored, live in rows:
        if checksum(unique, reducer, workload) != stored:
            yield f"altered bytes: {id}"
        if live and unique:
            twins[function, coalescing_key(unique, workload)] += 1
    yield from (f"{number} live jobs of one unique: {key}" for key, number in twins.items() if number > 1)


def states(path: Path) -> dict[int, int]:
    """Return the state of every job."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT id, state FROM jobs"))
