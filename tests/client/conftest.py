"""Fixtures of the client library's tests: real servers of both kinds, and peers that say what the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gearstore.client import Client, Worker
from tests.acceptance.servers import HOST, Server
from tests.server.conftest import deadline

__all__ = ["deadline"]

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
StartServer = Callable[..., Server]


def address(server: Server) -> str:
    """Return where a server listens."""
    return f"{HOST}:{server.port}"


@pytest.fixture(scope="module")
def gearstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One gearstore for a module, whose tests use functions of their own. It must have met no fault of its own."""
    running = Server(tmp_path_factory.mktemp("gearstore"), "gearstore")
    yield running
    running.process.kill()
    assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="module")
def gearmand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One plain gearmand for a module."""
    running = Server(tmp_path_factory.mktemp("gearmand"), "gearmand")
    yield running
    running.process.kill()


@pytest.fixture(params=["gearstore", "gearmand"])
def server(request: pytest.FixtureRequest) -> Server:
    """gearstore, then gearmand."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers of one's own, which may be killed; all of them end with the test."""
    started: list[Server] = []

    def start(kind: str = "gearstore", *options: str) -> Server:
        directory = tmp_path / f"server{len(started)}"
        directory.mkdir()
        started.append(Server(directory, kind, options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for each in started:
        each.process.kill()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """A client of gearstore, then of gearmand."""
    async with Client(address(server)) as connected:
        yield connected


@pytest.fixture
def f(request: pytest.FixtureRequest) -> str:
    """A function name that no other test of the module uses."""
    return "".join(letter if letter.isalnum() else "_" for letter in request.node.name)


@asynccontextmanager
async def working(worker: Worker, max_jobs: int | None = None) -> AsyncIterator["asyncio.Task[None]"]:
    """Have a worker run, and stop it in order at the end."""
    task = asyncio.create_task(worker.run(max_jobs))
    try:
        yield task
    finally:
        worker.stop()
        await task


@asynccontextmanager
async def peer(talk: Talk) -> AsyncIterator[str]:
    """A peer that is no server: it has this conversation on each connection; yield its address."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(converse, HOST, 0)
    async with listening:
        yield f"{HOST}:{listening.sockets[0].getsockname()[1]}"


async def in_thread(function: Callable[..., object], *arguments: object) -> None:
    """Call something that blocks, such as server.expect_status, while the loop goes on."""
    await asyncio.to_thread(function, *arguments)
