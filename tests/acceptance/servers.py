"""The server under test as a real process, and the other processes that tests start.

It knows command lines, ports and signals; of packets it knows nothing (see `wire.py`). With
GEARSTORE_TEST_SERVER=gearmand in the environment the same tests run against the real gearmand.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NoReturn, TypeVar

import pytest

from tests.ports import HOST as HOST
from tests.ports import free_port as free_port

Kind = Literal["gearstore", "gearmand"]
Result = TypeVar("Result")


def kind_under_test() -> Kind:
    """Return which server the tests run against: gearstore unless the environment says gearmand."""
    name = os.environ.get("GEARSTORE_TEST_SERVER", "gearstore")
    if name == "gearstore":
        return "gearstore"
    if name == "gearmand":
        return "gearmand"
    raise pytest.UsageError(f"GEARSTORE_TEST_SERVER must be gearstore or gearmand, not {name!r}")


def eventually(condition: Callable[[], Result], within: float = 30.0, what: object = "the condition") -> Result:
    """Return the first true value of condition(); fail when there is none before the deadline.

    The only place where the acceptance tests wait: always for something that can be seen.
    """
    deadline = time.monotonic() + within
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within} s: {what() if callable(what) else what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def unavailable(sentence: str) -> NoReturn:
    """Skip the test because something is not installed; fail instead where the tools are required."""
    if os.environ.get("GEARSTORE_REQUIRE_TOOLS") == "1":
        pytest.fail(sentence)
    pytest.skip(sentence)


def missing(what: str, packages: str) -> NoReturn:
    """Skip the test with the Debian packages that bring what is missing."""
    unavailable(f"{what} is missing: apt-get install {packages}")


def tool(name: str, packages: str) -> str:
    """Return the path of a program, or skip with the Debian packages that bring it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    return path or missing(name, packages)


def ends_with_us() -> list[str]:
    """Return the command that lets a process die with this one, however this one ends."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def clean_environment() -> dict[str, str]:
    """Return this environment without anything that could configure a server, a client or a terminal."""
    prefixes = ("GEARSTORE_", "GEARMAN", "NOTIFY_SOCKET", "WATCHDOG_", "COLUMNS", "LINES")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


class Running:
    """A process in the background whose output goes to files, so that it never blocks."""

    def __init__(
        self, arguments: Sequence[str | Path], directory: Path, name: str, environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.output_path = directory / f"{name}.out"
        self.error_path = directory / f"{name}.err"
        with self.output_path.open("ab") as output, self.error_path.open("ab") as error:
            self.process = subprocess.Popen(
                [*ends_with_us(), *(str(argument) for argument in arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=error,
                cwd=directory,
                env=clean_environment() | (environment or {}),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def output(self) -> bytes:
        return self.output_path.read_bytes()

    @property
    def lines(self) -> list[str]:
        """The complete lines of standard output so far."""
        return self.output.decode("utf-8", "backslashreplace").split("\n")[:-1]

    @property
    def log(self) -> str:
        return self.error_path.read_text("utf-8", "backslashreplace")

    def expect_line(self, line: str, times: int = 1) -> None:
        """Wait until the process has printed this line so many times."""
        eventually(
            lambda: self.lines.count(line) >= times,
            what=lambda: f"{line!r} x{times} from {self.name}, which printed {self.lines} and {self.log[-2000:]!r}",
        )

    def wait(self, within: float = 60.0) -> int:
        """Return the exit code once the process has ended by itself."""
        eventually(lambda: not self.alive, within, what=lambda: f"end of {self.name}: {self.log[-2000:]!r}")
        return self.process.wait()

    def kill(self) -> None:
        """End the process, if it still runs, and all that it started, by SIGKILL."""
        if self.alive:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(60)
        for reserve in self.output_path.parent.glob("*.reserve"):
            reserve.unlink()  # pytest keeps the folders of three runs


class Server:
    """One job server on a port of its own: start it, ask it, kill it, start it again on the same file."""

    def __init__(self, directory: Path, kind: Kind, options: Sequence[str] = ()) -> None:
        self.kind = kind
        self.directory = directory
        self.options = list(options)
        self.port = free_port()
        self.db = directory / "gearstore.db"
        self.process = self.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.alive

    @property
    def log(self) -> str:
        """What the server has written to standard error, over all its starts."""
        return self.process.log

    def command(self) -> list[str]:
        """Return the command line that starts this server."""
        if self.kind == "gearmand":
            gearmand = tool("gearmand", "gearman-job-server")
            pid_file = str(self.directory / "gearmand.pid")
            return [gearmand, "-L", HOST, "-p", str(self.port), "-l", "stderr", "-P", pid_file, *self.options]
        listen = f"{HOST}:{self.port}"
        return [sys.executable, "-m", "gearstore_cli", "serve", "--listen", listen, "--db", str(self.db), *self.options]

    def start(self) -> Running:
        """Start the process and return when it answers on its port."""
        process = Running(self.command(), self.directory, "server")

        def ready() -> bool:
            if not process.alive:
                pytest.fail(f"{self.kind} ended with {process.process.returncode}: {process.log[-3000:]}")
            try:
                return self.text("version").startswith("OK ")
            except OSError:
                return False

        eventually(ready, 60.0, what=lambda: f"{self.kind} to answer: {process.log[-3000:]}")
        return process

    def text(self, command: str) -> str:
        """Send one text command and return its whole answer."""
        return self.text_bytes(command.encode() + b"\r\n").decode("utf-8", "backslashreplace")

    def text_bytes(self, request: bytes) -> bytes:
        """Send text lines as they are and return the answer up to its end: a line of `.`, OK or ERR."""
        answer = b""
        with socket.create_connection((HOST, self.port), timeout=60) as connection:
            connection.sendall(request)
            while not (answer.endswith(b"\n.\n") or answer == b".\n" or ends_in_one_line(answer)):
                received = connection.recv(65536)
                if not received:
                    raise ConnectionResetError(f"closed by the server after {answer!r}")
                answer += received
        return answer

    def status(self) -> dict[str, tuple[int, int, int]]:
        """Return (total, running, workers) by function."""
        rows = (line.rsplit("\t", 3) for line in self.text("status").split("\n")[:-2])
        return {name: (int(total), int(running), int(workers)) for name, total, running, workers in rows}

    def expect_status(self, function: str, total: int, running: int, workers: int) -> None:
        """Wait until the function has this row in `status`."""
        wanted = (total, running, workers)
        eventually(
            lambda: self.status().get(function) == wanted,
            what=lambda: f"{function} {wanted} in {self.status()}",
        )

    def expect_workers(self, function: str, count: int = 1) -> None:
        """Wait until so many workers have registered the function."""
        eventually(
            lambda: self.status().get(function, (0, 0, 0))[2] == count,
            what=lambda: f"{count} workers of {function} in {self.status()}",
        )

    def kill9(self) -> None:
        """End the server as a crash does."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.process.wait(60)

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(60)

    def restart(self) -> None:
        """Start again, on the same port and the same file, what has ended."""
        assert not self.alive, "kill or terminate the server before its restart"
        self.process = self.start()


def ends_in_one_line(answer: bytes) -> bool:
    """Tell whether this is one of the answers that consist of one line."""
    return answer.startswith((b"OK", b"ERR")) and answer.endswith(b"\n")


def run(
    arguments: Sequence[str | Path],
    workload: bytes = b"",
    timeout: float = 120.0,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a program to its end with the workload on standard input."""
    return subprocess.run(
        [str(argument) for argument in arguments],
        input=workload,
        capture_output=True,
        timeout=timeout,
        env=clean_environment() | (environment or {}),
        cwd=cwd,
        check=False,
    )


def printed(
    arguments: Sequence[str | Path],
    workload: bytes = b"",
    timeout: float = 120.0,
    environment: dict[str, str] | None = None,
) -> bytes:
    """Run a program that must succeed and return what it printed."""
    done = run(arguments, workload, timeout, environment)
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stdout!r} {done.stderr!r}"
    return done.stdout
