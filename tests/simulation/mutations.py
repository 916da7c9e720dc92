"""Faults planted into the server, to show that the simulation finds them. Each is one that was made, or nearly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from gearstore.queue.calls import Calls
from gearstore.queue.endings import Endings
from gearstore.queue.engine import Engine
from gearstore.queue.functions import Function
from gearstore.queue.job import NOWHERE, PRIORITIES, Job
from gearstore.queue.waking import Waking
from gearstore.server.connection import _CREATED, Connection
from gearstore.server.hub import Hub
from gearstore.store.journal import Journal

Mutation = Callable[[], AbstractContextManager[Any]]


def acknowledged_before_the_commit() -> AbstractContextManager[Any]:
    """JOB_CREATED leaves at once."""

    def created(self: Connection, job: Job, background: bool) -> None:
        self.reply(_CREATED[len(job.handle)] + job.handle)

    return patch.object(Connection, "created", created)


def visible_before_the_commit() -> AbstractContextManager[Any]:
    """Workers get background jobs that are not stored yet."""
    original = Journal.add

    def add(self: Journal, job: Job) -> None:
        original(self, job)
        if job.place == NOWHERE and not job.promoted and job.run_at <= self.engine.now:
            job.function.enter(job)
            self.engine.wake(job.function)

    return patch.object(Journal, "add", add)


def completions_hold_nothing_back() -> AbstractContextManager[Any]:
    """A worker's next answer does not wait until its report is stored."""
    return patch.object(Connection, "hold_back", lambda self, batch: None)


def no_wake_up_after_a_requeue() -> AbstractContextManager[Any]:
    """A job that comes back wakes nobody."""
    original = Endings.requeue

    def requeue(self: Endings, job: Job) -> None:
        with patch.object(Waking, "wake", lambda self, function: None):
            original(self, job)

    return patch.object(Endings, "requeue", requeue)


def whoever_was_woken_is_waited_for() -> AbstractContextManager[Any]:
    """Nobody is woken in place of a worker that hangs."""
    original = Calls.late

    def late(self: Calls, now: int) -> dict[Function, int]:
        original(self, now)
        return {}

    return patch.object(Calls, "late", late)


def whoever_was_woken_is_not_replaced() -> AbstractContextManager[Any]:
    """A worker that was woken takes another function's job, or leaves, and nobody is woken in its place."""

    def came(self: Waking, peer: Any) -> None:
        self.calls.remove(peer)

    return patch.object(Waking, "came", came)


def whoever_was_woken_counts_for_ever() -> AbstractContextManager[Any]:
    """A worker that has come counts as woken still: the next job wakes nobody."""
    original = Calls.remove

    def remove(self: Calls, peer: Any) -> Any:
        function = original(self, peer)
        if function is not None:
            function.called += 1
        return function

    return patch.object(Calls, "remove", remove)


def sleep_without_a_look() -> AbstractContextManager[Any]:
    """PRE_SLEEP does not look whether a job came meanwhile."""
    original = Waking.sleep

    def sleep(self: Waking, peer: Any) -> bool:
        with patch.object(Function, "available", lambda self: False):
            return original(self, peer)

    return patch.object(Waking, "sleep", sleep)


def lower_priorities_overtake_the_disk() -> AbstractContextManager[Any]:
    """What is in memory is served before older jobs that are on disk."""

    def take(self: Function, priorities: tuple[int, ...] = PRIORITIES) -> Job | None:
        for priority in priorities:
            window, volatile = self.windows[priority], self.volatile[priority]
            for jobs in (window.jobs, volatile):
                while jobs:
                    job = jobs.popleft()
                    if not job.place:
                        self.withdrawn -= 1
                        continue
                    if job.background:
                        window.size -= 1
                        window.bytes -= len(job.workload)
                    job.place = NOWHERE
                    self.ready -= 1
                    return job
        return None

    return patch.object(Function, "take", take)


def new_jobs_overtake_spilled_ones() -> AbstractContextManager[Any]:
    """A new job enters the window as soon as there is room, though others wait on disk."""

    def reserve(self: Function, job: Job) -> None:
        window = self.windows[job.priority]
        if window.size < window.limit:
            window.size += 1
            window.bytes += len(job.workload)
            return
        if not window.on_disk:
            window.after = job.position - 1
        window.on_disk += 1
        self.spilled += 1
        job.place = 3

    return patch.object(Function, "reserve", reserve)


@contextmanager
def numbers_begin_again() -> Iterator[None]:
    """A start takes up with the number after the newest stored job, as if foreground jobs had no handles."""
    from tests.simulation.disk import Disk

    original = Disk.open

    async def open(self: Disk, *args: Any) -> Any:
        recovered = await original(self, *args)
        recovered.next_id = max(self.records, default=0) + 1
        return recovered

    with patch.object(Disk, "open", open):
        yield


def jobs_of_a_lost_worker_stay_with_it() -> AbstractContextManager[Any]:
    """A connection that ends keeps its jobs."""
    original = Engine.disconnect

    def disconnect(self: Engine, peer: Any) -> None:
        peer.jobs.clear()
        original(self, peer)

    return patch.object(Engine, "disconnect", disconnect)


def refused_jobs_stay_in_their_queue() -> AbstractContextManager[Any]:
    """A full disk answers ERROR, and the job runs all the same."""

    def refuse(self: Engine, job: Job) -> None:
        job.background = False
        if job.place == NOWHERE and not job.listeners:
            job.function.enter(job)

    return patch.object(Engine, "refuse", refuse)


def jobs_are_refused_twice() -> AbstractContextManager[Any]:
    """A job whose change stands in the next batch too is counted away twice on a full disk."""
    original = Engine.refuse

    def refuse(self: Engine, job: Job) -> None:
        if job.dropped:
            job.function.count(job, -1)
        original(self, job)

    return patch.object(Engine, "refuse", refuse)


def background_jobs_keep_the_place_they_had() -> AbstractContextManager[Any]:
    """A foreground job that becomes background during its look-up is spilled before what was spilled already."""
    original = Engine._join

    def join(self: Engine, job: Job, peer: Any) -> None:
        position = job.position
        original(self, job, peer)
        job.position = position

    return patch.object(Engine, "_join", join)


def timers_outlive_their_job() -> AbstractContextManager[Any]:
    """The timeout of an attempt goes off though the attempt has ended."""
    original = Endings._release

    def release(self: Endings, job: Job) -> None:
        deadline, job.deadline = job.deadline, 0
        original(self, job)
        job.deadline = deadline

    return patch.object(Endings, "_release", release)


def delayed_jobs_are_due_at_once() -> AbstractContextManager[Any]:
    """The time of a delayed job is not waited for."""
    original = Endings.delay

    def delay(self: Endings, job: Job) -> None:
        job.run_at = self.now
        original(self, job)

    return patch.object(Endings, "delay", delay)


def batches_lose_what_a_full_disk_refused() -> AbstractContextManager[Any]:
    """Changes that met a full disk are not tried again."""

    def carry(self: Journal, batch: Any) -> None:
        batch.done = True
        for waiter in batch.waiters:
            waiter.release()

    return patch.object(Journal, "_carry", carry)


def windows_are_not_filled_again() -> AbstractContextManager[Any]:
    """Spilled jobs are read back only at a start."""
    return patch.object(Hub, "_feed", _nothing)


async def _nothing(self: Hub, *args: Any) -> None:
    """Read nothing."""


MUTATIONS: tuple[Mutation, ...] = (
    acknowledged_before_the_commit,
    visible_before_the_commit,
    completions_hold_nothing_back,
    no_wake_up_after_a_requeue,
    whoever_was_woken_is_waited_for,
    whoever_was_woken_is_not_replaced,
    whoever_was_woken_counts_for_ever,
    sleep_without_a_look,
    lower_priorities_overtake_the_disk,
    new_jobs_overtake_spilled_ones,
    numbers_begin_again,
    jobs_of_a_lost_worker_stay_with_it,
    refused_jobs_stay_in_their_queue,
    jobs_are_refused_twice,
    background_jobs_keep_the_place_they_had,
    timers_outlive_their_job,
    delayed_jobs_are_due_at_once,
    batches_lose_what_a_full_disk_refused,
    windows_are_not_filled_again,
)
