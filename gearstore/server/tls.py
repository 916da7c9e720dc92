"""TLS between a socket and a connection: the connection's transport, and the protocol of the real one.

asyncio and uvloop bring a TLS of their own. With it a failed handshake is never heard of, and the answers of a peer
that has closed its half are lost; here both are as without TLS, on either loop.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from gearstore.protocol.packets import TLS_HELLO, error
from gearstore.server.access import admit, identify
from gearstore.tls import explain, names_of

if TYPE_CHECKING:
    from gearstore.server.connection import Connection

HANDSHAKE_TIMEOUT = 10.0  # seconds
CHUNK = 1 << 18
LARGEST_WRITE = 1 << 20  # bytes given to OpenSSL at a time, which counts in ints

SPEAKS_PLAIN = "it speaks plain text, and here only TLS is spoken"
# It is told so in its own language: an alert of TLS crashes libgearman's clients.
BINARY_ANSWER = error(b"TLS_REQUIRED", b"This address speaks TLS")
TEXT_ANSWER = b"ERR TLS_REQUIRED This address speaks TLS\r\n"


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """Takes TLS off what comes in and puts it on what goes out. The connection enters the hub at once, so that it
    counts like any other; it hears the first packet after the handshake."""

    def __init__(self, connection: Connection, context: ssl.SSLContext) -> None:
        super().__init__()
        self._connection = connection
        self._hub = connection.hub
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._real: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._greeted = False  # the first byte was one of TLS
        self._ready = False  # the handshake is over
        self._closed = False

    # The protocol of the real transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the connection in, and the peer begin."""
        self._real = cast(asyncio.Transport, transport)
        late = f"there was no TLS handshake within {HANDSHAKE_TIMEOUT:g} s"
        self._timer = self._hub.loop.call_later(HANDSHAKE_TIMEOUT, self._refuse, "late", late)
        self._connection.names = ()
        self._connection.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the connection go."""
        self._stop_waiting()
        self._connection.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand on what it says in clear, once there is a handshake."""
        if self._closed:
            return
        if not self._greeted:
            if data[0] != TLS_HELLO:
                self._real.write(BINARY_ANSWER if data[0] == 0 else TEXT_ANSWER)
                self._refuse(SPEAKS_PLAIN, SPEAKS_PLAIN)
                return
            self._greeted = True
        self._incoming.write(data)
        if self._ready or self._shake_hands():
            self._read()

    def eof_received(self) -> bool | None:
        """Its half is closed: the connection may have to answer still."""
        return self._connection.eof_received() if self._ready else False

    def pause_writing(self) -> None:
        """The peer reads too slowly."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The peer caught up."""
        self._connection.resume_writing()

    def _shake_hands(self) -> bool:
        """Go on with the handshake; return whether it is over and the peer may go on."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return False
        except ssl.SSLError as error:
            self._send()  # why
            reason = explain(error)
            self._refuse(f"handshake: {reason}", f"TLS handshake failed: {reason}")
            return False
        self._send()
        self._stop_waiting()
        self._ready = True
        identify(self._connection, names_of(self._tls.getpeercert()))
        return admit(self._connection)

    def _read(self) -> None:
        """Hand on everything that can be read."""
        chunks: list[bytes] = []
        ended = False
        try:
            while chunk := self._tls.read(CHUNK):
                chunks.append(chunk)
            ended = True  # it has said good-bye
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # after we have
            ended = True
        except ssl.SSLError as error:
            self._refuse("broken", f"TLS is broken: {explain(error)}")
            return
        self._send()
        if chunks:
            self._connection.data_received(b"".join(chunks))
        if ended:
            self._connection.eof_received()

    def _send(self) -> None:
        """Send what OpenSSL has to say."""
        if self._outgoing.pending and not self._real.is_closing():
            self._real.write(self._outgoing.read())

    def _refuse(self, kind: str, reason: str) -> None:
        """Close, and say why in the log."""
        address = self._connection.address.decode()
        self._hub.seldom.warn(f"tls: {kind}", "closed the connection of %s: %s", address, reason)
        self._stop_waiting()
        self._closed = True
        if self._ready:
            self._real.abort()  # what is left of its answers could wait for ever
        else:
            self._real.close()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The connection's transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        if self._closed or not self._ready:
            return
        view = memoryview(data)
        try:
            for start in range(0, len(view), LARGEST_WRITE):
                self._tls.write(view[start : start + LARGEST_WRITE])
        except ssl.SSLError as error:
            self._refuse("broken", f"TLS is broken: {explain(error)}")
            return
        self._send()

    def close(self) -> None:
        """Say good-bye, and close when everything is sent."""
        if self._ready and not self._closed:
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._send()
        self._closed = True
        self._real.close()

    def abort(self) -> None:
        """Close at once."""
        self._closed = True
        self._real.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._closed or self._real.is_closing()

    def pause_reading(self) -> None:
        """Take nothing more."""
        self._real.pause_reading()

    def resume_reading(self) -> None:
        """Take more."""
        self._real.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the connection is told that its peer reads too slowly."""
        self._real.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return how much is not sent yet."""
        return self._real.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the real transport knows."""
        return self._real.get_extra_info(name, default)
