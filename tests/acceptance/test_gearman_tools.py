"""The `gearman` and `gearadmin` commands: every flag, with its bytes and exit codes."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Spawn
from tests.acceptance.servers import HOST, Running, Server, eventually, printed, run, tool

PACKAGES = "gearman-tools"

Gearman = Callable[..., bytes]
Worker = Callable[..., Running]


@pytest.fixture(scope="module")
def gearman() -> str:
    return tool("gearman", PACKAGES)


@pytest.fixture(scope="module")
def gearadmin() -> str:
    return tool("gearadmin", PACKAGES)


@pytest.fixture
def address(shared_server: Server) -> list[str]:
    """The flags that lead to the server, as both commands know them."""
    return ["-h", HOST, "-p", str(shared_server.port)]


@pytest.fixture
def client(gearman: str, address: list[str]) -> Gearman:
    """Run `gearman` as a client and return what it printed."""

    def run_client(flags: str, workload: bytes = b"") -> bytes:
        return printed([gearman, *address, *shlex.split(flags)], workload)

    return run_client


@pytest.fixture
def worker(gearman: str, address: list[str], spawn: Spawn) -> Worker:
    """Start `gearman -w`."""
    return lambda flags, *command: spawn(gearman, *address, "-w", *shlex.split(flags), *command)


# gearman as a client


@pytest.mark.parametrize("priority", ["", "-I", "-L"])
def test_foreground(client: Gearman, worker: Worker, function: str, priority: str) -> None:
    worker(f"-f {function} -- rev")
    assert client(f"-f {function} {priority} abc") == b"cba"
    assert client(f"-f {function} {priority}", b"abc\ndef\n") == b"cba\nfed\n"
    assert client(f"-f {function} {priority} -s") == b""


def test_bytes_of_a_workload(client: Gearman, worker: Worker, function: str) -> None:
    worker(f"-f {function} -- cat")
    # A worker of this command stalls by itself on more than its pipe holds.
    for workload in (b"a\0b\0\0c", bytes(range(256)), "été".encode(), b"\n\n", b"x" * 60_000):
        assert client(f"-f {function}", workload) == workload


def test_one_job_a_line(client: Gearman, worker: Worker, function: str) -> None:
    worker(f"-f {function} -- od -An -c")
    with_newline, without_newline = client(f"-f {function} -n", b"a\nb\n"), client(f"-f {function} -N", b"a\nb\n")
    assert with_newline.split() == [b"a", rb"\n", b"b", rb"\n"]
    assert without_newline.split() == [b"a", b"b"]


def test_several_functions_with_prefixes(client: Gearman, worker: Worker, function: str) -> None:
    worker(f"-f {function}_one -- rev")
    worker(f"-f {function}_two -- tr a-z A-Z")
    assert sorted(client(f"-f {function}_one -f {function}_two -P", b"abc\n").splitlines()) == [
        f"{function}_one: cba".encode(),
        f"{function}_two: ABC".encode(),
    ]


def test_background_jobs_in_order_of_priority(client: Gearman, worker: Worker, function: str) -> None:
    for flags in ("-L", "", "-I"):
        assert client(f"-f {function} -b {flags} -N", f"{flags}1\n{flags}2\n".encode()) == b""
    running = worker(f"-f {function} -c 6 -- sh -c 'cat >&2; echo >&2'")
    assert running.wait() == 0
    assert running.log.splitlines() == ["-I1", "-I2", "1", "2", "-L1", "-L2"]


def test_verbose_prints_the_handle(client: Gearman, function: str, shared_server: Server) -> None:
    handle = re.search(rb"Task created: (H:\S+)\n", client(f"-f {function} -b -v -s"))
    assert handle is not None
    assert shared_server.text("show jobs").split().count(handle[1].decode()) == 1


def test_unique(client: Gearman, function: str, shared_server: Server) -> None:
    for unique in ("one", "two", "one"):
        client(f"-f {function} -b -s -u {unique}-{function}")
    assert shared_server.status()[function] == (2, 0, 0)
    uniques = shared_server.text("show unique jobs").splitlines()
    assert sorted(unique for unique in uniques if unique.endswith(function)) == ["one-" + function, "two-" + function]


def test_unique_of_a_dash_is_the_workload(client: Gearman, function: str, shared_server: Server) -> None:
    for workload in ("one", "two", "one"):
        client(f"-f {function} -b -u - {workload}")
    assert shared_server.status()[function] == (2, 0, 0)


def test_timeout(gearman: str, address: list[str], function: str) -> None:
    done = run([gearman, *address, "-f", function, "-t", "100", "nobody does this"])
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"timeout" in done.stderr.lower()


def test_job_failed(gearman: str, address: list[str], worker: Worker, function: str) -> None:
    worker(f"-f {function} -- false")
    done = run([gearman, *address, "-f", function, "w"])
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"Job failed\n")


def test_a_refused_job(gearman: str, address: list[str], client: Gearman, function: str, shared_server: Server) -> None:
    client(f"-f {function} -b first")
    shared_server.text(f"maxqueue {function} 1")
    done = run([gearman, *address, "-f", function, "-b", "second"])
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"queue" in done.stderr.lower()
    assert shared_server.status()[function] == (1, 0, 0)


def test_help_and_pid_file(gearman: str, client: Gearman, worker: Worker, function: str, tmp_path: Path) -> None:
    assert b"Client mode" in run([gearman, "-H"]).stderr
    client(f"-f {function} -b -s -i {tmp_path}/client.pid")
    running = worker(f"-f {function} -i {tmp_path}/worker.pid -- cat")
    pid_file = tmp_path / "worker.pid"
    eventually(lambda: pid_file.exists() and pid_file.read_text().split() == [str(running.pid)], what="the pid file")


# gearman as a worker


def test_worker_without_a_command_prints_the_workload(client: Gearman, worker: Worker, function: str) -> None:
    running = worker(f"-f {function} -c 1")
    assert client(f"-f {function} abc") == b""
    running.wait()
    assert running.output == b"abc"


def test_worker_of_several_functions(client: Gearman, worker: Worker, function: str, shared_server: Server) -> None:
    running = worker(f"-f {function}_1 -f {function}_2 -c 3 -- rev")
    assert [client(f"-f {function}_{n} ab{n}") for n in (1, 2, 1)] == [b"1ba", b"2ba", b"1ba"]
    assert running.wait() == 0
    shared_server.expect_workers(f"{function}_1", 0)


@pytest.mark.parametrize("flag", ["-n", "-N"])
def test_worker_that_sends_data_a_line(client: Gearman, worker: Worker, function: str, flag: str) -> None:
    worker(f"-f {function} {flag} -- cat")
    assert client(f"-f {function}", b"one\n") == (b"one\n" if flag == "-n" else b"one")


def test_worker_with_a_timeout_works_on(client: Gearman, worker: Worker, function: str) -> None:
    running = worker(f"-f {function} -t 20 -- cat")
    eventually(lambda: running.log.count("timeout reached") >= 3, what="three timeouts")
    assert client(f"-f {function} abc") == b"abc"


def test_the_job_of_a_killed_worker_goes_to_another_one(
    client: Gearman, worker: Worker, function: str, tmp_path: Path, shared_server: Server
) -> None:
    command = ("sh", "-c", f"cat >&2; echo >&2; until [ -e {tmp_path}/go ]; do sleep 0.01; done")
    first = worker(f"-f {function} --", *command)
    client(f"-f {function} -b workload")
    eventually(lambda: first.log == "workload\n", what="the first worker to have the job")
    first.kill()
    second = worker(f"-f {function} --", *command)
    eventually(lambda: second.log == "workload\n", what="the second worker to have the job")
    (tmp_path / "go").touch()
    shared_server.expect_status(function, 0, 0, 1)


# gearadmin


def admin(gearadmin: str, server: Server, *flags: str) -> tuple[int, str, str]:
    """Run gearadmin and return its exit code and what it wrote to both outputs."""
    done = run([gearadmin, "-h", HOST, "-p", str(server.port), *flags])
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def jobs(gearman: str, server: Server) -> list[str]:
    """The handles of three background jobs, HIGH, NORMAL and LOW, of a function `f` with uniques."""
    handles = []
    for priority, unique in (("-I", "one"), ("-v", "two"), ("-L", "three")):
        flags = ["-h", HOST, "-p", str(server.port), "-f", "f", "-b", "-v", priority, "-u", unique]
        found = re.search(r"Task created: (\S+)", printed([gearman, *flags, "w"]).decode())
        assert found is not None
        handles.append(found[1])
    return handles


def test_gearadmin_status(gearadmin: str, server: Server, jobs: list[str]) -> None:
    assert admin(gearadmin, server, "--status") == (0, "f\t3\t0\t0\n.\n", "")
    assert admin(gearadmin, server, "--priority-status") == (0, "f\t1\t1\t1\t0\n.\n", "")


def test_gearadmin_show_jobs(gearadmin: str, server: Server, jobs: list[str]) -> None:
    code, output, _ = admin(gearadmin, server, "--show-jobs")
    rows = output.split("\n")
    assert (code, rows[-2:]) == (0, [".", ""])
    assert sorted(rows[:-2]) == sorted(f"{handle}\t0\t0\t1" for handle in jobs)
    code, output, _ = admin(gearadmin, server, "--show-unique-jobs")
    assert (code, sorted(output.split("\n"))) == (0, ["", ".", "one", "three", "two"])


def test_gearadmin_cancel_job(gearadmin: str, gearman: str, server: Server, jobs: list[str], spawn: Spawn) -> None:
    assert admin(gearadmin, server, "--cancel-job", jobs[0]) == (0, "OK\n", "")
    assert admin(gearadmin, server, "--cancel-job", "H:nobody:1") == (0, "", "Error: UNKNOWN_JOB\r\n")
    command = ("sh", "-c", "cat >&2; echo >&2")
    running = spawn(gearman, "-h", HOST, "-p", str(server.port), "-w", "-f", "f", "-c", "2", "--", *command)
    assert running.wait() == 0
    assert running.log == "w\nw\n", "the cancelled job does not run"
    server.expect_status("f", 0, 0, 0)


def test_gearadmin_functions(gearadmin: str, server: Server, spawn: Spawn, gearman: str) -> None:
    assert admin(gearadmin, server, "--create-function", "made") == (0, "OK\n", "")
    assert admin(gearadmin, server, "--create-function", "made") == (0, "OK\n", "")
    assert admin(gearadmin, server, "--status") == (0, "made\t0\t0\t0\n.\n", "")
    spawn(gearman, "-h", HOST, "-p", str(server.port), "-w", "-f", "made", "--", "cat")
    server.expect_workers("made")
    in_use = "Error: there are still connected workers or executing clients\r\n"
    assert admin(gearadmin, server, "--drop-function", "made") == (0, "", in_use)
    assert admin(gearadmin, server, "--drop-function", "other") == (0, "", "Error: function not found\r\n")
    admin(gearadmin, server, "--create-function", "other")
    assert admin(gearadmin, server, "--drop-function", "other") == (0, "OK\n", "")
    assert admin(gearadmin, server, "--status") == (0, "made\t0\t0\t1\n.\n", "")


@pytest.mark.gearstore_only  # gearmand forgets the function and leaves its jobs where no worker finds them
def test_gearadmin_does_not_drop_a_function_with_jobs(gearadmin: str, server: Server, jobs: list[str]) -> None:
    code, output, error = admin(gearadmin, server, "--drop-function", "f")
    assert (code, output) == (0, "")
    assert error.startswith("Error: ")
    assert server.status() == {"f": (3, 0, 0)}


def test_gearadmin_server(gearadmin: str, server: Server) -> None:
    assert admin(gearadmin, server, "--getpid") == (0, f"{server.pid}\n", "")
    code, version, _ = admin(gearadmin, server, "--server-version")
    assert (code, f"OK {version}") == (0, server.text("version"))
    code, verbose, _ = admin(gearadmin, server, "--server-verbose")
    assert (code, f"OK {verbose}") == (0, server.text("verbose"))
    assert admin(gearadmin, server, "--status", "--server-version", "--getpid") == (
        0,
        f"{server.pid}\n{version}.\n",
        "",
    ), "several operations run over one connection, the last first"


def test_gearadmin_workers(gearadmin: str, gearman: str, server: Server, spawn: Spawn) -> None:
    spawn(gearman, "-h", HOST, "-p", str(server.port), "-w", "-f", "a", "-f", "b", "--", "cat")
    server.expect_workers("a")
    code, output, _ = admin(gearadmin, server, "--workers")
    rows = [re.sub(r"^\d+ ", "FD ", row) for row in output.split("\n")]
    assert (code, sorted(rows)) == (0, sorted([f"FD {HOST} - : a b", f"FD {HOST} - :", ".", ""]))


def test_gearadmin_errors(gearadmin: str, server: Server) -> None:
    assert admin(gearadmin, server, "--create-function", "two words")[0] == 0
    assert admin(gearadmin, server)[0] == 1
    assert admin(gearadmin, server, "--shutdown")[0] == 1
    server.terminate()
    code, output, error = admin(gearadmin, server, "--status")
    assert (code, output) == (1, "")
    assert error == f"Error: Error connecting to {HOST}.\n\n"
