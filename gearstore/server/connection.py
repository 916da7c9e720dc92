"""One connection: bytes in, packets to commands, ordered bytes out, flow control. Nothing here knows what a job is for.

Answers leave in the order of the requests. One that waits for a commit holds back the later ones of this connection
only. Everything that a turn of the loop produced for a connection leaves in one write.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from struct import pack
from typing import TYPE_CHECKING, Any, cast

from gearstore.access import NONE, Rights
from gearstore.errors import QueueError
from gearstore.protocol.packets import HEADER, JOB_CREATED, RES, TLS_ALERT, error
from gearstore.protocol.parser import SPEAKS_TLS, Packet, PacketParser
from gearstore.queue.job import Job
from gearstore.queue.peer import Peer
from gearstore.store.journal import Batch

if TYPE_CHECKING:
    from gearstore.server.buffers import Buffered
    from gearstore.server.hub import Hub

logger = logging.getLogger("gearstore")

PACKETS_PER_TURN = 200  # of one connection; a client that pipelines thousands must not stall the others
HELD_ANSWERS = 2000  # answers of one connection that may wait for commits before it is not read from
WRITE_HIGH, WRITE_LOW = 256 << 10, 64 << 10  # bytes unsent: stop and start reading
AT_ONCE = pack("ii", 1, 0)  # of SO_LINGER

# Why a connection is not read from. (READER: what it produces is not read.)
TURN, WRITE, JOURNAL, BUSY, ANSWERS, ENDING, READER, DROPPED = 1, 2, 4, 8, 16, 32, 64, 128
HALTED = WRITE | READER  # not even what has been read is handled

NO_RIGHTS = Rights(NONE, NONE)  # of a connection that is not let in yet

_CREATED = tuple(HEADER.pack(RES, JOB_CREATED, size) for size in range(65))  # by the length of the handle
_NOT_STORED = error(b"QUEUE_ERROR", b"The job could not be stored")

Handler = Callable[["Connection", list[bytes]], None]


class Later(Exception):
    """Raised by a command that has to await something: later packets of the connection wait for it."""

    def __init__(self, work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        self.work = work  # not a coroutine yet: if the server ends before its turn, none is left behind
        self.args_of_work = args


class Connection(asyncio.Protocol):
    """The IO of one peer; client and worker at once if it likes."""

    # One of these for each idle worker: no __dict__.
    __slots__ = ("address", "buffered", "connected_at", "denied", "dirty", "drained", "engine", "fd", "handlers",
                 "held_by", "hub", "names", "near", "out", "parser", "paused", "peer", "readable", "rights", "role",
                 "stash", "transport",
                 "waiting")  # fmt: skip

    def __init__(self, hub: Hub, handlers: tuple[Handler, ...], role: str = "") -> None:
        # Shared
        self.hub = hub
        self.engine = hub.engine
        self.handlers = handlers
        # Of this connection
        self.transport: asyncio.Transport | None = None
        self.fd = -1
        self.address = b"-"
        self.connected_at = 0  # milliseconds since 1970
        self.role = role  # that its listener gives, empty for one that depends on where the peer is
        self.near = False  # its peer is on this machine
        self.names: tuple[str, ...] | None = None  # in the peer's certificate; none: it showed none; None: no TLS
        self.rights = NO_RIGHTS
        self.denied: dict[bytes, int] | None = None  # functions that it may not work on, though it asked; timeouts
        self.peer = Peer(self, hub.config.exceptions)
        # Reading
        self.parser = PacketParser(hub.config.max_packet, hub.config.max_line)
        self.stash: list[Packet] = []  # packets taken, but not handled before a command had to await
        self.paused = 0
        self.readable = False  # to be handled in this turn
        self.buffered: Buffered | None = None  # what of it lies in memory, None for most
        # Writing
        self.out: list[bytes] = []
        self.waiting: deque[tuple[Batch | None, bytes | Job, bool]] = deque()  # batch, answer, must it be stored
        self.held_by: Batch | None = None  # the commit that the next answer waits for
        self.dirty = False
        self.drained: asyncio.Future[None] | None = None

    # Life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter the hub."""
        self.transport = cast(asyncio.Transport, transport)  # (uvloop's is none by inheritance)
        self.transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        sock = transport.get_extra_info("socket")
        self.fd = sock.fileno()
        self.hub.enter(self, sock.family, transport.get_extra_info("peername"))
        if sock.family != socket.AF_UNIX:
            self.hub.tune(sock)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the hub; what was sent before the end still counts. The engine gives the worker's jobs to others."""
        self.hub.set_time()
        if self.paused & READER:
            self.paused &= ~READER
            self.readable = True
        while self.readable and not self.paused & BUSY:
            self.process()
        self.transport = None
        self.parser.forget()
        self.out.clear()
        self.waiting.clear()
        self.held_by = None
        if self.drained is not None and not self.drained.done():
            self.drained.cancel()
        self.hub.leave(self)

    def eof_received(self) -> bool:
        """Answer what was asked before, then close. (gearmand closes at once and the answers are lost.)"""
        self.pause(ENDING)
        self.mark()
        return True

    def close(self) -> None:
        """Close when everything that can be sent now has been handed to the kernel."""
        if self.transport is not None:
            self.flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self, reason: str) -> None:
        """Cut the connection."""
        if self.transport is not None:
            logger.warning("closed the connection of %s: %s", self.address.decode(), reason)
            self.transport.abort()

    def drop(self, limit: str, what: str) -> None:
        """Cut a connection that met a limit."""
        self.hub.buffers.forget(self)
        if self.transport is not None and not self.paused & DROPPED:
            self.paused |= DROPPED | WRITE
            self.hub.limits.met(limit, self.address, what)
            sock = self.transport.get_extra_info("socket")
            if sock.family != socket.AF_UNIX:
                with suppress(OSError):  # the kernel must not keep for it what it doesn't read
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            self.transport.abort()

    # Reading

    def data_received(self, data: bytes) -> None:
        """Take what came in; it is handled when all connections of this turn have been read from."""
        self.parser.feed(data)
        if not self.readable:
            self.readable = True
            self.hub.schedule_read(self)
        else:  # some loops read on and on: let what came be handled first
            self.pause(TURN)

    def process(self) -> None:
        """Handle up to PACKETS_PER_TURN packets; the rest when the others have had their turn."""
        self.readable = False
        if self.transport is None or (self.paused and self.held_up()):
            return
        parser = self.parser
        if self.stash:
            packets, self.stash = self.stash, []
        else:
            packets = parser.take(PACKETS_PER_TURN)
        if not self.handle(packets):
            return
        if parser.rest or parser.missing:
            if parser.error is not None:
                self.end_badly()
            else:
                self.hub.buffers.begun(self, bool(packets))
        elif self.buffered is not None:
            self.hub.buffers.finished(self)
        if len(packets) >= PACKETS_PER_TURN or self.paused & TURN:
            self.turn_over(bool(packets))
        if self.hub.journal.congested:
            self.pause(JOURNAL)
            self.hub.journal.paused[self] = None
        if len(self.waiting) > HELD_ANSWERS:
            self.pause(ANSWERS)
        if self.paused & ENDING:
            self.mark()  # it may be time to close

    def held_up(self) -> bool:
        """Whether what has been read has to wait: a command awaits something, or its answers, or what it produces, are
        not read and there shall be no more of them."""
        if self.paused & HALTED and not self.paused & BUSY:
            self.pause(TURN)
        return bool(self.paused & (BUSY | HALTED))

    def turn_over(self, more: bool) -> None:
        """Go on in the next turn; don't read more before this has been handled."""
        if more:
            self.pause(TURN)
            self.readable = True
            self.hub.schedule_read(self)
        else:
            self.resume(TURN)

    def handle(self, packets: Iterable[Packet]) -> bool:
        """Hand packets to their commands; False if one has to await and the rest is stashed.

        This is the border for faults of ours: an exception ends this connection, never the server.
        """
        handlers = self.handlers
        rest = iter(packets)
        for kind, args in rest:
            try:
                handlers[kind](self, args)
            except QueueError as refusal:
                self.refuse(refusal)
            except Later as later:
                self.stash = list(rest)
                self.pause(BUSY)
                self.hub.spawn(self.await_command(later))
                return False
            except Exception:
                logger.exception("a command failed (packet type %d)", kind)
                self.abort("a command failed, see above")
                return False
        return True

    def refuse(self, refusal: QueueError) -> None:
        """Answer what is refused."""
        self.note(refusal)
        self.reply(error(refusal.code, refusal.text))

    def note(self, refusal: QueueError) -> None:
        """Count a refusal if a limit is its reason."""
        if refusal.limit:
            self.hub.limits.met(refusal.limit, self.address, f"refused, {refusal.text.decode()}")

    async def await_command(self, later: Later) -> None:
        """Run a command that awaits, then go on with the packets behind it."""
        try:
            await later.work(*later.args_of_work)
        except QueueError as refusal:
            self.refuse(refusal)
        except Exception:
            if self.transport is not None:
                logger.exception("a command failed")
                self.abort("a command failed, see above")
            return
        self.resume(BUSY)
        self.turn_over(True)

    def end_badly(self) -> None:
        """Close after what can be answered is answered: the peer's bytes are not Gearman any more."""
        lost = self.parser.error
        assert lost is not None
        if lost.code is not None:
            self.reply(error(lost.code, str(lost).encode()))
        if lost.limit:
            self.hub.limits.met(lost.limit, self.address, f"closed, {lost}")
        elif str(lost) == SPEAKS_TLS:
            self.reply(TLS_ALERT)
            self.hub.seldom.warn(SPEAKS_TLS, "closed the connection of %s: %s", self.address.decode(), lost)
        else:
            self.hub.seldom.warn("bytes", "closed the connection of %s: %s", self.address.decode(), lost)
        self.parser.forget()
        self.pause(ENDING)
        self.mark()

    # Flow control: reading stops while any reason to pause holds

    def pause(self, reason: int) -> None:
        """Stop reading for a reason."""
        if not self.paused and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self.paused |= reason

    def resume(self, reason: int) -> None:
        """Drop a reason; read again if it was the last."""
        before = self.paused
        self.paused = before & ~reason
        if before and not self.paused and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The peer reads too slowly: take no more requests from it."""
        self.pause(WRITE)
        self.hub.buffers.fell_behind(self)

    def resume_writing(self) -> None:
        """The peer caught up."""
        if self.drained is not None and not self.drained.done():
            self.drained.set_result(None)
        self.hub.buffers.caught_up(self)
        self.go_on(WRITE)

    def wait_for_reader(self) -> None:
        """Who reads what this worker produces is far behind: produce no more."""
        self.pause(READER)

    def reader_is_ready(self) -> None:
        """It has caught up, or it is gone."""
        self.go_on(READER)

    def go_on(self, reason: int) -> None:
        """Drop a reason for which not even what has been read was handled."""
        self.resume(reason)
        if self.paused & TURN and not self.paused & HALTED and not self.readable:
            self.turn_over(True)

    async def drain(self) -> None:
        """Wait until the peer has read most of what was sent."""
        self.flush()
        if self.paused & WRITE and self.transport is not None:
            await self.caught_up()

    def caught_up(self) -> asyncio.Future[None]:
        """Return a future that ends when a peer that reads too slowly has caught up; cancelled when it leaves."""
        if self.drained is None or self.drained.done():
            self.drained = self.hub.loop.create_future()
        return self.drained

    # Writing

    def mark(self) -> None:
        """Have the connection flushed at the end of this turn."""
        if not self.dirty:
            self.dirty = True
            self.hub.schedule_write(self)

    def reply(self, data: bytes) -> None:
        """Send after everything that this connection is still owed."""
        held_by = self.held_by
        if held_by is not None:
            self.held_by = None
            if not held_by.done:
                self.waiting.append((held_by, data, False))
                return
        if self.waiting:
            self.waiting.append((None, data, False))
        else:
            self.out.append(data)
            if not self.dirty:
                self.dirty = True
                self.hub.schedule_write(self)

    def reply_after(self, batch: Batch | None, data: bytes) -> None:
        """Send once a batch is durable."""
        if batch is None or batch.done:
            self.reply(data)
        else:
            self._wait(batch, data, False)

    def hold_back(self, batch: Batch | None) -> None:
        """Send nothing more before a batch is durable."""
        if batch is not None and not batch.done:
            self.held_by = batch
            batch.waiters[self] = None

    def _wait(self, batch: Batch, answer: bytes | Job, must_be_stored: bool) -> None:
        if self.held_by is not None:  # may be younger than this batch
            self.waiting.append((self.held_by, b"", False))
            self.held_by = None
        self.waiting.append((batch, answer, must_be_stored))
        batch.waiters[self] = None

    def created(self, job: Job, background: bool) -> None:
        """Answer a submit with JOB_CREATED, a background one when the job is durable (ERROR if it can't be)."""
        batch = job.batch
        if batch is None:
            handle = job.handle
            self.reply(_CREATED[len(handle)] + handle)
        else:
            self._wait(batch, job, background)

    def release(self) -> None:
        """Let go of answers whose batch is durable now."""
        waiting, out = self.waiting, self.out
        while waiting:
            batch, item, background = waiting[0]
            is_bytes = type(item) is bytes
            if batch is not None and not batch.done and (is_bytes or not batch.refused or _looked_up_later(item)):
                break
            waiting.popleft()
            out.append(item if is_bytes else _answer(item, background))  # type: ignore[arg-type]
        self.mark()
        if self.paused & (JOURNAL | ANSWERS):
            self.resume(JOURNAL | ANSWERS if len(waiting) <= HELD_ANSWERS else JOURNAL)

    def flush(self) -> None:
        """Hand everything to the kernel in one write."""
        self.dirty = False
        transport = self.transport
        if transport is None:
            return
        if self.out:
            out, self.out = self.out, []
            data = b"".join(out) if len(out) > 1 else out[0]
            if data and not (self.paused & WRITE and self.too_far_behind(len(data))):
                transport.write(data)
        if self.paused and self.paused & (ENDING | BUSY | TURN) == ENDING and not self.readable and not self.owing:
            transport.close()

    def too_far_behind(self, more: int) -> bool:
        """Whether the peer has left too much unread and is cut off. What it left unread counts, not the `more` bytes of
        this turn: one answer may be larger than all that may be left."""
        if not self.paused & DROPPED and self.hub.buffers.behind(self, more):
            self.drop("max_output", f"dropped, it left more than {self.hub.config.max_output} bytes unread")
        return bool(self.paused & DROPPED)

    @property
    def owing(self) -> bool:
        """Whether something waits for a commit."""
        return bool(self.waiting) or (self.held_by is not None and not self.held_by.done)


def _looked_up_later(item: bytes | Job) -> bool:
    """Whether a foreground job still waits for its look-up, though its batch was refused: its handle may change."""
    return isinstance(item, Job) and item.batch is not None and item.stored_state < 0


def _answer(job: Job, background: bool) -> bytes:
    """Return JOB_CREATED, or ERROR if the store did not take the job: refused means not stored."""
    if background and job.stored_state < 0:
        return _NOT_STORED
    return _CREATED[len(job.handle)] + job.handle
