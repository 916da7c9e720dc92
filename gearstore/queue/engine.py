"""What a job server means: submit, grab, report, sleep, lose a worker, wait for a time. Plain synchronous Python.

The engine speaks in jobs, functions and peers; it knows no packet, no socket, no database and no clock (`now` and
`monotonic` are set by its caller before each turn). What must become durable goes to the `journal`, what others must
be told goes to the `outbox`.

A background job becomes visible to workers when `stored` is called for it, after its commit.
"""

from __future__ import annotations

from gearstore.errors import QueueError
from gearstore.queue.endings import Endings, weight
from gearstore.queue.functions import Function
from gearstore.queue.job import (
    DELAYED,
    GRAB,
    LIVE,
    MAX_UNIQUE,
    NOWHERE,
    ON_DISK,
    PRIORITIES,
    QUEUED,
    RUNNING,
    Job,
    Reason,
    coalescing_key,
)
from gearstore.queue.peer import Peer
from gearstore.queue.policy import Policies, Policy
from gearstore.queue.ports import Journal, Outbox
from gearstore.queue.waking import AUTO

MIN_TIMEOUT = 1000  # milliseconds; as in gearmand, since many users pass seconds
RECOUNT = 100  # milliseconds until a full server counts its jobs again
SPARE_NUMBERS = 100_000  # reserved numbers that submits leave for jobs that come back to their queue

UNIQUE_TOO_LARGE = (b"ARGUMENT_TOO_LARGE", b"Unique value too large")
QUEUE_FULL = (b"QUEUE_ERROR", b"Job queue is full")
ALL_FULL = (b"QUEUE_ERROR", b"All job queues together are full")
MEMORY_FULL = (b"QUEUE_ERROR", b"No memory for more foreground jobs")
NO_NUMBERS = (b"QUEUE_ERROR", b"The store cannot reserve job handles")
DRAINING = (b"QUEUE_ERROR", b"The server is shutting down")


class Engine(Endings):
    """All queues of one server."""

    __slots__ = ("counted_at", "limited", "max_bytes", "max_foreground", "max_jobs", "room_bytes", "room_jobs",
                 "round_robin", "take")  # fmt: skip

    def __init__(
        self,
        journal: Journal,
        outbox: Outbox,
        *,
        window: int = 65536,
        job_retries: int = 0,
        worker_wakeup: int = AUTO,
        round_robin: bool = False,
        global_priority: bool = False,
    ) -> None:
        super().__init__(journal, outbox, window, worker_wakeup)
        self.round_robin = round_robin
        self.max_foreground = 1 << 62
        self.set_limits(0, 0)
        self.set_priority_scope(global_priority)
        self.set_policies(Policies(Policy(max_attempts=job_retries)))

    def set_policies(self, policies: Policies) -> None:
        """Take over what is configured for functions, at any time."""
        self.policies = policies
        for function in self.functions.values():
            function.set_policy(policies.of(function.name))
            self.reopen(function)

    def set_priority_scope(self, over_all: bool) -> None:
        """Compare priorities over all functions of a worker (gearmand 2) or inside one function (gearmand 1.1)."""
        self.take = self._take_global if over_all else self._take

    def set_limits(self, jobs: int, size: int) -> None:
        """Refuse submits beyond so many jobs of all functions and bytes of their workloads; 0 for no limit."""
        self.max_jobs, self.max_bytes = jobs or 1 << 62, size or 1 << 62
        self.limited = bool(jobs or size)
        self.counted_at = -RECOUNT
        self.room_jobs = self.room_bytes = 0  # what may come before all functions have to be counted again

    def _find_room(self, function: Function, priority: int, size: int) -> None:
        """Raise QueueError if a job with so many bytes is more than its function, or all together, may have."""
        limit = function.limits[priority]
        if limit and function.total >= limit:
            raise QueueError(*QUEUE_FULL, limit="max_queue")
        if function.max_bytes and function.bytes + size > function.max_bytes:
            raise QueueError(*QUEUE_FULL, limit="max_queue_bytes")
        if not self.limited:
            return
        if (self.room_jobs < 1 or self.room_bytes < size) and self.monotonic - self.counted_at >= RECOUNT:
            self.counted_at = self.monotonic
            self.room_jobs = self.max_jobs - sum(each.total for each in self.functions.values())
            self.room_bytes = self.max_bytes - sum(each.bytes for each in self.functions.values())
        if self.room_jobs < 1 or self.room_bytes < size:
            raise QueueError(*ALL_FULL, limit="max_jobs" if self.room_jobs < 1 else "max_jobs_bytes")
        self.room_jobs -= 1
        self.room_bytes -= size

    # Clients

    def submit(
        self,
        peer: Peer | None,
        name: bytes,
        unique: bytes,
        workload: bytes,
        priority: int,
        background: bool,
        run_at: int = 0,
        reducer: bytes = b"",
        replay_of: int = 0,
    ) -> Job:
        """Return the new job, or the live one of the same function and unique that the submit joins.

        A background job may be acknowledged once its `batch` (None: at once) is durable. Raises QueueError.
        """
        if self.draining and not background:
            raise QueueError(*DRAINING)  # it would not be served any more; a background job is stored and will be
        function = self.functions.get(name)
        if function is None or not function.listed:
            function = self.function(name)
        key = b""
        if unique:
            if len(unique) > MAX_UNIQUE:
                raise QueueError(*UNIQUE_TOO_LARGE)
            key = unique if unique != b"-" else coalescing_key(unique, workload)
            job = function.uniques.get(key)
            if job is not None:
                self._join(job, None if background else peer)
                return job
        if function.limited or self.limited:
            self._find_room(function, priority, len(workload))
        if not background and self.foreground >= self.max_foreground:
            raise QueueError(*MEMORY_FULL, limit="max_foreground")
        if self.next_id >= self.ids_until - SPARE_NUMBERS:
            raise QueueError(*NO_NUMBERS)
        id = self.next_number()
        handle = b"%s%012d" % (self.prefixes[-1][1], id)
        job = Job(id, handle, function, unique, workload, priority, self.now, background)
        if reducer:
            job.reducer = reducer
        if replay_of:
            job.replay_of = replay_of
        if peer is not None:
            job.client = peer.address
        if run_at > self.now:
            job.run_at = run_at
            job.state = DELAYED
        state = job.state  # (as `Function.count` does, but for the call)
        function.states[state] += 1
        function.bytes += len(workload)
        if state is QUEUED:
            function.queued[priority] += 1
        if self.observer is not None:
            self.observer(job, b"submitted")
        self.jobs[handle] = job
        if key:
            job.key = key
            function.uniques[key] = job
        if not background:
            self._listen(job, peer)
            self.foreground += weight(job)
        # The same unique may stand in a queue on disk.
        unsure = key and (self.delayed_on_disk or function.spilled) and self.journal.look_up(job)
        if background:
            if job.state is QUEUED:
                function.reserve(job)
            self.journal.add(job)
        elif not unsure:
            function.enter(job)
            self.wake(function)
        return job

    def _join(self, job: Job, peer: Peer | None) -> None:
        """Attach a submit to a live job. Background sticks: it survives every foreground client."""
        if peer is not None:
            self._listen(job, peer)
        elif not job.background:
            job.background = True
            self.foreground -= weight(job)
            if job.state is QUEUED and job.place == NOWHERE:  # its look-up is under way: as if submitted just now
                job.position = self.next_number()  # behind what was spilled meanwhile
                job.function.reserve(job)
            else:
                job.promoted = True
            self.journal.add(job)

    def _listen(self, job: Job, peer: Peer | None) -> None:
        if peer is not None:
            job.listeners = [*job.listeners, peer]
            peer.listening[job] = None

    def stored(self, job: Job) -> None:
        """Take note that the job's newest row is durable: let workers see it, or let it go from memory."""
        state = job.state
        if job.promoted:
            job.promoted = False
        if state is QUEUED:
            function = job.function
            if job.place == NOWHERE:
                function.enter(job)
                if function.sleepers:
                    self.wake(function)
            elif job.place == ON_DISK:
                if not job.listeners:
                    self.forget(job)
                self.feed(function, job.priority)
        elif state is DELAYED:
            if not job.deadline:
                self.delay(job)
        elif state is not RUNNING:
            self.forget(job)

    def looked_up(self, job: Job, existing: Job | None) -> None:
        """Finish a submit whose unique had to be looked up on disk: join the job found there, or go on alone.

        If that job has ended meanwhile, it ran after the submit: a background submit has joined it all the same.
        """
        if job.state not in LIVE:
            return  # its client has left
        if existing is None or (existing.state not in LIVE and job.listeners):
            if existing is not None and job.background:  # (its row was left out of the batch)
                self.refuse(job)
            elif not job.background:
                job.function.enter(job)
                self.wake(job.function)
            return
        for peer in job.listeners:
            self._listen(existing, peer)
        if job.state is QUEUED:
            self.withdraw(job)
        job.function.count(job, -1)
        if not job.background:
            self.foreground -= weight(job)
        self.told(job)
        self.forget(job)
        job.dropped = True
        if self.observer is not None:
            self.observer(job, b"joined")
        job.handle = existing.handle  # what its JOB_CREATED, held back until now, names
        job.stored_state = existing.stored_state
        if existing.state not in LIVE or (existing.place == ON_DISK and not existing.listeners):
            if existing.batch is None:
                self.forget(existing)
        else:
            existing.function.uniques[existing.key] = existing  # the new job had taken its place

    def refuse(self, job: Job) -> None:
        """The store did not take a new job. Clients that wait for it in the foreground still get it done."""
        if job.dropped or not job.background:
            return  # refused before: a later change of it stood in the next batch
        function = job.function
        job.promoted = False
        if job.state is RUNNING:
            job.background = False
            self.foreground += weight(job)
            return
        if job.state is QUEUED and job.listeners:
            if job.place in (NOWHERE, ON_DISK):
                self.withdraw(job)
                job.background = False
                function.enter(job)
                self.wake(function)
            job.background = False
            self.foreground += weight(job)
            return
        if job.state is QUEUED:
            self.withdraw(job)
        self._fail_listeners(job)
        function.count(job, -1)
        self.forget(job)
        job.dropped = True
        if self.observer is not None:
            self.observer(job, b"refused")

    # Workers

    def can_do(self, peer: Peer, name: bytes, timeout: int) -> None:
        """Register an ability. A timeout in milliseconds, 0 for none. Registering again makes it the newest."""
        function = self.function(name)
        if function in peer.abilities:
            peer.order.remove(function)
        peer.abilities[function] = max(timeout, MIN_TIMEOUT) if timeout > 0 else 0
        peer.order.insert(0, function)
        function.workers[peer] = None
        if peer.asleep:
            function.sleepers[peer] = None
            if function.available() and self.assigning:
                self._rouse(peer, function)

    def cant_do(self, peer: Peer, function: Function) -> None:
        """Take an ability back; jobs of it that the worker runs return to the queue, as in gearmand."""
        if peer.abilities.pop(function, None) is None:
            return
        peer.order.remove(function)
        function.workers.pop(peer, None)
        function.sleepers.pop(peer, None)
        for job in [job for job in peer.jobs.values() if job.function is function]:
            self._take_back(job, Reason.LOST)
        if peer.called_for is function:
            self.came(peer)

    def grab(self, peer: Peer) -> Job | None:
        """Assign the next job that the worker can do, None if there is none."""
        if peer.asleep:
            self._awake(peer)
        if self.draining or self.paused_at:
            return None
        job = self.take(peer)
        if job is None:
            if peer.called_for is not None:
                self.came(peer)
            return None
        function = job.function
        job.move(GRAB)
        job.started_at = self.now
        job.worker = peer
        peer.jobs[job.handle] = job
        timeout = peer.abilities[function]
        if function.timeout and not 0 < timeout <= function.timeout:
            timeout = function.timeout
        if function.concurrency and function.states[RUNNING] >= function.concurrency:
            function.closed = True
        if timeout:
            job.deadline = self.timeouts.add(self.monotonic + timeout, job)
        if job.background:
            job.worker_id = peer.client_id if peer.client_id != b"-" else b""  # (nothing to store without a name)
            self.journal.assigned(job)
            if function.spilled:
                self.feed(function, job.priority)
        if peer.called_for is not None:
            self.came(peer)
        if self.observer is not None:
            self.observer(job, b"assigned")
        return job

    def _take(self, peer: Peer) -> Job | None:
        """Order of gearmand 1.1: the first function that has a job; priorities count inside it."""
        order = peer.order
        for index, function in enumerate(order):
            if function.ready and not function.closed:
                job = function.take()
                if job is not None:
                    if self.round_robin:
                        order.append(order.pop(index))
                    return job
        return None

    def _take_global(self, peer: Peer) -> Job | None:
        """Order of gearmand 2: the highest priority over all functions."""
        for priority in PRIORITIES:
            for index, function in enumerate(peer.order):
                if function.closed:
                    continue
                job = function.take((priority,)) if function.ready else None
                if job is not None:
                    if self.round_robin:
                        peer.order.append(peer.order.pop(index))
                    return job
                if function.windows[priority].on_disk:
                    return None  # being read; lower priorities wait for it
        return None

    # Connections that end

    def disconnect(self, peer: Peer) -> None:
        """Forget a connection: its jobs go to other workers, foreground jobs that nobody else waits for are dropped."""
        self._awake(peer)
        for function in peer.order:
            function.workers.pop(peer, None)
        for job in list(peer.jobs.values()):
            self._take_back(job, Reason.LOST)
        for job in list(peer.listening):
            job.listeners = [other for other in job.listeners if other is not peer]
            if not job.listeners and not job.background and job.state is QUEUED:
                self.cancel(job)
        peer.listening.clear()
        if peer.called_for is not None:
            self.came(peer)
