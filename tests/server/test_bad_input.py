"""What no client should send: the server lives, others are served, memory stays flat."""

import random
import socket
from collections.abc import Callable, Iterator
from struct import Struct

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    CAN_DO_TIMEOUT,
    ECHO_REQ,
    ECHO_RES,
    ERROR,
    GET_STATUS,
    GET_STATUS_UNIQUE,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    STATUS_RES,
    STATUS_RES_UNIQUE,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    SUBMIT_JOB_SCHED,
    WORK_COMPLETE,
    WORK_DATA,
    WORK_STATUS,
    PacketType,
)
from tests.server.process import Server, eventually
from tests.server.wire import Connect, Wire, packet

MIB = 1 << 20
HEADER = Struct(">4sII")

# One well-formed request of every type that a client or worker may send.
EXAMPLES: dict[PacketType, tuple[bytes, ...]] = {
    PacketType.CAN_DO: (b"f",),
    PacketType.CANT_DO: (b"f",),
    PacketType.RESET_ABILITIES: (),
    PacketType.PRE_SLEEP: (),
    PacketType.SUBMIT_JOB: (b"cut", b"u", b"data"),
    PacketType.GRAB_JOB: (),
    PacketType.WORK_STATUS: (b"H:x:1", b"1", b"2"),
    PacketType.WORK_COMPLETE: (b"H:x:1", b"data"),
    PacketType.WORK_FAIL: (b"H:x:1",),
    PacketType.GET_STATUS: (b"H:x:1",),
    PacketType.ECHO_REQ: (b"echo",),
    PacketType.SUBMIT_JOB_BG: (b"cut", b"u", b"data"),
    PacketType.SUBMIT_JOB_HIGH: (b"cut", b"u", b"data"),
    PacketType.SET_CLIENT_ID: (b"me",),
    PacketType.CAN_DO_TIMEOUT: (b"f", b"1000"),
    PacketType.ALL_YOURS: (),
    PacketType.WORK_EXCEPTION: (b"H:x:1", b"data"),
    PacketType.OPTION_REQ: (b"exceptions",),
    PacketType.WORK_DATA: (b"H:x:1", b"data"),
    PacketType.WORK_WARNING: (b"H:x:1", b"data"),
    PacketType.GRAB_JOB_UNIQ: (),
    PacketType.SUBMIT_JOB_HIGH_BG: (b"cut", b"u", b"data"),
    PacketType.SUBMIT_JOB_LOW: (b"cut", b"u", b"data"),
    PacketType.SUBMIT_JOB_LOW_BG: (b"cut", b"u", b"data"),
    PacketType.SUBMIT_JOB_SCHED: (b"cut", b"u", b"0", b"0", b"1", b"1", b"", b"data"),
    PacketType.SUBMIT_JOB_EPOCH: (b"cut", b"u", b"9999999999", b"data"),
    PacketType.SUBMIT_REDUCE_JOB: (b"cut", b"u", b"r", b"", b"data"),
    PacketType.SUBMIT_REDUCE_JOB_BACKGROUND: (b"cut", b"u", b"r", b"", b"data"),
    PacketType.GRAB_JOB_ALL: (),
    PacketType.GET_STATUS_UNIQUE: (b"u",),
}
ANSWERS = (ERROR, JOB_CREATED, STATUS_RES, STATUS_RES_UNIQUE, ECHO_RES, PacketType.OPTION_RES)
LINES = (b"status\n", b"workers\r\n", b"show unique jobs\n", b"cancel job H:x:1\n", b'gearstore jobs {"limit": 1}\n')


@pytest.fixture
def flat(server: Server) -> Iterator[Callable[[int], None]]:
    """A check that the server's memory has not grown by more than so many bytes since the test began."""
    before = server.memory()

    def check(limit: int) -> None:
        grown = server.memory() - before
        assert grown <= limit, f"{grown / MIB:.1f} MiB more"

    yield check


@pytest.fixture(autouse=True)
def others_are_served(connect: Connect) -> Iterator[None]:
    """Before and after each test somebody else runs a job."""
    client, worker = connect(), connect()
    worker.send(CAN_DO, b"others")
    yield
    try:
        handle = client.submit(SUBMIT_JOB, b"others", b"", b"w")
        worker.send(GRAB_JOB)
        worker.expect(JOB_ASSIGN, handle, b"others", b"w")
        worker.send(WORK_COMPLETE, handle, b"result")
        client.expect(WORK_COMPLETE, handle, b"result")
    finally:
        client.close()
        worker.close()


def until_closed(wire: Wire) -> bytes:
    """Return everything that the server still says before it closes the connection."""
    said = bytearray()
    try:
        while data := wire.socket.recv(1 << 16):
            said += data
    except ConnectionError:
        pass
    return bytes(said)


@pytest.mark.parametrize("kind", [0, 43, 44, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_01_unknown_types_close_the_connection(client: Wire, kind: int) -> None:
    client.send_bytes(HEADER.pack(b"\0REQ", kind, 0))
    client.expect_closed()


@pytest.mark.parametrize("magic", [b"\0req", b"\0REZ", b"\0\0\0\0", b"\0GET", b"\0RE\0"])
def test_a_wrong_magic_closes_the_connection(client: Wire, magic: bytes) -> None:
    client.send_bytes(HEADER.pack(magic, ECHO_REQ, 0))
    client.expect_closed()


def test_what_came_before_the_violation_is_answered(client: Wire) -> None:
    client.send_bytes(
        packet(ECHO_REQ, b"before") + packet(SUBMIT_JOB_BG, b"before", b"", b"") + HEADER.pack(b"\0REQ", 43, 0)
    )
    client.expect(ECHO_RES, b"before")
    client.expect(JOB_CREATED)
    client.expect_closed()


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, (64 << 20) + 1])
def test_a_length_beyond_the_limit_is_refused_at_once(client: Wire, size: int, flat: Callable[[int], None]) -> None:
    client.send_bytes(HEADER.pack(b"\0REQ", SUBMIT_JOB_BG, size))
    assert client.expect(ERROR)[0] == b"ARGUMENT_TOO_LARGE"
    client.expect_closed()
    flat(16 * MIB)


def test_20_connections_that_announce_4_gib_cost_nothing(connect: Connect, flat: Callable[[int], None]) -> None:
    for _ in range(20):
        connect().send_bytes(HEADER.pack(b"\0REQ", ECHO_REQ, 0xFFFFFFFF) + b"x" * 1000)
    flat(16 * MIB)


def test_announced_bytes_are_not_allocated(connect: Connect, flat: Callable[[int], None]) -> None:
    wires = [connect() for _ in range(20)]
    for wire in wires:
        wire.send_bytes(HEADER.pack(b"\0REQ", ECHO_REQ, 64 << 20) + b"x" * 1000)
    wires[0].close()
    connect().expect_nothing()
    flat(16 * MIB)


def test_a_large_packet_in_tiny_pieces(client: Wire) -> None:
    data = packet(ECHO_REQ, bytes(range(256)) * 8)
    for position in range(len(data)):
        client.send_bytes(data[position : position + 1])
    client.expect(ECHO_RES, bytes(range(256)) * 8)


@pytest.mark.parametrize(
    "timeout",
    [b"99999999999999999999", b"9" * 21, b"-99999999999999999999", b"9223372036854775808", b"", b"abc", b"\0", b"1e9"],
)
def test_a_timeout_that_makes_no_sense_is_none(connect: Connect, f: bytes, timeout: bytes) -> None:
    client, worker = connect(), connect()
    worker.send(CAN_DO_TIMEOUT, f, timeout)
    handle = client.submit(SUBMIT_JOB, f, b"", b"w")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"w")
    worker.send(WORK_COMPLETE, handle, b"")
    client.expect(WORK_COMPLETE, handle, b"")


def test_numbers_of_any_length(client: Wire, f: bytes) -> None:
    client.send(CAN_DO, f)
    handle = client.submit(SUBMIT_JOB_BG, f, b"", b"")
    client.send(GRAB_JOB)
    client.expect(JOB_ASSIGN, handle, f, b"")
    for number in (b"9" * 5000, b"-1", b"", b"abc", b"\xff", b"4294967296", b"\xd9\xa3"):
        client.send(WORK_STATUS, handle, number, number)
        client.send(GET_STATUS, handle)
        _, known, running, numerator, denominator = client.expect(STATUS_RES)
        assert (known, running) == (b"1", b"1")
        assert numerator.isdigit() and int(numerator) < 1 << 32
        assert denominator.isdigit() and int(denominator) < 1 << 32


@pytest.mark.parametrize("when", [b"9" * 20, b"9" * 5000, b"12x", b"abc", b"-" * 3, b"1e5", b"999999999999999999"])
def test_an_epoch_that_makes_no_sense_is_refused(client: Wire, f: bytes, when: bytes) -> None:
    client.send(SUBMIT_JOB_EPOCH, f, b"", when, b"")
    assert client.expect(ERROR)[0] == b"INVALID_ARGUMENT"
    client.expect_nothing()
    assert client.manage("jobs", function=f.decode()) == []


@pytest.mark.parametrize(
    "fields",
    [
        b"60 0 1 1 0",
        b"0 24 1 1 0",
        b"0 0 0 1 0",
        b"0 0 32 1 0",
        b"0 0 1 13 0",
        b"0 0 1 1 7",
        b"x 0 1 1 0",
        b"0 0 31 2 ",
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(client: Wire, f: bytes, fields: bytes) -> None:
    client.send(SUBMIT_JOB_SCHED, f, b"", *fields.split(b" "), b"")
    assert client.expect(ERROR)[0] == b"INVALID_ARGUMENT"
    client.expect_nothing()
    assert client.manage("jobs", function=f.decode()) == []


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.name)
def test_every_packet_cut_at_every_byte(connect: Connect, kind: PacketType) -> None:
    data = packet(kind, *EXAMPLES[kind])
    for position in range(len(data)):
        wire = connect()
        wire.send_bytes(data[:position])
        wire.leave()
    # The server is still in step with a connection that sends it in two pieces.
    for position in range(1, len(data)):
        wire = connect()
        wire.send_bytes(data[:position])
        wire.send_bytes(data[position:])
        wire.socket.shutdown(socket.SHUT_WR)
        until_closed(wire)
        wire.close()


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.name)
def test_every_packet_with_a_body_cut_at_every_byte(connect: Connect, kind: PacketType) -> None:
    """The frame is whole, its arguments are not: that costs this packet only."""
    wire = connect()
    body = b"\0".join(EXAMPLES[kind])
    for position in range(len(body)):
        wire.send_bytes(HEADER.pack(b"\0REQ", kind, position) + body[:position])
        wire.send(ECHO_REQ, b"in step %d" % position)
        while (answer := wire.receive()) != (ECHO_RES, b"in step %d" % position):
            assert answer[0] in ANSWERS


@pytest.mark.parametrize("line", LINES)
def test_every_line_cut_at_every_byte(connect: Connect, line: bytes) -> None:
    for position in range(len(line)):
        wire = connect()
        wire.send_bytes(line[:position])
        wire.leave()


def test_missing_arguments_do_not_reach_into_the_next_packet(client: Wire, f: bytes) -> None:
    client.send_bytes(HEADER.pack(b"\0REQ", SUBMIT_JOB_BG, len(f)) + f + packet(ECHO_REQ, b"next"))
    code, _ = client.expect(ERROR)
    assert code == b"INVALID_PACKET"
    client.expect(ECHO_RES, b"next")
    assert client.manage("jobs", function=f.decode()) == []


def test_a_text_line_of_1_mb_closes_the_connection(client: Wire, flat: Callable[[int], None]) -> None:
    try:
        client.send_bytes(b"x" * 1_000_000)
    except ConnectionError:
        pass  # it has hung up already
    assert until_closed(client) == b""
    flat(16 * MIB)


def test_a_text_line_of_8192_bytes_is_the_longest(connect: Connect) -> None:
    client = connect()
    client.send_bytes(b"status" + b" " * 8185 + b"\n")
    assert client.table().endswith(b".\n")
    client.send_bytes(b"status" + b" " * 8186)
    client.expect_closed()


def test_a_management_line_may_be_longer_but_not_endless(connect: Connect) -> None:
    client = connect()
    handles = ", ".join(f'"H:x:{n:012d}"' for n in range(3000)).encode()
    client.send_bytes(b'gearstore jobs {"handles": [%s]}\n' % handles)
    assert client.line() == b".\n"
    client.send_bytes(b"gearstore " + b"x" * 65526)
    client.expect_closed()


def test_text_without_an_end_costs_no_more_than_a_line(connect: Connect, flat: Callable[[int], None]) -> None:
    for _ in range(100):
        connect().send_bytes(b"y" * 8000)
    flat(16 * MIB)


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes(connect: Connect, seed: int, flat: Callable[[int], None]) -> None:
    dice = random.Random(seed)
    for _ in range(40):
        wire = connect()
        try:
            wire.send_bytes(dice.randbytes(dice.randrange(1, 4000)))
            wire.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        until_closed(wire)
        wire.close()
    flat(16 * MIB)


@pytest.mark.parametrize("seed", range(8))
def test_random_packets(connect: Connect, seed: int) -> None:
    """Valid frames of any type with any arguments: answers or errors, never a fault."""
    dice = random.Random(1000 + seed)
    words = [b"", b"f", b"-", b"H:vm:000000000001", b"1", b"9" * 30, b"\xff\xfe", b"x" * 70, b"exceptions", b"\r\n"]
    for _ in range(10):
        wire = connect()
        data = b""
        for _ in range(60):
            kind = dice.choice([*range(1, 43)])
            magic = b"\0RES" if dice.random() < 0.05 else b"\0REQ"
            data += packet(kind, *(dice.choice(words) for _ in range(dice.randrange(9))), magic=magic)
            if dice.random() < 0.1:
                data += (
                    dice.choice([b"status", b"show jobs", b"workers", b"maxqueue f 1", b"cancel job x", b""]) + b"\n"
                )
        wire.send_bytes(data)
        wire.socket.shutdown(socket.SHUT_WR)
        until_closed(wire)
        wire.close()


@pytest.mark.parametrize("seed", range(4))
def test_packets_with_flipped_bits(connect: Connect, seed: int) -> None:
    dice = random.Random(2000 + seed)
    clean = b"".join(packet(kind, *args) for kind, args in EXAMPLES.items())
    for _ in range(40):
        data = bytearray(clean)
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        wire = connect()
        try:
            wire.send_bytes(bytes(data))
            wire.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        until_closed(wire)
        wire.close()


def test_results_for_jobs_of_others_change_nothing(connect: Connect, f: bytes) -> None:
    client, worker, forger = connect(), connect(), connect()
    worker.send(CAN_DO, f)
    handles = [client.submit(SUBMIT_JOB, f, b"", b"%d" % n) for n in range(20)]
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handles[0], f, b"0")
    forged = [
        packet(kind, handle, *args)
        for handle in handles
        for kind, args in (
            (WORK_COMPLETE, (b"forged",)),
            (PacketType.WORK_FAIL, ()),
            (PacketType.WORK_EXCEPTION, (b"forged",)),
            (WORK_DATA, (b"forged",)),
            (WORK_STATUS, (b"1", b"2")),
        )
    ]
    forger.send_bytes(b"".join(forged))
    for _ in forged:
        assert forger.expect(ERROR)[0] == b"JOB_NOT_FOUND"
    client.expect_nothing()
    assert client.status(f) == (20, 1, 1)


def fill_unread(wire: Wire, data: bytes, limit: int) -> int:
    """Send again and again, without reading, until the server takes no more; return how many bytes it took."""
    wire.socket.settimeout(0.5)
    sent = 0
    try:
        while sent < limit:
            wire.socket.sendall(data)
            sent += len(data)
    except (TimeoutError, ConnectionError):
        pass
    return sent


def test_a_slow_reader_of_many_echoes(connect: Connect, flat: Callable[[int], None]) -> None:
    slow, other = connect(), connect()
    sent = fill_unread(slow, packet(ECHO_REQ, b"x" * 60_000) * 16, 256 * MIB)
    assert sent < 64 * MIB
    other.expect_nothing()
    flat(64 * MIB)
    slow.close()


def test_a_slow_reader_of_tiny_echoes(connect: Connect, flat: Callable[[int], None]) -> None:
    slow, other = connect(), connect()
    fill_unread(slow, packet(ECHO_REQ) * 10_000, 256 * MIB)
    other.expect_nothing()
    flat(64 * MIB)
    slow.close()


def test_a_slow_reader_gets_all_of_it_in_the_end(connect: Connect) -> None:
    slow = connect()
    slow.send_bytes(b"".join(packet(ECHO_REQ, b"%d " % n + b"x" * 20_000) for n in range(100)))
    connect().expect_nothing()
    for n in range(100):
        slow.expect(ECHO_RES, b"%d " % n + b"x" * 20_000)


def test_a_pipeline_of_long_listings_is_answered_at_the_readers_pace(
    connect: Connect, f: bytes, flat: Callable[[int], None]
) -> None:
    other, slow = connect(), connect()
    other.send_bytes(b"".join(b"create function %s_%d_%s\n" % (f, n, b"x" * 100) for n in range(500)))
    for _ in range(500):
        assert other.line() == b"OK\r\n"
    length = len(other.text(b"status"))
    assert length > 50_000
    slow.send_bytes(b"status\n" * 1300)  # 9 kB that ask for more than 70 MB
    for _ in range(3):
        other.expect_nothing()
    flat(64 * MIB)
    taken = 0
    while taken < 1300 * length:
        data = slow.socket.recv(1 << 20)
        assert data, f"dropped after {taken} of {1300 * length} bytes, though it reads"
        taken += len(data)
    for n in range(500):
        other.text(b"drop function %s_%d_%s" % (f, n, b"x" * 100))


def test_a_flood_of_one_client_does_not_hold_up_others(connect: Connect) -> None:
    flood, other = connect(), connect()
    flood.send_bytes(packet(ECHO_REQ) * 50_000)
    for _ in range(20):
        other.expect_nothing()
    for _ in range(50_000):
        flood.expect(ECHO_RES, b"")


def test_connections_that_come_and_go_leave_nothing(server: Server, connect: Connect, f: bytes) -> None:
    admin = connect()
    before = len(admin.rows(b"workers"))
    for n in range(300):
        wire = connect()
        wire.send_bytes(packet(CAN_DO, f) + packet(SUBMIT_JOB, f, b"%d" % n, b"") + packet(PacketType.PRE_SLEEP))
        wire.close() if n % 2 else wire.reset()
    eventually(lambda: len(admin.rows(b"workers")) == before, "the end of all connections")
    eventually(lambda: admin.status(f) in (None, (0, 0, 0)), "the end of all jobs")


def test_long_handles_and_uniques_are_answered(client: Wire) -> None:
    for text in (b"", b"x" * 64, b"x" * 5000, b"H:\0\0", b"H:vm:" + b"9" * 400, b"H:vm:\xd9\xa1" * 12):
        client.send(GET_STATUS, text)
        client.expect(STATUS_RES, text.removesuffix(b"\0"), b"0", b"0", b"0", b"0")
        client.send(GET_STATUS_UNIQUE, text)
        client.expect(STATUS_RES_UNIQUE, text.removesuffix(b"\0"), b"0", b"0", b"0", b"0", b"0")
