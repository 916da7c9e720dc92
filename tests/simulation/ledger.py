"""What clients and workers were told, and whether it fits together: the judge of a simulation."""

from __future__ import annotations

from dataclasses import dataclass, field


class Violation(AssertionError):
    """The server broke a promise."""


@dataclass(slots=True)
class Submit:
    """One submit, from its sending on."""

    workload: bytes
    function: bytes
    unique: bytes
    priority: int
    background: bool
    due: float  # 0: at once
    refused: bool = False


@dataclass(slots=True)
class Job:
    """What is known of a handle."""

    handle: bytes
    function: bytes
    workload: bytes = b""
    durable: bool = False  # a background submit was acknowledged with it
    holder: object = None  # the connection that it was assigned to last, as long as that is there
    since: float = 0.0
    limit: float = 0.0  # seconds that the holder has for it, 0: any number
    runs: int = 0
    reported: set[str] = field(default_factory=set)  # what workers said of it
    sealed: str = ""  # the outcome that a worker knows to be stored
    cancelled: bool = False
    cancelled_at: float = 0.0


class Ledger:
    """Everything that was said in one run, over all lives of the server."""

    def __init__(self) -> None:
        self.submits: dict[bytes, Submit] = {}  # by workload
        self.jobs: dict[bytes, Job] = {}  # by handle
        self.started: dict[bytes, float] = {}  # handle -> when it was assigned last, also if that was never sent
        self.ended: dict[bytes, bytes] = {}  # handle -> how it ended without a report
        self.fresh: dict[tuple[bytes, int], dict[int, bytes]] = {}  # function, priority -> number -> never assigned yet

    def job(self, handle: bytes, function: bytes) -> Job:
        """Return the job of a handle."""
        job = self.jobs.get(handle)
        if job is None:
            job = self.jobs[handle] = Job(handle, function)
        if job.function != function:
            raise Violation(f"{handle!r} was a job of {job.function!r}, now it is one of {function!r}")
        return job

    def name(self, job: Job, workload: bytes) -> None:
        """A handle means one workload for ever."""
        if job.workload and job.workload != workload:
            raise Violation(f"{job.handle!r} meant {job.workload!r}, now it means {workload!r}")
        job.workload = workload

    def acknowledged(self, submit: Submit, handle: bytes) -> None:
        """JOB_CREATED was received."""
        job = self.job(handle, submit.function)
        job.durable = job.durable or submit.background
        if not submit.unique:
            if job.workload and job.workload != submit.workload:
                raise Violation(f"{submit.workload!r} has no unique and got the handle of {job.workload!r}")
            job.workload = submit.workload
            if submit.background and not submit.due and handle not in self.started and not job.cancelled:
                queue = self.fresh.setdefault((submit.function, submit.priority), {})
                queue[int(handle.rpartition(b":")[2])] = handle

    def assigned(self, connection: object, handle: bytes, function: bytes, workload: bytes, now: float,
                 limit: float) -> None:  # fmt: skip
        """JOB_ASSIGN was sent."""
        job = self.job(handle, function)
        self.name(job, workload)
        submit = self.submits.get(workload)
        if submit is None:
            raise Violation(f"{workload!r} was never submitted")
        if submit.refused and not submit.unique:  # (else a foreground submit may have joined it before)
            raise Violation(f"{workload!r} was refused and is assigned")
        if submit.due and now < submit.due - 0.002:
            raise Violation(f"{workload!r} is assigned {submit.due - now:.3f} s too early")
        if job.sealed:
            raise Violation(f"{handle!r} is assigned though it ended: {job.sealed}")
        if job.cancelled and self.started[handle] > job.cancelled_at:  # (an assignment that was held may leave later)
            raise Violation(f"{handle!r} is assigned though it was cancelled")
        if job.holder is not None and not (job.limit and now >= job.since + job.limit - 0.002):
            raise Violation(f"{handle!r} is assigned to two workers at once")
        job.holder, job.since, job.limit = connection, self.started[handle], limit
        job.runs += 1

    def started_in_order(self, handle: bytes, function: bytes, priority: int, now: float) -> None:
        """First come, first served: no job that was acknowledged with a lower number waits for its first run.

        (Assignments leave in another order than they are made: an answer may have to wait for a commit.)
        """
        self.started[handle] = now
        for higher in range(priority):
            if above := self.fresh.get((function, higher)):
                raise Violation(f"{handle!r} overtakes {min(above)}, which is of a higher priority")
        queue = self.fresh.get((function, priority))
        if not queue:
            return
        number = int(handle.rpartition(b":")[2])
        was_fresh = queue.pop(number, None) is not None
        if was_fresh and (first := min(queue, default=number)) < number:
            raise Violation(f"{handle!r} overtakes {queue[first]!r} in {function!r}")

    def gone(self, connection: object) -> None:
        """The server knows that a connection has ended (or has ended itself)."""
        for job in self.jobs.values():
            if job.holder is connection:
                job.holder = None

    def cancel(self, handle: bytes, now: float) -> None:
        """The server said OK to a cancel."""
        self.jobs[handle].cancelled = True
        self.jobs[handle].cancelled_at = now

    def over(self, handle: bytes, how: bytes) -> None:
        """It has ended without a report, whatever its client has been told: cancelled, or tried too often."""
        self.ended[handle] = how
        for queue in self.fresh.values():
            queue.pop(int(handle.rpartition(b":")[2]), None)

    def seal(self, handle: bytes, outcome: str) -> None:
        """A worker got a later answer after its report: the end is stored."""
        job = self.jobs[handle]
        if not job.cancelled:
            job.sealed = outcome

    def unknown(self, handle: bytes) -> None:
        """STATUS_RES said that there is no such job."""
        job = self.jobs[handle]
        if job.durable and not job.reported and not job.cancelled and handle not in self.ended:
            raise Violation(f"{handle!r} is not known any more, and nothing has ended it")
