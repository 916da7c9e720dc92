"""One slot of a worker: a connection to one server, on which one job runs at a time."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from gearstore.address import Address
from gearstore.client.core import not_gearman, refusal, to_text
from gearstore.client.errors import GiveBack, Unreachable
from gearstore.client.stream import Stream
from gearstore.client.worker_job import WorkerJob
from gearstore.protocol.packets import (
    ECHO_REQ,
    ECHO_RES,
    ERROR,
    GRAB_JOB_ALL,
    JOB_ASSIGN,
    JOB_ASSIGN_ALL,
    JOB_ASSIGN_UNIQ,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    SET_CLIENT_ID,
    TEXT,
    request,
)

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
# gearmand wakes nobody for a delayed job that becomes due: so a sleeper looks by itself now and then.
LONGEST_SLEEP = 30.0


class Permits:
    """How many jobs may run at a time, and in all if there is a limit."""

    def __init__(self, at_a_time: int, in_all: int | None) -> None:
        self.left = in_all
        self._issued = at_a_time if in_all is None else min(at_a_time, in_all)
        self._semaphore = asyncio.Semaphore(self._issued)

    async def acquire(self) -> None:
        """Wait for a permit; who waits longest gets it."""
        await self._semaphore.acquire()

    def release(self, used: bool) -> None:
        """Give a permit back. After the last jobs there are fewer of them than before."""
        if used and self.left is not None:
            self.left -= 1
            if self._issued > self.left:
                self._issued -= 1
                return
        self._semaphore.release()

    def open(self, count: int) -> None:
        """Let so many pass who wait: it is the end, and they will see that."""
        for _ in range(count):
            self._semaphore.release()


class Plan:
    """What the slots of a running worker have in common."""

    def __init__(
        self,
        permits: Permits,
        abilities: bytes,
        execute: Callable[[WorkerJob], Awaitable[bytes]],
        tls: ssl.SSLContext | None,
        connect_timeout: float,
    ) -> None:
        self.permits = permits
        self.abilities = abilities  # the packets that register the functions
        self.execute = execute  # runs a job and returns the packet that reports its end
        self.tls = tls
        self.connect_timeout = connect_timeout
        self.slots: list[Slot] = []
        self.stopping = False

    def stop(self) -> None:
        """Let each slot finish the job at hand and end; those that have none end now."""
        if not self.stopping:
            self.stopping = True
            self.permits.open(len(self.slots))
            for slot in self.slots:
                slot.end_if_idle()


class Slot:
    """A connection that grabs a job, has it run, reports, and sleeps when there is none; over and over."""

    def __init__(self, plan: Plan, address: Address, number: int, client_id: bytes) -> None:
        self._plan = plan
        self._address = address
        self._number = number
        self._client_id = client_id
        self._task: asyncio.Task[None] | None = None
        self._idle = False  # nothing is lost by ending now
        self._unconfirmed = False  # the last report may still be on its way
        self._pause = FIRST_PAUSE

    async def run(self) -> None:
        """Work until the plan is stopped, connecting again as often as it takes."""
        self._task = asyncio.current_task()
        while not self._plan.stopping:
            try:
                with self._idling():
                    stream = await Stream.open(self._address, self._plan.tls, self._plan.connect_timeout)
                async with stream:
                    return await self._serve(stream)
            except (Unreachable, GiveBack) as error:
                await self._rest(error)

    def end_if_idle(self) -> None:
        """End unless there is a job at hand, or might be."""
        if self._idle and self._task:
            self._task.cancel()

    @contextmanager
    def _idling(self) -> Iterator[None]:
        self._idle = True
        try:
            yield
        finally:
            self._idle = False

    async def _rest(self, error: Exception) -> None:
        """Say what is wrong (one slot of each server is enough to say that it is away), and pause."""
        if self._plan.stopping:
            logger.warning("%s; the last job may run again", error)
            return
        level = logging.WARNING if self._number == 1 or isinstance(error, GiveBack) else logging.DEBUG
        logger.log(level, "%s; trying again in %g s", error, self._pause)
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        with self._idling():
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))

    async def _serve(self, stream: Stream) -> None:
        """Register, then run jobs until the plan is stopped."""
        stream.send(request(SET_CLIENT_ID, self._client_id) + self._plan.abilities)
        self._unconfirmed = False
        while not self._plan.stopping:
            if not await self._run_a_job(stream) and not self._plan.stopping:
                await self._sleep(stream)
        if self._unconfirmed:
            await self._confirm(stream)

    async def _run_a_job(self, stream: Stream) -> bool:
        """Grab a job and run it, when the permits allow; return False if there is none."""
        permits = self._plan.permits
        await permits.acquire()
        ran = False
        try:
            job = None if self._plan.stopping else await self._grab(stream)
            if job is None:
                return False
            stream.send(await self._plan.execute(job))
            self._unconfirmed = ran = True
            self._pause = FIRST_PAUSE
            return True
        finally:
            permits.release(ran)
            if permits.left == 0:
                self._plan.stop()

    async def _grab(self, stream: Stream) -> WorkerJob | None:
        """Return the job that the server assigns, None if it has none."""
        stream.send(request(GRAB_JOB_ALL))
        kind, pieces = await self._expect(stream, JOB_ASSIGN, JOB_ASSIGN_UNIQ, JOB_ASSIGN_ALL, NO_JOB)
        self._unconfirmed = False
        if kind != NO_JOB:
            return WorkerJob(stream, pieces)
        self._pause = FIRST_PAUSE
        return None

    async def _sleep(self, stream: Stream) -> None:
        """Sleep until the server has something. It looks once more when it is told, so that nothing falls between."""
        stream.send(request(PRE_SLEEP))
        try:
            with self._idling():
                async with asyncio.timeout(LONGEST_SLEEP):
                    await self._expect(stream, NOOP)
        except TimeoutError:
            pass

    async def _confirm(self, stream: Stream) -> None:
        """Wait until the server has taken the last report: gearstore answers this after it has stored the outcome."""
        stream.send(request(ECHO_REQ))
        await self._expect(stream, ECHO_RES)

    async def _expect(self, stream: Stream, *kinds: int) -> tuple[int, list[bytes]]:
        """Return the next packet of these types. An ERROR is about an earlier report: its job was taken away."""
        while True:
            kind, pieces = await stream.receive()
            if kind in kinds:
                return kind, pieces
            if kind == ERROR:
                logger.warning("%s says of an earlier report: %s", to_text(self._client_id), refusal(pieces))
            elif kind == TEXT:
                raise not_gearman(stream.server)
