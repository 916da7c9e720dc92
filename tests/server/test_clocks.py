"""Clocks that jump and a server that stands still: timers run on the monotonic clock, due times on the wall clock."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    CAN_DO_TIMEOUT,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    WORK_COMPLETE,
)
from tests.server.clock import Clock, compiler
from tests.server.process import Server, StartServer, eventually
from tests.server.wire import Wire, packet

HOUR = 3600.0


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock for a server."""
    if compiler() is None:
        pytest.skip("the clock of the test needs a C compiler")
    return Clock(tmp_path)


@pytest.fixture
def server(start_server: StartServer, clock: Clock) -> Server:
    """A server that lives by it."""
    return start_server("--drain-timeout=1", variables=clock.variables)


def now(clock: Clock) -> int:
    """Return the server's wall clock in seconds."""
    return int(time.time() + clock.wall)


def sleeper(server: Server, function: bytes = b"f") -> Wire:
    """Return a worker that sleeps."""
    worker = server.connect()
    worker.send(CAN_DO, function)
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    return worker


def submit_for(client: Wire, at: int) -> bytes:
    """Submit a job for a time in seconds since 1970."""
    return client.submit(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % at, b"later")


def finish(worker: Wire, handle: bytes) -> None:
    """Grab the job that must be there, and report it done."""
    worker.send(GRAB_JOB)
    assert worker.expect(JOB_ASSIGN)[0] == handle
    worker.send(WORK_COMPLETE, handle, b"")
    worker.expect_nothing()


def test_the_server_lives_by_the_clock_of_the_test(server: Server, clock: Clock) -> None:
    clock.jump(wall=HOUR)
    client = server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    created = client.show(handle)["created_at"]
    assert abs(created / 1000 - (time.time() + HOUR)) < 60


def test_what_became_due_in_the_hour_that_was_skipped_runs(server: Server, clock: Clock) -> None:
    client, worker = server.connect(), sleeper(server)
    soon, late = submit_for(client, now(clock) + 1800), submit_for(client, now(clock) + 7200)
    client.expect_nothing()
    clock.jump(wall=HOUR)
    worker.expect(NOOP)
    finish(worker, soon)
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    assert client.show(late)["state"] == "delayed"


def test_an_hour_that_comes_twice_delays_and_loses_nothing(server: Server, clock: Clock) -> None:
    client, worker = server.connect(), sleeper(server)
    later = submit_for(client, now(clock) + 1800)
    clock.jump(wall=-HOUR)
    at_once = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")  # whatever the clock says
    worker.expect(NOOP)
    finish(worker, at_once)
    past = submit_for(client, now(clock) - 10)
    finish(worker, past)
    assert client.show(later)["state"] == "delayed"
    worker.send(PRE_SLEEP)
    clock.jump(wall=2 * HOUR)
    worker.expect(NOOP)
    finish(worker, later)


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "backward"])
def test_the_time_that_a_job_may_take_is_not_that_of_the_wall_clock(server: Server, clock: Clock, jump: float) -> None:
    client, slow, quick = server.connect(), server.connect(), server.connect()
    slow.send(CAN_DO_TIMEOUT, b"slow", b"1800000")  # half an hour
    quick.send(CAN_DO_TIMEOUT, b"quick", b"1000")
    handles = {}
    for worker, name in ((slow, b"slow"), (quick, b"quick")):
        handles[name] = client.submit(SUBMIT_JOB_BG, name, b"", b"")
        worker.send(GRAB_JOB)
        worker.expect(JOB_ASSIGN)
    clock.jump(wall=jump)
    eventually(lambda: client.status(b"quick") == (1, 0, 1), "a second is over, and the job is queued again")
    assert client.status(b"slow") == (1, 1, 1)
    slow.send(WORK_COMPLETE, handles[b"slow"], b"")
    slow.expect_nothing()
    assert client.show(handles[b"slow"])["state"] == "done"


def test_a_restart_after_the_clock_went_back_keeps_order_and_handles(server: Server, clock: Clock) -> None:
    client = server.connect()
    first = client.submit(SUBMIT_JOB_BG, b"f", b"", b"1")
    later = submit_for(client, now(clock) + 1800)
    clock.jump(wall=-HOUR)
    server.kill()
    server.disconnect()
    server.restart()
    client, worker = server.connect(), server.connect()
    second = client.submit(SUBMIT_JOB_BG, b"f", b"", b"2")
    assert first < later < second
    worker.send(CAN_DO, b"f")
    finish(worker, first)
    finish(worker, second)
    clock.jump(wall=2 * HOUR)
    worker.send(PRE_SLEEP)
    worker.expect(NOOP)
    finish(worker, later)


# Standing still


def test_what_came_while_the_server_was_stopped_is_answered(server: Server) -> None:
    client, worker = server.connect(), sleeper(server)
    server.signal(signal.SIGSTOP)
    eventually(lambda: state_of(server) == "T", "stopped")
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(100)))
    late = server.connect()  # the kernel accepts for it
    late.send(CAN_DO, b"f")
    late.send(GRAB_JOB)
    server.signal(signal.SIGCONT)
    handles = [client.expect(JOB_CREATED)[0] for _ in range(100)]
    worker.expect(NOOP)
    kind, _ = late.receive()
    assert kind in (JOB_ASSIGN, NO_JOB) and len(set(handles)) == 100


def test_a_result_that_came_while_the_server_was_stopped_counts(server: Server, clock: Clock) -> None:
    """Its time is over by the clock when the server goes on, but the answer is there: nothing runs twice."""
    client, worker, silent = server.connect(), server.connect(), server.connect()
    handles = []
    for each in (worker, silent):
        each.send(CAN_DO_TIMEOUT, b"f", b"60000")
        handles.append(client.submit(SUBMIT_JOB_BG, b"f", b"", b""))
        each.send(GRAB_JOB)
        each.expect(JOB_ASSIGN)
    server.signal(signal.SIGSTOP)
    eventually(lambda: state_of(server) == "T", "stopped")
    worker.send(WORK_COMPLETE, handles[0], b"done")
    clock.jump(wall=HOUR, monotonic=HOUR)
    server.signal(signal.SIGCONT)
    worker.expect_nothing()
    done = client.show(handles[0])
    assert (done["state"], done["attempts"]) == ("done", 1)
    eventually(lambda: client.status(b"f") == (1, 0, 2), "the other one's time is over")
    assert client.show(handles[1])["reason"] == "timeout"


def state_of(server: Server) -> str:
    """Return the state of the process as the kernel names it."""
    return Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0]
