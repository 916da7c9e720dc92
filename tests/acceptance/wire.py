"""A raw Gearman connection in the protocol's own words: send packets, expect packets.

It takes nothing from the server's code, so that the two cannot be wrong in the same way.
"""

import enum
import socket
import struct
from types import TracebackType

from tests.acceptance.servers import HOST

HEADER = struct.Struct(">4sII")


class PacketType(enum.IntEnum):
    """The packet types that the tests use, with the numbers of the protocol document."""

    CAN_DO = 1
    PRE_SLEEP = 4
    NOOP = 6
    SUBMIT_JOB = 7
    JOB_CREATED = 8
    GRAB_JOB = 9
    NO_JOB = 10
    JOB_ASSIGN = 11
    WORK_STATUS = 12
    WORK_COMPLETE = 13
    WORK_FAIL = 14
    GET_STATUS = 15
    ECHO_REQ = 16
    ECHO_RES = 17
    SUBMIT_JOB_BG = 18
    ERROR = 19
    STATUS_RES = 20
    WORK_EXCEPTION = 25
    WORK_DATA = 28
    GRAB_JOB_UNIQ = 30
    JOB_ASSIGN_UNIQ = 31
    SUBMIT_JOB_HIGH_BG = 32
    SUBMIT_JOB_LOW_BG = 34
    SUBMIT_JOB_EPOCH = 36
    SUBMIT_REDUCE_JOB_BACKGROUND = 38
    GRAB_JOB_ALL = 39
    JOB_ASSIGN_ALL = 40


# How many arguments a response has, where it is not one.
ARGUMENTS = {
    PacketType.JOB_ASSIGN: 3,
    PacketType.JOB_ASSIGN_UNIQ: 4,
    PacketType.JOB_ASSIGN_ALL: 5,
    PacketType.STATUS_RES: 5,
    PacketType.WORK_COMPLETE: 2,
    PacketType.ERROR: 2,
}

Packet = tuple[PacketType, list[bytes]]


def request(packet_type: PacketType, *arguments: bytes) -> bytes:
    """Return the bytes of a request."""
    body = b"\0".join(arguments)
    return HEADER.pack(b"\0REQ", packet_type, len(body)) + body


class Connection:
    """A connection to the server, as client, as worker, or both."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, packet_type: PacketType, *arguments: bytes) -> None:
        """Send one request."""
        self.send_bytes(request(packet_type, *arguments))

    def send_bytes(self, requests: bytes) -> None:
        """Send several requests in one write."""
        self.socket.sendall(requests)

    def receive(self) -> Packet:
        """Return the next response; raise ConnectionError when the server has gone."""
        magic, number, size = HEADER.unpack(self.take(HEADER.size))
        assert magic == b"\0RES", magic
        packet_type = PacketType(number)
        return packet_type, self.take(size).split(b"\0", ARGUMENTS.get(packet_type, 1) - 1)

    def take(self, size: int) -> bytes:
        """Return exactly so many bytes of what the server sent."""
        while len(self.buffer) < size:
            received = self.socket.recv(65536)
            if not received:
                raise ConnectionResetError("closed by the server")
            self.buffer += received
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    def expect(self, packet_type: PacketType, *arguments: bytes) -> list[bytes]:
        """Receive a response of this type, with these arguments where any are given; return its arguments."""
        received = self.receive()
        assert received[0] == packet_type, f"{received} instead of {packet_type.name}"
        assert not arguments or received[1] == list(arguments), f"{received[1]} instead of {arguments}"
        return received[1]
