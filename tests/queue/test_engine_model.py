"""The engine, the journal and the memory store together against a model of dicts and lists, by random histories.

Windows hold three jobs, so that spilling, claims and look-ups happen all the time; commits and claims are cut in two,
so that everything else happens in between; the server is killed and started again. Nothing waits for real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gearstore.errors import QueueError, StoreError
from gearstore.queue.calls import PATIENCE
from gearstore.queue.engine import Engine
from gearstore.queue.functions import Function
from gearstore.queue.job import (
    CANCELLED,
    DELAYED,
    DONE,
    ENDED,
    FAILED,
    HELD,
    HIGH,
    LIVE,
    LOW,
    NORMAL,
    PRIORITIES,
    QUEUED,
    RUNNING,
    Job,
    JobState,
    Reason,
    coalescing_key,
)
from gearstore.queue.job import WINDOW as IN_WINDOW
from gearstore.queue.operators import hold, replay, retry
from gearstore.queue.peer import Peer
from gearstore.queue.policy import REASONS, Backoff, Policies, Policy, Rule
from gearstore.queue.record import Record, claimed, claimed_delayed, load, recover
from gearstore.queue.waking import AUTO
from gearstore.store.base import REPLAY, Applied, Changes
from gearstore.store.journal import Batch, Journal
from gearstore.store.memory import MemoryStore

# What is drawn more often stands more than once.
FUNCTIONS = (b"f", b"f", b"f", b"g")
SUBMITTED = (NORMAL, NORMAL, NORMAL, HIGH, LOW)
UNIQUES = (b"", b"", b"a", b"b", b"c", b"d", b"e", b"-")
WINDOW = 3
ATTEMPTS = 3
INTERRUPTIONS = 2
PREFIX = b"H:model:"
CONCURRENCY = 2  # of g, whose failures are tried again after a while
BACKOFF = Backoff(20, jitter=0)
POLICIES = Policies(
    Policy(max_attempts=ATTEMPTS),
    (Rule("g", {"retry_on": frozenset(REASONS), "backoff": BACKOFF, "concurrency": CONCURRENCY}),),
)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still."""

    at = 0.0

    def time(self) -> float:
        return self.at


class HalfwayStore(MemoryStore):
    """A memory store that can stop in the middle of a commit, before or after it is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.stop_at = ""
        self.stopped: asyncio.Future[None] | None = None

    def may_know(self, hash: int) -> bool:
        return hash in self.hashes.values()

    async def apply(self, changes: Changes) -> Applied:
        if self.stop_at == "before":
            await self.stop()
        applied = await super().apply(changes)
        if self.stop_at == "after":
            await self.stop()
        return applied

    async def stop(self) -> None:
        self.stopped = asyncio.get_running_loop().create_future()
        await self.stopped


@dataclass(eq=False)
class Model:
    """A job as it should be."""

    job: Job
    function: bytes
    priority: int
    key: bytes
    background: bool
    order: int
    state: JobState = QUEUED
    run_at: int = 0
    visible: bool = False  # workers may have it
    acknowledged: bool = False
    ended_for_good: bool = False  # its end has been confirmed
    attempts: int = 0
    holder: Peer | None = None
    listeners: list[Peer] = field(default_factory=list)

    @property
    def handle(self) -> bytes:
        return PREFIX + b"%012d" % self.job.id


@dataclass
class Ticket:
    """An answer that is owed to somebody after a commit."""

    batch: Batch
    model: Model
    job: Job
    background: bool
    end: bool = False


class EngineMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.small = patch("gearstore.queue.endings.MAX_DELAYED", 2)
        self.small.start()
        self.store = HalfwayStore()
        self.models: dict[bytes, Model] = {}
        self.handles: set[bytes] = set()  # of all jobs that ever were
        self.now = 1_700_000_000_000
        self.monotonic = 0
        self.orders = 0
        self.mixed: set[int] = set()  # jobs some of whose attempts left no event: they were foreground then
        self.paused: dict[bytes | None, int] = {}  # None: all functions; until when
        self.wakeup = AUTO
        self.boot()

    @initialize(wakeup=st.sampled_from((AUTO, AUTO, 0, 1)))
    def choose(self, wakeup: int) -> None:
        self.wakeup = self.engine.worker_wakeup = wakeup

    # Driving

    def boot(self) -> None:
        self.tickets: list[Ticket] = []
        self.peers: list[Peer] = []
        self.asleep: list[Peer] = []
        self.called: dict[Peer, int] = {}  # workers that were woken and did not come yet -> for how many PATIENCEs
        self.claims: list[tuple[Function, int, list[Record] | None]] = []
        self.delayed_claim: list[list[Record] | None] = []
        self.commit_task: asyncio.Task[None] | None = None
        recovered = self.run(lambda: self.store.open(PREFIX, INTERRUPTIONS, WINDOW))
        self.journal = Journal(self.store, self.store_failed)
        self.engine = Engine(self.journal, self, window=WINDOW, worker_wakeup=self.wakeup)
        self.engine.set_policies(POLICIES)
        self.looked: dict[bytes, Record] = {}  # what an operator's verb has read
        self.gone: set[int] = set()
        self.purged: set[bytes] = set()
        self.journal.engine = self.engine
        self.engine.prefixes = recovered.prefixes
        self.engine.next_id = self.engine.ids_until = recovered.next_id
        self.engine.paused_at, self.engine.paused_until = recovered.paused
        recover(self.engine, recovered.functions, recovered.counts)
        self.set_time()
        self.run(self.journal.commit)
        self.age = 0
        self.connect([b"g", b"f"])
        self.connect([b"f"])
        for function in self.engine.functions.values():
            for priority, window in enumerate(function.windows):
                if window.on_disk:
                    self.engine.hungry.append((function, priority))

    def store_failed(self, error: StoreError) -> None:
        raise AssertionError(error)

    def set_time(self) -> None:
        self.engine.now, self.engine.monotonic = self.now, self.monotonic

    def run(self, work: Callable[[], Any]) -> Any:
        """Call something within the loop; await what it returns."""

        async def inside() -> Any:
            result = work()
            return await result if asyncio.iscoroutine(result) else result

        return self.loop.run_until_complete(inside())

    def spin(self) -> None:
        for _ in range(5):
            self.run(lambda: asyncio.sleep(0))

    # The engine's Outbox

    def wake(self, peer: Peer) -> None:
        assert peer in self.asleep, "woken, but it does not sleep"
        self.asleep.remove(peer)
        self.called[peer] = 0

    def failed(self, job: Job) -> None:
        assert job.listeners

    def hold_back(self, peer: Peer, job: Job) -> None:
        assert job.batch is not None

    # The model's part

    def next_order(self) -> int:
        self.orders += 1
        return self.orders

    def live(self) -> list[Model]:
        return [model for model in self.models.values() if model.state in LIVE]

    def requeue(self, model: Model) -> None:
        model.state, model.order, model.holder, model.visible = QUEUED, self.next_order(), None, True

    def lose(self, model: Model) -> None:
        """The worker of a job went away."""
        if not model.background and not model.listeners:
            self.end(model, CANCELLED)
        else:
            self.attempt_failed(model, Reason.LOST, True)

    def attempt_failed(self, model: Model, reason: bytes, again: bool) -> None:
        """An attempt went wrong: another one now or later, or the end."""
        policy = POLICIES.of(model.function)
        model.attempts += 1
        model.holder = None
        if not again or reason not in policy.retry_on or model.attempts >= ATTEMPTS:
            self.end(model, FAILED)
        elif policy.backoff and model.background:
            model.state, model.run_at = DELAYED, self.now + policy.backoff.delay(model.attempts, 0)
        else:
            self.requeue(model)

    def closed(self, name: bytes) -> bool:
        """Whether workers get no job of a function."""
        running = sum(model.state is RUNNING and model.function == name for model in self.models.values())
        return name in self.paused or None in self.paused or (name == b"g" and running >= CONCURRENCY)

    def end(self, model: Model, state: JobState) -> None:
        model.state, model.holder, model.visible = state, None, False
        model.listeners.clear()
        if not model.background:
            del self.models[model.handle]

    def await_end(self, model: Model) -> None:
        if model.background and model.job.batch is not None:
            self.tickets.append(Ticket(model.job.batch, model, model.job, True, end=True))

    def look_at_tickets(self) -> None:
        """Give the answers that a commit has made possible."""
        for ticket in [ticket for ticket in self.tickets if ticket.batch.done or ticket.batch.refused]:
            if ticket.end and not ticket.batch.done:
                continue
            self.tickets.remove(ticket)
            model = ticket.model
            if ticket.end:
                model.ended_for_good = model.state in ENDED
            elif ticket.background and ticket.job.stored_state < 0:
                pass  # ERROR
            elif ticket.job.handle != model.handle:
                other = self.models[ticket.job.handle]
                assert (other.function, other.key) == (model.function, model.key), "joined to another job"
            elif model.handle in self.models:
                model.acknowledged |= ticket.background

    def settle(self, refused: bool = False) -> None:
        """Follow what a commit did to jobs that were new, and to those that were to be forgotten."""
        for handle in [handle for handle in self.purged if self.models[handle].job.id not in self.store.records]:
            self.purged.remove(handle)
            del self.models[handle]
        for model in list(self.models.values()):
            job = model.job
            if job.batch is not None:
                continue
            if job.dropped:
                del self.models[model.handle]
                other = self.models.get(job.handle)
                if other is not None and other is not model and other.state in LIVE:
                    other.listeners += model.listeners
                elif not refused:
                    assert not model.listeners, "a client waits for a job that has ended"
                continue
            if model.background and not job.background:
                model.background = False  # refused: only its foreground clients get it done
                self.mixed.add(job.id)
            if model.state is QUEUED:
                model.visible = True
        self.look_at_tickets()

    # Rules: clients

    @precondition(lambda self: len(self.peers) < 4)
    @rule(abilities=st.lists(st.sampled_from(FUNCTIONS), max_size=2))
    def connect(self, abilities: list[bytes]) -> None:
        peer = Peer(len(self.peers))
        self.peers.append(peer)
        for name in abilities:
            self.run(partial(self.engine.can_do, peer, name, 0))

    @rule(
        function=st.sampled_from(FUNCTIONS),
        unique=st.sampled_from(UNIQUES),
        priority=st.sampled_from(SUBMITTED),
        client=st.integers(-5, 3),
        delay=st.sampled_from((0, 0, 0, 10, 20, 30, 500)),
        number=st.integers(1, 5),
    )
    def submit(self, function: bytes, unique: bytes, priority: int, client: int, delay: int, number: int) -> None:
        peer = self.peers[client] if 0 <= client < len(self.peers) else None
        run_at = self.now + delay if delay and peer is None else 0
        for _ in range(number):
            self.submit_one(function, unique, priority, peer, run_at)

    @rule(
        priority=st.sampled_from(SUBMITTED),
        uniques=st.lists(st.sampled_from(UNIQUES), min_size=4, max_size=9),
        delay=st.sampled_from((0, 0, 0, 0, 20)),
        commit=st.booleans(),
    )
    def fill(self, priority: int, uniques: list[bytes], delay: int, commit: bool) -> None:
        """Submit more than fits into a window."""
        for number, unique in enumerate(uniques):
            self.submit_one(b"f", unique, priority, None, self.now + delay + number if delay else 0)
        if commit and self.commit_task is None:
            self.commit()

    def submit_one(self, function: bytes, unique: bytes, priority: int, peer: Peer | None, run_at: int) -> None:
        background = peer is None
        job = self.run(lambda: self.engine.submit(peer, function, unique, b"w", priority, background, run_at))
        self.follow(job, function, unique, priority, peer, run_at)

    def follow(self, job: Job, function: bytes, unique: bytes, priority: int, peer: Peer | None, run_at: int) -> None:
        """Take note of the job that a submit made or joined."""
        background = peer is None
        model = self.models.get(PREFIX + b"%012d" % job.id)
        if model is None:
            assert job.handle not in self.handles, "a handle was used again"
            self.handles.add(job.handle)
            model = Model(
                job, function, priority, coalescing_key(unique, b"w"), background, self.next_order(),
                DELAYED if run_at else QUEUED, run_at, visible=not background and job.batch is None,
            )  # fmt: skip
            self.models[job.handle] = model
            twins = [
                m for m in self.live() if m is not model and m.key and (m.function, m.key) == (function, model.key)
            ]
            for twin in twins:
                assert job.batch is not None, "a unique that lives in memory was not joined"
                assert self.engine.jobs.get(twin.handle) is not twin.job or twin.job.place == 3
        else:
            assert (model.function, model.key) == (function, coalescing_key(unique, b"w")), "joined a wrong job"
            assert model.state in LIVE, "joined a job that has ended"
            if model.background != background:
                self.mixed.add(job.id)
            if background and not model.background and model.state is QUEUED and not model.visible:
                model.order = self.next_order()  # its look-up is under way: as if submitted just now
            model.background |= background
        if peer is not None:
            model.listeners.append(peer)
        if job.batch is not None:
            self.tickets.append(Ticket(job.batch, model, job, background))
        elif background:
            assert model.acknowledged

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(self.peers))
        held = [model for model in self.models.values() if model.holder is peer]
        if peer in self.asleep:
            self.asleep.remove(peer)
        self.peers.remove(peer)
        self.called.pop(peer, None)
        self.run(lambda: self.engine.disconnect(peer))
        for model in sorted(held, key=lambda model: list(peer.past or ()).index(model.handle)):
            self.lose(model)
        for model in list(self.models.values()):
            if peer in model.listeners:
                model.listeners = [other for other in model.listeners if other is not peer]
                if not model.listeners and not model.background and model.state is QUEUED:
                    self.end(model, CANCELLED)

    # Rules: workers

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), name=st.sampled_from(FUNCTIONS), can=st.booleans())
    def can_or_cant_do(self, data: st.DataObject, name: bytes, can: bool) -> None:
        peer = data.draw(st.sampled_from(self.peers))
        function = self.engine.functions.get(name)
        if can or function is None:
            self.run(lambda: self.engine.can_do(peer, name, 0))
            return
        held = [job.id for job in peer.jobs.values() if job.function is function]
        could = function in peer.abilities
        self.run(lambda: self.engine.cant_do(peer, function))
        for id in held if could else []:
            self.lose(next(model for model in self.models.values() if model.job.id == id))

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), number=st.integers(1, 4), then_sleep=st.booleans())
    def grab(self, data: st.DataObject, number: int, then_sleep: bool) -> None:
        peer = data.draw(st.sampled_from(self.peers))
        for _ in range(number):
            self.grab_one(peer)
        if then_sleep:
            self.sleep()

    def grab_one(self, peer: Peer) -> Model | None:
        order = list(peer.order)
        self.called.pop(peer, None)
        job = self.run(lambda: self.engine.grab(peer))
        if peer in self.asleep:
            self.asleep.remove(peer)
        waiting = [model for model in self.live() if model.state is QUEUED and model.visible]
        order = [function for function in order if not self.closed(function.name)]
        if job is None:
            for function in order:
                assert function.spilled or not [m for m in waiting if m.function == function.name], "a job was missed"
            return None
        model = self.models.get(job.handle)
        assert model is not None and model in waiting, "a job was assigned that does not wait"
        assert (job.function.name, job.workload) == (model.function, b"w")
        assert job.function in order, "a function that is paused, or has enough running"
        for function in order[: order.index(job.function)]:
            assert function.spilled or not [m for m in waiting if m.function == function.name], "wrong function first"
        for other in waiting:
            if other.function == model.function and other is not model:
                assert (model.priority, model.order) < (other.priority, other.order), "out of order"
        model.job, model.state, model.holder, model.visible = job, RUNNING, peer, False
        assert list(job.listeners) == model.listeners
        return model

    @precondition(lambda self: any(model.holder for model in self.models.values()))
    @rule(data=st.data(), how=st.sampled_from(("complete", "complete", "fail")), number=st.integers(1, 3))
    def report(self, data: st.DataObject, how: str, number: int) -> None:
        for _ in range(number):
            running = [model for model in self.models.values() if model.holder]
            if running:
                self.report_one(data.draw(st.sampled_from(running)), how)

    def report_one(self, model: Model, how: str) -> None:
        peer = model.holder
        assert peer is not None
        job = self.engine.held(peer, model.handle, b"")
        assert job is model.job
        if how == "complete":
            self.run(lambda: self.engine.complete(job, b""))
            model.attempts += 1
            final = True
        else:
            final = self.run(lambda: self.engine.fail(job, Reason.FAIL))
        assert list(job.listeners) == model.listeners
        assert self.engine.held(peer, model.handle, b"") is None
        if final:
            self.engine.told(job)
        if how == "complete":
            self.end(model, DONE)
        else:
            self.attempt_failed(model, Reason.FAIL, model.background)
        assert final == (model.state in ENDED)
        if final:
            self.await_end(model)

    @precondition(lambda self: self.peers)
    @rule()
    def sleep(self) -> None:
        for peer in self.peers:
            slept = self.run(partial(self.engine.sleep, peer))
            if slept:  # else it gets NOOP at once, and who was called still is
                self.called.pop(peer, None)
            if slept and peer not in self.asleep:
                self.asleep.append(peer)
            elif not slept and peer in self.asleep:
                self.asleep.remove(peer)

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), number=st.integers(1, 9), feed=st.booleans(), then_sleep=st.booleans())
    def work(self, data: st.DataObject, number: int, feed: bool, then_sleep: bool) -> None:
        """Grab and complete at once, and go to sleep."""
        peer = data.draw(st.sampled_from(self.peers))
        if feed:
            self.claim_all()
        for _ in range(number):
            model = self.grab_one(peer)
            if model is not None:
                self.report_one(model, "complete")
        if then_sleep:
            self.sleep()

    # Rules: operators

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from([self.models[handle] for handle in sorted(self.models)]))
        job = self.engine.jobs.get(model.handle)
        if job is None:
            record = self.store.records[model.job.id]
            if record.state not in (*LIVE, HELD):
                assert model.state in ENDED
                return
            job = self.run(lambda: load(self.engine, self.engine.functions[model.function], record))
        if model.state in ENDED:
            return
        model.job = job
        self.run(lambda: self.engine.cancel(job))
        self.end(model, CANCELLED)
        self.await_end(model)

    @rule()
    def look(self) -> None:
        """An operator's verb reads the history; what it does comes later."""
        self.engine.watchers.clear()
        self.gone = set()
        self.engine.watchers.append(self.gone)
        self.looked = {self.engine.handle(record.id): record for record in self.store.records.values()}

    def chosen(self, data: st.DataObject, states: tuple[JobState, ...]) -> tuple[Model, Record] | None:
        """Return a job that was in one of these states when it was looked at; each is met once."""
        found = [
            handle
            for handle, record in sorted(self.looked.items())
            if record.state in states and handle in self.models and handle not in self.purged
        ]
        if not found:
            return None
        handle = data.draw(st.sampled_from(found))
        record = self.looked.pop(handle)
        if handle not in self.engine.jobs and record.id in self.gone:
            return None  # it has changed since
        return self.models[handle], record

    @rule(data=st.data(), delay=st.sampled_from((0, 0, 15)))
    def retry(self, data: st.DataObject, delay: int) -> None:
        found = self.chosen(data, (FAILED, CANCELLED, HELD))
        if found is None or self.twin_on_disk(found[0]):
            return
        model, record = found
        run_at = self.now + delay if delay else 0
        function = self.engine.functions[model.function]
        try:
            job = self.run(lambda: retry(self.engine, function, record, run_at, held_only=model.state is HELD))
        except QueueError:
            twins = [m for m in self.live() if m.key and (m.function, m.key) == (model.function, model.key)]
            assert twins or model.job.batch is not None or model.state not in (FAILED, CANCELLED, HELD)
            return
        assert model.state in (FAILED, CANCELLED, HELD)
        model.job = job
        model.ended_for_good = False
        if run_at:
            model.state, model.run_at = DELAYED, run_at
        else:
            self.requeue(model)

    @rule(data=st.data(), drop_unique=st.booleans(), delay=st.sampled_from((0, 0, 15)))
    def replay(self, data: st.DataObject, drop_unique: bool, delay: int) -> None:
        found = self.chosen(data, ENDED)
        if found is None or found[0].state not in ENDED or (not drop_unique and self.twin_on_disk(found[0])):
            return
        model, record = found
        function = self.engine.functions[model.function]
        run_at = self.now + delay if delay else 0
        unique = b"" if drop_unique else record.unique
        try:
            job = self.run(lambda: replay(self.engine, function, record, run_at, drop_unique=drop_unique))
        except QueueError:
            assert [m for m in self.live() if m.key and (m.function, m.key) == (model.function, model.key)]
            return
        assert job.replay_of == record.id
        self.follow(job, model.function, unique, record.priority, None, run_at)

    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        found = self.chosen(data, (QUEUED, DELAYED))
        if found is None:
            return
        model, record = found
        job = self.run(lambda: load(self.engine, self.engine.functions[model.function], record))
        try:
            self.run(lambda: hold(self.engine, job))
        except QueueError:
            assert model.state not in (QUEUED, DELAYED) or not model.background or model.listeners
            return
        model.job, model.state, model.visible = job, HELD, False

    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        found = self.chosen(data, ENDED)
        if found is None or found[0].state not in ENDED:
            return
        self.run(lambda: self.journal.prune([found[1].id]))
        self.purged.add(found[0].handle)

    @rule(name=st.sampled_from((b"f", b"g", None)), length=st.sampled_from((0, 25)))
    def pause(self, name: bytes | None, length: int) -> None:
        until = self.now + length if length else 0
        self.run(lambda: self.engine.pause(None if name is None else self.engine.function(name), until))
        self.paused[name] = until

    @precondition(lambda self: self.paused)
    @rule()
    def resume(self) -> None:
        for name in list(self.paused):
            self.run(partial(self.engine.resume, None if name is None else self.engine.functions[name]))
        self.paused.clear()

    def twin_on_disk(self, model: Model) -> bool:
        if not model.key:
            return False
        other = self.run(lambda: self.store.find_live(self.engine.functions[model.function].id, model.key))
        return other is not None and other.id != model.job.id

    # Rules: time

    @rule(milliseconds=st.sampled_from((1, 10, 25, PATIENCE, 1000)))
    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds
        self.monotonic += milliseconds
        self.set_time()
        if milliseconds >= PATIENCE:
            self.called = {peer: age + 1 for peer, age in self.called.items()}
        self.run(self.engine.tick)
        self.paused = {name: until for name, until in self.paused.items() if not 0 < until <= self.now}
        due = [model for model in self.models.values() if model.state is DELAYED and self.is_due(model)]
        for model in due:
            model.job = self.engine.jobs[model.handle]
        due.sort(key=lambda model: model.job.position)  # what is due at the same time has no order of its own
        assert [model.run_at for model in due] == sorted(model.run_at for model in due)
        for model in due:
            assert model.run_at <= self.now, "too early"
            self.requeue(model)

    def is_due(self, model: Model) -> bool:
        job = self.engine.jobs.get(model.handle)
        return job is not None and job.state is QUEUED

    @rule(seconds=st.sampled_from((0.006, 0.02)))
    def age_assignments(self, seconds: float) -> None:
        self.loop.at += seconds
        self.spin()

    # Rules: commits and claims, whole or in halves

    @precondition(lambda self: self.commit_task is None)
    @rule(stop_at=st.sampled_from(("before", "after")))
    def begin_commit(self, stop_at: str) -> None:
        self.store.stop_at = stop_at
        self.commit_task = self.loop.create_task(self.journal.commit())
        self.spin()
        self.store.stop_at = ""

    @precondition(lambda self: self.commit_task is not None)
    @rule()
    def finish_commit(self) -> None:
        assert self.commit_task is not None and self.store.stopped is not None
        self.store.stopped.set_result(None)
        task, self.commit_task = self.commit_task, None
        self.run(lambda: self.wait_for(task))
        self.settle()

    async def wait_for(self, task: asyncio.Task[None]) -> None:
        await task

    @precondition(lambda self: self.commit_task is None)
    @rule()
    def commit(self) -> None:
        self.run(self.journal.commit)
        self.settle()

    @precondition(lambda self: self.commit_task is None)
    @rule()
    def commit_on_a_full_disk(self) -> None:
        unstored = [
            m for m in self.models.values() if m.job.stored_state < 0 and m.background and m.job.batch is not None
        ]
        self.store.full = True
        task = self.loop.create_task(self.journal.commit())
        self.spin()
        self.loop.at += 1
        self.spin()
        assert task.done()
        task.result()
        self.store.full = False
        for model in unstored:
            model.listeners = list(model.job.listeners)
        self.settle(refused=True)

    def begin_claims(self, read: bool) -> None:
        hungry, self.engine.hungry = self.engine.hungry, []
        for function, priority in hungry:
            window = function.windows[priority]
            if window.low:
                window.changed = {}
                self.claims.append((function, priority, self.read(function, priority) if read else None))
        if self.engine.delayed_low:
            self.engine.delayed_changed = set()
            self.delayed_claim.append(self.read_delayed() if read else None)

    def read(self, function: Function, priority: int) -> list[Record]:
        records: list[Record] = self.run(
            lambda: self.store.claim(function.id, priority, function.windows[priority].after, 2)
        )
        return records

    def read_delayed(self) -> list[Record]:
        records: list[Record] = self.run(lambda: self.store.claim_delayed(self.engine.delayed_from, 2))
        return records

    def finish_claims(self) -> None:
        for function, priority, records in self.claims:
            records = self.read(function, priority) if records is None else records
            self.run(partial(claimed, self.engine, function, priority, records))
            for record in records:  # durable, though its commit may not have said so yet
                model = self.models.get(self.engine.handle(record.id))
                if model is not None and model.state is QUEUED and self.engine.jobs.get(model.handle):
                    model.visible |= self.engine.jobs[model.handle].place == IN_WINDOW
            if records:
                self.engine.feed(function, priority)
        by_id = {function.id: function for function in self.engine.functions.values()}
        for delayed in self.delayed_claim:
            records = self.read_delayed() if delayed is None else delayed
            self.run(partial(claimed_delayed, self.engine, by_id, records))
        self.claims, self.delayed_claim = [], []

    @precondition(lambda self: not self.claims and not self.delayed_claim)
    @rule(read=st.booleans())
    def begin_claim(self, read: bool) -> None:
        self.begin_claims(read)

    @precondition(lambda self: self.claims or self.delayed_claim)
    @rule()
    def finish_claim(self) -> None:
        self.finish_claims()

    @rule()
    def claim_all(self) -> None:
        for _ in range(20):
            self.finish_claims()
            self.begin_claims(True)
            if not self.claims and not self.delayed_claim:
                return
        self.finish_claims()

    # Rules: ends of the server

    @precondition(lambda self: self.age > 15)
    @rule(orderly=st.booleans())
    def restart(self, orderly: bool) -> None:
        if orderly:
            if self.commit_task is not None:
                self.finish_commit()
            self.run(self.journal.close)
            self.settle()
            assert not self.tickets
            self.run(lambda: self.store.forget_numbers(self.engine.next_id))
            stored = {function.name: function.paused_until for function in self.store.functions.values()}
            for name, until in self.paused.items():
                assert (self.store.paused[1] if name is None else stored[name]) == until, "a pause is lost"
        elif self.commit_task is not None:
            self.commit_task.cancel()
            self.spin()
        for model in self.models.values():
            record = self.store.records.get(model.job.id)
            if model.handle in self.purged:
                continue
            if model.acknowledged or (orderly and model.background):
                assert record is not None, "an acknowledged job is lost"
            if model.ended_for_good:
                assert record is not None and record.state == model.state, "an end that was confirmed is lost"
            if orderly and model.background:
                assert record is not None and record.state == model.state
        before = {id: record.state for id, record in self.store.records.items()}
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.boot()
        self.rebuild(before)

    def rebuild(self, before: dict[int, int]) -> None:
        """Take over what the store has, after checking it against what it had."""
        names = {function.id: function.name for function in self.engine.functions.values()}
        models = {}
        self.orders = max([self.orders, *(record.position for record in self.store.records.values())]) + 1
        for record in self.store.records.values():
            if before[record.id] == RUNNING:
                assert record.interruptions and record.state == (
                    HELD if record.interruptions > INTERRUPTIONS else QUEUED
                )
            else:
                assert record.state == before[record.id]
            handle = PREFIX + b"%012d" % record.id
            old = self.models.get(handle)
            assert old is not None or record.state in ENDED, "a refused job is back"
            job = Job(record.id, handle, self.engine.functions[names[record.function_id]], b"", b"w", 0, 0, True)
            job.stored_state = record.state
            models[handle] = Model(
                job, names[record.function_id], record.priority, coalescing_key(record.unique, record.workload),
                True, record.position, JobState(record.state), record.run_at, visible=record.state == QUEUED,
                acknowledged=True, ended_for_good=record.state in ENDED, attempts=record.attempts,
            )  # fmt: skip
        for rank, model in enumerate(sorted(models.values(), key=lambda model: model.order), 1):
            model.order = rank
        self.models = models
        engine = self.engine
        self.paused = {function.name: function.paused_until for function in engine.paused}
        if engine.paused_at:
            self.paused[None] = engine.paused_until

    # What always holds

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        for name, function in self.engine.functions.items():
            here = [model for model in self.models.values() if model.function == name]
            for state in JobState:
                expected = sum(model.state is state for model in here)
                assert function.states[state] == expected, f"{function.states[state]} {state.name}, not {expected}"
            for priority in PRIORITIES:
                assert function.queued[priority] == sum(m.state is QUEUED and m.priority == priority for m in here)
            if not function.spilled:
                assert function.ready == sum(model.state is QUEUED and model.visible for model in here)
            assert function.ready >= 0 and function.spilled >= 0
            assert function.spilled == sum(window.on_disk for window in function.windows)
            live = [model for model in here if model.state in LIVE]
            assert function.bytes == sum(len(model.job.workload) for model in live)
            for window in function.windows:
                assert window.size >= 0 and window.bytes >= 0 and window.on_disk >= 0

    @invariant()
    def one_holder_each(self) -> None:
        self.age += 1
        held = [(peer, job.id) for peer in self.peers for job in peer.jobs.values()]
        assert len({id for _, id in held}) == len(held)
        assert set(held) == {(model.holder, model.job.id) for model in self.models.values() if model.holder}

    @invariant()
    def nobody_sleeps_beside_a_job(self) -> None:
        for peer in self.peers:
            assert peer.asleep == (peer in self.asleep)
            if peer.asleep and None not in self.paused:
                for function in peer.order:
                    called = [p for p, age in self.called.items() if age < 2 and function in p.abilities]
                    assert called or not function.available(), "asleep, and nobody was called"
                    if not function.spilled and not self.closed(function.name):
                        jobs = [m for m in self.live() if m.function == function.name and m.visible]
                        one_each = self.wakeup == AUTO and not function.concurrency
                        assert len(called) >= (len(jobs) if one_each else min(1, len(jobs))), "asleep"

    @invariant()
    def who_is_called_is_known(self) -> None:
        called = [peer for peer in self.peers if peer.called_for is not None]
        assert set(called) == set(self.engine.calls._called) and not [peer for peer in called if peer.asleep]
        for function in self.engine.functions.values():
            assert function.called == sum(peer.called_for is function for peer in called)
        assert bool(called) == bool(self.engine.calls.look_at)

    @invariant()
    def delayed_jobs_are_known(self) -> None:
        assert self.engine.delayed_on_disk >= 0

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.small.stop()
            self.loop.close()

    def drain(self) -> None:
        """Let everything run to its end: each job must be served, once, and nothing may be left in memory."""
        if self.commit_task is not None:
            self.finish_commit()
        self.resume()
        for peer in list(self.peers):
            for model in [model for model in self.models.values() if model.holder is peer]:
                self.report_one(model, "complete")
        worker = Peer("last")
        self.peers.append(worker)
        for name in list(self.engine.functions):
            self.run(partial(self.engine.can_do, worker, name, 0))
        for _ in range(300):
            if not self.live():
                break
            self.commit()
            self.claim_all()
            self.advance(1000)
            while (taken := self.grab_one(worker)) is not None:
                self.report_one(taken, "complete")
        self.commit()
        left = self.live()
        assert not left, f"never served: {left}"
        assert not self.tickets
        for model in self.models.values():
            assert self.store.records[model.job.id].state == model.state
            self.check_events(self.store.records[model.job.id])
        assert self.engine.jobs == {} or all(job.state is HELD for job in self.engine.jobs.values())
        assert (self.engine.delayed_on_disk, len(self.engine.delayed), len(self.engine.timeouts)) == (0, 0, 0)
        for function in self.engine.functions.values():
            assert (function.ready, function.spilled, function.uniques) == (0, 0, {})
            assert [(w.size, w.bytes, w.on_disk) for w in function.windows] == [(0, 0, 0)] * 3
        assert not any(peer.listening for peer in self.peers)

    def check_events(self, record: Record) -> None:
        """Each attempt that failed, each interruption and each copy is told, once."""
        events = self.store.happened.get(record.id, [])
        assert sum(event.kind == Reason.INTERRUPTED for event in events) == record.interruptions
        if record.id not in self.mixed:
            failed = sum(event.kind in REASONS for event in events)
            assert failed == record.attempts - (record.state == DONE)
        copies = [int(event.detail) for event in events if event.kind == REPLAY]
        assert record.replayed_as == max(copies, default=0) and copies == sorted(set(copies))
        assert {self.store.records[id].replay_of for id in copies if id in self.store.records} <= {record.id}


TestEngine = EngineMachine.TestCase
TestEngine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
