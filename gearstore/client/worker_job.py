"""A job as its handler sees it: on asyncio, and in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn

from gearstore.client.core import Handle, Name, to_bytes, to_text
from gearstore.client.errors import JobException, JobFailed
from gearstore.client.stream import Stream
from gearstore.protocol.packets import WORK_DATA, WORK_STATUS, WORK_WARNING, request


class Assignment:
    """What a server assigned. `reducer` is empty but for reduce jobs."""

    handle: Handle
    function: str
    unique: str
    reducer: str
    workload: bytes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.handle} {self.function}>"

    def fail(self, text: bytes | str = b"") -> NoReturn:
        """End the job as failed, with this text for its clients and the server's history if there is any."""
        if text:
            raise JobException(text)
        raise JobFailed


class WorkerJob(Assignment):
    """A job for an `async` handler. To send something never fails: that the server is gone shows at the end."""

    def __init__(self, stream: Stream, pieces: list[bytes]) -> None:
        handle, function, *names, workload = pieces
        self.handle = Handle(to_text(handle), stream.server)
        self.function = to_text(function)
        self.unique = to_text(names[0]) if names else ""
        self.reducer = to_text(names[1]) if len(names) > 1 else ""
        self.workload = workload
        self._stream = stream

    async def send_data(self, data: Name) -> None:
        """Send a part of the result ahead to the clients that wait."""
        await self._send(WORK_DATA, to_bytes(data))

    async def send_warning(self, text: Name) -> None:
        """Warn the clients that wait."""
        await self._send(WORK_WARNING, to_bytes(text))

    async def send_status(self, numerator: int, denominator: int) -> None:
        """Tell how far the job is: so many of so many. The server keeps it for who asks."""
        await self._send(WORK_STATUS, b"%d" % numerator, b"%d" % denominator)

    async def _send(self, kind: int, *arguments: bytes) -> None:
        self._stream.send(request(kind, to_bytes(self.handle), *arguments))
        await self._stream.drain()


class ThreadJob(Assignment):
    """A job for a plain handler, which runs in a thread: the same, without `await`."""

    def __init__(self, job: WorkerJob, loop: asyncio.AbstractEventLoop) -> None:
        self.handle = job.handle
        self.function = job.function
        self.unique = job.unique
        self.reducer = job.reducer
        self.workload = job.workload
        self._job = job
        self._loop = loop

    def send_data(self, data: Name) -> None:
        """Send a part of the result ahead to the clients that wait."""
        self._wait(self._job.send_data(data))

    def send_warning(self, text: Name) -> None:
        """Warn the clients that wait."""
        self._wait(self._job.send_warning(text))

    def send_status(self, numerator: int, denominator: int) -> None:
        """Tell how far the job is: so many of so many. The server keeps it for who asks."""
        self._wait(self._job.send_status(numerator, denominator))

    def _wait(self, sending: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(sending, self._loop).result()
