"""Group commit: changes of one turn of the loop collect in a batch; while it is committed, the next one fills.

The slower the disk, the larger the batch; there is no timer. What was promised to a client is released after the
commit. Changes of one job within a batch collapse into its newest state, since rows are made when the batch is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, TypeVar

from gearstore.errors import StoreError, StoreFull
from gearstore.queue.causes import squeezed
from gearstore.queue.job import DELAYED, DONE, ENDED, FAILED, ON_DISK, QUEUED, VOLATILE, Job
from gearstore.queue.ports import Event
from gearstore.queue.record import load
from gearstore.store.base import REPLAY, UNSTORED, ChangedRow, Changes, Store, checksum, unique_hash
from gearstore.store.receipt import Receipt

if TYPE_CHECKING:
    from gearstore.queue.engine import Engine
    from gearstore.queue.functions import Function
    from gearstore.queue.record import Record

Result = TypeVar("Result")

RESERVE = 1_000_000  # job numbers reserved ahead: foreground jobs use them without a write
HIGH_JOBS, HIGH_BYTES = 5_000, 16 << 20  # of a filling batch; beyond it those who add are not read from
GATHER_TURNS = 8  # of the loop
ASSIGNMENT_DELAY = 0.025  # seconds that an assignment may wait; most jobs end before
RECENT = 1000  # endings that are remembered by number
RETRY_DELAY = 0.25  # seconds between tries while the disk is full


class Waiter(Protocol):
    """A connection that holds answers back until a batch is durable."""

    def release(self) -> None: ...


class Batch:
    """The changes of one transaction, and who waits for it."""

    __slots__ = ("began", "carried", "done", "events", "hashes", "imported", "jobs", "look_ups", "paused", "pruned",
                 "refused", "size", "steered", "waiters")  # fmt: skip

    def __init__(self) -> None:
        self.began = 0.0  # when the first request that changed it was read
        self.jobs: dict[int, Job] = {}
        self.look_ups: dict[int, Job] = {}
        self.hashes: dict[int, int] = {}  # unique_hash of new jobs
        self.events: list[Event] = []
        self.steered: dict[Function, None] = {}
        self.paused: tuple[int, int] | None = None  # all functions: since when, until when
        self.pruned: list[int] = []  # ended jobs to be forgotten
        self.waiters: dict[Waiter, None] = {}
        self.imported: dict[int, tuple[Job, bytes]] = {}  # by key: a job of another queue, what it was called there
        self.carried: list[Batch] = []  # batches that the disk refused: their completions are in this one
        self.size = 0  # bytes of workloads
        self.done = False
        self.refused = False  # its new jobs were not stored

    @property
    def empty(self) -> bool:
        """Whether there is nothing to make durable."""
        return not (self.jobs or self.look_ups or self.events or self.steered or self.pruned or self.paused)

    def take_over(self, earlier: Batch) -> None:
        """Have all changes of a batch that could not be written in front of those of this one."""
        self.jobs = earlier.jobs | self.jobs
        self.look_ups = earlier.look_ups | self.look_ups
        self.hashes = earlier.hashes | self.hashes
        self.events = earlier.events + self.events
        self.imported = earlier.imported | self.imported
        self.steered = earlier.steered | self.steered
        self.paused = self.paused or earlier.paused
        self.pruned = earlier.pruned + self.pruned
        self.carried += [earlier, *earlier.carried]
        self.waiters |= earlier.waiters
        for job in (*earlier.jobs.values(), *earlier.look_ups.values()):
            job.batch = self


class Journal:
    """The engine's `Journal` on a Store."""

    def __init__(self, store: Store, on_failure: Callable[[StoreError], None]) -> None:
        self.store = store
        self.engine: Engine  # set by its maker: the two know each other
        self.on_failure = on_failure
        self.on_commit: Callable[[], None] = lambda: None
        self.on_refusal: Callable[[str], None] = lambda why: None  # why new jobs are refused; "": not any more
        self.batch = Batch()
        self.under_way: Batch | None = None  # closed, and being committed
        self.assignments: dict[int, Job] = {}  # not stored yet
        self.aging: dict[int, Job] = {}  # those of them that are stored if they last another ASSIGNMENT_DELAY
        self.congested = False  # more waits for the disk than should
        self.full = False  # the last batch met a full disk
        self.refusing = False  # the last new jobs were refused
        self.commits = 0
        self.receipt = Receipt()
        self.read_at = 0.0  # when the first request of this turn was read, 0 between turns
        self.endings: deque[int] = deque(maxlen=RECENT)  # jobs that ended last
        self.paused: dict[Waiter, None] = {}  # connections that are not read from until the backlog is smaller
        self._wakeup = asyncio.Event()
        self._woken = False
        self._committing = asyncio.Lock()
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None

    # The engine's side: no awaiting, nothing but entries in dictionaries

    def add(self, job: Job) -> None:
        """Store a new background job, or one that has just become background."""
        batch = job.batch = self.batch
        batch.jobs[job.id] = job
        batch.size += len(job.workload)
        if len(batch.jobs) > HIGH_JOBS or batch.size > HIGH_BYTES:
            self.congested = True
        if not self._woken:
            self._wake()

    def change(self, job: Job) -> None:
        """Store the newest state of a job."""
        if self.assignments.pop(job.id, None) is None:
            self.aging.pop(job.id, None)
        batch = job.batch = self.batch
        batch.jobs[job.id] = job
        if not self._woken:
            self._wake()

    def imported(self, key: int, job: Job, origin: bytes) -> None:
        """Store with the job where it comes from."""
        self.change(job)
        self.batch.imported[key] = (job, origin)

    def assigned(self, job: Job) -> None:
        """Store that a worker has the job, some time soon; nobody waits for it, and most jobs end before."""
        self.assignments[job.id] = job
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ASSIGNMENT_DELAY, self._age_assignments)

    def look_up(self, job: Job) -> bool:
        """Look on disk for a live job of the same unique before this one counts; return False if there surely is none
        (benchmarks/scale.py, "queued": it saves a tenth of a submit beside a million jobs)."""
        batch, hash = self.batch, unique_hash(job.key)
        wanted = self.store.may_know(hash)
        if wanted:
            job.batch = batch
            batch.look_ups[job.id] = job
            self._wake()
        if wanted or job.background:
            batch.hashes[job.id] = hash
        return wanted

    def note(self, event: Event) -> None:
        """Store what happened to a job."""
        self.batch.events.append(event)
        self._wake()

    def steer(self, function: Function) -> None:
        """Store what an operator has set for a function."""
        function.steered = True
        self.batch.steered[function] = None
        self._wake()

    def steer_all(self) -> None:
        """Store whether all functions are paused."""
        self.batch.paused = (self.engine.paused_at, self.engine.paused_until)
        self._wake()

    def prune(self, ids: Iterable[int]) -> None:
        """Forget ended jobs, for good. Nothing may bring one of them back until this is durable (`Hub.history`)."""
        self.batch.pruned += ids
        self._wake()

    def _age_assignments(self) -> None:
        """Store the assignments that have waited for a whole ASSIGNMENT_DELAY, let the others wait once more."""
        self._timer = None
        jobs, self.aging, self.assignments = self.aging, self.assignments, {}
        if self.aging:
            self._timer = asyncio.get_running_loop().call_later(ASSIGNMENT_DELAY, self._age_assignments)
        for job in jobs.values():
            self.batch.jobs.setdefault(job.id, job)
        if jobs:
            self._wake()

    def store_assignments(self) -> None:
        """Let no assignment wait any longer."""
        self.aging |= self.assignments
        self.assignments = {}
        if self._timer is not None:
            self._timer.cancel()
        self._age_assignments()

    def kick(self) -> None:
        """Reserve more job numbers if they run low; a server that only sees foreground jobs has no other commits."""
        if self._reserve():
            self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self.batch.began = self.read_at or perf_counter()
        self._woken = True
        self._wakeup.set()

    # The committing side

    async def run(self) -> None:
        """Commit batch after batch until `close`."""
        while not self._closing:
            await self._wakeup.wait()
            await self._gather()
            await self.commit()

    async def _gather(self) -> None:
        """Wait a few turns of the loop, as long as each brings more, so that the clients just answered are in this
        batch too: a commit costs much the same for 1 job and for 100 (benchmarks/README.md, "gather")."""
        await asyncio.sleep(0)  # in which the answers of the last batch are written
        for _ in range(GATHER_TURNS):
            before = len(self.batch.jobs)
            await asyncio.sleep(0)
            if len(self.batch.jobs) == before or self.congested:
                return

    async def close(self) -> None:
        """Commit what is left."""
        self._closing = True
        self.store_assignments()
        async with self._committing:
            pass  # what is under way
        while not self.batch.empty:
            await self.commit()
            if self.full:
                return

    async def commit(self) -> None:
        """Close the batch, make it durable, release what waited for it."""
        async with self._committing:
            await self._commit()

    @property
    def newest(self) -> Batch | None:
        """The batch after which everything changed so far is durable, None if it is already."""
        return self.under_way if self.batch.empty else self.batch

    async def aside(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Let something else be done with the store's file while no batch is being committed."""
        async with self._committing:
            try:
                return await work()
            except StoreFull:
                raise
            except StoreError as error:
                self._closing = True
                self.on_failure(error)
                raise

    async def _commit(self) -> None:
        self._wakeup.clear()
        self._woken = False
        batch, self.batch = self.batch, Batch()
        self.under_way = batch
        self.congested = False
        try:
            try:
                await self._apply(batch)
            except StoreFull as error:
                await self._refuse(batch, str(error))
            self.under_way = None
        except StoreError as error:
            self._closing = True
            self.on_failure(error)
            return
        if self.paused:
            paused, self.paused = self.paused, {}
            for waiter in paused:
                waiter.release()
        self.on_commit()

    async def _apply(self, batch: Batch) -> None:
        changes, states = self._snapshot(batch)
        applied = await self.store.apply(changes)
        self.commits += 1
        self.endings.extend([row[0] for row in changes.done])
        self.endings.extend([row[0] for row in changes.changed if row[1] in ENDED])
        self.full = False
        if self.refusing and changes.new:
            self.refusing = False
            self.on_refusal("")
        if changes.next_id:
            self.engine.ids_until = changes.next_id
        for function_id, name in changes.functions:
            function = self.engine.functions[name]
            function.stored = function.id == function_id
        if applied.pruned:
            by_id = {function.id: function for function in self.engine.functions.values()}
            for (function_id, state, _), jobs in applied.pruned.items():
                by_id[function_id].states[state] -= jobs
        self._settle(batch, states, applied.found)
        self.receipt.committed(len(states), applied.seconds)
        if changes.new:  # their answers are written in the turn that `_settle` has asked for: just before
            loop = asyncio.get_running_loop()
            loop.call_soon(self.receipt.acknowledged, batch.began, len(changes.new))

    async def _refuse(self, batch: Batch, why: str) -> None:
        """The disk is full: refuse the new jobs, keep everything else and try it again."""
        self.full = True
        new = {job.id: job for job in batch.jobs.values() if job.stored_state < 0}
        if new:
            self.refusing = True
            self.on_refusal(why)
        for id, job in new.items():
            del batch.jobs[id]
            batch.look_ups.pop(id, None)
            self.engine.refuse(job)
            job.batch = None
        for each in (batch, self.batch):
            each.events = [event for event in each.events if event.job_id not in new]
        batch.refused = True
        batch.done = batch.empty  # before anybody looks: who is patient waits for it
        for waiter in batch.waiters:
            waiter.release()
        if batch.done:
            return
        try:
            await self._apply(batch)  # the log has room for changes more often than for new jobs
        except StoreFull:
            self._carry(batch)
            await asyncio.sleep(RETRY_DELAY)

    def _carry(self, batch: Batch) -> None:
        """Move what could not be written into the next batch."""
        self.under_way = None
        self.batch.take_over(batch)
        self._wake()

    def _settle(self, batch: Batch, states: list[tuple[Job, int, int]], found: dict[int, Record]) -> None:
        """Take note of what is durable, then let the held answers go."""
        if batch.look_ups:
            self._finish_look_ups(batch, found)
        stored = self.engine.stored
        for job, state, size in states:
            if found and job.id in found:
                continue
            job.stored_state = state
            job.stored_bytes = size
            if job.batch is batch or job.batch is None:  # else a newer change is on its way
                job.batch = None
                stored(job)
        batch.done = True
        for carried in batch.carried:
            carried.done = True
        for waiter in batch.waiters:
            waiter.release()

    def _finish_look_ups(self, batch: Batch, found: dict[int, Record]) -> None:
        for job in batch.look_ups.values():
            record = found.get(job.id)
            if record is not None or not job.background:  # (else there is nothing to do)
                existing = None if record is None else load(self.engine, job.function, record)
                self.engine.looked_up(job, existing)
            if job.batch is batch:
                job.batch = None

    def _reserve(self) -> int:
        engine = self.engine
        return engine.next_id + RESERVE if engine.ids_until - engine.next_id < RESERVE // 2 else 0

    def _snapshot(self, batch: Batch) -> tuple[Changes, list[tuple[Job, int, int]]]:
        """Return the rows of the batch, and the state and bytes that each job will then have on disk."""
        changes = Changes(next_id=self._reserve())
        hashes = batch.hashes
        for job in batch.look_ups.values():
            changes.look_ups.append((job.id, job.function.id, job.key, hashes[job.id]))
        functions: dict[int, Function] = {}
        states: list[tuple[Job, int, int]] = []
        moved: dict[tuple[int, int, int, int], list[int]] = {}
        crowded = len(self.assignments) + len(self.aging) > UNSTORED
        for job in batch.jobs.values():
            if job.dropped or not job.background:
                continue
            function, state, before = job.function, int(job.state), job.stored_state
            if not function.stored:
                functions[function.id] = function
            if before < 0:
                _add_new(changes, job, state, hashes, crowded)
            elif state == DONE and not job.marked:
                changes.done.append(
                    (job.id, job.attempts, job.started_at, job.ended_at, job.worker_id, job.result, job.result_size)
                )
            else:
                changes.changed.append(_changed_row(job, state, crowded))
            if state == FAILED:
                changes.causes[job.cause] = (job.reason, squeezed(job.error))
            size = len(job.workload) + len(job.result)
            states.append((job, state, size))
            move = (function.id, before, state, job.priority)
            sums = moved.get(move)
            if sums is None:
                sums = moved[move] = [0, 0, 0]
            sums[0] += 1
            sums[1] += size
            sums[2] += job.stored_bytes
        _count(changes, moved)
        self._snapshot_rest(batch, changes, functions)
        return changes, states

    def _snapshot_rest(self, batch: Batch, changes: Changes, functions: dict[int, Function]) -> None:
        """Add what most batches don't have."""
        for function in batch.steered:
            if not function.stored:
                functions[function.id] = function
            high, normal, low = function.maximums
            changes.steering.append((function.paused_at, function.paused_until, high, normal, low, function.id))
        changes.functions = [(function.id, function.name) for function in functions.values()]
        changes.paused = batch.paused
        changes.pruned = batch.pruned
        changes.imported = [(key, job.id, name) for key, (job, name) in batch.imported.items() if not job.dropped]
        changes.events += batch.events


def _count(changes: Changes, moved: dict[tuple[int, int, int, int], list[int]]) -> None:
    """Make differences of what moved: function, state before and after, priority -> jobs, bytes after, bytes before."""
    counts, sizes = changes.counts, changes.sizes
    for (function_id, before, state, priority), (jobs, size, size_before) in moved.items():
        for key, number, bytes_ in (
            ((function_id, state, priority), jobs, size),
            ((function_id, before, priority), -jobs, -size_before),
        ):
            if key[1] >= 0:
                counts[key] = counts.get(key, 0) + number
                sizes[key] = sizes.get(key, 0) + bytes_


def _add_new(changes: Changes, job: Job, state: int, hashes: dict[int, int], crowded: bool) -> None:
    unique, reducer, workload = job.unique, job.reducer, job.workload
    spilled = job.place >= VOLATILE or state == DELAYED or crowded
    changes.new.append(
        (job.id, job.function.id, job.priority, job.position, unique,
         (hashes.get(job.id) or _hash(job, crowded)) if spilled else None, workload,
         checksum(unique, reducer, workload), job.created_at, job.client)
    )  # fmt: skip
    if state != QUEUED or reducer or job.replay_of or job.adopted:  # rare
        changes.changed.append(_changed_row(job, state, crowded))
    if job.replay_of:
        changes.replayed.append((job.id, job.replay_of))
        changes.events.append(Event(job.replay_of, job.created_at, REPLAY, detail=b"%d" % job.id, next_at=job.run_at))


def _changed_row(job: Job, state: int, crowded: bool) -> ChangedRow:
    return (job.id, state, job.position, _hash(job, crowded), job.run_at, job.attempts, job.interruptions,
            job.started_at, job.ended_at, job.worker_id, job.reason, job.error, job.result, job.result_size,
            job.reducer, job.replay_of, job.cause)  # fmt: skip


def _hash(job: Job, crowded: bool) -> int | None:
    """Return the hash of the unique for jobs that memory may not know while they are live, now or after a start.

    (A start enters what stands in front of each queue, where all other jobs in memory are; unless so many run without
    their rows saying so that these are the front.)
    """
    if job.key and (crowded or job.place in (ON_DISK, VOLATILE) or job.state is DELAYED):
        return unique_hash(job.key)
    return None
