"""Thousands of connections to one server, from one process: clients that do nothing, workers that sleep."""

import contextlib
import re
import resource
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

CAN_DO, PRE_SLEEP, NOOP, JOB_CREATED, GRAB_JOB, NO_JOB, JOB_ASSIGN = 1, 4, 6, 8, 9, 10, 11
WORK_COMPLETE, ECHO_REQ, ECHO_RES, SUBMIT_JOB_BG = 13, 16, 17, 18
SPARE_FILES = 100
AT_ONCE = 500  # connections between two looks at whether the server has taken them in
TIMEOUT = 60.0
HEADER = struct.Struct(">4sII")


def packet(kind: int, *args: bytes) -> bytes:
    """Return the bytes of a request."""
    body = b"\0".join(args)
    return HEADER.pack(b"\0REQ", kind, len(body)) + body


def connect(port: int) -> socket.socket:
    """Return a new connection."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def receive(sock: socket.socket) -> tuple[int, bytes]:
    """Return type and body of the next response."""
    header = sock.recv(HEADER.size, socket.MSG_WAITALL)
    if len(header) < HEADER.size:
        raise ConnectionError("the server has closed the connection")
    _, kind, size = HEADER.unpack(header)
    return kind, sock.recv(size, socket.MSG_WAITALL) if size else b""


def expect(sock: socket.socket, kind: int) -> bytes:
    """Return the body of the next response, which must be of this type."""
    found, body = receive(sock)
    if found != kind:
        raise ConnectionError(f"packet type {found} instead of {kind}: {body[:100]!r}")
    return body


def ping(sock: socket.socket) -> float:
    """Return the seconds that an echo takes."""
    began = time.perf_counter()
    sock.sendall(packet(ECHO_REQ, b"ping"))
    expect(sock, ECHO_RES)
    return time.perf_counter() - began


def most(wanted: int) -> int:
    """Raise the limit of open files as far as needed and allowed; return how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted + SPARE_FILES, hard)), hard))
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)


@contextlib.contextmanager
def crowd(port: int, number: int, greeting: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open so many connections, each of which sends the greeting; the server has handled all of it."""
    socks: list[socket.socket] = []
    try:
        while len(socks) < number:
            new = [connect(port) for _ in range(min(AT_ONCE, number - len(socks)))]
            socks += new
            for sock in new:
                sock.sendall(greeting + packet(ECHO_REQ, b"ping"))
            for sock in new:
                expect(sock, ECHO_RES)
        yield socks
    finally:
        for sock in socks:
            sock.close()


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10 if found else 0


class Ears:
    """Hears which of many connections have something to read."""

    def __init__(self, socks: Sequence[socket.socket]) -> None:
        self.socks = {sock.fileno(): sock for sock in socks}
        self.poll = select.epoll()
        for fd in self.socks:
            self.poll.register(fd, select.EPOLLIN)

    def awake(self) -> list[socket.socket]:
        """Return them."""
        return [self.socks[fd] for fd, _ in self.poll.poll(0)]
