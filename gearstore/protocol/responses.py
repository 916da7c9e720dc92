"""Bytes to packets, for responses as a client or worker reads them. Pure: no socket, no clock, no meaning.

A server answers binary packets and text lines on the same connection; the first byte of each tells them apart.
"""

from __future__ import annotations

from gearstore.errors import ProtocolError
from gearstore.protocol.packets import (
    ERROR,
    HEADER,
    HEADER_SIZE,
    JOB_ASSIGN,
    JOB_ASSIGN_ALL,
    JOB_ASSIGN_UNIQ,
    RES,
    STATUS_RES,
    STATUS_RES_UNIQUE,
    TEXT,
    WORK_COMPLETE,
    WORK_DATA,
    WORK_EXCEPTION,
    WORK_STATUS,
    WORK_WARNING,
)

Packet = tuple[int, list[bytes]]

# Into how many pieces the body of a response is cut; types that are not here are one piece.
PARTS = {
    ERROR: 2,
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


class ResponseParser:
    """Collects what a server sends and cuts it into packets: type and pieces, or TEXT and a line with its end."""

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # so many bytes at the start have no line end

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    @property
    def empty(self) -> bool:
        """Whether nothing is left, not even the beginning of a packet."""
        return not self._buffer

    def take(self) -> Packet | None:
        """Return the next packet, None if it is not complete yet; raise ProtocolError for what is none."""
        buffer = self._buffer
        if not buffer:
            return None
        if buffer[0]:
            return self._take_line()
        if len(buffer) < HEADER_SIZE:
            return None
        magic, kind, size = HEADER.unpack_from(buffer)
        if magic != RES:
            raise ProtocolError("what came is neither a response nor text")
        end = HEADER_SIZE + size
        if len(buffer) < end:
            return None
        body = bytes(buffer[HEADER_SIZE:end])
        del buffer[:end]
        parts = PARTS.get(kind, 1)
        pieces = body.split(b"\0", parts - 1)
        # Servers pass on what workers send: a result without its NUL is an empty one.
        pieces.extend([b""] * (parts - len(pieces)))
        return kind, pieces

    def _take_line(self) -> Packet | None:
        """Return the next text line; what has been searched for its end is not searched again."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        self._searched = 0
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return TEXT, [line]
