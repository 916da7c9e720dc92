"""A disk that fails, or that may not be written to: the server stops at once and says so, and nothing that it said is
wrong. What it only can't read disturbs nobody else. recorder.c makes the calls fail."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import takewhile
from pathlib import Path

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    WORK_COMPLETE,
)
from tests.powercut.recording import Recorder, compiler_is_there
from tests.server.disk import Disk
from tests.server.process import HOST, SERVE, Server, StartServer, run_serve
from tests.server.wire import Wire, packet

needs_compiler = pytest.mark.skipif(not compiler_is_there(), reason="there is no C compiler for the recorder")


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """Calls on the files below `faulty` can be made to fail."""
    directory = tmp_path / "faulty"
    directory.mkdir()
    return Recorder(tmp_path, directory)


@pytest.fixture
def faulty(start_server: StartServer, recorder: Recorder) -> Callable[..., Server]:
    """Start a server whose database is there."""

    def start(*options: str) -> Server:
        db = recorder.directory / "gearstore.db"
        return start_server(*options, db=db, variables=recorder.variables, cli=True)

    return start


def answers(client: Wire) -> list[bytes]:
    """Return the handles that a client is told until its connection ends."""
    handles = []
    with suppress(ConnectionError):
        while True:
            kind, body = client.receive()
            if kind is JOB_CREATED:
                handles.append(body)
    return handles


@needs_compiler
@pytest.mark.parametrize(("call", "times"), [("syncs", 1), ("syncs", -1), ("writes", 1)])
def test_an_io_error_stops_it_and_no_answer_is_wrong(
    faulty: Callable[..., Server], recorder: Recorder, call: str, times: int
) -> None:
    server = faulty()
    client, worker, other = server.connect(), server.connect(), server.connect()
    kept = [client.submit(SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(20)]
    worker.send(CAN_DO, b"f")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, kept[0], b"f", b"0")
    setattr(recorder.faults, call, times)
    worker.send_bytes(packet(WORK_COMPLETE, kept[0], b"") + packet(GRAB_JOB))
    for connection in (client, other):
        connection.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"f", b"", b"x") for _ in range(2000)))
    told = answers(client) + answers(other)
    assert server.wait() == 1
    assert "the server stops, what was acknowledged is stored" in server.log
    recorder.faults.heal()
    server.restart()
    jobs = {job["handle"].encode() for job in server.connect().manage("jobs", limit=100_000)}
    assert jobs >= {*kept, *told}


@needs_compiler
@pytest.mark.parametrize(
    ("call", "number", "name"),
    [("syncs", errno.EIO, "IOERR_FSYNC"), ("writes", errno.EIO, "IOERR_WRITE"), ("writes", errno.EROFS, "IOERR_WRITE")],
)
def test_what_is_said_of_it(
    faulty: Callable[..., Server], recorder: Recorder, call: str, number: int, name: str
) -> None:
    """Also of a file system that has become read-only."""
    server = faulty()
    recorder.faults.error = number
    setattr(recorder.faults, call, -1)
    server.connect().send(SUBMIT_JOB_BG, b"f", b"", b"")
    assert server.wait() == 1
    sentence = f"{server.db}: disk I/O error (SQLITE_{name}); the server stops, what was acknowledged is stored"
    assert [line.partition("CRITICAL ")[2] for line in server.log.splitlines() if "CRITICAL" in line] == [sentence]
    assert server.log.splitlines()[-1] == f"gearstore: {sentence}"


@needs_compiler
@pytest.mark.parametrize(("call", "clean"), [("syncs", False), ("writes", True)])
def test_a_start_that_meets_io_errors(
    faulty: Callable[..., Server], recorder: Recorder, monkeypatch: pytest.MonkeyPatch, call: str, clean: bool
) -> None:
    server = faulty()
    kept = server.connect().submit(SUBMIT_JOB_BG, b"f", b"", b"")
    if clean:
        assert server.terminate() == 0
    else:
        server.kill()
    setattr(recorder.faults, call, -1)
    with monkeypatch.context() as patch:
        for name, value in recorder.variables.items():
            patch.setenv(name, value)
        failed = run_serve(f"--db={server.db}", f"--listen={HOST}:0", cwd=recorder.directory)
    assert failed.returncode == 1
    (line,) = failed.stderr.splitlines()
    assert line.startswith(f"gearstore: {server.db}: disk I/O error") or line.startswith("gearstore: cannot write ")
    recorder.faults.heal()
    server.restart()
    assert server.connect().show(kept)["state"] == "queued"


# Damage in the file


def test_a_damaged_row_is_set_aside_and_the_rest_runs(start_server: StartServer) -> None:
    server = start_server()
    client = server.connect()
    handles = [client.submit(SUBMIT_JOB_BG, b"f", b"", b"job %d" % n) for n in range(3)]
    later = client.submit(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (time.time() + 3600), b"later")
    assert server.terminate() == 0
    with closing(sqlite3.connect(server.db)) as other:
        other.execute("UPDATE jobs SET workload = CAST('jog ' AS BLOB) WHERE workload IN (?, ?)", (b"job 1", b"later"))
        other.commit()
    server.restart()
    client, worker = server.connect(), server.connect()
    worker.send(CAN_DO, b"f")
    for handle in (handles[0], handles[2]):
        worker.send(GRAB_JOB)
        assert worker.expect(JOB_ASSIGN)[0] == handle
        worker.send(WORK_COMPLETE, handle, b"")
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    for handle in (handles[1], later):
        job = client.show(handle)
        assert (job["state"], job["reason"]) == ("held", "damaged")
        assert server.log.count(f"{handle.decode()} was altered on disk: it is held and not handed out") == 1


# Other programs on the file (more in test_lifecycle.py)


def test_a_foreign_backup_under_load(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    client = server.connect()
    told = []
    with closing(sqlite3.connect(server.db)) as source, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        for n in range(30):
            told.append(client.submit(SUBMIT_JOB_BG, b"f", b"", b"%d" % n * 1000))
            source.backup(copy, pages=1 + n)
    assert [row[0] for row in client.rows(b"show jobs")] == told
    assert server.terminate() == 0


# Where it may not write


def refusal(tmp_path: Path, db: Path) -> str:
    """Return the sentence with which a server refuses to start on a database."""
    failed = run_serve(f"--listen={HOST}:0", f"--db={db}", cwd=tmp_path)
    assert failed.returncode == 4, failed.stderr
    (line,) = failed.stderr.splitlines()
    return line.removeprefix("gearstore: ")


@pytest.mark.parametrize("lock_is_there", [True, False])
def test_a_read_only_file_system(start_server: StartServer, disk: Disk, tmp_path: Path, lock_is_there: bool) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    kept = server.connect().submit(SUBMIT_JOB_BG, b"f", b"", b"")
    assert server.terminate() == 0
    if not lock_is_there:
        (disk.path / "gearstore.db.lock").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk.path)], check=True)
    assert refusal(tmp_path, server.db).startswith(f"cannot write to {disk.path} (Read-only file system): ")
    subprocess.run(["mount", "-o", "remount,rw", str(disk.path)], check=True)
    server.restart()
    assert server.connect().show(kept)["state"] == "queued"


NOBODY = 65534
AS_NOBODY = SERVE.replace("sys.exit(", f"import gearstore.store.view, uvloop; os.setuid({NOBODY})\nsys.exit(")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_the_database_of_another_user(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    server.connect().submit(SUBMIT_JOB_BG, b"f", b"", b"")
    assert server.terminate() == 0
    for folder in takewhile(lambda folder: str(folder) != tempfile.gettempdir(), server.db.parents):
        folder.chmod(0o777)
    content = server.db.read_bytes()
    for sentence in [
        f"cannot write to {server.db.parent} (Permission denied): ",
        f"{server.db} is not writable for this user: change its owner, or run as its owner",
    ]:
        command = [sys.executable, "-c", AS_NOBODY, f"--db={server.db}", f"--listen={HOST}:0"]
        failed = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=20)
        assert sentence in failed.stderr.splitlines()[-1], failed.stderr
        Path(f"{server.db}.lock").chmod(0o666)
        server.db.chmod(0o644)
    assert server.db.read_bytes() == content
