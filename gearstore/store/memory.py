"""The store in a dictionary: for `--memory`, which loses everything with the process, and for tests.

It can fail on command: while `full` is set `apply` raises StoreFull, while `broken` is set StoreError.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from itertools import chain
from typing import Any

from gearstore.errors import StoreError, StoreFull
from gearstore.queue.job import DELAYED, DONE, ENDED, HELD, QUEUED, RUNNING, coalescing_key
from gearstore.queue.record import Record
from gearstore.store.base import CLAIM_BYTES, Changes, Filter, Recovered, unique_hash

# What a changed row holds after id, state, position and hash.
CHANGED = ("run_at", "attempts", "interruptions", "started_at", "ended_at", "worker", "reason", "error", "result",
           "result_size", "reducer", "replay_of")  # fmt: skip


class MemoryStore:
    """`Store` without durability."""

    path: str | None = None
    warning = ""

    def __init__(self, keep: int = 100_000) -> None:
        self.keep = keep  # ended jobs; the oldest go first, or memory would fill with history
        self.ended: OrderedDict[int, None] = OrderedDict()
        self.full = False
        self.broken = False
        self.records: dict[int, Record] = {}
        self.hashes: dict[int, int | None] = {}
        self.functions: dict[int, bytes] = {}
        self.prefixes: list[tuple[int, bytes]] = []
        self.next_id = 1

    async def open(self, prefix: bytes, max_interruptions: int, window: int) -> Recovered:
        """See `Store`; a second `open` is a restart."""
        interrupted = held = 0
        for id, record in self.records.items():
            if record.state == RUNNING:
                count = record.interruptions + 1
                state = HELD if count > max_interruptions else QUEUED
                self.records[id] = record._replace(state=state, interruptions=count, reason=b"interrupted")
                held += state == HELD
                interrupted += state == QUEUED
            key = coalescing_key(record.unique, record.workload)
            self.hashes[id] = unique_hash(key) if key else None
        if not self.prefixes or self.prefixes[-1][1] != prefix:
            self.prefixes.append((self.next_id if self.prefixes else 0, prefix))
        counts = Counter((r.function_id, r.state, r.priority) for r in self.records.values())
        return Recovered(
            list(self.functions.items()),
            [(*key, jobs) for key, jobs in counts.items()],
            list(self.prefixes),
            self.next_id,
            interrupted,
            held,
        )

    async def apply(self, changes: Changes) -> dict[int, Record]:
        """See `Store`."""
        if self.broken:
            raise StoreError("the memory store was told to fail")
        if self.full:
            raise StoreFull("the memory store was told to be full")
        found = {}
        ending = {row[0] for row in changes.done} | {row[0] for row in changes.changed if row[1] in ENDED}
        for wanted in changes.look_ups:
            record = await self.find_live(wanted.function_id, wanted.key)
            if record is not None and record.id not in ending:
                found[wanted.job_id] = record
        self.functions.update(changes.functions)
        for new in changes.new:
            if new[0] in found:
                continue
            id, function_id, priority, position, unique, hash, workload, _, created_at = new
            self.records[id] = Record(
                id, function_id, priority, 0, position, unique, workload, b"", 0, 0, 0, created_at, 0, 0,
                b"", b"", b"", b"", 0, 0, hash is not None, True,
            )  # fmt: skip
            self.hashes[id] = hash
        for id, state, position, hash, *rest in changes.changed:
            if id in found:
                continue
            later: dict[str, Any] = dict(zip(CHANGED, rest, strict=True))
            record = self.records[id]
            later |= {"state": state, "position": position, "spilled": hash is not None}
            self.records[id] = Record(**(record._asdict() | later))
            self.hashes[id] = hash
        for id, attempts, started_at, ended_at, worker in changes.done:
            self.records[id] = self.records[id]._replace(
                state=DONE, attempts=attempts, started_at=started_at, ended_at=ended_at, worker=worker
            )
        self.next_id = changes.next_id or self.next_id
        self._forget_history(changes)
        return found

    def _forget_history(self, changes: Changes) -> None:
        for id, state in chain(((row[0], DONE) for row in changes.done), (row[:2] for row in changes.changed)):
            self.ended.pop(id, None)
            if state in ENDED:
                self.ended[id] = None
        while len(self.ended) > self.keep:
            id, _ = self.ended.popitem(last=False)
            self.records.pop(id, None)
            self.hashes.pop(id, None)

    async def claim(self, function_id: int, priority: int, after: int, limit: int) -> list[Record]:
        """See `Store`."""
        queued = [
            record
            for record in self.records.values()
            if record.state == QUEUED
            and (record.function_id, record.priority) == (function_id, priority)
            and record.position > after
        ]
        return _page(sorted(queued, key=lambda record: record.position), limit)

    async def claim_delayed(self, after: tuple[int, int], limit: int) -> list[Record]:
        """See `Store`."""
        delayed = [r for r in self.records.values() if r.state == DELAYED and (r.run_at, r.id) > after]
        return _page(sorted(delayed, key=lambda record: (record.run_at, record.id)), limit)

    async def find(self, wanted: Filter, newest: bool, before: int | None, limit: int) -> list[Record]:
        """See `Store`."""
        found = [
            self.records[id]
            for id in sorted(self.records, reverse=newest)
            if (before is None or (id < before if newest else id > before)) and _matches(self.records[id], wanted)
        ]
        return found[:limit]

    async def find_live(self, function_id: int, key: bytes) -> Record | None:
        """See `Store`."""
        for id, record in self.records.items():
            if record.state in (QUEUED, DELAYED) and record.function_id == function_id and self.hashes[id] is not None:
                if coalescing_key(record.unique, record.workload) == key:
                    return record
        return None

    async def forget_numbers(self, next_id: int) -> None:
        """Give back the numbers that were reserved and not used."""
        self.next_id = next_id

    async def close(self) -> None:
        """See `Store`."""


def _page(records: list[Record], limit: int) -> list[Record]:
    page: list[Record] = []
    size = 0
    for record in records[:limit]:
        page.append(record)
        size += len(record.workload)
        if size >= CLAIM_BYTES:
            break
    return page


def _matches(record: Record, wanted: Filter) -> bool:
    return (
        (wanted.ids is None or record.id in wanted.ids)
        and (wanted.function_ids is None or record.function_id in wanted.function_ids)
        and (wanted.states is None or record.state in wanted.states)
        and (wanted.since is None or record.created_at >= wanted.since)
        and (wanted.until is None or record.created_at < wanted.until)
        and (wanted.below is None or record.id < wanted.below)
        and (wanted.error is None or wanted.error in record.error or wanted.error in record.reason)
        and (wanted.unique is None or record.unique == wanted.unique)
        and (wanted.payload_match is None or wanted.payload_match in record.workload)
    )
