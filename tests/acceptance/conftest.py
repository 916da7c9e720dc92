"""Fixtures of the acceptance tests: a server to talk to, processes that end with the test."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance import languages
from tests.acceptance.servers import Kind, Running, Server, kind_under_test, missing, run, tool

StartServer = Callable[..., Server]
Spawn = Callable[..., Running]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, on gearmand, what asks for more than gearmand does."""
    if kind_under_test() == "gearstore":
        return
    for item in items:
        if item.get_closest_marker("gearstore_only"):
            item.add_marker(pytest.mark.skip(reason="gearmand is known to get this wrong"))


@pytest.fixture(scope="session")
def kind() -> Kind:
    """Which server the tests run against."""
    return kind_under_test()


@pytest.fixture
def start_server(tmp_path: Path, kind: Kind) -> Iterator[StartServer]:
    """Start servers with options; all of them end with the test."""
    started: list[Server] = []

    def start(*options: str) -> Server:
        directory = tmp_path / f"server{len(started)}"
        directory.mkdir()
        started.append(Server(directory, kind, options))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """A fresh server with an empty store."""
    return start_server()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory, kind: Kind) -> Iterator[Server]:
    """One server for the tests of a module that use functions of their own."""
    server = Server(tmp_path_factory.mktemp("server"), kind)
    yield server
    server.process.kill()


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start processes in the background; all of them end with the test."""
    yield from spawner(tmp_path)


@pytest.fixture(scope="module")
def spawn_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spawn]:
    """Start processes in the background; all of them end with the module."""
    yield from spawner(tmp_path_factory.mktemp("processes"))


def spawner(directory: Path) -> Iterator[Spawn]:
    """Yield a function that starts processes, and end them afterwards."""
    started: list[Running] = []

    def start(*arguments: str | Path, environment: dict[str, str] | None = None) -> Running:
        name = f"{Path(arguments[0]).name}{len(started)}"
        started.append(Running(arguments, directory, name, environment))
        return started[-1]

    yield start
    for process in started:
        try:
            process.kill()
        except subprocess.TimeoutExpired:  # pragma: no cover - only a process in the kernel's hands
            continue


@pytest.fixture
def function(request: pytest.FixtureRequest) -> str:
    """A function name that no other test of the module uses."""
    return "".join(letter if letter.isalnum() else "_" for letter in request.node.name)


@pytest.fixture(scope="session")
def c_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the C programs `client` and `worker`, built on libgearman."""
    compiler = tool("cc", "gcc libc6-dev libgearman-dev")
    folder = tmp_path_factory.mktemp("c")
    for name in ("client", "worker"):
        source = Path(__file__).parent / "scripts" / f"{name}.c"
        done = run([compiler, "-std=gnu11", "-Wall", "-o", folder / name, source, "-lgearman"])
        if b"libgearman/gearman.h" in done.stderr:
            missing("libgearman", "libgearman-dev")
        assert done.returncode == 0, done.stderr.decode()
    return folder


@pytest.fixture(scope="session")
def php() -> str:
    """The PHP command, which must have the gearman extension."""
    return str(languages.php().client[0])


@pytest.fixture(scope="session")
def perl() -> str:
    """The Perl command, which must have the Gearman modules."""
    return str(languages.perl().client[0])
