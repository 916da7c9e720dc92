"""Jobs and functions as the store keeps them, and how they come back into the engine: windows and restarts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from gearstore.queue.functions import Function
from gearstore.queue.job import (
    DELAYED,
    LIVE,
    NOWHERE,
    ON_DISK,
    QUEUED,
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
    client: bytes
    cause: int
    replayed_as: int
    spilled: bool
    intact: bool


class FunctionRecord(NamedTuple):
    """One row of `functions`: what operators have set of it survives restarts."""

    id: int
    name: bytes
    paused_at: int = 0
    paused_until: int = 0
    max_high: int = -1
    max_normal: int = -1
    max_low: int = -1


# Fields that a job and its record call the same, and that say nothing in the row of a job that nothing happened to.
SAME = ("reducer", "run_at", "attempts", "interruptions", "started_at", "ended_at", "reason", "error", "result",
        "result_size", "replay_of", "cause")  # fmt: skip
_HISTORY = attrgetter(*SAME)
_NONE = (b"", 0, 0, 0, 0, 0, b"", b"", b"", 0, 0, 0)

_STATES = tuple(JobState)


def load(engine: Engine, function: Function, record: Record) -> Job:
    """Return the job in memory for a record of the store, made if it isn't there."""
    handle = engine.handle(record.id)
    job = engine.jobs.get(handle)
    if job is not None:
        return job
    job = Job(
        record.id, handle, function, record.unique, record.workload, record.priority, record.created_at, True
    )  # fmt: skip
    job.state = _STATES[record.state]
    job.stored_state = record.state
    job.stored_bytes = len(record.workload) + len(record.result)
    job.worker_id = record.worker
    job.position = record.position
    job.client = record.client
    history = _HISTORY(record)
    if history != _NONE:  # that it mostly is none saves 0.3 of 2.4 us a job (benchmarks/micro.py, "claim")
        for name, value in zip(SAME, history, strict=True):
            setattr(job, name, value)
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
            engine.hold(job, Reason.DAMAGED)
            continue
        function.unspill(priority)
        window.size += 1
        window.bytes += len(job.workload)
        job.place = WINDOW
        window.jobs.append(job)
        function.ready += 1
        if function.sleepers:
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
                engine.hold(job, Reason.DAMAGED)
                continue
            engine.delayed_on_disk -= 1
            job.place = NOWHERE
            job.deadline = engine.delayed.add(job.run_at, job)


def recover(
    engine: Engine, functions: Iterable[FunctionRecord], counts: Iterable[tuple[int, int, int, int, int]]
) -> None:
    """Rebuild functions and their counts after a start; queued and delayed jobs are on disk until they are claimed."""
    by_id: dict[int, Function] = {}
    for record in functions:
        function = Function(record.id, record.name, engine.window, engine.policies.of(record.name))
        engine.functions[record.name] = by_id[record.id] = function
        function.stored = True
        function.maximums = [record.max_high, record.max_normal, record.max_low]
        function.set_limits()
        function.paused_at, function.paused_until = record.paused_at, record.paused_until
        if function.paused_at:
            engine.paused[function] = None
            function.close_or_open()
        engine.next_function_id = max(engine.next_function_id, record.id + 1)
    for id, state, priority, jobs, size in counts:
        function = by_id[id]
        function.states[state] += jobs
        if state in LIVE:
            function.bytes += size
        if state == QUEUED:
            function.queued[priority] += jobs
            function.windows[priority].on_disk += jobs
            function.spilled += jobs
        elif state == DELAYED:
            engine.delayed_on_disk += jobs
