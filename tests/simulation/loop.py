"""An event loop whose time moves only when nothing is left to do: a simulation of hours takes as long as its work."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class Stuck(Exception):
    """Nothing can ever happen again, though somebody waits."""


class Clock(selectors.BaseSelector):
    """A selector without files: instead of waiting it lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0
        self.idle = False  # whether the loop had nothing to do but to wait

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let the time pass that the loop would wait."""
        if timeout is None:
            raise Stuck
        self.now += max(timeout, 0.0)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Files are not looked at."""
        return selectors.SelectorKey(fileobj, 0, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Files are not looked at."""
        return selectors.SelectorKey(fileobj, 0, 0, None)

    def get_map(self) -> dict[Any, Any]:
        """There are none."""
        return {}


class Loop(asyncio.SelectorEventLoop):
    """The loop of a simulation."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        """Return the time of the simulation in seconds."""
        return self.clock.now
