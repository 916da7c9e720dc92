"""The table of states: every pair of state and event, possible or not; and what makes two jobs the same."""

import pytest

from gearstore.errors import QueueError
from gearstore.queue.functions import Function
from gearstore.queue.job import (
    CANCEL,
    CANCELLED,
    COMPLETE,
    DELAY,
    DELAYED,
    DONE,
    DUE,
    ENDED,
    FAIL,
    FAILED,
    GRAB,
    HELD,
    HIGH,
    HOLD,
    LIVE,
    LOW,
    NORMAL,
    PRIORITIES,
    QUEUED,
    REQUEUE,
    RETRY,
    RUNNING,
    TRANSITIONS,
    Event,
    Job,
    JobState,
    coalescing_key,
)

# The table of DESIGN.md, section 3, written out once more: nobody changes it by accident.
TABLE = {
    QUEUED: {GRAB: RUNNING, HOLD: HELD, CANCEL: CANCELLED},
    DELAYED: {DUE: QUEUED, HOLD: HELD, CANCEL: CANCELLED},
    RUNNING: {COMPLETE: DONE, FAIL: FAILED, REQUEUE: QUEUED, DELAY: DELAYED, HOLD: HELD, CANCEL: CANCELLED},
    HELD: {RETRY: QUEUED, DELAY: DELAYED, CANCEL: CANCELLED},
    DONE: {},
    FAILED: {RETRY: QUEUED, DELAY: DELAYED},
    CANCELLED: {RETRY: QUEUED, DELAY: DELAYED},
}

PAIRS = [(state, event) for state in JobState for event in Event]


def job_in(state: JobState, priority: int = NORMAL) -> Job:
    """Return a job in that state, counted by its function."""
    job = Job(1, b"H:h:000000000001", Function(1, b"f", 10), b"", b"", priority, 0, True)
    job.state = state
    job.function.count(job, 1)
    return job


def test_the_table_is_the_one_of_the_design() -> None:
    assert TRANSITIONS == {(state, event): after for state, row in TABLE.items() for event, after in row.items()}


def fields(job: Job) -> dict[str, object]:
    return {name: getattr(job, name) for name in Job.__slots__}


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=lambda part: part.name.lower())
def test_each_pair_of_state_and_event(state: JobState, event: Event) -> None:
    job = job_in(state)
    before = fields(job)
    after = TABLE[state].get(event)
    if after is None:
        with pytest.raises(QueueError) as refused:
            job.move(event)
        assert (refused.value.code, refused.value.text) == (
            b"NOT_POSSIBLE", b"H:h:000000000001 is " + state.name.lower().encode()
        )  # fmt: skip
        assert fields(job) == before
        after = state
    else:
        assert job.move(event) is after
    assert job.state is after
    assert [state for state in JobState if job.function.states[state]] == [after]
    assert job.function.queued == [0, int(after is QUEUED), 0]


@pytest.mark.parametrize("priority", PRIORITIES)
def test_queued_jobs_are_counted_by_priority(priority: int) -> None:
    job = job_in(QUEUED, priority)
    assert job.function.queued[priority] == sum(job.function.queued) == 1
    job.move(GRAB)
    assert job.function.queued == [0, 0, 0]
    job.move(REQUEUE)
    assert job.function.queued[priority] == sum(job.function.queued) == 1


def test_every_state_is_live_held_or_ended() -> None:
    assert sorted((*LIVE, HELD, *ENDED)) == sorted(JobState)


def test_priorities_are_served_in_this_order() -> None:
    assert PRIORITIES == (HIGH, NORMAL, LOW) == (0, 1, 2)


@pytest.mark.parametrize(
    ("unique", "workload", "key"),
    [
        (b"", b"", b""),
        (b"", b"data", b""),
        (b"u", b"data", b"u"),
        (b"--", b"data", b"--"),
        (b"-", b"", b""),  # as in gearmand: no data, no coalescing
        (b"-", b"data", b"data"),  # and it joins a job whose unique is the data
        (b"-", b"-", b"-"),
        (b"-", b"x" * 64, b"x" * 64),
        (b"\0", b"data", b"\0"),
    ],
)
def test_what_coalescing_compares(unique: bytes, workload: bytes, key: bytes) -> None:
    assert coalescing_key(unique, workload) == key


def test_long_workloads_of_dash_jobs_are_told_apart() -> None:
    long, other = b"x" * 65, b"x" * 64 + b"y"
    assert coalescing_key(b"-", long) == coalescing_key(b"-", long)
    assert coalescing_key(b"-", long) not in (coalescing_key(b"-", other), long, b"")
