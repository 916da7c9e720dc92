"""Group commit: changes of one turn of the loop collect in a batch; while it is committed, the next one fills.

The slower the disk, the larger the batch; there is no timer. What was promised to a client is released after the
commit. Changes of one job within a batch collapse into its newest state, since rows are made when the batch is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gearstore.errors import StoreError, StoreFull
from gearstore.queue.job import DELAYED, DONE, ON_DISK, QUEUED, VOLATILE, Job
from gearstore.queue.record import load
from gearstore.store.base import ChangedRow, Changes, LookUp, Store, checksum, unique_hash

if TYPE_CHECKING:
    from gearstore.queue.engine import Engine
    from gearstore.queue.functions import Function
    from gearstore.queue.record import Record

MAX_RESULT = 65536  # bytes of a result that are kept
RESERVE = 1_000_000  # job numbers reserved ahead: foreground jobs use them without a write
HIGH_JOBS, HIGH_BYTES = 5_000, 16 << 20  # of a filling batch; beyond it those who add are not read from
GATHER_TURNS = 8  # of the loop
ASSIGNMENT_DELAY = 0.025  # seconds that an assignment may wait; most jobs end before
RETRY_DELAY = 0.25  # seconds between tries while the disk is full


class Waiter(Protocol):
    """A connection that holds answers back until a batch is durable."""

    def release(self) -> None: ...


class Batch:
    """The changes of one transaction, and who waits for it."""

    __slots__ = ("carried", "done", "jobs", "look_ups", "refused", "size", "waiters")

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.look_ups: dict[int, Job] = {}
        self.waiters: dict[Waiter, None] = {}
        self.carried: list[Batch] = []  # batches that the disk refused: their completions are in this one
        self.size = 0  # bytes of workloads
        self.done = False
        self.refused = False  # its new jobs were not stored


class Journal:
    """The engine's `Journal` on a Store."""

    def __init__(self, store: Store, on_failure: Callable[[StoreError], None]) -> None:
        self.store = store
        self.engine: Engine  # set by its maker: the two know each other
        self.on_failure = on_failure
        self.on_commit: Callable[[], None] = lambda: None
        self.batch = Batch()
        self.assignments: dict[int, Job] = {}  # not stored yet
        self.aging: dict[int, Job] = {}  # those of them that are stored if they last another ASSIGNMENT_DELAY
        self.congested = False  # more waits for the disk than should
        self.full = False  # the last batch met a full disk
        self.commits = 0
        self.paused: dict[Waiter, None] = {}  # connections that are not read from until the backlog is smaller
        self._wakeup = asyncio.Event()
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
        self._wakeup.set()

    def change(self, job: Job) -> None:
        """Store the newest state of a job."""
        if self.assignments.pop(job.id, None) is None:
            self.aging.pop(job.id, None)
        job.batch = self.batch
        self.batch.jobs[job.id] = job
        self._wakeup.set()

    def assigned(self, job: Job) -> None:
        """Store that a worker has the job, some time soon; nobody waits for it, and most jobs end before."""
        self.assignments[job.id] = job
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ASSIGNMENT_DELAY, self._age_assignments)

    def look_up(self, job: Job) -> None:
        """Look on disk for a live job of the same unique before this one counts."""
        job.batch = self.batch
        self.batch.look_ups[job.id] = job
        self._wakeup.set()

    def _age_assignments(self) -> None:
        """Store the assignments that have waited for a whole ASSIGNMENT_DELAY, let the others wait once more."""
        self._timer = None
        jobs, self.aging, self.assignments = self.aging, self.assignments, {}
        if self.aging:
            self._timer = asyncio.get_running_loop().call_later(ASSIGNMENT_DELAY, self._age_assignments)
        for job in jobs.values():
            self.batch.jobs.setdefault(job.id, job)
        if jobs:
            self._wakeup.set()

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
        while self.batch.jobs or self.batch.look_ups:
            await self.commit()
            if self.full:
                return

    async def commit(self) -> None:
        """Close the batch, make it durable, release what waited for it."""
        async with self._committing:
            await self._commit()

    async def _commit(self) -> None:
        self._wakeup.clear()
        batch, self.batch = self.batch, Batch()
        self.congested = False
        try:
            try:
                await self._apply(batch)
            except StoreFull:
                await self._refuse(batch)
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
        found = await self.store.apply(changes)
        self.commits += 1
        self.full = False
        if changes.next_id:
            self.engine.ids_until = changes.next_id
        for function_id, name in changes.functions:
            function = self.engine.functions[name]
            function.stored = function.id == function_id
        self._settle(batch, states, found)

    async def _refuse(self, batch: Batch) -> None:
        """The disk is full: refuse the new jobs, keep everything else and try it again."""
        self.full = True
        for job in [job for job in batch.jobs.values() if job.stored_state < 0]:
            del batch.jobs[job.id]
            batch.look_ups.pop(job.id, None)
            self.engine.refuse(job)
            job.batch = None
        batch.refused = True
        for waiter in batch.waiters:
            waiter.release()
        if not batch.jobs and not batch.look_ups:
            batch.done = True
            return
        try:
            await self._apply(batch)  # the log has room for changes more often than for new jobs
        except StoreFull:
            self._carry(batch)
            await asyncio.sleep(RETRY_DELAY)

    def _carry(self, batch: Batch) -> None:
        """Move what could not be written into the next batch."""
        following = self.batch
        following.jobs = batch.jobs | following.jobs
        following.look_ups = batch.look_ups | following.look_ups
        following.carried += [batch, *batch.carried]
        following.waiters |= batch.waiters
        for job in (*batch.jobs.values(), *batch.look_ups.values()):
            job.batch = following
        self._wakeup.set()

    def _settle(self, batch: Batch, states: list[tuple[Job, int]], found: dict[int, Record]) -> None:
        """Take note of what is durable, then let the held answers go."""
        if batch.look_ups:
            self._finish_look_ups(batch, found)
        stored = self.engine.stored
        for job, state in states:
            if job.id in found:
                continue
            job.stored_state = state
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
            existing = None if record is None else load(self.engine, job.function, record)
            self.engine.looked_up(job, existing)
            if job.batch is batch:
                job.batch = None

    def _reserve(self) -> int:
        engine = self.engine
        return engine.next_id + RESERVE if engine.ids_until - engine.next_id < RESERVE // 2 else 0

    def _snapshot(self, batch: Batch) -> tuple[Changes, list[tuple[Job, int]]]:
        """Return the rows of the batch, and the state that each job will then have on disk."""
        changes = Changes(next_id=self._reserve())
        counts = changes.counts
        functions: dict[int, Function] = {}
        states: list[tuple[Job, int]] = []
        for job in batch.jobs.values():
            if job.dropped or not job.background:
                continue
            function, state, before = job.function, int(job.state), job.stored_state
            if not function.stored:
                functions[function.id] = function
            if before < 0:
                _add_new(changes, job, state)
            elif state == DONE and not (job.result or job.error or job.reason or job.interruptions):
                changes.done.append((job.id, job.attempts, job.started_at, job.ended_at, job.worker_id))
            else:
                changes.changed.append(_changed_row(job, state))
            if before != state:
                key = (function.id, state, job.priority)
                counts[key] = counts.get(key, 0) + 1
                if before >= 0:
                    key = (function.id, before, job.priority)
                    counts[key] = counts.get(key, 0) - 1
            states.append((job, state))
        changes.functions = [(function.id, function.name) for function in functions.values()]
        for job in batch.look_ups.values():
            changes.look_ups.append(LookUp(job.id, job.function.id, job.key, unique_hash(job.key)))
        return changes, states


def _add_new(changes: Changes, job: Job, state: int) -> None:
    unique, reducer, workload = job.unique, job.reducer, job.workload
    spilled = job.place >= VOLATILE or state == DELAYED
    changes.new.append(
        (job.id, job.function.id, job.priority, job.position, unique, _hash(job) if spilled else None, workload,
         checksum(unique, reducer, workload), job.created_at)
    )  # fmt: skip
    if state != QUEUED or reducer or job.replay_of:  # rare: delayed, was foreground before, reduce, a copy
        changes.changed.append(_changed_row(job, state))


def _changed_row(job: Job, state: int) -> ChangedRow:
    result = job.result if len(job.result) <= MAX_RESULT else b""
    return (job.id, state, job.position, _hash(job), job.run_at, job.attempts, job.interruptions, job.started_at,
            job.ended_at, job.worker_id, job.reason, job.error, result, job.result_size, job.reducer,
            job.replay_of)  # fmt: skip


def _hash(job: Job) -> int | None:
    """Return the hash of the unique for jobs that memory may not know while they are live, now or after a start.

    (A start hashes what stands in front of each queue, where all other jobs in memory are.)
    """
    return unique_hash(job.key) if job.key and (job.place in (ON_DISK, VOLATILE) or job.state is DELAYED) else None
