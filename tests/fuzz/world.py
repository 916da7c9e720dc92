"""A whole server without sockets, disk and clock, made anew for each input: hub, engine, journal, memory store.

One connection speaks what the input says, another one behaves: it must be answered whatever the first one did.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from zlib import crc32

from gearstore.config import load_config
from gearstore.protocol import packets as p
from gearstore.protocol.packets import request, response
from gearstore.protocol.responses import Packet, ResponseParser
from gearstore.queue.job import QUEUED, JobState
from gearstore.server.commands import HANDLERS
from gearstore.server.connection import Connection
from gearstore.server.hub import Hub
from gearstore.server.text import GEARMAND_VERSION
from gearstore.store.journal import Journal
from gearstore.store.memory import MemoryStore
from tests.simulation.loop import Loop
from tests.simulation.wires import Socket

EPOCH = 1_700_000_000  # the wall clock at the beginning, in seconds
MAX_PACKET = 1 << 16
PATIENCE = 5000.0  # seconds of the loop's time after which an answer counts as missing
UNREAD, SLOWNESS = 1000, 0.05  # bytes that a slow reader leaves before the server is told, and for how many seconds
LONGEST_TIMER = 2.0  # seconds that anything in the server waits for
CONFIG = load_config({"memory": "1", "window": "16", "max_packet": str(MAX_PACKET)}, {}, None)[0]


class Violation(AssertionError):
    """Something that must never be, whatever a peer sends."""


class FaultHandler(logging.Handler):
    """Keeps what the server itself takes for a fault of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.faults: list[BaseException | str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception, or what was said of it."""
        error = record.exc_info[1] if record.exc_info else None
        self.faults.append(error or record.getMessage())


FAULTS = FaultHandler()
LOGGER = logging.getLogger("gearstore")


class FuzzHub(Hub):
    """The real hub by the loop's clock; once it is dead, its timers do nothing any more."""

    dead = False

    def set_time(self) -> None:
        """Tell the engine what time it is."""
        self.engine.now = int((EPOCH + self.loop.time()) * 1000)
        self.engine.monotonic = int(self.loop.time() * 1000)

    def tick(self) -> None:
        """Do what is due."""
        if not self.dead:
            super().tick()


class Wire(asyncio.Transport):
    """The server's end of a connection whose peer reads all at once, or only so much at a time."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop, slow: bool) -> None:
        super().__init__({"socket": Socket(number), "peername": None})
        self.connection: Connection
        self.loop = loop
        self.slow = slow
        self.sent: list[bytes] = []
        self.unread = 0
        self.closing = False

    def write(self, data: Any) -> None:
        """Send to the peer."""
        self.sent.append(bytes(data))
        if self.slow:
            before, self.unread = self.unread, self.unread + len(data)
            if before <= UNREAD < self.unread:
                self.connection.pause_writing()
                self.loop.call_later(SLOWNESS, self.catch_up)

    def catch_up(self) -> None:
        """The peer reads all that is there."""
        self.unread = 0
        self.connection.resume_writing()

    def get_write_buffer_size(self) -> int:
        """Return what the peer has not read."""
        return self.unread

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """They are ours."""

    def pause_reading(self) -> None:
        """What is sent comes all the same: a kernel may hold more than the server wants."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""

    def is_closing(self) -> bool:
        """Whether the server has closed it."""
        return self.closing

    def close(self) -> None:
        """End it."""
        self.closing = True

    abort = close


class Peer:
    """One peer of the server."""

    def __init__(self, hub: Hub, number: int, slow: bool) -> None:
        self.wire = Wire(number, hub.loop, slow)
        self.connection = self.wire.connection = Connection(hub, HANDLERS)
        self.connection.connection_made(self.wire)
        self._parser = ResponseParser()
        self._seen = 0
        self.marks = 0

    def send(self, data: bytes) -> None:
        """Hand bytes to the server, also while it has asked for none: what a kernel holds may be more than it wants."""
        if not self.wire.closing:
            self.connection.data_received(data)

    def received(self) -> list[Packet]:
        """Return the packets and lines that have come since the last call; raise ProtocolError for anything else."""
        new, self._seen = self.wire.sent[self._seen :], len(self.wire.sent)
        self._parser.feed(b"".join(new))
        packets = []
        while (packet := self._parser.take()) is not None:
            packets.append(packet)
        return packets

    def leave(self) -> None:
        """Go away."""
        self.connection.connection_lost(None)


class World:
    """The server for one input."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.store = MemoryStore()
        self.journal = Journal(self.store, FAULTS.faults.append)
        self.hub = FuzzHub(CONFIG, self.store, self.journal, loop)
        self.peers = 0

    def connect(self, slow: bool = False) -> Peer:
        """Return a new peer, which may be slow to read."""
        self.peers += 1
        return Peer(self.hub, self.peers, slow)

    async def live(self, scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        """Start, do what the scenario wants, check what must hold, end."""
        FAULTS.faults.clear()
        recovered = await self.store.open(b"H:fuzz:", 5, CONFIG.window)
        engine = self.hub.engine
        engine.chance = lambda: 0.5
        engine.prefixes = recovered.prefixes
        engine.next_id = engine.ids_until = recovered.next_id
        await self.journal.commit()
        committing = self.loop.create_task(self.journal.run())
        self.hub.tick()
        try:
            await self.furnish()
            await scenario(self)
            await self.answers_others()
            self.check_counts()
            self.check_faults()
        finally:
            self.hub.dead = True
            self.hub.cancel_tasks()
            committing.cancel()
            others = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(LONGEST_TIMER)  # else the loop would keep all that its timers know

    async def furnish(self) -> None:
        """Have some jobs in all states, a worker that sleeps and one that runs a job."""
        busy, idle = self.connect(), self.connect()
        idle.send(request(p.CAN_DO, b"sleepy") + request(p.PRE_SLEEP))
        submits = [request(p.SUBMIT_JOB_BG, b"f", b"", b"workload %d" % number) for number in range(6)]
        submits.append(request(p.SUBMIT_JOB_EPOCH, b"f", b"later", b"%d" % (EPOCH + 100_000), b"delayed"))
        submits.append(request(p.SUBMIT_JOB_HIGH_BG, b"g", b"one", b"high"))
        submits.append(request(p.SUBMIT_JOB, b"g", b"foreground", b"low"))
        busy.send(b"".join(submits))
        await asyncio.sleep(0.001)
        busy.send(request(p.CAN_DO, b"f") + request(p.GRAB_JOB) * 4)
        busy.send(request(p.WORK_COMPLETE, b"H:fuzz:000000000001", b"result"))
        busy.send(request(p.WORK_EXCEPTION, b"H:fuzz:000000000002", b"why it failed"))
        busy.send(b"cancel job H:fuzz:000000000006\n")
        await asyncio.sleep(0.001)

    async def pieces(self, peer: Peer, data: bytes) -> None:
        """Send the bytes in pieces whose size the bytes themselves decide."""
        size = 1 + crc32(data) % 1500
        for start in range(0, len(data), size):
            peer.send(data[start : start + size])
            if start // size % 4 == 3:
                await asyncio.sleep(0)

    async def answered(self, peer: Peer) -> list[Packet]:
        """Have the peer ask for an echo; return what comes before it. Raise Violation if it never comes."""
        peer.marks += 1
        mark = b"mark %d" % peer.marks
        echo = response(p.ECHO_RES, mark)
        peer.send(request(p.ECHO_REQ, mark))
        deadline, step = self.loop.time() + PATIENCE, 0.001
        while echo not in peer.wire.sent[-1:] and not b"".join(peer.wire.sent[-2:]).endswith(echo):
            if peer.wire.closing:
                raise Violation(f"the connection was closed: {b''.join(peer.wire.sent)[-200:]!r}")
            if self.loop.time() > deadline:
                raise Violation(f"no answer to what came before {mark!r}: {b''.join(peer.wire.sent)[-200:]!r}")
            await asyncio.sleep(step)
            step *= 1.5
        packets = peer.received()
        if packets.pop() != (p.ECHO_RES, [mark]):
            raise Violation("something came after the last answer")
        return packets

    async def answers_others(self) -> None:
        """Whatever has happened, a new connection is answered, and a job that it submits is stored."""
        other = self.connect()
        other.send(request(p.SUBMIT_JOB_BG, b"other", b"", b"workload") + b"version\n")
        (kind, created), line = await self.answered(other)
        if kind != p.JOB_CREATED or not line[1][0].startswith(b"OK " + GEARMAND_VERSION.encode()):
            raise Violation(f"the other connection got {kind} {created!r} {line!r}")
        record = self.store.records[int(created[0][-12:])]
        if (record.workload, record.state) != (b"workload", QUEUED):
            raise Violation(f"the job of the other connection is stored as {record!r}")
        other.leave()

    def check_counts(self) -> None:
        """What the engine counts is what there is, once nothing waits for the store."""
        journal = self.journal
        if not journal.batch.empty or journal.assignments or journal.aging or journal.under_way is not None:
            return
        stored: dict[tuple[int, int], int] = {}
        for record in self.store.records.values():
            stored[record.function_id, record.state] = stored.get((record.function_id, record.state), 0) + 1
        for function in self.hub.engine.functions.values():
            volatile = [job for job in self.hub.engine.jobs.values() if job.function is function and not job.background]
            for state in JobState:
                there = stored.get((function.id, state), 0) + sum(job.state is state for job in volatile)
                if function.states[state] != there:
                    raise Violation(f"{function.name!r} counts {function.states[state]} jobs as {state.name}: {there}")
            if sum(function.queued) != function.states[QUEUED]:
                raise Violation(f"{function.name!r} counts its queues wrongly")

    def check_faults(self) -> None:
        """Nothing was logged as a fault of ours."""
        for fault in FAULTS.faults:
            raise fault if isinstance(fault, BaseException) else Violation(fault)

    async def half_closes(self, peer: Peer) -> None:
        """Have a peer say that it sends no more: it gets its answers, then the server closes."""
        if not peer.wire.closing and peer.connection.eof_received() is not True:
            raise Violation("a connection is closed before its answers have gone")
        deadline = self.loop.time() + PATIENCE
        while not peer.wire.closing:
            if self.loop.time() > deadline:
                raise Violation("a connection stays though its peer has said that it sends no more")
            await asyncio.sleep(1.0)

    async def leaves(self, peer: Peer) -> None:
        """Let a peer go; nothing of it may stay, but for jobs."""
        peer.leave()
        await asyncio.sleep(0.001)
        if peer.connection in self.hub.connections or peer.connection in self.hub.pieces:
            raise Violation("a connection that ended is still known")
        if any(watch.conn is peer.connection for watch in self.hub.watches):
            raise Violation("a connection that ended is still told what happens")


_loop: Loop | None = None


def run(scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario on a server of its own. Raises Violation, or whatever else escapes."""
    global _loop
    if _loop is None:
        _loop = Loop()
        _loop.set_exception_handler(
            lambda loop, context: FAULTS.faults.append(context.get("exception") or context["message"])
        )
    LOGGER.addHandler(FAULTS)
    LOGGER.setLevel(logging.ERROR)
    LOGGER.propagate = False
    _loop.clock.now = 0.0
    asyncio.set_event_loop(_loop)
    _loop.run_until_complete(World(_loop).live(scenario))
    if _loop.clock.now > 10 * PATIENCE:
        raise Violation("time went by without end")
