"""The history within its limits: what goes, what stays, what happens meanwhile, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gearstore.config import load_config
from gearstore.errors import StoreError
from gearstore.protocol.packets import (
    CAN_DO,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
    WORK_FAIL,
)
from gearstore.queue.job import CANCELLED, DONE, FAILED, JobState
from gearstore.queue.operators import retry
from gearstore.queue.policy import FOREVER, NOTHING, Keep, Policies, Policy, Rule
from gearstore.queue.record import recover
from gearstore.server import retention as retention_module
from gearstore.server.hub import Hub
from gearstore.server.retention import Retention
from gearstore.store.base import Filter, Recovered, Store
from gearstore.store.check import check
from gearstore.store.journal import Journal
from gearstore.store.memory import MemoryStore
from gearstore.store.reader import recovered
from gearstore.store.sqlite import SqliteStore
from gearstore.store.view import snapshot
from tests.server.process import Server, StartServer, eventually
from tests.server.wire import Wire, packet
from tests.store.conformance import FUNCTION, OTHER, PREFIX, Writer

DAY = 86_400_000
Start = Callable[..., Awaitable["Keeper"]]


class Keeper:
    """The retention of a server that has no connections."""

    def __init__(self, hub: Hub, now: int) -> None:
        self.hub = hub
        self.now = now
        self.retention = Retention(hub)

    async def kept(self) -> list[int]:
        """Look once, and return the numbers of the jobs that are left."""
        await self.retention.look()
        return [record.id for record in await self.hub.store.find(Filter(), False, None, 1 << 20)]

    def set(self, policy: Policy, *rules: Rule) -> None:
        """Set other policies, as a SIGHUP does."""
        self.hub.engine.policies = Policies(policy, rules)


@pytest.fixture(params=["memory", "sqlite"])
async def start(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Start]:
    """Start on a store with the jobs of a Writer; a policy and rules say what is kept."""
    monkeypatch.setattr("gearstore.store.sqlite.LOG_SIZE", 64 << 10)
    store: Store = MemoryStore() if request.param == "memory" else SqliteStore(str(tmp_path / "gearstore.db"))
    await store.open(PREFIX, 5, 1000)
    committing: list[asyncio.Task[None]] = []
    failures: list[StoreError] = []

    async def start_on(write: Writer, policy: Policy, *rules: Rule) -> Keeper:
        await write.to(store)
        known = await store.open(PREFIX, 5, 1000) if store.path is None else known_in(store.path)
        journal = Journal(store, failures.append)
        hub = Hub(load_config({}, {})[0], store, journal, asyncio.get_running_loop())
        recover(hub.engine, known.functions, known.counts)
        hub.engine.next_id = max(write.jobs, default=0) + 1
        hub.set_time()
        committing.append(asyncio.create_task(journal.run()))
        keeper = Keeper(hub, hub.engine.now)
        keeper.set(policy, *rules)
        return keeper

    yield start_on
    for task in committing:
        task.cancel()
    await store.close()
    assert not failures


def known_in(path: str) -> Recovered:
    """Return what a start would read from a file that is open."""
    with closing(sqlite3.connect(path)) as database:
        return recovered(database)


@pytest.fixture
def now() -> int:
    """The present, in milliseconds."""
    return int(time.time() * 1000)


def written(now: int, ages: Iterable[int], state: JobState = DONE, function: int = FUNCTION, first: int = 1) -> Writer:
    """Return the changes by which jobs ended so many milliseconds ago."""
    return add(Writer(), now, ages, state, function, first)


def add(
    write: Writer, now: int, ages: Iterable[int], state: JobState = DONE, function: int = FUNCTION, first: int = 1
) -> Writer:
    aged = dict(enumerate(ages, first))
    for id in aged:
        write.new(id, function=function, workload=b"w" * 10)
    for id in sorted(aged, key=aged.__getitem__, reverse=True):
        write.changed(id, state, ended_at=now - aged[id])
    return write


async def test_jobs_go_by_age(start: Start, now: int) -> None:
    keeper = await start(written(now, [9 * DAY, DAY, 8 * DAY, 0]), Policy(keep_done=Keep(age=7 * DAY)))
    assert await keeper.kept() == [2, 4]
    states = keeper.hub.engine.functions[b"function 1"].states
    assert states[DONE] == 2


async def test_of_too_many_the_ones_that_ended_first_go(start: Start, now: int) -> None:
    ages = [50_000, 10_000, 40_000, 20_000, 30_000]
    keeper = await start(written(now, ages), Policy(keep_done=Keep(count=3)))
    assert await keeper.kept() == [2, 4, 5]


async def test_jobs_go_by_their_bytes(start: Start, now: int) -> None:
    keeper = await start(written(now, range(60_000, 0, -10_000)), Policy(keep_done=Keep(bytes=35)))
    assert await keeper.kept() == [4, 5, 6]


async def test_failed_jobs_stay_unless_told_otherwise_and_cancelled_ones_go_with_the_done(
    start: Start, now: int
) -> None:
    write = written(now, [5000, 5000], FAILED)
    add(write, now, [5000, 5000], CANCELLED, first=3)
    keeper = await start(write, Policy(keep_done=NOTHING))
    assert await keeper.kept() == [1, 2]
    keeper.set(Policy(keep_failed=Keep(count=1)))
    assert len(await keeper.kept()) == 1
    keeper.set(Policy(keep_failed=NOTHING))
    assert await keeper.kept() == []


async def test_live_and_held_jobs_are_never_pruned(start: Start) -> None:
    write = Writer()
    for id, state in enumerate(JobState, 1):
        write.new(id, state=state, **({"ended_at": 1000} if state in (DONE, FAILED, CANCELLED) else {}))
    keeper = await start(write, Policy(keep_done=NOTHING, keep_failed=NOTHING))
    left = await keeper.kept()
    assert [list(JobState)[id - 1].name for id in left] == ["QUEUED", "DELAYED", "RUNNING", "HELD"]


async def test_a_function_with_limits_of_its_own_does_not_count_for_the_others(start: Start, now: int) -> None:
    write = written(now, range(6000, 0, -1000))
    add(write, now, range(6000, 0, -1000), function=OTHER, first=7)
    own = Rule("function 2", {"keep_done": Keep(count=4)})
    keeper = await start(write, Policy(keep_done=Keep(count=2)), own)
    assert await keeper.kept() == [5, 6, 9, 10, 11, 12]
    keeper.set(Policy(keep_done=Keep(count=1)), Rule("function 2", {"keep_done": FOREVER}))
    assert await keeper.kept() == [6, 9, 10, 11, 12]


async def test_what_ends_later_goes_later(start: Start, now: int) -> None:
    keeper = await start(written(now, [1000, 1000, 1000]), Policy(keep_done=Keep(count=3)))
    assert await keeper.kept() == [1, 2, 3]
    engine = keeper.hub.engine
    for _ in range(5):
        engine.submit(None, b"function 1", b"", b"w", 1, True)
    await keeper.hub.durable()
    for job in list(engine.jobs.values()):
        engine.cancel(job)
    await keeper.hub.durable()
    assert await keeper.kept() == [6, 7, 8]


async def test_more_than_one_batch_and_page(start: Start, now: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "BATCH", 7)
    monkeypatch.setattr(retention_module, "PAGE", 16)
    ages = [age * 1000 for age in range(500, 0, -1)]
    write = written(now, ages[:250], FAILED)
    add(write, now, ages[250:], first=251)
    keeper = await start(write, Policy(keep_done=Keep(count=10)))
    assert await keeper.kept() == [*range(1, 251), *range(491, 501)]
    keeper.set(Policy(keep_done=Keep(count=5), keep_failed=Keep(count=3)))
    assert await keeper.kept() == [248, 249, 250, *range(496, 501)]


async def test_large_jobs_go_in_smaller_batches(start: Start, now: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "BATCH_BYTES", 25)
    keeper = await start(written(now, [5000] * 10), Policy(keep_done=NOTHING))
    before = keeper.hub.journal.commits
    assert await keeper.kept() == []
    assert keeper.hub.journal.commits - before == 4  # of 3, 3, 3 and 1


async def test_jobs_that_were_retried_meanwhile_stay(start: Start, now: int) -> None:
    """The history thinks that they are still there; what it does not find is no reason to look for ever."""
    keeper = await start(written(now, [20_000] * 6, FAILED), Policy(keep_failed=Keep(age=30_000)))
    assert await keeper.kept() == [1, 2, 3, 4, 5, 6]
    hub = keeper.hub
    for record in await hub.store.find(Filter(ids=[1, 2, 3]), False, None, 10):
        retry(hub.engine, hub.engine.functions[b"function 1"], record)
    await hub.durable()
    keeper.set(Policy(keep_failed=Keep(age=10_000)))
    assert await keeper.kept() == [1, 2, 3]
    for job in list(hub.engine.jobs.values()):
        hub.engine.cancel(job)
    await hub.durable()
    assert await keeper.kept() == [1, 2, 3]


async def test_a_purge_by_an_operator_leaves_a_history_that_mends_itself(start: Start, now: int) -> None:
    keeper = await start(written(now, range(10_000, 0, -1000)), Policy(keep_done=Keep(count=10)))
    assert len(await keeper.kept()) == 10
    keeper.hub.journal.prune([1, 2, 3, 4, 5])
    await keeper.hub.durable()
    assert await keeper.kept() == [6, 7, 8, 9, 10]
    for _ in range(8):
        keeper.hub.engine.submit(None, b"function 1", b"", b"w", 1, True)
    await keeper.hub.durable()
    for job in list(keeper.hub.engine.jobs.values()):
        keeper.hub.engine.cancel(job)
    await keeper.hub.durable()
    assert await keeper.kept() == [9, 10, *range(11, 19)]


async def test_what_is_being_pruned_cannot_be_retried_and_the_other_way_round(start: Start, now: int) -> None:
    keeper = await start(written(now, [5000] * 300, FAILED), Policy(keep_failed=NOTHING))
    hub = keeper.hub
    function = hub.engine.functions[b"function 1"]
    retried: list[int] = []

    async def retry_some() -> None:
        for _ in range(10):
            async with hub.history:
                for record in await hub.store.find(Filter(states=[FAILED]), True, None, 10):
                    retry(hub.engine, function, record)
                    retried.append(record.id)
                await hub.durable()

    await asyncio.gather(retry_some(), keeper.retention.look())
    assert await keeper.kept() == sorted(retried)
    assert 10 <= len(retried) <= 100
    assert (function.states[FAILED], function.total) == (0, len(retried))


async def test_other_policies_end_what_goes_on(start: Start, now: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "BATCH", 1)
    keeper = await start(written(now, [5000] * 50, FAILED), Policy(keep_failed=NOTHING))
    looking = asyncio.create_task(keeper.retention.look())
    while keeper.hub.journal.commits < 3:
        await asyncio.sleep(0)
    keeper.set(Policy())
    await looking
    left = await keeper.kept()
    assert 40 < len(left) < 50
    assert await keeper.kept() == left


async def test_only_a_store_in_memory_has_limits_of_its_own(start: Start) -> None:
    keeper = await start(Writer(), Policy())
    assert keeper.retention.cap == (FOREVER if keeper.hub.store.path else Keep(count=100_000))


# A whole server


def end_jobs(server: Server, function: bytes, jobs: int, kind: int = WORK_COMPLETE) -> list[bytes]:
    """Submit jobs and have them done or failed; return their handles."""
    client, worker = server.connect(), server.connect()
    handles = [client.submit(SUBMIT_JOB_BG, function, b"", b"workload") for _ in range(jobs)]
    worker.send(CAN_DO, function)
    for handle in handles:
        worker.send(GRAB_JOB)
        assert worker.expect(JOB_ASSIGN)[0] == handle
        worker.send(kind, handle, *([b""] if kind == WORK_COMPLETE else []))
    worker.expect_nothing()
    return handles


def listed(wire: Wire, **wanted: Any) -> list[bytes]:
    return [job["handle"].encode() for job in wire.manage("jobs", order="oldest", limit=10_000, **wanted)]


@pytest.mark.parametrize("memory", [False, True])
def test_a_running_server_forgets_the_oldest(start_server: StartServer, memory: bool) -> None:
    server = start_server("--keep-done=count=5", *(["--memory"] if memory else []))
    failed = end_jobs(server, b"f", 3, WORK_FAIL)
    done = end_jobs(server, b"f", 20)
    wire = server.connect()
    eventually(lambda: len(listed(wire, state=["done"])) == 5, "all but five to be pruned")
    assert listed(wire) == failed + done[-5:]
    (row,) = wire.manage("status", function="f")
    assert (row["done"], row["failed"]) == (5, 3)
    assert wire.refused("show", handles=[done[0].decode()]) == f"ERR not_found there is no job {done[0].decode()}"


def test_a_reload_changes_what_is_kept(start_server: StartServer, tmp_path: Path) -> None:
    config = tmp_path / "gearstore.toml"
    config.write_text("")
    server = start_server(f"--config={config}", cli=True)
    _, other = end_jobs(server, b"one", 4, WORK_FAIL), end_jobs(server, b"other", 4, WORK_FAIL)
    config.write_text('[functions."one"]\nkeep_failed = "none"\n')
    server.signal(signal.SIGHUP)
    wire = server.connect()
    eventually(lambda: not listed(wire, function="one"), "the failed jobs of one to be pruned")
    assert listed(wire) == other


def filled(path: Path, jobs: int, size: int = 100) -> None:
    """Make a database with so many done jobs, and 1000 failed and 1000 queued ones behind them."""

    async def fill() -> None:
        store, write = SqliteStore(str(path)), Writer()
        await store.open(PREFIX, 5, 1000)
        for id in range(1, jobs + 2001):
            write.new(id, workload=b"w" * size)
            if id <= jobs + 1000:
                write.changed(id, DONE if id <= jobs else FAILED, ended_at=1_700_000_000_000 + id)
                write.changes.events.append((id, 1, b"lost", 0, b"", b"", 0))  # type: ignore[arg-type]
            if not id % 5000:
                await write.to(store)
        write.changes.next_id = jobs + 2001
        await write.to(store)
        await store.close()

    asyncio.run(fill())


def checked(path: Path) -> dict[int, int]:
    """Assert that a database keeps all rules; return jobs by state."""
    with snapshot(str(path)) as (connection, _):
        assert list(check(connection, lambda text: None)) == []
        return dict(connection.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())


def test_submits_go_on_while_a_hundred_thousand_jobs_are_pruned(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "gearstore.db"
    filled(path, 100_000)
    server = start_server("--keep-done=none", db=path)
    wire, client = server.connect(), server.connect()

    def done() -> int:
        (row,) = wire.manage("status", function="function 1")
        return int(row["done"])

    eventually(lambda: done() < 100_000, "pruning to begin")
    submitted = 0
    while submitted < 200 or done() > 97_000:
        client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"new", b"", b"w") for _ in range(10)))
        for _ in range(10):
            client.expect(JOB_CREATED)
        submitted += 10
    assert 0 < done() <= 97_000  # it still goes on
    assert wire.status(b"new") == (submitted, 0, 0)
    assert server.terminate() == 0
    states = checked(path)
    assert (states[0], states[5]) == (1000 + submitted, 1000)
    assert 0 < states[1] <= 97_000


def test_a_kill_while_pruning_leaves_counts_that_are_right(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "gearstore.db"
    filled(path, 6000, 2000)
    left = 6000
    server = start_server("--keep-done=count=100", db=path)
    while True:
        wire = server.connect()

        def done(wire: Wire = wire) -> int:
            (row,) = wire.manage("status", function="function 1")
            return int(row["done"])

        eventually(lambda: done() <= max(100, left - 1500), "more to be pruned")  # noqa: B023
        server.kill()
        states = checked(path)
        assert states[1] <= left
        assert (states[0], states[5]) == (1000, 1000)
        left = states[1]
        if left == 100:
            return
        server.restart()


def test_retries_race_with_pruning_and_each_job_is_one_or_the_other(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "gearstore.db"
    filled(path, 0)
    config = tmp_path / "gearstore.toml"
    config.write_text("")
    server = start_server(f"--config={config}", db=path, cli=True)
    wire = server.connect()
    config.write_text('keep_failed = "none"\n')
    answers: list[dict[str, Any]] = []
    retrying = threading.Thread(
        target=lambda: answers.extend(wire.manage("retry", state=["failed"], order="newest", rate=400))
    )
    retrying.start()
    server.signal(signal.SIGHUP)
    retrying.join()
    look = server.connect()
    eventually(lambda: not listed(look, state=["failed"]), "the rest to be pruned")
    changed = answers[-1]["changed"]
    assert 0 < changed < 1000
    assert server.terminate() == 0
    assert checked(path) == {0: 1000 + changed}
