"""The verbs that change jobs, in batches that hold up nobody: cancel, hold, release, retry, replay, purge.

Each batch is found, changed and made durable while nobody else touches the history; then its lines are sent. Whoever
goes away in the middle ends the work between two batches; to ask for the same once more finishes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gearstore.errors import QueueError
from gearstore.queue.job import DELAYED, DONE, ENDED, HELD, LIVE, QUEUED, Job, JobState, coalescing_key
from gearstore.queue.operators import (
    CHANGING,
    cancel,
    check_hold,
    check_replay,
    check_retry,
    hold,
    refused,
    replay,
    retry,
)
from gearstore.queue.record import Record, load
from gearstore.server.management.choosing import CHOOSING, KEYS, filter_of, volatile
from gearstore.server.management.request import Object, Refusal, Verb, data, send, strings, text

if TYPE_CHECKING:
    from gearstore.queue.functions import Function
    from gearstore.server.connection import Connection
    from gearstore.store.base import Filter

BATCH = 100  # jobs changed at once: some milliseconds of the loop's time
LONGEST_DELAY = 100 * 365 * 86_400_000  # milliseconds


class Chosen(NamedTuple):
    """A job that is to be changed; a foreground job has no record."""

    handle: bytes
    function: Function
    state: JobState
    record: Record | None


class Change:
    """One request to change jobs, and what has come of it so far."""

    def __init__(self, conn: Connection, request: Object, act: Act) -> None:
        if not CHOOSING.keys() & request.keys():
            raise Refusal("usage", "name handles or give a filter")
        self.conn = conn
        self.hub = conn.hub
        self.engine = conn.engine
        self.wanted: Filter
        self.request = request
        self.act = act
        self.dry_run: bool = request.get("dry_run", False)
        self.delay = positive(request, "delay", LONGEST_DELAY)
        self.rate = positive(request, "rate", 1 << 30)
        self.totals = {"matched": 0, "changed": 0, "refused": 0}
        self.named = {data(name): name for name in strings(request.get("handles", []))}  # not met so far
        self.gone: set[int] = set()  # jobs of which the rows at hand may be out of date
        self.copies: dict[bytes, Job] = {}  # of this batch, by the handle of the old job
        self.no_space = False

    async def run(self) -> None:
        """Do all of it and answer."""
        newest, limit = self.request.get("order") == "newest", self.request.get("limit")
        await self.hub.durable(patient=False)
        self.wanted = wanted = await filter_of(self.conn, self.request)
        started = self.hub.loop.time()
        foreground = volatile(self.conn, wanted, newest, limit)
        for start in range(0, len(foreground), BATCH):
            self.tell([await self.attempt(job.handle, None) for job in foreground[start : start + BATCH]])
            await asyncio.sleep(0)
        left = 1 << 62 if limit is None else limit - len(foreground)
        last: int | None = None
        while left > 0 and self.conn.transport is not None:
            size = min(left, BATCH, max(1, self.rate // 10) if self.rate else BATCH)
            async with self.hub.history:
                page, lines = await self.batch(newest, last, size)
            if not page:
                break
            last, left = page[-1].id, left - len(page)
            self.tell(lines)
            if self.no_space:
                raise Refusal("store", "the store takes nothing new at the moment; what is left was not changed")
            await self.conn.drain()
            if self.rate and not self.dry_run:
                await asyncio.sleep(started + self.totals["changed"] / self.rate - self.hub.loop.time())
        for name in self.named.values() if left > 0 else ():
            more = "" if self.request.keys() & CHOOSING.keys() == {"handles"} else " that matches"
            raise Refusal("not_found", f"there is no job {name}{more}")
        send(self.conn, self.totals)

    async def batch(self, newest: bool, last: int | None, size: int) -> tuple[list[Record], list[Object]]:
        """Find the next jobs, change them, wait for the disk; return them and what became of them."""
        with self.engine.watching() as self.gone:
            page = await self.hub.store.find(self.wanted, newest, last, size)
            lines = [await self.attempt(self.engine.handle(record.id), record) for record in page]
        await self.hub.durable()
        return page, [self.checked(line) for line in lines]

    def checked(self, line: Object) -> Object:
        """Return what became of a job when the disk has had its say: a copy may not have been stored."""
        copy = self.copies.pop(data(line["handle"]), None)
        if copy is None or not copy.dropped:
            return line
        joined = text(copy.handle) != line["replay"]
        self.no_space |= not joined
        why = f"its unique is queued as {text(copy.handle)}" if joined else "the store does not take the copy"
        return {"handle": line["handle"], "refused": why}

    def tell(self, lines: Sequence[Object]) -> None:
        """Send what became of a batch, and count."""
        for line in lines:
            self.totals["matched"] += 1
            self.totals["refused" if "refused" in line else "changed"] += 1
        send(self.conn, *lines)

    async def attempt(self, handle: bytes, record: Record | None) -> Object:
        """Return what was done to one job, or why not."""
        self.named.pop(handle, None)
        self.hub.set_time()
        try:
            function, state = self.newest(handle, record)
            if self.wanted.states is not None and state not in self.wanted.states:
                raise refused(f"it is {state.name.lower()} by now")
            line: Object = {"handle": text(handle), "function": text(function.name), "was": state.name.lower()}
            return line | await self.act(self, Chosen(handle, function, state, record))
        except QueueError as refusal:
            return {"handle": text(handle), "refused": text(refusal.text)}

    def newest(self, handle: bytes, record: Record | None) -> tuple[Function, JobState]:
        """Return function and state of a job, of which memory knows more than its row; a foreground job has none."""
        job = self.engine.jobs.get(handle)
        if job is not None:
            return job.function, JobState(job.state)
        if record is None:
            raise refused("it has just ended")
        if record.id in self.gone and record.state not in ENDED:  # (ended jobs change under Hub.history only)
            raise refused(CHANGING)
        return self.hub.function_of(record), JobState(record.state)

    def job(self, chosen: Chosen) -> Job:
        """Return a live or held job, brought into memory if need be."""
        job = self.engine.jobs.get(chosen.handle)
        if job is None:
            assert chosen.record is not None  # (else `newest` has refused it)
            job = load(self.engine, chosen.function, chosen.record)
        return job

    @property
    def run_at(self) -> int:
        """When retried and replayed jobs are due, 0 for at once."""
        return self.engine.now + self.delay if self.delay else 0

    async def refuse_twin(self, function: Function, record: Record) -> None:
        """Refuse if a job on disk has the same unique; those in memory are the engine's to see."""
        key = coalescing_key(record.unique, record.workload)
        if key and self.hub.spilled():
            other = await self.hub.store.find_live(function.id, key)
            if other is not None and other.id != record.id:
                raise refused(f"its unique is queued again as {text(self.engine.handle(other.id))}")


Act = Callable[[Change, Chosen], Coroutine[Any, Any, Object]]


def positive(request: Object, key: str, most: int) -> int:
    """Return a number from 1 on, 0 if it isn't given."""
    value: int = request.get(key, 0)
    if key in request and not 0 < value <= most:
        raise Refusal("usage", f"{key} is 1 to {most}")
    return value


async def cancel_one(change: Change, chosen: Chosen) -> Object:
    """Cancel a live or held job."""
    if chosen.state not in (*LIVE, HELD):
        raise refused(f"it is {chosen.state.name.lower()} already")
    if not change.dry_run:
        cancel(change.engine, change.job(chosen))
    return {"state": "cancelled"}


async def hold_one(change: Change, chosen: Chosen) -> Object:
    """Keep a queued or delayed job from workers."""
    job = change.engine.jobs.get(chosen.handle)
    if chosen.state not in (QUEUED, DELAYED):
        raise refused(f"it is {chosen.state.name.lower()}")
    if not change.dry_run:
        hold(change.engine, change.job(chosen))
    elif job is not None:  # else it is on disk only, and nobody waits for it
        check_hold(job)
    return {"state": "held"}


async def release_one(change: Change, chosen: Chosen) -> Object:
    """Put a held job back into its queue."""
    if chosen.record is None or chosen.state is not HELD:
        raise refused(f"it is {chosen.state.name.lower()}")
    return await put_back(change, chosen.function, chosen.record, held_only=True)


async def retry_one(change: Change, chosen: Chosen) -> Object:
    """Put an ended or held job back into its queue."""
    if chosen.record is None or chosen.state in LIVE or chosen.state is DONE:
        raise refused(f"it is {chosen.state.name.lower()}{': use replay' if chosen.state is DONE else ''}")
    return await put_back(change, chosen.function, chosen.record, held_only=False)


async def put_back(change: Change, function: Function, record: Record, held_only: bool) -> Object:
    """Retry or release."""
    await change.refuse_twin(function, record)
    if change.dry_run:
        check_retry(change.engine, function, record, held_only)
    else:
        retry(change.engine, function, record, change.run_at, held_only=held_only)
    return {"state": "delayed" if change.delay else "queued"}


async def replay_one(change: Change, chosen: Chosen) -> Object:
    """Submit a copy of an ended job, to its own function or another one."""
    if chosen.record is None or chosen.state not in ENDED:
        raise refused(f"it is {chosen.state.name.lower()}")
    again = change.request.get("again", False)
    drop = change.request.get("unique_policy") == "drop"
    name = data(change.request.get("as_function") or text(chosen.function.name))
    function = change.engine.functions.get(name)
    check_replay(change.engine, function, chosen.record, drop, again)
    if function is not None and not drop:
        await change.refuse_twin(function, chosen.record)
    line: Object = {"state": chosen.state.name.lower()}
    if change.dry_run:
        return line
    function = change.engine.function(name)
    copy = replay(change.engine, function, chosen.record, change.run_at, drop_unique=drop, again=again)
    change.copies[chosen.handle] = copy
    return {**line, "replay": text(copy.handle)}


async def purge_one(change: Change, chosen: Chosen) -> Object:
    """Forget an ended job for good."""
    if chosen.record is None or chosen.state not in ENDED:
        raise refused(f"it is {chosen.state.name.lower()}: cancel it first")
    if not change.dry_run:
        change.hub.journal.prune([chosen.record.id])
    return {"state": "purged"}


def changer(act: Act, keys: dict[str, tuple[type, ...]]) -> Verb:
    """Return the verb that does `act` to each job."""

    async def verb(conn: Connection, request: Object) -> None:
        if request.get("unique_policy", "keep") not in ("keep", "drop"):
            raise Refusal("usage", "unique_policy is keep or drop")
        await Change(conn, request, act).run()

    return Verb(verb, {**KEYS, "dry_run": (bool,), "rate": (int,), **keys}, changes=True)


DELAY: dict[str, tuple[type, ...]] = {"delay": (int,)}
COPY: dict[str, tuple[type, ...]] = {"as_function": (str,), "unique_policy": (str,), "again": (bool,)}
VERBS = {
    "cancel": changer(cancel_one, {}),
    "hold": changer(hold_one, {}),
    "release": changer(release_one, DELAY),
    "retry": changer(retry_one, DELAY),
    "replay": changer(replay_one, {**DELAY, **COPY}),
    "purge": changer(purge_one, {}),
}
