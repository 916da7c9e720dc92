"""What operators do to single jobs, in every state and wherever they stand: hold, release, cancel, retry, replay."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearstore.errors import QueueError
from gearstore.queue.job import CANCELLED, DELAYED, DONE, FAILED, HELD, ON_DISK, QUEUED, RUNNING, WINDOW, Job, Reason
from gearstore.queue.operators import CHANGING, cancel, check_hold, check_replay, check_retry, hold, replay, retry
from gearstore.queue.ports import Event
from tests.queue.doubles import NOW, Server, row

LATER = NOW + 60_000


def under_way(server: Server) -> Job:
    """Its first commit is under way."""
    return server.ask(b"f", unique=b"u")


def in_window(server: Server) -> Job:
    """In memory, for workers to take."""
    job = server.submit(b"f", unique=b"u")
    assert job.place == WINDOW
    return job


def on_disk(server: Server) -> Job:
    """Only its row knows it."""
    for _ in range(4):
        server.submit(b"f")
    job = server.submit(b"f", unique=b"u")
    assert job.handle not in server.engine.jobs
    return server.disk.load(server.disk.rows[job.id])


def being_spilled(server: Server) -> Job:
    """It will be on disk only, once its commit is done."""
    for _ in range(4):
        server.submit(b"f")
    job = server.ask(b"f")  # with a unique it would not be known before it was looked up
    assert job.place == ON_DISK
    return job


def delayed_under_way(server: Server) -> Job:
    """Delayed, its first commit is under way."""
    return server.ask(b"f", unique=b"u", run_at=LATER)


def delayed(server: Server) -> Job:
    """Delayed, in memory."""
    job = server.submit(b"f", unique=b"u", run_at=LATER)
    assert job.deadline
    return job


def delayed_on_disk(server: Server) -> Job:
    """Delayed, only its row knows it."""
    for number in range(4):
        server.submit(b"f", run_at=LATER - 10 + number)
    job = server.submit(b"f", unique=b"u", run_at=LATER)
    assert job.handle not in server.engine.jobs
    return server.disk.load(server.disk.rows[job.id])


WAITING = [under_way, in_window, on_disk, being_spilled, delayed_under_way, delayed, delayed_on_disk]
Place = Callable[[Server], Job]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr("gearstore.queue.endings.MAX_DELAYED", 2)
    return Server(window=2)


def settle(server: Server) -> None:
    """Commit all, and read back what memory has room for."""
    server.disk.commit()
    server.disk.feed()
    server.disk.feed_delayed()


def work_off(server: Server) -> list[bytes]:
    """Let all other jobs end and return their workloads; nothing but held and ended jobs may be left."""
    worker = server.connect(b"f")
    workloads = []
    for _ in range(10):
        server.advance(60_000)
        settle(server)
        workloads += server.work(worker)
    engine, function = server.engine, server.engine.functions[b"f"]
    assert {"queued", "delayed", "running"}.isdisjoint(server.counts())
    assert (engine.delayed_on_disk, len(engine.delayed), len(engine.timeouts)) == (0, 0, 0)
    assert (function.ready, function.spilled, function.uniques, engine.jobs) == (0, 0, {}, {})
    assert [(window.size, window.bytes, window.on_disk) for window in function.windows] == [(0, 0, 0)] * 3
    return workloads


@pytest.mark.parametrize("place", WAITING)
def test_a_job_that_waits_is_held(server: Server, place: Place) -> None:
    job = place(server)
    hold(server.engine, job)
    assert (job.state, job.reason) == (HELD, Reason.HELD)
    settle(server)
    assert server.ask(b"f", b"twin", unique=b"u") is not job, "its unique is free"
    settle(server)
    assert server.disk.rows[job.id].state == HELD and job.handle not in server.engine.jobs
    assert server.disk.events == [Event(job.id, NOW, b"hold")]
    assert b"twin" in work_off(server)
    assert server.counts()["held"] == 1


@pytest.mark.parametrize("place", WAITING)
@pytest.mark.parametrize("run_at", [0, LATER])
def test_a_held_job_is_released(server: Server, place: Place, run_at: int) -> None:
    job = place(server)
    hold(server.engine, job)
    settle(server)
    record = server.disk.rows[job.id]
    again = retry(server.engine, job.function, record, run_at, held_only=True)
    assert (again.handle, again.run_at) == (job.handle, run_at or NOW), "it waits since now, or until then"
    assert again.state is (DELAYED if run_at else QUEUED)
    assert server.disk.events[-1] == Event(job.id, NOW, b"release", next_at=run_at)
    assert not job.unique or server.ask(b"f", unique=b"u") is again, "its unique is taken again"
    others = sum(server.counts().values()) - 1
    assert len(work_off(server)) == others + 1
    assert server.counts() == {"done": others + 1}


@pytest.mark.parametrize("place", WAITING)
def test_hold_and_release_before_anything_is_durable(server: Server, place: Place) -> None:
    job = place(server)
    hold(server.engine, job)
    with pytest.raises(QueueError, match=CHANGING):
        retry(server.engine, job.function, server.disk.rows.get(job.id, row(job)), held_only=True)
    assert job.state is HELD
    settle(server)
    assert server.disk.rows[job.id].state == HELD


@pytest.mark.parametrize("place", WAITING)
def test_a_job_that_waits_is_cancelled(server: Server, place: Place) -> None:
    job = place(server)
    cancel(server.engine, job)
    assert job.state is CANCELLED
    assert server.disk.events == [Event(job.id, NOW, b"cancel")]
    settle(server)
    work_off(server)
    assert server.counts()["cancelled"] == 1 and server.disk.rows[job.id].state == CANCELLED


def test_a_running_job_is_cancelled_and_its_late_report_ignored(server: Server) -> None:
    job = in_window(server)
    worker = server.connect(b"f")
    assert server.engine.grab(worker) is job
    cancel(server.engine, job)
    assert server.engine.held(worker, job.handle, b"") is None
    settle(server)
    assert server.engine.held(worker, job.handle, b"") is None and server.counts() == {"cancelled": 1}


def test_a_held_job_is_cancelled(server: Server) -> None:
    job = in_window(server)
    hold(server.engine, job)
    settle(server)
    cancel(server.engine, server.disk.load(server.disk.rows[job.id]))
    settle(server)
    assert server.counts() == {"cancelled": 1} and server.engine.jobs == {}


def test_a_cancelled_foreground_job_leaves_no_event(server: Server) -> None:
    job = server.ask(b"f", client=server.connect())
    cancel(server.engine, job)
    assert server.disk.events == [] and len(server.failures()) == 1


# What is refused, in words


def test_what_is_not_held(server: Server) -> None:
    client = server.connect()
    running = in_window(server)
    assert server.engine.grab(server.connect(b"f")) is running
    foreground = server.ask(b"f", client=client)
    joined = server.submit(b"f", unique=b"j")
    server.submit(b"f", unique=b"j", client=client)
    counts = server.counts()
    for job, why in ((running, b"it is running"), (foreground, b"a client waits"), (joined, b"a client waits")):
        for verb in (lambda job: hold(server.engine, job), check_hold):
            with pytest.raises(QueueError) as refused:
                verb(job)
            assert refused.value.text.startswith(why)
    assert (server.counts(), server.disk.events, server.failures()) == (counts, [], [])


@pytest.mark.parametrize("state", [QUEUED, DELAYED, RUNNING, DONE, FAILED, CANCELLED])
def test_only_what_is_held_is_released(server: Server, state: int) -> None:
    job = in_window(server)
    settle(server)
    record = server.disk.rows[job.id]._replace(state=int(state))
    server.engine.jobs.clear()
    server.engine.functions[b"f"].uniques.clear()
    for verb in (retry, check_retry):
        with pytest.raises(QueueError, match="it is"):
            verb(server.engine, job.function, record, held_only=True)


def test_a_release_is_refused_while_its_unique_is_queued_again(server: Server) -> None:
    job = in_window(server)
    hold(server.engine, job)
    settle(server)
    twin = server.submit(b"f", unique=b"u")
    with pytest.raises(QueueError) as refused:
        retry(server.engine, job.function, server.disk.rows[job.id], held_only=True)
    assert refused.value.text == b"its unique is queued again as " + twin.handle


# Retry and replay


def failed(server: Server) -> Job:
    job = in_window(server)
    assert server.engine.grab(server.connect(b"f")) is job
    server.engine.fail(job, Reason.FAIL, b"why")
    settle(server)
    return job


def test_a_retry_that_waits(server: Server) -> None:
    job = failed(server)
    again = retry(server.engine, job.function, server.disk.rows[job.id], LATER)
    assert (again.state, again.run_at, again.cause, again.ended_at) == (DELAYED, LATER, 0, 0)
    settle(server)
    assert server.disk.rows[job.id].state == DELAYED and server.counts() == {"delayed": 1}
    assert server.disk.events[-1] == Event(job.id, NOW, b"retry", next_at=LATER)
    worker = server.sleeper(b"f")
    server.advance(LATER - NOW)
    settle(server)
    assert server.woken() == [worker] and server.engine.grab(worker) is not None


def test_a_retry_for_a_time_that_is_over_is_one_for_now(server: Server) -> None:
    job = failed(server)
    again = retry(server.engine, job.function, server.disk.rows[job.id], NOW - 1)
    assert (again.state, again.run_at) == (QUEUED, NOW)
    assert server.disk.events[-1].next_at == 0


def test_retries_beyond_the_window_stand_at_the_end(server: Server) -> None:
    jobs = [failed(server) for _ in range(5)]
    for job in jobs:
        job.unique = b""
        record = server.disk.rows[job.id]._replace(unique=b"", workload=b"%d" % job.id)
        server.disk.rows[job.id] = record
        retry(server.engine, job.function, record)
    settle(server)
    assert server.counts() == {"queued": 5} and len(server.engine.jobs) == 2
    assert work_off(server) == [b"%d" % job.id for job in jobs]


def test_a_copy_for_another_function_that_waits_and_has_no_unique(server: Server) -> None:
    job = failed(server)
    server.submit(b"f", unique=b"u")
    record = server.disk.rows[job.id]
    with pytest.raises(QueueError, match="unique is queued"):
        replay(server.engine, job.function, record)
    copy = replay(server.engine, server.engine.function(b"g"), record, LATER, drop_unique=True)
    settle(server)
    row = server.disk.rows[copy.id]
    assert (row.state, row.unique, row.replay_of, row.function_id) == (DELAYED, b"", job.id, copy.function.id)
    other = replay(server.engine, server.engine.function(b"h"), record)
    assert other.unique == b"u" and other.function.uniques == {b"u": other}


def test_what_was_replayed_is_not_replayed_unless_asked_for(server: Server) -> None:
    job = failed(server)
    record = server.disk.rows[job.id]._replace(replayed_as=77)
    for verb in (replay, check_replay):
        with pytest.raises(QueueError) as refused:
            verb(server.engine, job.function, record, again=False)
        assert refused.value.text == b"it was replayed already, as H:localhost:000000000077"
    assert replay(server.engine, job.function, record, again=True).replay_of == job.id


def test_a_full_queue_takes_no_copies(server: Server) -> None:
    job = failed(server)
    job.function.maximums = [1, 1, 1]
    job.function.set_limits()
    server.submit(b"f")
    with pytest.raises(QueueError, match="full"):
        replay(server.engine, job.function, server.disk.rows[job.id])


# Rows that were read a moment too early


@pytest.mark.parametrize("place", [in_window, on_disk, delayed, delayed_on_disk])
def test_whoever_reads_is_told_what_has_left_memory_meanwhile(server: Server, place: Place) -> None:
    job = place(server)
    server.disk.commit()
    with server.engine.watching() as gone:
        cancel(server.engine, job)
        assert job.handle in server.engine.jobs and job.id not in gone, "memory knows better"
        server.disk.commit()
        assert job.handle not in server.engine.jobs and job.id in gone
    cancel(server.engine, server.submit(b"f"))
    server.disk.commit()
    assert gone == {job.id} and server.engine.watchers == []
