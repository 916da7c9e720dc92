"""The disk of a simulation: slow, sometimes full, sometimes broken; a crash leaves a commit done or not done."""

from __future__ import annotations

import asyncio
from copy import copy
from random import Random

from gearstore.errors import StoreError, StoreFull
from gearstore.store.base import Applied, Changes
from gearstore.store.memory import MemoryStore


class Disk(MemoryStore):
    """A memory store that outlives the server's process, as a file does."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.chance = chance
        self.unwell = 0.0  # how likely a batch meets a full disk
        self.dead = False
        self.commits = 0

    def after_crash(self) -> Disk:
        """Return what the next process finds."""
        self.dead = True
        other = copy(self)
        other.dead = False
        for name in ("records", "hashes", "functions", "known_causes", "happened", "ended"):
            setattr(other, name, copy(getattr(self, name)))
        other.happened = {id: list(events) for id, events in self.happened.items()}
        other.prefixes = list(self.prefixes)
        return other

    async def _take_time(self) -> None:
        await asyncio.sleep(self.chance.choice((0.0, 0.0001, 0.0003, 0.002, self.chance.random() * 0.05)))
        if self.dead:
            raise asyncio.CancelledError

    def may_know(self, hash: int) -> bool:
        """See `Store`; only what it does know."""
        return hash in self.hashes.values()

    async def apply(self, changes: Changes) -> Applied:
        """Make durable, at some moment of the time that it takes."""
        await self._take_time()
        if self.chance.random() < self.unwell:
            raise StoreFull("the disk of the simulation is full")
        applied = await super().apply(changes)
        self.commits += 1
        await self._take_time()
        return applied

    async def claim(self, function_id: int, priority: int, after: int, limit: int):  # type: ignore[no-untyped-def]
        """See `Store`; what was read may be old when it arrives."""
        found = await super().claim(function_id, priority, after, limit)
        await self._take_time()
        return found

    async def claim_delayed(self, after: tuple[int, int], limit: int):  # type: ignore[no-untyped-def]
        """See `Store`; what was read may be old when it arrives."""
        found = await super().claim_delayed(after, limit)
        await self._take_time()
        return found


class Broken(StoreError):
    """The simulation's disk has failed for good."""
