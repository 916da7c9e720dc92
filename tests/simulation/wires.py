"""The network of a simulation: pieces of any size arrive late but in order, readers stall, connections are cut."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from gearstore.protocol.responses import Packet, ResponseParser
from gearstore.server.connection import Connection

HIGH, LOW = 4096, 1024  # bytes that a stalled reader leaves before the server is told
LONGEST = 0.02  # seconds that a piece takes


class Socket:
    """What the server asks a socket for."""

    family = socket.AF_UNIX

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        """Return a number that is its own."""
        return self.number


class Wire(asyncio.Transport):
    """The server's end of a connection, and the way to the other end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: Random, number: int, receive: Callable[[Packet], None],
                 lost: Callable[[], None]) -> None:  # fmt: skip
        super().__init__({"socket": Socket(number), "peername": None})
        self.loop = loop
        self.chance = chance
        self.receive = receive
        self.lost = lost
        self.connection: Connection | None = None
        self.parser = ResponseParser()
        self.upward: deque[bytes] = deque()  # to the server
        self.downward: deque[bytes] = deque()  # to the peer
        self.arrives = [0.0, 0.0]  # when the last piece of either way is there
        self.reading = True  # the server takes what comes
        self.stalled = False  # the peer does not read
        self.paused = False  # the server knows that
        self.closing = False
        self.cut = False

    def connect(self, connection: Connection) -> None:
        """Give the server's end to the server."""
        self.connection = connection
        connection.connection_made(self)

    # The peer's end

    def send(self, data: bytes) -> None:
        """Send to the server, in pieces."""
        while data and not self.cut:
            size = self.chance.choice((1, 3, 11, 12, 13, 40, 1000, 1000, 1000, 1000))
            self.upward.append(data[:size])
            self._later(0, self._arrive_up)
            data = data[size:]

    def hang_up(self) -> None:
        """The peer goes away."""
        if not self.cut:
            self.cut = True
            self.loop.call_soon(self._tell_server)

    def _later(self, way: int, work: Callable[[], None]) -> None:
        delay = self.chance.choice((0.0, 0.0, 0.0, 0.0001, self.chance.random() * LONGEST))
        at = max(self.arrives[way], self.loop.time() + delay)
        self.arrives[way] = at
        self.loop.call_at(at, work)

    def _arrive_up(self) -> None:
        if self.connection is None or not self.reading or self.cut:
            return
        pieces = b"".join(self.upward)
        self.upward.clear()
        if pieces:
            self.connection.data_received(pieces)

    def _arrive_down(self) -> None:
        if self.stalled:
            return
        while self.downward and not self.cut:
            self.parser.feed(self.downward.popleft())
            while not self.cut and (packet := self.parser.take()) is not None:
                self.receive(packet)
        if self.paused and self.connection is not None and self.get_write_buffer_size() <= LOW:
            self.paused = False
            self.connection.resume_writing()

    @property
    def silent(self) -> bool:
        """Whether nothing is under way, in either direction."""
        return not (self.upward or self.downward or (self.connection is not None and self.connection.out))

    def stall(self, yes: bool) -> None:
        """Stop or go on reading."""
        self.stalled = yes
        if not yes:
            self.loop.call_soon(self._arrive_down)

    def _tell_server(self) -> None:
        connection, self.connection = self.connection, None
        self.closing = True
        if connection is not None:
            connection.connection_lost(None)
            self.lost()

    # The server's end

    def write(self, data: Any) -> None:
        """Send to the peer."""
        if self.cut or self.closing:
            return
        self.downward.append(bytes(data))
        self._later(1, self._arrive_down)
        if not self.paused and self.get_write_buffer_size() > HIGH and self.connection is not None:
            self.paused = True
            self.connection.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Return what a stalled reader has left."""
        return sum(map(len, self.downward)) if self.stalled else 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """They are ours."""

    def pause_reading(self) -> None:
        """Keep what comes."""
        self.reading = False

    def resume_reading(self) -> None:
        """Hand over what has come."""
        self.reading = True
        self.loop.call_soon(self._arrive_up)

    def is_closing(self) -> bool:
        """Whether the server has closed it."""
        return self.closing

    def close(self) -> None:
        """End when all is sent."""
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self._end)

    def abort(self) -> None:
        """End at once."""
        self.close()

    def _end(self) -> None:
        self._arrive_down()
        self.cut = True
        self._tell_server()

    def die(self) -> None:
        """The server is killed: whatever is under way to the peer may still arrive, or not."""
        if self.chance.random() < 0.5:
            self._arrive_down()
        self.connection = None
        self.cut = self.closing = True
        self.lost()
