"""Functions by name, and the numbers of jobs and their handles."""

from __future__ import annotations

from collections.abc import Sequence

from gearstore.errors import QueueError
from gearstore.queue.functions import Function
from gearstore.queue.job import HELD, MAX_FUNCTION
from gearstore.queue.policy import Policies

MAX_DIGITS = 18
HANDLE_DIGITS = 12  # fixed width: newer libgearman matches handles by prefix
RESCAN = 100  # milliseconds until functions that are not used are looked for again

FUNCTION_TOO_LARGE = (b"ARGUMENT_TOO_LARGE", b"Function name too large")
TOO_MANY_FUNCTIONS = (b"QUEUE_ERROR", b"The server has as many functions as it may have")


class Names:
    """The part of the engine that gives names to things.

    (The engine has slots: beyond thirty attributes Python 3.11 gives up the fast way to those of an object without.)
    """

    __slots__ = ("functions", "ids_until", "max_functions", "monotonic", "next_function_id", "next_id", "now",
                 "policies", "prefixes", "scanned_at", "window")  # fmt: skip

    def __init__(self, window: int) -> None:
        self.window = window
        self.policies = Policies()
        self.now = 0  # milliseconds since 1970, set before each turn
        self.monotonic = 0  # milliseconds, set before each turn
        self.functions: dict[bytes, Function] = {}
        self.max_functions = 1 << 62
        self.scanned_at = -RESCAN
        self.next_function_id = 1
        self.prefixes: list[tuple[int, bytes]] = [(0, b"H:localhost:")]  # (first id, prefix of handles from it on)
        self.next_id = 1
        self.ids_until = 1 << 40  # ids below it are durably reserved

    def function(self, name: bytes) -> Function:
        """Return the function of that name; the first mention makes it."""
        function = self.functions.get(name)
        if function is None:
            if len(name) > MAX_FUNCTION:
                raise QueueError(*FUNCTION_TOO_LARGE)
            if len(self.functions) >= self.max_functions:
                self._forget_unused()
            function = self.functions[name] = Function(self.next_function_id, name, self.window, self.policies.of(name))
            self.next_function_id += 1
        function.listed = True
        return function

    def _forget_unused(self) -> None:
        """Forget all functions that nobody uses and that have left nothing; raise QueueError if there is none. (Some
        clients wait for answers in a function of their own, with a new name each time.)"""
        if self.monotonic - self.scanned_at >= RESCAN:  # it takes milliseconds, and a flood of names must not
            self.scanned_at = self.monotonic
            for function in [each for each in self.functions.values() if each.unused]:
                del self.functions[function.name]
        if len(self.functions) >= self.max_functions:
            raise QueueError(*TOO_MANY_FUNCTIONS, limit="max_functions")

    def handle(self, id: int) -> bytes:
        """Return the handle of a job number; it never changes, even if the host's name does."""
        return handle_of(self.prefixes, id)

    def number(self, handle: bytes) -> int | None:
        """Return the job number of a handle, None if it can't be one of ours."""
        digits = handle.rpartition(b":")[2]
        if not HANDLE_DIGITS <= len(digits) <= MAX_DIGITS or not digits.isdigit() or int(digits) >= self.next_id:
            return None
        return int(digits) if self.handle(int(digits)) == handle else None

    def next_number(self) -> int:
        """Draw the next number, for a job or for a place at the end of a queue."""
        number = self.next_id
        self.next_id = number + 1
        return number

    def drop(self, name: bytes) -> bool | None:
        """Forget a function; None if there is none, False if it has workers or jobs."""
        function = self.functions.get(name)
        if function is None or not function.listed:
            return None
        if function.workers or function.total or function.states[HELD]:
            return False
        function.listed = False  # its history stays
        return True


def handle_of(prefixes: Sequence[tuple[int, bytes]], id: int) -> bytes:
    """Return the handle of a job number, by the prefixes and the numbers from which on they are used."""
    prefix = prefixes[-1][1]
    if id < prefixes[-1][0]:
        prefix = next((text for first, text in reversed(prefixes) if first <= id), prefixes[0][1])
    return b"%s%012d" % (prefix, id)
