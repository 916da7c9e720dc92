"""Which loop is taken, with and without uvloop, and what must not depend on it."""

import asyncio
import socket
import sys

import pytest

from gearstore.address import parse_address
from gearstore.config import load_config
from gearstore.errors import ConfigError
from gearstore.server.accepting import Acceptor
from gearstore.server.commands import HANDLERS
from gearstore.server.connection import Connection
from gearstore.server.hub import Hub
from gearstore.server.listeners import open_sockets
from gearstore.server.loop import loop_factory
from gearstore.store.journal import Journal
from gearstore.store.memory import MemoryStore


def loop_module(choice: str) -> str:
    """Return the module of the loop that the choice makes."""
    loop = loop_factory(choice)()
    loop.close()
    return type(loop).__module__


def test_asyncio_is_taken_when_asked_for() -> None:
    assert loop_module("asyncio").startswith("asyncio")


@pytest.mark.parametrize("choice", ["auto", "uvloop"])
def test_uvloop_is_taken_where_it_is_installed(choice: str) -> None:
    pytest.importorskip("uvloop")
    assert loop_module(choice).startswith("uvloop")


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_module("auto").startswith("asyncio")
    with pytest.raises(ConfigError, match="not installed"):
        loop_factory("uvloop")


@pytest.mark.parametrize("choice", ["auto", "asyncio"])
def test_a_runner_takes_the_factory(choice: str) -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    with asyncio.Runner(loop_factory=loop_factory(choice)) as runner:
        assert runner.run(answer()) == 42


async def sends_at_once() -> int:
    """Return TCP_NODELAY of a connection that our listener has accepted."""
    store, loop = MemoryStore(), asyncio.get_running_loop()
    hub = Hub(load_config({"memory": True}, {})[0], store, Journal(store, lambda error: None), loop)
    (listening,) = await open_sockets(parse_address("127.0.0.1:0"), 1)
    acceptor = Acceptor(listening, lambda: Connection(hub, HANDLERS), hub.limits)
    _, writer = await asyncio.open_connection(*listening.getsockname())
    while not hub.connections:
        await asyncio.sleep(0)
    (connection,) = hub.connections
    assert connection.transport is not None
    value: int = connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    acceptor.close()
    writer.close()
    while hub.connections:
        await asyncio.sleep(0)
    return value


@pytest.mark.parametrize("choice", ["auto", "asyncio"])
def test_answers_are_sent_at_once(choice: str) -> None:
    # Else the second of two answers waits for the peer to acknowledge the first, which takes 40 ms.
    with asyncio.Runner(loop_factory=loop_factory(choice)) as runner:
        assert runner.run(sends_at_once())
