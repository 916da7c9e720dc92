"""The client: submits jobs, waits for them, asks about them; over several servers, one of which it uses at a time."""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import time
from collections.abc import AsyncGenerator, Coroutine, Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar

from gearstore.address import Address, parse_address
from gearstore.client import core
from gearstore.client.connection import Connection
from gearstore.client.core import Handle, JobStatus, Name, Priority, Row
from gearstore.client.errors import ClientError, Uncertain, Unreachable
from gearstore.client.job import Job
from gearstore.client.stream import Stream
from gearstore.protocol import packets as p
from gearstore.protocol.packets import request

DEFAULT_SERVER = "127.0.0.1:4730"
CONNECT_TIMEOUT = 10.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
AVOIDED = 5.0  # seconds for which a server that could not be reached is asked after the others

Result = TypeVar("Result")


class Link:
    """One of the servers, with the connection to it if there is one."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.connection: Connection | None = None
        self.avoided_until = 0.0
        self.lock = asyncio.Lock()

    def avoid(self) -> None:
        """Ask the others first for a while."""
        self.avoided_until = time.monotonic() + AVOIDED


class Patience:
    """Pauses between tries, each longer than the one before, until the time is up."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._pause = FIRST_PAUSE

    async def wait(self) -> bool:
        """Pause before another try; return False at once if there is no time for one."""
        if time.monotonic() + self._pause > self._deadline:
            return False
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return True


class Client:
    """A client of one or several Gearman servers; use it in an `async with`.

    It connects when it first has something to ask, and again when that connection is gone. Of several servers it uses
    the first that can be reached, and stays with it until it goes away. All methods may be called at the same time.

    `timeout` is how many seconds a server may take for an answer (not for a job's result; None: any time), after which
    TimeoutError is raised. `retry_for` is how many seconds to go on trying when no server can be reached, before
    Unreachable is raised.
    """

    def __init__(
        self,
        servers: str | Iterable[str] = DEFAULT_SERVER,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        retry_for: float = 0.0,
    ) -> None:
        self._links = [Link(address) for address in addresses_of(servers)]
        self._current = self._links[0]
        self._tls = tls
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._retry_for = retry_for
        self._options: list[Name] = ["exceptions"]
        self._closed = False

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; what still waits for an answer or a result gets Unreachable."""
        self._closed = True
        for link in self._links:
            if link.connection:
                await link.connection.close()

    # Jobs

    async def submit(
        self,
        function: Name,
        workload: Name = b"",
        *,
        unique: Name = b"",
        priority: Priority | str = Priority.NORMAL,
        reducer: Name | None = None,
        resubmit: bool = False,
    ) -> Job:
        """Submit a foreground job and return it once the server has acknowledged it.

        The job lives as long as this connection: a server drops it when its clients leave before it runs. The errors
        are those of submit_background().
        """
        packet = core.submit_request(function, workload, unique, priority, reducer=reducer)
        return await self._submit_foreground(packet, resubmit, keep_updates=True)

    async def run(
        self,
        function: Name,
        workload: Name = b"",
        *,
        unique: Name = b"",
        priority: Priority | str = Priority.NORMAL,
        reducer: Name | None = None,
        resubmit: bool = False,
        timeout: float | None = None,
    ) -> bytes:
        """Submit a foreground job, wait for its end and return its result, without its updates.

        Raise JobFailed or JobException if it fails, TimeoutError if all of it takes more than `timeout` seconds; the
        job itself goes on then.
        """
        packet = core.submit_request(function, workload, unique, priority, reducer=reducer)
        async with asyncio.timeout(timeout):
            job = await self._submit_foreground(packet, resubmit, keep_updates=False)
            return await job.result()

    async def submit_background(
        self,
        function: Name,
        workload: Name = b"",
        *,
        unique: Name = b"",
        priority: Priority | str = Priority.NORMAL,
        at: datetime | float | None = None,
        delay: timedelta | float | None = None,
        schedule: str | None = None,
        reducer: Name | None = None,
        resubmit: bool = False,
    ) -> Handle:
        """Submit a background job and return its handle, which a server gives once it has the job (gearstore: on disk).

        `at` (a datetime, naive ones in local time, or seconds since 1970) or `delay` (seconds) make it run later, whole
        seconds only; `schedule` at the next minute that matches `MINUTE HOUR DAY MONTH WEEKDAY` (0 is Monday).

        A server that can't be reached is passed over for the next one. If the connection is lost after the job was sent
        and before it is acknowledged, the job may exist or not, and Uncertain is raised. With `resubmit` it is
        submitted again instead and may then run twice; on the same server an equal `unique` prevents that while the
        first is queued or runs. Raise Refused if the server refuses, ValueError for contradictions.
        """
        starts_at = start_of(at, delay, time.time())
        packet = core.submit_request(function, workload, unique, priority, True, reducer, starts_at, schedule)
        return await self._submit(packet, None, resubmit)

    async def status(self, handle: Name) -> JobStatus:
        """Return what the server that gave the handle knows of the job, or any of them if the handle is plain text.

        A job that has ended is unknown. Raise Unreachable if nobody knows it and not all servers could be asked.
        """
        name = core.to_bytes(handle)
        if len(name) > core.LONGEST_HANDLE:
            return core.UNKNOWN
        server = handle.server if isinstance(handle, Handle) else ""
        links = [link for link in self._links if str(link.address) == server] or self._links
        return await self._status(links, p.STATUS_RES, request(p.GET_STATUS, name))

    async def status_by_unique(self, unique: Name) -> JobStatus:
        """Return what the servers know of a job with this unique, of whatever function; see status()."""
        name = core.to_bytes(unique)
        if not 1 <= len(name) <= core.LONGEST_HANDLE:
            return core.UNKNOWN
        return await self._status(self._links, p.STATUS_RES_UNIQUE, request(p.GET_STATUS_UNIQUE, name))

    # Servers

    async def echo(self, data: Name = b"") -> bytes:
        """Have the server send the data back, which shows that it is alive."""
        connection = await self._connection()
        return (await self._within(connection.ask(p.ECHO_RES, request(p.ECHO_REQ, core.to_bytes(data)))))[0]

    async def option(self, name: Name) -> None:
        """Ask for an option on this connection and all later ones; raise Refused if the server doesn't know it.

        `exceptions`, the only one that Gearman servers have, is asked for anyway.
        """
        connection = await self._connection()
        await self._within(connection.ask(p.OPTION_RES, request(p.OPTION_REQ, core.to_bytes(name))))
        if name not in self._options:
            self._options.append(name)

    async def manage(self, verb: str, request: Row | None = None, *, server: str = "") -> AsyncGenerator[Row, None]:
        """Ask gearstore for one of its own verbs and yield the objects of the answer, on a connection of its own.

        The verbs and their errors are those of docs/management.md: Refused, whose `code` is the first word, and
        NotGearstore from any other server. `server` names one of several; else it is the one in use.
        """
        async with await self._open(server) as stream:
            stream.send(core.manage_request(verb, request) + b"\n")
            while (line := await self._line(stream)) is not None:
                yield core.row_of(line, stream.server)

    async def command(self, command: str, *, server: str = "") -> list[bytes]:
        """Send a text command, such as `status` or `version`, and return the lines of its answer without their ends."""
        lines: list[bytes] = []
        async with await self._open(server) as stream:
            stream.send(core.to_bytes(command) + b"\n")
            while (line := await self._line(stream)) is not None:
                lines.append(line.rstrip(b"\r\n"))
                if not core.answers_with_list(command):
                    break
        return lines

    async def _open(self, server: str) -> Stream:
        """Return a connection for one answer of many lines, which must not hold up others."""
        if not server:
            await self._connection()
        address = parse_address(server) if server else self._current.address
        return await Stream.open(address, self._tls, self._connect_timeout)

    async def _line(self, stream: Stream) -> bytes | None:
        """Return the next line, None at the end of a list."""
        kind, pieces = await self._within(stream.receive())
        return core.checked_line(core.line_of(kind, pieces, stream.server), stream.server)

    # How it is done

    async def _submit_foreground(self, packet: bytes, resubmit: bool, keep_updates: bool) -> Job:
        """Submit a job and return it, its handle set."""
        job = Job(keep_updates)
        try:
            job.handle = await self._submit(packet, job, resubmit)
        except BaseException:
            job.forget_updates()  # it may have been acknowledged all the same
            raise
        return job

    async def _submit(self, packet: bytes, job: Job | None, resubmit: bool) -> Handle:
        """Submit a job to the first server that can be reached; see submit_background() for what may happen."""
        lost: Unreachable | None = None
        chances = len(self._links) + 1  # without a pause
        patience = Patience(self._retry_for)
        while lost is None or (resubmit and (chances > 0 or await patience.wait())):
            try:
                connection = await self._connection()
            except Unreachable as error:
                if lost is None:
                    raise
                lost = error
                break
            try:
                pieces = await self._within(connection.ask(p.JOB_CREATED, packet, job))
                return Handle(core.to_text(pieces[0]), connection.server)
            except Unreachable as error:
                lost = error
                chances -= 1
        raise Uncertain(f"{lost}, and a job was not acknowledged: it may be queued or not")

    async def _status(self, links: list[Link], kind: int, packet: bytes) -> JobStatus:
        """Ask servers in turn until one knows the job."""
        missing: Unreachable | None = None
        for link in links:
            try:
                connection = await self._dial(link)
                status = core.status_of(await self._within(connection.ask(kind, packet)))
            except Unreachable as error:
                missing = error
                continue
            if status.known:
                return status
        if missing:
            raise missing
        return core.UNKNOWN

    async def _connection(self) -> Connection:
        """Return a connection that works: the current one, else a new one to the first server that can be reached."""
        patience = Patience(self._retry_for)
        while True:
            connection = self._current.connection
            if connection and not await connection.gone():
                return connection
            if connection and not connection.answered:
                self._current.avoid()  # it hung up without a word: no better than one that can't be reached
            try:
                return await self._dial_any()
            except Unreachable:
                if not await patience.wait():
                    raise

    async def _dial_any(self) -> Connection:
        """Try the servers in their order, those that failed of late last; make the first that answers the current."""
        now = time.monotonic()
        errors = []
        for link in sorted(self._links, key=lambda link: link.avoided_until > now):
            try:
                connection = await self._dial(link)
            except Unreachable as error:
                errors.append(str(error))
                continue
            self._current = link
            return connection
        raise Unreachable("; ".join(errors))

    async def _dial(self, link: Link) -> Connection:
        """Return a connection to this server; raise Unreachable if there is none. One dials, others wait for it."""
        async with link.lock:
            if self._closed:
                raise ClientError("the client is closed")
            if link.connection and not await link.connection.gone():
                return link.connection
            try:
                link.connection = await Connection.open(link.address, self._tls, self._connect_timeout, self._options)
            except Unreachable:
                link.avoid()
                raise
            return link.connection

    async def _within(self, answer: Coroutine[Any, Any, Result]) -> Result:
        """Wait for an answer, as long as a server may take."""
        async with asyncio.timeout(self._timeout):
            return await answer


def addresses_of(servers: str | Iterable[str]) -> list[Address]:
    """Return the addresses of servers; raise ValueError for what is none, and if there are none."""
    addresses = [parse_address(text) for text in ([servers] if isinstance(servers, str) else servers)]
    if not addresses:
        raise ValueError("name at least one server")
    return addresses


def start_of(at: datetime | float | None, delay: timedelta | float | None, now: float) -> int | None:
    """Return the second at which a job may start, None for at once; raise ValueError if both are given."""
    if at is not None and delay is not None:
        raise ValueError("at and delay exclude each other")
    if delay is not None:
        return math.ceil(now + (delay.total_seconds() if isinstance(delay, timedelta) else delay))
    if at is None:
        return None
    return math.ceil(at.timestamp() if isinstance(at, datetime) else at)
