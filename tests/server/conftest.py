"""Fixtures: one server for a module where state does not matter, servers of one's own, connections, deadlines."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.server.disk import Disk
from tests.server.process import Server, StartServer
from tests.server.wire import Connect, Wire

DEADLINE = 300  # seconds after which a test is taken to hang, on a busy machine as well


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """End a test that hangs."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test takes longer than {DEADLINE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(DEADLINE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of a module. At the end it must stop in order and have met no fault of its own."""
    server = Server(tmp_path_factory.mktemp("server"), "--drain-timeout=2")
    yield server
    server.disconnect()
    alive = server.process.poll() is None
    code = server.terminate() if alive else None
    server.end()
    assert alive, server.log
    assert code == 0, server.log
    assert "Traceback" not in server.log, server.log


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers with options and keywords of Server; all of them end with the test."""
    started: list[Server] = []

    def start(*options: str, **settings: object) -> Server:
        directory = tmp_path / f"server{len(started)}"
        directory.mkdir()
        started.append(Server(directory, *options, **settings))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for server in started:
        server.end()
    for server in started:
        assert "Traceback" not in server.log, server.log


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Open connections to the module's server; all of them close with the test."""
    yield server.connect
    server.disconnect()


@pytest.fixture
def client(connect: Connect) -> Wire:
    """A connection to the module's server."""
    return connect()


@pytest.fixture
def worker(connect: Connect) -> Wire:
    """Another one."""
    return connect()


@pytest.fixture
def f(request: pytest.FixtureRequest) -> bytes:
    """A function name that no other test of the module uses."""
    return re.sub(r"\W+", "_", request.node.name).encode()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of 64 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "gearstore-test", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)
