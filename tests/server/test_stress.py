"""Thousands of connections, workers and functions: everybody is served, and memory and descriptors come back.

What is counted here is work; how long it takes is measured by benchmarks/scale.py.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    ECHO_REQ,
    ECHO_RES,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
    PacketType,
)
from tests.server.process import HOST, Server, StartServer, eventually
from tests.server.wire import Wire, packet

pytestmark = pytest.mark.slow

DEADLINE = 240  # seconds that one of these tests may take on a busy machine
SPARE_FILES = 300  # descriptors of this process for other things
AT_ONCE = 500
MIB = 1 << 20


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """End a test that hangs."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test takes longer than {DEADLINE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(DEADLINE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def most() -> Iterator[int]:
    """How many connections this process can have: as many as its hard limit of open files allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard - SPARE_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def crowd(server: Server, number: int, greeting: bytes = b"") -> list[socket.socket]:
    """Return so many connections that have said something; the server has handled it."""
    socks: list[socket.socket] = []
    while len(socks) < number:
        new = [socket.create_connection((HOST, server.port), 60) for _ in range(min(AT_ONCE, number - len(socks)))]
        socks += new
        for sock in new:
            sock.sendall(greeting + packet(ECHO_REQ, b""))
        for sock in new:
            assert receive(sock)[0] is ECHO_RES
    return socks


def receive(sock: socket.socket) -> tuple[PacketType, bytes]:
    """Return type and body of the next response."""
    header = sock.recv(12, socket.MSG_WAITALL)
    assert len(header) == 12, "closed by the server"
    size = int.from_bytes(header[8:], "big")
    return PacketType(int.from_bytes(header[4:8], "big")), sock.recv(size, socket.MSG_WAITALL) if size else b""


def open_files(server: Server) -> int:
    """Return how many descriptors the server has open, those of its database apart: they come with their use."""
    number = 0
    for descriptor in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(OSError):
            number += "gearstore.db" not in os.readlink(descriptor)
    return number


def bytes_read(server: Server) -> int:
    """Return how many bytes the server has read so far, from sockets and files."""
    return int(Path(f"/proc/{server.pid}/io").read_text().split()[1])


def close(socks: list[socket.socket]) -> None:
    """Hang up all at once."""
    for sock in socks:
        sock.close()


def test_ten_thousand_idle_connections(start_server: StartServer, most: int) -> None:
    server = start_server()
    number = min(10_000, most)
    client = server.connect()
    client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    base, before = open_files(server), server.memory()
    peaks = []
    for _ in range(2):
        socks = crowd(server, number)
        assert open_files(server) == base + number
        peaks.append(server.memory())
        assert client.status(b"f") == (1, 0, 0)
        client.submit(SUBMIT_JOB_BG, b"g", b"same", b"")
        close(socks)
        eventually(lambda: open_files(server) == base, "all descriptors are given back")
    assert (peaks[0] - before) / number < 8192, "bytes for each of them"
    assert peaks[1] < peaks[0] + 4 * MIB, "the second crowd takes the room of the first"


def test_five_thousand_workers_of_one_function(start_server: StartServer, most: int) -> None:
    server = start_server()
    number = min(5000, most)
    client = server.connect()
    workers = crowd(server, number, packet(CAN_DO, b"f") + packet(PRE_SLEEP))
    assert client.status(b"f") == (0, 0, number)
    ears = Ears(workers)
    woken = 0
    for _ in range(20):
        client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
        woken += ears.serve_all(client, 1)
    assert woken < number / 10, "one worker for a job, and some more where it was slow"
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(number)))
    for _ in range(number):
        client.expect(JOB_CREATED)
    ears.serve_all(client, number)
    assert client.status(b"f") == (0, 0, number)
    ears.poll.close()
    close(workers)
    eventually(lambda: client.status(b"f") == (0, 0, 0), "no workers are left")


class Ears:
    """Many workers that do what they are woken for."""

    def __init__(self, workers: list[socket.socket]) -> None:
        self.workers = {worker.fileno(): worker for worker in workers}
        self.poll = select.epoll()
        for fd in self.workers:
            self.poll.register(fd, select.EPOLLIN)

    def serve_all(self, client: Wire, jobs: int) -> int:
        """Do so many jobs; return how many workers were woken for it."""
        woken = done = 0
        while done < jobs:
            for fd, _ in self.poll.poll(30):
                woken += 1
                done += self.serve(self.workers[fd])
        assert client.status(b"f") == (0, 0, len(self.workers))
        return woken

    def serve(self, worker: socket.socket) -> int:
        """Do what there is, and sleep again; return how many jobs it was."""
        assert receive(worker)[0] is NOOP
        done = 0
        worker.sendall(packet(GRAB_JOB))
        while (answer := receive(worker))[0] is JOB_ASSIGN:
            worker.sendall(packet(WORK_COMPLETE, answer[1].split(b"\0", 1)[0], b"") + packet(GRAB_JOB))
            done += 1
        assert answer[0] is NO_JOB
        worker.sendall(packet(PRE_SLEEP))
        return done


def test_a_thousand_functions(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client = server.connect()
    names = [b"function%03d" % n for n in range(1000)]
    for count in (1, 20):
        client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, name, b"", b"w" * 100) for name in names * count))
        for _ in range(1000 * count):
            client.expect(JOB_CREATED)
    rows = client.rows(b"status")
    assert [row[0] for row in rows] == names and {row[1] for row in rows} == {b"21"}

    def read_for_a_status() -> int:
        before = bytes_read(server)
        client.rows(b"status")
        return bytes_read(server) - before

    # (Once a second the server looks at its history, too.)
    eventually(lambda: read_for_a_status() < 1000, "no job is looked at: most of them are on disk only")
    worker = server.connect()
    worker.send_bytes(b"".join(packet(CAN_DO, name) for name in names))
    worker.send(GRAB_JOB)
    assert worker.expect(JOB_ASSIGN)[1] == names[-1]


GREETINGS = (
    b"",
    packet(ECHO_REQ, b"never read"),
    packet(CAN_DO, b"f") + packet(PRE_SLEEP),
    packet(SUBMIT_JOB, b"nobody", b"", b"w" * 1000),
    packet(SUBMIT_JOB_BG, b"kept", b"one", b"w"),
    b"\0REQ\0\0\0\7\0\1\0\0half a packet",
    b"status\n",
    b"garbage that is no packet and never ends",
)


def test_twenty_thousand_connects_and_disconnects(start_server: StartServer, most: int) -> None:
    server = start_server()
    client = server.connect()
    client.send(CAN_DO, b"other")
    client.expect_nothing()
    base = open_files(server)
    memory = []
    for _ in range(20):
        for start in range(0, 1000, 100):
            come_and_go(server, start)
        eventually(lambda: open_files(server) == base, "all descriptors are given back")
        memory.append(server.memory())
    assert memory[-1] < memory[1] + 4 * MIB, f"it grows: {[size // MIB for size in memory]} MiB"
    eventually(lambda: client.status(b"nobody") == (0, 0, 0), "what nobody waits for is dropped")
    assert client.status(b"f") == (0, 0, 0)
    assert client.status(b"kept") == (1, 0, 0)
    assert len(client.rows(b"workers")) == 1, "only this one is left"


def come_and_go(server: Server, start: int) -> None:
    """A hundred connections say something and leave, each in a way of its own."""
    socks = [socket.create_connection((HOST, server.port), 60) for _ in range(100)]
    for number, sock in enumerate(socks, start):
        sock.sendall(GREETINGS[number % len(GREETINGS)])
    for number, sock in enumerate(socks, start):
        if number % 3 == 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a RST
        elif number % 3 == 1:
            sock.shutdown(socket.SHUT_WR)
        sock.close()
