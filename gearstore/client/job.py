"""A job that a client waits for."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from gearstore.client.core import Handle, number
from gearstore.client.errors import ClientError, JobException, JobFailed
from gearstore.protocol.packets import WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING


class JobData(NamedTuple):
    """A part of the result that the worker sent ahead (WORK_DATA)."""

    data: bytes


class JobWarning(NamedTuple):
    """What the worker warns of (WORK_WARNING)."""

    data: bytes


class JobProgress(NamedTuple):
    """How far the worker is (WORK_STATUS): so many of so many."""

    numerator: int
    denominator: int


Update = JobData | JobWarning | JobProgress


class Job:
    """A foreground job: `async for update in job` yields what its worker sends, `await job.result()` how it ended.

    Both raise JobFailed or JobException if the job failed, Unreachable if the server went away meanwhile (then nobody
    knows whether the job has run). Updates are kept until somebody iterates over them, which one can do once.
    """

    def __init__(self, keep_updates: bool = True) -> None:
        self.handle = Handle("")
        self.progress = JobProgress(0, 0)
        self._keep_updates = keep_updates
        self._updates: asyncio.Queue[Update | None] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._result = b""
        self._error: ClientError | None = None

    def __repr__(self) -> str:
        return f"<Job {self.handle} {'ended' if self.ended else 'under way'}>"

    @property
    def ended(self) -> bool:
        """Whether the job has ended, well or not."""
        return self._ended.is_set()

    async def result(self, timeout: float | None = None) -> bytes:
        """Wait for the end and return what WORK_COMPLETE carried; raise TimeoutError if it takes more seconds.

        Data that the worker sent ahead is not part of it. A job that times out here goes on at its worker.
        """
        async with asyncio.timeout(timeout):
            await self._ended.wait()
        if self._error:
            raise self._error
        return self._result

    def __aiter__(self) -> Job:
        return self

    async def __anext__(self) -> Update:
        update = await self.next_update()
        if update is None:
            raise StopAsyncIteration
        return update

    async def next_update(self) -> Update | None:
        """Return the next update, None after the last; raise what result() raises if the job failed."""
        update = await self._updates.get()
        if update is None:
            self._updates.put_nowait(None)  # for who asks again
            if self._error:
                raise self._error
        return update

    # What the connection tells

    def report(self, kind: int, pieces: list[bytes]) -> None:
        """Take note of a worker's report."""
        if kind == WORK_COMPLETE:
            self._result = pieces[1]
            self._end(None)
        elif kind == WORK_FAIL:
            self._end(JobFailed())
        elif kind == WORK_EXCEPTION:
            self._end(JobException(pieces[1]))
        elif kind == WORK_STATUS:
            self.progress = JobProgress(number(pieces[1]), number(pieces[2]))
            self._update(self.progress)
        elif kind == WORK_DATA:
            self._update(JobData(pieces[1]))
        elif kind == WORK_WARNING:
            self._update(JobWarning(pieces[1]))

    def lose(self, error: ClientError) -> None:
        """Take note that the connection is gone."""
        self._end(error)

    def forget_updates(self) -> None:
        """Keep no updates from now on: nobody will ask for them."""
        self._keep_updates = False
        self._updates = asyncio.Queue()

    def _update(self, update: Update) -> None:
        if self._keep_updates:
            self._updates.put_nowait(update)

    def _end(self, error: ClientError | None) -> None:
        self._error = error
        self._updates.put_nowait(None)
        self._ended.set()
