"""Jobs that come from another queue: as they were there, with a number of their own here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gearstore.errors import QueueError
from gearstore.queue.causes import cause_of
from gearstore.queue.engine import NO_NUMBERS, SPARE_NUMBERS, UNIQUE_TOO_LARGE
from gearstore.queue.job import DELAYED, FAILED, MAX_UNIQUE, QUEUED, RUNNING, Job, JobState, Reason

if TYPE_CHECKING:
    from gearstore.queue.engine import Engine


class Foreign(NamedTuple):
    """A job of another queue, in the words of `Record`; times are milliseconds, 0 for none."""

    function: bytes
    unique: bytes
    workload: bytes
    priority: int
    state: JobState = QUEUED
    reducer: bytes = b""
    run_at: int = 0
    attempts: int = 0
    interruptions: int = 0
    created_at: int = 0
    started_at: int = 0
    ended_at: int = 0
    worker: bytes = b""
    client: bytes = b""
    reason: bytes = b""
    error: bytes = b""
    result: bytes = b""
    result_size: int = 0
    events: tuple[tuple[int, bytes, int, bytes, bytes, int], ...] = ()  # as `Event` without its first field


KEPT = (
    "attempts",
    "interruptions",
    "created_at",
    "client",
    "started_at",
    "ended_at",
    "reason",
    "error",
    "result",
    "result_size",
)


def adopt(engine: Engine, foreign: Foreign) -> tuple[Job, bool]:
    """Take the job in; return it and whether it is new. Raises QueueError.

    What waits there waits here, at the end of its queue; if its unique waits or runs here already it joins that job, as
    any submit does. What ran there was cut short by the move and is queued. What is held or has ended stays so.
    """
    if foreign.state is RUNNING:
        foreign = foreign._replace(
            state=QUEUED, interruptions=foreign.interruptions + 1, reason=Reason.INTERRUPTED, run_at=0
        )
    foreign = foreign._replace(created_at=foreign.created_at or engine.now)
    before = engine.next_id
    if foreign.state in (QUEUED, DELAYED):
        run_at = foreign.run_at if foreign.state is DELAYED else 0
        job = engine.submit(
            None, foreign.function, foreign.unique, foreign.workload, foreign.priority, True, run_at, foreign.reducer
        )
        if job.id < before:
            return job, False
    else:
        job = _settled(engine, foreign)
    for name in KEPT:
        setattr(job, name, getattr(foreign, name))
    if foreign.state is FAILED:
        job.cause = cause_of(foreign.reason, foreign.error)[0]
    job.adopted = True
    return job, True


def _settled(engine: Engine, foreign: Foreign) -> Job:
    """Return a new job that nobody waits for and no worker gets."""
    if len(foreign.unique) > MAX_UNIQUE:
        raise QueueError(*UNIQUE_TOO_LARGE)
    if engine.next_id >= engine.ids_until - SPARE_NUMBERS:
        raise QueueError(*NO_NUMBERS)
    function = engine.function(foreign.function)
    id = engine.next_number()
    handle = engine.handle(id)
    job = Job(id, handle, function, foreign.unique, foreign.workload, foreign.priority, foreign.created_at, True)
    job.state = foreign.state
    job.reducer = foreign.reducer
    job.worker_id = foreign.worker
    function.count(job, 1)
    engine.jobs[handle] = job
    engine.journal.add(job)
    return job
