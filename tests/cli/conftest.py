"""Fixtures of the command line's tests: real servers, and the command as a process against each."""

import fcntl
import io
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest

from gearstore.protocol.packets import CAN_DO, ECHO_REQ, GRAB_JOB_UNIQ, SET_CLIENT_ID, request
from gearstore_cli import main
from gearstore_cli.client import Connection
from tests.acceptance.servers import HOST, Running, Server, clean_environment, eventually
from tests.server.conftest import deadline

__all__ = ["deadline"]  # a fixture for all tests here

COMMAND = [sys.executable, "-m", "gearstore_cli"]


class Result:
    """What a command printed and how it ended."""

    def __init__(self, code: int, output: bytes, errors: bytes) -> None:
        self.code = code
        self.bytes = output
        self.output = output.decode("utf-8", "surrogateescape")
        self.lines = self.output.splitlines()
        self.errors = errors.decode("utf-8", "backslashreplace")

    def __repr__(self) -> str:
        return f"<exit code {self.code}, {self.bytes!r}, {self.errors!r}>"


class Cli:
    """The `gearstore` command against one server."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self.address = f"{HOST}:{server.port}"
        self.environment = {"GEARSTORE_SERVER": self.address, "COLUMNS": "120", "TERM": "xterm"}
        self.directory = directory
        self.started: list[Running] = []

    def __call__(self, *arguments: str, given: bytes = b"") -> Result:
        """Run a command between pipes to its end; in this process, which saves the start of a Python."""
        return run_here(arguments, given, self.environment)

    def printed(self, *arguments: str, given: bytes = b"") -> list[str]:
        """Run a command that must succeed and return the lines that it printed."""
        result = self(*arguments, given=given)
        assert result.code == 0, result
        return result.lines

    def spawn(self, *arguments: str) -> Running:
        """Start a command in the background."""
        name = f"command{len(self.started)}"
        self.started.append(Running([*COMMAND, *arguments], self.directory, name, self.environment))
        return self.started[-1]

    def on_terminal(self, *arguments: str, typed: str | Callable[[], str] = "", when: str = "") -> Result:
        """Run a command on a terminal, where `typed` is typed once `when` has been shown; return all that it showed."""
        master, slave = pty.openpty()
        environment = clean_environment() | self.environment
        process = subprocess.Popen(
            [*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
            preexec_fn=take_terminal,
        )  # fmt: skip
        os.close(slave)
        shown = b""
        try:
            interrupted = False
            while True:
                if interrupted and not select.select([master], [], [], 5)[0]:
                    # A signal that comes just before the terminal is read is noticed with the next key. Who has said
                    # something since has noticed it, and would die of another one at the end of its Python.
                    os.write(master, INTERRUPT.encode())
                    continue
                if not (data := read_terminal(master)):
                    break
                shown += data
                interrupted = interrupted and not data.replace(b"^C", b"").strip()
                if typed and when.encode() in shown:
                    os.write(master, (typed if isinstance(typed, str) else typed()).encode())
                    typed, interrupted = "", typed == INTERRUPT
            return Result(process.wait(60), shown.replace(b"\r\n", b"\n"), b"")
        finally:
            os.close(master)
            process.kill()
            process.wait(60)


def run_here(arguments: Sequence[str], given: bytes = b"", environment: dict[str, str] | None = None) -> Result:
    """Run a command in this process, as if it were one of its own."""
    output, errors = io.BytesIO(), io.BytesIO()
    with (
        mock.patch.object(sys, "argv", ["gearstore", *arguments]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(given))),
        mock.patch.object(sys, "stdout", io.TextIOWrapper(output, "utf-8", write_through=True)) as stdout,
        mock.patch.object(sys, "stderr", io.TextIOWrapper(errors, "utf-8", write_through=True)) as stderr,
        mock.patch.dict(os.environ, clean_environment() | (environment or {}), clear=True),
    ):
        code = main.run()
        stdout.flush()
        stderr.flush()
        return Result(code, output.getvalue(), errors.getvalue())


INTERRUPT = "\x03"  # Ctrl-C


def take_terminal() -> None:
    """Make standard input the controlling terminal, so that Ctrl-C becomes a signal, which nobody ignores."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_terminal(master: int) -> bytes:
    """Return what a terminal shows next, nothing when its last process is gone."""
    try:
        return os.read(master, 65536)
    except TimeoutError:  # the deadline of the test
        raise
    except OSError:
        return b""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One gearstore for a module, whose tests use functions of their own."""
    running = Server(tmp_path_factory.mktemp("gearstore"), "gearstore")
    yield running
    running.process.kill()


@pytest.fixture(scope="module")
def gearmand_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One plain gearmand for a module."""
    running = Server(tmp_path_factory.mktemp("gearmand"), "gearmand")
    yield running
    running.process.kill()


def command_against(server: Server, directory: Path) -> Iterator[Cli]:
    """Yield the command against a server and end what it has started."""
    cli = Cli(server, directory)
    yield cli
    for process in cli.started:
        process.kill()


@pytest.fixture
def gearstore(server: Server, tmp_path: Path) -> Iterator[Cli]:
    """The command against gearstore."""
    yield from command_against(server, tmp_path)


@pytest.fixture
def gearmand(gearmand_server: Server, tmp_path: Path) -> Iterator[Cli]:
    """The command against a plain gearmand."""
    yield from command_against(gearmand_server, tmp_path)


@pytest.fixture(params=["gearstore", "gearmand"])
def either(request: pytest.FixtureRequest) -> Cli:
    """The command against gearstore, then against gearmand."""
    found: Cli = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def function(request: pytest.FixtureRequest) -> str:
    """A function name that no other test of the module uses."""
    return "".join(letter if letter.isalnum() else "_" for letter in request.node.name)


class Worker:
    """A worker that does what the test says."""

    def __init__(self, address: str, function: str) -> None:
        self.connection = Connection(address)
        self.connection.send(request(SET_CLIENT_ID, b"by-hand") + request(CAN_DO, function.encode()))

    def grab(self) -> list[bytes]:
        """Wait for a job and return its handle, function, unique and workload."""

        def grabbed() -> list[bytes]:
            self.connection.send(request(GRAB_JOB_UNIQ))
            pieces: list[bytes] = self.connection.receive()[1]
            return pieces

        return eventually(lambda: [piece for piece in [grabbed()] if len(piece) == 4], what="a job")[0]

    def report(self, kind: int, *arguments: bytes) -> None:
        """Send a packet about a job and wait until the server has taken it."""
        self.connection.send(request(kind, *arguments) + request(ECHO_REQ))
        self.connection.receive()


@pytest.fixture
def worker() -> Iterator[Callable[[Cli, str], Worker]]:
    """Connect workers that do what the test says."""
    workers: list[Worker] = []

    def connect(cli: Cli, function: str) -> Worker:
        workers.append(Worker(cli.address, function))
        return workers[-1]

    yield connect
    for each in workers:
        each.connection.close()
