"""Responses and lines, cut at every byte."""

import pytest

from gearstore.errors import ProtocolError
from gearstore.protocol.packets import (
    ECHO_RES,
    JOB_ASSIGN_UNIQ,
    NOOP,
    STATUS_RES,
    TEXT,
    WORK_COMPLETE,
    WORK_FAIL,
    WORK_STATUS,
    request,
    response,
)
from gearstore.protocol.responses import Packet, ResponseParser

STREAM = (
    response(JOB_ASSIGN_UNIQ, b"H:h:1", b"f", b"", b"a\0b\0")
    + b"f\xff\t1\t0\t0\n"
    + response(NOOP)
    + response(STATUS_RES, b"H:h:1", b"1", b"0", b"0", b"0")
    + b".\r\n"
    + response(WORK_FAIL, b"H:h:1\0")
    + response(ECHO_RES, b"x\0\ny")
)
PACKETS: list[Packet] = [
    (JOB_ASSIGN_UNIQ, [b"H:h:1", b"f", b"", b"a\0b\0"]),
    (TEXT, [b"f\xff\t1\t0\t0\n"]),
    (NOOP, [b""]),
    (STATUS_RES, [b"H:h:1", b"1", b"0", b"0", b"0"]),
    (TEXT, [b".\r\n"]),
    (WORK_FAIL, [b"H:h:1\0"]),
    (ECHO_RES, [b"x\0\ny"]),
]


def parse(*chunks: bytes) -> list[Packet]:
    """Return the packets that these chunks make."""
    parser = ResponseParser()
    packets = []
    for chunk in chunks:
        parser.feed(chunk)
        while (packet := parser.take()) is not None:
            packets.append(packet)
    assert parser.empty
    return packets


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_packets_come_out_whole_wherever_they_are_cut(cut: int) -> None:
    assert parse(STREAM[:cut], STREAM[cut:]) == PACKETS


def test_byte_by_byte() -> None:
    assert parse(*(bytes([byte]) for byte in STREAM)) == PACKETS


def test_a_large_packet_in_pieces() -> None:
    packet = response(WORK_COMPLETE, b"H:h:1", b"\0" * 3_000_000)
    chunks = [packet[start : start + 65536] for start in range(0, len(packet), 65536)]
    assert parse(*chunks) == [(WORK_COMPLETE, [b"H:h:1", b"\0" * 3_000_000])]


def test_missing_pieces_are_empty() -> None:
    assert parse(response(WORK_COMPLETE, b"H:h:1")) == [(WORK_COMPLETE, [b"H:h:1", b""])]
    assert parse(response(WORK_STATUS, b"H:h:1", b"1")) == [(WORK_STATUS, [b"H:h:1", b"1", b""])]


@pytest.mark.parametrize("data", [request(ECHO_RES, b"x"), b"\0HTTP/1.1 400 Bad Request\r\n"])
def test_what_is_no_response(data: bytes) -> None:
    parser = ResponseParser()
    parser.feed(data)
    with pytest.raises(ProtocolError):
        parser.take()
