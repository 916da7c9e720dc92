"""The protocol's voice for tests: `client.send(SUBMIT_JOB_BG, b"f", b"u", b"w")`, `client.expect(JOB_CREATED, handle)`.

It cuts and joins packets by itself, without gearstore's own parser, and never sleeps: it reads until its timeout.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from itertools import count
from struct import Struct
from typing import Any

from gearstore.protocol.packets import ECHO_REQ, ECHO_RES, JOB_CREATED, PacketType

HEADER = Struct(">4sII")
TIMEOUT = 60.0  # seconds until an answer is missing, on a busy machine as well

# Pieces of a response, where it is not one.
PIECES = {
    PacketType.JOB_ASSIGN: 3,
    PacketType.JOB_ASSIGN_UNIQ: 4,
    PacketType.JOB_ASSIGN_ALL: 5,
    PacketType.WORK_STATUS: 3,
    PacketType.WORK_COMPLETE: 2,
    PacketType.WORK_DATA: 2,
    PacketType.WORK_WARNING: 2,
    PacketType.WORK_EXCEPTION: 2,
    PacketType.STATUS_RES: 5,
    PacketType.STATUS_RES_UNIQUE: 6,
    PacketType.ERROR: 2,
}
EMPTY = (PacketType.NOOP, PacketType.NO_JOB)

Connect = Callable[[], "Wire"]

_tokens = count(1)


def packet(kind: int, *args: bytes, magic: bytes = b"\0REQ") -> bytes:
    """Return the bytes of a packet."""
    body = b"\0".join(args)
    return HEADER.pack(magic, kind, len(body)) + body


class Wire:
    """One connection to the server: as client, worker or admin, as its packets say."""

    def __init__(self, address: tuple[str, int] | str, tls: ssl.SSLContext | None = None) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT)
        try:
            self.socket.connect(address)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except OSError:
            self.socket.close()
            raise
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    # Sending

    def send(self, kind: int, *args: bytes) -> None:
        """Send a request."""
        self.socket.sendall(packet(kind, *args))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    # Receiving

    def take(self, size: int) -> bytes:
        """Return the next bytes that the server sent."""
        while len(self.buffer) < size:
            self._fill()
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def receive(self) -> tuple[PacketType, bytes]:
        """Return type and body of the next response."""
        magic, kind, size = HEADER.unpack(self.take(HEADER.size))
        assert magic == b"\0RES", f"no response: {magic!r} {kind} {bytes(self.buffer[:200])!r}"
        return PacketType(kind), self.take(size)

    def expect(self, wanted: PacketType, *args: bytes) -> list[bytes]:
        """Receive a response of this type, with exactly these bytes if any are given; return its arguments."""
        kind, body = self.receive()
        assert kind is wanted, f"{kind.name} {body[:200]!r} instead of {wanted.name} {args}"
        if args or wanted in EMPTY:
            assert body == b"\0".join(args), f"{wanted.name} {body[:200]!r} instead of {args}"
        return body.split(b"\0", PIECES.get(wanted, 1) - 1)

    def expect_nothing(self) -> None:
        """Assert that the server has nothing more to say, by an echo that must be the next answer."""
        token = b"nothing %d" % next(_tokens)
        self.send(ECHO_REQ, token)
        self.expect(ECHO_RES, token)

    def expect_closed(self) -> None:
        """Assert that the server closes the connection without another byte."""
        try:
            self._fill()
        except ConnectionError:
            pass
        assert not self.buffer, bytes(self.buffer[:200])

    def _fill(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionResetError(f"closed by the server; left: {bytes(self.buffer[:200])!r}")
        self.buffer += data

    # Phrases

    def ask(self, kind: int, *args: bytes) -> tuple[PacketType, bytes]:
        """Send a request and return the next response."""
        self.send(kind, *args)
        return self.receive()

    def submit(self, kind: int, *args: bytes) -> bytes:
        """Send a submit and return the handle of its JOB_CREATED."""
        self.send(kind, *args)
        return self.expect(JOB_CREATED)[0]

    def line(self) -> bytes:
        """Return the next line of the text protocol with its end."""
        while (end := self.buffer.find(b"\n") + 1) == 0:
            self._fill()
        return self.take(end)

    def table(self) -> bytes:
        """Return lines up to the one that holds a dot, that one included."""
        lines = [self.line()]
        while lines[-1] != b".\n":
            lines.append(self.line())
        return b"".join(lines)

    def text(self, command: bytes) -> bytes:
        """Send a command of the text protocol; return its whole answer: one line of OK or ERR, or a table."""
        self.send_bytes(command + b"\r\n")
        first = self.line()
        return first if first == b".\n" or first.startswith((b"OK", b"ERR")) else first + self.table()

    def rows(self, command: bytes) -> list[list[bytes]]:
        """Return the rows of a table of the text protocol, cut at tabs."""
        answer = self.text(command)
        assert answer.endswith(b".\n"), answer
        return [row.split(b"\t") for row in answer[:-2].split(b"\n")[:-1]]

    def status(self, function: bytes) -> tuple[int, int, int] | None:
        """Return total, running, workers of a function in `status`, None if it is not there."""
        for name, *numbers in self.rows(b"status"):
            if name == function:
                total, running, workers = map(int, numbers)
                return total, running, workers
        return None

    def manage_raw(self, line: bytes) -> tuple[list[dict[str, Any]], str]:
        """Send a line of the management protocol; return its objects and the line that ended them."""
        self.send_bytes(line + b"\n")
        objects = []
        while not (answer := self.line()).startswith((b".", b"ERR ")):
            objects.append(json.loads(answer))
        return objects, answer.decode("utf-8", "surrogateescape").removesuffix("\n")

    def manage(self, verb: str, **request: Any) -> list[dict[str, Any]]:
        """Ask for a verb that must succeed; return its objects."""
        objects, end = self.manage_raw(b"gearstore %s %s" % (verb.encode(), json.dumps(request).encode()))
        assert end == ".", end
        return objects

    def refused(self, verb: str, **request: Any) -> str:
        """Ask for a verb that must fail at once; return the `ERR` line."""
        objects, end = self.manage_raw(b"gearstore %s %s" % (verb.encode(), json.dumps(request).encode()))
        assert end.startswith("ERR ") and not objects, (objects, end)
        return end

    def show(self, handle: bytes, **request: bool) -> dict[str, Any]:
        """Return what the server knows of one job, with everything before it on disk."""
        (job,) = self.manage("show", handles=[handle.decode()], **request)
        return job

    # Ending

    def leave(self) -> None:
        """End the connection and wait until the server has taken note of it."""
        self.socket.shutdown(socket.SHUT_WR)
        self.expect_closed()
        self.close()

    def close(self) -> None:
        """Close without waiting."""
        self.socket.close()

    def reset(self) -> None:
        """Cut the connection with a RST, as a machine does that crashed and came back."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, Struct("ii").pack(1, 0))
        self.socket.close()
