"""Clients, workers and an operator who keep a server busy, and what they meant by what they sent.

What they were told is not asked of them: the record of what the server sent says more exactly when it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from threading import Condition, Thread

from gearstore.protocol.packets import (
    CAN_DO,
    ERROR,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN_UNIQ,
    JOB_CREATED,
    NOOP,
    PRE_SLEEP,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    SUBMIT_JOB_HIGH_BG,
    SUBMIT_JOB_LOW_BG,
    WORK_COMPLETE,
    WORK_FAIL,
)
from tests.server.process import Server
from tests.server.wire import Wire, packet

FUNCTIONS = (b"f", b"g")
PATIENCE = 60.0  # seconds without an answer, after which something hangs
SMALL = b"small"  # a function whose queue is soon full
SUBMITS = (SUBMIT_JOB_BG, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW_BG)


@dataclass
class Plan:
    """Who sent what, by the port of the connection; workloads of background jobs are all different."""

    clients: dict[int, list[bytes]] = field(default_factory=dict)  # workloads, in the order of the submits
    foreground: set[int] = field(default_factory=set)
    workers: set[int] = field(default_factory=set)
    operators: set[int] = field(default_factory=set)


def is_to_fail(workload: bytes) -> bool:
    """Tell how a job ends."""
    return workload.startswith(b"fails")


class Crowd:
    """All who talk to one server in one of its lives, each in a thread."""

    def __init__(self, server: Server, plan: Plan, name: bytes, seed: int) -> None:
        self.server = server
        self.plan = plan
        self.name = name
        self.random = Random(seed)
        self.answered = 0  # submits
        self.handles: list[bytes] = []
        self.progress = Condition()
        self.over = False

    def connect(self) -> tuple[Wire, int]:
        """Return a connection from a port that nobody had before."""
        while True:
            wire = self.server.connect()
            wire.socket.settimeout(PATIENCE)
            port = wire.socket.getsockname()[1]
            plan = self.plan
            if port not in plan.clients.keys() | plan.foreground | plan.workers | plan.operators:
                return wire, port

    def submit(self) -> None:
        """Submit jobs of all kinds, one to six at a time."""
        wire, port = self.connect()
        random, sent = Random(self.random.random()), self.plan.clients.setdefault(port, [])
        while True:
            requests = b""
            burst = random.choice((1, 1, 2, 6))
            for _ in range(burst):
                requests += self._request(random, port, sent)
            wire.send_bytes(requests)
            for _ in range(burst):
                kind, body = wire.receive()
                assert kind in (JOB_CREATED, ERROR), (kind, body)
                if kind is JOB_CREATED:
                    self.handles.append(body)
            with self.progress:
                self.answered += burst
                self.progress.notify_all()

    def _request(self, random: Random, port: int, sent: list[bytes]) -> bytes:
        workload = b"%s %d-%d " % (random.choice((b"ends", b"ends", b"fails")), port, len(sent))
        size = random.choice((0, 10, 100, 1000, 1000, 20_000))
        workload += random.randbytes(size)
        unique = random.choice((b"", b"-", b"%d-%d" % (port, len(sent) // 2)))  # now and then the same as just before
        sent.append(workload)
        if random.random() < 0.1:
            return packet(SUBMIT_JOB_EPOCH, FUNCTIONS[0], unique, b"%d" % (time.time() + 3600), workload)
        function = SMALL if random.random() < 0.1 else random.choice(FUNCTIONS)
        return packet(random.choice(SUBMITS), function, unique, workload)

    def ask(self) -> None:
        """Submit jobs that are not stored, but use up numbers."""
        wire, port = self.connect()
        self.plan.foreground.add(port)
        while self.await_progress(1):
            kind, body = wire.ask(SUBMIT_JOB, b"foreground", b"", b"")
            assert kind is JOB_CREATED or b"shutting down" in body

    def work(self) -> None:
        """Do jobs one after the other; each report leaves together with the next question."""
        wire, port = self.connect()
        self.plan.workers.add(port)
        wire.send_bytes(b"".join(packet(CAN_DO, function) for function in FUNCTIONS) + packet(GRAB_JOB_UNIQ))
        while True:
            kind, body = wire.receive()
            if kind is JOB_ASSIGN_UNIQ:
                handle, _, _, workload = body.split(b"\0", 3)
                report = packet(WORK_FAIL, handle)
                if not is_to_fail(workload):
                    report = packet(WORK_COMPLETE, handle, workload[:2000])
                wire.send_bytes(report + packet(GRAB_JOB_UNIQ))
            else:
                wire.send(PRE_SLEEP)
                wire.expect(NOOP)
                wire.send(GRAB_JOB_UNIQ)

    def operate(self) -> None:
        """Cancel a job now and then."""
        wire, port = self.connect()
        self.plan.operators.add(port)
        wire.text(b"maxqueue %s 3" % SMALL)
        random = Random(self.random.random())
        while self.await_progress(10):
            wire.manage_raw(b'gearstore cancel {"handles": ["%s"]}' % random.choice(self.handles[-50:]))

    def await_progress(self, jobs: int) -> bool:
        """Wait until so many more submits were answered; False if none will be any more."""
        wanted = self.answered + jobs
        with self.progress:
            self.progress.wait_for(lambda: self.answered >= wanted or self.over, PATIENCE)
        return not self.over

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let all of them work until the server ends their connections."""
        tasks = [self.submit] * 3 + [self.work] * 2 + [self.ask, self.operate]
        failures: list[BaseException] = []
        threads = [Thread(target=_until_the_end, args=(task, failures)) for task in tasks]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.server.process.wait(PATIENCE)
            with self.progress:
                self.over = True
                self.progress.notify_all()
            for thread in threads:
                thread.join()
            if failures:
                raise failures[0]


def _until_the_end(task: Callable[[], None], failures: list[BaseException]) -> None:
    try:
        task()
    except ConnectionError:
        pass  # the server has gone
    except BaseException as error:
        failures.append(error)
