"""Workers that were woken and have not come yet. No clock: `now` is an argument, in milliseconds that only grow."""

from __future__ import annotations

from gearstore.queue.functions import Function
from gearstore.queue.peer import Peer

PATIENCE = 50  # milliseconds between two looks at who came


class Calls:
    """Who was called for a job of which function."""

    __slots__ = ("_called", "_looks", "look_at")

    def __init__(self) -> None:
        self._called: dict[Peer, int] = {}  # -> `_looks` at that time; who was called first stands first
        self._looks = 0
        self.look_at = 0  # when to look again, 0 while nobody is called

    def add(self, peer: Peer, function: Function, now: int) -> None:
        """Take note that a worker was woken."""
        peer.called_for = function
        function.called += 1
        self._called[peer] = self._looks
        if not self.look_at:
            self.look_at = now + PATIENCE

    def remove(self, peer: Peer) -> Function | None:
        """The worker has come, or never will: return what it was called for, if it was."""
        function = peer.called_for
        if function is not None:
            peer.called_for = None
            function.called -= 1
            del self._called[peer]
            if not self._called:
                self.look_at = 0
        return function

    def late(self, now: int) -> dict[Function, int]:
        """When it is time to look: give up who was called before the last look; return how many, by function."""
        late: dict[Function, int] = {}
        if not 0 < self.look_at <= now:
            return late
        while self._called:
            peer = next(iter(self._called))
            if self._called[peer] == self._looks:
                break
            function = self.remove(peer)
            if function is not None:
                late[function] = late.get(function, 0) + 1
        self._looks += 1
        self.look_at = now + PATIENCE if self._called else 0
        return late
