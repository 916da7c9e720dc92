"""A process that loads a server, for `gearstore bench`: raw sockets, one loop, and nothing built that can be kept.

    python -m gearstore_cli.load ADDRESS submit|drain CONNECTIONS SECONDS SIZE NUMBER

It says `ready` once it is connected, begins when it gets a line, and ends with one line of JSON. NUMBER tells its jobs
from those of its siblings.
"""

import json
import resource
import select
import sys
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple, Optional

from gearstore.address import Address, parse_address
from gearstore.client.core import Priority, submit_request
from gearstore.client.sockets import open_socket
from gearstore.protocol.packets import (
    CAN_DO,
    GRAB_JOB_UNIQ,
    HEADER,
    HEADER_SIZE,
    JOB_ASSIGN_UNIQ,
    JOB_CREATED,
    NO_JOB,
    WORK_COMPLETE,
    request,
)

FUNCTION = b"gearstore-bench"
UNIQUE = 36  # characters, as libgearman sends
CHUNK = 1 << 16
TURN = 1.0  # seconds after which the end is looked for, if nothing comes


class Asked(NamedTuple):
    """What is to be done."""

    address: Address
    mode: str
    connections: int
    seconds: float
    size: int
    number: int


class Submitter:
    """Submits background jobs, the next one when the last one is answered."""

    hello = b""

    def __init__(self, asked: Asked, place: int) -> None:
        self.count = 0
        self.mark = b"%04x-%04x-" % (asked.number, place)
        blank = b"-" * UNIQUE
        self.head, self.tail = submit_request(FUNCTION, b"x" * asked.size, blank, Priority.NORMAL, True).split(blank)

    def first(self) -> bytes:
        """Return the first request."""
        return self.following(JOB_CREATED, b"") or b""

    def following(self, kind: int, body: bytes) -> Optional[bytes]:
        """Return the request after an answer; raise ValueError for any other answer than a handle."""
        if kind != JOB_CREATED:
            raise ValueError(f"a submit was answered with {body!r}")
        self.count += 1
        return self.head + self.mark + b"%026d" % self.count + self.tail


class Drainer:
    """Completes jobs, grabbing the next one in the same write."""

    hello = request(CAN_DO, FUNCTION)

    def __init__(self, asked: Asked, place: int) -> None:
        self.grab = request(GRAB_JOB_UNIQ)

    def first(self) -> bytes:
        """Return the first request."""
        return self.grab

    def following(self, kind: int, body: bytes) -> Optional[bytes]:
        """Return the request after an answer, None when there is no job left; raise ValueError for anything else."""
        if kind == NO_JOB:
            return None
        if kind != JOB_ASSIGN_UNIQ:
            raise ValueError(f"a grab was answered with {body!r}")
        return request(WORK_COMPLETE, body[: body.index(b"\0")], b"") + self.grab


MODES: dict[str, Callable[[Asked, int], "Submitter | Drainer"]] = {"submit": Submitter, "drain": Drainer}


class Peer:
    """One connection and what it is waiting for."""

    def __init__(self, asked: Asked, place: int) -> None:
        self.role = MODES[asked.mode](asked, place)
        self.socket = open_socket(asked.address)
        self.socket.sendall(self.role.hello)
        self.rest = b""
        self.asked_at = 0.0

    def ask(self, packet: bytes) -> None:
        """Send a request."""
        self.asked_at = perf_counter()
        self.socket.sendall(packet)

    def take(self) -> Optional[tuple[int, bytes]]:
        """Read; return kind and body of the answer if it is complete. There is one at a time."""
        data = self.socket.recv(CHUNK)
        if not data:
            raise ConnectionError("the server closed a connection")
        data = self.rest + data if self.rest else data
        if len(data) >= HEADER_SIZE:
            _, kind, size = HEADER.unpack_from(data)
            if len(data) >= HEADER_SIZE + size:
                self.rest = b""
                return kind, data[HEADER_SIZE:]
        self.rest = data
        return None


def drive(peers: list[Peer], seconds: float) -> tuple[list[int], float]:
    """Let all peers ask until the time is over or there is nothing left; return microseconds of each answer, and how
    many seconds it took until the last one."""
    poll = select.epoll()
    by_fd = {peer.socket.fileno(): peer for peer in peers}
    times: list[int] = []
    began = last = perf_counter()
    for fd, peer in by_fd.items():
        poll.register(fd, select.EPOLLIN)
        peer.ask(peer.role.first())
    busy = len(peers)
    while busy:
        for fd, _ in poll.poll(TURN):
            peer = by_fd[fd]
            answer = peer.take()
            if answer is None:
                continue
            now = perf_counter()
            packet = peer.role.following(*answer)
            if packet is not None:
                last = now
                times.append(int((now - peer.asked_at) * 1e6))
            if packet is None or now - began > seconds:
                busy -= 1
            else:
                peer.ask(packet)
    return times, last - began


def main(arguments: list[str]) -> None:
    """Connect, wait for the start, load, and report."""
    address, mode, *numbers = arguments
    connections, seconds, size, number = (float(each) for each in numbers)
    asked = Asked(parse_address(address), mode, int(connections), seconds, int(size), int(number))
    peers = [Peer(asked, place) for place in range(asked.connections)]
    print("ready", flush=True)
    if not sys.stdin.readline():
        return  # who wanted it is gone
    before = cpu()
    times, took = drive(peers, asked.seconds)
    print(json.dumps({"times": times, "seconds": took, "cpu": cpu() - before}), flush=True)


def cpu() -> float:
    """Return the seconds of processor time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
