"""One thread that does what the loop hands over, in order.

An executor does the same with a lock, a condition and two futures for each call, and each commit is a call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class Worker:
    """Runs callables for one event loop; `stop` waits for what was given before."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        # A daemon, so that a fault elsewhere ends the process rather than hanging it.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Callable[..., Result], *args: Any) -> asyncio.Future[Result]:
        """Return a future of what the call returns or raises in the thread."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._calls.put((future, work, args))
        return future

    def stop(self) -> None:
        """End the thread when it has done what it was given."""
        self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, work, args = call
            try:
                result: Any = work(*args)
                settle: Callable[..., None] = _succeed
            except BaseException as error:  # whatever it is belongs to the one who awaits
                settle, result = _fail, error
            future.get_loop().call_soon_threadsafe(settle, future, result)
            del call, future, work, args, result


def _succeed(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
