"""Bytes in, packets out: whole, cut anywhere, one by one, and bytes that are no Gearman at all."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gearstore.protocol import packets as p
from gearstore.protocol.packets import LAYOUTS, MALFORMED, TEXT, WRONG_MAGIC, PacketType, request, response
from gearstore.protocol.parser import MAX_LINE, MAX_MANAGEMENT_LINE, Packet, PacketParser

HANDLE = b"H:localhost:000000000001"
ANY = bytes(range(256))

# One of each request: type, arguments.
EXAMPLES: list[tuple[int, list[bytes]]] = [
    (p.CAN_DO, [b"reverse"]),
    (p.CANT_DO, [b"reverse"]),
    (p.RESET_ABILITIES, []),
    (p.PRE_SLEEP, []),
    (p.SUBMIT_JOB, [b"reverse", b"unique", b"work\0load"]),
    (p.GRAB_JOB, []),
    (p.WORK_STATUS, [HANDLE, b"3", b"10"]),
    (p.WORK_COMPLETE, [HANDLE, ANY]),
    (p.WORK_FAIL, [HANDLE]),
    (p.GET_STATUS, [HANDLE]),
    (p.ECHO_REQ, [ANY]),
    (p.SUBMIT_JOB_BG, [b"", b"", b""]),
    (p.SUBMIT_JOB_HIGH, [b"reverse", b"-", ANY]),
    (p.SET_CLIENT_ID, [b"worker 1"]),
    (p.CAN_DO_TIMEOUT, [b"reverse", b"5000"]),
    (p.WORK_EXCEPTION, [HANDLE, b"\0\0"]),
    (p.OPTION_REQ, [b"exceptions"]),
    (p.WORK_DATA, [HANDLE, b""]),
    (p.WORK_WARNING, [HANDLE, b"warning"]),
    (p.GRAB_JOB_UNIQ, []),
    (p.SUBMIT_JOB_HIGH_BG, [b"reverse", b"u" * 64, b"w"]),
    (p.SUBMIT_JOB_LOW, [b"f" * 512, b"", b"w"]),
    (p.SUBMIT_JOB_LOW_BG, [b"reverse", b"", b"\0\0\0"]),
    (p.SUBMIT_JOB_SCHED, [b"reverse", b"u", b"0", b"12", b"", b"*", b"", b"w\0w"]),
    (p.SUBMIT_JOB_EPOCH, [b"reverse", b"u", b"1700000000", b"w\0w"]),
    (p.SUBMIT_REDUCE_JOB, [b"reverse", b"u", b"sum", b"unused", b"w\0w"]),
    (p.SUBMIT_REDUCE_JOB_BACKGROUND, [b"reverse", b"u", b"sum", b"", b""]),
    (p.GRAB_JOB_ALL, []),
    (p.GET_STATUS_UNIQUE, [b"unique"]),
]


def parse(*chunks: bytes, max_packet: int = 1 << 24, limit: int = 1 << 30) -> list[Packet]:
    """Return the packets of some bytes, fed one chunk after the other."""
    parser = PacketParser(max_packet)
    found: list[Packet] = []
    for chunk in chunks:
        parser.feed(chunk)
        while packets := parser.take(limit):
            found += packets
    return found


def test_there_is_an_example_of_each_request() -> None:
    assert sorted(kind for kind, _ in EXAMPLES) == sorted(LAYOUTS)


@pytest.mark.parametrize(("kind", "args"), EXAMPLES, ids=[PacketType(kind).name for kind, _ in EXAMPLES])
def test_each_request_whole_and_cut_at_every_byte(kind: int, args: list[bytes]) -> None:
    data = request(kind, *args)
    expected = [(kind, args), (TEXT, [b"next"])]
    data += b"next\n"
    assert parse(data) == expected
    for cut in range(len(data) + 1):
        assert parse(data[:cut], data[cut:]) == expected
    assert parse(*[data[i : i + 1] for i in range(len(data))]) == expected


ALL = b"".join(request(kind, *args) + b"status\r\n" for kind, args in EXAMPLES)
ALL_PACKETS: list[Packet] = [packet for kind, args in EXAMPLES for packet in ((kind, args), (TEXT, [b"status"]))]


def test_all_requests_in_one_read() -> None:
    assert parse(ALL) == ALL_PACKETS


@pytest.mark.parametrize("limit", [1, 2, 7, 200])
def test_no_more_than_the_limit_are_taken_at_once(limit: int) -> None:
    parser = PacketParser(1 << 20)
    parser.feed(ALL)
    found: list[Packet] = []
    while packets := parser.take(limit):
        assert len(packets) <= limit
        found += packets
    assert found == ALL_PACKETS
    assert parser.unfinished == 0


def test_reading_may_go_on_before_all_is_taken() -> None:
    parser = PacketParser(1 << 20)
    found: list[Packet] = []
    for start in range(0, len(ALL), 50):
        parser.feed(ALL[start : start + 50])
        found += parser.take(1)
    while packets := parser.take(3):
        found += packets
    assert found == ALL_PACKETS


def chunks_of(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in zip(places, places[1:], strict=False)]


@given(st.lists(st.integers(0, len(ALL)), max_size=30), st.integers(1, 20))
def test_chunks_make_no_difference(cuts: list[int], limit: int) -> None:
    assert parse(*chunks_of(ALL, cuts), limit=limit) == ALL_PACKETS


requests = st.one_of(
    st.tuples(st.sampled_from(sorted(LAYOUTS)), st.lists(st.binary(max_size=20), max_size=9)).map(
        lambda made: request(made[0], *made[1])
    ),
    st.binary(max_size=40),
    st.sampled_from([b"status\n", b"\0", b"\0REQ", b"\0RES", b"\n", b"\r\n", b"gearstore jobs {}\n", b"x" * 8192]),
    st.tuples(st.sampled_from([b"\0REQ", b"\0RES", b"\0REX"]), st.integers(0, 60), st.integers(0, 100)).map(
        lambda made: made[0] + struct.pack(">II", made[1], made[2])
    ),
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(
        lambda made: b"\0REQ" + struct.pack(">II", *made)
    ),
)


@given(st.lists(requests, max_size=8).map(b"".join), st.lists(st.integers(0, 1000), max_size=10))
@example(b"\0REQ\xff\xff\xff\xff\xff\xff\xff\xff", [])
@example(b"\0RES\x00\x00\x00\x10\xff\xff\xff\xff", [12])
def test_no_bytes_make_the_parser_raise_and_chunks_make_no_difference(data: bytes, cuts: list[int]) -> None:
    whole = PacketParser(1 << 16)
    whole.feed(data)
    packets = whole.take(1000)
    assert len(packets) < 1000
    for kind, args in packets:
        if kind in LAYOUTS:
            assert len(args) == LAYOUTS[kind].parts
        assert 0 <= kind < p.KINDS and all(type(arg) is bytes for arg in args)
    assert sum(len(arg) for _, args in packets for arg in args) <= len(data) + 40 * len(packets)
    cut = PacketParser(1 << 16)
    found: list[Packet] = []
    for chunk in chunks_of(data, cuts):
        cut.feed(chunk)
        found += cut.take(1000)
    assert found == packets
    assert (cut.error is None) == (whole.error is None)
    if whole.error is not None:
        assert str(cut.error) == str(whole.error)
    else:
        assert cut.unfinished == whole.unfinished <= len(data)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    parser = PacketParser(1 << 16)
    parser.feed(data)
    parser.take(1000)
    assert parser.error is not None or parser.unfinished <= len(data)


# Sloppy forms


@pytest.mark.parametrize("kind", [p.WORK_COMPLETE, p.WORK_DATA, p.WORK_WARNING, p.WORK_EXCEPTION])
def test_a_result_without_its_nul(kind: int) -> None:
    """As Perl's worker sends it for a job that returns ""; gearmand loses its framing."""
    assert parse(request(kind, HANDLE)) == [(kind, [HANDLE, b""])]
    assert parse(request(kind, HANDLE) + request(p.GRAB_JOB)) == [(kind, [HANDLE, b""]), (p.GRAB_JOB, [])]


def test_work_status_with_two_arguments() -> None:
    assert parse(request(p.WORK_STATUS, HANDLE, b"5")) == [(p.WORK_STATUS, [HANDLE, b"5", b""])]


@pytest.mark.parametrize("kind", [p.SUBMIT_REDUCE_JOB, p.SUBMIT_REDUCE_JOB_BACKGROUND])
def test_reduce_with_three_arguments(kind: int) -> None:
    assert parse(request(kind, b"f", b"u", b"r", b"data")) == [(kind, [b"f", b"u", b"r", b"", b"data"])]
    assert parse(request(kind, b"f", b"u", b"r", b"unused", b"data")) == [
        (kind, [b"f", b"u", b"r", b"unused", b"data"])
    ]


def test_a_trailing_nul_is_the_commands_to_judge() -> None:
    assert parse(request(p.WORK_FAIL, HANDLE + b"\0")) == [(p.WORK_FAIL, [HANDLE + b"\0"])]
    assert parse(request(p.CAN_DO, b"q\0")) == [(p.CAN_DO, [b"q\0"])]


@pytest.mark.parametrize("kind", [kind for kind, layout in LAYOUTS.items() if layout.parts == 0])
def test_a_body_where_none_belongs_is_skipped(kind: int) -> None:
    assert parse(request(kind, b"junk\0junk") + b"status\n") == [(kind, []), (TEXT, [b"status"])]


@pytest.mark.parametrize(
    ("kind", "parts"),
    [(kind, parts) for kind, layout in LAYOUTS.items() for parts in range(1, layout.at_least)],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_missing_arguments_cost_only_their_packet(kind: int, parts: int) -> None:
    """gearmand looks for the NUL beyond the packet, and eats the next one."""
    data = request(kind, *[b"x"] * parts) + request(p.ECHO_REQ, b"after")
    assert parse(data) == [(MALFORMED, [PacketType(kind).name.encode()]), (p.ECHO_REQ, [b"after"])]


@pytest.mark.parametrize("kind", [kind for kind, layout in LAYOUTS.items() if layout.at_least > 1])
def test_no_body_where_arguments_belong(kind: int) -> None:
    assert parse(request(kind)) == [(MALFORMED, [PacketType(kind).name.encode()])]


@pytest.mark.parametrize("kind", [kind for kind, layout in LAYOUTS.items() if layout.at_least == 1])
def test_an_empty_argument(kind: int) -> None:
    assert parse(request(kind)) == [(kind, [b""] * LAYOUTS[kind].parts)]


# What is not a request


@pytest.mark.parametrize("kind", [5, 6, 8, 10, 11, 17, 19, 20, 24, 27, 31, 40, 42])
def test_what_only_a_server_sends_goes_on_with_its_type(kind: int) -> None:
    assert parse(request(kind) + request(kind, b"a", b"b") + b"status\n") == [
        (kind, []),
        (kind, []),
        (TEXT, [b"status"]),
    ]


@pytest.mark.parametrize("kind", [1, 6, 16, 18, 42])
def test_a_response_is_told_apart(kind: int) -> None:
    data = response(kind, b"x") + request(p.ECHO_REQ, b"after")
    assert parse(data) == [(WRONG_MAGIC, []), (p.ECHO_REQ, [b"after"])]
    assert parse(*[data[i : i + 1] for i in range(len(data))]) == [(WRONG_MAGIC, []), (p.ECHO_REQ, [b"after"])]


@pytest.mark.parametrize(
    "header",
    [
        b"\0REQ\0\0\0\0\0\0\0\0",
        b"\0REQ\0\0\0\x2b\0\0\0\0",
        b"\0REQ\0\0\0\x2c\0\0\0\0",
        b"\0REQ\0\0\0\x2d\0\0\0\0",
        b"\0REQ\0\0\x01\x01\0\0\0\0",
        b"\0REQ\x7f\xff\xff\xff\0\0\0\0",
        b"\0REQ\x80\0\0\0\0\0\0\0",
        b"\0REQ\xff\xff\xff\xff\0\0\0\0",
        b"\0RES\0\0\0\0\0\0\0\0",
        b"\0RES\xff\xff\xff\xff\0\0\0\0",
        b"\0REX\0\0\0\x10\0\0\0\0",
        b"\0req\0\0\0\x10\0\0\0\0",
        b"\0" * 12,
        b"\0GET / HTTP/1.1",
    ],
)
def test_where_framing_is_lost_the_packets_before_it_count(header: bytes) -> None:
    parser = PacketParser(1 << 20)
    parser.feed(request(p.ECHO_REQ, b"before") + header + request(p.ECHO_REQ, b"after"))
    assert parser.take(100) == [(p.ECHO_REQ, [b"before"])]
    assert parser.error is not None and parser.error.code is None
    parser.feed(request(p.ECHO_REQ, b"later"))
    assert parser.take(100) == []
    assert parser.error is not None


@pytest.mark.parametrize("size", range(12))
def test_an_incomplete_header_waits(size: int) -> None:
    header = b"\0REX\0\0\0\x10\0\0\0\0"
    parser = PacketParser(1 << 20)
    parser.feed(header[:size])
    assert (parser.take(100), parser.error, parser.unfinished) == ([], None, size)
    parser.feed(header[size:])
    assert parser.take(100) == [] and parser.error is not None


# Limits


@pytest.mark.parametrize("magic", [b"\0REQ", b"\0RES"])
def test_the_largest_packet(magic: bytes) -> None:
    def packet(size: int) -> bytes:
        return magic + struct.pack(">II", p.ECHO_REQ, size) + b"x" * size

    expected = (p.ECHO_REQ, [b"x" * 1000]) if magic == b"\0REQ" else (WRONG_MAGIC, [])
    assert parse(packet(1000), max_packet=1000) == [expected]
    parser = PacketParser(1000)
    parser.feed(packet(1001)[:12])
    assert parser.take(10) == []
    assert parser.error is not None and parser.error.code == b"ARGUMENT_TOO_LARGE"
    assert b"1001" in str(parser.error).encode()


def test_a_header_that_announces_four_gigabytes_buys_no_memory() -> None:
    tracemalloc.start()
    parsers = [PacketParser(0xFFFFFFFF) for _ in range(10)]
    for parser in parsers:
        parser.feed(b"\0REQ\0\0\0\x12\xff\xff\xff\xff")
        assert parser.take(10) == [] and parser.error is None
        parser.feed(b"f\0u\0w")
        assert parser.take(10) == []
        assert parser.unfinished == 17
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_a_large_packet_in_small_pieces() -> None:
    """Work and memory stay in proportion to what came in."""
    workload = bytes(8 << 20)
    data = request(p.SUBMIT_JOB_BG, b"f", b"u", workload)
    chunks = [data[start : start + 1000] for start in range(0, len(data), 1000)]
    assert parse(*chunks) == [(p.SUBMIT_JOB_BG, [b"f", b"u", workload])]


def test_what_was_taken_is_not_kept() -> None:
    parser = PacketParser(1 << 24)
    tracemalloc.start()
    for _ in range(20):
        parser.feed(request(p.ECHO_REQ, bytes(1 << 20)))
        assert len(parser.take(10)) == 1
    parser.feed(b"\0")
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert current < 3 << 20
    assert parser.unfinished == 1


# Text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"status\n", b"status"),
        (b"status\r\n", b"status"),
        (b"status\r\r\n", b"status\r"),
        (b" status \n", b" status "),
        (b"\n", b""),
        (b"\r\n", b""),
        (b"a\0b\n", b"a\0b"),
        (b"\xff\xfe\n", b"\xff\xfe"),
        (b"REQ\n", b"REQ"),
    ],
)
def test_lines(line: bytes, text: bytes) -> None:
    for cut in range(len(line) + 1):
        assert parse(line[:cut], line[cut:]) == [(TEXT, [text])]
    assert parse(line + request(p.ECHO_REQ, b"") + line) == [(TEXT, [text]), (p.ECHO_REQ, [b""]), (TEXT, [text])]


def test_a_line_that_has_not_ended_waits() -> None:
    parser = PacketParser(1 << 20)
    parser.feed(b"status\r")
    assert (parser.take(10), parser.error, parser.unfinished) == ([], None, 7)


@pytest.mark.parametrize(("start", "limit"), [(b"status ", MAX_LINE), (b"gearstore jobs ", MAX_MANAGEMENT_LINE)])
def test_the_longest_line(start: bytes, limit: int) -> None:
    line = start.ljust(limit - 1, b"x")
    assert parse(line + b"\n") == [(TEXT, [line])]
    assert parse(line[:100], line[100:], b"\n") == [(TEXT, [line])]
    parser = PacketParser(1 << 20)
    parser.feed(line + b"x\n")
    assert parser.take(10) == []
    assert parser.error is not None and str(limit) in str(parser.error)


def test_a_line_of_a_megabyte_is_given_up_early() -> None:
    parser = PacketParser(1 << 30)
    fed = 0
    while parser.error is None and fed < 1 << 20:
        parser.feed(b"x" * 1000)
        fed += 1000
        assert parser.take(10) == []
    assert parser.error is not None and fed <= MAX_LINE + 1000


def test_a_long_management_line_byte_by_byte_ends_at_its_limit() -> None:
    parser = PacketParser(1 << 30)
    fed = 0
    while parser.error is None and fed < 1 << 20:
        parser.feed(b"gearstore "[fed : fed + 1] or b"x" * 500)
        fed += 1 if fed < 10 else 500
        parser.take(10)
    assert parser.error is not None and MAX_LINE < fed <= MAX_MANAGEMENT_LINE + 500
