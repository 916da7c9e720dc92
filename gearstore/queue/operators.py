"""What operators do to single jobs: retry, release, replay, cancel, hold. Refusals are QueueErrors with a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearstore.errors import QueueError
from gearstore.queue.functions import Function
from gearstore.queue.job import DELAYED, ENDED, HELD, QUEUED, RETRY, TRANSITIONS, Job, JobState, Reason, coalescing_key
from gearstore.queue.ports import Event
from gearstore.queue.record import Record, load

if TYPE_CHECKING:
    from gearstore.queue.engine import Engine


CHANGING = "it is changing at this moment"


def refused(text: str) -> QueueError:
    """Return the exception for something that can't be done to a job, with the reason in words."""
    return QueueError(b"REFUSED", text.encode("utf-8", "surrogateescape"))


def retry(engine: Engine, function: Function, record: Record, run_at: int = 0, *, held_only: bool = False) -> Job:
    """Put an ended or held job back at the end of its queue, or have it wait for a time: same handle, attempts kept.

    With `held_only` it is `release`: only what is held.
    """
    key = check_retry(engine, function, record, held_only)
    job = load(engine, function, record)
    job.reason = Reason.RETRY
    job.cause = 0
    job.ended_at = 0
    job.run_at = engine.now  # since then it waits
    if key:
        job.key = key
        function.uniques[key] = job
    function.bytes += len(job.workload)
    run_at = run_at if run_at > engine.now else 0
    engine.journal.note(Event(job.id, engine.now, b"release" if held_only else b"retry", next_at=run_at))
    if run_at:
        engine.postpone(job, run_at)
    else:
        job.move(RETRY)
        engine.requeue(job)
    return job


def check_retry(engine: Engine, function: Function, record: Record, held_only: bool) -> bytes:
    """Refuse what `retry` would refuse; return the coalescing key."""
    job = engine.jobs.get(engine.handle(record.id))
    if job is not None and job.batch is not None:
        raise refused(CHANGING)
    if not record.intact:
        raise refused("its bytes were altered on disk")
    state = JobState(record.state if job is None else job.state)
    if (state, RETRY) not in TRANSITIONS or (held_only and state is not HELD):
        raise refused(f"it is {state.name.lower()}")
    return _refuse_twin(function, record, "queued again")


def replay(
    engine: Engine,
    function: Function,
    record: Record,
    run_at: int = 0,
    *,
    drop_unique: bool = False,
    again: bool = True,
) -> Job:
    """Submit a copy of an ended job, to this function: new handle, linked to the old one.

    Unless `again`, a job that was replayed before is refused: so that an interrupted replay can be run once more.
    """
    check_replay(engine, function, record, drop_unique, again)
    unique = b"" if drop_unique else record.unique
    return engine.submit(
        None, function.name, unique, record.workload, record.priority, True, run_at, record.reducer, record.id
    )


def check_replay(
    engine: Engine, function: Function | None, record: Record, drop_unique: bool = False, again: bool = True
) -> None:
    """Refuse what `replay` would refuse; a function that nobody has named yet (None) has no jobs."""
    if record.state not in ENDED:
        raise refused(f"it is {JobState(record.state).name.lower()}")
    if not record.intact:
        raise refused("its bytes were altered on disk")
    if record.replayed_as and not again:
        raise refused(f"it was replayed already, as {engine.handle(record.replayed_as).decode(errors='replace')}")
    if function is not None and not drop_unique:
        _refuse_twin(function, record, "queued")


def cancel(engine: Engine, job: Job) -> None:
    """Cancel a live or held job."""
    engine.cancel(job)
    if job.background:
        engine.journal.note(Event(job.id, engine.now, b"cancel"))


def hold(engine: Engine, job: Job) -> None:
    """Keep a job that waits from workers until an operator releases it."""
    check_hold(job)
    engine.hold(job, Reason.HELD)
    engine.journal.note(Event(job.id, engine.now, b"hold"))


def check_hold(job: Job) -> None:
    """Refuse what `hold` would refuse."""
    if job.state not in (QUEUED, DELAYED):
        raise refused(f"it is {job.state.name.lower()}")
    if not job.background or job.listeners:
        raise refused("a client waits for it")


def _refuse_twin(function: Function, record: Record, where: str) -> bytes:
    """Raise QueueError if a job in memory has the same unique; return the coalescing key."""
    key = coalescing_key(record.unique, record.workload)
    other = function.uniques.get(key) if key else None
    if other is not None and other.id != record.id:
        raise refused(f"its unique is {where} as {other.handle.decode(errors='replace')}")
    return key
