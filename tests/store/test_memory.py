"""The store in memory: the common suite, and its failures on command."""

from collections.abc import Callable
from typing import Any

import pytest

from gearstore.errors import StoreError, StoreFull
from gearstore.queue.job import DONE, FAILED, QUEUED
from gearstore.store.base import Changes, Store
from gearstore.store.memory import MemoryStore
from tests.store.conformance import PREFIX, StoreTests, Writer, claim, everything


class TestMemoryStore(StoreTests):
    @pytest.fixture
    def make(self) -> Callable[[], Store]:
        return MemoryStore

    @pytest.fixture
    def crash(self) -> Callable[[Store], Store]:
        return lambda store: store

    @pytest.fixture
    def fail(self) -> Callable[[Store, Writer], Any]:
        async def fail(store: Store, write: Writer) -> None:
            assert isinstance(store, MemoryStore)
            store.full = True
            with pytest.raises(StoreFull):
                await write.to(store)
            store.full = False

        return fail


async def test_it_can_be_broken() -> None:
    store = MemoryStore()
    await store.open(PREFIX, 5, 10)
    store.broken = True
    with pytest.raises(StoreError) as failure:
        await store.apply(Changes())
    assert not isinstance(failure.value, StoreFull)


async def test_history_is_bounded_and_live_jobs_stay() -> None:
    store, write = MemoryStore(keep=3), Writer()
    await store.open(PREFIX, 5, 10)
    write.new(1).new(2, state=FAILED)
    for id in range(3, 13):
        write.new(id).done(id)
        await write.to(store)
    records = await everything(store)
    assert {id: record.state for id, record in records.items()} == {1: QUEUED, 10: DONE, 11: DONE, 12: DONE}
    assert await claim(store) == [1]


async def test_a_job_that_was_retried_is_not_forgotten_early() -> None:
    store, write = MemoryStore(keep=2), Writer()
    await store.open(PREFIX, 5, 10)
    await write.new(1, state=FAILED).to(store)
    await write.changed(1, QUEUED).to(store)
    for id in (2, 3, 4):
        await write.new(id).done(id).to(store)
    assert await claim(store) == [1]
    await write.changed(1, FAILED).to(store)
    await write.changed(1, QUEUED).to(store)
    await write.changed(1, FAILED).to(store)
    await write.new(5).done(5).to(store)
    assert sorted(await everything(store)) == [1, 5]


async def test_what_is_forgotten_costs_no_memory() -> None:
    store, write = MemoryStore(keep=2), Writer()
    await store.open(PREFIX, 5, 10)
    for id in range(1, 1000):
        await write.new(id, unique=b"u").done(id).to(store)
    sizes = [len(value) for value in vars(store).values() if hasattr(value, "__len__")]
    assert max(sizes) < 10
