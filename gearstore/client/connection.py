"""A client's connection to one server: any number of requests and jobs under way at a time."""

from __future__ import annotations

import asyncio
import logging
import ssl

from gearstore.address import Address
from gearstore.client.core import Exchange, Listener, Name, not_gearman, to_bytes
from gearstore.client.errors import Refused, Unreachable
from gearstore.client.stream import Stream
from gearstore.errors import ProtocolError
from gearstore.protocol.packets import OPTION_REQ, OPTION_RES, request

logger = logging.getLogger(__name__)


class Connection:
    """A connection with a task that reads; it ends by itself when the server goes away."""

    def __init__(self, stream: Stream) -> None:
        self.server = stream.server
        self.error: Unreachable | None = None
        self.answered = False  # whether the server has ever said anything
        self._stream = stream
        self._exchange = Exchange(self._complain)
        self._reader = asyncio.create_task(self._read(), name=f"client of {self.server}")

    @classmethod
    async def open(
        cls, address: Address, tls: ssl.SSLContext | None, timeout: float, options: list[Name]
    ) -> Connection:
        """Return a new connection that has asked for these options; raise Unreachable if there is no server."""
        connection = cls(await Stream.open(address, tls, timeout))
        for option in options:  # a server that doesn't know one does without
            connection._exchange.expect(OPTION_RES)
            connection._stream.send(request(OPTION_REQ, to_bytes(option)))
        return connection

    async def gone(self) -> bool:
        """Return whether the server has gone, also if this has not been read yet: what is sent now would be lost."""
        if self.error is None and self._stream.hung_up:
            await asyncio.wait([self._reader])
        return self.error is not None

    async def ask(self, kind: int, packet: bytes, listener: Listener | None = None) -> list[bytes]:
        """Send a request and return the pieces of its answer, which is of this type.

        Raise Refused if it is an ERROR, Unreachable if the server goes away before it answers.
        """
        if self.error:
            raise Unreachable(str(self.error))
        waiter: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._exchange.expect(kind, waiter, listener)
        self._stream.send(packet)
        await self._stream.drain()
        return await waiter

    async def close(self) -> None:
        """Close; who still waits gets Unreachable."""
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        """Give each packet to whom it belongs, to the end."""
        error = Unreachable(f"the connection to {self.server} was closed here")
        try:
            while True:
                self._exchange.receive(*await self._stream.receive())
                self.answered = True
        except ProtocolError:
            error = not_gearman(self.server)
        except Unreachable as lost:
            error = lost
        finally:
            self.error = error
            self._exchange.lose(error)
            await self._stream.close()

    def _complain(self, refused: Refused) -> None:
        logger.warning("%s says, without having been asked: %s", self.server, refused)
