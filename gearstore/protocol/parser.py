"""Bytes to packets, for requests as a server reads them. Pure: no socket, no clock, no meaning.

A connection may mix binary packets and text lines freely; the first byte of each tells them apart (gearmand does
the same). The parser never raises on what a peer sent: `error` says that framing is lost, after the packets that
came before it have been taken.
"""

from __future__ import annotations

from struct import Struct

from gearstore.errors import ProtocolError
from gearstore.protocol.packets import (
    HEADER_SIZE,
    LAST_TYPE,
    LAYOUTS,
    MALFORMED,
    REQ,
    RES,
    SUBMIT_REDUCE_JOB,
    SUBMIT_REDUCE_JOB_BACKGROUND,
    TEXT,
    TLS_HELLO,
    WRONG_MAGIC,
    Layout,
    PacketType,
)

Packet = tuple[int, list[bytes]]

MAX_LINE = 8192  # bytes of a text line as in gearmand, its line end included
MAX_MANAGEMENT_LINE = 65536  # at least
MANAGEMENT = b"gearstore "
SPEAKS_TLS = "it speaks TLS, and here nobody does (the addresses that begin with tls: do)"

# The header with its magic as a number: three numbers are cheaper to unpack and compare than bytes.
_HEADER = Struct(">III")
_REQ, _RES = (int.from_bytes(magic, "big") for magic in (REQ, RES))

NOT_A_REQUEST = -1
_OTHERS = (5, 6, 8, 10, 11, 17, 19, 20, 24, 27, 31, 40, 42)  # known types that only a server sends, or nobody


def _layout(kind: int) -> Layout | None:
    return LAYOUTS.get(kind) or (Layout(NOT_A_REQUEST, 0) if kind in _OTHERS else None)


# By type, None for types that nobody knows. Tuples indexed by type: a tenth of
# the time of an enum (benchmarks/README.md, "parser").
_LAYOUTS = tuple(map(_layout, range(LAST_TYPE + 1)))
_PARTS = tuple(NOT_A_REQUEST if layout is None else layout.parts for layout in _LAYOUTS)
_AT_LEAST = tuple(0 if layout is None else layout.at_least for layout in _LAYOUTS)
_REDUCE = (SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND)


class PacketParser:
    """Collects what a connection receives and cuts it into packets.

    `feed` takes bytes, `take` returns packets; `error` is set once framing is lost and stays. Work is O(bytes), also
    for a packet that arrives in many pieces, and memory is what was received, never what a header announced.
    """

    __slots__ = ("_offset", "_pieces", "error", "max_line", "max_packet", "missing", "rest")

    def __init__(self, max_packet: int, max_line: int = MAX_LINE) -> None:
        self.max_packet = max_packet
        self.max_line = max_line
        self.error: ProtocolError | None = None
        self.rest = b""  # from `_offset` on: what `take` has not returned
        self._offset = 0
        self.missing = 0  # bytes until the end of the packet that has begun in `_pieces`, 0 if none has
        self._pieces = bytearray()  # (a list could take thirty times the memory, if each piece is a byte or two)

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        if self.missing:
            self._pieces += data
            self.missing -= len(data)
            if self.missing > 0:
                return
            self.missing = 0
            self.rest = bytes(self._pieces)
            self._pieces = bytearray()
        elif self._offset < len(self.rest):
            self.rest = self.rest[self._offset :] + data
        else:
            self.rest = data
        self._offset = 0

    @property
    def unfinished(self) -> int:
        """Bytes received that `take` has not returned: of a packet or line that is not complete yet, mostly."""
        return len(self._pieces) if self.missing else len(self.rest) - self._offset

    def forget(self) -> None:
        """Let all bytes go."""
        self.rest, self._offset, self._pieces, self.missing = b"", 0, bytearray(), 0

    def take(self, limit: int) -> list[Packet]:
        """Return up to `limit` complete packets; fewer means that there are no more for now."""
        packets: list[Packet] = []
        if self.missing or self.error is not None:
            return packets
        buffer, offset = self.rest, self._offset
        end = len(buffer)
        while offset < end and limit:
            if buffer[offset]:
                line_end = self._line_end(buffer, offset, end)
                if line_end < 0:
                    break
                packets.append((TEXT, [buffer[offset:line_end].removesuffix(b"\r")]))
                offset = line_end + 1
                limit -= 1
                continue
            start = offset + HEADER_SIZE
            if end < start:
                break
            magic, kind, size = _HEADER.unpack_from(buffer, offset)
            parts = _PARTS[kind] if magic == _REQ and kind <= LAST_TYPE else NOT_A_REQUEST
            if (parts == NOT_A_REQUEST or size > self.max_packet) and not self._tolerated(magic, kind, size):
                break
            stop = start + size
            if end < stop:
                self._pieces += memoryview(buffer)[offset:]
                self.missing = stop - end
                offset = end
                break
            offset = stop
            limit -= 1
            if parts > 1:
                args = buffer[start:stop].split(b"\0", parts - 1)
                packets.append((kind, args) if len(args) == parts else _lenient(kind, args, parts))
            elif parts >= 0:
                packets.append((kind, [buffer[start:stop]] if parts else []))
            else:
                packets.append((kind if magic == _REQ else WRONG_MAGIC, []))
        self.rest, self._offset = (buffer, offset) if offset < end else (b"", 0)
        return packets

    def _line_end(self, buffer: bytes, offset: int, end: int) -> int:
        """Return where the text line at `offset` ends, -1 if it doesn't yet (or is too long: see `error`)."""
        if buffer[offset] == TLS_HELLO:
            self.error = ProtocolError(SPEAKS_TLS)
            return -1
        limit = self.max_line
        if buffer.startswith(MANAGEMENT, offset):
            limit = max(limit, MAX_MANAGEMENT_LINE)
        position = buffer.find(b"\n", offset, offset + limit)
        if position < 0 and end - offset >= limit:
            self.error = ProtocolError(f"a text line is longer than {limit} bytes", limit="max_line")
        return position

    def _tolerated(self, magic: int, kind: int, size: int) -> bool:
        """Say whether a frame that is no plain request can be skipped; if not, set `error`."""
        if magic not in (_REQ, _RES):
            self.error = ProtocolError("the magic is neither that of a request nor of a response")
        elif kind > LAST_TYPE or _LAYOUTS[kind] is None:
            self.error = ProtocolError(f"packet type {kind} is unknown")
        elif size > self.max_packet:
            self.error = ProtocolError(
                f"a packet of {size} bytes is larger than --max-packet {self.max_packet}",
                code=b"ARGUMENT_TOO_LARGE",
                limit="max_packet",
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
