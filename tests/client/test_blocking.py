"""The blocking face: the same names in scripts and threads, and a worker that ends by signals."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import gearstore.client
from gearstore.client import blocking
from gearstore.client.blocking import (
    Client,
    ClientError,
    JobData,
    JobException,
    JobProgress,
    Refused,
    ThreadJob,
    Unreachable,
    Worker,
)
from tests.acceptance.servers import HOST, Running, Server, eventually, free_port
from tests.client.conftest import address

# A worker as a program: says when a job runs, and lets it run until a file appears or for ever.
PROGRAM = """
import os, sys, time
from gearstore.client.blocking import Worker
worker = Worker(sys.argv[1])
@worker.function(sys.argv[2])
def handler(job):
    print("running", flush=True)
    go = job.workload.decode()
    while not os.path.exists(go):
        time.sleep(0.01)
    return b"finished"
worker.run()
print("ended", flush=True)
"""


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of gearstore, then of gearmand."""
    with Client(address(server)) as connected:
        yield connected


@pytest.fixture
def serve(server: Server) -> Iterator[Callable[[str, Callable[[ThreadJob], object]], Worker]]:
    """Run workers in threads, and stop them from this one."""
    running: list[tuple[Worker, threading.Thread]] = []

    def start(function: str, handler: Callable[[ThreadJob], object]) -> Worker:
        worker = Worker(address(server), concurrency=2)
        worker.register(function, handler)
        thread = threading.Thread(target=worker.run)
        thread.start()
        running.append((worker, thread))
        server.expect_workers(function, 2)
        return worker

    yield start
    for worker, thread in running:
        worker.stop()
        thread.join(10)
        assert not thread.is_alive()


Serve = Callable[[str, Callable[[ThreadJob], object]], Worker]


def test_the_same_names_as_on_asyncio() -> None:
    assert set(blocking.__all__) == set(gearstore.client.__all__)
    for name in ("Client", "Job", "Worker"):
        wanted = {attribute for attribute in vars(getattr(gearstore.client, name)) if not attribute.startswith("_")}
        missing = {attribute for attribute in wanted if not hasattr(getattr(blocking, name), attribute)}
        assert missing <= {"report", "lose", "forget_updates", "next_update"}, name


def test_submit_and_status(server: Server, client: Client, f: str) -> None:
    handle = client.submit_background(f, b"x", unique=f, priority="high")
    assert client.status(handle).known
    assert client.status_by_unique(f).known
    assert server.status()[f] == (1, 0, 0)
    assert client.echo("é") == "é".encode()
    client.option("exceptions")
    assert b"%s\t1\t0\t0" % f.encode() in client.command("status")


def test_a_job_and_its_updates(client: Client, serve: Serve, f: str) -> None:
    def handler(job: ThreadJob) -> bytes:
        job.send_status(1, 2)
        job.send_data(b"part")
        return job.workload

    serve(f, handler)
    job = client.submit(f, "workload")
    assert list(job) == [JobProgress(1, 2), JobData(b"part")]
    assert job.result(timeout=10) == b"workload"
    assert job.ended
    assert job.progress == (1, 2)
    assert job.handle.startswith("H:")


def test_failures(client: Client, serve: Serve, f: str) -> None:
    serve(f, lambda job: job.fail("no disk"))
    with pytest.raises(JobException, match="no disk"):
        client.run(f)
    with pytest.raises(JobException, match="no disk"):
        list(client.submit(f))
    with pytest.raises(Refused):
        client.run(f, unique="u" * 65)
    with pytest.raises(TimeoutError):
        client.run(f"{f}_nobody", timeout=0.05)


def test_threads_share_a_client(client: Client, serve: Serve, f: str) -> None:
    serve(f, lambda job: job.workload)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: client.run(f, b"%d" % number), range(400)))
    assert results == [b"%d" % number for number in range(400)]


def test_management_verbs(gearstore: Server, f: str) -> None:
    with Client(address(gearstore)) as client:
        handles = [client.submit_background(f) for _ in range(3)]
        assert [row["handle"] for row in client.manage("jobs", {"function": f, "order": "oldest"})] == handles
        for row in client.manage("jobs", {"function": f}):
            assert row["state"] == "queued"
            break
        assert client.status(handles[0]).known


def test_a_closed_client_has_no_thread(server: Server, f: str) -> None:
    before = threading.active_count()
    client = Client(address(server))
    job = client.submit(f)
    assert threading.active_count() == before + 1
    client.close()
    client.close()
    assert threading.active_count() == before
    for call in (job.result, client.echo):
        with pytest.raises(ClientError, match="closed"):
            call()


def test_nobody_there() -> None:
    with Client(f"{HOST}:{free_port()}") as client, pytest.raises(Unreachable):
        client.run("f")


# The worker as a program


@pytest.fixture
def program(server: Server, tmp_path: Path, f: str) -> Iterator[Running]:
    """A worker program, once it has registered."""
    running = Running([sys.executable, "-c", PROGRAM, address(server), f], tmp_path, "worker")
    server.expect_workers(f)
    yield running
    running.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_job_at_hand_finish(
    program: Running, client: Client, tmp_path: Path, f: str, number: signal.Signals
) -> None:
    job = client.submit(f, str(tmp_path / "go"))
    program.expect_line("running")
    os.kill(program.pid, number)
    (tmp_path / "go").touch()
    assert program.wait() == 0
    assert program.lines == ["running", "ended"]
    assert job.result() == b"finished"


def test_a_second_signal_gives_the_job_up(
    program: Running, server: Server, client: Client, tmp_path: Path, f: str
) -> None:
    client.submit_background(f, str(tmp_path / "never"))
    program.expect_line("running")
    os.kill(program.pid, signal.SIGTERM)
    # Nothing announces that the first one has been taken; two of a kind at a time are one.
    eventually(lambda: signal_taken(program.pid, signal.SIGTERM))
    os.kill(program.pid, signal.SIGINT)
    assert program.wait() == 0
    assert program.lines == ["running", "ended"]
    server.expect_status(f, 1, 0, 0)


def signal_taken(pid: int, number: int) -> bool:
    """Return whether no such signal is pending."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return not any(mask >> (number - 1) & 1 for mask in pending)


def test_an_idle_worker_ends_by_a_signal(program: Running) -> None:
    os.kill(program.pid, signal.SIGTERM)
    assert program.wait() == 0
    assert program.lines == ["ended"]
    assert program.log == ""


def test_ctrl_c_ends_a_wait(server: Server, f: str, tmp_path: Path) -> None:
    script = f"""
from gearstore.client.blocking import Client
with Client({address(server)!r}) as client:
    job = client.submit({f!r})
    try:
        print(job.handle, flush=True)
        job.result()
    except KeyboardInterrupt:
        print("interrupted", client.echo(b"still usable"))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout
    with process:
        assert process.stdout.readline().startswith(b"H:")
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"interrupted b'still usable'\n"
    assert process.returncode == 0
