"""The seam between the queue and durability: the only thing that the engine's side knows of a store.

A store has no cleverness: no cache, no retry, no partial success. `apply` raises, or the whole batch is durable.
`claim` fills a window of a queue with its next jobs; for a store that several servers share it will also mark them as
taken, so the verb is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from struct import Struct, iter_unpack, pack
from typing import NamedTuple, Protocol
from zlib import crc32

from gearstore.queue.history import Bounds, Ended, Total
from gearstore.queue.ports import Event
from gearstore.queue.record import FunctionRecord, Record

REPLAY = b"replay"  # kind of the event that a copy was made; its detail is the number of the copy

UNSTORED = 4096  # jobs that may run while their rows still say that they wait, before all new ones get a hash

SIGNED = Struct(">q").unpack

Holds = Callable[[bytes], bool]
"""Whether a function's interrupted jobs wait for the operator."""


def never(name: bytes) -> bool:
    """Hold none."""
    return False


CLAIM_BYTES = 8 << 20  # workloads, errors and results of one claim, the last job beyond it included

# A row of `jobs` as it is written: the columns of a new job. `state` and all that a later change may set come after.
NewRow = tuple[int, int, int, int, bytes, int | None, bytes, int, int, bytes]
"""id, function_id, priority, position, unique, unique_hash, workload, checksum, created_at, client: a queued job"""

ChangedRow = tuple[
    int, int, int, int | None, int, int, int, int, int, bytes, bytes, bytes, bytes, int, bytes, int, int
]  # fmt: skip
"""id, state, position, unique_hash, run_at, attempts, interruptions, started_at, ended_at, worker, reason, error,
result, result_size, reducer, replay_of, cause: whatever is not set once for all"""

DoneRow = tuple[int, int, int, int, bytes, bytes, int]
"""id, attempts, started_at, ended_at, worker, result, result_size: a job that is done. Its unique_hash stays
as it is, and so does its entry: to take one out at random costs more than all the rest, and only live jobs are looked
up."""

Key = tuple[int, int, int]
"""function_id, state, priority: what jobs and their bytes are counted by"""

Steering = tuple[int, int, int, int, int, int]
"""paused_at, paused_until, maxqueue of the three priorities (-1: not set), function_id"""


LookUp = tuple[int, int, bytes, int]
"""id, function_id, key, unique_hash of a new job: its unique may belong to one that only the store knows"""

Entry = tuple[int, int]
"""hash, job_id: where to look for a unique. The hash is the upper half of unique_hash."""


@dataclass(slots=True)
class Changes:
    """What one transaction makes durable."""

    functions: list[tuple[int, bytes]] = field(default_factory=list)  # id and name of new ones
    new: list[NewRow] = field(default_factory=list)
    changed: list[ChangedRow] = field(default_factory=list)
    done: list[DoneRow] = field(default_factory=list)
    look_ups: list[LookUp] = field(default_factory=list)
    counts: dict[Key, int] = field(default_factory=dict)  # difference in jobs
    sizes: dict[Key, int] = field(default_factory=dict)  # difference in bytes of workloads and results
    events: list[Event] = field(default_factory=list)
    causes: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # id -> reason, text
    replayed: list[tuple[int, int]] = field(default_factory=list)  # (copy, original); the event is among the others
    steering: list[Steering] = field(default_factory=list)
    paused: tuple[int, int] | None = None  # all functions: since when, until when
    imported: list[tuple[int, int, bytes]] = field(default_factory=list)  # key, job, what it was called
    pruned: list[int] = field(default_factory=list)  # ended jobs to be forgotten, with their events
    next_id: int = 0  # reserve all numbers below it, 0: as before


@dataclass(slots=True)
class Applied:
    """What only the store could know of a batch."""

    found: dict[int, Record] = field(default_factory=dict)  # live jobs for look-ups, by the id of the new job
    pruned: dict[Key, int] = field(default_factory=dict)  # jobs forgotten
    seconds: float = field(default=0.0, compare=False)  # that the disk took


@dataclass(slots=True)
class Recovered:
    """What a start needs to know; it grows with the number of functions, not of jobs."""

    functions: list[FunctionRecord]
    counts: list[tuple[int, int, int, int, int]]  # function, state, priority, jobs, their bytes
    prefixes: list[tuple[int, bytes]]
    next_id: int
    interrupted: int = 0  # jobs that ran when the server ended, now queued again
    held: int = 0  # of those that ran, the ones interrupted too often or that the policy holds
    paused: tuple[int, int] = (0, 0)  # all functions: since when, until when


class Failure(NamedTuple):
    """The failed jobs of one cause and function."""

    cause: int
    reason: bytes
    text: bytes
    function_id: int
    jobs: int
    first_at: int
    last_at: int


@dataclass(slots=True)
class Filter:
    """Which jobs to find; None and empty mean any. Names and texts are bytes, times milliseconds since 1970."""

    ids: Sequence[int] | None = None
    function_ids: Sequence[int] | None = None
    states: Sequence[int] | None = None
    since: int | None = None
    until: int | None = None
    error: bytes | None = None
    unique: bytes | None = None
    payload_match: bytes | None = None
    causes: Sequence[int] | None = None
    below: int | None = None  # only ids below it: what a change makes is not met by the same change


class Store(Protocol):
    """What a store does. All verbs raise StoreError; only StoreFull means that a later try may succeed."""

    path: str | None
    warning: str

    async def open(self, prefix: bytes, max_interruptions: int, window: int, holds: Holds = never) -> Recovered:
        """Own the file, bring it up to date, put back what ran at the end (or hold it: too often, or because `holds`
        says so of its function), note the handles' prefix. Among the first `window` jobs of each function and priority,
        and as many more as ran or UNSTORED, are all those without a hash."""

    async def apply(self, changes: Changes) -> Applied:
        """Make the changes durable, all or nothing. New jobs whose look-up found a live job are not stored. Of the
        jobs to be pruned those go that have ended when all else is done."""

    def may_know(self, hash: int) -> bool:
        """Whether a live job that memory does not know may have a coalescing key with this `unique_hash`. It knows
        those of the last `apply` before that returns."""

    async def claim(self, function_id: int, priority: int, after: int, limit: int) -> list[Record]:
        """Return the queued jobs of a function and priority behind position `after`, in order; fewer than `limit`
        also where their workloads are large (CLAIM_BYTES)."""

    async def claim_delayed(self, after: tuple[int, int], limit: int) -> list[Record]:
        """Return the delayed jobs behind (run_at, id), in order."""

    async def find(self, wanted: Filter, newest: bool, before: int | None, limit: int) -> list[Record]:
        """Return one page of jobs by id, newest or oldest first; `before` is the last id of the page before."""

    async def find_live(self, function_id: int, key: bytes) -> Record | None:
        """Return the queued or delayed job on disk with this coalescing key."""

    async def events(self, ids: Sequence[int]) -> dict[int, list[Event]]:
        """Return what happened to jobs, in order."""

    async def failures(self, function_ids: Sequence[int] | None) -> list[Failure]:
        """Return failed jobs, counted by cause and function."""

    async def causes(self, low: int, high: int) -> list[int]:
        """Return the causes in a range of ids, both ends included."""

    async def imported(self, keys: Sequence[int]) -> dict[int, int]:
        """Return what has been imported before of these: job numbers by key."""

    async def origin(self, id: int) -> bytes:
        """Return what a job was called where it was imported from, b"" if it wasn't."""

    async def totals(self) -> list[Total]:
        """Return how many jobs of each function are in each ended state, and their bytes."""

    async def survey(self, after: int, limit: int) -> tuple[list[Total], int | None]:
        """Look at up to so many jobs of a walk over all of them, and return how many ended in which second. The walk
        begins after 0 and goes on after the number returned, until that is None."""

    async def prunable(self, bounds: tuple[Bounds, Bounds], after: int, limit: int) -> tuple[list[Ended], int | None]:
        """Look at up to so many jobs of a walk as in `survey`, and return those that ended before their bounds: the
        first ones are for done and cancelled jobs, the second for failed ones."""

    async def shrink(self) -> bool:
        """Give a small piece of unused space back to the system; return whether there is more. Not during `apply`."""

    async def forget_numbers(self, next_id: int) -> None:
        """At an orderly end: give back the numbers that were reserved and not used."""

    async def close(self) -> None:
        """Write what is left and let the file go; an orderly end is noted in it."""


def unique_hash(key: bytes) -> int:
    """Return the 64 bits by which the store finds a coalescing key; the row decides whether it is the one."""
    hash: int = SIGNED(blake2b(key, digest_size=8).digest())[0]
    return hash


def checksum(unique: bytes, reducer: bytes, workload: bytes) -> int:
    """Return the checksum of what must never be handed out altered."""
    return crc32(workload, crc32(reducer, crc32(unique)))


def packed_entries(entries: Iterable[Entry]) -> bytes:
    """Return entries as a row that waits for them to be entered has them."""
    numbers = list(chain.from_iterable(entries))
    return pack(f"<{len(numbers)}q", *numbers)


def unpacked_entries(entries: bytes) -> Iterator[Entry]:
    """Yield what was packed."""
    yield from iter_unpack("<qq", entries)
