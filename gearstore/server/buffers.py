"""The bytes of all connections that lie in memory: packets that have begun, answers that are not read.

Only connections that have such bytes are known here; one that sends whole packets and reads its answers costs nothing.
Time limits need no timers: once a second somebody looks at those that are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearstore.config import Config
from gearstore.server.connection import WRITE

if TYPE_CHECKING:
    from gearstore.server.connection import Connection
    from gearstore.server.hub import Hub

MIB = 1 << 20


class Buffered:
    """What of one connection lies in memory."""

    __slots__ = ("begun_at", "given", "producers", "received", "taken", "taken_at", "unread")

    def __init__(self) -> None:
        self.received = 0  # bytes of a packet, or line, that has begun
        self.begun_at = 0.0  # since when, or since when we read it again
        self.unread = 0  # bytes of answers that the peer has not read
        self.given = 0  # bytes handed over for it since it is behind
        self.taken = 0  # of them, those that it has read
        self.taken_at = 0.0  # when it was last seen to read
        self.producers: dict[Connection, None] = {}  # workers that wait until it reads

    @property
    def size(self) -> int:
        """All bytes."""
        return self.received + self.unread


class Buffers:
    """The connections that have bytes in memory, and their sum."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.known: dict[Connection, Buffered] = {}
        self.choked: dict[Connection, None] = {}  # readers so far behind that whoever produces for them has to wait
        self.total = 0
        self.limit = self.max_output = self.choking = 1 << 62
        self.packet_timeout = self.reader_timeout = 0.0

    def configure(self, config: Config) -> None:
        """Take over what is configured."""
        self.limit = max(config.max_buffered, config.max_packet)
        self.max_output = config.max_output
        self.choking = config.max_output // 4
        self.packet_timeout, self.reader_timeout = config.packet_timeout, config.reader_timeout

    # Packets that have begun

    def begun(self, connection: Connection, anew: bool) -> None:
        """A packet has begun, or more of it has come; `anew` if others have come before it in this turn."""
        buffered = self._know(connection)
        if anew or not buffered.received:
            buffered.begun_at = self.hub.loop.time()
        self._count(buffered, connection.parser.unfinished, buffered.unread)
        if self.total > self.limit:
            self.relieve()

    def finished(self, connection: Connection) -> None:
        """No packet has begun."""
        buffered = self.known[connection]
        self._count(buffered, 0, buffered.unread)
        self._forget_idle(connection, buffered)

    # Answers that are not read

    def fell_behind(self, connection: Connection) -> None:
        """A peer leaves so many answers unread that it gets no more requests in."""
        self._know(connection).given = 0
        self.behind(connection)

    def behind(self, connection: Connection, more: int = 0) -> bool:
        """A peer leaves answers unread, and `more` bytes are to be added; return whether that is more than it may."""
        assert connection.transport is not None
        unread = connection.transport.get_write_buffer_size()
        buffered = self._know(connection)
        if not buffered.given:
            buffered.given, buffered.taken, buffered.taken_at = unread, 0, self.hub.loop.time()
        buffered.given += more
        self._count(buffered, buffered.received, unread)
        if unread > self.choking:
            self.choked[connection] = None
        if self.total > self.limit:
            self.relieve()
        return unread > self.max_output

    def caught_up(self, connection: Connection) -> None:
        """A peer has read most of its answers."""
        if buffered := connection.buffered:
            buffered.given = 0
            self._count(buffered, buffered.received, 0)
            self._free(connection, buffered)
            self._forget_idle(connection, buffered)

    def slow_down(self, producer: Connection, reader: Connection) -> None:
        """Read no more from a worker before the one that it produces for has read, or is dropped."""
        if reader in self.choked and producer is not reader:
            self.known[reader].producers[producer] = None
            producer.wait_for_reader()

    def _free(self, connection: Connection, buffered: Buffered) -> None:
        self.choked.pop(connection, None)
        producers, buffered.producers = buffered.producers, {}
        for producer in producers:
            producer.reader_is_ready()

    # Books

    def _know(self, connection: Connection) -> Buffered:
        buffered = connection.buffered
        if buffered is None:
            buffered = connection.buffered = self.known[connection] = Buffered()
        return buffered

    def _count(self, buffered: Buffered, received: int, unread: int) -> None:
        self.total += received + unread - buffered.size
        buffered.received, buffered.unread = received, unread

    def _forget_idle(self, connection: Connection, buffered: Buffered) -> None:
        if not buffered.size:
            self.forget(connection)

    def forget(self, connection: Connection) -> None:
        """A connection has nothing in memory any more."""
        buffered = self.known.pop(connection, None)
        if buffered is not None:
            connection.buffered = None
            self._count(buffered, 0, 0)
            self._free(connection, buffered)

    # Limits

    def relieve(self) -> None:
        """Drop those that have most in memory until all together have less than they may."""
        while self.total > self.limit:
            connection = max(self.known, key=lambda each: self.known[each].size)
            size = self.known[connection].size
            connection.drop("max_buffered", f"dropped with {size} bytes, the most of all connections")

    def sweep(self) -> None:
        """Drop who takes too long, to send or to read; called once a second."""
        now = self.hub.loop.time()
        for connection in [each for each in self.hub.connections if each.buffered is None]:
            if connection.transport is not None and connection.transport.get_write_buffer_size():
                self.behind(connection)
        patient = {watch.conn for watch in self.hub.watches}  # they may stop for as long as they like
        for connection, buffered in list(self.known.items()):
            if connection.buffered is not None and buffered.received:
                self._look_at_sender(connection, buffered, now)
            if connection.buffered is not None and buffered.given and connection not in patient:
                self._look_at_reader(connection, buffered, now)

    def _look_at_sender(self, connection: Connection, buffered: Buffered, now: float) -> None:
        if connection.paused:
            buffered.begun_at = now  # it is we who don't read
        allowed = self.packet_timeout * (1 + buffered.received // MIB)
        if allowed and now - buffered.begun_at > allowed:
            connection.drop(
                "packet_timeout",
                f"dropped, {buffered.received} bytes of a packet came in {now - buffered.begun_at:.0f} s",
            )

    def _look_at_reader(self, connection: Connection, buffered: Buffered, now: float) -> None:
        self.behind(connection)
        if connection.buffered is None:
            return
        taken = buffered.given - buffered.unread
        if not buffered.unread:
            self.caught_up(connection)
        elif taken > buffered.taken:
            buffered.taken, buffered.taken_at = taken, now
        elif self.reader_timeout and now - buffered.taken_at > self.reader_timeout and connection.paused & WRITE:
            connection.drop(
                "reader_timeout", f"dropped, it left {buffered.unread} bytes unread for {self.reader_timeout:g} s"
            )
