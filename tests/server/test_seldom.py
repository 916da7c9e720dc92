"""Log lines that peers can provoke are few."""

import logging

import pytest

from gearstore.server.seldom import MOST_KINDS, PAUSE, Seldom


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    """Let warnings be heard, whatever other tests have set."""
    caplog.set_level(logging.WARNING, "gearstore")


class Clock:
    """A clock that is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_one_line_of_a_kind_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    seldom = Seldom(clock)
    for number in range(5):
        seldom.warn("a", "%s of a", number)
    seldom.warn("b", "100%% of %s", "b")
    clock.now += PAUSE
    seldom.warn("a", "%s of a", 5)
    seldom.warn("a", "%s of a", 6)
    clock.now += PAUSE + 1
    seldom.warn("a", "%s of a", 7)
    more = "more like this since the last line"
    assert caplog.messages == ["0 of a", "100% of b", f"5 of a (4 {more})", f"7 of a (1 {more})"]


def test_kinds_without_end_fill_neither_memory_nor_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    seldom = Seldom(clock)
    for number in range(10 * MOST_KINDS):
        seldom.warn(str(number), "x")
    assert len(seldom._last) == len(caplog.messages) == MOST_KINDS + 1
    clock.now += PAUSE
    seldom.warn("another", "y")
    assert caplog.messages[-1] == "y"
    assert len(seldom._last) == 1
