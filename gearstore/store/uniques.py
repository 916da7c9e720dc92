"""How coalescing finds jobs that memory does not know: by a hash of their unique, in the table `uniques`.

Hashes fall on any page of a large table. So new ones are kept in memory, a generation of some ten thousand, until they
can be entered in order, several to a page: a part of the generation with each batch that brings others. Until then a
row of `uniques_log` for each batch keeps them for the next start.

An entry is only a hint, the job's row decides. Entries of jobs that have ended do no harm; they go when these are
pruned, or when no job waits or runs any more.

Most submits are of uniques that nobody has: these are told by a Bloom filter of all entries. Where a start finds a
table, or as many entries were made that the filter says little, a new one is read in beside everything else.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from itertools import chain
from time import perf_counter
from typing import Any, cast

from gearstore.queue.job import DELAYED, QUEUED, RUNNING
from gearstore.queue.record import Record
from gearstore.store.base import Changes, Entry, LookUp, packed_entries, unpacked_entries
from gearstore.store.bloom import STALE, Bloom
from gearstore.store.reader import LIVE, match
from gearstore.store.statements import pieces, statement

PARTS, PART = 128, 25  # a generation has so many parts, each of the hashes that are equal but for so many bits
GENERATION = 65_536  # entries, which take 8 MB of memory; more where the table is large, so that several share a page
MOST, SHARE = 4, 40  # times as many, up to one for so many of the table (benchmarks/README.md, "large generations")
LOG_ROWS = 4096  # of a generation, so that it takes a millisecond to delete them
OWED = 2  # entries to be made for each new one: a generation is in the table when the next is half full
WORTHLESS = 4096  # entries that are deleted at once
READ_IN, REST = 4096, 4.0  # entries of the table that are read in at once, and rests for each second that this takes

FIND = ("SELECT hash, job_id FROM uniques WHERE hash IN (", 1, ")")
ENTER = ("INSERT OR IGNORE INTO uniques (hash, job_id) VALUES ", 2, "")
HASHES = "SELECT json_group_array(hash), max(hash) FROM (SELECT hash FROM uniques WHERE hash > ? ORDER BY hash LIMIT ?)"
ENTRIES_OF = (
    'SELECT coalesce(unique_hash, gearstore_hash("unique", workload)) >> 32, id {} '
    "AND \"unique\" <> x'' AND (unique_hash IS NOT NULL OR position < ?)"
)
ANY_LIVE = " UNION ALL ".join(
    f"SELECT 1 FROM (SELECT 1 FROM jobs INDEXED BY {index} WHERE state = {state:d} LIMIT 1)"
    for index, state in (("jobs_queued", QUEUED), ("jobs_delayed", DELAYED), ("jobs_running", RUNNING))
)

Part = dict[int, int | list[int]]
"""hash -> the job, or the jobs where several have the same"""


class Uniques:
    """The uniques of one database, for its writer. What is in memory changes after the commit, in the loop's thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._filling, self._entering = _parts(), _parts()
        self._size = 0  # entries of the generation that is filling
        self._left: list[int] = []  # parts of the other one that are still to be entered, the next one last
        self._owed = 0
        self._row = self._border = 0  # of the log: the newest, and the last of the generation that is being entered
        self._has_rows = False  # the table; False: it has none
        self._worthless = True  # no entry in the table is of a job that waits or runs
        self._hashed_below = 0
        self._bloom: Bloom | None = Bloom()  # None: it isn't known what the table has
        self._next: Bloom | None = None  # that is being read in
        self.begin()

    def load(self) -> None:
        """Take up what the last server left."""
        for row, entries in self._execute("SELECT id, entries FROM uniques_log ORDER BY id"):
            self._row = row
            self._keep(list(unpacked_entries(entries)))
        (self._hashed_below,) = self._execute("SELECT value FROM meta WHERE name = 'hashed_below'").fetchone()
        self._has_rows = self._execute("SELECT 1 FROM uniques LIMIT 1").fetchone() is not None
        self._worthless = not (self._has_rows and self._any_live())
        if not self._worthless:
            self._bloom = None

    def _any_live(self) -> bool:
        return self._execute(ANY_LIVE).fetchone() is not None

    # Look-ups

    def may_know(self, hash: int) -> bool:
        """Whether there may be an entry with this hash of 64 bits."""
        return self._bloom is None or hash >> 32 in self._bloom

    @property
    def due(self) -> bool:
        """Whether it is time to `read_in`."""
        return (self._bloom is None or self._bloom.added > STALE) and self._next is None

    async def read_in(self, rows: Callable[[str, tuple[int, int]], Awaitable[list[Any]]]) -> None:
        """Make a filter of all entries, with the rows of an SQL query; those that come meanwhile are added by `_keep`.
        Raises StoreError."""
        bloom = self._next = Bloom()
        try:
            for part in chain(self._filling, self._entering):
                bloom.add(part)
            last: int | None = -1 << 32
            while last is not None:
                started = perf_counter()
                ((hashes, last),) = await rows(HASHES, (last, READ_IN))
                bloom.add(json.loads(hashes))
                await asyncio.sleep(REST * (perf_counter() - started))
                if self._next is not bloom:
                    return  # nothing in the table is worth knowing any more
            bloom.made_with = bloom.size
            self._bloom = bloom
        finally:
            if self._next is bloom:
                self._next = None

    def known(self, hash: int) -> list[int]:
        """Return the jobs with this hash whose entries are not in the table, or were not a moment ago."""
        jobs: list[int] = []
        for parts in (self._filling, self._entering):
            found = parts[hash >> PART].get(hash)
            if found is not None:
                jobs += _listed(found)
        return jobs

    def look_up(self, wanted: Sequence[LookUp]) -> dict[int, Record]:
        """Return the live jobs that new ones have to join, by the ids of these."""
        hashes = [each[3] >> 32 for each in wanted]
        jobs: dict[int, list[int]] = {}
        filling, entering = self._filling, self._entering
        for hash in hashes:
            part = hash >> PART
            if hash in filling[part] or hash in entering[part]:
                jobs[hash] = self.known(hash)
        if not self._worthless:
            for some in pieces(hashes):
                for hash, job in self._execute(statement(*FIND, len(some)), some).fetchall():
                    jobs.setdefault(hash, []).append(job)
        found: dict[int, Record] = {}
        if jobs:
            for (id, function_id, key, _), hash in zip(wanted, hashes, strict=True):
                record = self._live(jobs.get(hash, ()), function_id, key)
                if record is not None:
                    found[id] = record
        return found

    def _live(self, jobs: Iterable[int], function_id: int, key: bytes) -> Record | None:
        rows = (self._execute(LIVE, (job, function_id)).fetchone() for job in jobs)
        return match((row for row in rows if row is not None), key)

    # Inside a transaction

    def begin(self) -> None:
        """Begin anew, whatever became of the transaction before."""
        self._fresh: list[Entry] = []
        self._pruned: list[Entry] = []
        self._entered = 0  # parts
        self._cleared = False

    def write(self, changes: Changes, hashed: Iterable[Entry], room: bool) -> None:
        """Make the entries of a batch whose rows are written: those of its new jobs, and `hashed` of those that have
        changed. With little room on the disk they stay in the log."""
        fresh = [(row[5] >> 32, row[0]) for row in changes.new if row[5] is not None]
        fresh += hashed
        if fresh:
            if room and self._is_due(OWED * len(fresh)):
                self._enter()
            self._row += 1
            self._execute("INSERT INTO uniques_log (id, entries) VALUES (?, ?)", (self._row, packed_entries(fresh)))
        elif self._used and (changes.done or changes.changed) and not self._any_live():
            self._execute("DELETE FROM uniques_log")
            self._cleared = True
        self._fresh = fresh

    @property
    def _used(self) -> bool:
        """Whether there may be entries of jobs that wait or run."""
        return self._size > 0 or bool(self._left) or not self._worthless

    @property
    def _enough(self) -> int:
        """The entries of a generation."""
        known = 0 if self._bloom is None else self._bloom.size
        return min(max(GENERATION, known // SHARE), MOST * GENERATION)

    def _is_due(self, entries: int) -> bool:
        """Owe so many entries, and return whether any can be made: a generation is full, and nothing is left in the
        table that would have to be deleted before."""
        if self._worthless and self._has_rows:
            self._delete_some()
            return False
        if not self._left:
            if self._size < self._enough and self._row - self._border < LOG_ROWS:
                return False
            self._entering, self._filling = self._filling, _parts()
            self._left = list(range(PARTS))
            self._size, self._owed, self._border = 0, 0, self._row
        self._owed += entries
        return True

    def _enter(self) -> None:
        """Enter as many parts as are owed."""
        left = self._left
        while self._entered < len(left):
            part = self._entering[left[-1 - self._entered]]
            if len(part) > self._owed:
                return
            entries = _sorted(part)
            self._owed -= len(part)
            self._entered += 1
            if entries:
                self._worthless, self._has_rows = False, True
                for some in pieces(entries):
                    self._execute(statement(*ENTER, len(some)), list(chain.from_iterable(some)))
        self._execute("DELETE FROM uniques_log WHERE id <= ?", (self._border,))

    def _delete_some(self) -> None:
        row = self._execute("SELECT hash FROM uniques ORDER BY hash LIMIT 1 OFFSET ?", (WORTHLESS,)).fetchone()
        if row is None:
            self._execute("DELETE FROM uniques")
            self._has_rows = False
        else:
            self._execute("DELETE FROM uniques WHERE hash <= ?", row)

    def prune(self, gone: str) -> None:
        """Delete the entries of jobs that are about to be deleted: `gone` is FROM and WHERE."""
        if self._used:
            entries = self._execute(ENTRIES_OF.format(gone), (self._hashed_below,)).fetchall()
            self._pruned += entries
            self._connection.executemany("DELETE FROM uniques WHERE hash = ? AND job_id = ?", entries)

    # After it

    def committed(self) -> None:
        """The transaction is durable."""
        if self._cleared:
            self._filling, self._entering, self._left, self._size = _parts(), _parts(), [], 0
            self._worthless = True
            self._bloom, self._next = Bloom(), None
        if self._fresh:
            self._keep(self._fresh)
        if self._entered:
            for part in self._left[-self._entered :]:
                self._entering[part] = {}
            del self._left[-self._entered :]
        for hash, job in self._pruned:
            for parts in (self._filling, self._entering):
                if parts[hash >> PART].get(hash) == job:
                    del parts[hash >> PART][hash]
        self.begin()

    def _keep(self, entries: Collection[Entry]) -> None:
        for bloom in (self._bloom, self._next):
            if bloom is not None:
                bloom.add([hash for hash, _ in entries])
        parts = self._filling
        for hash, job in entries:
            part = parts[hash >> PART]
            known = part.setdefault(hash, job)
            if known != job:
                part[hash] = [*_listed(known), job]
        self._size += len(entries)


def _parts() -> list[Part]:
    """Return an empty generation: its parts by the first bits of a hash, those of negative ones at the end."""
    return [{} for _ in range(PARTS)]


def _sorted(part: Part) -> list[Entry]:
    if list in map(type, part.values()):
        return sorted((hash, job) for hash, found in part.items() for job in _listed(found))
    return sorted(cast(dict[int, int], part).items())


def _listed(found: int | list[int]) -> list[int]:
    return found if isinstance(found, list) else [found]
