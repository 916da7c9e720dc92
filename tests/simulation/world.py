"""One run of the simulation: a seed decides everything, so a run that fails can be run again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from random import Random
from typing import Any
from unittest.mock import patch

from gearstore.config import Config, load_config
from gearstore.errors import StoreError
from gearstore.protocol.responses import ResponseParser
from gearstore.queue.endings import weight
from gearstore.queue.functions import Function
from gearstore.queue.job import ENDED, LIVE, QUEUED, JobState
from gearstore.queue.record import recover
from gearstore.server.commands import HANDLERS
from gearstore.server.connection import Connection
from gearstore.server.hub import Hub
from gearstore.store.journal import Journal
from tests.simulation.actors import Actor, Client, Worker
from tests.simulation.disk import Disk
from tests.simulation.ledger import Ledger, Violation
from tests.simulation.loop import Loop
from tests.simulation.wires import Wire

EPOCH = 1_700_000_000  # the wall clock at the beginning, in seconds
QUIET = 0.5  # seconds without new requests after which everything has arrived and is stored
PATIENCE = 0.3  # seconds after which nobody may sleep beside a job, though half of the workers hang
CLIENTS, WORKERS = 4, 5


class SimulatedHub(Hub):
    """The real hub by the simulation's clocks."""

    world: World
    dead = False

    def turn(self) -> None:
        """Go on, unless the process is not there any more."""
        if not self.dead:
            super().turn()

    def tick(self) -> None:
        """Go on, unless the process is not there any more."""
        if not self.dead:
            super().tick()

    def set_time(self) -> None:
        """Tell the engine what time it is."""
        self.engine.now = int(self.world.now() * 1000)
        self.engine.monotonic = int(self.loop.time() * 1000)


class World:
    """Everything in one run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.loop = Loop()
        self.ledger = Ledger()
        self.functions = [b"f", b"g", b"h"][: self.chance.choice((1, 2, 3))]
        self.operations = 0
        self.numbers = 0
        self.wires = 0
        self.jump = 0.0  # seconds that the wall clock was set forward
        self.ending = False
        self.actors: dict[Actor, None] = {}
        self.disk = Disk(self.chance)
        self.config = self.configuration()
        self.hub: SimulatedHub
        self.journal: Journal
        self.committing: asyncio.Task[None]
        self.failure: BaseException | None = None
        self.loop.set_exception_handler(self.failed)

    def configuration(self) -> Config:
        """Return what this seed configures."""
        flags = {"memory": "1", "window": "16", "job_retries": "6", "max_interruptions": "0"}
        draw = self.chance.random()
        if draw < 0.4:
            flags["worker_wakeup"] = "1" if draw < 0.2 else "0"
        if self.chance.random() < 0.3:
            flags["round_robin"] = "1"
        if self.chance.random() < 0.3:
            flags["priority_scope"] = "global"
        return load_config(flags, {}, None)[0]

    def failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep the first exception that a callback raised."""
        self.failure = self.failure or context.get("exception") or RuntimeError(context["message"])

    def now(self) -> float:
        """Return the time of the wall clock."""
        return EPOCH + self.loop.time() + self.jump

    # The server's lives

    async def boot(self) -> None:
        """Start the server on what the disk holds."""
        recovered = await self.disk.open(b"H:sim:", 1 << 30, self.config.window)
        self.journal = Journal(self.disk, self.store_failed)
        self.hub = SimulatedHub.__new__(SimulatedHub)
        self.hub.world = self
        self.hub.__init__(self.config, self.disk, self.journal, self.loop)  # type: ignore[misc]
        engine = self.hub.engine
        engine.chance = self.chance.random
        engine.observer = self.observed
        engine.prefixes = recovered.prefixes
        engine.next_id = engine.ids_until = recovered.next_id
        recover(engine, recovered.functions, recovered.counts)
        await self.journal.commit()
        await self.hub.fill()
        self.committing = self.loop.create_task(self.journal.run())
        self.hub.start()
        for _ in range(CLIENTS):
            Client(self)
        for _ in range(WORKERS):
            self.hire()

    def hire(self) -> None:
        """Have one more worker."""
        abilities = self.functions if self.chance.random() < 0.5 else [self.chance.choice(self.functions)]
        Worker(self, abilities, self.chance.choice((0.0, 0.0, 1.0, 2.0)))

    def store_failed(self, error: StoreError) -> None:
        """The journal gave up."""
        self.failure = self.failure or error

    async def kill(self) -> None:
        """`kill -9`, at this very moment."""
        old, self.disk = self.disk, self.disk.after_crash()
        old.dead = True
        await self.end()

    async def stop(self) -> None:
        """An orderly end."""
        self.hub.engine.draining = True
        self.disk.unwell = 0.0
        self.hub.closing = True
        self.hub.cancel_tasks()
        await self.journal.close()
        await self.disk.forget_numbers(self.hub.engine.next_id)
        self.disk, old = self.disk.after_crash(), self.disk
        old.dead = True
        await self.end()

    async def end(self) -> None:
        """Take the process away."""
        self.hub.closing = True
        self.hub.cancel_tasks()
        self.hub.dead = True
        self.committing.cancel()
        for actor in list(self.actors):
            actor.wire.die()
        await asyncio.gather(self.committing, return_exceptions=True)

    # What actors need

    def connect(self, actor: Actor) -> Wire:
        """Return a new connection."""
        self.wires += 1
        seen = ResponseParser()

        class Watched(Wire):
            def write(self, data: Any) -> None:
                if self.connection is None:
                    return  # its server is dead
                seen.feed(bytes(data))
                while (packet := seen.take()) is not None:
                    actor.sent(packet)
                super().write(data)

        wire = Watched(self.loop, self.chance, self.wires, actor.received, actor.lost)
        self.actors[actor] = None
        actor.wire = wire
        wire.connect(Connection(self.hub, HANDLERS))
        return wire

    def gone(self, actor: Actor) -> None:
        """The server knows of the end of a connection."""
        self.actors.pop(actor, None)
        self.ledger.gone(actor)

    def assigned(self, worker: Worker, handle: bytes, function: bytes, workload: bytes, limit: float) -> None:
        """A job was given to a worker."""
        self.ledger.assigned(worker, handle, function, workload, self.now(), limit)

    def observed(self, job: Any, what: bytes) -> None:
        """Something happened to a job."""
        try:
            if what == b"assigned":
                self.ledger.started_in_order(job.handle, job.function.name, job.priority, self.now())
            elif what in (b"cancelled", b"failed"):
                self.ledger.over(job.handle, what)
        except Violation as violation:  # the connection would take it for a fault of its command
            self.failure = self.failure or violation

    def holds(self, worker: Worker, handle: bytes) -> bool:
        """Whether the server gave this job to this worker last."""
        job = self.ledger.jobs[handle]
        return job.holder is worker and not (job.limit and self.now() > job.since + job.limit - 0.1)

    def some_handle(self) -> bytes:
        """Return the handle of some job that was acknowledged, an old one now and then."""
        handles = list(self.ledger.jobs)[-30:] if self.chance.random() < 0.8 else list(self.ledger.jobs)
        return self.chance.choice(handles) if handles else b""

    # The run

    def run(self, operations: int) -> int:
        """Run until so many packets were sent; return how many it were. Raises Violation."""
        with patch("gearstore.store.journal.ASSIGNMENT_DELAY", 0.025), patch("gearstore.queue.endings.MAX_DELAYED", 8):
            try:
                self.loop.run_until_complete(self.live(operations))
            finally:
                self.loop.run_until_complete(self.clear_away())
                self.loop.close()
        return self.operations

    async def clear_away(self) -> None:
        """Leave no task behind."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def live(self, operations: int) -> None:
        """Do all that the seed wants, then let everything come to its end."""
        await self.boot()
        while self.operations < operations:
            await self.step()
            if self.failure is not None:
                raise self.failure
        await self.finish()

    async def step(self) -> None:
        """Let something happen, then some time pass."""
        chance = self.chance
        clients = [actor for actor in self.actors if isinstance(actor, Client)]
        draw = chance.random()
        if draw < 0.6 and clients:
            chance.choice(clients).submit()
        elif draw < 0.66 and clients:
            chance.choice(clients).look()
        elif draw < 0.7 and clients:
            chance.choice(clients).cancel()
        elif draw < 0.72 and self.actors:
            chance.choice(list(self.actors)).leave()
        elif draw < 0.76 and self.actors:
            chance.choice(list(self.actors)).wire.stall(chance.random() < 0.4)
        elif draw < 0.78:
            self.disk.unwell = chance.choice((0.0, 0.0, 0.5, 1.0))
        elif draw < 0.79:
            self.jump += chance.choice((0.5, 3.0, 3600.0))
        elif draw < 0.8:
            await self.restart()
        elif draw < 0.83:
            await self.look_around()
        if len(self.actors) < CLIENTS + WORKERS:
            chance.choice((self.hire, lambda: Client(self)))()
        await asyncio.sleep(chance.choice((0.0, 0.0, 0.0, 0.001, 0.01, 0.01 * chance.random())))

    async def restart(self) -> None:
        """End in one way or the other, and start again."""
        if self.chance.random() < 0.8:
            await self.kill()
        else:
            await self.stop()
        await self.boot()

    async def quiet(self, hung: Collection[Actor] = ()) -> None:
        """Wait until everything has arrived and is stored; only with those who hang nothing arrives."""
        self.disk.unwell = 0.0
        for actor in self.actors:
            actor.wire.stall(actor in hung)
        await asyncio.sleep(QUIET)
        if self.failure is not None:
            raise self.failure

    async def let_some_hang(self) -> None:
        """Half of the workers read nothing any more; then something comes for them, and one of them may leave."""
        workers = [actor for actor in self.actors if isinstance(actor, Worker)]
        clients = [actor for actor in self.actors if isinstance(actor, Client)]
        hung = self.chance.sample(workers, len(workers) // 2)
        await self.quiet(hung)
        if clients:
            self.chance.choice(clients).submit()
        if hung and self.chance.random() < 0.5:
            await asyncio.sleep(0.03 * self.chance.random())
            self.chance.choice(hung).leave()
        await self.quiet([actor for actor in hung if actor.here])

    def sleeping_beside(self) -> Function | None:
        """Return a function with jobs on which somebody sleeps all the same."""
        for actor in self.actors:
            if isinstance(actor, Worker) and actor.asleep and actor.wire.silent and actor.wire.connection:
                for function in actor.wire.connection.peer.order:
                    if function.available():
                        return function
        return None

    async def look_around(self) -> None:
        """Look at what must hold whenever nothing is under way, also while a worker hangs."""
        await self.quiet()
        if not self.ending:
            await self.let_some_hang()
        engine = self.hub.engine
        if self.sleeping_beside():
            await asyncio.sleep(PATIENCE)  # one that hangs may have been called this very moment
            if function := self.sleeping_beside():
                raise Violation(f"a worker sleeps while {function.name!r} has jobs")
        stored: dict[tuple[int, int], int] = {}
        for record in self.disk.records.values():
            stored[record.function_id, record.state] = stored.get((record.function_id, record.state), 0) + 1
        journal = self.journal
        if not journal.batch.empty or journal.assignments or journal.aging or journal._committing.locked():
            return
        for function in engine.functions.values():
            alive = [job for job in engine.jobs.values() if job.function is function and not job.background]
            for state in JobState:
                volatile = sum(job.state is state for job in alive)
                if function.states[state] != stored.get((function.id, state), 0) + volatile:
                    raise Violation(f"{function.name!r} counts {function.states[state]} jobs as {state.name}")
            if sum(function.queued) != function.states[QUEUED]:
                raise Violation(f"{function.name!r} counts its queues wrongly")
            waiting = [each for each in self.disk.records.values() if each.function_id == function.id]
            size = sum(len(each.workload) for each in (*waiting, *alive) if each.state in LIVE)
            if function.bytes != size:
                raise Violation(f"{function.name!r} counts {function.bytes} bytes, not {size}")
        foreground = sum(weight(job) for job in engine.jobs.values() if not job.background)
        if engine.foreground != foreground:
            raise Violation(f"{engine.foreground} bytes of foreground jobs are counted, not {foreground}")

    async def finish(self) -> None:
        """Take all faults away and let every job come to its end; then everything promised must be true."""
        self.ending = True
        await self.quiet()
        for actor in [actor for actor in self.actors if isinstance(actor, Worker)]:
            actor.leave()
        await self.quiet()
        for _ in range(3):
            Worker(self, self.functions, 0.0)
        for _ in range(100):
            await asyncio.sleep(2.0)
            await self.look_around()
            alive = [*self.disk.records.values(), *self.hub.engine.jobs.values()]
            if not any(job.state in LIVE for job in alive):
                break
        self.judge()

    def judge(self) -> None:
        """Compare what was promised with what there is."""
        engine = self.hub.engine
        for job in self.ledger.jobs.values():
            record = self.disk.records.get(engine.number(job.handle) or 0)
            if job.durable and record is None:
                raise Violation(f"{job.handle!r} was acknowledged and is lost")
            if record is None:
                continue
            if job.durable and record.state not in ENDED:
                raise Violation(f"{job.handle!r} never ended, it is {JobState(record.state).name}")
            if (
                job.sealed
                and self.ledger.ended.get(job.handle) != b"cancelled"
                and JobState(record.state).name.lower() != job.sealed
            ):
                raise Violation(f"{job.handle!r} was reported {job.sealed}, stored is {JobState(record.state).name}")
            if job.workload and record.workload != job.workload:
                raise Violation(f"{job.handle!r} was {job.workload!r}, stored is {record.workload!r}")
        for record in self.disk.records.values():
            submit = self.ledger.submits.get(record.workload)
            if submit is None or (submit.refused and not submit.unique):
                raise Violation(f"{record.workload!r} is stored though it was refused, or never submitted")
        for actor in self.actors:
            if isinstance(actor, Client) and (actor.waiting or actor.submits):
                raise Violation(f"a client waits for ever: {actor.waiting} {actor.submits}")
        left = [job for job in engine.jobs.values() if job.state in LIVE]
        if left:
            raise Violation(f"jobs are left in memory: {[job.handle for job in left]}")
