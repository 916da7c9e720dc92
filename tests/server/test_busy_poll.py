"""For whom the loop keeps turning: only for those who ask again at once, and only for a moment."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from gearstore.server.busy_poll import SPAN, BusyPoll


class Clock:
    """A clock that is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Turns:
    """A poll, its clock, and the loop that it keeps turning."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.clock = Clock()
        self.loop = loop
        self.poll = BusyPoll(loop, self.clock)
        self.poll.enabled = True
        self.poll.answered()

    def asked_after(self, seconds: float) -> bool:
        """Return whether the next request is looked out for, when one came so long after an answer."""
        self.clock.now += seconds
        self.turn()
        self.poll.requested(self.clock.now)
        self.poll.answered()
        return self.poll.looking_out

    def turn(self) -> None:
        """Let the loop turn once."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()


@pytest.fixture
def turns() -> Iterator[Turns]:
    """A loop that stands still."""
    loop = asyncio.new_event_loop()
    yield Turns(loop)
    loop.close()


def test_who_asks_at_once_is_looked_out_for(turns: Turns) -> None:
    assert [turns.asked_after(SPAN / 2) for _ in range(5)] == [True] * 5
    turns.turn()
    assert turns.poll.looking_out


def test_who_takes_his_time_is_not(turns: Turns) -> None:
    assert [turns.asked_after(SPAN * 2) for _ in range(5)] == [False] * 5


def test_it_ends_when_nobody_comes(turns: Turns) -> None:
    assert turns.asked_after(SPAN / 2)
    turns.clock.now += SPAN
    turns.turn()
    assert not turns.poll.looking_out
    assert not turns.asked_after(SPAN)
    assert turns.asked_after(SPAN / 2)


def test_not_before_it_is_enabled(turns: Turns) -> None:
    turns.poll.enabled = False
    assert not turns.asked_after(SPAN / 2)


def test_not_on_the_only_processor(turns: Turns) -> None:
    processors = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(processors)})
        turns.poll.enable()
    finally:
        os.sched_setaffinity(0, processors)
    assert not turns.poll.enabled
    turns.poll.enable()
    assert turns.poll.enabled == (len(processors) > 1)
