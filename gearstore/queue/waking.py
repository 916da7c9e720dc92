"""Workers that sleep, and what keeps jobs from them: pauses, an end of the server, queues that are still on disk."""

from __future__ import annotations

from itertools import islice

from gearstore.queue.calls import Calls
from gearstore.queue.functions import Function
from gearstore.queue.names import Names
from gearstore.queue.peer import Peer
from gearstore.queue.ports import Journal, Outbox

AUTO = -1  # wake as many workers as there are jobs


class Waking(Names):
    """The part of the engine that decides who may take jobs, and wakes them.

    A worker that was woken is *called* until it asks for a job. If it takes another function's, leaves, or does not
    come (calls.py), others are called in its place: no job waits for a worker that hangs, and none wakes thousands.
    """

    __slots__ = ("calls", "draining", "hungry", "journal", "outbox", "paused", "paused_at", "paused_until",
                 "worker_wakeup")  # fmt: skip

    def __init__(self, journal: Journal, outbox: Outbox, window: int, worker_wakeup: int) -> None:
        super().__init__(window)
        self.journal = journal
        self.outbox = outbox
        self.worker_wakeup = worker_wakeup  # sleepers to wake for each job, 0 for all of them, or AUTO
        self.calls = Calls()
        self.hungry: list[tuple[Function, int]] = []  # windows that want spilled jobs read back
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
        if peer.called_for is not None:
            self.came(peer)
        peer.asleep = True
        for function in peer.order:
            function.sleepers[peer] = None
        return True

    def wake(self, function: Function) -> None:
        """Wake workers that sleep on the function, for its jobs that nobody is called for; with `--worker-wakeup` so
        many for each job, or all."""
        if function.sleepers and not function.closed and self.assigning:
            number = function.uncalled if self.worker_wakeup == AUTO else self.worker_wakeup
            self._call(function, number if self.worker_wakeup else len(function.sleepers))

    def _call(self, function: Function, number: int) -> None:
        """Wake so many workers, those that have slept longest."""
        for peer in list(islice(function.sleepers, max(number, 0))):
            self._rouse(peer, function)

    def _rouse(self, peer: Peer, function: Function) -> None:
        self._awake(peer)
        self.outbox.wake(peer)
        if self.worker_wakeup:  # else there is nobody left to call instead
            self.calls.add(peer, function, self.monotonic)

    def came(self, peer: Peer) -> None:
        """Take note that a called worker has asked for a job or never will; call another if it took none of those that
        it was called for."""
        function = self.calls.remove(peer)
        if function is not None and function.sleepers and function.uncalled > 0:
            if self.assigning and function.available():
                self._call(function, function.uncalled)

    def call_others(self) -> None:
        """Call others in place of those who do not come, twice as many: when a host with thousands of workers has
        vanished, a job must not wait for one after the other."""
        for function, number in self.calls.late(self.monotonic).items():
            if function.sleepers and self.assigning and function.available():
                self._call(function, 2 * number)

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
