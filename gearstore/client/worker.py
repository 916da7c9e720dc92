"""The worker: runs handlers for the jobs of one or several servers.

Each slot of each server is a connection of its own with one job at a time: servers keep one timeout a connection, count
connections as workers, and give the job of a connection that closes to another one. Permits keep the jobs that run at a
time to `concurrency`, whatever server they are from; who waits longest gets one, which is fair to the servers.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from gearstore.client.client import CONNECT_TIMEOUT, DEFAULT_SERVER, addresses_of
from gearstore.client.core import Name, argument, to_bytes, to_text
from gearstore.client.errors import GiveBack, JobException, JobFailed
from gearstore.client.slot import Permits, Plan, Slot
from gearstore.client.threads import Threads
from gearstore.client.worker_job import ThreadJob, WorkerJob
from gearstore.protocol.packets import (
    CAN_DO,
    CAN_DO_TIMEOUT,
    WORK_COMPLETE,
    WORK_EXCEPTION,
    WORK_FAIL,
    request,
)

logger = logging.getLogger(__name__)

# The server's own clock shall ring first: then it is the server that decides what a timeout means for the job.
GRACE = 0.2

Result = bytes | str | None
AsyncHandler = Callable[[WorkerJob], Awaitable[Result]]
ThreadHandler = Callable[[ThreadJob], Result]
Handler = TypeVar("Handler", bound=Callable[[Any], Any])


class Ability(NamedTuple):
    """What a worker can do: a handler, and how many seconds it may take (None: any time)."""

    handler: Callable[[Any], Any]
    timeout: float | None
    in_thread: bool

    def registration(self, function: bytes) -> bytes:
        """Return the packet that tells a server."""
        if self.timeout is None:
            return request(CAN_DO, function)
        return request(CAN_DO_TIMEOUT, function, b"%d" % math.ceil(self.timeout * 1000))


class Worker:
    """A worker of one or several Gearman servers, at most `concurrency` jobs at a time.

    A handler takes a job and returns its result: bytes, text or None. An `async` one runs in the loop and gets a
    WorkerJob, a plain one in a thread and gets a ThreadJob. An exception fails the job, with its text (WORK_EXCEPTION).
    """

    def __init__(
        self,
        servers: str | Iterable[str] = DEFAULT_SERVER,
        *,
        concurrency: int = 1,
        client_id: Name | None = None,
        tls: ssl.SSLContext | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        self._addresses = addresses_of(servers)
        self._concurrency = concurrency
        self._client_id = to_bytes(client_id or f"{socket.gethostname()}-{os.getpid()}")
        self._tls = tls
        self._connect_timeout = connect_timeout
        self._abilities: dict[str, Ability] = {}
        self._plan: Plan | None = None
        self._stop_requested = False
        self._threads = Threads()

    def register(self, function: Name, handler: Callable[[Any], Any], *, timeout: float | None = None) -> None:
        """Have the handler run the jobs of a function; those registered first are served first.

        After `timeout` seconds (servers take whole milliseconds, and at least 1 s) the server gives the job to another
        worker, and an `async` handler is cancelled. A handler in a thread can't be: its slot waits for it.
        """
        if self._plan:
            raise RuntimeError("register functions before the worker runs")
        if timeout is not None and not timeout > 0:
            raise ValueError("a timeout is more than 0 seconds")
        name = to_text(argument(function, "a function's name"))
        self._abilities[name] = Ability(handler, timeout, not is_async(handler))

    def function(self, name: Name | None = None, *, timeout: float | None = None) -> Callable[[Handler], Handler]:
        """Return a decorator that registers a handler, under its own name if no other is given."""

        def decorate(handler: Handler) -> Handler:
            self.register(name if name is not None else handler.__name__, handler, timeout=timeout)
            return handler

        return decorate

    async def run(self, max_jobs: int | None = None) -> None:
        """Work until stop() is called, or until so many jobs have run. A server that goes away is waited for.

        To cancel this is the quick end: jobs at hand are given up, and their servers queue them again.
        """
        if not self._abilities:
            raise ValueError("register a function before the worker runs")
        if self._plan:
            raise RuntimeError("the worker runs already")
        plan = self._plan = self._make_plan(max_jobs)
        try:
            if not self._stop_requested:
                async with asyncio.TaskGroup() as group:
                    for slot in plan.slots:
                        group.create_task(slot.run())
        finally:
            self._threads.close()
            self._threads = Threads()
            self._plan = None
            self._stop_requested = False

    def stop(self) -> None:
        """Let the jobs at hand finish, grab no new ones, and have run() return. Call it in the worker's loop."""
        self._stop_requested = True
        if self._plan:
            self._plan.stop()

    def _make_plan(self, max_jobs: int | None) -> Plan:
        # Servers serve the function first that was registered last.
        names = reversed(self._abilities.items())
        abilities = b"".join(ability.registration(to_bytes(name)) for name, ability in names)
        permits = Permits(self._concurrency, max_jobs)
        plan = Plan(permits, abilities, self._execute, self._tls, self._connect_timeout)
        for number in range(1, self._concurrency + 1):
            client_id = b"%s-%d" % (self._client_id, number)
            plan.slots += [Slot(plan, address, number, client_id) for address in self._addresses]
        return plan

    async def _execute(self, job: WorkerJob) -> bytes:
        """Run the handler of a job and return the packet that reports its end."""
        handle = to_bytes(job.handle)
        try:
            return request(WORK_COMPLETE, handle, await self._call(job))
        except GiveBack:
            raise
        except JobException as error:
            return request(WORK_EXCEPTION, handle, error.data)
        except JobFailed:
            return request(WORK_FAIL, handle)
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            reason = "the handler was cancelled"
        except (Exception, SystemExit) as error:  # a job must not end the worker, and the next one that gets it
            logger.exception("%s %s failed", job.handle, job.function)
            reason = f"{type(error).__name__}: {error}"
        return request(WORK_EXCEPTION, handle, to_bytes(reason))

    async def _call(self, job: WorkerJob) -> bytes:
        """Return what the handler returns for a job, as bytes."""
        ability = self._abilities[job.function]
        loop = asyncio.get_running_loop()
        if ability.in_thread:
            return result_of(await asyncio.wrap_future(self._threads.call(ability.handler, ThreadJob(job, loop))))
        try:
            async with asyncio.timeout(ability.timeout and ability.timeout + GRACE) as clock:
                return result_of(await ability.handler(job))
        except TimeoutError:
            if clock.expired():
                raise JobException(f"not done within {ability.timeout:g} s") from None
            raise


def is_async(handler: Callable[[Any], Any]) -> bool:
    """Return whether calling the handler gives something to await."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def result_of(value: Result) -> bytes:
    """Return what a handler returned as bytes; raise TypeError if it is nothing that can be sent."""
    if value is None:
        return b""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return to_bytes(value)
    raise TypeError(f"a handler returns bytes, text or None, not {type(value).__name__}")
