"""Where coalescing finds jobs that memory doesn't know: by entries on their way, half entered, in the table; after a
crash."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gearstore.errors import StoreError
from gearstore.queue.job import CANCELLED, DELAYED, FAILED, HELD, QUEUED, RUNNING, coalescing_key
from gearstore.store.base import Filter, packed_entries, unique_hash
from gearstore.store.check import check
from gearstore.store.sqlite import SqliteStore
from gearstore.store.uniques import MOST
from gearstore.store.view import ViewStore, snapshot
from tests.store.conformance import FUNCTION, PREFIX, Writer
from tests.store.test_sqlite import killed

OLD = Path(__file__).parent / "schema3.db.gz"
GENERATION = 256


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill generations with few jobs, and don't write eight megabytes for each test."""
    monkeypatch.setattr("gearstore.store.sqlite.LOG_SIZE", 64 << 10)
    monkeypatch.setattr("gearstore.store.reserve.SIZE", 64 << 10)
    monkeypatch.setattr("gearstore.store.uniques.GENERATION", GENERATION)
    monkeypatch.setattr("gearstore.store.recovery.UNSTORED", 0)


class Lives:
    """A database and its servers, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.next_id = 10_000
        self.write = Writer()
        self.store = SqliteStore(str(folder / "gearstore.db"))

    async def start(self, window: int = 10) -> None:
        await self.store.open(PREFIX, 5, window)

    async def crash(self, window: int = 10) -> None:
        """Kill the server and start another on what it left."""
        self.number += 1
        left = killed(self.store, self.folder / str(self.number) / "gearstore.db")
        await self.store.close()
        self.store = SqliteStore(str(left))
        await self.start(window)

    async def commit(self) -> dict[int, int]:
        """Make the changes durable; return which job each new one has joined."""
        self.write.changes.next_id = self.next_id
        return {id: record.id for id, record in (await self.write.to(self.store)).items()}

    async def spill(self, ids: Iterable[int], function: int = FUNCTION) -> None:
        """Store jobs that only the store knows, in one batch."""
        for id in ids:
            self.write.new(id, unique=b"u%d" % id, spilled=True, function=function)
        await self.commit()

    async def joins(self, unique: bytes, function: int = FUNCTION) -> int | None:
        """Return the job that a submit would join."""
        self.write.look_up(self.next_id, unique, function)
        return (await self.commit()).get(self.next_id)

    async def found(self, ids: Iterable[int]) -> list[int]:
        """Return the jobs that submits with their uniques join, all in one batch."""
        wanted = list(ids)
        for id in wanted:
            self.write.look_up(id, b"u%d" % id)
        return sorted((await self.commit()).values())

    def count(self, table: str) -> int:
        with closing(sqlite3.connect(str(self.store.path))) as other:
            (number,) = other.execute(f"SELECT count(*) FROM {table}").fetchone()
            return int(number)

    def sound(self) -> bool:
        with snapshot(str(self.store.path)) as (connection, _):
            return list(check(connection, lambda what: None)) == []


@pytest.fixture
async def lives(tmp_path: Path) -> AsyncIterator[Lives]:
    lives = Lives(tmp_path)
    await lives.start()
    yield lives
    await lives.store.close()


async def half_entered(lives: Lives) -> int:
    """Spill jobs until half a generation is in the table and another one has begun; return how many there are."""
    id = 0
    while not GENERATION // 4 < lives.count("uniques") < GENERATION * 3 // 4:
        await lives.spill(range(id + 1, id + 9))
        id += 8
        assert id < 2 * GENERATION
    assert lives.count("uniques_log") > 0
    return id


# Look-ups


async def test_in_memory(lives: Lives) -> None:
    await lives.spill(range(1, 101))
    assert (lives.count("uniques"), lives.count("uniques_log")) == (0, 1)
    assert await lives.found(range(1, 111)) == list(range(1, 101))
    assert await lives.joins(b"nobody's") is None


async def test_half_entered(lives: Lives) -> None:
    jobs = await half_entered(lives)
    assert await lives.found(range(1, jobs + 20)) == list(range(1, jobs + 1))
    for id in (1, jobs // 2, jobs):
        record = await lives.store.find_live(FUNCTION, b"u%d" % id)
        assert record is not None and record.id == id


async def test_in_the_table(lives: Lives) -> None:
    await lives.spill(range(1, GENERATION + 1))
    for id in range(GENERATION + 1, 2 * GENERATION, 8):
        await lives.spill(range(id, id + 8))
    assert lives.count("uniques") == GENERATION
    assert await lives.found(range(1, 3 * GENERATION)) == list(range(1, 2 * GENERATION + 1))
    assert lives.sound()


async def test_by_those_who_look_without_a_server(lives: Lives) -> None:
    jobs = await half_entered(lives)
    left = killed(lives.store, lives.folder / "left" / "gearstore.db")
    view = ViewStore(str(left))
    for id in range(1, jobs + 1, 7):
        record = await view.find_live(FUNCTION, b"u%d" % id)
        assert record is not None and record.id == id
    assert await view.find_live(FUNCTION, b"nobody's") is None
    await view.close()


async def test_one_unique_in_many_functions(lives: Lives) -> None:
    """Their entries have the same hash."""
    for function in range(1, 41):
        lives.write.new(function, unique=b"same", spilled=True, function=function)
        await lives.commit()
    assert [await lives.joins(b"same", function) for function in range(1, 43)] == [*range(1, 41), None, None]
    for id in range(100, 100 + GENERATION * 3, 8):
        await lives.spill(range(id, id + 8))
    assert await lives.joins(b"same", 17) == 17
    await lives.crash()
    assert [await lives.joins(b"same", function) for function in range(1, 42)] == [*range(1, 41), None]


async def test_equal_halves_of_hashes(lives: Lives) -> None:
    """Only the job itself says which unique it has."""
    await lives.spill([1])
    half = unique_hash(b"another") >> 32
    with closing(sqlite3.connect(str(lives.store.path), isolation_level=None)) as other:
        other.execute("INSERT INTO uniques VALUES (?, 1)", (half,))
        other.execute("INSERT INTO uniques_log VALUES (1000, ?)", (packed_entries([(half, 1), (half, 77)]),))
    await lives.crash()
    assert await lives.joins(b"another") is None
    assert await lives.joins(b"u1") == 1


# What the disk surely does not know


def unknown(lives: Lives, ids: Iterable[int]) -> list[int]:
    """Return the jobs whose uniques the disk surely does not know."""
    return [id for id in ids if not lives.store.may_know(unique_hash(b"u%d" % id))]


async def test_few_uniques_have_to_be_looked_up(lives: Lives) -> None:
    lives.write.new(1).new(2, unique=b"u2")
    await lives.commit()
    assert unknown(lives, range(1, 100)) == list(range(1, 100))
    for first in range(100, 1000, 100):
        await lives.spill(range(first, first + 100))
    assert unknown(lives, range(100, 1000)) == []
    assert len(unknown(lives, range(1000, 2000))) > 980


async def test_after_a_start_the_table_is_read_in(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearstore.store.uniques.READ_IN", 20)
    jobs = await half_entered(lives)
    await lives.crash()
    assert unknown(lives, range(1, 10 * jobs)) == []
    await lives.spill(range(1000, 1010))
    assert lives.store._reading_in is not None
    await lives.store._reading_in
    assert unknown(lives, [*range(1, jobs + 1), *range(1000, 1010)]) == []
    assert len(unknown(lives, range(2000, 3000))) > 980
    await lives.spill([1999])
    assert lives.store._reading_in is None


@pytest.mark.parametrize("piece", [4, 20, 100])
async def test_entries_that_come_while_the_table_is_read_in(lives: Lives, piece: int) -> None:
    """Some in memory when it begins, some entered meanwhile, in front of what is read next or behind it."""
    last = await half_entered(lives)
    await lives.crash()
    store = lives.store
    asked = 0

    async def rows(sql: str, parameters: tuple[int, int]) -> list[Any]:
        nonlocal last, asked
        found = await store._rows(sql, (parameters[0], piece))
        if asked < 20:
            await lives.spill(range(last + 1, last + 41))
            last += 40
        asked += 1
        return found

    store._reading_in = asyncio.create_task(asyncio.sleep(0))  # not by itself
    await store._uniques.read_in(rows)
    assert asked > 1 and unknown(lives, range(1, last + 1)) == []
    assert len(unknown(lives, range(last + 1, last + 1000))) > 950


@pytest.mark.parametrize("when", [0, 1])
async def test_what_is_read_in_is_forgotten_when_no_job_waits(lives: Lives, when: int) -> None:
    """Also if that is while it finds that nothing more is to be read."""
    last = await half_entered(lives)
    await lives.crash()
    store = lives.store
    asked = 0

    async def rows(sql: str, parameters: tuple[int, int]) -> list[Any]:
        nonlocal asked
        found = await store._rows(sql, parameters)
        if asked == when:
            for id in range(1, last + 1):
                lives.write.done(id)
            await lives.commit()
            await lives.spill([1000])
        asked += 1
        return found

    store._reading_in = asyncio.create_task(asyncio.sleep(0))
    await store._uniques.read_in(rows)
    assert unknown(lives, range(1, last + 1)) == list(range(1, last + 1)) and unknown(lives, [1000]) == []
    assert not store._uniques.due


async def test_it_is_made_anew_without_entries_that_are_gone(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearstore.store.uniques.STALE", 500)
    await lives.spill(range(1, 501))
    for id in range(1, 401):
        lives.write.done(id)
        lives.write.changes.pruned.append(id)
    await lives.commit()
    assert unknown(lives, range(1, 401)) == []
    await lives.spill([1000])
    assert lives.store._reading_in is not None
    await lives.store._reading_in
    assert len(unknown(lives, range(1, 401))) > 390 and unknown(lives, [*range(401, 501), 1000]) == []


async def test_a_table_that_cannot_be_read_is_looked_up(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await half_entered(lives)
    await lives.crash()

    async def rows(sql: str, parameters: Any) -> list[Any]:
        raise StoreError("it was told to fail")

    with monkeypatch.context() as patch:
        patch.setattr(lives.store, "_rows", rows)
        await lives.spill([1000])
        assert lives.store._reading_in is not None
        await lives.store._reading_in
    reading = lives.store._reading_in
    await lives.spill([1001])
    assert lives.store._reading_in is reading and unknown(lives, range(2000)) == []
    assert await lives.found(range(1, jobs + 20)) == list(range(1, jobs + 1))


# Crashes


async def test_a_crash_while_a_generation_is_entered(lives: Lives) -> None:
    jobs = await half_entered(lives)
    await lives.crash()
    assert await lives.found(range(1, jobs + 20)) == list(range(1, jobs + 1))
    assert lives.sound()


@pytest.mark.parametrize("seed", range(6))
async def test_any_batches_and_crashes(lives: Lives, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Whatever comes in whatever portions: each job that waits is found, none that has ended."""
    chance = Random(seed)
    monkeypatch.setattr("gearstore.store.uniques.LOG_ROWS", chance.choice((5, 50, 5000)))
    monkeypatch.setattr("gearstore.store.uniques.WORTHLESS", 20)
    monkeypatch.setattr("gearstore.store.uniques.STALE", chance.choice((10, 300, 1 << 20)))
    monkeypatch.setattr("gearstore.store.uniques.READ_IN", chance.choice((1, 30, 4096)))
    waiting: list[int] = []
    lives.next_id = 1 << 40
    last = 0
    for _ in range(150):
        number = chance.choice((0, 1, 1, 3, 30, 200))
        for id in range(last + 1, last + 1 + number):
            state = DELAYED if chance.random() < 0.1 else QUEUED
            lives.write.new(id, unique=b"u%d" % id, spilled=True, state=state, run_at=id)
            waiting.append(id)
        last += number
        await lives.commit()
        for job in waiting[:number] if chance.random() < 0.8 else waiting[:]:
            waiting.remove(job)
            lives.write.done(job)
            if chance.random() < 0.2:
                lives.write.changes.pruned.append(job)
        await lives.commit()
        if chance.random() < 0.05:
            await lives.crash()
        assert unknown(lives, waiting) == []
        some = chance.sample(range(1, last + 10), min(last, 40))
        assert await lives.found(some) == sorted(set(some) & set(waiting))
    assert await lives.found(range(1, last + 10)) == waiting
    assert lives.sound()


async def test_a_transaction_that_fails_changes_nothing(lives: Lives) -> None:
    jobs = await half_entered(lives)
    before = lives.count("uniques"), lives.count("uniques_log")
    lives.write.new(1).new(jobs + 1, unique=b"lost", spilled=True)  # the number is taken
    for id in range(1000, 1100):
        lives.write.new(id, unique=b"u%d" % id, spilled=True)
    with pytest.raises(StoreError):
        await lives.commit()
    assert (lives.count("uniques"), lives.count("uniques_log")) == before
    assert await lives.joins(b"lost") is None
    assert await lives.found(range(1, 1100)) == list(range(1, jobs + 1))
    await lives.spill(range(1000, 1100))
    await lives.crash()
    assert await lives.found(range(1, 1101)) == [*range(1, jobs + 1), *range(1000, 1100)]


# Jobs that get a hash later


async def test_jobs_that_come_back_to_their_queue_behind_others(lives: Lives) -> None:
    lives.write.new(1, unique=b"u1").new(2, unique=b"u2").new(3, unique=b"u3", state=RUNNING)
    await lives.commit()
    assert await lives.found([1, 2, 3]) == []  # memory knows them
    lives.write.changed(1, QUEUED, position=50, spilled=True).changed(2, DELAYED, run_at=9, spilled=True)
    await lives.commit()
    assert await lives.found([1, 2, 3]) == [1, 2]
    await lives.crash()
    assert await lives.found([1, 2, 3]) == [1, 2, 3]
    assert lives.sound()


async def test_generations_are_larger_beside_a_large_table(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearstore.store.uniques.SHARE", 4)
    sizes = []
    for first in range(1, 24 * GENERATION, 8):
        await lives.spill(range(first, first + 8))
        sizes.append(lives.store._uniques._size)
    assert max(sizes[: 4 * GENERATION // 8]) <= GENERATION
    assert 3 * GENERATION < max(sizes) <= MOST * GENERATION
    assert await lives.found(range(1, 25 * GENERATION)) == list(range(1, 24 * GENERATION + 1))


async def test_many_jobs_that_only_change(lives: Lives) -> None:
    """Also where no new job is spilled, memory and log keep no more than two generations."""
    for id in range(1, 6 * GENERATION):
        lives.write.new(id, unique=b"u%d" % id)
    await lives.commit()
    for first in range(1, 5 * GENERATION, 8):
        for id in range(first, first + 8):
            lives.write.changed(id, DELAYED, run_at=id, spilled=True)
        await lives.commit()
        assert lives.store._uniques._size <= GENERATION + 8
    assert lives.count("uniques_log") <= 2 * GENERATION // 8
    assert await lives.found(range(1, 6 * GENERATION)) == list(range(1, 5 * GENERATION + 1))


async def test_nothing_is_entered_while_the_disk_is_full(lives: Lives) -> None:
    await lives.spill(range(1, GENERATION + 1))
    lives.store._reserve.held = False
    for id in range(1, GENERATION):
        lives.write.changed(id, DELAYED, run_at=id, spilled=True)
        await lives.commit()
    assert lives.count("uniques") == 0
    await lives.spill(range(1000, 1100))  # now there is room again
    assert lives.count("uniques") > 0
    assert await lives.found(range(1, 1100)) == [*range(1, GENERATION + 1), *range(1000, 1100)]


async def test_a_job_that_was_held_while_all_others_ended(lives: Lives) -> None:
    """Its entry goes when nothing waits any more; it needs a new one when it is released, also if only its place in
    front says so."""
    await lives.spill([1])
    lives.write.changed(1, HELD)
    await lives.commit()
    assert lives.count("uniques_log") == 0
    lives.write.changed(1, QUEUED, position=60, spilled=False).new(61, unique=b"u61", position=61)
    await lives.commit()
    await lives.crash()
    assert await lives.found([1, 61]) == [1, 61]
    assert lives.sound()


async def test_a_job_that_joins_leaves_no_entry(lives: Lives) -> None:
    await lives.spill([1])
    lives.write.new(2, unique=b"u1", state=DELAYED, spilled=True, run_at=9).look_up(2, b"u1")
    assert await lives.commit() == {2: 1}
    assert lives.store._uniques.known(unique_hash(b"u1") >> 32) == [1]


# The front of the queue


async def test_the_front_is_entered_once(lives: Lives) -> None:
    for id in range(1, 10):
        lives.write.new(id, unique=b"u%d" % id)
    lives.write.new(20, unique=b"-", workload=b"u20")
    await lives.commit()
    await lives.crash()
    rows = lives.count("uniques_log")
    assert rows == 1 and await lives.found(range(1, 30)) == [*range(1, 10), 20]
    await lives.crash()
    assert lives.count("uniques_log") == rows and await lives.found(range(1, 30)) == [*range(1, 10), 20]
    lives.write.changed(3, QUEUED, position=10_001).new(10_002, unique=b"late", position=10_002)
    lives.next_id = 20_000
    await lives.commit()
    await lives.crash(window=11)
    assert lives.count("uniques_log") == rows + 1 and await lives.joins(b"late") == 10_002
    assert await lives.found(range(1, 30)) == [*range(1, 10), 20]
    assert lives.sound()


async def test_long_fronts_of_many_queues(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearstore.store.recovery.LATER", 50)
    monkeypatch.setattr("gearstore.store.recovery.MOST", 100)
    for id in range(1, 301):
        lives.write.new(id, unique=b"u%d" % id, function=1 + id % 40)
    await lives.commit()
    await lives.crash()
    assert lives.count("uniques") > 200
    assert [await lives.joins(b"u%d" % id, 1 + id % 40) for id in range(1, 301)] == list(range(1, 301))
    assert lives.sound()


async def test_a_front_of_which_some_ran_unnoticed(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows say that they wait, so that the window goes on behind them."""
    for id in range(1, 20):
        lives.write.new(id, unique=b"u%d" % id)
    await lives.commit()
    monkeypatch.setattr("gearstore.store.recovery.UNSTORED", 8)
    await lives.crash(window=10)
    assert await lives.found(range(1, 20)) == list(range(1, 19))


async def test_a_smaller_window_after_a_crash(lives: Lives) -> None:
    """The last server had more jobs in memory than this one would."""
    for id in range(1, 11):
        lives.write.new(id, unique=b"u%d" % id)
    await lives.commit()
    await lives.crash(window=2)
    assert await lives.found(range(1, 12)) == list(range(1, 11))


# Entries of jobs that have ended


async def test_a_job_that_is_pruned_leaves_no_entry(lives: Lives) -> None:
    jobs = await half_entered(lives)
    for id in range(1, jobs):
        lives.write.done(id)
        lives.write.changes.pruned.append(id)
    await lives.commit()
    assert lives.count("uniques") in (0, 1)
    for id in range(1000, 1000 + 4 * GENERATION, 8):
        await lives.spill(range(id, id + 8))
    with closing(sqlite3.connect(str(lives.store.path))) as other:
        gone = "SELECT count(*) FROM uniques WHERE job_id NOT IN (SELECT id FROM jobs)"
        assert other.execute(gone).fetchone() == (0,)
    assert await lives.found(range(1, 1010)) == [jobs, *range(1000, 1010)]


async def test_a_job_of_the_front_that_is_pruned(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearstore.store.recovery.LATER", 0)
    for id in range(1, 9):
        lives.write.new(id, unique=b"u%d" % id)
    await lives.commit()
    await lives.crash()
    assert lives.count("uniques") == 8
    for id in range(1, 8):
        lives.write.done(id)
        lives.write.changes.pruned.append(id)
    await lives.commit()
    assert lives.count("uniques") == 1
    assert await lives.found(range(1, 9)) == [8]


async def test_nothing_is_left_when_no_job_waits(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearstore.store.uniques.WORTHLESS", 1)
    jobs = await half_entered(lives)
    for id in range(1, jobs + 1):
        lives.write.done(id)
    await lives.commit()
    assert lives.count("uniques_log") == 0
    left = [lives.count("uniques")]
    id = 1000
    while left[-1]:  # some of them with each batch, before new ones are entered
        await lives.spill(range(id, id + 8))
        assert await lives.found(range(1, id + 20)) == list(range(1000, id + 8))
        left.append(lives.count("uniques"))
        id += 8
        assert id < 1000 + 8 * jobs
    assert id - 1000 > GENERATION and left == sorted(left, reverse=True)
    await lives.crash()
    assert await lives.found(range(1, id + 20)) == list(range(1000, id))


@pytest.mark.parametrize("state", [FAILED, CANCELLED, HELD])
async def test_a_job_that_does_not_wait_is_not_found(lives: Lives, state: Any) -> None:
    await lives.spill([1, 2])
    later = {} if state is HELD else {"ended_at": 1_700_000_000_001}
    lives.write.changed(1, state, **later)
    await lives.commit()
    assert await lives.found([1, 2]) == [2]


# Databases of earlier versions


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database that a server before this table has left when it was killed (with `--window 16`): 11 jobs that were in
    memory, one of them running, 200 spilled ones, 20 delayed ones, 5 that have ended."""
    path = tmp_path / "old" / "gearstore.db"
    path.parent.mkdir()
    with gzip.open(OLD) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return path


async def test_uniques_of_an_earlier_version_are_found(old: Path, lives: Lives) -> None:
    await lives.store.close()
    lives.store = SqliteStore(str(old))
    await lives.start(window=16)
    assert (lives.count("uniques"), lives.count("uniques_log")) == (220, 1)
    for _ in range(2):
        assert lives.sound()
        records = await lives.store.find(Filter(), False, None, 1000)
        assert sum(record.state in (QUEUED, DELAYED) for record in records) == 231
        for record in records:
            live = record.id if record.state in (QUEUED, DELAYED) else None
            assert await lives.joins(coalescing_key(record.unique, record.workload), record.function_id) == live
        await lives.crash(window=16)


def test_the_old_database_is_one(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs_unique'").fetchone() == (1,)
        (spilled,) = connection.execute("SELECT count(*) FROM jobs WHERE unique_hash IS NOT NULL").fetchone()
        assert spilled > 200
