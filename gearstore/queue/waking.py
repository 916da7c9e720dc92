"""Workers that sleep, and what keeps jobs from them: pauses, an end of the server, queues that are still on disk."""

from __future__ import annotations

from itertools import islice

from gearstore.queue.functions import Function
from gearstore.queue.names import Names
from gearstore.queue.peer import Peer
from gearstore.queue.ports import Journal, Outbox


class Waking(Names):
    """The part of the engine that decides who may take jobs, and wakes them."""

    def __init__(self, journal: Journal, outbox: Outbox, window: int, worker_wakeup: int) -> None:
        super().__init__(window)
        self.journal = journal
        self.outbox = outbox
        self.worker_wakeup = worker_wakeup
        self.hungry: list[tuple[Function, int]] = []  # windows that want spilled jobs read back
        self.now = 0  # milliseconds since 1970, set before each turn
        self.draining = False  # the server ends
        self.paused_at = 0  # all functions are paused since then
        self.paused_until = 0
        self.paused: dict[Function, None] = {}

    @property
    def assigning(self) -> bool:
        """Whether any job may be assigned."""
        return not (self.draining or self.paused_at)

    def sleep(self, peer: Peer) -> bool:
        """PRE_SLEEP: return whether a job waits already (NOOP at once); else wake the worker when one does."""
        if self.assigning:
            for function in peer.order:
                if function.available():
                    self._awake(peer)
                    return False
        peer.asleep = True
        for function in peer.order:
            function.sleepers[peer] = None
        return True

    def wake(self, function: Function) -> None:
        """Wake workers that sleep on the function: all of them, or `--worker-wakeup` for each job."""
        sleepers = function.sleepers
        if sleepers and not function.closed and self.assigning:
            for peer in list(islice(sleepers, self.worker_wakeup or len(sleepers))):
                self._rouse(peer)

    def _rouse(self, peer: Peer) -> None:
        self._awake(peer)
        self.outbox.wake(peer)

    def _awake(self, peer: Peer) -> None:
        """Mark as awake: it gets no NOOP until it sends PRE_SLEEP again, and then what waits is looked at again."""
        if peer.asleep:
            peer.asleep = False
            for function in peer.order:
                function.sleepers.pop(peer, None)

    def feed(self, function: Function, priority: int) -> None:
        """Ask for spilled jobs to be read back if the window runs low."""
        if function.windows[priority].low:
            self.hungry.append((function, priority))

    # Pauses

    def pause(self, function: Function | None, until: int = 0) -> None:
        """Assign no more jobs of a function, or (None) of all, until then; 0: until somebody resumes it."""
        if function is None:
            self.paused_at, self.paused_until = self.now, until
            self.journal.steer_all()
            return
        function.paused_at, function.paused_until = self.now, until
        self.paused[function] = None
        function.close_or_open()
        self.journal.steer(function)

    def resume(self, function: Function | None) -> None:
        """End a pause."""
        if function is None:
            self.paused_at = self.paused_until = 0
            self.journal.steer_all()
            for each in self.functions.values():
                self.reopen(each)
            return
        function.paused_at = function.paused_until = 0
        self.paused.pop(function, None)
        self.journal.steer(function)
        self.reopen(function)

    def resume_due(self) -> None:
        """End the pauses whose time is over."""
        if self.paused_until and self.paused_until <= self.now:
            self.resume(None)
        for function in [each for each in self.paused if each.paused_until and each.paused_until <= self.now]:
            self.resume(function)

    def reopen(self, function: Function) -> None:
        """Something that kept jobs of a function from workers may be over."""
        function.close_or_open()
        if function.sleepers and function.available():
            self.wake(function)
