"""Which loop is taken, with and without uvloop."""

import asyncio
import sys

import pytest

from gearstore.errors import ConfigError
from gearstore.server.loop import loop_factory


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
