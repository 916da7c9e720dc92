"""A disk without room, a quota, a limit of files: new background jobs are refused, everything else goes on."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    ERROR,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
)
from tests.powercut.recording import Recorder, compiler_is_there
from tests.server.disk import Disk, fill_with_jobs
from tests.server.process import SERVE, Server, StartServer
from tests.server.wire import Wire, packet

JOBS = 1000
LIMIT = 16 << 20  # bytes of a file
LIMITED = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))\n" + SERVE


def submit_many(client: Wire, function: bytes, jobs: int = JOBS) -> list[bytes]:
    """Submit jobs in one go; return their handles."""
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, function, b"", b"job %d" % n) for n in range(jobs)))
    return [client.expect(JOB_CREATED)[0] for _ in range(jobs)]


def complete_all(worker: Wire, function: bytes, handles: list[bytes], result: bytes = b"x" * 200) -> None:
    """Take these jobs and complete them, each report with the next question; the last answer follows its commit."""
    worker.send(CAN_DO, function)
    worker.send(GRAB_JOB)
    for handle in handles:
        assert worker.expect(JOB_ASSIGN)[0] == handle
        worker.send_bytes(packet(WORK_COMPLETE, handle, result) + packet(GRAB_JOB))
    worker.expect(NO_JOB)


def states(server: Server, handles: list[bytes]) -> set[str]:
    """Return the states of these jobs."""
    wanted = {handle.decode() for handle in handles}
    rows = {job["handle"]: job["state"] for job in server.connect().manage("jobs", limit=1_000_000)}
    assert wanted <= rows.keys()
    return {rows[handle] for handle in wanted}


def refuse_something(client: Wire, function: bytes) -> list[bytes]:
    """Submit until something is refused; return what was not."""
    kept: list[bytes] = []
    fill_with_jobs(client, function, kept)
    return kept


def test_completions_are_stored_on_a_disk_that_is_completely_full(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    client, worker, other = server.connect(), server.connect(), server.connect()
    handles = submit_many(client, b"f")
    disk.fill()
    kept = refuse_something(client, b"g")
    server.expect_log("the disk is full: new background jobs are refused")
    disk.fill()  # another program takes what it can get
    complete_all(worker, b"f", handles)
    # What needs no disk goes on
    foreground = other.submit(SUBMIT_JOB, b"h", b"", b"")
    worker.send(CAN_DO, b"h")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, foreground, b"h", b"")
    worker.send(WORK_COMPLETE, foreground, b"result")
    other.expect(WORK_COMPLETE, foreground, b"result")
    # So it is on disk, and a start needs no room either
    server.kill()
    server.restart()
    assert states(server, handles) == {"done"}
    assert states(server, kept) == {"queued"}
    assert [row[0] for row in server.connect().rows(b"show jobs")] == kept


def test_it_resumes_by_itself(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    client = server.connect()
    for _ in range(3):
        disk.fill()
        refuse_something(client, b"g")
        disk.free()
        client.submit(SUBMIT_JOB_BG, b"g", b"", b"")
    assert server.log.count("new background jobs are refused") == 1  # a minute
    assert server.log.count("new background jobs are stored again") == 1
    assert server.terminate() == 0


def test_a_start_on_a_full_disk(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    handles = submit_many(server.connect(), b"f")
    assert server.terminate() == 0
    disk.fill()
    server.restart()
    client, worker = server.connect(), server.connect()
    refuse_something(client, b"g")
    complete_all(worker, b"f", handles)
    server.kill()
    server.restart()
    assert states(server, handles) == {"done"}


def test_a_limit_of_files(start_server: StartServer) -> None:
    server = start_server(command=["-c", LIMITED])
    client, worker = server.connect(), server.connect()
    handles = submit_many(client, b"f")
    refuse_something(client, b"g")
    kind, body = client.ask(SUBMIT_JOB_BG, b"g", b"", b"x" * (30 << 20))  # more than any file may hold
    assert kind is ERROR, body
    complete_all(worker, b"f", handles)
    server.kill()
    server.restart()
    assert states(server, handles) == {"done"}
    # It resumes when an operator makes room
    client = server.connect()
    assert client.ask(SUBMIT_JOB_BG, b"g", b"", b"x" * 500_000)[0] is ERROR
    client.manage("cancel", function="g", limit=100)
    client.manage("purge", function="g", state=["cancelled"])
    client.submit(SUBMIT_JOB_BG, b"g", b"", b"x" * 500_000)


@pytest.mark.skipif(not compiler_is_there(), reason="there is no C compiler for the recorder")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota(start_server: StartServer, tmp_path: Path, number: int) -> None:
    """The files may grow by so much, all together. (SQLite calls it an I/O error if it is a quota.)"""
    directory = tmp_path / "quota"
    directory.mkdir()
    recorder = Recorder(tmp_path, directory)
    server = start_server(db=directory / "gearstore.db", variables=recorder.variables)
    client, worker = server.connect(), server.connect()
    handles = submit_many(client, b"f")
    recorder.faults.error, recorder.faults.room = number, 1 << 20
    refuse_something(client, b"g")
    complete_all(worker, b"f", handles)
    recorder.faults.heal()
    kept = client.submit(SUBMIT_JOB_BG, b"g", b"", b"x" * 1_000_000)
    server.kill()
    server.restart()
    assert states(server, handles) == {"done"}
    assert states(server, [kept]) == {"queued"}
