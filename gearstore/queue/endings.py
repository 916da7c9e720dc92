"""How attempts end: done, failed, lost, too late; and what follows, by the policy of the job's function."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gearstore.errors import QueueError
from gearstore.queue.causes import cause_of
from gearstore.queue.deadlines import Deadlines
from gearstore.queue.job import (
    CANCEL,
    COMPLETE,
    DELAY,
    DELAYED,
    DUE,
    FAIL,
    HELD,
    HOLD,
    NOWHERE,
    ON_DISK,
    QUEUED,
    REQUEUE,
    Job,
    JobState,
    Reason,
)
from gearstore.queue.peer import REMEMBERED, Peer
from gearstore.queue.ports import Event, Journal, Outbox
from gearstore.queue.waking import Waking

MAX_DELAYED = 65536  # delayed jobs held in memory
COST = 1024  # bytes that a job in memory takes beside its workload, about
MAX_DETAIL = 65536  # bytes of an error that an event keeps; the job's own row has all of its last one
WORDS = {state: state.name.lower().encode() for state in JobState}


def weight(job: Job) -> int:
    """Return the bytes that a job takes in memory."""
    return len(job.workload) + COST


class Endings(Waking):
    """The part of the engine that follows a job from its assignment to its end, or back into its queue."""

    __slots__ = ("chance", "delayed", "delayed_changed", "delayed_from", "delayed_on_disk", "foreground", "jobs",
                 "observer", "timeouts", "watchers")  # fmt: skip

    def __init__(self, journal: Journal, outbox: Outbox, window: int, worker_wakeup: int) -> None:
        super().__init__(journal, outbox, window, worker_wakeup)
        self.chance: Callable[[], float] = lambda: 0.5  # 0 to 1: spreads what is tried again later
        self.observer: Callable[[Job, bytes], None] | None = None  # is told of each transition, in one word
        self.jobs: dict[bytes, Job] = {}  # by handle: jobs in memory, ended ones until that is durable
        self.foreground = 0  # bytes that foreground jobs take
        self.delayed: Deadlines[Job] = Deadlines()
        self.delayed_on_disk = 0
        self.delayed_changed: set[int] | None = None  # ids that left memory while delayed jobs are read back, else None
        self.delayed_from = (0, 0)  # (run_at, id): delayed jobs on disk come after it
        self.timeouts: Deadlines[Job] = Deadlines()
        self.watchers: list[set[int]] = []

    # Reports

    def held(self, peer: Peer, handle: bytes, text: bytes) -> Job | None:
        """Return the job that a report is about; None for one that this worker no longer holds (late, ignored).

        An unexpected ERROR kills Perl workers and makes libgearman's spin, so only handles that this connection never
        held raise QueueError (with gearmand's `text`).
        """
        job = peer.jobs.get(handle)
        if job is None and handle not in (peer.past or ()):
            raise QueueError(b"JOB_NOT_FOUND", text)
        return job

    def complete(self, job: Job, result: bytes) -> None:
        """WORK_COMPLETE."""
        job.move(COMPLETE)
        job.result_size = len(result)
        if len(result) <= job.function.policy.store_result:
            job.result = result
        if job.reason:  # earlier attempts are events; this one went well
            job.reason = job.error = b""
            job.marked = True
        job.attempts += 1
        self._release(job)
        self._end(job)

    def fail(self, job: Job, reason: bytes, error: bytes = b"") -> bool:
        """WORK_FAIL or WORK_EXCEPTION: return whether that is final.

        A foreground job is not tried again: its client waits, and can decide for itself.
        """
        return self._attempt_failed(job, reason, error, job.background)

    def _take_back(self, job: Job, reason: bytes) -> None:
        """A worker went away, gave the ability back or took too long."""
        job.numerator = job.denominator = b"0"
        if not job.background and not job.listeners:
            self._release(job)
            job.reason = reason
            job.move(CANCEL)  # abandoned: nobody waits for it any more
            self._end(job)
        elif self._attempt_failed(job, reason, b"", True):
            self._fail_listeners(job)

    def _attempt_failed(self, job: Job, reason: bytes, error: bytes, again: bool) -> bool:
        """Try again now, later, or give up, as the policy says; return whether that is the end."""
        policy = job.function.policy
        self._release(job)
        job.attempts += 1
        job.reason = reason
        job.error = error
        again = again and reason in policy.retry_on and not 0 < policy.max_attempts <= job.attempts
        wait = policy.backoff.delay(job.attempts, self.chance()) if again and policy.backoff and job.background else 0
        run_at = self.now + wait if wait else 0
        if job.background:
            detail = error[:MAX_DETAIL]
            self.journal.note(Event(job.id, self.now, reason, job.started_at, job.worker_id, detail, run_at))
        if not again:
            job.move(FAIL)
            job.cause = cause_of(reason, error)[0]
            self._end(job)
        elif run_at:
            self.postpone(job, run_at)
        else:
            job.move(REQUEUE)
            self.requeue(job)
            job.run_at = self.now  # since then it waits
        return not again

    def _release(self, job: Job) -> None:
        """Part a running job from its worker."""
        peer = job.worker
        if peer is not None:
            del peer.jobs[job.handle]
            if peer.past is None:
                peer.past = deque(maxlen=REMEMBERED)
            peer.past.append(job.handle)
            job.worker = None
        if job.deadline:
            self.timeouts.cancel(job.deadline)
            job.deadline = 0

    # What follows

    def _end(self, job: Job) -> None:
        """Close a job that reached its last state for now. Its listeners are the caller's to tell, then to drop."""
        job.ended_at = self.now
        function = job.function
        function.ended[job.state] += 1
        function.bytes -= len(job.workload)
        self._drop_key(job)
        if job.background:
            self.journal.change(job)
        else:
            function.count(job, -1)
            self.jobs.pop(job.handle, None)
            self.foreground -= weight(job)
        if function.closed:
            self.reopen(function)
        if self.observer is not None:
            self.observer(job, WORDS[job.state])

    def _drop_key(self, job: Job) -> None:
        """Let later submits with the same unique make a job of their own."""
        if job.key:
            uniques = job.function.uniques
            if uniques.get(job.key) is job:
                del uniques[job.key]
            job.key = b""

    def requeue(self, job: Job) -> None:
        """Put a job that comes back at the end of its priority: one that kills workers must not block the others."""
        job.position = self.next_number()
        function = job.function
        if job.background:
            function.reserve(job)
            self.journal.change(job)
        if job.place != ON_DISK:
            function.enter(job)
            self.wake(function)
        if function.closed:
            self.reopen(function)
        if self.observer is not None:
            self.observer(job, b"queued")

    def postpone(self, job: Job, run_at: int) -> None:
        """Have a stored job tried (again) at a time."""
        job.move(DELAY)
        job.run_at = run_at
        self.journal.change(job)
        if job.function.closed:
            self.reopen(job.function)
        if self.observer is not None:
            self.observer(job, b"delayed")

    def cancel(self, job: Job) -> None:
        """Cancel a live or held job: its listeners get WORK_FAIL, a worker that runs it is not disturbed."""
        before, worker = job.state, job.worker
        job.move(CANCEL)
        self._leave(job, before)
        if before is HELD:
            job.function.bytes += len(job.workload)  # it did not count among those that end
        self._release(job)
        job.reason = Reason.CANCELLED
        self._end(job)
        if worker is not None and job.background:  # what it reports is ignored, and must not make it believe more
            self.outbox.hold_back(worker, job)
        self._fail_listeners(job)

    def hold(self, job: Job, reason: bytes) -> None:
        """Keep a stored job that waits from workers until an operator decides."""
        before = job.state
        job.move(HOLD)
        self._leave(job, before)
        job.function.bytes -= len(job.workload)
        job.reason = reason
        self._drop_key(job)
        self.journal.change(job)
        self._fail_listeners(job)
        if self.observer is not None:
            self.observer(job, b"held")

    def _leave(self, job: Job, before: JobState) -> None:
        """Take a job out of its queue, or from the times that are waited for."""
        if before is QUEUED:
            self.withdraw(job)
        elif before is DELAYED:
            if job.deadline:
                self.delayed.cancel(job.deadline)
                job.deadline = 0
            elif job.place == ON_DISK:
                self.delayed_on_disk -= 1
                job.place = NOWHERE

    def withdraw(self, job: Job) -> None:
        """Take a queued job out of its queue; those behind it may be free to go now."""
        function = job.function
        function.withdraw(job)
        if function.spilled:
            self.feed(function, job.priority)
        if function.sleepers and function.available():
            self.wake(function)

    def _fail_listeners(self, job: Job) -> None:
        if job.listeners:
            self.outbox.failed(job)
            self.told(job)

    def told(self, job: Job) -> None:
        """The outcome has been sent: nobody waits for the job any more."""
        for peer in job.listeners:
            peer.listening.pop(job, None)
        job.listeners = ()

    def forget(self, job: Job) -> None:
        """Let a job go from memory; its row (if it has one) keeps it."""
        self.jobs.pop(job.handle, None)
        function = job.function
        if job.key and function.uniques.get(job.key) is job:
            del function.uniques[job.key]
        # What a claim that is under way has read of it is out of date.
        changed = function.windows[job.priority].changed
        if changed is not None and job.state is not QUEUED:
            changed[job.id] = job.position
        if self.delayed_changed is not None and job.state is not DELAYED:
            self.delayed_changed.add(job.id)
        for gone in self.watchers:
            gone.add(job.id)

    @contextmanager
    def watching(self) -> Iterator[set[int]]:
        """Collect the ids of jobs that leave memory: what the store told of them meanwhile may be out of date."""
        gone: set[int] = set()
        self.watchers.append(gone)
        try:
            yield gone
        finally:
            self.watchers.remove(gone)

    # Times

    def tick(self) -> None:
        """Do what is due."""
        for job in self.delayed.due(self.now):
            job.deadline = 0
            job.move(DUE)
            self.requeue(job)
        for job in self.timeouts.due(self.monotonic):
            job.deadline = 0
            self._take_back(job, Reason.TIMEOUT)
        self.resume_due()
        self.call_others()

    def next_wait(self) -> int | None:
        """Return the milliseconds until something is due, None if nothing waits for a time. (Pauses end within the
        second at which `tick` is called in any case.)"""
        waits = [
            at - now
            for at, now in ((self.delayed.next_at, self.now), (self.timeouts.next_at, self.monotonic))
            if at is not None
        ]
        if self.calls.look_at:
            waits.append(self.calls.look_at - self.monotonic)
        return max(0, min(waits)) if waits else None

    def delay(self, job: Job) -> None:
        """Keep a delayed job for its time, in memory if it is among the next."""
        if self.delayed_on_disk and self.delayed_changed is None and (job.run_at, job.id) > self.delayed_from:
            self._delay_on_disk(job)
            return
        job.deadline = self.delayed.add(job.run_at, job)
        if len(self.delayed) > MAX_DELAYED and self.delayed_changed is None:
            at, later = self.delayed.later_half()
            self.delayed_from = (at, 0)
            for job in later:
                job.deadline = 0
                self._delay_on_disk(job)

    def _delay_on_disk(self, job: Job) -> None:
        job.place = ON_DISK
        self.delayed_on_disk += 1
        if not job.listeners:
            self.forget(job)

    @property
    def delayed_low(self) -> bool:
        """Whether delayed jobs should be read back from disk."""
        return self.delayed_on_disk > 0 and self.delayed_changed is None and len(self.delayed) <= MAX_DELAYED // 4
