"""The same for scripts that block: a client and a worker without `async`.

`Client` and `Job` hand each call to the asyncio ones, which live in a loop in a thread of the client's own; all threads
may use a client at the same time. `Worker.run` is the asyncio one with signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import ssl
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from gearstore.client import client, job, worker
from gearstore.client.core import Handle, JobStatus, Name, Priority, Row
from gearstore.client.errors import (
    ClientError,
    GiveBack,
    JobException,
    JobFailed,
    NotGearstore,
    Refused,
    Uncertain,
    Unreachable,
)
from gearstore.client.job import JobData, JobProgress, JobWarning, Update
from gearstore.client.worker_job import ThreadJob, WorkerJob

__all__ = [
    "Client",
    "ClientError",
    "GiveBack",
    "Handle",
    "Job",
    "JobData",
    "JobException",
    "JobFailed",
    "JobProgress",
    "JobStatus",
    "JobWarning",
    "NotGearstore",
    "Priority",
    "Refused",
    "ThreadJob",
    "Uncertain",
    "Unreachable",
    "Worker",
    "WorkerJob",
]

P = ParamSpec("P")
T = TypeVar("T")


class LoopThread:
    """A loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gearstore-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; Ctrl-C here cancels it there."""
        if self.closed:
            coroutine.close()
            raise ClientError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """Yield what an asynchronous generator yields; end it when nobody wants more."""

        async def following() -> T | None:
            return await anext(items, None)

        try:
            while (item := self.run(following())) is not None:
                yield item
        finally:
            if not self.closed:
                self.run(items.aclose())

    @property
    def closed(self) -> bool:
        """Whether the thread has ended."""
        return self._loop.is_closed()

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def blocking(
    method: Callable[Concatenate[client.Client, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    """Return the method of a blocking client that does what this one of the asyncio client does."""

    @functools.wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._thread.run(method(self._client, *args, **kwargs))

    return call


class Job:
    """A foreground job: iterate over it for what its worker sends, `result()` is how it ended. See client.Job."""

    def __init__(self, thread: LoopThread, waited_for: job.Job) -> None:
        self._thread = thread
        self._job = waited_for

    @property
    def handle(self) -> Handle:
        """The server's name for the job."""
        return self._job.handle

    @property
    def progress(self) -> job.JobProgress:
        """What the worker last told of how far it is."""
        return self._job.progress

    @property
    def ended(self) -> bool:
        """Whether the job has ended, well or not."""
        return self._job.ended

    def result(self, timeout: float | None = None) -> bytes:
        """Wait for the end and return the result; raise what client.Job.result raises."""
        return self._thread.run(self._job.result(timeout))

    def __iter__(self) -> Iterator[Update]:
        return self

    def __next__(self) -> Update:
        update = self._thread.run(self._job.next_update())
        if update is None:
            raise StopIteration
        return update


class Client:
    """A client of one or several Gearman servers; use it in a `with`. All is as in client.Client, without `await`."""

    def __init__(
        self,
        servers: str | Iterable[str] = client.DEFAULT_SERVER,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float | None = None,
        connect_timeout: float = client.CONNECT_TIMEOUT,
        retry_for: float = 0.0,
    ) -> None:
        self._client = client.Client(
            servers, tls=tls, timeout=timeout, connect_timeout=connect_timeout, retry_for=retry_for
        )
        self._thread = LoopThread()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread."""
        if not self._thread.closed:
            self._thread.run(self._client.close())
            self._thread.close()

    run = blocking(client.Client.run)
    submit_background = blocking(client.Client.submit_background)
    status = blocking(client.Client.status)
    status_by_unique = blocking(client.Client.status_by_unique)
    echo = blocking(client.Client.echo)
    option = blocking(client.Client.option)
    command = blocking(client.Client.command)
    _submit = blocking(client.Client.submit)

    def submit(
        self,
        function: Name,
        workload: Name = b"",
        *,
        unique: Name = b"",
        priority: Priority | str = Priority.NORMAL,
        reducer: Name | None = None,
        resubmit: bool = False,
    ) -> Job:
        """Submit a foreground job and return it once the server has acknowledged it; see client.Client.submit."""
        submitted = self._submit(
            function, workload, unique=unique, priority=priority, reducer=reducer, resubmit=resubmit
        )
        return Job(self._thread, submitted)

    def manage(self, verb: str, request: Row | None = None, *, server: str = "") -> Iterator[Row]:
        """Ask gearstore for one of its own verbs and yield the objects of the answer; see client.Client.manage."""
        return self._thread.iterate(self._client.manage(verb, request, server=server))


class Worker(worker.Worker):
    """A worker whose run() blocks; the rest is as in worker.Worker."""

    _loop: asyncio.AbstractEventLoop | None = None

    def run(self, max_jobs: int | None = None) -> None:  # type: ignore[override]
        """Work until stop() is called, or until so many jobs have run.

        In the main thread, the first SIGTERM or Ctrl-C lets the jobs at hand finish, and a second one gives them up.
        """
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._run(super().run(max_jobs)))

    def stop(self) -> None:
        """Let the jobs at hand finish, grab no new ones, and have run() return. Any thread may call it."""
        loop = self._loop
        if loop:
            loop.call_soon_threadsafe(super().stop)
        else:
            super().stop()

    async def _run(self, working: Coroutine[Any, Any, None]) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task

        def end() -> None:
            if self._stop_requested:
                task.cancel()
            worker.Worker.stop(self)

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, end)
        try:
            await working
        finally:
            self._loop = None
