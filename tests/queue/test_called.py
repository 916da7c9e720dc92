"""How many sleepers a job wakes, and that no job waits for a worker that was woken and does not come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearstore.queue.calls import PATIENCE
from gearstore.queue.job import Job
from gearstore.queue.peer import Peer
from gearstore.queue.policy import Policies, Policy, Rule
from gearstore.queue.waking import AUTO
from tests.queue.doubles import NOW, Server


@pytest.fixture
def server() -> Server:
    return Server()


def sleepers(server: Server, number: int, *abilities: bytes) -> list[Peer]:
    """Return so many workers that sleep, the first to be woken first."""
    return [server.sleeper(*(abilities or (b"f",))) for _ in range(number)]


def take(server: Server, worker: Peer) -> Job:
    """Have a worker grab a job that must be there."""
    job = server.engine.grab(worker)
    assert job is not None
    return job


def wait(server: Server) -> list[Peer]:
    """Let the patience with those who were woken end; return who was woken instead."""
    for _ in range(2):
        server.advance(PATIENCE)
    return server.woken()


def test_as_many_as_there_are_jobs(server: Server) -> None:
    workers = sleepers(server, 10_000)
    for number in range(3):
        server.submit(b"f")
        assert server.woken() == [workers[number]]
    for worker in workers[:3]:
        take(server, worker)
    server.submit(b"f")
    assert server.woken() == [workers[3]]


def test_jobs_for_which_somebody_was_woken_wake_nobody_again(server: Server) -> None:
    first, second, third = sleepers(server, 3)
    server.submit(b"f")
    server.submit(b"f")
    assert server.woken() == [first, second]
    take(server, server.connect(b"f"))  # a busy one was faster than those who were woken
    server.submit(b"f")
    assert server.woken() == [], "two were woken, and two jobs wait"
    assert third.asleep


def test_a_worker_that_takes_another_function_s_job_is_replaced(server: Server) -> None:
    both, other = server.sleeper(b"f", b"g"), server.sleeper(b"f")
    job = server.submit(b"f")
    assert server.woken() == [both]
    server.submit(b"g")
    assert server.woken() == []
    assert take(server, both).function.name == b"g"
    assert server.woken() == [other]
    assert take(server, other) is job


def leave(server: Server, worker: Peer) -> None:
    server.engine.disconnect(worker)


def forget(server: Server, worker: Peer) -> None:
    server.engine.cant_do(worker, server.engine.functions[b"f"])


def hang(server: Server, worker: Peer) -> None:
    for _ in range(2):
        server.advance(PATIENCE)


@pytest.mark.parametrize("way", [leave, forget, hang])
@pytest.mark.parametrize("wakeup", [AUTO, 1])
def test_a_worker_that_does_not_come_is_replaced(way: Callable[[Server, Peer], None], wakeup: int) -> None:
    server = Server(worker_wakeup=wakeup)
    first, second = sleepers(server, 2)
    job = server.submit(b"f")
    assert server.woken() == [first]
    way(server, first)
    assert server.woken() == [second]
    assert take(server, second) is job


def test_a_worker_that_sleeps_again_without_a_grab_is_told_at_once(server: Server) -> None:
    (worker,) = sleepers(server, 1)
    server.submit(b"f")
    assert server.woken() == [worker]
    assert not server.engine.sleep(worker)


def test_a_worker_that_comes_late_gets_what_is_there(server: Server) -> None:
    slow, second = sleepers(server, 2)
    first_job, second_job = server.submit(b"f"), server.submit(b"f")
    assert server.woken() == [slow, second]
    assert wait(server) == []
    assert (take(server, slow), take(server, second)) == (first_job, second_job)


def test_nobody_is_given_up_within_its_patience(server: Server) -> None:
    sleepers(server, 2)
    server.submit(b"f")
    server.woken()
    server.advance(PATIENCE - 1)
    server.submit(b"g")  # whatever else happens
    server.advance(PATIENCE)
    assert server.woken() == []
    server.advance(PATIENCE)
    assert len(server.woken()) == 1


def test_twice_as_many_each_time(server: Server) -> None:
    """A host with a thousand workers has vanished: the job is with a living one before a second is over."""
    workers = sleepers(server, 1000)
    job = server.submit(b"f")
    woken = [server.woken()]
    while workers[-1].asleep:
        woken.append(wait(server))
    assert [len(peers) for peers in woken] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 489]
    assert take(server, workers[-1]) is job
    assert server.engine.next_wait() is not None, "those that hang are not given up yet"
    assert wait(server) == [] and server.engine.next_wait() is None


def test_nobody_is_woken_instead_when_the_jobs_are_gone(server: Server) -> None:
    sleepers(server, 5)
    server.submit(b"f")
    take(server, server.connect(b"f"))
    server.woken()
    assert wait(server) == []
    server.submit(b"f")
    assert len(server.woken()) == 1, "the one that hangs counts no more"


def test_no_more_than_may_run_at_once(server: Server) -> None:
    server.engine.set_policies(Policies(Policy(), (Rule("f", {"concurrency": 2}),)))
    workers = sleepers(server, 5)
    for _ in range(4):
        server.submit(b"f")
    assert server.woken() == workers[:2]
    jobs = [take(server, worker) for worker in workers[:2]]
    assert server.woken() == []
    server.engine.complete(jobs[0], b"")
    assert server.woken() == [workers[2]]


def test_room_for_more_is_used_though_only_one_was_woken(server: Server) -> None:
    server.engine.set_policies(Policies(Policy(), (Rule("f", {"concurrency": 3}),)))
    for _ in range(6):
        server.submit(b"f")
    busy = [(worker := server.connect(b"f"), take(server, worker)) for _ in range(3)]
    workers = sleepers(server, 4)
    for _, job in busy[:2]:
        server.engine.complete(job, b"")
    assert server.woken() == [workers[0]]
    take(server, workers[0])
    assert server.woken() == [workers[1]]


def test_a_pause_that_ends_wakes_as_many_as_there_are_jobs(server: Server) -> None:
    workers = sleepers(server, 4)
    function = server.engine.function(b"f")
    server.engine.pause(function)
    for _ in range(3):
        server.submit(b"f")
    assert server.woken() == []
    server.engine.resume(function)
    assert server.woken() == workers[:3]


def test_those_who_come_during_a_pause_are_called_again_after_it(server: Server) -> None:
    (worker,) = sleepers(server, 1)
    server.submit(b"f")
    assert server.woken() == [worker]
    server.engine.pause(None)
    assert server.engine.grab(worker) is None and server.engine.sleep(worker)
    server.engine.resume(None)
    assert server.woken() == [worker]


def test_jobs_that_become_due_together_wake_as_many(server: Server) -> None:
    workers = sleepers(server, 4)
    for _ in range(3):
        server.submit(b"f", run_at=NOW + 5000)
    server.advance(5000)
    server.disk.commit()
    assert server.woken() == workers[:3]


def test_another_setting_counts_from_the_next_job_on(server: Server) -> None:
    workers = sleepers(server, 4)
    server.submit(b"f")
    server.engine.worker_wakeup = 0
    server.submit(b"f")
    assert server.woken() == workers
    server.engine.worker_wakeup = AUTO
    assert wait(server) == [] and server.engine.next_wait() is None


def test_whoever_is_called_and_leaves_is_not_kept(server: Server) -> None:
    for _ in range(10):
        (worker,) = sleepers(server, 1)
        job = server.submit(b"f")
        server.engine.disconnect(worker)
        server.engine.cancel(job)
    assert server.engine.calls.look_at == 0 and server.engine.functions[b"f"].called == 0
