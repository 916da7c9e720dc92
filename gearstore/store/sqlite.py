"""The store on SQLite: WAL, `synchronous=FULL`, one connection that does all writes and all checkpoints.

The writer is `sqlite3`, on the loop's thread for what only touches memory and in a thread of its own for what waits for
the disk. (aiosqlite hops to its thread for every statement; benchmarks/README.md, "writer".) What only reads stands in
reader.py.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from time import perf_counter
from typing import Any, TypeVar

from gearstore.errors import StoreError, StoreFull, StoreUnusable
from gearstore.queue.job import DONE as DONE_STATE
from gearstore.queue.job import ENDED, LIVE
from gearstore.queue.record import Record
from gearstore.store import files
from gearstore.store.base import REPLAY, Applied, Changes, Holds, Key, Recovered, never
from gearstore.store.creation import create
from gearstore.store.migrations import migrate
from gearstore.store.pace import SMALL, Log, Pace
from gearstore.store.reader import Reader, refuse_newer, translated
from gearstore.store.recovery import recover
from gearstore.store.reserve import NoRoom, Reserve
from gearstore.store.soundness import TOUCH, examine
from gearstore.store.statements import LARGEST_STATEMENT, pieces, statement
from gearstore.store.thread import Worker
from gearstore.store.uniques import Uniques

Result = TypeVar("Result")

BUSY_TIMEOUT_MS = 5000  # milliseconds that another program may hold the write lock
STOPS = "; the server stops, what was acknowledged is stored"
LOG_SIZE = 8 << 20  # bytes; it is checkpointed at 1000 pages, which are 8 MB
CACHE_KB = 4_000  # twice as much saves nothing that can be measured, half as much costs a drain a tenth of its rate
SPARE_PAGES = 2048  # free pages that are kept: 16 MiB
SHRINK_PAGES = 64  # given back at once, which takes about as long as a commit
KIND = "function_id, state, priority"
PRUNED = "count(*), sum(length(workload) + length(result)), group_concat(DISTINCT nullif(cause, 0))"
WITH_CAUSE = "SELECT 1 FROM jobs WHERE cause = causes.id AND cause <> 0"
SCARCE = 16  # times as often is the log checkpointed while there is no room to spare
SHRINK_WORK = 2000  # rows that would make the log grow as much
ENDED_STATES = ", ".join(f"{state:d}" for state in ENDED)

NEW = (
    'INSERT INTO jobs (id, function_id, priority, position, "unique", unique_hash, workload, checksum, '
    "created_at, client) VALUES ",
    10,
    "",
)
DONE = (
    f"UPDATE jobs SET state = {DONE_STATE:d}, attempts = v.column2, started_at = v.column3, ended_at = v.column4, "
    "worker = v.column5, result = v.column6, result_size = v.column7 FROM (VALUES ",
    7,
    ") AS v WHERE jobs.id = v.column1",
)
# A job keeps its hash as long as it waits or runs, since it keeps its entry (uniques.py).
HASH = f"iif(state IN ({', '.join(f'{state:d}' for state in LIVE)}), coalesce(v.column4, unique_hash), v.column4)"
CHANGED = (
    f"UPDATE jobs SET state = v.column2, position = v.column3, unique_hash = {HASH}, run_at = v.column5, "
    "attempts = v.column6, interruptions = v.column7, started_at = v.column8, ended_at = v.column9, "
    "worker = v.column10, reason = v.column11, error = v.column12, result = v.column13, result_size = v.column14, "
    "reducer = v.column15, replay_of = v.column16, cause = v.column17 FROM (VALUES ",
    17,
    ") AS v WHERE jobs.id = v.column1",
)

EVENT = ("INSERT INTO events (job_id, at, kind, started_at, worker, detail, next_at) VALUES ", 7, "")
COUNT = (
    "INSERT INTO counts (function_id, state, priority, jobs, bytes) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, bytes = bytes + excluded.bytes"
)
STEER = "UPDATE functions SET paused_at = ?, paused_until = ?, max_high = ?, max_normal = ?, max_low = ? WHERE id = ?"


class SqliteStore(Reader):
    """`Store` on one SQLite file. `interval_ms`: sync the log by a timer instead of at each commit."""

    def __init__(self, path: str, interval_ms: int = 0) -> None:
        super().__init__(path)
        self.interval_ms = interval_ms
        self.warning = ""  # for the operator, after `open`
        self._writer: sqlite3.Connection
        self._uniques: Uniques
        self._thread = Worker("gearstore-writer")
        self._lock: files.Lock | None = None
        self._reserve = Reserve(self._file)
        self._syncing: asyncio.Task[None] | None = None
        self._unsynced = False
        self._pace = Pace()
        self._log = Log()
        self._checkpointing: asyncio.Future[None] | None = None
        self._reading_in: asyncio.Task[None] | None = None

    # Opening and closing

    async def open(self, prefix: bytes, max_interruptions: int, window: int, holds: Holds = never) -> Recovered:
        """See `Store`. Raises StoreBusy and StoreUnusable with a sentence for the operator."""
        try:
            recovered = await self._thread.run(self._open, prefix, max_interruptions, window, holds)
        except BaseException:
            self._thread.stop()
            raise
        if self.interval_ms:
            self._syncing = asyncio.create_task(self._sync_by_timer())
        return recovered

    def _open(self, prefix: bytes, max_interruptions: int, window: int, holds: Holds) -> Recovered:
        self._lock = files.Lock(self._file)
        mask = os.umask(0o027)  # what clients send is not for everybody on this machine
        try:
            log_missing = files.inspect(self._file)
            create(self._file)
            examine(self._file)
            files.renew_log(self._file)
            begin = partial(self._begin, log_missing, prefix, max_interruptions, window, holds)
            try:
                return begin()
            except sqlite3.Error as error:
                if not (self._reserve.explains(error) and self._reserve.release()):
                    raise
                return begin(spare_room=False)
        except sqlite3.Error as error:
            self._lock.release()
            raise translated(self._file, error) from error
        except BaseException:
            self._lock.release()
            raise
        finally:
            os.umask(mask)

    def _begin(
        self,
        log_missing: bool,
        prefix: bytes,
        max_interruptions: int,
        window: int,
        holds: Holds,
        spare_room: bool = True,
    ) -> Recovered:
        self._writer = sqlite3.connect(
            self._file, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            self._prepare(log_missing, spare_room)
            recovered = recover(self._writer, prefix, max_interruptions, window, holds)
            self._uniques = Uniques(self._writer)
            self._uniques.load()
            # That the file is in use has to stand in it: a log that is lost takes along what it says of itself.
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
            return recovered
        except BaseException:
            self._writer.close()
            raise

    def _prepare(self, log_missing: bool, spare_room: bool) -> None:
        """Check that the file is ours and whole, bring it up to date, and set how it is written."""
        execute = self._writer.execute
        refuse_newer(self._file, self._writer)
        synchronous = 1 if self.interval_ms else 2
        for pragma, value, wanted in (
            ("journal_mode", "WAL", "wal"),
            ("synchronous", synchronous, synchronous),
            ("trusted_schema", "OFF", 0),
            ("cell_size_check", "ON", 1),
            ("foreign_keys", "OFF", 0),
            ("journal_size_limit", 4 * LOG_SIZE, 4 * LOG_SIZE),  # what it has grown to beside a backup or check
            ("temp_store", "MEMORY", 2),  # each statement of many rows would make a file
            ("wal_autocheckpoint", 0, 0),  # see Log
        ):
            execute(f"PRAGMA {pragma} = {value}")
            (found,) = execute(f"PRAGMA {pragma}").fetchone()
            if found != wanted:
                raise StoreUnusable(
                    f"{self._file}: SQLite keeps {pragma} at {found} where {wanted} is needed for durability: "
                    "put the database on a local file system"
                )
        migrate(self._writer, TOUCH)
        (clean,) = execute("SELECT value FROM meta WHERE name = 'clean'").fetchone()
        if log_missing and not clean:
            self.warning = (
                f"{self._file} was not closed and its log {self._file}-wal is gone: if no other program opened the "
                "database since, the last jobs that were acknowledged are lost with it"
            )
        # Before serving: a failed fsync may have left frames in the page cache that the disk never got.
        execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")  # a backup or check ends when it sees that its server has
        busy = execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        execute("PRAGMA busy_timeout = 0")
        if busy:
            raise StoreError(f"{self._file} is read by another program that must end first")
        if spare_room:
            with suppress(StoreFull):  # new jobs will be refused until there is room
                self._reserve.take(self._writer)
                self._grow_log()

    def _grow_log(self) -> None:
        """Write the log to its full size once: a disk overwrites blocks faster than it appends them
        (benchmarks/README.md, "grown log").

        A transaction that is too large for the cache is written to the log before it is rolled back.
        """
        execute = self._writer.execute
        execute("PRAGMA cache_size = 10")
        with suppress(sqlite3.OperationalError):  # no space for it: then without
            execute("BEGIN IMMEDIATE")
            execute("CREATE TABLE grow (data BLOB)")
            execute("INSERT INTO grow VALUES (zeroblob(?))", (LOG_SIZE,))
        if self._writer.in_transaction:
            execute("ROLLBACK")
        execute(f"PRAGMA cache_size = -{CACHE_KB}")

    async def close(self) -> None:
        """See `Store`."""
        if self._syncing is not None:
            self._syncing.cancel()
            with suppress(asyncio.CancelledError):
                await self._syncing
        if self._reading_in is not None:
            self._reading_in.cancel()
            await asyncio.wait([self._reading_in])
        await self.stop_reading()
        if self._checkpointing is not None:
            with suppress(StoreError, asyncio.CancelledError):
                await self._checkpointing
        try:
            await self._thread.run(self._close)
        finally:
            self._thread.stop()

    def _close(self) -> None:
        try:
            with suppress(sqlite3.Error):
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                self._writer.execute("UPDATE meta SET value = 1 WHERE name = 'clean'")
            self._writer.close()
        finally:
            if self._lock is not None:
                self._lock.release()

    async def forget_numbers(self, next_id: int) -> None:
        """At an orderly end: give back the numbers that were reserved and not used."""
        await self._thread.run(self._writer.execute, "UPDATE meta SET value = ? WHERE name = 'next_id'", (next_id,))

    # Writing

    async def apply(self, changes: Changes) -> Applied:
        """See `Store`.

        The statements run in the loop's thread: they only touch memory, and a second thread would fight for the GIL
        at every step. The COMMIT, which waits for the disk, runs in the writer's thread and gives the GIL up
        (benchmarks/README.md, "writer"), unless the disk is very fast. A checkpoint delays at most the next batch.
        """
        if self._checkpointing is not None:
            await self._checkpointing
        if changes.new and not self._reserve.held:
            await self._thread.run(self._reserve.take, self._writer)
        try:
            return await self._apply(changes)
        except NoRoom:
            await self._thread.run(self._move_in)  # what has to be stored comes again, without new jobs
            raise

    async def _apply(self, changes: Changes) -> Applied:
        self._unsynced = True
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            await self._thread.run(self._wait_and_begin)  # another program writes
        applied = self._guard(self._statements, changes)
        small = sum(changes.sizes.values()) <= SMALL and not changes.pruned
        if small and self._pace.on_loop:
            applied.seconds = self._commit(small)
        else:
            applied.seconds = await self._thread.run(self._commit, small)
        self._uniques.committed()
        if self._uniques.due and self._reading_in is None:
            self._reading_in = asyncio.create_task(self._read_in())
        self._note_growth(len(changes.new) + len(changes.changed) + len(changes.done) + len(changes.pruned))
        return applied

    def _note_growth(self, rows: int) -> None:
        size = 0
        with suppress(OSError):  # somebody has removed it
            size = os.stat(f"{self._file}-wal").st_size
        if self._log.grew(rows, size, 1 if self._reserve.held else SCARCE):
            self._checkpointing = self._thread.run(self._checkpoint)

    def _wait_and_begin(self) -> None:
        self._writer.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        try:
            self._guard(self._writer.execute, "BEGIN IMMEDIATE")
        finally:
            self._writer.execute("PRAGMA busy_timeout = 0")

    def _commit(self, small: bool) -> float:
        started = perf_counter()
        self._guard(self._writer.execute, "COMMIT")
        seconds = perf_counter() - started
        if small:
            self._pace.took(seconds)
        return seconds

    def _checkpoint(self) -> None:
        try:
            _, pages, _ = self._guard(self._writer.execute, "PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except NoRoom:
            self._move_in()
            return
        except StoreFull:
            return  # the log keeps everything; again after the next batch
        self._log.checkpointed(pages)

    def _move_in(self) -> None:
        """Use the room that was kept, if it still is."""
        if self._reserve.held:
            with suppress(StoreFull):  # then some of it
                self._guard(self._reserve.move_in, self._writer)

    def _guard(self, work: Callable[..., Result], *args: Any) -> Result:
        """Do part of a transaction; undo all of it if that fails."""
        try:
            return work(*args)
        except sqlite3.Error as error:
            # SQLite rolls back by itself on some errors; only `in_transaction` knows.
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            if self._reserve.explains(error):
                raise NoRoom(f"{self._file}: the disk is full") from error
            raise translated(self._file, error, STOPS) from error

    def _statements(self, changes: Changes) -> Applied:
        writer = self._writer
        applied = Applied()
        if changes.functions:
            writer.executemany("INSERT INTO functions (id, name) VALUES (?, ?)", changes.functions)
        self._uniques.begin()
        self._write(DONE, changes.done)
        hashed = [(row[3] >> 32, row[0]) for row in changes.changed if row[3] is not None and row[1] in LIVE]
        if changes.look_ups:  # must not find a job that ends in this very batch, nor one that is new in it
            new = {row[0] for row in changes.new}
            self._write(CHANGED, [row for row in changes.changed if row[0] not in new])
            changes.changed = [row for row in changes.changed if row[0] in new]
            applied.found = self._uniques.look_up(changes.look_ups)
            _leave_out(changes, applied.found)
        if changes.imported:
            self._write_imported(changes.imported, applied.found)
        self._write(NEW, changes.new)
        self._write(CHANGED, changes.changed)
        self._write(EVENT, changes.events)
        self._write_rest(changes)
        if hashed:
            others = {row[0] for row in changes.new if row[5] is not None} | set(applied.found)
            hashed = [entry for entry in hashed if entry[1] not in others]
        self._uniques.write(changes, hashed, self._reserve.held)
        if changes.pruned:
            applied.pruned = self._prune(changes)
        sizes = changes.sizes
        writer.executemany(
            COUNT, [(*key, jobs, sizes.get(key, 0)) for key, jobs in changes.counts.items() if jobs or sizes.get(key)]
        )
        return applied

    def _write_rest(self, changes: Changes) -> None:
        """Write what most batches don't have."""
        writer = self._writer
        if changes.causes:
            causes = [(id, *cause) for id, cause in changes.causes.items()]
            writer.executemany("INSERT OR IGNORE INTO causes (id, reason, text) VALUES (?, ?, ?)", causes)
        if changes.replayed:
            writer.executemany("UPDATE jobs SET replayed_as = ? WHERE id = ?", changes.replayed)
        if changes.steering:
            writer.executemany(STEER, changes.steering)
        if changes.paused:
            for name, value in zip(("paused_at", "paused_until"), changes.paused, strict=True):
                writer.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
        if changes.next_id:
            writer.execute("UPDATE meta SET value = ? WHERE name = 'next_id'", (changes.next_id,))

    def _write_imported(self, imported: list[tuple[int, int, bytes]], found: dict[int, Record]) -> None:
        """Write where jobs come from; those that joined a job on disk stand for that one."""
        rows = [(key, found[id].id if id in found else id, origin) for key, id, origin in imported]
        self._writer.executemany("INSERT OR IGNORE INTO imported (key, job_id, origin) VALUES (?, ?, ?)", rows)

    def _prune(self, changes: Changes) -> dict[Key, int]:
        """Forget the jobs that have ended, with their events and causes; return how many of which kind."""
        pruned: dict[Key, int] = {}
        counts, sizes = changes.counts, changes.sizes
        execute = self._writer.execute
        for start in range(0, len(changes.pruned), LARGEST_STATEMENT):
            ids = ", ".join(map(str, changes.pruned[start : start + LARGEST_STATEMENT]))
            gone = f"FROM jobs WHERE id IN ({ids}) AND state IN ({ENDED_STATES})"
            # A few steps in all, since each of them gives up the GIL.
            kinds = execute(f"SELECT {KIND}, {PRUNED} {gone} GROUP BY {KIND}").fetchall()
            for *of, jobs, size, _ in kinds:
                key = (of[0], of[1], of[2])
                pruned[key] = pruned.get(key, 0) + jobs
                counts[key] = counts.get(key, 0) - jobs
                sizes[key] = sizes.get(key, 0) - size
            self._uniques.prune(gone)
            execute(f"DELETE FROM events WHERE job_id IN (SELECT id {gone})")
            execute(f"DELETE {gone}")
            if causes := ", ".join(row[-1] for row in kinds if row[-1]):
                execute(f"DELETE FROM causes WHERE id IN ({causes}) AND NOT EXISTS ({WITH_CAUSE})")
        return pruned

    async def shrink(self) -> bool:
        """See `Store`. Some free pages stay: what is written next would have to make the file longer again."""
        if self._checkpointing is not None:
            await self._checkpointing
        more: bool = await self._thread.run(self._guard, self._shrink)
        if more:
            self._note_growth(SHRINK_WORK)
        return more

    def _shrink(self) -> bool:
        execute = self._writer.execute
        (pages,), (free,) = (execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count"))
        if free <= max(SPARE_PAGES, pages // 10):
            return False
        # (`execute` would stop after the first page.)
        self._writer.executescript(f"PRAGMA incremental_vacuum({SHRINK_PAGES})")
        return True

    def _write(self, kind: tuple[str, int, str], rows: Sequence[tuple[Any, ...]]) -> None:
        head, columns, tail = kind
        for some in pieces(rows):
            # sqlite3 looks for an adapter for every `bytes`, but takes a bytearray as it is: a quarter of the time
            # (benchmarks/README.md, "parameters").
            values = [bytearray(value) if type(value) is bytes else value for value in chain.from_iterable(some)]
            self._writer.execute(statement(head, columns, tail, len(some)), values)

    def may_know(self, hash: int) -> bool:
        """See `Store`."""
        return self._uniques.may_know(hash)

    async def _read_in(self) -> None:
        with suppress(StoreError):  # (then not again: all uniques are looked up)
            await self._uniques.read_in(self._rows)
            self._reading_in = None

    async def _logged(self, hash: int) -> list[int]:
        return self._uniques.known(hash)

    async def _sync_by_timer(self) -> None:
        """`--sync interval`: a bound that holds, unlike syncing at the next write."""
        fd = os.open(f"{self._file}-wal", os.O_RDONLY)
        try:
            while True:
                await asyncio.sleep(self.interval_ms / 1000)
                if self._unsynced:
                    self._unsynced = False
                    await asyncio.to_thread(os.fdatasync, fd)
        finally:
            os.close(fd)


def _leave_out(changes: Changes, found: dict[int, Record]) -> None:
    """Take the new jobs that join an existing one out of the changes."""
    states = {row[0]: row[1] for row in changes.changed}
    for row in changes.new:
        if row[0] in found:
            key = (row[1], states.get(row[0], 0), row[2])
            changes.counts[key] -= 1
            changes.sizes[key] -= len(row[6])
    changes.new = [row for row in changes.new if row[0] not in found]
    changes.changed = [row for row in changes.changed if row[0] not in found]
    changes.replayed = [row for row in changes.replayed if row[0] not in found]
    changes.events = [each for each in changes.events if each.kind != REPLAY or int(each.detail) not in found]
