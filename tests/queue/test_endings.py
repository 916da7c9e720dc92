"""What follows when an attempt ends badly: each rule of the policy, with a clock that stands still until told."""

from __future__ import annotations

from typing import Any

import pytest

from gearstore.queue.causes import cause_of
from gearstore.queue.job import CANCELLED, DELAYED, DONE, FAILED, QUEUED, RUNNING, Job, Reason
from gearstore.queue.peer import Peer
from gearstore.queue.policy import REASONS, Backoff, Policies, Policy, Rule
from gearstore.queue.ports import Event
from tests.queue.doubles import NOW, Server

STEADY = Backoff(10_000, factor=3, limit=60_000, jitter=0)


@pytest.fixture
def server() -> Server:
    return Server()


def obey(server: Server, **values: Any) -> None:
    """Have a policy hold for f."""
    server.engine.set_policies(Policies(Policy(), (Rule("f", values),)))


def end_badly(server: Server, worker: Peer, reason: bytes, error: bytes = b"") -> Job:
    """Take the next job and end the attempt for this reason."""
    job = server.engine.grab(worker)
    assert job is not None
    if reason == Reason.LOST:
        server.engine.disconnect(worker)
    elif reason == Reason.TIMEOUT:
        server.advance(1000)
    else:
        server.engine.fail(job, reason, error)
    server.disk.commit()
    return job


# retry_on and max_attempts


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("retry_on", [(), *((each,) for each in REASONS), REASONS])
def test_only_what_retry_on_names_is_tried_again(server: Server, reason: bytes, retry_on: tuple[bytes, ...]) -> None:
    obey(server, retry_on=frozenset(retry_on), timeout=1000)
    job = server.submit(b"f")
    end_badly(server, server.connect(b"f"), reason)
    assert job.state is (QUEUED if reason in retry_on else FAILED)
    assert (job.attempts, job.reason) == (1, reason)
    assert server.disk.rows[job.id].state == job.state


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_max_attempts_counts_every_kind(server: Server, reason: bytes, attempts: int) -> None:
    obey(server, retry_on=frozenset(REASONS), max_attempts=attempts, timeout=1000)
    job = server.submit(b"f")
    for number in range(1, attempts):
        assert end_badly(server, server.connect(b"f"), reason) is job
        assert (job.state, job.attempts) == (QUEUED, number)
    end_badly(server, server.connect(b"f"), reason)
    assert (job.state, job.attempts) == (FAILED, attempts)
    assert server.counts() == {"failed": 1}


def test_no_limit_of_attempts(server: Server) -> None:
    obey(server, retry_on=frozenset(REASONS), max_attempts=0)
    job = server.submit(b"f")
    worker = server.connect(b"f")
    for _ in range(50):
        end_badly(server, worker, Reason.FAIL)
    assert (job.state, job.attempts) == (QUEUED, 50)


@pytest.mark.parametrize("reason", [Reason.FAIL, Reason.EXCEPTION])
def test_a_foreground_job_is_not_tried_again_when_its_worker_says_so(server: Server, reason: bytes) -> None:
    obey(server, retry_on=frozenset(REASONS))
    job = server.ask(b"f", client=server.connect())
    assert server.engine.grab(server.connect(b"f")) is job
    assert server.engine.fail(job, reason)
    assert job.state is FAILED and server.disk.events == []


def test_a_foreground_job_whose_worker_is_lost_does_not_wait_for_a_backoff(server: Server) -> None:
    obey(server, backoff=STEADY)
    job = server.ask(b"f", client=server.connect())
    assert server.engine.grab(server.connect(b"f")) is job
    server.engine.disconnect(job.worker or server.connect())
    assert job.state is QUEUED and server.engine.grab(server.connect(b"f")) is job


def test_a_job_that_succeeds_at_last_tells_only_of_that(server: Server) -> None:
    obey(server, retry_on=frozenset(REASONS))
    job = server.submit(b"f")
    worker = server.connect(b"f")
    end_badly(server, worker, Reason.EXCEPTION, b"once")
    assert (job.reason, job.error) == (b"exception", b"once")
    server.work(worker)
    row = server.disk.rows[job.id]
    assert (row.state, row.reason, row.error, row.attempts, row.cause) == (DONE, b"", b"", 2, 0)
    assert [(event.kind, event.detail) for event in server.disk.events] == [(b"exception", b"once")]


# backoff


def test_a_backoff_is_a_delayed_job(server: Server) -> None:
    obey(server, retry_on=frozenset(REASONS), backoff=STEADY, max_attempts=6)
    job = server.submit(b"f")
    worker = server.connect(b"f")
    for wait in (10_000, 30_000, 60_000, 60_000):  # three times longer each, sixty seconds at most
        end_badly(server, worker, Reason.FAIL)
        assert (job.state, job.run_at) == (DELAYED, server.engine.now + wait)
        assert server.disk.rows[job.id].state == DELAYED and server.disk.rows[job.id].run_at == job.run_at
        assert server.engine.grab(worker) is None and server.engine.next_wait() == wait
        server.advance(wait - 1)
        assert server.engine.grab(worker) is None
        assert server.engine.sleep(worker)
        server.advance(1)
        assert server.woken() == [worker]
    assert job.attempts == 4


def test_chance_spreads_what_failed_together(server: Server) -> None:
    obey(server, retry_on=frozenset(REASONS), backoff=Backoff(10_000, jitter=0.5))
    chances = iter((0.0, 0.5, 0.999))
    server.engine.chance = lambda: next(chances)
    jobs = [server.submit(b"f") for _ in range(3)]
    worker = server.connect(b"f")
    for _ in jobs:
        end_badly(server, worker, Reason.FAIL)
    assert [job.run_at - NOW for job in jobs] == [10_000, 7_500, 5_005]


def test_a_backoff_that_waits_is_joined_by_its_unique(server: Server) -> None:
    obey(server, retry_on=frozenset(REASONS), backoff=STEADY)
    job = server.submit(b"f", unique=b"u")
    end_badly(server, server.connect(b"f"), Reason.FAIL)
    assert server.submit(b"f", unique=b"u") is job
    client = server.connect()
    assert server.submit(b"f", unique=b"u", client=client) is job
    server.advance(10_000)
    assert server.engine.grab(server.connect(b"f")) is job and list(job.listeners) == [client]


def fail_all(server: Server, number: int) -> None:
    """Submit so many jobs and let them fail."""
    worker = server.connect(b"f")
    for _ in range(number):
        server.ask(b"f")
    server.disk.commit()
    server.disk.feed(number)
    while (job := server.engine.grab(worker)) is not None:
        server.engine.fail(job, Reason.FAIL)
        if not server.engine.functions[b"f"].ready:
            server.disk.commit()
            server.disk.feed(number)
    server.disk.commit()


def test_a_hundred_thousand_backoffs_cost_one_timer(server: Server) -> None:
    obey(server, retry_on=frozenset(REASONS), backoff=STEADY)
    fail_all(server, 100_000)
    engine = server.engine
    assert server.counts() == {"delayed": 100_000}
    assert engine.next_wait() == 10_000  # what the one timer is set to
    assert len(engine.delayed) <= 65_536 and len(engine.delayed) + engine.delayed_on_disk == 100_000
    assert len(engine.jobs) == len(engine.delayed), "those on disk cost no memory"


def test_backoffs_that_wait_on_disk_come_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearstore.queue.endings.MAX_DELAYED", 100)
    obey(server, retry_on=frozenset(REASONS), backoff=STEADY)
    fail_all(server, 1000)
    assert server.engine.delayed_on_disk >= 900
    server.advance(10_000)
    while server.engine.delayed_on_disk or len(server.engine.delayed):
        server.disk.commit()
        server.disk.feed_delayed()
        server.advance(0)
    server.disk.commit()
    assert server.counts() == {"queued": 1000}
    assert len(server.work(server.connect(b"f"))) == 1000


# timeout


@pytest.mark.parametrize(
    ("of_policy", "of_worker", "after"),
    [(0, 0, None), (5000, 0, 5000), (0, 3000, 3000), (5000, 3000, 3000), (3000, 5000, 3000), (3000, 3000, 3000)],
)
def test_the_shorter_timeout_counts(server: Server, of_policy: int, of_worker: int, after: int | None) -> None:
    obey(server, timeout=of_policy)
    job = server.submit(b"f")
    assert server.engine.grab(server.connect(b"f", timeout=of_worker)) is job
    assert server.engine.next_wait() == after
    if after is not None:
        server.advance(after - 1)
        assert job.state is RUNNING
        server.advance(1)
        assert (job.state, job.reason) == (QUEUED, Reason.TIMEOUT)
        server.disk.commit()
        assert [event.kind for event in server.disk.events] == [b"timeout"]


def test_a_new_timeout_holds_from_the_next_attempt_on(server: Server) -> None:
    job = server.submit(b"f")
    assert server.engine.grab(server.connect(b"f")) is job
    obey(server, timeout=1000)
    server.advance(100_000)
    assert job.state is RUNNING
    server.engine.disconnect(job.worker or server.connect())
    assert server.engine.grab(server.connect(b"f")) is job
    server.advance(1000)
    assert job.reason == Reason.TIMEOUT


# Listeners


@pytest.mark.parametrize("reason", REASONS)
def test_a_client_of_a_joined_job_is_told_once_at_the_end(server: Server, reason: bytes) -> None:
    obey(server, retry_on=frozenset(REASONS), max_attempts=3, timeout=1000, backoff=STEADY)
    job = server.submit(b"f", unique=b"u")
    client = server.connect()
    assert server.submit(b"f", unique=b"u", client=client) is job
    for _ in range(2):
        end_badly(server, server.connect(b"f"), reason)
        assert server.failures() == [] and list(job.listeners) == [client]
        server.advance(60_000)
    worker = server.connect(b"f")
    if reason in (Reason.FAIL, Reason.EXCEPTION):
        assert server.engine.grab(worker) is job
        assert server.engine.fail(job, reason)
        assert list(job.listeners) == [client], "whom the command tells, then drops"
        server.engine.told(job)
    else:
        end_badly(server, worker, reason)
        assert server.failures() == [(job.handle, [client])]
    assert list(job.listeners) == [] and not client.listening


# Causes and events


@pytest.mark.parametrize("reason", REASONS)
def test_a_failure_has_a_cause_until_it_is_put_back(server: Server, reason: bytes) -> None:
    obey(server, retry_on=frozenset(), timeout=1000)
    job = server.submit(b"f")
    error = b"order 5 is wrong" if reason in (Reason.FAIL, Reason.EXCEPTION) else b""
    end_badly(server, server.connect(b"f"), reason, error)
    assert server.disk.rows[job.id].cause == cause_of(reason, error)[0] != 0


def test_each_attempt_is_an_event(server: Server) -> None:
    obey(server, retry_on=frozenset((b"lost", b"exception")), backoff=STEADY)
    job = server.submit(b"f")
    first = server.connect(b"f", client_id=b"one")
    assert server.engine.grab(first) is job
    server.advance(300)
    server.engine.disconnect(first)
    server.disk.commit()
    server.advance(10_000)
    assert server.engine.grab(server.connect(b"f", client_id=b"two")) is job
    server.advance(7)
    server.engine.fail(job, Reason.FAIL, b"why")
    server.disk.commit()
    assert server.disk.events == [
        Event(job.id, NOW + 300, b"lost", NOW, b"one", b"", NOW + 10_300),
        Event(job.id, NOW + 10_307, b"fail", NOW + 10_300, b"two", b"why", 0),
    ]


def test_an_event_keeps_the_beginning_of_an_endless_error(server: Server) -> None:
    job = server.submit(b"f")
    end_badly(server, server.connect(b"f"), Reason.EXCEPTION, b"e" * 1_000_000)
    assert server.disk.events[0].detail == b"e" * 65_536 and len(server.disk.rows[job.id].error) == 1_000_000


def test_what_is_foreground_only_leaves_no_events(server: Server) -> None:
    server.ask(b"f", client=server.connect())
    worker = server.connect(b"f")
    job = server.engine.grab(worker)
    assert job is not None
    server.engine.disconnect(worker)
    assert server.engine.grab(server.connect(b"f")) is job
    server.engine.cancel(job)
    assert server.disk.events == [] and job.state is CANCELLED


@pytest.mark.parametrize(("limit", "kept"), [(0, b""), (3, b"abc"), (2, b"")])
def test_results_are_kept_up_to_a_size(server: Server, limit: int, kept: bytes) -> None:
    obey(server, store_result=limit)
    job = server.submit(b"f")
    assert server.engine.grab(server.connect(b"f")) is job
    server.engine.complete(job, b"abc")
    server.disk.commit()
    row = server.disk.rows[job.id]
    assert (row.result, row.result_size) == (kept, 3)


def test_ends_are_counted_by_state(server: Server) -> None:
    worker = server.connect(b"f")
    for _ in range(2):
        server.submit(b"f")
        end_badly(server, worker, Reason.FAIL)
    server.submit(b"f")
    server.work(worker)
    server.engine.cancel(server.submit(b"f"))
    server.ask(b"f", client=server.connect())
    server.work(worker)
    ended = server.engine.functions[b"f"].ended
    assert (ended[DONE], ended[FAILED], ended[CANCELLED]) == (2, 2, 1)


def test_the_observer_is_told_of_each_transition(server: Server) -> None:
    told: list[tuple[int, bytes]] = []
    server.engine.observer = lambda job, word: told.append((job.id, word))
    obey(server, retry_on=frozenset(REASONS), backoff=STEADY, max_attempts=2)
    job = server.submit(b"f")
    worker = server.connect(b"f")
    end_badly(server, worker, Reason.FAIL)
    server.advance(10_000)
    end_badly(server, worker, Reason.FAIL)
    other = server.submit(b"f")
    server.engine.hold(other, Reason.HELD)
    server.disk.commit()
    server.engine.cancel(server.submit(b"f"))
    assert told == [
        (job.id, b"submitted"), (job.id, b"assigned"), (job.id, b"delayed"), (job.id, b"queued"),
        (job.id, b"assigned"), (job.id, b"failed"), (other.id, b"submitted"), (other.id, b"held"),
        (other.id + 1, b"submitted"), (other.id + 1, b"cancelled"),
    ]  # fmt: skip
