"""One connection that blocks: bytes out, packets and lines in. For programs that can't wait for asyncio to be loaded.

There is no time limit on answers: a server with a slow disk is waited for, one that vanished is noticed by keepalive.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self

from gearstore.address import Address
from gearstore.client import core
from gearstore.client.errors import Unreachable
from gearstore.errors import ProtocolError
from gearstore.protocol.packets import ERROR, TEXT, TLS_ALERT
from gearstore.protocol.responses import Packet, ResponseParser

if TYPE_CHECKING:
    import ssl

CONNECT_TIMEOUT = 10.0
CHUNK = 1 << 16
# A peer that vanished without a word is noticed after two minutes, be the connection idle or not (milliseconds).
KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
UNACKNOWLEDGED = 120_000


class Connection:
    """One connection to a server; use it in a `with`. Any failure of it is Unreachable."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None = None) -> None:
        self.server = str(address)
        self._parser = ResponseParser()
        try:
            self._socket = open_socket(address, tls)
        except OSError as error:
            raise Unreachable(f"no server at {address}: {reason_of(error)}") from error
        self._pending: Callable[[], int] | None = getattr(self._socket, "pending", None)  # of a TLS socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes. That the server is gone shows at the next answer, before which it may give its reason."""
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def receive(self) -> Packet:
        """Return type and pieces of the next packet."""
        kind, pieces = self._next()
        if kind == TEXT:
            raise core.not_gearman(self.server)
        return kind, pieces

    def wait(self, other: int) -> bool:
        """Wait for the server or for the file descriptor `other`; return whether only the server has something."""
        if not self._parser.empty or (self._pending and self._pending()):
            return True
        poll = select.poll()  # select() knows no file descriptor beyond 1023
        poll.register(self._socket, select.POLLIN)
        poll.register(other, select.POLLIN)
        return other not in dict(poll.poll())

    def lines(self, command: bytes) -> Iterator[bytes]:
        """Send a text command and yield the lines of its answer, up to the one that holds a dot."""
        self.send(command + b"\n")
        while (line := core.checked_line(self._line(), self.server)) is not None:
            yield line

    def text(self, command: bytes) -> bytes:
        """Return the whole answer to a text command, as it came."""
        return b"".join(self.lines(command)) + b".\n"

    def manage(self, verb: str, request: core.Row | None = None) -> Iterator[core.Row]:
        """Ask for one of gearstore's own verbs and yield the objects of the answer."""
        for line in self.lines(core.manage_request(verb, request)):
            yield core.row_of(line, self.server)

    def _line(self) -> bytes:
        return core.line_of(*self._next(), self.server)

    def _next(self) -> Packet:
        """Return the next packet or line; wait for it."""
        try:
            while (packet := self._parser.take()) is None:
                self._parser.feed(self._read())
        except ProtocolError:
            raise core.not_gearman(self.server) from None
        if packet[0] == ERROR and packet[1][0] == core.TLS_REQUIRED:
            raise core.wants_tls(self.server)
        return packet

    def _read(self) -> bytes:
        try:
            data = self._socket.recv(CHUNK)
        except OSError as error:
            raise Unreachable(f"connection to {self.server} lost: {reason_of(error)}") from None
        if not data:
            raise Unreachable(f"the server at {self.server} closed the connection")
        if self._parser.empty and data.startswith(TLS_ALERT[:2]):
            raise core.wants_tls(self.server)
        return data


def reason_of(error: BaseException) -> str:
    """Return in words why the system failed; asyncio puts addresses in their place."""
    if isinstance(error, OSError) and is_of_tls(error):
        from gearstore.tls import explain

        return explain(error)
    if isinstance(error, OSError) and error.errno and (isinstance(error, ConnectionError) or type(error) is OSError):
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def is_of_tls(error: BaseException | None) -> bool:
    """Whether the failure is one of TLS: there is somebody, but with other certificates, or none."""
    return type(error).__module__ == "ssl"


def open_socket(address: Address, tls: ssl.SSLContext | None = None) -> socket.socket:
    """Return a connected socket without a time limit."""
    if address.path:
        return open_unix_socket(address.path)
    host = address.host or "127.0.0.1"
    connected = socket.create_connection((host, address.port), CONNECT_TIMEOUT)
    try:
        keep_alive(connected)
        if tls is not None:
            connected = tls.wrap_socket(connected, server_hostname=host)
    except OSError:
        connected.close()
        raise
    connected.settimeout(None)
    return connected


def open_unix_socket(path: str) -> socket.socket:
    """Return a socket connected to a path."""
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.connect(path)
    except OSError:
        connected.close()
        raise
    return connected


def keep_alive(connected: socket.socket) -> None:
    """Send at once what is to be sent, and let the kernel notice a peer that vanished."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
    for option, value in KEEPALIVE.items():
        connected.setsockopt(socket.IPPROTO_TCP, option, value)
