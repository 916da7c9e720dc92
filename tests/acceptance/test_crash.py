"""What was acknowledged survives `kill -9` and SIGTERM: single transcripts, and twenty kills in the middle of work."""

import os
import signal
import time

import pytest

from tests.acceptance.conftest import StartServer
from tests.acceptance.servers import Server
from tests.acceptance.wire import Connection, PacketType, request

pytestmark = pytest.mark.gearstore_only  # gearmand keeps nothing on disk unless told, and then not all of it


def submit(server: Server, packet_type: PacketType, *arguments: bytes) -> bytes:
    """Submit a background job over a connection of its own and return its handle."""
    with Connection(server.port) as client:
        client.send(packet_type, *arguments)
        return client.expect(PacketType.JOB_CREATED)[0]


def status_of(server: Server, handle: bytes) -> list[bytes]:
    """Return [known, running, numerator, denominator] of a job."""
    with Connection(server.port) as client:
        client.send(PacketType.GET_STATUS, handle)
        return client.expect(PacketType.STATUS_RES)[1:]


# Transcripts


def test_every_kind_of_background_job_comes_back_with_its_handle(server: Server) -> None:
    high = submit(server, PacketType.SUBMIT_JOB_HIGH_BG, b"f", b"high", b"w")
    low = submit(server, PacketType.SUBMIT_JOB_LOW_BG, b"f", b"low", b"w")
    normal = {
        submit(server, PacketType.SUBMIT_JOB_BG, b"f", unique, workload): (unique, workload)
        for unique, workload in (
            (b"no workload", b""),
            (b"", b"empty unique"),
            (b"", b"empty unique"),
            (b"-", b"dash one"),
            (b"-", b"dash two"),
            (b"bytes", bytes(range(256))),
            (b"the same unique", b"of f"),
        )
    }
    past = submit(server, PacketType.SUBMIT_JOB_EPOCH, b"f", b"epoch in the past", b"1", b"w")
    reduce = submit(server, PacketType.SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"reduce", b"the reducer", b"", b"w")
    in_future = b"%d" % (time.time() + 3600)
    future = submit(server, PacketType.SUBMIT_JOB_EPOCH, b"f", b"epoch in the future", in_future, b"w")
    other = submit(server, PacketType.SUBMIT_JOB_BG, b"g", b"the same unique", b"of g")
    assert len({high, low, *normal, past, reduce, future, other}) == 13

    server.kill9()
    server.restart()

    assert server.status() == {"f": (12, 0, 0), "g": (1, 0, 0)}
    assert status_of(server, future) == [b"1", b"0", b"0", b"0"]
    with Connection(server.port) as worker:
        worker.send_bytes(request(PacketType.CAN_DO, b"f") + request(PacketType.GRAB_JOB_ALL) * 12)
        worker.expect(PacketType.JOB_ASSIGN_UNIQ, high, b"f", b"high", b"w")
        for handle, (unique, workload) in normal.items():
            worker.expect(PacketType.JOB_ASSIGN_UNIQ, handle, b"f", unique, workload)
        worker.expect(PacketType.JOB_ASSIGN_UNIQ, past, b"f", b"epoch in the past", b"w")
        worker.expect(PacketType.JOB_ASSIGN_ALL, reduce, b"f", b"reduce", b"the reducer", b"w")
        worker.expect(PacketType.JOB_ASSIGN_UNIQ, low, b"f", b"low", b"w")
        worker.expect(PacketType.NO_JOB)
        worker.send_bytes(request(PacketType.CAN_DO, b"g") + request(PacketType.GRAB_JOB_UNIQ))
        worker.expect(PacketType.JOB_ASSIGN_UNIQ, other, b"g", b"the same unique", b"of g")


def test_coalescing_goes_on_after_a_crash(server: Server) -> None:
    handle = submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"unique", b"workload")
    dash = submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"-", b"workload")
    server.kill9()
    server.restart()
    assert submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"unique", b"another") == handle
    assert submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"-", b"workload") == dash
    assert server.status() == {"f": (2, 0, 0)}


def test_a_completed_job_does_not_come_back(server: Server) -> None:
    handle = submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"", b"workload")
    with Connection(server.port) as worker:
        worker.send(PacketType.CAN_DO, b"f")
        worker.send(PacketType.GRAB_JOB)
        worker.expect(PacketType.JOB_ASSIGN, handle, b"f", b"workload")
        worker.send(PacketType.WORK_COMPLETE, handle, b"result")
        worker.send(PacketType.ECHO_REQ, b"done?")
        worker.expect(PacketType.ECHO_RES, b"done?")
        server.kill9()
    server.restart()
    assert status_of(server, handle) == [b"0", b"0", b"0", b"0"]
    with Connection(server.port) as worker:
        worker.send(PacketType.CAN_DO, b"f")
        worker.send(PacketType.GRAB_JOB)
        worker.expect(PacketType.NO_JOB)


def test_handles_are_never_used_again(server: Server) -> None:
    handles = []
    for _ in range(3):
        with Connection(server.port) as connection:
            connection.send(PacketType.CAN_DO, b"f")
            for packet_type in (PacketType.SUBMIT_JOB, PacketType.SUBMIT_JOB_BG):
                connection.send(packet_type, b"f", b"", b"")
                (handle,) = connection.expect(PacketType.JOB_CREATED)
                connection.send(PacketType.GRAB_JOB)
                connection.expect(PacketType.JOB_ASSIGN, handle, b"f", b"")
                connection.send(PacketType.WORK_COMPLETE, handle, b"")
                if packet_type == PacketType.SUBMIT_JOB:
                    connection.expect(PacketType.WORK_COMPLETE, handle, b"")
                handles.append(handle)
            connection.send(PacketType.ECHO_REQ, b"")
            connection.expect(PacketType.ECHO_RES)
            server.kill9()
        server.restart()
    assert len(set(handles)) == 6
    assert len({len(handle) for handle in handles}) == 1, "no handle is the beginning of another one"


def test_a_foreground_job_ends_with_the_server(server: Server) -> None:
    with Connection(server.port) as client:
        client.send(PacketType.SUBMIT_JOB, b"f", b"", b"workload")
        (handle,) = client.expect(PacketType.JOB_CREATED)
        server.kill9()
        with pytest.raises(ConnectionError):
            client.receive()
    server.restart()
    assert status_of(server, handle) == [b"0", b"0", b"0", b"0"]
    assert server.status().get("f", (0, 0, 0)) == (0, 0, 0)


def test_a_background_submit_makes_a_foreground_job_durable(server: Server) -> None:
    with Connection(server.port) as client:
        client.send(PacketType.SUBMIT_JOB, b"f", b"unique", b"workload")
        (handle,) = client.expect(PacketType.JOB_CREATED)
        assert submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"unique", b"workload") == handle
        server.kill9()
    server.restart()
    with Connection(server.port) as worker:
        worker.send(PacketType.CAN_DO, b"f")
        worker.send(PacketType.GRAB_JOB_UNIQ)
        worker.expect(PacketType.JOB_ASSIGN_UNIQ, handle, b"f", b"unique", b"workload")


def test_a_refused_submit_does_not_run_after_a_crash(server: Server) -> None:
    submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"", b"accepted")
    server.text("maxqueue f 1")
    with Connection(server.port) as client:
        client.send(PacketType.SUBMIT_JOB_BG, b"f", b"", b"refused")
        client.expect(PacketType.ERROR, b"QUEUE_ERROR", b"Job queue is full")
    server.kill9()
    server.restart()
    assert server.status() == {"f": (1, 0, 0)}


def test_a_crash_right_after_a_crash(server: Server) -> None:
    handles = [submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(50)]
    for _ in range(3):
        server.kill9()
        server.restart()
    with Connection(server.port) as worker:
        worker.send(PacketType.CAN_DO, b"f")
        for n, handle in enumerate(handles):
            worker.send(PacketType.GRAB_JOB)
            worker.expect(PacketType.JOB_ASSIGN, handle, b"f", b"%d" % n)


@pytest.mark.parametrize("options", [(), ("--job-retries", "1")], ids=["default", "one attempt"])
def test_a_running_job_outlives_sigterm(start_server: StartServer, options: tuple[str, ...]) -> None:
    server = start_server("--drain-timeout", "0.1", *options)
    running, queued = (
        submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"", workload) for workload in (b"first", b"second")
    )
    with Connection(server.port) as worker:
        worker.send(PacketType.CAN_DO, b"f")
        worker.send(PacketType.GRAB_JOB)
        worker.expect(PacketType.JOB_ASSIGN, running, b"f", b"first")
        assert server.terminate() == 0
    server.restart()
    assert server.status() == {"f": (2, 0, 0)}
    with Connection(server.port) as worker:
        worker.send(PacketType.CAN_DO, b"f")
        for handle, workload in ((running, b"first"), (queued, b"second")):
            worker.send(PacketType.GRAB_JOB)
            worker.expect(PacketType.JOB_ASSIGN, handle, b"f", workload)


def test_sigterm_waits_for_the_running_job(start_server: StartServer) -> None:
    server = start_server("--drain-timeout", "30")
    handle = submit(server, PacketType.SUBMIT_JOB_BG, b"f", b"", b"workload")
    with Connection(server.port) as worker:
        worker.send(PacketType.CAN_DO, b"f")
        worker.send(PacketType.GRAB_JOB)
        worker.expect(PacketType.JOB_ASSIGN, handle, b"f", b"workload")
        os.kill(server.pid, signal.SIGTERM)
        worker.send(PacketType.WORK_COMPLETE, handle, b"")
        assert server.process.wait(60) == 0
    server.restart()
    assert status_of(server, handle) == [b"0", b"0", b"0", b"0"]
