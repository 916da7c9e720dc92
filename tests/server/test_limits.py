"""Every limit, met over real sockets: who meets it is refused or dropped, others are served, it is counted and told."""

import os
import resource
import select
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    ECHO_REQ,
    ECHO_RES,
    ERROR,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
    WORK_DATA,
)
from tests.server.process import HOST, Server, StartServer, eventually
from tests.server.wire import HEADER, Wire, packet

MIB = 1 << 20


def met(server: Server, limit: str) -> int:
    """Return how often a limit was met."""
    return int(row(server, limit)["met"])


def row(server: Server, limit: str) -> dict[str, object]:
    """Return what is known of a limit."""
    wire = server.connect()
    try:
        return next(each for each in wire.manage("limits") if each["limit"] == limit)
    finally:
        wire.leave()


def is_gone(wire: Wire) -> bool:
    """Whether the server has ended the connection."""
    poll = select.poll()
    poll.register(wire.socket, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def lines(server: Server, limit: str) -> list[str]:
    """Return the lines of the log about a limit."""
    return [line for line in server.log.splitlines() if f"limit {limit}:" in line]


def begin_packet(wire: Wire, size: int) -> None:
    """Announce a packet with so many bytes and send none of them."""
    wire.send_bytes(HEADER.pack(b"\0REQ", ECHO_REQ, size))


def send_until_full(wire: Wire, data: bytes) -> None:
    """Send again and again, until the server reads no more for a second."""
    wire.socket.settimeout(1)
    with pytest.raises((TimeoutError, ConnectionError)):
        while True:
            wire.socket.sendall(data)


# Bytes


def test_a_packet_that_is_too_large(start_server: StartServer) -> None:
    server = start_server("--max-packet=1M")
    for _ in range(20):
        client = server.connect()
        begin_packet(client, MIB + 1)
        assert client.expect(ERROR)[0] == b"ARGUMENT_TOO_LARGE"
        client.expect_closed()
    client = server.connect()
    client.send(ECHO_REQ, b"x" * MIB)
    client.expect(ECHO_RES, b"x" * MIB)
    assert met(server, "max_packet") == 20
    assert len(lines(server, "max_packet")) == 1
    assert "closing the connection" not in server.log


def test_a_line_that_is_too_long(start_server: StartServer) -> None:
    server = start_server("--max-line=1K")
    client = server.connect()
    client.send_bytes(b"version" + b" " * 1016 + b"\n")
    assert client.line().startswith(b"OK")
    assert client.manage("jobs", handles=["H:x:1"] * 1000) == []  # gearstore's own verbs may be longer
    client.send_bytes(b"version" + b" " * 1017)
    client.expect_closed()
    assert met(server, "max_line") == 1


def test_garbage_is_told_of_once_a_minute(start_server: StartServer) -> None:
    server = start_server()
    for number in range(20):
        client = server.connect()
        client.send_bytes(HEADER.pack(b"\0REQ", 1000 + number, 0))
        client.expect_closed()
    assert server.log.count("closed the connection of") == 1


def test_all_connections_together_hold_no_more_than_they_may(start_server: StartServer) -> None:
    server = start_server("--max-buffered=32M", "--max-packet=16M")
    before = server.memory()
    senders = [server.connect() for _ in range(40)]
    for sender in senders:
        begin_packet(sender, 16 * MIB)
        try:
            sender.send_bytes(b"x" * (4 * MIB))
        except ConnectionError:
            pass
    eventually(lambda: met(server, "max_buffered") >= 32, "the end of most of them")
    assert row(server, "max_buffered")["used"] <= 32 * MIB  # type: ignore[operator]
    assert 1 <= sum(not is_gone(sender) for sender in senders) <= 8
    assert server.memory() - before < 80 * MIB
    assert len(lines(server, "max_buffered")) == 1


def test_small_pieces_take_no_more_memory_than_large_ones(start_server: StartServer) -> None:
    server = start_server("--loop=asyncio")
    client = server.connect()
    before = server.memory()
    begin_packet(client, MIB)
    for _ in range(100_000):
        client.socket.send(b"xy")
    eventually(lambda: row(server, "max_packet")["used"] == 12 + 200_000, "the last piece")
    assert server.memory() - before < 4 * MIB
    client.send_bytes(b"x" * (MIB - 200_000))
    assert len(client.expect(ECHO_RES)[0]) == MIB


# Time


def test_a_sender_that_never_finishes_its_packet(start_server: StartServer) -> None:
    server = start_server("--packet-timeout=1")
    slow = [server.connect() for _ in range(20)]
    idle, typist = server.connect(), server.connect()
    for sender in slow:
        begin_packet(sender, 1000)
    typist.send_bytes(b"ver")
    for sender in slow:
        dribble_until_gone(sender)
    dribble_until_gone(typist)
    idle.expect_nothing()
    assert met(server, "packet_timeout") == 21
    assert len(lines(server, "packet_timeout")) == 1


def dribble_until_gone(wire: Wire) -> None:
    """Send a byte twenty times a second until the server ends it."""
    poll = select.poll()
    poll.register(wire.socket, select.POLLRDHUP)
    while not poll.poll(50):
        try:
            wire.send_bytes(b"x")
        except ConnectionError:
            return


def test_a_packet_may_take_longer_the_more_of_it_has_come(start_server: StartServer) -> None:
    """Whole packets, one after the other and each begun in the same read as the last one ended, are never late."""
    server = start_server("--packet-timeout=1")
    client = server.connect()
    client.socket.settimeout(0.1)
    echo = packet(ECHO_REQ, b"x" * 30)
    client.send_bytes(echo[:20])
    for _ in range(25):  # 2.5 seconds, in which there is always a packet that has begun
        client.send_bytes(echo[20:] + echo[:20])
        client.expect(ECHO_RES, b"x" * 30)
        with pytest.raises(TimeoutError):
            client.receive()
    assert met(server, "packet_timeout") == 0


# Readers


def produce(server: Server, kind: int, size: int, until: Callable[[], bool]) -> Wire:
    """Have a worker send results to a client that reads none of them, until something holds; return the client."""
    reader, worker = server.connect(), server.connect()
    worker.send(CAN_DO, b"f")
    handle = reader.submit(SUBMIT_JOB, b"f", b"", b"w")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"f", b"w")
    worker.socket.setblocking(False)
    data = memoryview(packet(kind, handle, b"x" * size) * 4)
    sent = 0
    while not until():
        if select.select([], [worker.socket], [], 0.05)[1]:
            try:
                sent += worker.socket.send(data[sent % len(data) :])
            except ConnectionError:
                break
    worker.socket.settimeout(10)
    worker.socket.sendall(data[sent % len(data) :])
    worker.expect_nothing()  # it is read from (again)
    return reader


def test_a_reader_that_never_reads_its_results(start_server: StartServer) -> None:
    """Its worker has to wait, so that little lies in memory; then it is dropped and the worker goes on."""
    server = start_server("--max-output=16M", "--reader-timeout=1")
    before = server.memory()
    other = server.connect()
    largest = 0

    def dropped() -> bool:
        nonlocal largest
        other.expect_nothing()
        largest = max(largest, server.memory())
        return met(server, "reader_timeout") == 1

    reader = produce(server, WORK_DATA, 100_000, dropped)
    assert is_gone(reader)
    assert largest - before < 24 * MIB
    assert met(server, "max_output") == 0
    assert len(lines(server, "reader_timeout")) == 1


def test_a_slow_reader_gets_more_than_may_lie_unread(start_server: StartServer) -> None:
    server = start_server("--max-output=4M")
    reader, worker = server.connect(), server.connect()
    worker.send(CAN_DO, b"f")
    handle = reader.submit(SUBMIT_JOB, b"f", b"", b"w")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"f", b"w")
    worker.socket.setblocking(False)
    results = b"".join(packet(WORK_DATA, handle, b"%06d" % n + b"x" * 65_536) for n in range(1000))
    unsent = memoryview(results + packet(WORK_COMPLETE, handle, b"end"))
    expected = 0
    while unsent or expected < 1000:  # 64 MB, sixteen times of what may lie unread
        if unsent and select.select([], [worker.socket], [], 0)[1]:
            unsent = unsent[worker.socket.send(unsent) :]
            continue
        _, data = reader.expect(WORK_DATA)
        assert data[:6] == b"%06d" % expected
        expected += 1
    reader.expect(WORK_COMPLETE, handle, b"end")
    assert met(server, "max_output") == met(server, "reader_timeout") == 0


def test_a_reader_that_leaves_too_much_unread(start_server: StartServer) -> None:
    """What ends jobs is not held up for it: many results add up until it is dropped."""
    server = start_server("--max-output=4M", "--max-packet=1M")
    before = server.memory()
    reader, worker = server.connect(), server.connect()
    worker.send(CAN_DO, b"f")
    for _ in range(100):
        reader.submit(SUBMIT_JOB, b"f", b"", b"w")
    for _ in range(100):
        worker.send(GRAB_JOB)
        kind, body = worker.receive()
        if kind is not JOB_ASSIGN:
            break
        worker.send(WORK_COMPLETE, body.split(b"\0")[0], b"x" * 200_000)
    eventually(lambda: is_gone(reader), "the end of the reader")
    assert met(server, "max_output") == 1
    assert server.memory() - before < 24 * MIB


def test_a_client_that_asks_for_many_listings_and_reads_none(start_server: StartServer) -> None:
    server = start_server()
    admin = server.connect()
    admin.send_bytes(b"".join(b"create function %s%d\n" % (b"x" * 200, n) for n in range(500)))
    for _ in range(500):
        admin.line()
    before = server.memory()
    clients = [server.connect() for _ in range(50)]
    for client in clients:
        client.send_bytes(b"status\n" * 200)  # 50 times 200 times 100 KB, if all were made at once
    for client in clients:
        client.take(1)
    assert server.memory() - before < 64 * MIB


# Connections


def refused(server: Server, source: str = HOST) -> bool:
    """Whether a new connection from an address of this machine is refused."""
    wire = Wire.__new__(Wire)
    wire.socket = socket.create_connection((HOST, server.port), 10, (source, 0))
    wire.buffer = bytearray()
    server.wires.append(wire)
    try:
        wire.send(ECHO_REQ, b"")
        kind, body = wire.receive()
    except ConnectionError:
        return True
    assert kind is ECHO_RES or body.startswith(b"TOO_MANY_CONNECTIONS\0"), body
    return kind is ERROR


def test_connections_in_all(start_server: StartServer, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = start_server("--max-connections=20", listen=(f"{HOST}:0", f"unix:{path}"))
    admin = server.connect(path)
    first = [server.connect() for _ in range(19)]
    for wire in first:
        wire.expect_nothing()
    assert all(refused(server) for _ in range(30))
    first[0].leave()
    eventually(lambda: len(admin.rows(b"workers")) == 19, "its end")
    assert not refused(server) and refused(server)
    also = server.connect(path)  # whoever has to look is let in all the same
    also.expect_nothing()
    tally = next(each for each in admin.manage("limits") if each["limit"] == "max_connections")
    assert (tally["most"], tally["met"], tally["last_by"]) == (20, 31, HOST)
    assert len(lines(server, "max_connections")) == 1


def test_connections_of_one_address(start_server: StartServer) -> None:
    server = start_server("--max-per-address=5")
    admin = [server.connect() for _ in range(5)][0]
    eventually(lambda: len(admin.rows(b"workers")) == 5, "all of them")
    assert refused(server) and refused(server)
    assert not refused(server, "127.0.0.2")
    (tally,) = [each for each in admin.manage("limits") if each["limit"] == "max_per_address"]
    assert (tally["most"], tally["used"], tally["met"], tally["last_by"]) == (5, 5, 2, HOST)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_accepting_pauses_while_there_are_no_files_and_does_not_spin(start_server: StartServer, loop: str) -> None:
    pytest.importorskip(loop)
    server = start_server(f"--loop={loop}")
    admin = server.connect()
    admin.expect_nothing()
    files = len(os.listdir(f"/proc/{server.pid}/fd"))
    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (files, before[1]))
    waiting = [server.connect() for _ in range(10)]  # the system takes them, the server can't
    server.expect_log("limit file_descriptors:")
    used = cpu_seconds(server.pid)
    waiting[0].send(ECHO_REQ, b"")
    waiting[0].socket.settimeout(3)
    with pytest.raises(TimeoutError):
        waiting[0].receive()
    assert cpu_seconds(server.pid) - used < 0.3  # of three seconds
    admin.expect_nothing()
    (tally,) = [each for each in admin.manage("limits") if each["limit"] == "file_descriptors"]
    assert 2 <= tally["met"] <= 6  # a try a second
    assert len(lines(server, "file_descriptors")) == 1
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
    waiting[0].socket.settimeout(10)
    waiting[0].expect(ECHO_RES, b"")
    for wire in waiting[1:]:
        wire.expect_nothing()


# Jobs


def submit_until_refused(client: Wire, function: bytes, workload: bytes, kind: int = SUBMIT_JOB_BG) -> int:
    """Submit until there is an ERROR, which must be QUEUE_ERROR; return how many jobs were taken."""
    for taken in range(1000):
        answer, body = client.ask(kind, function, b"", workload)
        if answer is ERROR:
            assert body.startswith(b"QUEUE_ERROR\0"), body
            return taken
        assert answer is JOB_CREATED
    pytest.fail("1000 jobs were taken")


def run_one(worker: Wire, function: bytes) -> None:
    """Take a job and end it."""
    worker.send(CAN_DO, function)
    worker.send(GRAB_JOB)
    worker.send(WORK_COMPLETE, worker.expect(JOB_ASSIGN)[0], b"")
    worker.expect_nothing()


def test_jobs_and_bytes_of_a_function(start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "gearstore.toml"
    file.write_text('[functions.few]\nmax_queue = 5\n[functions.small]\nmax_queue_bytes = "10K"\n')
    server = start_server(f"--config={file}")
    client, worker = server.connect(), server.connect()
    assert submit_until_refused(client, b"few", b"") == 5
    assert submit_until_refused(client, b"small", b"x" * 1000) == 10
    assert submit_until_refused(client, b"small", b"x" * 100) == 2  # what fits still fits
    assert submit_until_refused(client, b"small", b"x" * 1000, SUBMIT_JOB) == 0
    run_one(worker, b"small")
    assert submit_until_refused(client, b"small", b"x" * 1000) == 1
    assert (met(server, "max_queue"), met(server, "max_queue_bytes")) == (1, 4)
    server.kill()
    server.restart()
    client = server.connect()
    assert submit_until_refused(client, b"small", b"x" * 1000) == 0  # what waits counts after a restart too
    assert submit_until_refused(client, b"few", b"") == 0


def test_jobs_of_all_functions(start_server: StartServer) -> None:
    server = start_server("--max-jobs=10")
    client, worker = server.connect(), server.connect()
    assert submit_until_refused(client, b"f", b"") == 10
    assert submit_until_refused(client, b"g", b"") == 0
    run_one(worker, b"f")
    eventually(lambda: client.ask(SUBMIT_JOB_BG, b"g", b"", b"")[0] is JOB_CREATED, "room for one more")
    assert submit_until_refused(client, b"g", b"") == 0
    assert met(server, "max_jobs") >= 3
    assert row(server, "max_jobs")["used"] == 10


def test_bytes_of_all_functions(start_server: StartServer) -> None:
    server = start_server("--max-jobs-bytes=100K")
    client = server.connect()
    assert submit_until_refused(client, b"f", b"x" * 10_000) == 10
    assert submit_until_refused(client, b"g", b"x" * 10_000) == 0
    assert submit_until_refused(client, b"g", b"x" * 1_000) == 2
    assert row(server, "max_jobs_bytes")["used"] == 102_000


def test_memory_of_foreground_jobs(start_server: StartServer) -> None:
    server = start_server("--max-foreground=1M")
    client, worker = server.connect(), server.connect()
    assert submit_until_refused(client, b"f", b"x" * 100_000, SUBMIT_JOB) == 11
    assert client.ask(SUBMIT_JOB_BG, b"f", b"", b"x" * 100_000)[0] is JOB_CREATED  # that one is on disk
    run_one(worker, b"f")
    client.expect(WORK_COMPLETE)
    assert submit_until_refused(client, b"f", b"x" * 100_000, SUBMIT_JOB) == 1
    assert met(server, "max_foreground") == 2
    client.leave()
    eventually(lambda: row(server, "max_foreground")["used"] == 0, "the end of what nobody waits for")


def test_functions(start_server: StartServer) -> None:
    server = start_server("--max-functions=100")
    keeper, flood = server.connect(), server.connect()
    keeper.send(CAN_DO, b"f")
    for n in range(99):
        flood.send(CAN_DO, b"%d" % n)
    flood.send(CAN_DO, b"one too many")
    flood.ask(ECHO_REQ, b"no ERROR, which would put a worker of libgearman out of step")
    refused = keeper.ask(SUBMIT_JOB_BG, b"g", b"", b"w")
    assert refused == (ERROR, b"QUEUE_ERROR\0The server has as many functions as it may have")
    assert keeper.ask(SUBMIT_JOB_BG, b"f", b"", b"w")[0] is JOB_CREATED, "those that are there work on"
    assert (row(server, "max_functions")["used"], met(server, "max_functions")) == (100, 2)
    flood.leave()
    eventually(lambda: keeper.ask(SUBMIT_JOB_BG, b"g", b"", b"w")[0] is JOB_CREATED, "room for another one")
    eventually(lambda: row(server, "max_functions")["used"] == 2, "the end of those that nobody uses")
    server.kill()
    server = start_server("--max-functions=2", db=server.db)
    assert row(server, "max_functions")["used"] == 2


# What is told


def test_limits_are_reloaded(start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "gearstore.toml"
    file.write_text("max_connections = 5\nmax_jobs = 1\n")
    server = start_server(f"--config={file}")
    client = server.connect()
    assert submit_until_refused(client, b"f", b"") == 1
    file.write_text("max_connections = 7\nmax_jobs = 3\n")
    server.signal(1)
    server.expect_log("the configuration is reloaded")
    assert submit_until_refused(client, b"f", b"") == 2
    assert row(server, "max_connections")["most"] == 7


def test_what_was_met_stands_in_the_status(start_server: StartServer) -> None:
    server = start_server("--max-jobs=1")
    client = server.connect()
    (before,) = client.manage("status", total=True)
    assert before["total"]["limits_met"] == {}
    assert submit_until_refused(client, b"f", b"") == 1
    *_, after = client.manage("status", total=True)
    assert after["total"]["limits_met"] == {"max_jobs": 1}
