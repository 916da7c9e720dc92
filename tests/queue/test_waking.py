"""What keeps jobs from workers, and that nobody sleeps beside a job once it is over: pauses and concurrency."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from gearstore.errors import QueueError
from gearstore.queue.job import DELAYED, HELD, QUEUED, Job, Reason
from gearstore.queue.peer import Peer
from gearstore.queue.policy import Backoff, Policies, Policy, Rule
from tests.queue.doubles import NOW, Server


@pytest.fixture
def server() -> Server:
    return Server()


def limit(server: Server, concurrency: int) -> None:
    """Let so many jobs of f run at once."""
    server.engine.set_policies(Policies(Policy(), (Rule("f", {"concurrency": concurrency}),)))


def running(server: Server, number: int) -> list[tuple[Peer, Job]]:
    """Have workers take so many jobs, one each."""
    taken = []
    for _ in range(number):
        worker = server.connect(b"f")
        job = server.engine.grab(worker)
        assert job is not None
        taken.append((worker, job))
    return taken


# Concurrency


@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_no_more_than_so_many_run_at_once(server: Server, concurrency: int) -> None:
    limit(server, concurrency)
    for _ in range(10):
        server.submit(b"f")
    taken = running(server, concurrency)
    late = server.connect(b"f", b"g")
    assert server.engine.grab(late) is None
    other = server.submit(b"g")
    assert server.engine.grab(late) is other, "another function is not concerned"
    server.engine.complete(taken[0][1], b"")
    assert server.engine.grab(late) is not None
    assert server.engine.grab(late) is None


def test_one_worker_that_holds_many_is_limited_too(server: Server) -> None:
    limit(server, 2)
    for _ in range(3):
        server.submit(b"f")
    worker = server.connect(b"f")
    assert [server.engine.grab(worker) is None for _ in range(3)] == [False, False, True]


def test_foreground_jobs_count(server: Server) -> None:
    limit(server, 1)
    for _ in range(2):
        server.ask(b"f", client=server.connect())
    ((_, job),) = running(server, 1)
    assert server.engine.grab(server.connect(b"f")) is None
    server.engine.complete(job, b"")
    running(server, 1)


def complete(server: Server, worker: Peer, job: Job) -> None:
    server.engine.complete(job, b"")


def fail(server: Server, worker: Peer, job: Job) -> None:
    server.engine.fail(job, Reason.FAIL)


def lose(server: Server, worker: Peer, job: Job) -> None:
    server.engine.disconnect(worker)


def take_back(server: Server, worker: Peer, job: Job) -> None:
    server.engine.cant_do(worker, job.function)


def cancel(server: Server, worker: Peer, job: Job) -> None:
    server.engine.cancel(job)


def time_out(server: Server, worker: Peer, job: Job) -> None:
    server.advance(5000)


WAYS = [complete, fail, lose, take_back, cancel, time_out]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wakeup", [0, 1])
@pytest.mark.parametrize("background", [True, False])
def test_whoever_sleeps_is_woken_when_a_slot_is_free(
    way: Callable[[Server, Peer, Job], None], wakeup: int, background: bool
) -> None:
    server = Server(worker_wakeup=wakeup)
    server.engine.set_policies(Policies(Policy(timeout=5000), (Rule("f", {"concurrency": 1}),)))
    client = None if background else server.connect()
    for _ in range(3):
        server.submit(b"f", client=client)
    ((worker, job),) = running(server, 1)
    sleepers = [server.sleeper(b"f"), server.sleeper(b"f")]
    assert server.woken() == []
    way(server, worker, job)
    woken = server.woken()
    assert woken[0] is sleepers[0] and (wakeup or woken == sleepers)
    server.disk.commit()
    assert [server.engine.grab(peer) is not None for peer in woken][:2] == [True, False][: len(woken)]
    for peer in woken:
        assert server.engine.sleep(peer), "the only slot is taken again"


def test_a_backoff_frees_the_slot(server: Server) -> None:
    values = {"concurrency": 1, "retry_on": frozenset((b"fail",)), "backoff": Backoff(1000)}
    server.engine.set_policies(Policies(Policy(), (Rule("f", values),)))
    for _ in range(2):
        server.submit(b"f")
    ((_, job),) = running(server, 1)
    sleeper = server.sleeper(b"f")
    server.engine.fail(job, Reason.FAIL)
    assert job.state is DELAYED and server.woken() == [sleeper]


@pytest.mark.parametrize("before", [1, 2])
def test_another_limit_holds_at_once(server: Server, before: int) -> None:
    limit(server, before)
    for _ in range(6):
        server.submit(b"f")
    running(server, before)
    sleeper = server.sleeper(b"f")
    limit(server, 3)
    assert server.woken() == [sleeper]
    running(server, 3 - before)
    limit(server, 1)
    assert server.engine.grab(sleeper) is None
    limit(server, 0)
    assert server.engine.grab(sleeper) is not None


def test_what_is_submitted_to_a_function_that_is_busy_wakes_nobody(server: Server) -> None:
    limit(server, 1)
    server.submit(b"f")
    running(server, 1)
    sleeper = server.sleeper(b"f")
    server.submit(b"f")
    server.submit(b"f", client=server.connect())
    assert server.woken() == []
    server.engine.can_do(sleeper, b"f", 0)
    assert server.woken() == [] and sleeper.asleep


# Pauses


@pytest.mark.parametrize("everything", [False, True])
def test_a_pause_assigns_nothing_and_takes_everything(server: Server, everything: bool) -> None:
    first = server.submit(b"f")
    ((_, running_job),) = running(server, 1)
    function = server.engine.functions[b"f"]
    server.engine.pause(None if everything else function)
    assert server.disk.steered == [None if everything else function]
    second, third = server.submit(b"f"), server.submit(b"f", client=server.connect())
    worker = server.connect(b"f")
    assert server.engine.grab(worker) is None and server.engine.sleep(worker)
    server.engine.complete(running_job, b"")  # what runs is not disturbed
    server.submit(b"f")
    assert server.woken() == []
    server.submit(b"g")
    assert (server.engine.grab(server.connect(b"g")) is None) == everything
    server.engine.resume(None if everything else function)
    assert server.woken() == [worker]
    assert [server.engine.grab(worker), server.engine.grab(worker)] == [second, third]
    assert first is running_job


@pytest.mark.parametrize("everything", [False, True])
def test_a_pause_ends_by_itself(server: Server, everything: bool) -> None:
    server.submit(b"f")
    function = server.engine.functions[b"f"]
    server.engine.pause(None if everything else function, NOW + 600_000)
    sleeper = server.sleeper(b"f")
    server.advance(599_999)
    assert server.woken() == [] and server.engine.grab(server.connect(b"f")) is None
    server.disk.steered.clear()
    server.advance(1)
    assert server.woken() == [sleeper]
    assert server.disk.steered == [None if everything else function], "also its end is stored"
    assert (function.paused_at, function.paused_until, server.engine.paused_at) == (0, 0, 0)
    assert not server.engine.paused


def test_a_pause_of_all_and_one_of_a_function_are_two(server: Server) -> None:
    server.submit(b"f")
    function = server.engine.functions[b"f"]
    server.engine.pause(function)
    server.engine.pause(None)
    server.engine.resume(None)
    assert server.engine.grab(server.connect(b"f")) is None
    server.engine.pause(None)
    server.engine.resume(function)
    assert server.engine.grab(server.connect(b"f")) is None
    server.engine.resume(None)
    assert server.engine.grab(server.connect(b"f")) is not None


def test_another_pause_replaces_the_first(server: Server) -> None:
    server.submit(b"f")
    function = server.engine.functions[b"f"]
    server.engine.pause(function, NOW + 1000)
    server.advance(500)
    server.engine.pause(function)
    server.advance(100_000)
    assert (function.paused_at, function.paused_until) == (NOW + 500, 0)
    assert server.engine.grab(server.connect(b"f")) is None


def test_jobs_that_come_back_during_a_pause_wake_nobody(server: Server) -> None:
    server.submit(b"f", run_at=NOW + 1000)
    server.submit(b"f")
    ((worker, _),) = running(server, 1)
    server.engine.pause(server.engine.functions[b"f"])
    sleeper = server.sleeper(b"f")
    server.engine.disconnect(worker)
    server.advance(1000)
    server.disk.commit()
    assert server.woken() == [] and server.counts() == {"queued": 2}
    server.engine.resume(server.engine.functions[b"f"])
    assert server.woken() == [sleeper]


def test_a_pause_of_a_function_that_is_full_as_well(server: Server) -> None:
    limit(server, 1)
    for _ in range(2):
        server.submit(b"f")
    ((_, job),) = running(server, 1)
    function = server.engine.functions[b"f"]
    server.engine.pause(function)
    server.engine.resume(function)
    assert server.engine.grab(server.connect(b"f")) is None, "one still runs"
    server.engine.pause(function)
    server.engine.complete(job, b"")
    assert server.engine.grab(server.connect(b"f")) is None, "it is still paused"
    server.engine.resume(function)
    assert server.engine.grab(server.connect(b"f")) is not None


def test_global_priorities_pass_over_a_paused_function() -> None:
    server = Server(global_priority=True)
    server.submit(b"f", priority=0)
    other = server.submit(b"g", priority=2)
    server.engine.pause(server.engine.functions[b"f"])
    assert server.engine.grab(server.connect(b"f", b"g")) is other


def test_held_jobs_wait_beside_a_pause(server: Server) -> None:
    job = server.submit(b"f")
    function = server.engine.functions[b"f"]
    server.engine.pause(function)
    server.engine.hold(job, Reason.HELD)
    server.disk.commit()
    server.engine.resume(function)
    assert job.state is HELD and server.engine.grab(server.connect(b"f")) is None
    assert server.submit(b"f").state is QUEUED


# Limits of the queue


@pytest.mark.parametrize(
    ("policy", "maximum", "taken"), [(0, -1, 9), (2, -1, 2), (2, 4, 4), (2, 1, 1), (2, 0, 9), (0, 3, 3)]
)
def test_maxqueue_wins_over_the_policy(server: Server, policy: int, maximum: int, taken: int) -> None:
    server.engine.set_policies(Policies(Policy(), (Rule("f", {"max_queue": policy}),)))
    function = server.engine.function(b"f")
    function.maximums = [maximum] * 3
    function.set_limits()
    for _ in range(9):
        with suppress(QueueError):
            server.submit(b"f")
    assert server.counts() == {"queued": taken}
    server.engine.set_policies(Policies(Policy(max_queue=7)))
    assert function.limits == [7 if maximum < 0 else maximum] * 3
