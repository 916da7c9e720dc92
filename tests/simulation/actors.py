"""Clients and workers of a simulation. They do what real ones do, and what real ones should not do."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gearstore.protocol import packets as p
from gearstore.protocol.packets import request
from gearstore.protocol.responses import Packet
from tests.simulation.ledger import Submit, Violation
from tests.simulation.wires import Wire

if TYPE_CHECKING:
    from tests.simulation.world import World

BACKGROUND = (p.SUBMIT_JOB_HIGH_BG, p.SUBMIT_JOB_BG, p.SUBMIT_JOB_LOW_BG)
FOREGROUND = (p.SUBMIT_JOB_HIGH, p.SUBMIT_JOB, p.SUBMIT_JOB_LOW)
UNIQUES = (b"", b"", b"", b"", b"a", b"b", b"c", b"d")
PRIORITIES = (1, 1, 1, 1, 0, 2)


class Actor:
    """One connection's other end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        self.wire: Wire = world.connect(self)
        self.here = True

    def send(self, *packets: bytes) -> None:
        """Send packets in one go."""
        self.world.operations += len(packets)
        self.wire.send(b"".join(packets))

    def leave(self) -> None:
        """Hang up."""
        if self.here:
            self.wire.hang_up()

    def received(self, packet: Packet) -> None:
        """Something came from the server."""

    def sent(self, packet: Packet) -> None:
        """The server sent something; it may never arrive."""

    def lost(self) -> None:
        """The connection has ended."""
        self.here = False
        self.world.gone(self)


class Client(Actor):
    """Submits, waits, asks and cancels."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.submits: deque[Submit] = deque()  # not answered yet
        self.waiting: set[bytes] = set()  # handles of foreground jobs
        self.answered: set[bytes] = set()
        self.cancels: deque[bytes] = deque()

    def submit(self) -> None:
        """Submit some jobs, of all kinds."""
        chance = self.chance
        packets = []
        for _ in range(chance.choice((1, 1, 1, 2, 5, 20))):
            self.world.numbers += 1
            submit = Submit(
                b"w%d" % self.world.numbers, chance.choice(self.world.functions), chance.choice(UNIQUES),
                chance.choice(PRIORITIES), chance.random() < 0.8, 0.0,
            )  # fmt: skip
            kind = (BACKGROUND if submit.background else FOREGROUND)[submit.priority]
            if submit.background and chance.random() < 0.1:
                seconds = int(self.world.now()) + chance.choice((0, 1, 1, 2, 5))
                submit.due, submit.priority = float(seconds), 1
                packets.append(
                    request(p.SUBMIT_JOB_EPOCH, submit.function, submit.unique, b"%d" % seconds, submit.workload)
                )
            else:
                packets.append(request(kind, submit.function, submit.unique, submit.workload))
            self.world.ledger.submits[submit.workload] = submit
            self.submits.append(submit)
        self.send(*packets)

    def look(self) -> None:
        """Ask for the status of a job."""
        handle = self.world.some_handle()
        if handle:
            self.send(request(p.GET_STATUS, handle))

    def cancel(self) -> None:
        """Cancel a job; nothing else is asked on this connection until the answer is there."""
        handle = self.world.some_handle()
        if handle and not self.submits and not self.waiting:
            self.cancels.append(handle)
            self.send(b"cancel job " + handle + b"\n")

    def sent(self, packet: Packet) -> None:
        """Note what the server has promised, when it does."""
        kind, parts = packet
        if kind == p.TEXT and self.cancels:
            handle = self.cancels.popleft()
            if parts[0].startswith(b"OK"):
                self.world.ledger.cancel(handle, self.world.now())

    def received(self, packet: Packet) -> None:
        """Note what came."""
        kind, parts = packet
        if kind == p.JOB_CREATED:
            submit = self.submits.popleft()
            self.world.ledger.acknowledged(submit, parts[0])
            if not submit.background and parts[0] not in self.answered:
                self.waiting.add(parts[0])
        elif kind == p.ERROR:
            if parts[0] != b"QUEUE_ERROR":
                raise Violation(f"a client got {parts}")
            self.submits.popleft().refused = True
        elif kind in (p.WORK_COMPLETE, p.WORK_FAIL):
            self.waiting.discard(parts[0])
            self.answered.add(parts[0])
        elif kind == p.STATUS_RES and parts[1] == b"0":
            self.world.ledger.unknown(parts[0])


class Worker(Actor):
    """Grabs, works for a while, reports. It has one grab under way at a time."""

    def __init__(self, world: World, functions: list[bytes], limit: float) -> None:
        super().__init__(world)
        self.limit = limit  # seconds that it announces, 0: none
        self.asleep = False
        self.reports: list[tuple[bytes, str]] = []  # whose storing the next answer means
        self.at_work = 0
        register = [self.ability(name) for name in functions]
        self.send(*register, request(p.GRAB_JOB_UNIQ))

    def ability(self, name: bytes) -> bytes:
        """Return the packet that registers a function."""
        if self.limit:
            return request(p.CAN_DO_TIMEOUT, name, b"%d" % (self.limit * 1000))
        return request(p.CAN_DO, name)

    def sent(self, packet: Packet) -> None:
        """Note an assignment when it is made."""
        kind, parts = packet
        if kind == p.JOB_ASSIGN_UNIQ:
            handle, function, _, workload = parts
            self.world.assigned(self, handle, function, workload, self.limit)

    def received(self, packet: Packet) -> None:
        """Work, or sleep."""
        kind, parts = packet
        if kind in (p.JOB_ASSIGN_UNIQ, p.NO_JOB):
            for handle, outcome in self.reports:
                self.world.ledger.seal(handle, outcome)
            self.reports.clear()
        if kind == p.JOB_ASSIGN_UNIQ:
            self.work(parts[0])
        elif kind == p.NO_JOB:
            self.asleep = True
            self.send(request(p.PRE_SLEEP))
        elif kind == p.NOOP:
            if self.asleep:
                self.asleep = False
                self.send(request(p.GRAB_JOB_UNIQ))
        elif kind == p.ERROR:
            raise Violation(f"a worker got {parts}")

    def work(self, handle: bytes) -> None:
        """Take some time for a job, now and then for ever."""
        self.at_work += 1
        seconds = self.chance.choice((0.0, 0.0, 0.0, 0.001, self.chance.random(), 3.0))
        if self.world.ending:
            seconds = 0.0
        self.world.loop.call_later(seconds, self.report, handle)

    def report(self, handle: bytes) -> None:
        """Say how it ended, and ask for the next."""
        if not self.here:
            return
        draw = self.chance.random()
        if draw < 0.02 and not self.world.ending:
            self.leave()
            return
        outcome = "done" if draw < 0.9 else "failed"
        kind = p.WORK_COMPLETE if outcome == "done" else p.WORK_FAIL if draw < 0.95 else p.WORK_EXCEPTION
        packets = [request(p.WORK_STATUS, handle, b"1", b"2")] if draw > 0.85 else []
        packets.append(request(kind, handle) if kind == p.WORK_FAIL else request(kind, handle, b"said"))
        self.world.ledger.jobs[handle].reported.add(outcome)
        if self.world.holds(self, handle):
            self.reports.append((handle, outcome))
        self.send(*packets, request(p.GRAB_JOB_UNIQ))
