"""A job, its states, and the one table that says which state follows which.

Rule 1: whatever decides a state is in TRANSITIONS; what is not in it is refused and changes nothing.
Names, uniques, handles and workloads are bytes from socket to disk. Times are milliseconds since 1970 (UTC).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gearstore.errors import QueueError

if TYPE_CHECKING:
    from gearstore.queue.functions import Function
    from gearstore.queue.peer import Peer

MAX_UNIQUE = 64  # bytes; more is refused with ARGUMENT_TOO_LARGE as in gearmand
MAX_FUNCTION = 512  # what libgearman allows; a longer name would not fit the assign packet of some workers


class Priority(IntEnum):
    """Priorities in the order in which they are served; the values are those of gearmand's own store."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


# Plain numbers: hashing an enum member takes 0.3 us, and counts are kept by priority.
HIGH, NORMAL, LOW = map(int, Priority)
PRIORITIES = (HIGH, NORMAL, LOW)


class JobState(IntEnum):
    """States of a job; the values are stored, so they never change.

    SQLite stores 0 and 1 in no bytes: with these two for the usual beginning and end a row does not grow when its job
    is done, and its page needs no rearranging (benchmarks/README.md, "rows that don't grow").
    """

    QUEUED = 0
    DONE = 1
    DELAYED = 2
    RUNNING = 3
    HELD = 4
    FAILED = 5
    CANCELLED = 6


QUEUED = JobState.QUEUED
DELAYED = JobState.DELAYED
RUNNING = JobState.RUNNING
HELD = JobState.HELD
DONE = JobState.DONE
FAILED = JobState.FAILED
CANCELLED = JobState.CANCELLED

LIVE = (QUEUED, DELAYED, RUNNING)  # states in which a submit with the same unique joins the job
ENDED = (DONE, FAILED, CANCELLED)


class Event(IntEnum):
    """What happens to a job."""

    GRAB = 0  # a worker takes it
    DUE = 1  # its time has come
    COMPLETE = 2  # WORK_COMPLETE
    FAIL = 3  # WORK_FAIL, WORK_EXCEPTION, or no attempt left
    REQUEUE = 4  # its worker went away or took too long, or the server ended
    DELAY = 5  # tried again later
    HOLD = 6  # waits for the operator
    CANCEL = 7  # by an operator, or the last foreground client left
    RETRY = 8  # by an operator


GRAB, DUE, COMPLETE, FAIL, REQUEUE = Event.GRAB, Event.DUE, Event.COMPLETE, Event.FAIL, Event.REQUEUE
DELAY, HOLD, CANCEL, RETRY = Event.DELAY, Event.HOLD, Event.CANCEL, Event.RETRY

TRANSITIONS: dict[tuple[JobState, Event], JobState] = {
    (QUEUED, GRAB): RUNNING,
    (QUEUED, HOLD): HELD,
    (QUEUED, CANCEL): CANCELLED,
    (DELAYED, DUE): QUEUED,
    (DELAYED, HOLD): HELD,
    (DELAYED, CANCEL): CANCELLED,
    (RUNNING, COMPLETE): DONE,
    (RUNNING, FAIL): FAILED,
    (RUNNING, REQUEUE): QUEUED,
    (RUNNING, DELAY): DELAYED,
    (RUNNING, HOLD): HELD,
    (RUNNING, CANCEL): CANCELLED,
    (HELD, RETRY): QUEUED,
    (HELD, DELAY): DELAYED,
    (HELD, CANCEL): CANCELLED,
    (FAILED, RETRY): QUEUED,
    (FAILED, DELAY): DELAYED,
    (CANCELLED, RETRY): QUEUED,
    (CANCELLED, DELAY): DELAYED,
}

# The same as rows of a tuple: hashing enum members takes 0.3 us each, and every job moves three times.
_NEXT = tuple(tuple(TRANSITIONS.get((state, event)) for event in Event) for state in JobState)


class Reason:
    """Why a job is where it is, in one word; stored, shown, never parsed."""

    FAIL = b"fail"
    EXCEPTION = b"exception"
    TIMEOUT = b"timeout"
    LOST = b"lost"
    INTERRUPTED = b"interrupted"
    CANCELLED = b"cancelled"
    RETRY = b"retry"
    HELD = b"held"
    DAMAGED = b"damaged"


# Where a queued job stands.
NOWHERE = 0  # not to be taken (yet)
WINDOW = 1  # in its window in memory
VOLATILE = 2  # among the foreground jobs
ON_DISK = 3  # only its row knows; also for delayed jobs


class Job:
    """One unit of work. The first group of fields is stored, the second lives in memory only.

    With slots a look at a field takes a third of the time that a default of the class takes, and a job is looked at
    some hundred times (benchmarks/README.md, "fields of a job").
    """

    __slots__ = ("adopted", "attempts", "background", "batch", "cause", "client", "created_at", "deadline",
                 "denominator", "dropped", "ended_at", "error", "function", "handle", "id", "interruptions", "key",
                 "listeners", "marked", "numerator", "place", "position", "priority", "promoted", "reason",
                 "reducer", "replay_of", "result", "result_size", "run_at", "started_at", "state", "stored_bytes",
                 "stored_state", "unique", "worker", "worker_id", "workload")  # fmt: skip

    def __init__(
        self,
        id: int,
        handle: bytes,
        function: Function,
        unique: bytes,
        workload: bytes,
        priority: int,
        created_at: int,
        background: bool,
    ) -> None:
        self.id = id
        self.handle = handle
        self.function = function
        self.unique = unique
        self.workload = workload
        self.priority = priority
        self.created_at = created_at
        self.background = background
        self.position = id  # place in its queue: lower is served first; drawn from the same numbers as ids
        self.state: JobState = QUEUED
        self.reducer = b""
        self.run_at = 0
        self.attempts = 0  # assignments that ended: done, failed, timed out, or their worker went away
        self.interruptions = 0  # assignments that the server's own end cut short
        self.started_at = 0
        self.ended_at = 0
        self.worker_id = b""
        self.reason = b""
        self.error = b""
        self.result = b""
        self.result_size = 0
        self.replay_of = 0
        self.client = b""  # address of the one who submitted it
        self.cause = 0  # why it is failed, see causes.py; 0 for none
        self.adopted = False  # came from another queue

        self.key = b""  # what coalescing compares, b"" for never; see coalescing_key
        self.worker: Peer | None = None
        self.listeners: Sequence[Peer] = ()  # foreground clients; one entry a submit
        self.numerator = b"0"
        self.denominator = b"0"
        self.deadline = 0  # number of the timer that this job waits for or is limited by, 0 for none
        self.place = NOWHERE
        self.dropped = False  # joined to another job or refused: not to be stored any more
        self.marked = False  # its row tells of earlier attempts what is not true any more
        self.stored_bytes = 0  # of workload and result, as counted while it has a row
        self.promoted = False  # was foreground; its first row is not committed yet
        self.stored_state = -1  # the state its row has; -1 while it has no row
        self.batch: Any = None  # the batch that stores its newest change, None once that is durable

    @property
    def waiting_since(self) -> int:
        """Since when a queued job waits: when it was submitted, or when its time came or it was put back."""
        return self.run_at or self.created_at

    def move(self, event: Event) -> JobState:
        """Change the state and keep the function's counts; raise QueueError and change nothing if not possible."""
        before = self.state
        state = _NEXT[before][event]
        if state is None:
            raise QueueError(b"NOT_POSSIBLE", b"%s is %s" % (self.handle, before.name.lower().encode()))
        self.state = state
        function = self.function
        states = function.states
        states[before] -= 1
        states[state] += 1
        if before is QUEUED:
            function.queued[self.priority] -= 1
        elif state is QUEUED:
            function.queued[self.priority] += 1
        return state


def coalescing_key(unique: bytes, workload: bytes) -> bytes:
    """Return what makes two jobs of one function the same: the unique, for `-` the workload, b"" for never.

    As in gearmand a `-` job also joins one whose unique is the workload itself. Long workloads are compared by digest.
    """
    if unique != b"-":
        return unique
    return workload if len(workload) <= MAX_UNIQUE else blake2b(workload, digest_size=MAX_UNIQUE).digest()
