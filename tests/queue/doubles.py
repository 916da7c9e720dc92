"""The two sides of an engine, as doubles: a journal that commits when it is told to, an outbox that only remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

from gearstore.errors import QueueError
from gearstore.queue.engine import Engine
from gearstore.queue.functions import Function
from gearstore.queue.job import DELAYED, LIVE, NORMAL, QUEUED, Job, JobState, coalescing_key
from gearstore.queue.peer import Peer
from gearstore.queue.ports import Event
from gearstore.queue.record import Record, claimed, claimed_delayed, load
from gearstore.queue.waking import AUTO

NOW = 1_700_000_000_000


@dataclass
class Disk:
    """`Journal` for an engine: what is asked stays in `asked`, `commit` makes it durable, `refuse` is a full disk."""

    engine: Engine = field(init=False)
    asked: list[tuple[str, int]] = field(default_factory=list)
    pending: dict[int, Job] = field(default_factory=dict)
    look_ups: dict[int, Job] = field(default_factory=dict)
    rows: dict[int, Record] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    steered: list[Function | None] = field(default_factory=list)

    def add(self, job: Job) -> None:
        self._take("add", job)

    def change(self, job: Job) -> None:
        self._take("change", job)

    def _take(self, what: str, job: Job) -> None:
        self.asked.append((what, job.id))
        self.pending[job.id] = job
        job.batch = self

    def assigned(self, job: Job) -> None:
        self.asked.append(("assigned", job.id))

    def look_up(self, job: Job) -> bool:
        self.asked.append(("look_up", job.id))
        self.look_ups[job.id] = job
        job.batch = self
        return True

    def note(self, event: Event) -> None:
        self.events.append(event)

    def steer(self, function: Function) -> None:
        self.steered.append(function)

    def steer_all(self) -> None:
        self.steered.append(None)

    def commit(self) -> None:
        """Make durable what was asked for, then say so, as the journal does."""
        pending, self.pending = self.pending, {}
        look_ups, self.look_ups = self.look_ups, {}
        found = {job.id: record for job in look_ups.values() if (record := self.find(job)) is not None}
        for job in pending.values():
            if job.id not in found and not job.dropped:
                self.rows[job.id] = row(job)
                job.stored_state = int(job.state)
        for job in look_ups.values():
            existing = None
            if job.id in found:
                existing = self.engine.jobs.get(self.engine.handle(found[job.id].id)) or self.load(found[job.id])
            self.engine.looked_up(job, existing)
            if job.id not in self.pending:
                job.batch = None
        for job in pending.values():
            if job.id not in found and not job.dropped and job.id not in self.pending:
                job.batch = None
                self.engine.stored(job)

    def refuse(self) -> None:
        """The disk is full: the new jobs are refused."""
        for job in [job for job in self.pending.values() if job.stored_state < 0]:
            del self.pending[job.id]
            job.batch = None
            self.engine.refuse(job)

    def find(self, job: Job) -> Record | None:
        for record in self.rows.values():
            if record.id != job.id and record.state in (QUEUED, DELAYED) and record.function_id == job.function.id:
                if coalescing_key(record.unique, record.workload) == job.key:
                    return record
        return None

    def load(self, record: Record) -> Job:
        function = next(f for f in self.engine.functions.values() if f.id == record.function_id)
        return load(self.engine, function, record)

    # Windows

    def read(self, function: Function, priority: int, limit: int = 1024) -> list[Record]:
        """Begin to claim: return what is on disk at this moment."""
        window = function.windows[priority]
        window.changed = {}
        rows = [
            record
            for record in self.rows.values()
            if (record.function_id, record.priority, record.state) == (function.id, priority, QUEUED)
            and record.position > window.after
        ]
        return sorted(rows, key=lambda record: record.position)[:limit]

    def feed(self, limit: int = 1024) -> None:
        """Claim for every window that runs low."""
        while self.engine.hungry:
            function, priority = self.engine.hungry.pop()
            if function.windows[priority].low:
                claimed(self.engine, function, priority, self.read(function, priority, limit))

    def read_delayed(self, limit: int = 1024) -> list[Record]:
        """Begin to claim delayed jobs."""
        self.engine.delayed_changed = set()
        rows = [r for r in self.rows.values() if r.state == DELAYED and (r.run_at, r.id) > self.engine.delayed_from]
        return sorted(rows, key=lambda record: (record.run_at, record.id))[:limit]

    def feed_delayed(self, limit: int = 1024) -> None:
        """Claim delayed jobs if memory runs low of them."""
        if self.engine.delayed_low:
            by_id = {function.id: function for function in self.engine.functions.values()}
            claimed_delayed(self.engine, by_id, self.read_delayed(limit))


def row(job: Job) -> Record:
    """Return the row of a job."""
    return Record(
        job.id, job.function.id, job.priority, int(job.state), job.position, job.unique, job.workload, job.reducer,
        job.run_at, job.attempts, job.interruptions, job.created_at, job.started_at, job.ended_at, job.worker_id,
        job.reason, job.error, job.result, job.result_size, job.replay_of, job.client, job.cause, 0, False, True,
    )  # fmt: skip


class Outbox:
    """`Outbox` for an engine."""

    def __init__(self) -> None:
        self.woken: list[Peer] = []
        self.failures: list[tuple[bytes, list[Peer]]] = []
        self.held: list[tuple[Peer, bytes]] = []  # workers whose answers wait, and for what

    def wake(self, peer: Peer) -> None:
        self.woken.append(peer)

    def failed(self, job: Job) -> None:
        self.failures.append((job.handle, list(job.listeners)))

    def hold_back(self, peer: Peer, job: Job) -> None:
        self.held.append((peer, job.handle))


class Server:
    """An engine between its doubles, in the words of the protocol. Its clock stands still until `advance`."""

    def __init__(self, window: int = 65536, job_retries: int = 0, worker_wakeup: int = AUTO, round_robin: bool = False,
                 global_priority: bool = False) -> None:  # fmt: skip
        self.disk = Disk()
        self.outbox = Outbox()
        self.engine = Engine(
            self.disk, self.outbox, window=window, job_retries=job_retries, worker_wakeup=worker_wakeup,
            round_robin=round_robin, global_priority=global_priority,
        )  # fmt: skip
        self.disk.engine = self.engine
        self.engine.now = NOW
        self.peers = 0

    def connect(self, *abilities: bytes, client_id: bytes = b"-", timeout: int = 0) -> Peer:
        self.peers += 1
        peer = Peer(self.peers)
        peer.client_id = client_id
        for name in abilities:
            self.engine.can_do(peer, name, timeout)
        return peer

    def sleeper(self, *abilities: bytes) -> Peer:
        """Return a worker that sleeps."""
        peer = self.connect(*abilities)
        assert self.engine.sleep(peer)
        return peer

    def ask(self, name: bytes, workload: bytes = b"w", *, unique: bytes = b"", priority: int = NORMAL,
            client: Peer | None = None, run_at: int = 0) -> Job:  # fmt: skip
        """Submit; in the foreground for a client, else in the background. Nothing is committed."""
        return self.engine.submit(client, name, unique, workload, priority, client is None, run_at)

    def submit(self, name: bytes, workload: bytes = b"w", *, unique: bytes = b"", priority: int = NORMAL,
               client: Peer | None = None, run_at: int = 0) -> Job:  # fmt: skip
        """Submit and commit."""
        job = self.ask(name, workload, unique=unique, priority=priority, client=client, run_at=run_at)
        self.disk.commit()
        return job

    def work(self, worker: Peer) -> list[bytes]:
        """Grab and complete until there is no job; return the workloads."""
        workloads = []
        while (job := self.engine.grab(worker)) is not None:
            workloads.append(job.workload)
            self.engine.complete(job, b"")
            self.engine.told(job)
            self.disk.commit()
            self.disk.feed()
        return workloads

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self.engine.now += milliseconds
        self.engine.monotonic += milliseconds
        self.engine.tick()

    def woken(self) -> list[Peer]:
        """Return who got a NOOP since the last question."""
        woken, self.outbox.woken = self.outbox.woken, []
        return woken

    def failures(self) -> list[tuple[bytes, list[Peer]]]:
        """Return which clients got a WORK_FAIL since the last question, by handle."""
        failures, self.outbox.failures = self.outbox.failures, []
        return failures

    def counts(self, name: bytes = b"f") -> dict[str, int]:
        """Return the function's jobs by state, without the zeros."""
        states = self.engine.functions[name].states
        return {state.name.lower(): states[state] for state in JobState if states[state]}

    def live(self) -> list[bytes]:
        """Return the handles of live jobs in memory."""
        return [handle for handle, job in self.engine.jobs.items() if job.state in LIVE]


def refusal(error: QueueError) -> tuple[bytes, bytes]:
    """Return the arguments of the ERROR packet."""
    return error.code, error.text
