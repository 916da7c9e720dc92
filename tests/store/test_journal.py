"""Group commit: what collects in a batch, who waits for it, and what a store that fails does to both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import pytest

from gearstore.errors import QueueError, StoreError
from gearstore.queue.engine import Engine
from gearstore.queue.job import DONE, FAILED, NORMAL, QUEUED, RUNNING, Job, JobState, Reason
from gearstore.queue.peer import Peer
from gearstore.queue.record import claimed, recover
from gearstore.store import journal as journal_module
from gearstore.store.base import Applied, Changes
from gearstore.store.journal import Batch, Journal
from gearstore.store.memory import MemoryStore
from tests.queue.doubles import NOW, Outbox

PREFIX = b"H:localhost:"


class Notebook(MemoryStore):
    """A memory store that notes each batch, and can be held up in the middle of one."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Changes] = []
        self.tries = 0
        self.full_for_new = False
        self.then: Callable[[], None] = lambda: None  # done when a batch is durable, before anybody knows
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply(self, changes: Changes) -> Applied:
        self.tries += 1
        await self.gate.wait()
        full, self.full = self.full, self.full or (self.full_for_new and bool(changes.new))
        try:
            applied = await super().apply(changes)
        finally:
            self.full = full
        self.batches.append(changes)
        then, self.then = self.then, lambda: None
        then()
        return applied

    def rows(self) -> dict[int, int]:
        """Return the state of each stored job."""
        return {id: record.state for id, record in self.records.items()}


class Waiter:
    """A connection that is owed answers: `released` says what was durable when it was called."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.released = 0

    def await_batch(self, batch: Any) -> Waiter:
        assert isinstance(batch, Batch)
        batch.waiters[self] = None
        self.batches.append(batch)
        return self

    def release(self) -> None:
        self.released += 1

    @property
    def done(self) -> bool:
        return all(batch.done for batch in self.batches)


class Bench:
    """An engine with a real journal on a memory store."""

    def __init__(self, window: int = 1000) -> None:
        self.store = Notebook()
        self.failures: list[StoreError] = []
        self.commits = 0
        self.journal = Journal(self.store, self.failures.append)
        self.outbox = Outbox()
        self.engine = Engine(self.journal, self.outbox, window=window)
        self.journal.engine = self.engine
        self.journal.on_commit = self.count_commit
        self.engine.now = NOW
        self.worker = Peer("worker")
        self.engine.can_do(self.worker, b"f", 0)

    async def start(self) -> Bench:
        recovered = await self.store.open(PREFIX, 5, 1000)
        self.engine.prefixes = recovered.prefixes
        self.engine.next_id = self.engine.ids_until = recovered.next_id
        recover(self.engine, recovered.functions, recovered.counts)
        await self.journal.commit()
        self.store.batches.clear()
        self.store.tries = self.commits = 0
        return self

    def count_commit(self) -> None:
        self.commits += 1

    def submit(self, unique: bytes = b"", client: Peer | None = None, workload: bytes = b"w") -> Job:
        return self.engine.submit(client, b"f", unique, workload, NORMAL, client is None)

    async def running(self) -> Job:
        """Return a stored job that the worker has."""
        self.submit()
        await self.journal.commit()
        job = self.engine.grab(self.worker)
        assert job is not None
        return job


@pytest.fixture
async def bench() -> Bench:
    return await Bench().start()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


# Batches


async def test_submits_of_a_turn_are_one_commit(bench: Bench) -> None:
    jobs = [bench.submit() for _ in range(100)]
    waiters = [Waiter().await_batch(job.batch) for job in jobs]
    assert len({id(job.batch) for job in jobs}) == 1
    await bench.journal.commit()
    assert (len(bench.store.batches), bench.store.tries, bench.commits) == (1, 1, 1)
    assert [row[0] for row in bench.store.batches[0].new] == [job.id for job in jobs]
    assert all(waiter.done and waiter.released == 1 for waiter in waiters)
    assert all(job.batch is None and job.stored_state == QUEUED for job in jobs)


async def test_while_a_batch_is_committed_the_next_one_fills(bench: Bench) -> None:
    first = bench.submit()
    one = Waiter().await_batch(first.batch)
    bench.store.gate.clear()
    commit = asyncio.ensure_future(bench.journal.commit())
    await until(lambda: bench.store.tries)
    second = bench.submit()
    assert second.batch is not first.batch
    two = Waiter().await_batch(second.batch)
    bench.store.gate.set()
    await commit
    assert (one.done, two.done, two.released) == (True, False, 0)
    assert bench.engine.grab(bench.worker) is first
    assert bench.engine.grab(bench.worker) is None
    await bench.journal.commit()
    assert two.done and bench.engine.grab(bench.worker) is second


async def test_nothing_is_promised_before_the_commit(bench: Bench) -> None:
    job = bench.submit()
    waiter = Waiter().await_batch(job.batch)
    bench.store.gate.clear()
    commit = asyncio.ensure_future(bench.journal.commit())
    await until(lambda: bench.store.tries)
    assert (waiter.done, waiter.released, job.stored_state) == (False, 0, -1)
    bench.store.gate.set()
    await commit
    assert waiter.done


async def test_the_newest_state_of_a_job_is_written_once(bench: Bench) -> None:
    job = await bench.running()
    bench.engine.cant_do(bench.worker, job.function)
    bench.engine.can_do(bench.worker, b"f", 0)
    assert bench.engine.grab(bench.worker) is job
    bench.engine.complete(job, b"")
    bench.store.batches.clear()
    await bench.journal.commit()
    (changes,) = bench.store.batches
    assert len(changes.changed) + len(changes.done) == 1
    assert bench.store.rows() == {job.id: DONE}
    assert {key: number for key, number in changes.counts.items() if number} == {
        (job.function.id, QUEUED, NORMAL): -1, (job.function.id, DONE, NORMAL): 1
    }  # fmt: skip


async def test_a_job_that_is_added_and_ends_in_one_batch(bench: Bench) -> None:
    client = Peer("client")
    job = bench.submit(b"u", client)
    bench.submit(b"u")
    assert bench.engine.grab(bench.worker) is job
    bench.engine.fail(job, Reason.FAIL, b"why")
    await bench.journal.commit()
    record = bench.store.records[job.id]
    assert (record.state, record.error, record.unique, record.workload) == (FAILED, b"why", b"u", b"w")
    (changes,) = bench.store.batches
    assert changes.counts == {(job.function.id, FAILED, NORMAL): 1}


async def test_completions_wait_for_their_batch(bench: Bench) -> None:
    job = await bench.running()
    bench.engine.complete(job, b"result")
    waiter = Waiter().await_batch(job.batch)
    assert not waiter.done
    await bench.journal.commit()
    assert waiter.done and bench.store.records[job.id].result == b"result"


@pytest.mark.parametrize("extra", [0, 1])
async def test_large_results_are_not_kept(bench: Bench, extra: int) -> None:
    job = await bench.running()
    result = b"x" * (job.function.policy.store_result + extra)
    bench.engine.complete(job, result)
    await bench.journal.commit()
    record = bench.store.records[job.id]
    assert (record.result, record.result_size) == (b"" if extra else result, len(result))


async def test_functions_are_stored_once(bench: Bench) -> None:
    for _ in range(3):
        bench.submit()
        await bench.journal.commit()
    assert [changes.functions for changes in bench.store.batches] == [[(1, b"f")], [], []]


async def test_nothing_to_commit(bench: Bench) -> None:
    await bench.journal.commit()
    assert bench.commits == 1 and bench.store.rows() == {}


# Assignments


async def test_an_assignment_is_stored_when_it_lasts(bench: Bench) -> None:
    job = await bench.running()
    assert job.batch is None  # nobody waits for it
    run = asyncio.ensure_future(bench.journal.run())
    await until(lambda: bench.store.rows() == {job.id: RUNNING})
    record = bench.store.records[job.id]
    assert (record.started_at, record.worker) == (NOW, b"")
    assert job.state is RUNNING and bench.engine.jobs[job.handle] is job
    run.cancel()


async def test_an_assignment_that_ends_soon_costs_no_write(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await bench.running()
    bench.engine.complete(job, b"")
    bench.store.batches.clear()
    await bench.journal.commit()
    monkeypatch.setattr(journal_module, "ASSIGNMENT_DELAY", 0.0)
    bench.journal.store_assignments()
    await bench.journal.commit()
    assert [len(changes.changed) for changes in bench.store.batches] == [0, 0]
    assert bench.store.rows() == {job.id: DONE}


async def test_assignments_can_be_stored_at_once(bench: Bench) -> None:
    job = await bench.running()
    bench.journal.store_assignments()
    await bench.journal.commit()
    assert bench.store.rows() == {job.id: RUNNING}
    bench.engine.complete(job, b"")
    await bench.journal.commit()
    assert bench.store.rows() == {job.id: DONE}


async def test_a_job_that_completes_while_its_assignment_is_committed(bench: Bench) -> None:
    job = await bench.running()
    bench.journal.store_assignments()
    bench.store.gate.clear()
    commit = asyncio.ensure_future(bench.journal.commit())
    await asyncio.sleep(0.001)
    bench.engine.complete(job, b"")
    waiter = Waiter().await_batch(job.batch)
    bench.store.gate.set()
    await commit
    assert not waiter.done and bench.store.rows() == {job.id: RUNNING}
    await bench.journal.commit()
    assert waiter.done and bench.store.rows() == {job.id: DONE}
    assert bench.engine.jobs == {}


# Numbers


async def test_numbers_are_reserved_ahead(bench: Bench) -> None:
    assert bench.store.next_id > bench.engine.next_id + 100_000
    assert bench.engine.ids_until == bench.store.next_id
    before = bench.store.next_id
    bench.engine.next_id += before - 200_000
    bench.submit()
    await bench.journal.commit()
    assert bench.engine.ids_until == bench.store.next_id > before


async def test_foreground_jobs_alone_have_numbers_reserved_too(bench: Bench) -> None:
    run = asyncio.ensure_future(bench.journal.run())
    before = bench.engine.ids_until
    bench.engine.next_id = before - 200_000
    bench.journal.kick()
    await until(lambda: bench.engine.ids_until > before)
    assert bench.store.next_id == bench.engine.ids_until
    run.cancel()


async def test_numbers_that_are_not_reserved_are_not_given_out(bench: Bench) -> None:
    bench.store.full = True
    bench.engine.next_id = bench.engine.ids_until - 50
    with pytest.raises(QueueError):
        for _ in range(60):
            bench.submit(client=Peer("client"))
    assert bench.engine.next_id <= bench.engine.ids_until


# A full disk


async def test_new_jobs_are_refused_and_completions_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "RETRY_DELAY", 0.001)
    done = await bench.running()
    bench.engine.complete(done, b"result")
    completion = Waiter().await_batch(done.batch)
    refused = bench.submit()
    submit = Waiter().await_batch(refused.batch)
    bench.store.full = True
    await bench.journal.commit()
    assert bench.journal.full and bench.failures == []
    assert submit.released and submit.batches[0].refused and refused.stored_state < 0
    assert not completion.done
    assert bench.engine.grab(bench.worker) is None
    later = bench.submit()
    later_submit = Waiter().await_batch(later.batch)
    await bench.journal.commit()
    assert later_submit.released and later.stored_state < 0 and not completion.done
    bench.store.full = False
    await bench.journal.commit()
    assert completion.done and not bench.journal.full
    assert bench.store.rows() == {done.id: DONE} and bench.store.records[done.id].result == b"result"
    accepted = bench.submit()
    await bench.journal.commit()
    assert accepted.stored_state == QUEUED and bench.engine.grab(bench.worker) is accepted
    assert bench.engine.grab(bench.worker) is None


async def test_changes_find_room_where_new_jobs_do_not(bench: Bench) -> None:
    done = await bench.running()
    bench.engine.complete(done, b"")
    completion = Waiter().await_batch(done.batch)
    bench.submit()
    bench.store.full_for_new = True
    await bench.journal.commit()
    assert completion.done and bench.store.rows() == {done.id: DONE}


async def test_only_new_jobs_in_a_refused_batch(bench: Bench) -> None:
    job = bench.submit(b"u")
    waiter = Waiter().await_batch(job.batch)
    bench.store.full = True
    await bench.journal.commit()
    assert waiter.released and bench.engine.jobs == {}
    bench.store.full = False
    again = bench.submit(b"u")
    assert again is not job
    await bench.journal.commit()
    assert bench.store.rows() == {again.id: QUEUED}


async def test_a_new_function_of_refused_jobs_is_stored_with_the_next_one(bench: Bench) -> None:
    bench.store.full = True
    bench.submit()
    await bench.journal.commit()
    bench.store.full = False
    bench.submit()
    await bench.journal.commit()
    assert [function.name for function in bench.store.functions.values()] == [b"f"]


async def test_a_job_that_is_retried_by_the_run_until_there_is_space(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "RETRY_DELAY", 0.001)
    job = await bench.running()
    run = asyncio.ensure_future(bench.journal.run())
    bench.store.full = True
    bench.engine.complete(job, b"")
    waiter = Waiter().await_batch(job.batch)
    await until(lambda: bench.store.tries > 5)
    assert not waiter.done
    bench.store.full = False
    await until(lambda: waiter.done)
    assert bench.store.rows() == {job.id: DONE}
    run.cancel()


async def test_carried_completions_keep_what_comes_after_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest state counts, also if the older one was carried over several refused batches."""
    monkeypatch.setattr(journal_module, "RETRY_DELAY", 0.0)
    first = await bench.running()
    bench.store.full = True
    bench.engine.cant_do(bench.worker, first.function)
    requeued = Waiter().await_batch(first.batch)
    await bench.journal.commit()
    bench.engine.can_do(bench.worker, b"f", 0)
    assert bench.engine.grab(bench.worker) is first
    bench.engine.fail(first, Reason.FAIL, b"at last")
    ended = Waiter().await_batch(first.batch)
    await bench.journal.commit()
    await bench.journal.commit()
    bench.store.full = False
    await bench.journal.commit()
    assert requeued.done and ended.done
    assert bench.store.rows() == {first.id: FAILED} and bench.engine.jobs == {}


async def test_a_foreground_job_on_a_full_disk(bench: Bench) -> None:
    bench.store.full = True
    job = bench.submit(client=Peer("client"))
    assert bench.engine.grab(bench.worker) is job
    bench.engine.complete(job, b"")
    await bench.journal.commit()
    assert bench.failures == []


async def test_a_refused_job_that_stays_in_the_foreground_is_not_stored_later(bench: Bench) -> None:
    """It came back from its worker while the batch was tried: the next batch has it too."""
    client = Peer("client")
    job = bench.submit(b"u", client)
    assert bench.engine.grab(bench.worker) is job
    assert bench.submit(b"u") is job
    bench.store.gate.clear()
    commit = asyncio.ensure_future(bench.journal.commit())
    await until(lambda: bench.store.tries)
    bench.engine.cant_do(bench.worker, job.function)
    bench.engine.can_do(bench.worker, b"f", 0)
    bench.store.full = True
    bench.store.gate.set()
    await commit
    bench.store.full = False
    await bench.journal.commit()
    assert bench.store.rows() == {}
    assert bench.engine.grab(bench.worker) is job and list(job.listeners) == [client]
    bench.engine.complete(job, b"")
    await bench.journal.commit()
    assert (bench.store.rows(), bench.engine.jobs) == ({}, {})


# A store that fails


async def test_a_store_that_fails_ends_the_service(bench: Bench) -> None:
    job = bench.submit()
    waiter = Waiter().await_batch(job.batch)
    bench.store.broken = True
    run = asyncio.ensure_future(bench.journal.run())
    await until(lambda: run.done())
    assert len(bench.failures) == 1
    assert (waiter.done, job.stored_state) == (False, -1)
    assert bench.engine.grab(bench.worker) is None


async def test_a_job_that_ends_while_its_first_row_is_refused_is_counted_away_once(bench: Bench) -> None:
    client = Peer("client")
    job = bench.submit(b"u", client)
    assert bench.engine.grab(bench.worker) is job
    assert bench.submit(b"u") is job  # background from now on; its row is to be written
    bench.store.gate.clear()
    bench.store.full_for_new = True
    committing = asyncio.ensure_future(bench.journal.commit())
    await until(lambda: bench.store.tries == 1)
    bench.engine.complete(job, b"")  # stands in the next batch
    bench.submit(b"v")  # so does this one, which is refused too
    bench.store.gate.set()
    await committing
    await bench.journal.commit()
    assert bench.engine.functions[b"f"].states == [0] * len(JobState)
    assert bench.engine.jobs == {} and bench.store.rows() == {}


async def test_a_store_that_fails_after_it_was_full(bench: Bench) -> None:
    class Breaks(Notebook):
        async def apply(self, changes: Changes) -> Applied:
            try:
                return await super().apply(changes)
            finally:
                self.full, self.broken = False, True

    job = await bench.running()
    bench.engine.complete(job, b"")
    waiter = Waiter().await_batch(job.batch)
    store = Breaks()
    store.full = True
    bench.journal.store = store
    await bench.journal.commit()
    assert len(bench.failures) == 1 and not waiter.done


# Congestion


async def test_many_jobs_are_too_many(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "HIGH_JOBS", 10)
    for _ in range(10):
        bench.submit()
    assert not bench.journal.congested
    job = bench.submit()
    assert bench.journal.congested and job.batch is not None
    waiter = Waiter()
    bench.journal.paused[waiter] = None
    await bench.journal.commit()
    assert (bench.journal.congested, waiter.released, bench.journal.paused) == (False, 1, {})


async def test_many_bytes_are_too_many(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "HIGH_BYTES", 1000)
    bench.submit(workload=b"x" * 1000)
    assert not bench.journal.congested
    bench.submit()
    assert bench.journal.congested


async def test_those_who_were_paused_are_released_also_by_a_refused_batch(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "HIGH_JOBS", 1)
    bench.submit()
    bench.submit()
    waiter = Waiter()
    bench.journal.paused[waiter] = None
    bench.store.full = True
    await bench.journal.commit()
    assert waiter.released and not bench.journal.congested


# Ends


async def test_close_stores_what_is_left(bench: Bench) -> None:
    running = await bench.running()
    job = bench.submit()
    waiter = Waiter().await_batch(job.batch)
    await bench.journal.close()
    assert waiter.done and bench.store.rows() == {running.id: RUNNING, job.id: QUEUED}


async def test_close_while_a_commit_is_under_way(bench: Bench) -> None:
    first = bench.submit()
    bench.store.gate.clear()
    commit = asyncio.ensure_future(bench.journal.commit())
    await until(lambda: bench.store.tries)
    second = bench.submit()
    close = asyncio.ensure_future(bench.journal.close())
    await asyncio.sleep(0.005)
    assert not close.done()
    bench.store.gate.set()
    await asyncio.gather(commit, close)
    assert bench.store.rows() == {first.id: QUEUED, second.id: QUEUED}


async def test_close_on_a_full_disk_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "RETRY_DELAY", 0.0)
    job = await bench.running()
    bench.engine.complete(job, b"")
    bench.store.full = True
    async with asyncio.timeout(5):
        await bench.journal.close()
    assert bench.failures == []


async def test_run_ends_after_close(bench: Bench) -> None:
    run = asyncio.ensure_future(bench.journal.run())
    bench.submit()
    await until(lambda: bench.commits)
    await bench.journal.close()
    bench.submit()
    await until(lambda: run.done())


# Look-ups


async def test_a_job_on_disk_is_joined_after_its_look_up() -> None:
    bench = await Bench(window=1).start()
    jobs = [bench.submit(b"u%d" % n) for n in range(3)]
    await bench.journal.commit()
    job, client = bench.submit(b"u2"), Peer("client")
    foreground = bench.submit(b"u1", client)
    new, other = bench.submit(b"u9"), bench.submit(b"u8", client)
    for one in (job, foreground, new, other):
        assert one.batch is not None
    await bench.journal.commit()
    assert [one.handle for one in (job, foreground)] == [jobs[2].handle, jobs[1].handle]
    assert [one.batch for one in (job, foreground, new, other)] == [None] * 4
    assert job.stored_state >= 0 and new.stored_state >= 0
    assert sorted(bench.store.rows()) == [1, 2, 3, new.id]
    assert list(bench.engine.jobs[jobs[1].handle].listeners) == [client]


async def test_a_look_up_that_finds_an_ended_job_while_both_kinds_wait() -> None:
    """The foreground client is served; the background submit is refused, and so never stored."""
    bench = await Bench(window=1).start()
    jobs = [bench.submit(b"u%d" % n) for n in range(3)]
    await bench.journal.commit()
    assert bench.engine.grab(bench.worker) is jobs[0]
    client = Peer("client")
    job = bench.submit(b"u1", client)
    bench.store.gate.clear()
    commit = asyncio.ensure_future(bench.journal.commit())
    await until(lambda: bench.store.tries == 2)
    assert bench.submit(b"u1") is job
    function = job.function
    function.windows[NORMAL].changed = {}
    page = await bench.store.claim(function.id, NORMAL, function.windows[NORMAL].after, 10)
    claimed(bench.engine, function, NORMAL, page)
    existing = bench.engine.grab(bench.worker)
    assert existing is not None and existing.handle == jobs[1].handle
    bench.store.gate.set()
    bench.store.then = partial(bench.engine.complete, existing, b"")
    await commit
    await bench.journal.commit()
    assert sorted(bench.store.rows()) == [1, 2, 3]
    served = []
    while (one := bench.engine.grab(bench.worker)) is not None:
        served.append((one.handle, list(one.listeners)))
        bench.engine.complete(one, b"")
        bench.engine.told(one)
        await bench.journal.commit()
    assert served == [(jobs[2].handle, []), (job.handle, [client])]
    assert bench.store.rows() == {jobs[0].id: QUEUED, jobs[1].id: DONE, jobs[2].id: DONE}


async def test_a_look_up_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "RETRY_DELAY", 0.0)
    bench = await Bench(window=1).start()
    jobs = [bench.submit(b"u%d" % n) for n in range(3)]
    await bench.journal.commit()
    client = Peer("client")
    bench.store.full = True
    refused = bench.submit(b"u2")
    foreground = bench.submit(b"u1", client)
    waiter = Waiter().await_batch(foreground.batch)
    await bench.journal.commit()
    assert refused.stored_state < 0
    bench.store.full = False
    await bench.journal.commit()
    assert waiter.done and foreground.handle == jobs[1].handle
    assert list(bench.engine.jobs[jobs[1].handle].listeners) == [client]
    assert sorted(bench.store.rows()) == [1, 2, 3]


# The receipt


async def test_a_submit_counts_from_when_its_request_was_read(bench: Bench) -> None:
    bench.journal.read_at = perf_counter() - 1.0
    bench.submit()
    bench.journal.read_at = 0.0
    await bench.journal.commit()
    await asyncio.sleep(0)  # in which the answers are written
    figures = bench.journal.receipt.figures()["minute"]
    assert figures["submits"] == 1
    assert figures["p50_ms"] is not None and figures["p50_ms"] > 1000


async def test_completions_count_as_jobs_of_a_commit_and_not_as_submits(bench: Bench) -> None:
    job = await bench.running()
    await asyncio.sleep(0)
    before = bench.journal.receipt.figures()["minute"]
    bench.engine.complete(job, b"")
    await bench.journal.commit()
    await asyncio.sleep(0)
    after = bench.journal.receipt.figures()["minute"]
    assert (before["submits"], after["submits"]) == (1, 1)
    assert bench.journal.receipt.second.jobs == 2


async def test_what_the_disk_refused_is_no_acknowledgement(bench: Bench) -> None:
    bench.store.full = True
    bench.submit()
    await bench.journal.commit()
    await asyncio.sleep(0)
    assert bench.journal.receipt.figures()["minute"]["submits"] == 0


async def test_new_jobs_get_a_hash_while_too_many_run_unnoticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of those still say that they wait: a start would take them for the front of the queue."""
    monkeypatch.setattr("gearstore.store.journal.UNSTORED", 2)
    for number in range(4):
        bench.submit(b"first %d" % number)
    await bench.journal.commit()
    hashed = []
    for number in range(4):
        assert bench.engine.grab(bench.worker) is not None
        bench.submit(b"later %d" % number)
        await bench.journal.commit()
        hashed.append(bench.store.batches[-1].new[0][5] is not None)
    assert hashed == [False, False, True, True]
    bench.journal.store_assignments()
    bench.journal.store_assignments()
    bench.submit(b"last")
    await bench.journal.commit()
    assert bench.store.batches[-1].new[0][5] is None
