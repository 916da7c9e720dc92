"""Whether a database is whole and keeps the queue's own rules. One look at one state of it; nothing is repaired.

A rule is a row of one of two tables. What a rule finds is said in one sentence that names the handle.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gearstore.queue.job import DELAYED, ENDED, FAILED, LIVE, MAX_FUNCTION, QUEUED, JobState, coalescing_key
from gearstore.queue.names import handle_of
from gearstore.store.base import checksum, unique_hash, unpacked_entries

FINDINGS = 20  # of one rule that are told one by one

NONE = 1_000_000_000_000  # "not yet" in started_at and ended_at, see 0001_initial.sql


def among(states: tuple[JobState, ...]) -> str:
    """Return the SQL list of some states."""
    return f"({', '.join(str(int(state)) for state in states)})"


class Finding(NamedTuple):
    """What is wrong; handle is b"" where it is no single job."""

    rule: str
    handle: bytes
    sentence: str


class JobRule(NamedTuple):
    """What no row of `jobs` may be: a condition in SQL and its sentence."""

    wrong: str
    sentence: str


# Looked at together, in one pass over all jobs.
JOB_RULES = {
    "checksum": JobRule(
        'gearstore_checksum("unique", reducer, workload) <> checksum',
        "its unique, reducer or workload was altered on disk: it will be held, never handed out",
    ),
    "function": JobRule("function_id NOT IN (SELECT id FROM functions)", "its function is not there"),
    "state": JobRule(f"state NOT BETWEEN 0 AND {max(JobState):d}", "its state is none"),
    "priority": JobRule("priority NOT BETWEEN 0 AND 2", "its priority is none"),
    "number": JobRule("id < 1 OR id >= next_id", "its number is not among those given out: it may be given out again"),
    "position": JobRule(
        "position < 1 OR position >= next_id", "its place in the queue is not among those given out: order is at stake"
    ),
    "time": JobRule(
        f"created_at <= 0 OR (state = {DELAYED:d} AND run_at <= 0) "
        f"OR (state IN {among(ENDED)} AND ended_at IN (0, {NONE}))",
        "a time that belongs to its state is missing",
    ),
    "counter": JobRule("attempts < 0 OR interruptions < 0 OR result_size < 0", "one of its counters is below zero"),
    "result": JobRule("length(result) > 0 AND length(result) <> result_size", "its result is not as long as it was"),
    "hash": JobRule(
        f'state IN {among(LIVE)} AND unique_hash IS NOT NULL AND unique_hash IS NOT gearstore_hash("unique", workload)',
        "the hash of its unique is another's: a job with the same unique would not join it",
    ),
    "unhashed": JobRule(
        f"state = {DELAYED:d} AND \"unique\" <> x'' AND unique_hash IS NULL",
        "the hash of its unique is missing: a job with the same unique would not join it",
    ),
    "copy": JobRule("replay_of < 0 OR replay_of >= id", "it calls itself a copy of a job that came later"),
    "original": JobRule("replayed_as <> 0 AND replayed_as <= id", "it names a copy that came before it"),
    "cause": JobRule(
        f"cause <> 0 AND (state <> {FAILED:d} OR cause NOT IN (SELECT id FROM causes))",
        "the cause of its failure is not there, or it has not failed",
    ),
}

# Each a query of its own: the number of a job or NULL, then what its sentence names.
QUERIES: dict[str, tuple[str, str]] = {
    "place": (
        f"SELECT max(id), min(id) FROM jobs WHERE state = {QUEUED:d} "
        "GROUP BY function_id, priority, position HAVING count(*) > 1",
        "it has the same place in its queue as number {}",
    ),
    "unique": (
        f"SELECT max(id), min(id), count(*) FROM jobs WHERE state IN {among(LIVE)} AND \"unique\" <> x'' "
        'GROUP BY function_id, gearstore_key("unique", workload) HAVING count(*) > 1',
        "its unique waits or runs as number {} too ({} jobs in all): it may be worked on twice",
    ),
    "entry": (
        f"SELECT id FROM jobs WHERE state IN {among(LIVE)} AND \"unique\" <> x'' AND (unique_hash IS NOT NULL "
        "OR position < (SELECT value FROM meta WHERE name = 'hashed_below')) AND NOT EXISTS (SELECT 1 FROM uniques "
        'WHERE hash = gearstore_hash("unique", workload) >> 32 AND job_id = jobs.id) '
        'AND NOT gearstore_logged(gearstore_hash("unique", workload) >> 32, id)',
        "its unique is not where a look-up would find it: a job with the same unique would not join it",
    ),
    "log": (
        "SELECT NULL, id FROM uniques_log WHERE length(entries) = 0 OR length(entries) % 16 <> 0",
        "row number {} of the uniques that are to be entered is cut short",
    ),
    "counts": (
        "SELECT NULL, coalesce(a.function_id, b.function_id), coalesce(a.state, b.state), "
        "coalesce(a.priority, b.priority), coalesce(b.jobs, 0), coalesce(b.bytes, 0), "
        "coalesce(a.jobs, 0), coalesce(a.bytes, 0) FROM "
        "(SELECT function_id, state, priority, count(*) AS jobs, sum(length(workload) + length(result)) AS bytes "
        "FROM jobs GROUP BY 1, 2, 3) AS a FULL JOIN "
        "(SELECT * FROM counts WHERE jobs <> 0 OR bytes <> 0) AS b USING (function_id, state, priority) "
        "WHERE a.jobs IS NOT b.jobs OR a.bytes IS NOT b.bytes",
        "function number {}, state {}, priority {}: {} jobs of {} bytes are counted, {} of {} bytes are there",
    ),
    "event": (
        "SELECT job_id, id FROM events WHERE job_id NOT IN (SELECT id FROM jobs)",
        "event number {} happened to it, and it is not there",
    ),
    "steering": (
        "SELECT NULL, id FROM functions WHERE paused_at < 0 OR paused_until < 0 "
        "OR (paused_until > 0 AND paused_at = 0) OR min(max_high, max_normal, max_low) < -1",
        "the pause or the limits of function number {} make no sense",
    ),
    "import": (
        "SELECT NULL, job_id FROM imported WHERE job_id < 1 "
        "OR job_id >= (SELECT value FROM meta WHERE name = 'next_id')",
        "number {} is noted as imported and was never given out",
    ),
    "counted function": (
        "SELECT NULL, function_id FROM counts WHERE jobs <> 0 AND function_id NOT IN (SELECT id FROM functions)",
        "jobs of function number {} are counted, which is not there",
    ),
    "function name": (
        f"SELECT NULL, id, length(name) FROM functions WHERE length(name) > {MAX_FUNCTION}",
        "the name of function number {} is {} bytes long",
    ),
    "meta": (
        "SELECT NULL, column1 FROM (VALUES ('next_id'), ('clean'), ('paused_at'), "
        "('paused_until'), ('hashed_below'), ('window')) WHERE column1 NOT IN (SELECT name FROM meta)",
        "{} is missing in meta",
    ),
    "prefix": (
        "SELECT NULL, count(*) FROM prefixes HAVING count(*) > 0 AND min(first_id) <> 0",
        "the first of {} handle prefixes does not begin at number 0",
    ),
}


def check(connection: sqlite3.Connection, telling: Callable[[str], None]) -> Iterator[Finding]:
    """Yield what is wrong with a snapshot; `telling` hears what is looked at.

    A damaged page ends the look by one rule, not by the others.
    """
    prepare(connection)
    handle = handles(connection)
    telling("the pages of the file")
    for (problem,) in attempt(connection, f"PRAGMA integrity_check({FINDINGS})"):
        if problem != "ok":
            yield Finding("integrity", b"", f"SQLite says: {problem}")
    telling("the jobs")
    found = dict.fromkeys(JOB_RULES, 0)
    for id, *wrong in attempt(connection, job_query()):
        if isinstance(id, str):
            yield Finding("jobs", b"", id)
            continue
        for rule in (rule for rule, is_wrong in zip(JOB_RULES, wrong, strict=True) if is_wrong):
            found[rule] += 1
            if found[rule] <= FINDINGS:
                yield Finding(rule, handle(id), JOB_RULES[rule].sentence)
    for rule, (sql, sentence) in QUERIES.items():
        telling(rule)
        for id, *values in attempt(connection, sql):
            found[rule] = found.get(rule, 0) + 1
            if found[rule] <= FINDINGS:
                named = handle(id) if isinstance(id, int) else b""
                yield Finding(rule, named, id if isinstance(id, str) else sentence.format(*values))
    for rule, count in found.items():
        if count > FINDINGS:
            yield Finding(rule, b"", f"and {count - FINDINGS} more like these")


def job_query() -> str:
    """Return the one query that looks at every job by every rule."""
    terms = ", ".join(f"ifnull({rule.wrong}, 0) AS r{number}" for number, rule in enumerate(JOB_RULES.values()))
    some = " OR ".join(f"r{number}" for number in range(len(JOB_RULES)))
    next_id = "(SELECT value AS next_id FROM meta WHERE name = 'next_id')"
    return f"SELECT * FROM (SELECT id, {terms} FROM jobs, {next_id}) WHERE {some}"


def attempt(connection: sqlite3.Connection, sql: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query; an error of SQLite is one more row, which holds its sentence."""
    try:
        yield from connection.execute(sql)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise
        yield (f"cannot be looked at to the end ({error})",)


def prepare(connection: sqlite3.Connection) -> None:
    """Let SQL ask for checksums, keys and what is still to be entered."""

    def hash_of(unique: bytes, workload: bytes) -> int | None:
        return unique_hash(key) if (key := coalescing_key(unique, workload)) else None

    rows = attempt(connection, "SELECT entries FROM uniques_log WHERE length(entries) % 16 = 0")
    logged = {entry for (entries,) in rows if isinstance(entries, bytes) for entry in unpacked_entries(entries)}
    for name, arguments, function in (
        ("gearstore_checksum", 3, checksum),
        ("gearstore_key", 2, coalescing_key),
        ("gearstore_hash", 2, hash_of),
        ("gearstore_logged", 2, lambda hash, id: (hash, id) in logged),
    ):
        connection.create_function(name, arguments, function, deterministic=True)


def handles(connection: sqlite3.Connection) -> Callable[[int], bytes]:
    """Return the function that names a job by its number."""
    try:
        prefixes = connection.execute("SELECT first_id, prefix FROM prefixes ORDER BY first_id").fetchall()
    except sqlite3.DatabaseError:
        prefixes = []
    return lambda id: handle_of(prefixes or [(0, b"number ")], id)
