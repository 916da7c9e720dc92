"""What a job server means: submit, grab, report, sleep, lose a worker, wait for a time. Plain synchronous Python.

The engine speaks in jobs, functions and peers; it knows no packet, no socket, no database and no clock (`now` and
`monotonic` are set by its caller before each turn). What must become durable goes to the `journal`, what others must
be told goes to the `outbox`.

A background job becomes visible to workers when `stored` is called for it, after its commit.
"""

from __future__ import annotations

from itertools import islice

from gearstore.errors import QueueError
from gearstore.queue.deadlines import Deadlines
from gearstore.queue.functions import Function
from gearstore.queue.job import (
    CANCEL,
    COMPLETE,
    DELAYED,
    DUE,
    FAIL,
    GRAB,
    HOLD,
    LIVE,
    MAX_UNIQUE,
    NOWHERE,
    ON_DISK,
    PRIORITIES,
    QUEUED,
    REQUEUE,
    RUNNING,
    Job,
    Reason,
    coalescing_key,
)
from gearstore.queue.names import Names
from gearstore.queue.peer import Peer
from gearstore.queue.policy import Policies
from gearstore.queue.ports import Journal, Outbox

MIN_TIMEOUT = 1000  # milliseconds; as in gearmand, since many users pass seconds
SPARE_NUMBERS = 100_000  # reserved numbers that submits leave for jobs that come back to their queue
MAX_DELAYED = 65536  # delayed jobs held in memory

UNIQUE_TOO_LARGE = (b"ARGUMENT_TOO_LARGE", b"Unique value too large")
QUEUE_FULL = (b"QUEUE_ERROR", b"Job queue is full")
NO_NUMBERS = (b"QUEUE_ERROR", b"The store cannot reserve job handles")
DRAINING = (b"QUEUE_ERROR", b"The server is shutting down")


class Engine(Names):
    """All queues of one server."""

    def __init__(
        self,
        journal: Journal,
        outbox: Outbox,
        *,
        window: int = 65536,
        job_retries: int = 0,
        worker_wakeup: int = 0,
        round_robin: bool = False,
        global_priority: bool = False,
    ) -> None:
        super().__init__(window)
        self.journal = journal
        self.outbox = outbox
        self.policies = Policies()
        self.job_retries = job_retries  # total attempts of a job whose workers go away or time out, 0: no limit
        self.worker_wakeup = worker_wakeup
        self.round_robin = round_robin
        self.now = 0
        self.monotonic = 0
        self.draining = False
        self.jobs: dict[bytes, Job] = {}  # by handle: jobs in memory, ended ones until that is durable
        self.delayed: Deadlines[Job] = Deadlines()
        self.delayed_on_disk = 0
        self.delayed_changed: set[int] | None = None  # ids that left memory while delayed jobs are read back, else None
        self.delayed_from = (0, 0)  # (run_at, id): delayed jobs on disk come after it
        self.timeouts: Deadlines[Job] = Deadlines()
        self.hungry: list[tuple[Function, int]] = []  # windows that want spilled jobs read back
        self.set_priority_scope(global_priority)

    def set_priority_scope(self, over_all: bool) -> None:
        """Compare priorities over all functions of a worker (gearmand 2) or inside one function (gearmand 1.1)."""
        self.take = self._take_global if over_all else self._take

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
        limit = function.limits[priority]
        if limit and function.total >= limit:
            raise QueueError(*QUEUE_FULL)
        if self.next_id >= self.ids_until - SPARE_NUMBERS:
            raise QueueError(*NO_NUMBERS)
        id = self.next_number()
        handle = b"%s%012d" % (self.prefixes[-1][1], id)
        job = Job(id, handle, function, unique, workload, priority, self.now, background)
        if reducer:
            job.reducer = reducer
        if replay_of:
            job.replay_of = replay_of
        if run_at > self.now:
            job.run_at = run_at
            job.state = DELAYED
        function.count(job, 1)
        self.jobs[handle] = job
        if key:
            job.key = key
            function.uniques[key] = job
        if not background:
            self._listen(job, peer)
        if key and (self.delayed_on_disk or function.spilled):
            self.journal.look_up(job)  # the same unique may stand in a queue on disk
        elif not background:
            function.enter(job)
            self.wake(function)
            return job
        if background:
            if job.state is QUEUED:
                function.reserve(job)
            self.journal.add(job)
        return job

    def _join(self, job: Job, peer: Peer | None) -> None:
        """Attach a submit to a live job. Background sticks: it survives every foreground client."""
        if peer is not None:
            self._listen(job, peer)
        elif not job.background:
            job.background = True
            if job.state is QUEUED and job.place == NOWHERE:  # its look-up is under way: as if submitted as background
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
                self._delay(job)
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
            self._withdraw(job)
        job.function.count(job, -1)
        self._unlisten(job)
        self.forget(job)
        job.dropped = True
        job.handle = existing.handle  # what its JOB_CREATED, held back until now, names
        job.stored_state = existing.stored_state
        if existing.state not in LIVE or (existing.place == ON_DISK and not existing.listeners):
            if existing.batch is None:
                self.forget(existing)
        else:
            existing.function.uniques[existing.key] = existing  # the new job had taken its place

    def refuse(self, job: Job) -> None:
        """The store did not take a new job. Clients that wait for it in the foreground still get it done."""
        function = job.function
        job.promoted = False
        if job.state is RUNNING:
            job.background = False
            return
        if job.state is QUEUED and job.listeners:
            if job.place in (NOWHERE, ON_DISK):
                self._withdraw(job)
                job.background = False
                function.enter(job)
                self.wake(function)
            job.background = False
            return
        if job.state is QUEUED:
            self._withdraw(job)
        self._fail_listeners(job)
        function.count(job, -1)
        self.forget(job)
        job.dropped = True

    def _withdraw(self, job: Job) -> None:
        """Take a queued job out of its queue; those behind it may be free to go now."""
        function = job.function
        function.withdraw(job)
        if function.spilled:
            self.feed(function, job.priority)
        if function.sleepers and function.available():
            self.wake(function)

    def forget(self, job: Job) -> None:
        """Let a job go from memory; its row (if it has one) keeps it."""
        self.jobs.pop(job.handle, None)
        function = job.function
        if job.key and function.uniques.get(job.key) is job:
            del function.uniques[job.key]
        # What a claim that is under way has read of it is out of date.
        changed = function.windows[job.priority].changed
        if changed is not None and job.state is not QUEUED:
            changed[job.id] = job.position
        if self.delayed_changed is not None and job.state is not DELAYED:
            self.delayed_changed.add(job.id)

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
            if function.available():
                self._rouse(peer)

    def cant_do(self, peer: Peer, function: Function) -> None:
        """Take an ability back; jobs of it that the worker runs return to the queue, as in gearmand."""
        if peer.abilities.pop(function, None) is None:
            return
        peer.order.remove(function)
        function.workers.pop(peer, None)
        function.sleepers.pop(peer, None)
        for job in [job for job in peer.jobs.values() if job.function is function]:
            self._take_back(job, Reason.LOST)
        if self.worker_wakeup and function.ready:  # it may have had the only NOOP
            self.wake(function)

    def sleep(self, peer: Peer) -> bool:
        """PRE_SLEEP: return whether a job waits already (NOOP at once); else wake the worker when one does."""
        for function in peer.order:
            if not self.draining and function.available():
                self._awake(peer)
                return False
        peer.asleep = True
        for function in peer.order:
            function.sleepers[peer] = None
        return True

    def grab(self, peer: Peer) -> Job | None:
        """Assign the next job that the worker can do, None if there is none."""
        if peer.asleep:
            self._awake(peer)
        if self.draining:
            return None
        job = self.take(peer)
        if job is None:
            return None
        function = job.function
        job.move(GRAB)
        job.started_at = self.now
        job.worker = peer
        peer.jobs[job.handle] = job
        timeout = peer.abilities[function]
        if timeout:
            job.deadline = self.timeouts.add(self.monotonic + timeout, job)
        if job.background:
            job.worker_id = peer.client_id if peer.client_id != b"-" else b""  # (nothing to store without a name)
            self.journal.assigned(job)
            if function.spilled:
                self.feed(function, job.priority)
        return job

    def _take(self, peer: Peer) -> Job | None:
        """Order of gearmand 1.1: the first function that has a job; priorities count inside it."""
        order = peer.order
        for index, function in enumerate(order):
            if function.ready:
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
                job = function.take((priority,)) if function.ready else None
                if job is not None:
                    if self.round_robin:
                        peer.order.append(peer.order.pop(index))
                    return job
                if function.windows[priority].on_disk:
                    return None  # being read; lower priorities wait for it
        return None

    def held(self, peer: Peer, handle: bytes, text: bytes) -> Job | None:
        """Return the job that a report is about; None for one that this worker no longer holds (late, ignored).

        An unexpected ERROR kills Perl workers and makes libgearman's spin, so only handles that this connection never
        held raise QueueError (with gearmand's `text`).
        """
        job = peer.jobs.get(handle)
        if job is None and handle not in peer.past:
            raise QueueError(b"JOB_NOT_FOUND", text)
        return job

    def complete(self, job: Job, result: bytes) -> None:
        """WORK_COMPLETE."""
        job.move(COMPLETE)
        job.result = result
        job.result_size = len(result)
        self._report(job)

    def fail(self, job: Job, reason: bytes, error: bytes = b"") -> None:
        """WORK_FAIL or WORK_EXCEPTION: final, as in gearmand."""
        job.move(FAIL)
        job.reason = reason
        job.error = error
        self._report(job)

    def _report(self, job: Job) -> None:
        job.attempts += 1
        self._release(job)
        self._end(job)

    def _end(self, job: Job) -> None:
        """Close a job that reached its last state for now. Its listeners are the caller's to tell, then to drop."""
        job.ended_at = self.now
        if job.key:
            uniques = job.function.uniques
            if uniques.get(job.key) is job:
                del uniques[job.key]
            job.key = b""
        if job.background:
            self.journal.change(job)
        else:
            job.function.count(job, -1)
            self.jobs.pop(job.handle, None)

    def _release(self, job: Job) -> None:
        """Part a running job from its worker."""
        peer = job.worker
        if peer is not None:
            del peer.jobs[job.handle]
            peer.past.append(job.handle)
            job.worker = None
        if job.deadline:
            self.timeouts.cancel(job.deadline)
            job.deadline = 0

    def _take_back(self, job: Job, reason: bytes) -> None:
        """A worker went away, gave the ability back or took too long: queue its job again or give it up."""
        self._release(job)
        job.attempts += 1
        job.reason = reason
        job.numerator = job.denominator = b"0"
        if not job.background and not job.listeners:
            job.move(CANCEL)  # abandoned: nobody waits for it any more
            self._end(job)
        elif self.job_retries and job.attempts >= self.job_retries:
            job.move(FAIL)
            self._end(job)
            self._fail_listeners(job)
        else:
            job.move(REQUEUE)
            self.requeue(job)

    def requeue(self, job: Job) -> None:
        """Put a job that comes back at the end of its priority: one that kills workers must not block the others."""
        job.position = self.next_number()
        function = job.function
        if job.background:
            function.reserve(job)
            self.journal.change(job)
        if job.place != ON_DISK:
            function.enter(job)
            self.wake(function)

    def _fail_listeners(self, job: Job) -> None:
        if job.listeners:
            self.outbox.failed(job)
            self._unlisten(job)

    def _unlisten(self, job: Job) -> None:
        for peer in job.listeners:
            peer.listening.pop(job, None)
        job.listeners = ()

    told = _unlisten  # the caller has sent the outcome

    # Sleeping and waking

    def wake(self, function: Function) -> None:
        """Wake workers that sleep on the function: all of them, or `--worker-wakeup` for each job."""
        sleepers = function.sleepers
        if sleepers and not self.draining:
            for peer in list(islice(sleepers, self.worker_wakeup or len(sleepers))):
                self._rouse(peer)

    def _rouse(self, peer: Peer) -> None:
        self._awake(peer)
        self.outbox.wake(peer)

    def _awake(self, peer: Peer) -> None:
        """Mark as awake: it gets no NOOP until it sends PRE_SLEEP again, and then what waits is looked at again."""
        if peer.asleep:
            peer.asleep = False
            for function in peer.order:
                function.sleepers.pop(peer, None)

    def feed(self, function: Function, priority: int) -> None:
        """Ask for spilled jobs to be read back if the window runs low."""
        if function.windows[priority].low:
            self.hungry.append((function, priority))

    # Connections that end, time that passes, operators that act

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
        if self.worker_wakeup:  # it may have had the only NOOP
            for function in peer.order:
                if function.ready:
                    self.wake(function)

    def cancel(self, job: Job) -> None:
        """Cancel a live or held job: its listeners get WORK_FAIL, a worker that runs it is not disturbed."""
        state = job.state
        job.move(CANCEL)
        if state is QUEUED:
            self._withdraw(job)
        elif state is DELAYED:
            if job.deadline:
                self.delayed.cancel(job.deadline)
                job.deadline = 0
            elif job.place == ON_DISK:
                self.delayed_on_disk -= 1
                job.place = NOWHERE
        self._release(job)
        job.reason = Reason.CANCELLED
        self._end(job)
        self._fail_listeners(job)

    def set_aside(self, job: Job) -> None:
        """Hold a job whose row was altered on disk: it is never handed out."""
        if job.state is QUEUED:
            self._withdraw(job)
        else:
            self.delayed_on_disk -= 1
        job.move(HOLD)
        job.reason = Reason.DAMAGED
        self.journal.change(job)

    def tick(self) -> None:
        """Do what is due."""
        for job in self.delayed.due(self.now):
            job.deadline = 0
            job.move(DUE)
            self.requeue(job)
        for job in self.timeouts.due(self.monotonic):
            job.deadline = 0
            self._take_back(job, Reason.TIMEOUT)

    def next_wait(self) -> int | None:
        """Return the milliseconds until something is due, None if nothing waits for a time."""
        waits = [
            at - now
            for at, now in ((self.delayed.next_at, self.now), (self.timeouts.next_at, self.monotonic))
            if at is not None
        ]
        return max(0, min(waits)) if waits else None

    def _delay(self, job: Job) -> None:
        """Keep a delayed job for its time, in memory if it is among the next."""
        if self.delayed_on_disk and self.delayed_changed is None and (job.run_at, job.id) > self.delayed_from:
            self._delay_on_disk(job)
            return
        job.deadline = self.delayed.add(job.run_at, job)
        if len(self.delayed) > MAX_DELAYED and self.delayed_changed is None:
            at, later = self.delayed.later_half()
            self.delayed_from = (at, 0)
            for job in later:
                job.deadline = 0
                self._delay_on_disk(job)

    def _delay_on_disk(self, job: Job) -> None:
        job.place = ON_DISK
        self.delayed_on_disk += 1
        if not job.listeners:
            self.forget(job)

    @property
    def delayed_low(self) -> bool:
        """Whether delayed jobs should be read back from disk."""
        return self.delayed_on_disk > 0 and self.delayed_changed is None and len(self.delayed) <= MAX_DELAYED // 4
