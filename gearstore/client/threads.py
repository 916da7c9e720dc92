"""Threads for handlers that block. Unlike those of concurrent.futures they don't keep the process from ending."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Call = tuple["Future[Any]", Callable[[], Any]]


class Threads:
    """As many threads as calls run at a time. They stay for later calls, with what is local to them."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._started = 0
        self._busy = 0
        self._lock = threading.Lock()

    def call(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a thread call the function, in this context; return the future of its result."""
        future: Future[T] = Future()
        context = contextvars.copy_context()
        with self._lock:
            self._busy += 1
            if self._busy > self._started:
                self._started += 1
                name = f"gearstore-worker-{self._started}"
                threading.Thread(target=self._run, name=name, daemon=True).start()
        self._calls.put((future, lambda: context.run(function, *arguments)))
        return future

    def close(self) -> None:
        """Let the threads end after the calls that they run."""
        for _ in range(self._started):
            self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    future.set_exception(error)
            with self._lock:
                self._busy -= 1
            del call, future, function  # a thread that waits must not keep a job alive
