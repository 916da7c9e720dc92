"""One connection on asyncio: bytes out, packets in. What they mean, others know."""

from __future__ import annotations

import asyncio
import functools
import select
import ssl
from contextlib import suppress
from types import TracebackType

from gearstore.address import Address
from gearstore.client.core import TLS_REQUIRED, not_gearman, wants_tls
from gearstore.client.errors import Unreachable
from gearstore.client.sockets import CHUNK, keep_alive, reason_of
from gearstore.errors import ProtocolError
from gearstore.protocol.packets import ERROR, TLS_ALERT
from gearstore.protocol.responses import Packet, ResponseParser

CLOSING = 2.0  # seconds that a peer gets to take the last bytes


class Stream:
    """One connection; use it in an `async with`. Any failure of it is Unreachable."""

    def __init__(self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = str(address)
        self._reader = reader
        self._writer = writer
        self._parser = ResponseParser()
        self._out: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(writer.get_extra_info("socket").fileno(), select.POLLRDHUP)

    @classmethod
    async def open(cls, address: Address, tls: ssl.SSLContext | None, timeout: float) -> Stream:
        """Return a new connection; raise Unreachable if there is none within so many seconds."""
        if tls is None and address.tls:
            tls = trusting_the_system()
        try:
            async with asyncio.timeout(timeout):
                if address.path:
                    reader, writer = await asyncio.open_unix_connection(address.path)
                else:
                    host = address.host or "127.0.0.1"
                    reader, writer = await asyncio.open_connection(host, address.port, ssl=tls)
        except TimeoutError:
            raise Unreachable(f"no server at {address}: no connection within {timeout:g} s") from None
        except OSError as error:
            raise Unreachable(f"no server at {address}: {reason_of(error)}") from None
        if not address.path:
            keep_alive(writer.get_extra_info("socket"))
        return cls(address, reader, writer)

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection once what was sent has left, or a peer that takes nothing more has had its time."""
        self._flush()
        self._writer.close()
        limit = asyncio.timeout(CLOSING)
        with suppress(OSError):  # (TimeoutError is one)
            async with limit:
                await self._writer.wait_closed()
        if limit.expired():  # else there is nothing left to abort, and Python 3.11.2 would stumble over it
            self._writer.transport.abort()

    @property
    def hung_up(self) -> bool:
        """Whether the server has closed its side, though that may not have been read yet."""
        return bool(self._poll.poll(0))

    def send(self, data: bytes) -> None:
        """Send bytes, with all others of this turn of the loop in one write."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and not self._writer.is_closing():
            self._writer.write(b"".join(out))

    async def drain(self) -> None:
        """Wait until the server has taken most of what was sent. That it is gone shows at the next packet."""
        self._flush()
        try:
            await self._writer.drain()
        except OSError:
            pass

    async def receive(self) -> Packet:
        """Return the next packet; raise Unreachable if the server goes away. May be cancelled without a loss."""
        while True:
            try:
                packet = self._parser.take()
            except ProtocolError:
                raise not_gearman(self.server) from None
            if packet is not None:
                if packet[0] == ERROR and packet[1][0] == TLS_REQUIRED:
                    raise wants_tls(self.server)
                return packet
            self._parser.feed(await self._read())

    async def _read(self) -> bytes:
        """Return what came; raise Unreachable at the end."""
        try:
            data = await self._reader.read(CHUNK)
        except OSError as error:
            raise Unreachable(f"connection to {self.server} lost: {reason_of(error)}") from None
        if not data:
            raise Unreachable(f"the server at {self.server} closed the connection")
        if self._parser.empty and data.startswith(TLS_ALERT[:2]):
            raise wants_tls(self.server)
        return data


@functools.cache
def trusting_the_system() -> ssl.SSLContext:
    """Return what is needed to speak TLS with servers whose CA the system knows."""
    return ssl.create_default_context()
