"""How many jobs of each function ended in the last minute: counters that only grow, sampled once a second.

A job that ends costs an increment of its function's counter and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from gearstore.queue.functions import Function
from gearstore.queue.job import DONE, FAILED

SECONDS = 60


class Ended(NamedTuple):
    """Jobs that were done and jobs that failed."""

    done: int = 0
    failed: int = 0

    def plus(self, other: Ended, sign: int = 1) -> Ended:
        """Return the sum, or with sign -1 the difference."""
        return Ended(self.done + sign * other.done, self.failed + sign * other.failed)


NONE = Ended()


class Rates:
    """The endings of the last SECONDS, and of the second that has begun."""

    def __init__(self, functions: Mapping[bytes, Function]) -> None:
        self.functions = functions
        self.counters: dict[Function, Ended] = {}  # at the last sample
        self.totals: dict[Function, int] = {}  # of these counters
        self.seconds: deque[dict[Function, Ended]] = deque([{}] * SECONDS)  # only functions of which jobs ended
        self.minute: dict[Function, Ended] = {}  # the sum of the seconds
        self.sampled_at: float | None = None

    def sample(self, now: float) -> None:
        """Close the seconds that passed since the last sample; `now` in seconds of any clock that only goes on."""
        passed = 1 if self.sampled_at is None else round(now - self.sampled_at)
        self.sampled_at = now
        for _ in range(min(passed, SECONDS) - 1):
            self._push({})
        fresh: dict[Function, Ended] = {}
        known, done, failed = self.totals.get, int(DONE), int(FAILED)
        for function in self.functions.values():
            ended = function.ended
            if ended[done] + ended[failed] != known(function, 0):  # there may be thousands that rest
                fresh[function] = self._latest(function)
                counter = self.counters[function] = _counter(function)
                self.totals[function] = counter.done + counter.failed
        self._push(fresh)
        if len(self.totals) > len(self.functions):  # some have been forgotten
            live = set(self.functions.values())
            for function in self.totals.keys() - live:
                del self.totals[function], self.counters[function]

    def of(self, function: Function) -> Ended:
        """Return what ended in the last minute."""
        return self.minute.get(function, NONE).plus(self._latest(function))

    def _latest(self, function: Function) -> Ended:
        """Return what ended since the last sample."""
        return _counter(function).plus(self.counters.get(function, NONE), -1)

    def _push(self, second: dict[Function, Ended]) -> None:
        self.seconds.append(second)
        for function, ended in second.items():
            self.minute[function] = self.minute.get(function, NONE).plus(ended)
        for function, ended in self.seconds.popleft().items():
            self.minute[function] = self.minute[function].plus(ended, -1)
            if self.minute[function] == NONE:
                del self.minute[function]


def _counter(function: Function) -> Ended:
    return Ended(function.ended[DONE], function.ended[FAILED])
