"""Bytes to packets, for requests as a server reads them. Pure: no socket, no clock, no meaning.

A connection may mix binary packets and text lines freely; the first byte of each tells them apart (gearmand does
the same). The parser never raises on what a peer sent: `error` says that framing is lost, after the packets that
came before it have been taken.
"""

from __future__ import annotations

from gearstore.errors import ProtocolError
from gearstore.protocol.packets import (
    HEADER,
    HEADER_SIZE,
    LAST_TYPE,
    LAYOUTS,
    MALFORMED,
    REQ,
    RES,
    SUBMIT_REDUCE_JOB,
    SUBMIT_REDUCE_JOB_BACKGROUND,
    TEXT,
    WRONG_MAGIC,
    PacketType,
)

Packet = tuple[int, list[bytes]]

MAX_LINE = 8192  # as in gearmand, its line end included
MAX_MANAGEMENT_LINE = 65536
MANAGEMENT = b"gearstore "

# By type: the number of pieces and of the fewest pieces; -1 where the body is not looked into. Tuples indexed by
# type: 12 ns a look-up against 300 for an enum (benchmarks/README.md, "parser").
_PARTS = tuple(LAYOUTS[t].parts if t in LAYOUTS else -1 for t in range(LAST_TYPE + 1))
_AT_LEAST = tuple(LAYOUTS[t].at_least if t in LAYOUTS else -1 for t in range(LAST_TYPE + 1))
_KNOWN = tuple(t in LAYOUTS or t in (5, 6, 8, 10, 11, 17, 19, 20, 24, 27, 31, 40, 42) for t in range(LAST_TYPE + 1))
_REDUCE = (SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND)


class PacketParser:
    """Collects what a connection receives and cuts it into packets.

    `feed` takes bytes, `take` returns packets; `error` is set once framing is lost and stays. Work is O(bytes), also
    for a packet that arrives in many pieces, and memory is what was received, never what a header announced.
    """

    __slots__ = ("_buffer", "_chunks", "_missing", "_offset", "error", "max_packet")

    def __init__(self, max_packet: int) -> None:
        self.max_packet = max_packet
        self.error: ProtocolError | None = None
        self._buffer = b""
        self._offset = 0
        self._chunks: list[bytes] = []  # pieces of a packet whose end is still `_missing` bytes away
        self._missing = 0

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        if self._missing:
            self._chunks.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            self._missing = 0
            self._buffer = b"".join(self._chunks)
            self._chunks = []
        elif self._offset < len(self._buffer):
            self._buffer = self._buffer[self._offset :] + data
        else:
            self._buffer = data
        self._offset = 0

    @property
    def unfinished(self) -> int:
        """Bytes received of a packet or line that is not complete yet."""
        return sum(map(len, self._chunks)) if self._missing else len(self._buffer) - self._offset

    def take(self, limit: int) -> list[Packet]:
        """Return up to `limit` complete packets; fewer means that there are no more for now."""
        packets: list[Packet] = []
        if self._missing or self.error is not None:
            return packets
        buffer, offset = self._buffer, self._offset
        end = len(buffer)
        while offset < end and len(packets) < limit:
            if buffer[offset]:
                line_end = self._line_end(buffer, offset, end)
                if line_end < 0:
                    break
                packets.append((TEXT, [buffer[offset:line_end].removesuffix(b"\r")]))
                offset = line_end + 1
                continue
            start = offset + HEADER_SIZE
            if end < start:
                break
            magic, kind, size = HEADER.unpack_from(buffer, offset)
            if magic != REQ or kind > LAST_TYPE or not _KNOWN[kind] or size > self.max_packet:
                if not self._tolerated(magic, kind, size):
                    break
            stop = start + size
            if end < stop:
                self._chunks = [buffer[offset:]]
                self._missing = stop - end
                buffer, offset, end = b"", 0, 0
                break
            offset = stop
            parts = _PARTS[kind]
            if magic != REQ:
                packets.append((WRONG_MAGIC, []))
            elif parts <= 0:
                packets.append((kind, []))
            else:
                args = buffer[start:stop].split(b"\0", parts - 1) if parts > 1 else [buffer[start:stop]]
                packets.append((kind, args) if len(args) == parts else _lenient(kind, args, parts))
        self._buffer, self._offset = (buffer, offset) if offset < end else (b"", 0)
        return packets

    def _line_end(self, buffer: bytes, offset: int, end: int) -> int:
        """Return where the text line at `offset` ends, -1 if it doesn't yet (or is too long: see `error`)."""
        limit = MAX_MANAGEMENT_LINE if buffer.startswith(MANAGEMENT, offset) else MAX_LINE
        position = buffer.find(b"\n", offset, offset + limit)
        if position < 0 and end - offset >= limit:
            self.error = ProtocolError(f"a text line is longer than {limit} bytes")
        return position

    def _tolerated(self, magic: bytes, kind: int, size: int) -> bool:
        """Say whether a frame that is no plain request can be skipped; if not, set `error`."""
        if magic not in (REQ, RES):
            self.error = ProtocolError("the magic is neither that of a request nor of a response")
        elif kind > LAST_TYPE or not _KNOWN[kind]:
            self.error = ProtocolError(f"packet type {kind} is unknown")
        elif size > self.max_packet:
            self.error = ProtocolError(
                f"a packet of {size} bytes is larger than --max-packet {self.max_packet}",
                code=b"ARGUMENT_TOO_LARGE",
            )
        return self.error is None


def _lenient(kind: int, args: list[bytes], parts: int) -> Packet:
    """Return a packet that has fewer arguments than it should, filled up if it is one of the forms that are known."""
    if len(args) < _AT_LEAST[kind]:
        return MALFORMED, [PacketType(kind).name.encode()]
    if kind in _REDUCE:
        args.insert(3, b"")  # the documented form: no unused fourth argument before the data
    args.extend([b""] * (parts - len(args)))
    return kind, args
