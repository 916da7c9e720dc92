"""A blocking client of the Gearman port: packets, text commands and gearstore's management verbs.

It knows addresses and bytes. What an answer means to the user, the commands decide. There is no time limit on answers:
a server with a slow disk is waited for, and one that vanished is noticed by keepalive.
"""

import json
import select
import socket
from collections.abc import Iterator
from typing import Any

from gearstore.address import Address, parse_address
from gearstore.protocol.packets import (
    ECHO_RES,
    ERROR,
    HEADER,
    JOB_ASSIGN,
    JOB_ASSIGN_ALL,
    JOB_ASSIGN_UNIQ,
    RES,
    STATUS_RES,
    STATUS_RES_UNIQUE,
    WORK_COMPLETE,
    WORK_DATA,
    WORK_EXCEPTION,
    WORK_STATUS,
    WORK_WARNING,
)

from .errors import CommandError, NotGearstore, Refused, Unreachable, UsageError

Row = dict[str, Any]
Packet = tuple[int, list[bytes]]

CONNECT_TIMEOUT = 10.0
KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
CHUNK = 65536

# Into how many pieces the body of a response is cut; types that are not here are one piece.
PARTS = {
    ERROR: 2,
    ECHO_RES: 1,
    JOB_ASSIGN: 3,
    JOB_ASSIGN_UNIQ: 4,
    JOB_ASSIGN_ALL: 5,
    STATUS_RES: 5,
    STATUS_RES_UNIQUE: 6,
    WORK_COMPLETE: 2,
    WORK_DATA: 2,
    WORK_EXCEPTION: 2,
    WORK_STATUS: 3,
    WORK_WARNING: 2,
}
# What the code in `ERR code text` becomes. A server that is not gearstore doesn't know its verbs.
FAILURES: dict[str, type[CommandError]] = {
    "not_found": CommandError,
    "usage": UsageError,
    "refused": Refused,
    "store": Refused,
    "UNKNOWN_COMMAND": NotGearstore,
}


def text_of(data: bytes) -> str:
    """Return bytes of the wire as text, so that they can be turned back into the same bytes."""
    return data.decode("utf-8", "surrogateescape")


def encode_request(request: Row) -> bytes:
    """Return a request of the management protocol on one line.

    Spaces are escaped: a gearmand closes the connection on a line of more than five words instead of answering.
    """
    return json.dumps(request, separators=(",", ":")).replace(" ", "\\u0020").encode()


class Connection:
    """One connection to a server; use it in a `with`."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._buffer = bytearray()
        address = address_of(server)
        try:
            self._socket = open_socket(address)
        except OSError as error:
            reason = error.strerror or str(error)
            raise Unreachable(f"no server at {server}: {reason}; is it running? (--server names another)") from None

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes. That the server is gone shows at the next answer, before which it may give its reason."""
        try:
            self._socket.sendall(data)
        except OSError:
            pass

    def receive(self) -> Packet:
        """Return type and pieces of the next packet."""
        magic, kind, size = HEADER.unpack(self._take(HEADER.size))
        if magic != RES:
            raise Unreachable(f"{self.server} does not speak Gearman")
        return kind, self._take(size).split(b"\0", PARTS.get(kind, 1) - 1)

    def wait(self, other: int) -> bool:
        """Wait for the server or for the file descriptor `other`; return whether only the server has something."""
        if self._buffer:
            return True
        poll = select.poll()  # select() knows no file descriptor beyond 1023
        poll.register(self._socket, select.POLLIN)
        poll.register(other, select.POLLIN)
        return other not in dict(poll.poll())

    def lines(self, command: bytes) -> Iterator[bytes]:
        """Send a text command and yield the lines of its answer, up to the one that holds a dot."""
        self.send(command + b"\n")
        while (line := self._take_line()) != b".\n":
            # A function may be named `ERR x`: its row has tabs.
            if line.startswith(b"ERR ") and b"\t" not in line:
                raise self._failure(line)
            yield line

    def text(self, command: bytes) -> bytes:
        """Return the whole answer to a text command, as it came."""
        return b"".join(self.lines(command)) + b".\n"

    def manage(self, verb: str, request: Row | None = None) -> Iterator[Row]:
        """Ask for one of gearstore's own verbs and yield the objects of the answer."""
        for line in self.lines(b"gearstore %s %s" % (verb.encode(), encode_request(request or {}))):
            try:
                yield json.loads(line)
            except ValueError:
                raise Unreachable(f"{self.server} does not speak Gearman") from None

    def _failure(self, line: bytes) -> CommandError:
        """Return the exception for a line `ERR code text`."""
        _, code, text = (text_of(line).strip() + " ").split(" ", 2)
        failure = FAILURES.get(code, Refused)
        if failure is NotGearstore:
            return NotGearstore(f"the server at {self.server} is not gearstore: it does not know this command")
        return failure(text.strip() or code)

    def _take(self, size: int) -> bytes:
        """Return the next bytes."""
        while len(self._buffer) < size:
            self._fill()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _take_line(self) -> bytes:
        """Return the next line with its end."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            self._fill()
        return self._take(end + 1)

    def _fill(self) -> None:
        """Wait for more bytes."""
        try:
            data = self._socket.recv(CHUNK)
        except OSError as error:
            raise Unreachable(f"connection to {self.server} lost: {error.strerror}") from None
        if not data:
            raise Unreachable(f"the server at {self.server} closed the connection")
        self._buffer += data


def address_of(server: str) -> Address:
    """Return the address that the user named; raise UsageError if it is none."""
    try:
        return parse_address(server)
    except ValueError as error:
        raise UsageError(f"--server: {error}") from None


def open_socket(address: Address) -> socket.socket:
    """Return a connected socket without a time limit."""
    if address.path:
        return open_unix_socket(address.path)
    connected = socket.create_connection((address.host or "127.0.0.1", address.port), CONNECT_TIMEOUT)
    connected.settimeout(None)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        connected.setsockopt(socket.IPPROTO_TCP, option, value)
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
