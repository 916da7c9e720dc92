"""A job as the store keeps it, and how records come back into the engine: windows, restarts, operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gearstore.errors import QueueError
from gearstore.queue.functions import Function
from gearstore.queue.job import (
    DELAYED,
    ENDED,
    LIVE,
    NOWHERE,
    ON_DISK,
    QUEUED,
    RETRY,
    TRANSITIONS,
    WINDOW,
    Job,
    JobState,
    Reason,
    coalescing_key,
)

if TYPE_CHECKING:
    from gearstore.queue.engine import Engine


class Record(NamedTuple):
    """One row of `jobs`, in the order of its columns; `intact` says whether the checksum holds."""

    id: int
    function_id: int
    priority: int
    state: int
    position: int
    unique: bytes
    workload: bytes
    reducer: bytes
    run_at: int
    attempts: int
    interruptions: int
    created_at: int
    started_at: int
    ended_at: int
    worker: bytes
    reason: bytes
    error: bytes
    result: bytes
    result_size: int
    replay_of: int
    spilled: bool
    intact: bool


ALTERED = b"its bytes were altered on disk"

# Fields that a job and its record call the same.
SAME = ("position", "reducer", "run_at", "attempts", "interruptions", "started_at", "ended_at", "reason", "error",
        "result", "result_size", "replay_of")  # fmt: skip


def load(engine: Engine, function: Function, record: Record) -> Job:
    """Return the job in memory for a record of the store, made if it isn't there."""
    handle = engine.handle(record.id)
    job = engine.jobs.get(handle)
    if job is not None:
        return job
    job = Job(
        record.id, handle, function, record.unique, record.workload, record.priority, record.created_at, True
    )  # fmt: skip
    job.state = JobState(record.state)
    job.stored_state = record.state
    job.worker_id = record.worker
    for name in SAME:
        setattr(job, name, getattr(record, name))
    if job.state in (QUEUED, DELAYED):
        job.place = ON_DISK
    if job.unique and job.state in LIVE:
        job.key = coalescing_key(job.unique, job.workload)
        function.uniques.setdefault(job.key, job)
    engine.jobs[handle] = job
    return job


def claimed(engine: Engine, function: Function, priority: int, records: Sequence[Record]) -> None:
    """Take the next jobs of a queue, read from the store in order, into its window."""
    window = function.windows[priority]
    changed, window.changed = window.changed or {}, None
    size = window.size
    for record in records:
        window.after = record.position
        if record.position <= changed.get(record.id, -1):
            continue  # it has left the queue since it was read
        job = load(engine, function, record)
        if job.state is not QUEUED or job.place != ON_DISK:
            continue
        if not record.intact:
            engine.set_aside(job)
            continue
        function.unspill(priority)
        window.size += 1
        window.bytes += len(job.workload)
        job.place = WINDOW
        window.jobs.append(job)
        function.ready += 1
        engine.wake(function)
    if window.size == size and function.sleepers and function.available():
        engine.wake(function)  # for foreground jobs that stood behind those just read


def claimed_delayed(engine: Engine, functions: dict[int, Function], records: Sequence[Record]) -> None:
    """Take the delayed jobs that are due next, read from the store in order, into memory."""
    changed, engine.delayed_changed = engine.delayed_changed or (), None
    for record in records:
        engine.delayed_from = (record.run_at, record.id)
        if record.id in changed:
            continue  # it has left since it was read
        job = load(engine, functions[record.function_id], record)
        if job.state is DELAYED and job.place == ON_DISK:
            if not record.intact:
                engine.set_aside(job)
                continue
            engine.delayed_on_disk -= 1
            job.place = NOWHERE
            job.deadline = engine.delayed.add(job.run_at, job)


def recover(
    engine: Engine, functions: Iterable[tuple[int, bytes]], counts: Iterable[tuple[int, int, int, int]]
) -> None:
    """Rebuild functions and their counts after a start; queued and delayed jobs are on disk until they are claimed."""
    by_id: dict[int, Function] = {}
    for id, name in functions:
        function = engine.functions[name] = Function(id, name, engine.window)
        function.stored = True
        by_id[id] = function
        engine.next_function_id = max(engine.next_function_id, id + 1)
    for id, state, priority, jobs in counts:
        function = by_id[id]
        function.states[state] += jobs
        if state == QUEUED:
            function.queued[priority] += jobs
            function.windows[priority].on_disk += jobs
            function.spilled += jobs
        elif state == DELAYED:
            engine.delayed_on_disk += jobs


def retry(engine: Engine, function: Function, record: Record) -> Job:
    """Put an ended or held job back at the end of its queue: same handle, attempts kept. Raises QueueError."""
    job = engine.jobs.get(engine.handle(record.id))
    if job is not None and job.batch is not None:
        raise QueueError(b"REFUSED", b"it is changing at this moment")
    if not record.intact:
        raise QueueError(b"REFUSED", ALTERED)
    state = JobState(record.state if job is None else job.state)
    if (state, RETRY) not in TRANSITIONS:
        raise QueueError(b"REFUSED", b"it is %s" % state.name.lower().encode())
    key = _refuse_twin(function, record, "queued again")
    job = load(engine, function, record)
    job.move(RETRY)
    job.reason = Reason.RETRY
    job.run_at = job.ended_at = 0
    if key:
        job.key = key
        function.uniques[key] = job
    engine.requeue(job)
    return job


def replay(engine: Engine, function: Function, record: Record) -> Job:
    """Submit a copy of an ended job: new handle, linked to the old one. Raises QueueError."""
    if record.state not in ENDED:
        raise QueueError(b"REFUSED", b"it is %s" % JobState(record.state).name.lower().encode())
    if not record.intact:
        raise QueueError(b"REFUSED", ALTERED)
    _refuse_twin(function, record, "queued")
    return engine.submit(
        None, function.name, record.unique, record.workload, record.priority, True, 0, record.reducer, record.id
    )


def _refuse_twin(function: Function, record: Record, where: str) -> bytes:
    """Raise QueueError if a job in memory has the same unique; return the coalescing key."""
    key = coalescing_key(record.unique, record.workload)
    other = function.uniques.get(key) if key else None
    if other is not None and other.id != record.id:
        raise QueueError(b"REFUSED", b"its unique is %s as %s" % (where.encode(), other.handle))
    return key
