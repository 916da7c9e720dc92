"""C programs on libgearman, as client and as worker (`scripts/client.c`, `scripts/worker.c`)."""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.acceptance.conftest import Spawn
from tests.acceptance.servers import HOST, Running, Server, eventually, run

Client = Callable[..., bytes]
Worker = Callable[..., Running]


@pytest.fixture
def program(c_programs: Path, shared_server: Server) -> Callable[[Sequence[str]], "subprocess.CompletedProcess[bytes]"]:
    """Run the client with arguments after the port and return how it ended."""

    def run_client(
        arguments: Sequence[str], workload: bytes = b"", environment: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        return run([c_programs / "client", str(shared_server.port), *arguments], workload, environment=environment)

    return run_client


@pytest.fixture
def client(program: Callable[..., "subprocess.CompletedProcess[bytes]"], function: str) -> Client:
    """Run the client, which must succeed, and return what it printed."""

    def run_client(
        mode: str, *arguments: str, workload: bytes = b"w", environment: dict[str, str] | None = None
    ) -> bytes:
        done = program([function, mode, *arguments], workload, environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_client


@pytest.fixture
def worker(c_programs: Path, spawn: Spawn, shared_server: Server, function: str) -> Worker:
    """Start a worker of the test's function with one of the behaviours of `worker.c`."""

    def start(behaviour: str, *arguments: str, environment: dict[str, str] | None = None) -> Running:
        port = str(shared_server.port)
        return spawn(c_programs / "worker", port, function, behaviour, *arguments, environment=environment)

    return start


@pytest.mark.parametrize("mode", ["fg", "high", "low"])
def test_foreground(client: Client, worker: Worker, mode: str) -> None:
    running = worker("twice")
    for workload in (b"abc", b"a\0b\0", bytes(range(256)), b"x" * 500_000):
        assert client(mode, workload=workload) == workload * 2
    assert running.lines[0].endswith(" 616263")


def test_background_jobs_in_order_of_priority(client: Client, worker: Worker) -> None:
    handles = {}
    for mode in ("bg-low", "bg", "bg-high"):
        for n in (1, 2):
            workload = f"{mode} {n}".encode()
            handles[workload] = client(mode, workload=workload).decode().strip()
    running = worker("twice")
    eventually(lambda: len(running.lines) == 6, what=lambda: f"six jobs in {running.lines}")
    order = [b"bg-high 1", b"bg-high 2", b"bg 1", b"bg 2", b"bg-low 1", b"bg-low 2"]
    assert [line.split()[0::2] for line in running.lines] == [[handles[w], w.hex()] for w in order]


def test_the_worker_sees_the_unique(client: Client, worker: Worker) -> None:
    running = worker("twice")
    assert client("fg", "the unique", workload=b"w") == b"ww"
    handle, *unique, workload = running.lines[0].split(" ")
    assert (unique, workload) == (["the", "unique"], "77")


def test_status(client: Client, worker: Worker, function: str) -> None:
    handle = client("bg", f"unique of {function}").decode().strip()
    assert client("status", handle) == client("status-unique", f"unique of {function}") == b"1 0 0 0\n"
    running = worker("slow")
    eventually(lambda: client("status", handle) == b"1 1 3 10\n", what="the status")
    assert client("status-unique", f"unique of {function}") == b"1 1 3 10\n"
    (running.output_path.parent / "go").touch()
    eventually(lambda: client("status", handle) == b"0 0 0 0\n", what="the end of the job")
    assert client("status-unique", f"unique of {function}") == b"0 0 0 0\n"


def test_tasks_with_reports(client: Client, worker: Worker) -> None:
    worker("progress")
    assert client("tasks", "1").decode().splitlines() == ["status 1/4", "data part", "warning careful", "complete end"]


def test_many_tasks(client: Client, worker: Worker) -> None:
    worker("twice")
    worker("twice")
    assert client("tasks", "500").decode().splitlines() == ["complete ww"] * 500


def test_failed_jobs(
    client: Client, worker: Worker, program: Callable[..., "subprocess.CompletedProcess[bytes]"]
) -> None:
    running = worker("fail")
    assert client("tasks", "3").decode().splitlines() == ["fail"] * 3
    assert len(running.lines) == 3, "a failed job is not tried again"


def test_exceptions_when_asked_for(client: Client, worker: Worker) -> None:
    running = worker("exception")
    exceptions = {"EXCEPTIONS": "1"}
    assert client("tasks", "3", environment=exceptions).decode().splitlines() == ["exception why"] * 3
    assert len(running.lines) == 3


@pytest.mark.gearstore_only  # gearmand puts a NUL behind the handle of this WORK_FAIL, and libgearman waits for ever
def test_an_exception_is_a_failure_for_others(client: Client, worker: Worker) -> None:
    running = worker("exception")
    assert client("tasks", "3").decode().splitlines() == ["fail"] * 3
    assert len(running.lines) == 3


def test_echo(client: Client) -> None:
    for workload in (b"text", b"\0\0", b"x" * 5000):
        client("echo", workload=workload)


def test_namespaces(client: Client, worker: Worker, function: str, shared_server: Server) -> None:
    space = {"NAMESPACE": "space:"}
    worker("twice", environment=space)
    assert client("fg", environment=space) == b"ww"
    client("bg")
    assert shared_server.status()[function] == (1, 0, 0)
    assert shared_server.status()[f"space:{function}"] == (0, 0, 1)


def test_reduce(
    client: Client, worker: Worker, c_programs: Path, spawn: Spawn, shared_server: Server, function: str
) -> None:
    spawn(c_programs / "worker", str(shared_server.port), f"{function}_reducer", "twice")
    worker("split")
    assert client("reduce", f"{function}_reducer", workload=b"a bc d") in (b"aabcbcdd", b"ddbcbcaa")


def test_a_function_with_a_timeout(client: Client, worker: Worker, shared_server: Server, function: str) -> None:
    slow = worker("slow", "1000")
    handle = client("bg").decode().strip()
    eventually(lambda: slow.lines != [], what="the first worker to have the job")
    fast = worker("twice")
    eventually(lambda: fast.lines != [], what="the second worker to have the job")
    assert slow.lines[0].split()[0] == fast.lines[0].split()[0] == handle


@pytest.mark.gearstore_only  # gearmand wakes nobody when the time has come
def test_an_epoch_job_starts_on_time(client: Client, worker: Worker, shared_server: Server, function: str) -> None:
    running = worker("twice")
    shared_server.expect_workers(function)
    due = int(time.time()) + 2
    handle = client("epoch", "2").decode().strip()
    latest = int(time.time()) + 2  # the client may have looked at the clock a second later
    assert running.lines == []
    eventually(lambda: running.lines != [], what="the job when its time has come")
    assert due - 0.01 <= time.time() < latest + 2
    assert running.lines[0].split()[0] == handle


def test_identifier(worker: Worker, shared_server: Server, function: str) -> None:
    worker("twice")
    row = f" {HOST} c-worker : {function}"
    eventually(lambda: any(line.endswith(row) for line in shared_server.text("workers").split("\n")), what=row)
