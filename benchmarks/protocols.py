"""How the servers are asked whether they answer, and how many jobs they count, as a second opinion on the generator."""

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol by the name that the generator knows; `queued` counts the jobs that wait or run."""

    name: str
    question: bytes
    answer: bytes
    queued: Callable[[BinaryIO], int]
    counts: bytes  # what makes the server say how many

    def answers(self, port: int) -> bool:
        """Return whether a server on the port answers."""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.sendall(self.question)
                return connection.recv(len(self.answer), socket.MSG_WAITALL) == self.answer
        except OSError:
            return False

    def jobs(self, port: int) -> int:
        """Return how many jobs a server on the port has."""
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
            connection.sendall(self.counts)
            with connection.makefile("rb") as answer:
                return self.queued(answer)


def gearman_jobs(answer: BinaryIO) -> int:
    """Add up the lines of `status`: function, jobs, of these running, workers."""
    rows = [line.split(b"\t") for line in iter(answer.readline, b".\n") if line.count(b"\t") >= 3]
    return sum(int(row[1]) for row in rows)


def redis_jobs(answer: BinaryIO) -> int:
    """Add up the lengths of two lists."""
    return sum(int(answer.readline()[1:]) for _ in range(2))


def beanstalkd_jobs(answer: BinaryIO) -> int:
    """Add up what the statistics of a tube count as there."""
    _, length = answer.readline().split()  # OK BYTES
    values = dict(line.split(b": ") for line in answer.read(int(length)).splitlines() if b": " in line)
    return sum(int(values[b"current-jobs-" + state]) for state in (b"ready", b"reserved", b"delayed", b"buried"))


ECHO_REQ, ECHO_RES = (magic + struct.pack(">II", kind, 4) + b"ping" for magic, kind in ((b"\0REQ", 16), (b"\0RES", 17)))
GEARMAN = Protocol("gearman", ECHO_REQ, ECHO_RES, gearman_jobs, b"status\n")
REDIS = Protocol("redis", b"PING\r\n", b"+PONG", redis_jobs, b"LLEN bench\r\nLLEN running\r\n")
BEANSTALKD = Protocol("beanstalkd", b"list-tube-used\r\n", b"USING default", beanstalkd_jobs, b"stats-tube default\r\n")
