"""Busy polling: after an answer, look out for the next request for a moment before the thread goes to sleep.

A client that waits for each answer asks again within microseconds. To fall asleep and be woken takes longer than that,
most of all on a virtual machine, whose processor goes to others meanwhile (benchmarks/README.md, "busy polling"). Linux
does the same for sockets (`net.core.busy_poll`) and for the processors of its guests (`halt_poll_ns`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import perf_counter

SPAN = 0.0001  # seconds


class BusyPoll:
    """Keeps the loop turning for SPAN after an answer, if the last request came within SPAN of an answer as well.

    So a server whose clients take their time sleeps, and one that looked out in vain does so once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = perf_counter) -> None:
        self.enabled = False
        self.looking_out = False
        self._loop = loop
        self._clock = clock
        self._answered = 0.0
        self._prompt = False  # the last request came soon after an answer
        self._until = 0.0

    def enable(self) -> None:
        """Begin, if there is a second processor: on the only one we would keep those waiting for whom we look out."""
        self.enabled = len(os.sched_getaffinity(0)) > 1

    def requested(self, now: float) -> None:
        """Take note of the first request of a turn, read `now` by our clock."""
        self._prompt = self.enabled and now - self._answered < SPAN

    def answered(self) -> None:
        """Take note of answers that were written."""
        self._answered = now = self._clock()
        if self._prompt:
            self._until = now + SPAN
            if not self.looking_out:
                self._look_out()

    def _look_out(self) -> None:
        self.looking_out = self._clock() < self._until
        if self.looking_out:
            self._loop.call_soon(self._look_out)  # the loop looks at all sockets before, and doesn't sleep
