"""What all connections share: the engine, the journal, the set of connections, the end of each turn.

Also the engine's `Outbox` (whom to tell), and the few questions that only the store can answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from random import random
from time import perf_counter
from typing import TYPE_CHECKING, Any

from gearstore.address import is_loopback
from gearstore.config import Config
from gearstore.errors import StoreError
from gearstore.protocol.packets import NOOP, response
from gearstore.queue.calls import PATIENCE
from gearstore.queue.engine import Engine
from gearstore.queue.functions import Function
from gearstore.queue.job import ENDED, LIVE, RUNNING, Job
from gearstore.queue.peer import Peer
from gearstore.queue.record import Record, claimed, claimed_delayed, load
from gearstore.server.access import admit, readmit
from gearstore.server.buffers import Buffers
from gearstore.server.busy_poll import BusyPoll
from gearstore.server.commands import tell_failure
from gearstore.server.connection import Connection
from gearstore.server.limits import Limits
from gearstore.server.rates import Rates
from gearstore.server.seldom import Seldom
from gearstore.store.base import Filter, Store
from gearstore.store.journal import Journal

if TYPE_CHECKING:
    from gearstore.server.management.watching import Watch

logger = logging.getLogger("gearstore")

NEVER = float("inf")
CLAIM = 1024  # jobs read back at once: some milliseconds of the loop's time
PAGE = 500  # jobs of a listing read at once
CATCH_UP = 0.05  # seconds that it then gets to read what has come
LATE = 1.0  # seconds: a timer that is later than that tells that the process was stopped
LEVEL_NAMES = {logging.CRITICAL: "CRITICAL", logging.WARNING: "WARNING", logging.INFO: "INFO", logging.DEBUG: "DEBUG"}

_NOOP = response(NOOP)


class Durable:
    """Waits for one batch, as a connection does; unless patient, only while the store takes something."""

    def __init__(self, hub: Hub, patient: bool) -> None:
        self.batch = hub.journal.newest
        self.patient = patient
        self.future: asyncio.Future[None] = hub.loop.create_future()
        if self.batch is not None and (patient or not hub.journal.full):
            self.batch.waiters[self] = None
        else:
            self.future.set_result(None)

    def release(self) -> None:
        """The batch was tried; it may wait for space."""
        batch = self.batch
        if batch is not None and (batch.done or (batch.refused and not self.patient)):
            self.batch = None  # a ring of references would leave all of its jobs to the garbage collector
            if not self.future.done():
                self.future.set_result(None)


class Hub:
    """The shared half of the connections' state."""

    def __init__(self, config: Config, store: Store, journal: Journal, loop: asyncio.AbstractEventLoop) -> None:
        self.config = config
        self.store = store
        self.journal = journal
        self.loop = loop
        self.engine = Engine(journal, self, window=config.window)
        self.engine.chance = random
        self.limits = Limits(loop.time, lambda: self.engine.now)
        self.buffers = Buffers(self)
        self.seldom = Seldom(loop.time)
        self.busy_poll = BusyPoll(loop)
        self.connections: dict[Connection, None] = {}
        self.configure(config)
        journal.engine = self.engine
        journal.on_commit = self.end_turn
        self.watches: dict[Watch, None] = {}  # who is told of each transition
        self.rates = Rates(self.engine.functions)
        self.started_at = int(time.time() * 1000)
        self.closing = False
        self.importing = asyncio.Lock()
        self.pieces: dict[Connection, list[str]] = {}  # of what is too long for one line
        self.on_idle: asyncio.Event = asyncio.Event()  # set while no job runs
        self.history = asyncio.Lock()  # held from finding ended jobs until what is done to them is durable
        self._readable: list[Connection] = []
        self._dirty: list[Connection] = []
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the timer is, in the loop's seconds
        self._due_at: float = NEVER  # the same in the engine's milliseconds, NEVER while there is no timer
        self._not_before = 0.0

    def configure(self, config: Config) -> None:
        """Take over what may change while the server runs."""
        self.config = config
        engine = self.engine
        engine.set_policies(config.policies)
        engine.worker_wakeup = config.worker_wakeup
        engine.round_robin = config.round_robin
        engine.set_priority_scope(config.priority_scope == "global")
        engine.set_limits(config.max_jobs, config.max_jobs_bytes)
        engine.max_foreground = config.max_foreground
        engine.max_functions = config.max_functions
        self.limits.configure(config)
        self.buffers.configure(config)
        self.set_time()
        for connection in list(self.connections):
            readmit(connection)

    # Connections

    def enter(self, connection: Connection, family: int, peername: Any) -> None:
        """Take a new connection in."""
        if family == socket.AF_UNIX:
            connection.address = b"unix"
            connection.near = True
        elif peername:  # else it was reset before we had a look
            address = str(peername[0]).partition("%")[0]
            connection.address = address.encode()
            connection.near = is_loopback(address)
        connection.peer.address = connection.address
        connection.connected_at = int(time.time() * 1000)
        self.connections[connection] = None
        if connection.names is None:  # else it has to show its certificate first
            admit(connection)

    def leave(self, connection: Connection) -> None:
        """Let a connection go."""
        self.connections.pop(connection, None)
        self.pieces.pop(connection, None)
        self.buffers.forget(connection)
        self.limits.release(connection.fd)
        if not self.closing:
            self.set_time()
            self.engine.disconnect(connection.peer)
            connection.peer.connection = None  # a cycle: only the garbage collector, which runs rarely, would free them
            self.end_turn()

    def turn_away(self, connection: Connection, reason: str) -> None:
        """Cut a connection for a reason that many may give."""
        if connection.transport is not None:
            self.seldom.warn(reason, "closed the connection of %s: %s", connection.address.decode(), reason)
            connection.transport.abort()

    def tune(self, sock: socket.socket) -> None:
        """Send at once, and notice peers that vanished: gearmand leaves jobs to a worker behind a dead link for ever.

        (asyncio's loop sends at once only where the socket's protocol has a number, which an accepted one has not. With
        TCP_USER_TIMEOUT Linux does not count the probes: the silence must be as long as all of them take.)
        """
        config = self.config
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if config.keepalive:
            silence = config.keepalive_idle + config.keepalive_interval * config.keepalive_count
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in (
                (socket.TCP_KEEPIDLE, config.keepalive_idle),
                (socket.TCP_KEEPINTVL, config.keepalive_interval),
                (socket.TCP_KEEPCNT, config.keepalive_count),
                (socket.TCP_USER_TIMEOUT, silence * 1000),
            ):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that awaits; a reference is kept until it ends."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel_tasks(self) -> None:
        """Give up what is still awaited."""
        for task in list(self._tasks):
            task.cancel()

    # The engine's Outbox

    def wake(self, peer: Peer) -> None:
        """Send NOOP."""
        peer.connection.reply(_NOOP)

    def failed(self, job: Job) -> None:
        """Send WORK_FAIL to a job's clients."""
        tell_failure(job)

    def hold_back(self, peer: Peer, job: Job) -> None:
        """Let a worker wait with its next answer until what became of a job is durable: the job never runs again after
        it has got one."""
        peer.connection.hold_back(job.batch)

    # Turns of the loop and time

    def set_time(self) -> None:
        """Tell the engine what time it is."""
        self.engine.now = int(time.time() * 1000)
        self.engine.monotonic = int(time.monotonic() * 1000)

    def schedule_read(self, connection: Connection) -> None:
        """Have a connection's packets handled in this turn."""
        if not self._readable:
            self.journal.read_at = now = perf_counter()
            self.busy_poll.requested(now)
        self._readable.append(connection)
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self.turn)

    def schedule_write(self, connection: Connection) -> None:
        """Have a connection's output written at the end of this turn, with everything else that it gets in it."""
        self._dirty.append(connection)
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self.turn)

    def turn(self) -> None:
        """Handle what all connections sent, then write what they get: one write a connection.

        Doing the same for all of them, one after the other, keeps caches and branch predictors warm: each system call
        in between costs them (benchmarks/README.md, "hot path").
        """
        self._scheduled = False
        self.set_time()
        readable, self._readable = self._readable, []
        for connection in readable:
            connection.process()
        if not self._readable:
            self.journal.read_at = 0.0
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()
        if dirty:
            self.busy_poll.answered()
        self.end_turn()

    def end_turn(self) -> None:
        """Look after what the turn left: windows to fill, times to wait for, an end of draining."""
        engine = self.engine
        if engine.hungry:
            hungry, engine.hungry = engine.hungry, []
            for function, priority in hungry:
                if function.windows[priority].low:
                    function.windows[priority].changed = {}
                    self.spawn(self._feed(function, priority))
        if engine.delayed_low:
            engine.delayed_changed = set()
            self.spawn(self._feed_delayed())
        if self._due_at > engine.monotonic + PATIENCE or engine.timeouts.sooner or engine.delayed.sooner:
            self.arm()  # (a twentieth of a foreground job if it were done in each turn)
        if engine.draining and not any(function.states[RUNNING] for function in engine.functions.values()):
            self.on_idle.set()

    def arm(self) -> None:
        """Set the one timer to the next thing that is due, at most a second away: wall clocks jump."""
        engine = self.engine
        engine.timeouts.sooner = engine.delayed.sooner = False
        wait = engine.next_wait()
        if wait is None and self._timer is not None:
            return
        wait = 1000 if wait is None else min(1000, wait)
        due = max(self.loop.time() + wait / 1000, self._not_before)
        if self._timer is not None:
            if self._due <= due + 0.001:
                return
            self._timer.cancel()
        self._due = due
        self._due_at = engine.monotonic + wait
        self._timer = self.loop.call_at(due, self.tick)

    def tick(self) -> None:
        """Do what is due. After the process was stopped (SIGSTOP, a machine that was moved) what has come meanwhile is
        read first: a worker whose result is there has not taken too long."""
        self._timer = None
        self._due_at = NEVER
        now = self.loop.time()
        if now - self._due > LATE:
            self._not_before = now + CATCH_UP
            self.arm()
            return
        self.set_time()
        self.engine.tick()
        self.journal.kick()
        self.end_turn()

    async def fill(self) -> None:
        """Fill the windows before anybody asks: a worker that comes at once must not be told that there is no job."""
        self.set_time()
        for function in self.engine.functions.values():
            for priority, window in enumerate(function.windows):
                if window.on_disk:
                    window.changed = {}
                    await self._feed(function, priority)
        if self.engine.delayed_low:
            self.engine.delayed_changed = set()
            await self._feed_delayed()

    def start(self) -> None:
        """Begin to wait for times."""
        self.arm()
        self.sample()

    def sample(self) -> None:
        """Note once a second how many jobs have ended, what commits did, and who exceeds a limit of time."""
        self.rates.sample(self.loop.time())
        self.journal.receipt.sample()
        self.buffers.sweep()
        self.limits.tell()
        self.loop.call_later(1.0, self.sample)

    async def _feed(self, function: Function, priority: int) -> None:
        window = function.windows[priority]
        try:
            records = await self.store.claim(function.id, priority, window.after, CLAIM)
        except StoreError as error:
            logger.error("cannot read the queue of %r: %s", function.name, error)
            window.changed = None
            self.loop.call_later(1.0, self.engine.hungry.append, (function, priority))
            return
        self._tell_damage(records)
        claimed(self.engine, function, priority, records)
        if records:
            self.engine.feed(function, priority)
            self.end_turn()

    async def _feed_delayed(self) -> None:
        by_id = {function.id: function for function in self.engine.functions.values()}
        try:
            records = await self.store.claim_delayed(self.engine.delayed_from, CLAIM)
        except StoreError as error:
            logger.error("cannot read the delayed jobs: %s", error)
            records = []
        self._tell_damage(records)
        claimed_delayed(self.engine, by_id, records)
        if records:
            self.end_turn()

    def _tell_damage(self, records: list[Record]) -> None:
        """Say which jobs will be held because their rows were altered on disk."""
        for record in records:
            if not record.intact:
                handle = self.engine.handle(record.id).decode()
                logger.error("%s was altered on disk: it is held and not handed out; look at the disk", handle)

    def durable(self, patient: bool = True) -> asyncio.Future[None]:
        """Return a future that ends when everything changed so far is on disk, assignments included. Who only looks
        is not patient: an operator must be able to see what waits for space."""
        self.journal.store_assignments()
        return Durable(self, patient).future

    def level_name(self) -> str:
        """Return the log level by gearmand's name."""
        return LEVEL_NAMES.get(self.config.log_level, "ERROR")

    # Questions to the store

    def spilled(self) -> bool:
        """Whether jobs wait that only the store knows."""
        engine = self.engine
        return bool(engine.delayed_on_disk) or any(function.spilled for function in engine.functions.values())

    def may_be_on_disk(self, handle: bytes) -> bool:
        """Whether a handle that memory doesn't know may be that of a live job."""
        return self.spilled() and self.engine.number(handle) is not None

    async def record_of(self, handle: bytes) -> Record | None:
        """Return the stored job with this handle."""
        number = self.engine.number(handle)
        if number is None:
            return None
        records = await self.store.find(Filter(ids=[number]), True, None, 1)
        return records[0] if records else None

    async def job_of(self, handle: bytes) -> Job | None:
        """Return the live or held job with this handle, brought into memory if need be."""
        with self.engine.watching() as gone:
            record = None if handle in self.engine.jobs else await self.record_of(handle)
            job = self.engine.jobs.get(handle)
            if job is None and record is not None and record.state not in ENDED and record.id not in gone:
                job = load(self.engine, self.function_of(record), record)
        return job

    def function_of(self, record: Record) -> Function:
        """Return the function of a stored job."""
        return next(f for f in self.engine.functions.values() if f.id == record.function_id)

    async def unique_on_disk(self, unique: bytes) -> bool:
        """Whether a job with this unique waits on disk, whatever its function."""
        for function in list(self.engine.functions.values()):
            if await self.store.find_live(function.id, unique) is not None:
                return True
        return False

    async def live_records(self) -> AsyncIterator[Record]:
        """Yield the stored jobs that wait or run, by handle."""
        last = None
        while True:
            page = await self.store.find(Filter(states=LIVE), False, last, PAGE)
            for record in page:
                yield record
            if len(page) < PAGE:
                return
            last = page[-1].id
