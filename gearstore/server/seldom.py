"""Log lines that peers can provoke: of each kind one a minute, so that nobody fills the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

logger = logging.getLogger("gearstore")

PAUSE = 60.0  # seconds between two lines of a kind
MOST_KINDS = 100  # that are told apart; peers can think of any number


class Seldom:
    """Writes the first line of a kind, and later ones when a minute has passed, with how many were left out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}  # kind -> when a line was written, lines left out since

    def warn(self, kind: str, message: str, *args: object) -> None:
        """Write a warning, unless one of its kind was written of late."""
        now = self._clock()
        if kind not in self._last and len(self._last) >= MOST_KINDS:
            self._last = {other: last for other, last in self._last.items() if now - last[0] < PAUSE}
            kind = kind if len(self._last) < MOST_KINDS else ""
        at, left_out = self._last.get(kind, (now - PAUSE, 0))
        if now - at < PAUSE:
            self._last[kind] = at, left_out + 1
            return
        self._last[kind] = now, 0
        logger.warning(message + (f" ({left_out} more like this since the last line)" if left_out else ""), *args)
