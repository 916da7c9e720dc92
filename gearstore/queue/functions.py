"""One function: its queues, its workers, its limits, its counts.

The store is the queue, memory is a window on it. Of each priority the jobs with the lowest positions are in memory;
once a window is full, later jobs are `spilled`: only their row knows their place. They are read back in order
(`Store.claim`) when the window runs low. While nothing is spilled the window is the whole queue.

Foreground jobs have no row, so they can't be spilled: they stand in a queue of their own beside each window, and the
lower position is served first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gearstore.queue.job import (
    DELAYED,
    LIVE,
    NOWHERE,
    ON_DISK,
    PRIORITIES,
    QUEUED,
    RUNNING,
    VOLATILE,
    WINDOW,
    Job,
    JobState,
)
from gearstore.queue.policy import Policy

if TYPE_CHECKING:
    from gearstore.queue.peer import Peer

MAX_WITHDRAWN = 1000
MAX_BYTES = 32 << 20  # workloads of one window in memory; the job that goes beyond it is still taken


class Window:
    """The stored jobs of one function and priority that are in memory, and what is known of those that are not."""

    __slots__ = ("after", "bytes", "changed", "jobs", "limit", "on_disk", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.jobs: deque[Job] = deque()  # ascending positions; jobs that were withdrawn stay until they are met
        self.size = 0  # jobs that are in memory or, while their commit is under way, have a place kept
        self.bytes = 0  # of their workloads
        self.on_disk = 0  # spilled jobs, those whose commit is under way included
        self.after = 0  # every spilled job has a position above this one, every job in memory one up to it
        self.changed: dict[int, int] | None = None  # id -> position of what left memory during a claim, else None

    @property
    def low(self) -> bool:
        """Whether it is time to read spilled jobs: early enough that workers need not wait."""
        return (
            self.on_disk > 0 and self.changed is None and self.size <= self.limit // 4 and self.bytes <= MAX_BYTES // 4
        )


class Function:
    """A name that jobs are submitted to and that workers register for."""

    __slots__ = ("bytes", "called", "closed", "concurrency", "ended", "id", "limited", "limits", "listed", "max_bytes",
                 "maximums", "name", "paused_at", "paused_until", "policy", "queued", "ready", "sleepers", "spilled",
                 "states", "steered", "stored", "timeout", "uniques", "volatile", "windows", "withdrawn",
                 "workers")  # fmt: skip

    def __init__(self, id: int, name: bytes, window: int, policy: Policy = Policy()) -> None:  # noqa: B008 (frozen)
        self.id = id
        self.name = name
        self.listed = True  # False once dropped, until somebody names it again
        self.stored = False  # whether the store has a row for it
        self.steered = False  # whether an operator has set something: it has a row, or will soon
        self.windows = tuple(Window(window) for _ in PRIORITIES)
        self.volatile: tuple[deque[Job], ...] = tuple(deque() for _ in PRIORITIES)  # foreground jobs
        self.withdrawn = 0  # entries in the queues in memory of jobs that are not to be taken any more
        self.ready = 0  # jobs in memory that a worker could take at this moment
        self.spilled = 0  # jobs whose place in the queue only the store knows
        self.queued = [0, 0, 0]  # by priority, wherever they are
        self.states = [0] * len(JobState)  # jobs by state; of ended ones only those that are stored
        self.bytes = 0  # workloads of the jobs that `total` counts
        self.workers: dict[Peer, None] = {}
        self.sleepers: dict[Peer, None] = {}  # workers to wake, those that have waited longest first
        self.called = 0  # workers that were woken for its jobs and have not asked for one yet
        self.maximums = [-1, -1, -1]  # maxqueue by priority, -1: not set
        self.paused_at = 0  # milliseconds since 1970, 0: not paused
        self.paused_until = 0  # 0: until somebody resumes it
        self.ended = [0] * len(JobState)  # how many reached each last state since the start; only grows
        self.uniques: dict[bytes, Job] = {}  # coalescing key -> live job in memory
        self.set_policy(policy)

    def set_policy(self, policy: Policy) -> None:
        """Take over what is configured for the function."""
        self.policy = policy
        self.timeout = policy.timeout  # milliseconds that an attempt may take, 0 for no limit
        self.concurrency = policy.concurrency  # how many may run at once, 0 for no limit
        self.set_limits()
        self.close_or_open()

    def set_limits(self) -> None:
        """Limit the jobs by what an operator has set, else by the policy; 0 for no limit."""
        self.limits = [self.policy.max_queue if maximum < 0 else maximum for maximum in self.maximums]
        self.max_bytes = self.policy.max_queue_bytes
        self.limited = any(self.limits) or self.max_bytes > 0

    def close_or_open(self) -> None:
        """Note whether workers get nothing: the function is paused, or as many of its jobs run as may."""
        self.closed = self.paused_at > 0 or 0 < self.concurrency <= self.states[RUNNING]

    def count(self, job: Job, number: int) -> None:
        """Add to the counts of the job's state."""
        state = job.state
        self.states[state] += number
        if state is QUEUED:
            self.queued[job.priority] += number
        if state in LIVE:
            self.bytes += number * len(job.workload)

    @property
    def total(self) -> int:
        """Jobs that gearmand would count: waiting (delayed ones too) and running."""
        states = self.states
        return states[QUEUED] + states[DELAYED] + states[RUNNING]

    @property
    def unused(self) -> bool:
        """Whether nobody works on it, no job is left of it, and the store doesn't know it."""
        return not (self.workers or self.stored or self.steered or any(self.states))

    @property
    def uncalled(self) -> int:
        """Jobs that workers could take at this moment, beyond those that workers were woken for."""
        jobs = min(self.ready, self.concurrency - self.states[RUNNING]) if self.concurrency else self.ready
        return jobs - self.called

    def reserve(self, job: Job) -> None:
        """Find the job with the highest position so far its place: kept in memory, or on disk only."""
        window = self.windows[job.priority]
        if not window.on_disk:
            if window.size < window.limit and window.bytes < MAX_BYTES:
                window.size += 1
                window.bytes += len(job.workload)
                return
            window.after = job.position - 1
        window.on_disk += 1
        self.spilled += 1
        job.place = ON_DISK

    def unspill(self, priority: int) -> None:
        """Account for a job that is not on disk only any more."""
        self.windows[priority].on_disk -= 1
        self.spilled -= 1

    def enter(self, job: Job) -> None:
        """Put a job at its place in its queue in memory, nearly always the end, for workers to take."""
        if job.background:
            job.place = WINDOW
            jobs = self.windows[job.priority].jobs
        else:
            job.place = VOLATILE
            jobs = self.volatile[job.priority]
        self.ready += 1
        if not jobs or jobs[-1].position < job.position:
            jobs.append(job)
            return
        index = len(jobs)  # a job that came back has overtaken it while its commit was under way
        while index and jobs[index - 1].position > job.position:
            index -= 1
        jobs.insert(index, job)

    def take(self, priorities: tuple[int, ...] = PRIORITIES) -> Job | None:
        """Take out the job to be served next: highest priority, then lowest position. None also while that job is
        still being read from disk: the order is strict."""
        for priority in priorities:
            if not self.queued[priority]:
                continue
            jobs = self.windows[priority].jobs
            source = jobs if jobs and jobs[0].place and not self.volatile[priority] else self._source(priority)
            if source is not None:
                job = source.popleft()
                if job.place == WINDOW:
                    window = self.windows[priority]
                    window.size -= 1
                    window.bytes -= len(job.workload)
                job.place = NOWHERE
                self.ready -= 1
                return job
            if self.windows[priority].on_disk:
                return None
        return None

    def available(self) -> bool:
        """Whether a worker that asks would get a job."""
        if self.closed:
            return False
        if not self.spilled:
            return self.ready > 0
        for priority in PRIORITIES:
            if self._source(priority) is not None:
                return True
            if self.windows[priority].on_disk:
                return False
        return False

    def _source(self, priority: int) -> deque[Job] | None:
        """Return the queue in memory that begins with the next job of a priority, None if it isn't in memory."""
        window, volatile = self.windows[priority], self.volatile[priority]
        jobs = window.jobs
        while jobs and not jobs[0].place:
            jobs.popleft()
            self.withdrawn -= 1
        while volatile and not volatile[0].place:
            volatile.popleft()
            self.withdrawn -= 1
        if jobs:
            return volatile if volatile and volatile[0].position < jobs[0].position else jobs
        if volatile and (not window.on_disk or volatile[0].position <= window.after):
            return volatile
        return None

    def heads(self) -> Iterator[Job]:
        """Yield the first job of each queue in memory: one of them is the queued job that waits longest."""
        for priority in PRIORITIES:
            self._source(priority)  # drops what was withdrawn
            yield from (jobs[0] for jobs in (self.windows[priority].jobs, self.volatile[priority]) if jobs)

    def unread(self) -> list[int]:
        """Return the priorities of which jobs are queued, but at this moment only on disk."""
        return [
            priority for priority in PRIORITIES if self.windows[priority].on_disk and not self.windows[priority].jobs
        ]

    def withdraw(self, job: Job) -> None:
        """Account for a queued job that leaves its queue without being taken; its entry is skipped when met."""
        window = self.windows[job.priority]
        if job.place == ON_DISK:
            self.unspill(job.priority)
        elif job.background and job.place != VOLATILE:
            window.size -= 1
            window.bytes -= len(job.workload)
        if job.place in (WINDOW, VOLATILE):
            self.ready -= 1
            self.withdrawn += 1
        job.place = NOWHERE
        if self.withdrawn > self.ready + MAX_WITHDRAWN:
            self._clean()

    def _clean(self) -> None:
        """Drop the entries of withdrawn jobs: without workers nobody would meet them."""
        self.withdrawn = 0
        for window in self.windows:
            window.jobs = deque(job for job in window.jobs if job.place)
        self.volatile = tuple(deque(job for job in jobs if job.place) for jobs in self.volatile)
