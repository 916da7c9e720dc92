"""Submits beside peers that mean no good: slow senders, and readers that never read a flood of foreground results.

    python benchmarks/hostile.py [--senders N] [--seconds S] [--rounds N] [--dir FOLDER] [--check]

In each round the same submits run on an idle server and then on one under attack; figures are medians over the rounds.
With --check the exit code is 1 if the p99 is more than 5 times the idle one, or the server grows by more than 100 MiB.
Exit codes: 0 clean, 1 a run had errors or missed a limit, 2 nothing could be run.
"""

import argparse
import json
import multiprocessing
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from struct import Struct

import generator
from generator import Load, Shape
from servers import GEARSTORE, Running, ServerError, running

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
CLIENTS = 8  # that submit, one job at a time each
SIZE = 100  # bytes of their workloads
LONGEST, LARGEST = 5.0, 100 << 20  # times the idle p99; bytes beyond the idle memory
ANNOUNCED = 1 << 20  # bytes of the packets that never end
DRIBBLE = 0.1  # seconds between two bytes of a slow sender
RESULT = 64 << 10  # bytes of each result that nobody reads
AHEAD = 2000  # jobs that the reader has submitted: twice of what it may leave unread
SAMPLE = 0.02  # seconds between two looks at the memory

HEADER = Struct(">4sII")
CAN_DO, SUBMIT_JOB, GRAB_JOB, WORK_COMPLETE, ECHO_REQ = 1, 7, 9, 13, 16
JOB_ASSIGN = 11


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run of the generator saw, and the memory of the server in bytes: before, and at most."""

    load: Load
    before: int
    largest: int
    met: dict[str, int]


# The attack, in a process of its own


def packet(kind: int, *args: bytes) -> bytes:
    """Return a request."""
    body = b"\0".join(args)
    return HEADER.pack(b"\0REQ", kind, len(body)) + body


def connect(port: int) -> socket.socket:
    """Return a connection that does not send what it sends later than asked."""
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class SlowSenders:
    """They begin a packet each, and send another byte of it from time to time."""

    def __init__(self, port: int, number: int) -> None:
        self.port = port
        self.sockets = [self.begin() for _ in range(number)]
        self.next_at = 0.0

    def begin(self) -> socket.socket:
        """Return a connection with a packet that has begun."""
        sock = connect(self.port)
        sock.sendall(HEADER.pack(b"\0REQ", ECHO_REQ, ANNOUNCED))
        return sock

    def dribble(self) -> None:
        """Send a byte each, if it is time to; whoever was dropped comes back."""
        if time.monotonic() < self.next_at:
            return
        self.next_at = time.monotonic() + DRIBBLE
        for place, sock in enumerate(self.sockets):
            try:
                sock.sendall(b"x")
            except OSError:
                sock.close()
                with suppress(OSError):
                    self.sockets[place] = self.begin()


class Flood:
    """A client that submits foreground jobs and never reads, and a worker that answers each as fast as it can."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.worker = connect(port)
        self.worker.sendall(packet(CAN_DO, b"flood") + packet(GRAB_JOB))
        self.worker.settimeout(1.0)
        self.answers = self.worker.makefile("rb")
        self.reader = self.submit()

    def submit(self) -> socket.socket:
        """Return a client with jobs under way."""
        sock = connect(self.port)
        sock.sendall(packet(SUBMIT_JOB, b"flood", b"", b"") * AHEAD)
        return sock

    def answer(self) -> None:
        """Do a job; if there is none, the reader was dropped, or has submitted too little: another one comes."""
        _, kind, size = HEADER.unpack(self.answers.read(HEADER.size))
        body = self.answers.read(size)
        if kind == JOB_ASSIGN:
            self.worker.sendall(packet(WORK_COMPLETE, body.split(b"\0")[0], b"x" * RESULT) + packet(GRAB_JOB))
            return
        self.worker.sendall(packet(GRAB_JOB))
        poll = select.poll()
        poll.register(self.reader, select.POLLRDHUP)
        if poll.poll(0):
            self.reader.close()
            self.reader = self.submit()
        else:
            with suppress(OSError):
                self.reader.sendall(packet(SUBMIT_JOB, b"flood", b"", b"") * AHEAD)


def attack(port: int, senders: int, ready: Event) -> None:
    """Attack until the process is ended."""
    slow, flood = SlowSenders(port, senders), Flood(port)
    ready.set()
    while True:
        slow.dribble()
        flood.answer()


# Measuring


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10 if found else 0


def watch(pid: int, end: threading.Event, largest: list[int]) -> None:
    """Keep the largest memory until the end."""
    while not end.wait(SAMPLE):
        largest[0] = max(largest[0], memory(pid))


def limits_met(port: int) -> dict[str, int]:
    """Return how often which limit was met."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock, sock.makefile("rb") as lines:
        sock.sendall(b"gearstore limits\n")
        rows = [json.loads(line) for line in iter(lines.readline, b".\n")]
    return {row["limit"]: row["met"] for row in rows if row["met"]}


def measure(program: Path, target: Running, seconds: float) -> Seen:
    """Return what submits feel, and how large the server gets meanwhile."""
    before = memory(target.pid)
    largest, end = [before], threading.Event()
    watcher = threading.Thread(target=watch, args=(target.pid, end, largest))
    watcher.start()
    try:
        load = generator.run(program, Shape("submit-bg", CLIENTS, seconds=seconds), target.port, SIZE)
    finally:
        end.set()
        watcher.join()
    return Seen(load, before, largest[0], limits_met(target.port))


def under_attack(senders: int, port: int, work: Callable[[], Seen]) -> Seen:
    """Return what is measured while an attack goes on."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    attacker = context.Process(target=attack, args=(port, senders, ready), daemon=True)
    attacker.start()
    try:
        if not ready.wait(60):
            raise ServerError("the attack did not begin within 60 s")
        seen = work()
        if not attacker.is_alive():
            raise ServerError("the attack ended before the measurement")
        return seen
    finally:
        attacker.kill()
        attacker.join()


def measure_round(program: Path, options: argparse.Namespace) -> tuple[Seen, Seen]:
    """Return an idle run and one under attack, on the same server."""
    with running(GEARSTORE, options.dir) as target:
        generator.run(
            program, Shape("submit-bg", CLIENTS, seconds=0.5), target.port, SIZE
        )  # memory that it needs anyway
        idle = measure(program, target, options.seconds)
        hostile = under_attack(options.senders, target.port, lambda: measure(program, target, options.seconds))
    return idle, hostile


def report(name: str, found: Sequence[Seen]) -> tuple[float, float]:
    """Print the medians of some runs; return p99 in microseconds and memory in bytes."""
    p99, largest = median(seen.load.p99_us for seen in found), median(seen.largest for seen in found)
    p50, rate = median(seen.load.p50_us for seen in found), median(seen.load.ops_s for seen in found)
    met = ", ".join(f"{limit} {number} times" for limit, number in found[-1].met.items())
    print(
        f"{name:8} p50 {p50 / 1000:6.2f} ms   p99 {p99 / 1000:6.2f} ms   {rate:6.0f} submits/s   "
        f"{largest / (1 << 20):5.0f} MiB   {met}", flush=True,
    )  # fmt: skip
    return p99, largest


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Submits beside peers that mean no good.")
    parser.add_argument("--senders", type=int, default=500, help="slow senders (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians over (%(default)s)")
    parser.add_argument("--dir", type=Path, default=BUILD, help="folder on the disk to measure (%(default)s)")
    parser.add_argument("--check", action="store_true", help="exit 1 if a limit is missed")
    options = parser.parse_args(arguments)
    options.dir.mkdir(parents=True, exist_ok=True)
    try:
        program = generator.build(BUILD)
        rounds = [measure_round(program, options) for _ in range(options.rounds)]
    except (generator.GeneratorError, ServerError, OSError) as error:
        print(f"nothing could be measured: {error}", file=sys.stderr)
        return 2
    errors = [seen.load.detail for pair in rounds for seen in pair if seen.load.errors]
    for detail in errors:
        print(detail, file=sys.stderr)
    idle_p99, idle_memory = report("idle", [idle for idle, _ in rounds])
    p99, largest = report("attacked", [hostile for _, hostile in rounds])
    print(f"p99 {p99 / idle_p99:.1f} times the idle one, {(largest - idle_memory) / (1 << 20):.0f} MiB more memory")
    missed = p99 > LONGEST * idle_p99 or largest - idle_memory > LARGEST
    return 1 if errors or (options.check and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
