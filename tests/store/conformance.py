"""What every store does: the suite behind `gearstore/store/base.py`. A subclass says how a store is made and killed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import patch

import pytest

from gearstore.queue.history import Bounds, Ended
from gearstore.queue.job import (
    CANCELLED,
    DELAYED,
    DONE,
    FAILED,
    HELD,
    HIGH,
    LOW,
    NORMAL,
    PRIORITIES,
    QUEUED,
    RUNNING,
    JobState,
    coalescing_key,
)
from gearstore.queue.ports import Event
from gearstore.queue.record import FunctionRecord, Record
from gearstore.store.base import (
    REPLAY,
    Applied,
    Changes,
    Failure,
    Filter,
    Recovered,
    Store,
    checksum,
    unique_hash,
)

PREFIX = b"H:test:"
NOW = 1_700_000_000_000
EVERY_BYTE = bytes(range(256))
FUNCTION, OTHER = 1, 2

LATER = ("run_at", "attempts", "interruptions", "started_at", "ended_at", "worker", "reason", "error", "result",
         "result_size", "reducer", "replay_of", "cause")  # fmt: skip
EMPTY = (0, 0, 0, 0, 0, b"", b"", b"", b"", 0, b"", 0, 0)


class Writer:
    """Makes the changes of a batch, as the journal would: it remembers what each job was, so that counts are right."""

    def __init__(self) -> None:
        self.jobs: dict[int, dict[str, Any]] = {}
        self.functions: set[int] = set()
        self.reset()

    def reset(self) -> None:
        self.changes = Changes()

    def new(self, id: int, *, function: int = FUNCTION, priority: int = NORMAL, position: int | None = None,
            unique: bytes = b"", workload: bytes = b"", reducer: bytes = b"", spilled: bool = False,
            state: JobState = QUEUED, created_at: int = NOW, **later: Any) -> Writer:  # fmt: skip
        """Add a new job."""
        key = coalescing_key(unique, workload)
        job: dict[str, Any] = {
            "function": function, "priority": priority, "position": id if position is None else position,
            "unique": unique, "workload": workload, "state": QUEUED,
            "hash": unique_hash(key) if spilled and key else None,
        }  # fmt: skip
        self.jobs[id] = job
        if function not in self.functions:
            self.functions.add(function)
            self.changes.functions.append((function, b"function %d" % function))
        self.changes.new.append(
            (id, function, priority, job["position"], unique, job["hash"], workload,
             checksum(unique, reducer, workload), created_at, b"127.0.0.1")
        )  # fmt: skip
        self.count(job, state, 1)
        job["state"] = state
        if state != QUEUED or reducer or later:
            self.changed_row(id, state, reducer=reducer, **later)
        return self

    def count(self, job: dict[str, Any], state: JobState, number: int) -> None:
        key = (job["function"], int(state), job["priority"])
        self.changes.counts[key] = self.changes.counts.get(key, 0) + number
        self.changes.sizes[key] = self.changes.sizes.get(key, 0) + number * len(job["workload"])

    def changed(self, id: int, state: JobState, **later: Any) -> Writer:
        """Change a job."""
        job = self.jobs[id]
        self.count(job, job["state"], -1)
        self.count(job, state, 1)
        job["state"] = state
        self.changed_row(id, state, **later)
        return self

    def changed_row(self, id: int, state: JobState, **later: Any) -> None:
        job = self.jobs[id]
        job["position"] = later.pop("position", job["position"])
        if "spilled" in later:
            key = coalescing_key(job["unique"], job["workload"])
            job["hash"] = unique_hash(key) if later.pop("spilled") and key else None
        values = dict(zip(LATER, EMPTY, strict=True)) | later
        self.changes.changed.append((id, int(state), job["position"], job["hash"], *values.values()))

    def done(self, id: int, *, attempts: int = 1, started_at: int = NOW + 1, ended_at: int = NOW + 2,
             worker: bytes = b"", result: bytes = b"") -> Writer:  # fmt: skip
        """Mark a job as done, in the short form; one that is new in this batch has no row yet to be marked."""
        if any(row[0] == id for row in self.changes.new):
            return self.changed(id, DONE, attempts=attempts, started_at=started_at, ended_at=ended_at, worker=worker)
        job = self.jobs[id]
        self.count(job, job["state"], -1)
        self.count(job, DONE, 1)
        job["state"] = DONE
        self.changes.done.append((id, attempts, started_at, ended_at, worker, result, len(result)))
        return self

    def look_up(self, id: int, unique: bytes, function: int = FUNCTION) -> Writer:
        """Ask for a live job with this key before the new job `id` counts."""
        self.changes.look_ups.append((id, function, unique, unique_hash(unique)))
        return self

    async def to(self, store: Store) -> dict[int, Record]:
        """Make it durable."""
        changes = self.changes
        self.reset()
        return (await store.apply(changes)).found


async def everything(store: Store) -> dict[int, Record]:
    return {record.id: record for record in await store.find(Filter(), False, None, 1 << 20)}


async def claim(
    store: Store, after: int = 0, limit: int = 1000, priority: int = NORMAL, function: int = FUNCTION
) -> list[int]:
    return [record.id for record in await store.claim(function, priority, after, limit)]


def counted(recovered: Recovered) -> dict[tuple[int, str, int], int]:
    return {
        (function, JobState(state).name.lower(), priority): jobs
        for function, state, priority, jobs, _ in recovered.counts
        if jobs
    }


class StoreTests:
    """The suite. Subclasses have the fixtures `make` and `crash`."""

    @pytest.fixture
    def make(self) -> Callable[[], Store]:
        """Return how a store that is not open yet is made; each call names the same data."""
        raise NotImplementedError

    @pytest.fixture
    def crash(self) -> Callable[[Store], Store]:
        """Return how the data of a store is found by the next one when its server was killed."""
        raise NotImplementedError

    @pytest.fixture
    async def open(self) -> AsyncIterator[Callable[..., Any]]:
        """Return how a store is opened; whatever is open is closed after the test."""
        opened: list[Store] = []

        async def open_it(
            store: Store, prefix: bytes = PREFIX, max_interruptions: int = 5, window: int = 1000
        ) -> Recovered:
            recovered = await store.open(prefix, max_interruptions, window)
            opened.append(store)
            return recovered

        yield open_it
        for store in opened:
            await store.close()

    @pytest.fixture
    async def store(self, make: Callable[[], Store], open: Callable[..., Any]) -> Store:
        """Return an open, empty store."""
        store = make()
        await open(store)
        return store

    @pytest.fixture
    def write(self) -> Writer:
        return Writer()

    # Empty

    async def test_a_new_store_is_empty(self, make: Callable[[], Store], open: Callable[..., Any]) -> None:
        store = make()
        recovered = await open(store)
        assert recovered.functions == [] and counted(recovered) == {}
        assert (recovered.prefixes, recovered.next_id) == ([(0, PREFIX)], 1)
        assert (recovered.interrupted, recovered.held, store.warning) == (0, 0, "")
        assert await claim(store) == [] and await everything(store) == {}
        assert await store.claim_delayed((0, 0), 10) == []
        assert await store.find_live(FUNCTION, b"u") is None

    async def test_an_empty_batch(self, store: Store) -> None:
        assert await store.apply(Changes()) == Applied()

    # Rows

    async def test_a_new_job_is_there_as_it_came(self, store: Store, write: Writer) -> None:
        await write.new(7, unique=b"u", workload=b"w", priority=HIGH, position=9).to(store)
        (record,) = await store.claim(FUNCTION, HIGH, 0, 10)
        assert record == Record(
            id=7, function_id=FUNCTION, priority=HIGH, state=QUEUED, position=9, unique=b"u", workload=b"w",
            reducer=b"", run_at=0, attempts=0, interruptions=0, created_at=NOW, started_at=0, ended_at=0, worker=b"",
            reason=b"", error=b"", result=b"", result_size=0, replay_of=0, client=b"127.0.0.1", cause=0, replayed_as=0,
            spilled=False, intact=True,
        )  # fmt: skip

    @pytest.mark.parametrize("state", list(JobState))
    async def test_every_column_of_a_changed_job(self, store: Store, write: Writer, state: JobState) -> None:
        await write.new(7, unique=b"u", workload=b"w", position=8).to(store)
        later = {
            "run_at": 1, "attempts": 2, "interruptions": 3, "started_at": 4, "ended_at": 5, "worker": b"w1",
            "reason": b"timeout", "error": b"error\0", "result": EVERY_BYTE, "result_size": 1 << 40, "reducer": b"",
            "replay_of": 3,
        }  # fmt: skip
        await write.changed(7, state, position=12, spilled=True, **later).to(store)
        record = (await everything(store))[7]
        assert record._asdict() | later == record._asdict()
        assert (record.state, record.position, record.spilled, record.intact) == (state, 12, True, True)
        assert (record.unique, record.workload, record.created_at) == (b"u", b"w", NOW)

    async def test_what_changed_away_is_gone(self, store: Store, write: Writer) -> None:
        await write.new(1, state=FAILED, error=b"e", reason=b"r", ended_at=NOW, worker=b"w").to(store)
        await write.changed(1, QUEUED).to(store)
        record = (await everything(store))[1]
        assert (record.error, record.reason, record.ended_at, record.worker, record.state) == (b"", b"", 0, b"", QUEUED)

    async def test_a_job_that_is_done(self, store: Store, write: Writer) -> None:
        await write.new(1, unique=b"u", spilled=True).to(store)
        await write.done(1, attempts=3, started_at=11, ended_at=12, worker=b"w1", result=b"all\0well").to(store)
        record = (await everything(store))[1]
        assert (record.state, record.attempts, record.started_at, record.ended_at, record.worker, record.result,
                record.result_size) == (DONE, 3, 11, 12, b"w1", b"all\0well", 8)  # fmt: skip
        assert await claim(store) == []
        assert await store.find_live(FUNCTION, b"u") is None

    async def test_new_and_done_or_changed_in_one_batch(self, store: Store, write: Writer) -> None:
        write.new(1).done(1).new(2).changed(2, CANCELLED, reason=b"cancelled").new(3, state=RUNNING, started_at=5)
        await write.to(store)
        states = {id: record.state for id, record in (await everything(store)).items()}
        assert states == {1: DONE, 2: CANCELLED, 3: RUNNING}

    @pytest.mark.parametrize(
        ("unique", "workload", "reducer"),
        [
            (b"", b"", b""),
            (b"\0", b"\0", b"\0"),
            (b"-", EVERY_BYTE * 4, b"sum"),
            (EVERY_BYTE[:64], b"\0" * 1000, EVERY_BYTE[-64:]),
            (b"\xff" * 64, b"'\"; DROP TABLE jobs; --", b""),
            ("é".encode(), "日本".encode(), "ß".encode()),
            (b"u" * 64, b"x" * (5 << 20), b""),
            (b"123", b"1e5", b"0x10"),  # nothing is taken for a number
        ],
    )
    async def test_bytes_are_what_they_were(
        self, store: Store, write: Writer, unique: bytes, workload: bytes, reducer: bytes
    ) -> None:
        await write.new(1, unique=unique, workload=workload, reducer=reducer, spilled=True).to(store)
        (record,) = await store.claim(FUNCTION, NORMAL, 0, 1)
        assert (record.unique, record.workload, record.reducer, record.intact) == (unique, workload, reducer, True)
        for value in (record.unique, record.workload, record.reducer, record.worker, record.result):
            assert type(value) is bytes
        key = coalescing_key(unique, workload)
        if key:
            live = await store.find_live(FUNCTION, key)
            assert live is not None and live.id == 1

    @pytest.mark.parametrize("name", [b"", b"\0", EVERY_BYTE, b"f" * 512, b"a\tb c\n"])
    async def test_function_names(
        self, store: Store, crash: Callable[[Store], Store], open: Callable[..., Any], name: bytes
    ) -> None:
        await store.apply(Changes(functions=[(5, name)]))
        assert (await open(crash(store))).functions == [FunctionRecord(5, name)]

    @pytest.mark.parametrize("number", [1, 2, 3, 63, 64, 127, 128, 129, 255, 1000])
    async def test_batches_of_any_size(self, store: Store, write: Writer, number: int) -> None:
        for id in range(1, number + 1):
            write.new(id, workload=b"%d" % id, unique=b"u%d" % id)
        await write.to(store)
        assert await claim(store) == list(range(1, number + 1))
        for id in range(1, number + 1):
            if id % 3:
                write.done(id, worker=b"w%d" % id)
            else:
                write.changed(id, FAILED, error=b"e%d" % id)
        await write.to(store)
        records = await everything(store)
        assert len(records) == number
        for id, record in records.items():
            assert record.workload == b"%d" % id
            assert (record.state, record.worker, record.error) == (
                (DONE, b"w%d" % id, b"") if id % 3 else (FAILED, b"", b"e%d" % id)
            )

    async def test_large_numbers(self, store: Store, write: Writer) -> None:
        id = (1 << 62) + 1
        await write.new(id, created_at=253402300799999, run_at=1 << 60, state=DELAYED).to(store)
        record = (await everything(store))[id]
        assert (record.created_at, record.run_at, record.position) == (253402300799999, 1 << 60, id)

    # Claims

    async def test_claims_come_by_position(self, store: Store, write: Writer) -> None:
        for id, position in ((1, 30), (2, 10), (3, 40), (4, 20)):
            write.new(id, position=position)
        await write.to(store)
        assert await claim(store) == [2, 4, 1, 3]
        assert await claim(store, after=10) == [4, 1, 3]
        assert await claim(store, after=15, limit=2) == [4, 1]
        assert await claim(store, after=40) == []

    async def test_claims_bring_whole_jobs(self, store: Store, write: Writer) -> None:
        for id, data in enumerate((b"", EVERY_BYTE, b"\0", b"", "é".encode()), 1):
            write.new(id, unique=data[:64], workload=data * 2, position=id)
            if data:
                write.changed(id, QUEUED, position=id, attempts=id, worker=data, reason=b"fail", error=data * 3,
                              result=data, result_size=len(data), run_at=id)  # fmt: skip
        await write.to(store)
        claimed = await store.claim(FUNCTION, NORMAL, 0, 10)
        assert claimed == list((await everything(store)).values())
        assert [len(record.error) for record in claimed] == [0, 768, 3, 0, 6]

    async def test_claims_end_where_errors_take_all_memory(self, store: Store, write: Writer) -> None:
        for id in (1, 2, 3):
            write.new(id, state=DELAYED, run_at=id).changed(id, DELAYED, run_at=id, error=b"e" * 100)
        await write.to(store)
        with patch(f"{type(store).claim.__module__}.CLAIM_BYTES", 150):
            assert [record.id for record in await store.claim_delayed((0, 0), 10)] == [1, 2]

    async def test_claims_see_one_queue_only(self, store: Store, write: Writer) -> None:
        id = 0
        for function in (FUNCTION, OTHER):
            for priority in PRIORITIES:
                for state in JobState:
                    id += 1
                    write.new(id, function=function, priority=priority, state=state)
        await write.to(store)
        records = await everything(store)
        for function in (FUNCTION, OTHER):
            for priority in PRIORITIES:
                (found,) = await claim(store, function=function, priority=priority)
                record = records[found]
                assert (record.function_id, record.priority, record.state) == (function, priority, QUEUED)

    async def test_a_job_that_moved_is_claimed_at_its_new_place(self, store: Store, write: Writer) -> None:
        await write.new(1).new(2).new(3).to(store)
        await write.changed(1, RUNNING).to(store)
        assert await claim(store) == [2, 3]
        await write.changed(1, QUEUED, position=4).to(store)
        assert await claim(store) == [2, 3, 1]

    async def test_what_was_imported_is_known_with_its_origin(self, store: Store, write: Writer) -> None:
        write.new(1).changes.imported.append((7, 1, b"H:there:1"))
        await write.to(store)
        assert await store.imported([7, 8]) == {7: 1}
        assert (await store.origin(1), await store.origin(2)) == (b"H:there:1", b"")

    async def test_what_was_imported_and_joined_a_job_on_disk(self, store: Store, write: Writer) -> None:
        await write.new(1, unique=b"u", spilled=True).to(store)
        write.new(2, unique=b"u").look_up(2, b"u").changes.imported.append((-9, 2, b"H:there:2"))
        assert set(await write.to(store)) == {2}
        assert await store.imported([-9]) == {-9: 1}

    async def test_claims_end_where_memory_does(self, store: Store, write: Writer) -> None:
        """CLAIM_BYTES: the workload that goes beyond it is still in."""
        for id in range(1, 6):
            write.new(id, workload=b"x" * 1000)
        await write.to(store)
        for bytes_, pages in ((1, [1, 1, 1, 1, 1]), (1000, [1, 1, 1, 1, 1]), (1001, [2, 2, 1]), (3000, [3, 2])):
            with patch(f"{type(store).claim.__module__}.CLAIM_BYTES", bytes_):
                after, sizes = 0, []
                while page := await store.claim(FUNCTION, NORMAL, after, 100):
                    sizes.append(len(page))
                    assert [record.id for record in page] == list(range(after + 1, after + len(page) + 1))
                    after = page[-1].position
                assert sizes == pages

    async def test_delayed_jobs_come_by_time_then_id(self, store: Store, write: Writer) -> None:
        for id, run_at in ((1, 300), (2, 100), (3, 200), (4, 100), (5, 200)):
            write.new(id, state=DELAYED, run_at=run_at, function=FUNCTION if id % 2 else OTHER)
        write.new(6)
        await write.to(store)

        async def delayed(run_at: int, id: int, limit: int = 100) -> list[int]:
            return [record.id for record in await store.claim_delayed((run_at, id), limit)]

        assert await delayed(0, 0) == [2, 4, 3, 5, 1]
        assert await delayed(0, 0, 2) == [2, 4]
        assert await delayed(100, 2) == [4, 3, 5, 1]
        assert await delayed(100, 4, 1) == [3]
        assert await delayed(200, 0) == [3, 5, 1]
        assert await delayed(300, 1) == []

    # Look-ups

    async def test_find_live(self, store: Store, write: Writer) -> None:
        write.new(1, unique=b"queued", spilled=True).new(2, unique=b"delayed", spilled=True, state=DELAYED, run_at=5)
        write.new(3, unique=b"in memory").new(4, unique=b"-", workload=b"data", spilled=True)
        write.new(5, unique=b"other", spilled=True, function=OTHER)
        for number, state in enumerate((RUNNING, HELD, DONE, FAILED, CANCELLED)):
            write.new(10 + number, unique=b"%d" % state, spilled=True, state=state)
        await write.to(store)

        async def live(key: bytes, function: int = FUNCTION) -> int | None:
            record = await store.find_live(function, key)
            return record and record.id

        assert [await live(key) for key in (b"queued", b"delayed", b"data", b"other")] == [1, 2, 4, None]
        assert await live(b"other", OTHER) == 5
        for state in (RUNNING, HELD, DONE, FAILED, CANCELLED):
            assert await live(b"%d" % state) is None
        assert await live(b"Queued") is None
        assert await live(b"-") is None

    async def test_a_new_job_joins_the_one_that_is_found(self, store: Store, write: Writer) -> None:
        await write.new(1, unique=b"u", spilled=True).to(store)
        write.new(2, unique=b"u", workload=b"joins").look_up(2, b"u")
        write.new(3, unique=b"v", workload=b"alone", state=DELAYED, run_at=9).look_up(3, b"v")
        write.look_up(4, b"u").look_up(5, b"v").look_up(6, b"u", OTHER)  # of foreground jobs, which have no row
        found = await write.to(store)
        assert {id: record.id for id, record in found.items()} == {2: 1, 4: 1}
        assert sorted(await everything(store)) == [1, 3]

    async def test_a_job_that_joined_is_not_counted(
        self, store: Store, write: Writer, crash: Callable[[Store], Store], open: Callable[..., Any]
    ) -> None:
        await write.new(1, unique=b"u", spilled=True).to(store)
        write.new(2, unique=b"u", priority=HIGH, state=DELAYED, run_at=9).look_up(2, b"u")
        write.new(3, unique=b"u").look_up(3, b"u")
        await write.to(store)
        recovered = await open(crash(store))
        assert counted(recovered) == {(FUNCTION, "queued", NORMAL): 1}

    @pytest.mark.parametrize("short", [True, False])
    async def test_a_look_up_does_not_find_what_ends_in_the_same_batch(
        self, store: Store, write: Writer, short: bool
    ) -> None:
        await write.new(1, unique=b"u", spilled=True).to(store)
        if short:
            write.done(1)
        else:
            write.changed(1, FAILED, spilled=True)
        assert await write.new(2, unique=b"u").look_up(2, b"u").to(store) == {}
        assert await claim(store) == [2]

    async def test_a_look_up_finds_what_begins_to_run_in_the_same_batch(self, store: Store, write: Writer) -> None:
        """It was read back, and assigned, after the submit that has to join it."""
        await write.new(1, unique=b"u", spilled=True).to(store)
        write.changed(1, RUNNING, started_at=NOW, spilled=False).new(2, unique=b"u").look_up(2, b"u")
        assert {id: record.id for id, record in (await write.to(store)).items()} == {2: 1}
        assert sorted(await everything(store)) == [1]

    async def test_a_look_up_does_not_find_its_own_job(self, store: Store, write: Writer) -> None:
        assert await write.new(1, unique=b"u", spilled=True).look_up(1, b"u").to(store) == {}
        assert await claim(store) == [1]

    # Finding

    @pytest.fixture
    async def history(self, store: Store, write: Writer) -> Store:
        """Return a store with six jobs to tell apart."""
        write.new(1, unique=b"u1", workload=b"red apple", created_at=100)
        write.new(2, unique=b"u2", workload=b"green apple", created_at=200, state=FAILED, error=b"disk full")
        write.new(3, function=OTHER, workload=b"\0\xff", created_at=300, state=FAILED, reason=b"timeout")
        write.new(4, unique=b"u1", created_at=400).done(4)
        write.new(5, function=OTHER, created_at=400, state=CANCELLED, reason=b"cancelled")
        write.new(6, workload=b"Apple", created_at=500, state=HELD, error=b"Disk", reason=b"full")
        await write.to(store)
        return store

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            (Filter(), [1, 2, 3, 4, 5, 6]),
            (Filter(ids=[]), []),
            (Filter(ids=[5, 2, 99]), [2, 5]),
            (Filter(function_ids=[OTHER]), [3, 5]),
            (Filter(function_ids=[]), []),
            (Filter(function_ids=[FUNCTION, OTHER, 77]), [1, 2, 3, 4, 5, 6]),
            (Filter(states=[FAILED, CANCELLED]), [2, 3, 5]),
            (Filter(states=[]), []),
            (Filter(states=[QUEUED]), [1]),
            (Filter(since=400), [4, 5, 6]),
            (Filter(until=400), [1, 2, 3]),
            (Filter(since=200, until=400), [2, 3]),
            (Filter(below=3), [1, 2]),
            (Filter(error=b"full"), [2, 6]),
            (Filter(error=b"disk"), [2]),
            (Filter(error=b"timeout"), [3]),
            (Filter(error=b"%"), []),
            (Filter(unique=b"u1"), [1, 4]),
            (Filter(unique=b"u"), []),
            (Filter(unique=b""), [3, 5, 6]),
            (Filter(payload_match=b"apple"), [1, 2]),
            (Filter(payload_match=b"\xff"), [3]),
            (Filter(payload_match=b"\0"), [3]),
            (Filter(payload_match=b"_pple"), []),
            (Filter(function_ids=[FUNCTION], states=[FAILED, QUEUED], payload_match=b"apple", since=101), [2]),
        ],
    )
    async def test_find(self, history: Store, wanted: Filter, expected: list[int]) -> None:
        oldest = [record.id for record in await history.find(wanted, False, None, 100)]
        newest = [record.id for record in await history.find(wanted, True, None, 100)]
        assert (oldest, newest) == (expected, expected[::-1])

    @pytest.mark.parametrize("newest", [True, False])
    @pytest.mark.parametrize("limit", [1, 2, 4, 6, 7])
    async def test_find_page_by_page(self, history: Store, newest: bool, limit: int) -> None:
        last, found = None, []
        while page := await history.find(Filter(), newest, last, limit):
            assert len(page) <= limit
            found += [record.id for record in page]
            last = found[-1]
        assert found == ([6, 5, 4, 3, 2, 1] if newest else [1, 2, 3, 4, 5, 6])

    async def test_find_of_very_many_numbers(self, history: Store) -> None:
        found = await history.find(Filter(ids=range(3, 50_000)), False, None, 100)
        assert [record.id for record in found] == [3, 4, 5, 6]

    # History

    async def test_events_of_jobs_in_their_order(self, store: Store, write: Writer) -> None:
        first = Event(1, NOW, b"lost", NOW - 5, b"worker", b"", NOW + 10)
        second = Event(1, NOW + 20, b"exception", NOW + 15, b"", EVERY_BYTE)
        other = Event(2, NOW, b"hold")
        write.new(1).new(2).new(3).changes.events += [first, other]
        await write.to(store)
        write.changes.events.append(second)
        await write.to(store)
        assert await store.events([1, 2, 3, 4]) == {1: [first, second], 2: [other]}
        assert await store.events([]) == {}

    async def test_failures_by_cause_and_function(self, store: Store, write: Writer) -> None:
        for id, (function, cause) in enumerate([(FUNCTION, 7), (OTHER, 7), (FUNCTION, 7), (FUNCTION, 9)], 1):
            write.new(id, function=function).changed(id, FAILED, cause=cause, ended_at=NOW + id)
        write.new(5).changed(5, CANCELLED)
        write.changes.causes |= {7: (b"exception", b"no # here"), 9: (b"fail", b"")}
        await write.to(store)
        one = Failure(7, b"exception", b"no # here", FUNCTION, 2, NOW + 1, NOW + 3)
        two = Failure(7, b"exception", b"no # here", OTHER, 1, NOW + 2, NOW + 2)
        three = Failure(9, b"fail", b"", FUNCTION, 1, NOW + 4, NOW + 4)
        assert sorted(await store.failures(None)) == [one, two, three]
        assert await store.failures([OTHER]) == [two]
        assert await store.failures([]) == []
        assert [record.id for record in await store.find(Filter(causes=[7], states=[FAILED]), False, None, 9)] == [
            1,
            2,
            3,
        ]

    async def test_causes_are_stored_once(self, store: Store, write: Writer) -> None:
        for _ in range(2):
            write.changes.causes |= {7: (b"exception", b"text"), 1 << 40: (b"fail", b"")}
            await write.to(store)
        assert await store.causes(0, 1 << 48) == [7, 1 << 40]
        assert await store.causes(7, 7) == [7]
        assert await store.causes(8, 1000) == []

    async def test_a_replayed_job_knows_its_newest_copy(self, store: Store, write: Writer) -> None:
        await write.new(1).done(1).to(store)
        for copy in (2, 3):
            write.new(copy, replay_of=1).changes.replayed.append((copy, 1))
            await write.to(store)
        rows = await everything(store)
        assert (rows[1].replayed_as, rows[3].replay_of) == (3, 1)

    async def test_a_copy_that_joined_a_live_job_is_no_copy(self, store: Store, write: Writer) -> None:
        await write.new(1, unique=b"u").changed(1, DONE).new(2, unique=b"u", spilled=True).to(store)
        write.new(3, unique=b"u", replay_of=1).look_up(3, b"u")
        write.changes.replayed.append((3, 1))
        write.changes.events.append(Event(1, NOW, REPLAY, detail=b"3"))
        assert list(await write.to(store)) == [3]
        assert (await everything(store))[1].replayed_as == 0
        assert await store.events([1]) == {}

    async def test_pruned_jobs_are_gone_with_their_events(
        self, store: Store, write: Writer, crash: Callable[[Store], Store], open: Callable[..., Any]
    ) -> None:
        for id, state in enumerate(JobState, 1):
            write.new(id, state=state, workload=b"w" * id)
            write.changes.events.append(Event(id, NOW, b"retry"))
        await write.to(store)
        write.changes.pruned = list(range(1, 100))
        applied = await store.apply(write.changes)
        write.reset()
        assert applied.pruned == {(FUNCTION, int(state), NORMAL): 1 for state in (DONE, FAILED, CANCELLED)}
        left = {record.id: JobState(record.state) for record in (await everything(store)).values()}
        assert set(left.values()) == {QUEUED, DELAYED, RUNNING, HELD}
        assert set(await store.events(range(1, 100))) == set(left)
        recovered = await open(crash(store))
        assert {state for _, state, _ in counted(recovered)} == {"queued", "delayed", "held"}

    async def test_causes_go_with_the_last_of_their_jobs(self, store: Store, write: Writer) -> None:
        for id, cause in enumerate([7, 7, 8, 9, 9], 1):
            write.new(id).changed(id, FAILED, cause=cause)
            write.changes.causes[cause] = (b"fail", b"")
        await write.to(store)
        write.new(6).changed(6, FAILED, cause=8).changes.pruned = [1, 3, 4, 5]
        await write.to(store)
        assert await store.causes(0, 100) == [7, 8]
        assert {failure.cause: failure.jobs for failure in await store.failures(None)} == {7: 1, 8: 1}

    async def test_a_job_that_comes_back_in_the_same_batch_is_not_pruned(self, store: Store, write: Writer) -> None:
        await write.new(1).changed(1, FAILED).to(store)
        write.changed(1, QUEUED).changes.pruned = [1]
        assert (await store.apply(write.changes)).pruned == {}
        assert (await everything(store))[1].state == QUEUED

    async def test_a_job_that_ends_in_the_same_batch_is_pruned(self, store: Store, write: Writer) -> None:
        await write.new(1).new(2).to(store)
        write.done(1).changes.pruned = [1]
        assert (await store.apply(write.changes)).pruned == {(FUNCTION, int(DONE), NORMAL): 1}
        assert list(await everything(store)) == [2]

    async def ended(self, store: Store, write: Writer) -> None:
        """Store jobs of two functions in every state; they ended a second apart, the last number first."""
        states = [DONE, FAILED, CANCELLED, QUEUED, DELAYED, RUNNING, HELD, DONE, FAILED, DONE]
        for id in range(1, 11):
            write.new(id, function=OTHER if id > 7 else FUNCTION, workload=b"w" * id)
        await write.to(store)
        for id in reversed(range(1, 11)):
            if states[id - 1] == DONE:
                write.done(id, ended_at=(11 - id) * 1000)
            else:
                write.changed(id, states[id - 1], ended_at=(11 - id) * 1000)
            await write.to(store)

    async def walk(self, visit: Callable[[int], Any]) -> list[Any]:
        """Return what a walk over all jobs finds."""
        found: list[Any] = []
        after: int | None = 0
        while after is not None:
            page, after = await visit(after)
            found += page
        return found

    async def test_totals_of_ended_jobs(self, store: Store, write: Writer) -> None:
        assert await store.totals() == []
        await self.ended(store, write)
        totals: dict[tuple[int, bool], tuple[int, int]] = {}
        for total in await store.totals():
            key = (total.function_id, total.state == FAILED)
            jobs, size = totals.get(key, (0, 0))
            totals[key] = (jobs + total.jobs, size + total.bytes)
        assert totals == {
            (FUNCTION, False): (2, 4), (FUNCTION, True): (1, 2), (OTHER, False): (2, 18), (OTHER, True): (1, 9),
        }  # fmt: skip

    async def test_totals_follow_what_comes_back_and_what_is_pruned(self, store: Store, write: Writer) -> None:
        await self.ended(store, write)
        write.changed(2, QUEUED).changes.pruned = [1, 8, 10]
        await write.to(store)
        left = [(total.function_id, total.jobs, total.bytes) for total in await store.totals() if total.jobs]
        assert sorted(left) == [(FUNCTION, 1, 3), (OTHER, 1, 9)]
        assert all(total.bytes == 0 for total in await store.totals() if not total.jobs)

    @pytest.mark.parametrize("limit", [1, 3, 100])
    async def test_a_survey_finds_each_ended_job_in_its_second(self, store: Store, write: Writer, limit: int) -> None:
        assert await store.survey(0, limit) == ([], None)
        await self.ended(store, write)
        found = await self.walk(lambda after: store.survey(after, limit))
        assert sorted((total.function_id, total.state, total.until, total.jobs, total.bytes) for total in found) == [
            (FUNCTION, DONE, 11000, 1, 1), (FUNCTION, FAILED, 10000, 1, 2), (FUNCTION, CANCELLED, 9000, 1, 3),
            (OTHER, DONE, 2000, 1, 10), (OTHER, DONE, 4000, 1, 8), (OTHER, FAILED, 3000, 1, 9),
        ]  # fmt: skip

    @pytest.mark.parametrize("limit", [3, 100])
    @pytest.mark.parametrize(
        ("done", "failed", "ids"),
        [
            (Bounds(), Bounds(), []),
            (Bounds(1 << 60), Bounds(), [1, 3, 8, 10]),
            (Bounds(), Bounds(1 << 60), [2, 9]),
            (Bounds(8000), Bounds(2001), [8, 9, 10]),
            (Bounds(8001), Bounds(2000), [3, 8, 10]),
            (Bounds(0, {OTHER: 3000}), Bounds(0, {OTHER: 0}), [10]),
            (Bounds(1 << 60, {OTHER: 0}), Bounds(1 << 60, {FUNCTION: 0, 99: 5}), [1, 3, 9]),
            (Bounds(10000, {OTHER: 3001}), Bounds(0, {FUNCTION: 1 << 60}), [2, 3, 8, 10]),
        ],
    )
    async def test_prunable_jobs_have_ended_before_the_bound_of_their_function(
        self, store: Store, write: Writer, done: Bounds, failed: Bounds, ids: list[int], limit: int
    ) -> None:
        await self.ended(store, write)
        found: dict[int, Ended] = {}
        after: int | None = 0
        while after is not None:
            page, after = await store.prunable((done, failed), after, limit)
            found |= {job.id: job for job in page}
            write.changes.pruned = [job.id for job in page]
            await write.to(store)
        assert sorted(found) == ids
        states = {1: DONE, 2: FAILED, 3: CANCELLED, 8: DONE, 9: FAILED, 10: DONE}
        for id, job in found.items():
            assert job == Ended(id, OTHER if id > 7 else FUNCTION, states[id], (11 - id) * 1000, id)
        assert len(await everything(store)) == 10 - len(ids)

    async def test_nothing_is_lost_by_shrinking(self, store: Store, write: Writer) -> None:
        await self.ended(store, write)
        before = await everything(store)
        for _ in range(3):
            await store.shrink()
        assert await everything(store) == before

    # What operators have set

    async def test_pauses_and_limits_are_there_after_a_crash(
        self, store: Store, write: Writer, crash: Callable[[Store], Store], open: Callable[..., Any]
    ) -> None:
        write.new(1).new(2, function=OTHER).changes.steering = [(NOW, NOW + 5, 0, 10, -1, OTHER)]
        write.changes.paused = (NOW, 0)
        await write.to(store)
        other = crash(store)
        recovered = await open(other)
        assert recovered.functions == [
            FunctionRecord(FUNCTION, b"function 1"),
            FunctionRecord(OTHER, b"function 2", NOW, NOW + 5, 0, 10, -1),
        ]
        assert recovered.paused == (NOW, 0)
        await other.apply(Changes(steering=[(0, 0, -1, -1, -1, OTHER)], paused=(0, 0)))
        recovered = await open(crash(other))
        assert (recovered.functions[1], recovered.paused) == (FunctionRecord(OTHER, b"function 2"), (0, 0))

    async def test_interrupted_jobs_are_held_where_the_policy_says_so(
        self, store: Store, write: Writer, crash: Callable[[Store], Store]
    ) -> None:
        for id, function in enumerate((FUNCTION, OTHER), 1):
            write.new(id, function=function).changed(id, RUNNING, started_at=NOW, worker=b"w")
        await write.to(store)
        other = crash(store)
        recovered = await other.open(PREFIX, 5, 1000, lambda name: name == b"function 2")
        assert (recovered.interrupted, recovered.held) == (1, 1)
        assert counted(recovered) == {(FUNCTION, "queued", NORMAL): 1, (OTHER, "held", NORMAL): 1}
        for id, happened in (await other.events([1, 2])).items():
            (event,) = happened
            assert event._replace(at=0) == Event(id, 0, b"interrupted", NOW, b"w")
        await other.close()

    # The next start

    async def test_what_was_stored_is_there_after_a_crash(
        self, store: Store, write: Writer, crash: Callable[[Store], Store], open: Callable[..., Any]
    ) -> None:
        for id, state in enumerate(JobState, 1):
            write.new(id, state=state, priority=LOW, unique=b"u%d" % id, workload=b"w%d" % id, error=b"e")
        write.new(50, function=OTHER)
        write.changes.next_id = 5000
        await write.to(store)
        before = await everything(store)
        other = crash(store)
        recovered = await open(other)
        assert [record[:2] for record in recovered.functions] == [(FUNCTION, b"function 1"), (OTHER, b"function 2")]
        assert (recovered.next_id, recovered.prefixes) == (5000, [(0, PREFIX)])
        after = await everything(other)
        for id, record in before.items():
            if record.state != RUNNING:
                assert after[id] == record._replace(spilled=after[id].spilled)
        assert counted(recovered) == {
            **{
                (FUNCTION, state.name.lower(), LOW): 2 if state is QUEUED else 1
                for state in JobState
                if state is not RUNNING
            },
            (OTHER, "queued", NORMAL): 1,
        }  # fmt: skip

    async def test_running_jobs_go_back_to_their_place(
        self, store: Store, write: Writer, crash: Callable[[Store], Store], open: Callable[..., Any]
    ) -> None:
        for id in (1, 2, 3):
            write.new(id)
        await write.to(store)
        await write.changed(2, RUNNING, started_at=NOW, worker=b"w1", attempts=1).to(store)
        assert await claim(store) == [1, 3]
        for number in (1, 2):
            store = crash(store)
            recovered = await open(store, max_interruptions=2)
            assert (recovered.interrupted, recovered.held) == (1, 0)
            assert await claim(store) == [1, 2, 3]
            record = (await everything(store))[2]
            assert (record.interruptions, record.reason, record.attempts) == (number, b"interrupted", 1)
            assert counted(recovered) == {(FUNCTION, "queued", NORMAL): 3}
            write.jobs[2]["state"] = QUEUED
            await write.changed(2, RUNNING, interruptions=number, attempts=1).to(store)
        store = crash(store)
        recovered = await open(store, max_interruptions=2)
        assert (recovered.interrupted, recovered.held) == (0, 1)
        record = (await everything(store))[2]
        assert (record.state, record.interruptions, record.reason) == (HELD, 3, b"interrupted")
        assert await claim(store) == [1, 3]
        assert counted(recovered) == {(FUNCTION, "queued", NORMAL): 2, (FUNCTION, "held", NORMAL): 1}
        recovered = await open(crash(store), max_interruptions=2)
        assert (recovered.interrupted, recovered.held) == (0, 0)

    async def test_numbers_never_go_back(
        self, store: Store, crash: Callable[[Store], Store], open: Callable[..., Any]
    ) -> None:
        for next_id in (1000, 2000):
            await store.apply(Changes(next_id=next_id))
            await store.apply(Changes())
            store = crash(store)
            assert (await open(store)).next_id == next_id

    async def test_unused_numbers_are_given_back_at_an_orderly_end(
        self, make: Callable[[], Store], open: Callable[..., Any]
    ) -> None:
        store = make()
        await store.open(PREFIX, 5, 1000)
        await store.apply(Changes(next_id=1_000_000))
        await store.forget_numbers(17)
        await store.close()
        again = make() if store.path else store
        assert (await open(again)).next_id == 17

    async def test_a_new_prefix_leaves_old_handles_alone(
        self, store: Store, crash: Callable[[Store], Store], open: Callable[..., Any]
    ) -> None:
        await store.apply(Changes(next_id=100))
        store = crash(store)
        assert (await open(store, prefix=b"H:new:")).prefixes == [(0, PREFIX), (100, b"H:new:")]
        await store.apply(Changes(next_id=200))
        store = crash(store)
        assert (await open(store, prefix=b"H:new:")).prefixes == [(0, PREFIX), (100, b"H:new:")]
        store = crash(store)
        assert (await open(store)).prefixes == [(0, PREFIX), (100, b"H:new:"), (200, PREFIX)]

    async def test_the_prefix_changes_twice_without_a_job(
        self, store: Store, crash: Callable[[Store], Store], open: Callable[..., Any]
    ) -> None:
        store = crash(store)
        await open(store, prefix=b"H:a:")
        store = crash(store)
        prefixes = (await open(store, prefix=b"H:b:")).prefixes
        assert prefixes[0][0] == 0 or prefixes[0][0] == 1
        assert max(prefixes)[1] == b"H:b:"

    @pytest.mark.parametrize("window", [1, 2, 10])
    async def test_uniques_that_memory_knew_are_found_after_a_crash(
        self, store: Store, write: Writer, crash: Callable[[Store], Store], open: Callable[..., Any], window: int
    ) -> None:
        """While a server runs, jobs in its window have no hash; those behind them have one."""
        write.new(1, unique=b"running", state=RUNNING)
        for id in range(2, 10):
            write.new(id, unique=b"u%d" % id, spilled=id >= 2 + window)
        write.new(20, unique=b"-", workload=b"data", priority=HIGH).new(21, unique=b"", priority=LOW)
        await write.to(store)
        store = crash(store)
        await open(store, window=window)
        for unique, id in [(b"running", 1), (b"data", 20), *((b"u%d" % id, id) for id in range(2, 10))]:
            record = await store.find_live(FUNCTION, unique)
            assert record is not None and record.id == id, unique

    # Failures

    async def test_a_batch_that_fails_leaves_nothing_behind(
        self, store: Store, write: Writer, crash: Callable[[Store], Store], open: Callable[..., Any],
        fail: Callable[[Store, Writer], Any],
    ) -> None:  # fmt: skip
        await write.new(1, workload=b"kept").to(store)
        write.changes.next_id = 77
        write.new(2, function=OTHER).changed(1, FAILED)
        await fail(store, write)
        assert [(record.id, record.state) for record in (await everything(store)).values()] == [(1, QUEUED)]
        store = crash(store)
        recovered = await open(store)
        assert (recovered.functions, recovered.next_id) == ([FunctionRecord(FUNCTION, b"function 1")], 1)
        assert counted(recovered) == {(FUNCTION, "queued", NORMAL): 1}
        again = Writer()
        again.functions.add(FUNCTION)
        await again.new(3).to(store)
        assert await claim(store) == [1, 3]
