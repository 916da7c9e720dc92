"""The store in memory: the common suite, and its failures on command."""

from collections.abc import Callable
from typing import Any

import pytest

from gearstore.errors import StoreError, StoreFull
from gearstore.store.base import Changes, Store
from gearstore.store.memory import MemoryStore
from tests.store.conformance import PREFIX, StoreTests, Writer


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


async def test_what_is_forgotten_costs_no_memory() -> None:
    store, write = MemoryStore(), Writer()
    await store.open(PREFIX, 5, 10)
    for id in range(1, 1000):
        write.new(id, unique=b"u").done(id).changes.pruned = [id]
        await write.to(store)
    sizes = [len(value) for value in vars(store).values() if hasattr(value, "__len__")]
    assert max(sizes) < 10
    assert [total.jobs for total in await store.totals()] == [0]
