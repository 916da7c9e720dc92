"""What only reads the database: half of the server's store, and all of whoever looks at a file without a server.

Everything goes through aiosqlite on a read-only connection of its own, so that a long listing never delays a commit.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import aiosqlite

from gearstore.errors import StoreError, StoreFull, StoreUnusable
from gearstore.queue.history import Bounds, Ended, Total
from gearstore.queue.job import CANCELLED, DELAYED, DONE, FAILED, QUEUED, RUNNING, coalescing_key
from gearstore.queue.ports import Event
from gearstore.queue.record import FunctionRecord, Record
from gearstore.store.base import CLAIM_BYTES, Failure, Filter, Recovered, checksum, unique_hash, unpacked_entries
from gearstore.store.migrations import available

TRANSIENT = {sqlite3.SQLITE_FULL: "the disk is full", sqlite3.SQLITE_BUSY: "another program has locked the database"}

BYTES = ('"unique"', "workload", "reducer", "worker", "reason", "error", "result", "client")
TERMS = (
    *("id", "function_id", "priority", "state", "position", *BYTES[:3], "run_at", "attempts", "interruptions"),
    *("created_at", "iif(started_at = 1000000000000, 0, started_at)", "iif(ended_at = 1000000000000, 0, ended_at)"),
    *(*BYTES[3:7], "result_size", "replay_of", BYTES[7], "cause", "replayed_as"),
    *("unique_hash IS NOT NULL", "checksum"),
)
COLUMNS = ", ".join(TERMS)
# (One that runs may have waited when its unique was asked for.)
LIVE = (
    f"SELECT {COLUMNS} FROM jobs WHERE id = ? AND state IN ({QUEUED:d}, {DELAYED:d}, {RUNNING:d}) AND function_id = ?"
)
LIVE_OF = (
    f"SELECT {COLUMNS} FROM jobs WHERE "
    f"id IN (SELECT job_id FROM uniques WHERE hash = ? UNION ALL SELECT value FROM json_each(?)) "
    f"AND state IN ({QUEUED:d}, {DELAYED:d}) AND function_id = ?"
)

# A claim is one row: each further one would have to wait for the GIL while the loop is busy (benchmarks/README.md,
# "claim"). What is bytes comes as its length, and all bytes one after the other.
NUMBERS = ", ".join(f"length({term})" if term in BYTES else term for term in TERMS)
DATA = f"CAST(group_concat({' || '.join(BYTES)}, '') AS BLOB)"
CLAIM = f"SELECT json_group_array(json_array({NUMBERS})), {DATA} FROM (SELECT * FROM jobs WHERE {{}})"
SIZES = (
    "SELECT json_group_array(length(workload) + length(error) + length(result)) "
    "FROM (SELECT workload, error, result FROM jobs WHERE {})"
)
PLACES = tuple(place for place, term in enumerate(TERMS) if term in BYTES)

MOST_ROWS = 3  # states up to this one have no index by state alone
FUNCTIONS = "SELECT id, name, paused_at, paused_until, max_high, max_normal, max_low FROM functions"
EVENTS = "SELECT job_id, at, kind, started_at, worker, detail, next_at FROM events"
FAILURES = (
    "SELECT f.cause, causes.reason, causes.text, f.function_id, f.jobs, f.first, f.last "
    "FROM (SELECT cause, function_id, count(*) AS jobs, min(ended_at) AS first, max(ended_at) AS last FROM jobs "
    "WHERE cause <> 0 {among} GROUP BY cause, function_id) AS f JOIN causes ON causes.id = f.cause"
)

# A page of a walk over all jobs. Each result is one row: every further one would have to wait for the GIL.
PAGE_END = "SELECT max(id) FROM (SELECT id FROM jobs WHERE id > ? ORDER BY id LIMIT ?)"
SURVEY = (
    "SELECT json_group_array(json_array(function_id, state, until, jobs, bytes)) FROM (SELECT function_id, state, "
    "(ended_at / 1000 + 1) * 1000 AS until, count(*) AS jobs, sum(length(workload) + length(result)) AS bytes "
    f"FROM jobs NOT INDEXED WHERE id > ? AND id <= ? AND state IN ({DONE:d}, {FAILED:d}, {CANCELLED:d}) "
    "GROUP BY function_id, state, until)"
)
PRUNABLE = (
    "SELECT json_group_array(json_array(id, function_id, state, ended_at, length(workload) + length(result))) "
    "FROM jobs NOT INDEXED WHERE id > ? AND id <= ? "
    f"AND (state IN ({DONE:d}, {CANCELLED:d}) AND ended_at < {{}} OR state = {FAILED:d} AND ended_at < {{}})"
)
TOTALS = (
    "SELECT function_id, state, 0, sum(jobs), sum(bytes) FROM counts "
    f"WHERE state IN ({DONE:d}, {FAILED:d}, {CANCELLED:d}) GROUP BY function_id, state"
)


class Reader:
    """The reading verbs of `Store` on one SQLite file; the connection is made with the first of them."""

    def __init__(self, path: str) -> None:
        self.path: str | None = str(Path(path).resolve())
        self._file = str(self.path)
        self._uri = f"{Path(self._file).as_uri()}?mode=ro"
        self._first = "PRAGMA query_only = ON"  # the first statement of the connection
        self._connection: asyncio.Task[aiosqlite.Connection] | None = None
        self._reading = asyncio.Lock()

    async def _rows(self, sql: str, parameters: Iterable[Any]) -> list[Any]:
        async with self._reading:
            try:
                if self._connection is None or (self._connection.done() and self._connection.exception()):
                    self._connection = asyncio.create_task(self._connect())
                # Shielded: who gives up waiting must not leave a connection behind that nobody closes.
                connection = await asyncio.shield(self._connection)
                return list(await connection.execute_fetchall(sql, parameters))
            except sqlite3.Error as error:
                raise translated(self._file, error) from error

    async def _connect(self) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self._uri, uri=True)
        try:
            await connection.execute(self._first)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def stop_reading(self) -> None:
        """Close the connection; another verb would open it again."""
        async with self._reading:
            opening, self._connection = self._connection, None
            if opening is not None:
                with suppress(sqlite3.Error):  # (then there is nothing to close)
                    await (await opening).close()

    async def claim(self, function_id: int, priority: int, after: int, limit: int) -> list[Record]:
        """See `Store`."""
        return await self._page(
            f"state = {QUEUED:d} AND function_id = ? AND priority = ? AND position > ? ORDER BY position",
            (function_id, priority, after),
            limit,
        )

    async def claim_delayed(self, after: tuple[int, int], limit: int) -> list[Record]:
        """See `Store`."""
        return await self._page(f"state = {DELAYED:d} AND (run_at, id) > (?, ?) ORDER BY run_at, id", after, limit)

    async def _page(self, condition: str, parameters: tuple[int, ...], limit: int) -> list[Record]:
        """Return the next rows, as many as memory can take."""
        condition = f"{condition} LIMIT ?"
        ((found,),) = await self._rows(SIZES.format(condition), (*parameters, limit))
        sizes = json.loads(found)
        if sum(sizes) > CLAIM_BYTES:
            limit = next(number for number, total in enumerate(accumulate(sizes), 1) if total >= CLAIM_BYTES)
        ((found, data),) = await self._rows(CLAIM.format(condition), (*parameters, limit))
        return unpacked(json.loads(found), data or b"")

    async def find(self, wanted: Filter, newest: bool, before: int | None, limit: int) -> list[Record]:
        """See `Store`."""
        conditions, parameters = conditions_of(wanted)
        if before is not None:
            conditions.append("id < ?" if newest else "id > ?")
            parameters.append(before)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        order = "DESC" if newest else "ASC"
        rows = await self._rows(f"SELECT {COLUMNS} FROM jobs {where} ORDER BY id {order} LIMIT ?", [*parameters, limit])
        return [record_of(row) for row in rows]

    async def find_live(self, function_id: int, key: bytes) -> Record | None:
        """See `Store`."""
        hash = unique_hash(key) >> 32
        logged = await self._logged(hash)  # before the table, which has what is entered meanwhile
        return match(await self._rows(LIVE_OF, (hash, json.dumps(logged), function_id)), key)

    def may_know(self, hash: int) -> bool:
        """See `Store`."""
        return True

    async def _logged(self, hash: int) -> list[int]:
        """Return the jobs with this hash that are not entered in the table."""
        rows = await self._rows("SELECT entries FROM uniques_log", ())
        return [job for (entries,) in rows for each, job in unpacked_entries(entries) if each == hash]

    async def events(self, ids: Sequence[int]) -> dict[int, list[Event]]:
        """See `Store`."""
        found: dict[int, list[Event]] = {}
        for row in await self._rows(f"{EVENTS} WHERE job_id IN ({_listed(ids)}) ORDER BY id", ()):
            found.setdefault(row[0], []).append(Event._make(row))
        return found

    async def failures(self, function_ids: Sequence[int] | None) -> list[Failure]:
        """See `Store`."""
        among = "" if function_ids is None else f"AND function_id IN ({_listed(function_ids)})"
        rows = await self._rows(FAILURES.format(among=among), ())
        return [Failure._make(row) for row in rows]

    async def causes(self, low: int, high: int) -> list[int]:
        """See `Store`."""
        return [id for (id,) in await self._rows("SELECT id FROM causes WHERE id BETWEEN ? AND ?", (low, high))]

    async def imported(self, keys: Sequence[int]) -> dict[int, int]:
        """See `Store`."""
        return dict(await self._rows(f"SELECT key, job_id FROM imported WHERE key IN ({_listed(keys)})", ()))

    async def origin(self, id: int) -> bytes:
        """See `Store`."""
        rows = await self._rows("SELECT origin FROM imported WHERE job_id = ? ORDER BY key LIMIT 1", (id,))
        return bytes(rows[0][0]) if rows else b""

    async def totals(self) -> list[Total]:
        """See `Store`."""
        return [Total._make(row) for row in await self._rows(TOTALS, ())]

    async def survey(self, after: int, limit: int) -> tuple[list[Total], int | None]:
        """See `Store`."""
        ((last,),) = await self._rows(PAGE_END, (after, limit))
        if last is None:
            return [], None
        ((found,),) = await self._rows(SURVEY, (after, last))
        return [Total._make(row) for row in json.loads(found)], last

    async def prunable(self, bounds: tuple[Bounds, Bounds], after: int, limit: int) -> tuple[list[Ended], int | None]:
        """See `Store`."""
        ((last,),) = await self._rows(PAGE_END, (after, limit))
        if last is None:
            return [], None
        ((found,),) = await self._rows(PRUNABLE.format(*map(_bound_of, bounds)), (after, last))
        return [Ended._make(row) for row in json.loads(found)], last


def _bound_of(bounds: Bounds) -> str:
    """Return the bound of a row's function as an SQL term."""
    idle = [id for id, before in bounds.own.items() if not before] if bounds.others else []
    arms = [f"WHEN function_id IN ({_listed(idle)}) THEN 0"] if idle else []
    arms += [f"WHEN function_id = {id:d} THEN {before:d}" for id, before in bounds.own.items() if before]
    return f"CASE {' '.join(arms)} ELSE {bounds.others:d} END" if arms else f"{bounds.others:d}"


def refuse_newer(file: str, connection: sqlite3.Connection) -> int:
    """Return the number of the schema, 0 for a new file; raise StoreUnusable if this program doesn't know it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    newest = available("sqlite")[-1][0]
    if version > newest:
        raise StoreUnusable(
            f"{file} was written by a newer gearstore (schema {version}, this program knows {newest}): "
            "install that version or choose another file with --db"
        )
    return int(version)


def recovered(connection: sqlite3.Connection) -> Recovered:
    """Return what a start needs to know."""
    execute = connection.execute
    meta = dict(execute("SELECT name, value FROM meta").fetchall())
    return Recovered(
        functions=[FunctionRecord._make(row) for row in execute(FUNCTIONS)],
        counts=execute("SELECT function_id, state, priority, jobs, bytes FROM counts WHERE jobs <> 0").fetchall(),
        prefixes=execute("SELECT first_id, prefix FROM prefixes ORDER BY first_id").fetchall(),
        next_id=meta["next_id"],
        paused=(meta["paused_at"], meta["paused_until"]),
    )


def record_of(row: Sequence[Any]) -> Record:
    """Return the record of a row of COLUMNS."""
    values, stored = row[:-1], row[-1]
    record = Record._make((*values, True))
    if checksum(record.unique, record.reducer, record.workload) != stored:
        return record._replace(intact=False)
    return record


def unpacked(rows: list[list[Any]], data: bytes) -> list[Record]:
    """Return the records of a CLAIM, whose rows have lengths where records have bytes."""
    start = 0
    for row in rows:
        for place in PLACES:
            length = row[place]
            if length:
                row[place] = data[start : start + length]
                start += length
            else:
                row[place] = b""
    return [record_of(row) for row in rows]


def match(rows: Iterable[Sequence[Any]], key: bytes) -> Record | None:
    """Return the record with this coalescing key among rows of equal hashes."""
    for record in map(record_of, rows):
        if coalescing_key(record.unique, record.workload) == key:
            return record
    return None


def _listed(values: Iterable[int]) -> str:
    return ", ".join(str(int(value)) for value in values)


def conditions_of(wanted: Filter) -> tuple[list[str], list[Any]]:
    """Return the WHERE terms of a filter and their parameters."""
    conditions: list[str] = []
    parameters: list[Any] = []
    for column, values in (
        ("id", wanted.ids),
        ("function_id", wanted.function_ids),
        ("state", wanted.states),
        ("cause", wanted.causes),
    ):
        if values is not None:
            conditions.append(f"{column} IN ({_listed(values)})")
    # A partial index serves only who says its condition (jobs_set_aside, jobs_cause).
    if wanted.states and min(wanted.states) > MOST_ROWS:
        conditions.append(f"state > {MOST_ROWS:d}")
    if wanted.causes:
        conditions.append("cause <> 0")
    for term, value in (
        ("created_at >= ?", wanted.since),
        ("created_at < ?", wanted.until),
        ("id < ?", wanted.below),
        ("(instr(error, ?1) OR instr(reason, ?1))".replace("?1", "?"), wanted.error),
        ('"unique" = ?', wanted.unique),
        ("instr(workload, ?)", wanted.payload_match),
    ):
        if value is not None:
            conditions.append(term)
            parameters += [value] * term.count("?")
    return conditions, parameters


def translated(file: str, error: sqlite3.Error, consequence: str = "") -> StoreError:
    """Return what an error of SQLite means to us, and what follows from it if it doesn't pass."""
    code = getattr(error, "sqlite_errorcode", 0)
    primary = code & 0xFF
    if primary in TRANSIENT:
        return StoreFull(f"{file}: {TRANSIENT[primary]}")
    if primary in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreUnusable(f"{file} is not a database or is damaged ({error}): restore it from a backup")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreError(f"{file}: {error} ({name}){consequence}")
