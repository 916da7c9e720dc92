"""The store in a dictionary: for `--memory`, which loses everything with the process, and for tests.

It can fail on command: while `full` is set `apply` raises StoreFull, while `broken` is set StoreError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any

from gearstore.errors import StoreError, StoreFull
from gearstore.queue.history import Bounds, Ended, Total
from gearstore.queue.job import DELAYED, DONE, ENDED, FAILED, HELD, QUEUED, RUNNING, Reason, coalescing_key
from gearstore.queue.ports import Event
from gearstore.queue.record import FunctionRecord, Record
from gearstore.store.base import (
    CLAIM_BYTES,
    REPLAY,
    Applied,
    Changes,
    Failure,
    Filter,
    Holds,
    Key,
    Recovered,
    never,
    unique_hash,
)

# What a changed row holds after id, state, position and hash.
CHANGED = ("run_at", "attempts", "interruptions", "started_at", "ended_at", "worker", "reason", "error", "result",
           "result_size", "reducer", "replay_of", "cause")  # fmt: skip

Side = tuple[int, bool]
"""A function's id; its failed jobs rather than the done and cancelled ones"""


class MemoryStore:
    """`Store` without durability."""

    path: str | None = None
    warning = ""

    def __init__(self) -> None:
        self.ended: dict[Side, dict[int, int]] = {}  # id -> bytes, in the order in which they ended
        self.sizes: Counter[Side] = Counter()  # bytes of those
        self.full = False
        self.broken = False
        self.records: dict[int, Record] = {}
        self.hashes: dict[int, int | None] = {}
        self.functions: dict[int, FunctionRecord] = {}
        self.happened: dict[int, list[Event]] = {}
        self.known_causes: dict[int, tuple[bytes, bytes]] = {}
        self.paused = (0, 0)
        self.prefixes: list[tuple[int, bytes]] = []
        self.next_id = 1
        self.origins: dict[int, tuple[int, bytes]] = {}  # key -> job, what it was called

    async def open(self, prefix: bytes, max_interruptions: int, window: int, holds: Holds = never) -> Recovered:
        """See `Store`; a second `open` is a restart."""
        interrupted = held = 0
        for id, record in self.records.items():
            if record.state == RUNNING:
                count = record.interruptions + 1
                too_often = count > max_interruptions or holds(self.functions[record.function_id].name)
                state = HELD if too_often else QUEUED
                self.records[id] = record._replace(state=state, interruptions=count, reason=Reason.INTERRUPTED)
                self._note(Event(id, 0, Reason.INTERRUPTED, record.started_at, record.worker))
                held += state == HELD
                interrupted += state == QUEUED
            key = coalescing_key(record.unique, record.workload)
            self.hashes[id] = unique_hash(key) if key else None
        if not self.prefixes or self.prefixes[-1][1] != prefix:
            self.prefixes.append((self.next_id if self.prefixes else 0, prefix))
        counts: Counter[Key] = Counter()
        sizes: Counter[Key] = Counter()
        for record in self.records.values():
            group = (record.function_id, record.state, record.priority)
            counts[group] += 1
            sizes[group] += len(record.workload) + len(record.result)
        return Recovered(
            list(self.functions.values()),
            [(*key, jobs, sizes[key]) for key, jobs in counts.items()],
            list(self.prefixes),
            self.next_id,
            interrupted,
            held,
            self.paused,
        )

    async def apply(self, changes: Changes) -> Applied:
        """See `Store`."""
        if self.broken:
            raise StoreError("the memory store was told to fail")
        if self.full:
            raise StoreFull("the memory store was told to be full")
        found: dict[int, Record] = {}
        ending = {row[0] for row in changes.done} | {row[0] for row in changes.changed if row[1] in ENDED}
        for job_id, function_id, key, _ in changes.look_ups:
            record = await self.find_live(function_id, key)
            if record is not None and record.id not in ending:
                found[job_id] = record
        self.functions |= {id: FunctionRecord(id, name) for id, name in changes.functions}
        for new in changes.new:
            if new[0] in found:
                continue
            id, function_id, priority, position, unique, hash, workload, _, created_at, client = new
            self.records[id] = Record(
                id, function_id, priority, 0, position, unique, workload, b"", 0, 0, 0, created_at, 0, 0,
                b"", b"", b"", b"", 0, 0, client, 0, 0, hash is not None, True,
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
        for id, attempts, started_at, ended_at, worker, result, result_size in changes.done:
            self.records[id] = self.records[id]._replace(
                state=DONE, attempts=attempts, started_at=started_at, ended_at=ended_at, worker=worker, result=result,
                result_size=result_size,
            )  # fmt: skip
        self._apply_rest(changes, found)
        for id in (*(row[0] for row in changes.done), *(row[0] for row in changes.changed)):
            if id in self.records:
                self._sort(self.records[id])
        return Applied(found, self._prune(changes.pruned))

    def may_know(self, hash: int) -> bool:
        """See `Store`."""
        return True

    def _apply_rest(self, changes: Changes, found: dict[int, Record]) -> None:
        self.next_id = changes.next_id or self.next_id
        for key, id, origin in changes.imported:
            self.origins.setdefault(key, (found[id].id if id in found else id, origin))
        self.known_causes |= changes.causes
        self.paused = changes.paused or self.paused
        for event in changes.events:
            if event.kind != REPLAY or int(event.detail) not in found:
                self._note(event)
        for copy, original in changes.replayed:
            if original in self.records and copy not in found:
                self.records[original] = self.records[original]._replace(replayed_as=copy)
        for *settings, id in changes.steering:
            self.functions[id] = FunctionRecord(id, self.functions[id].name, *settings)

    def _note(self, event: Event) -> None:
        self.happened.setdefault(event.job_id, []).append(event)

    def _prune(self, ids: Sequence[int]) -> dict[Key, int]:
        gone = [self._forget(id) for id in ids if id in self.records and self.records[id].state in ENDED]
        causes = {record.cause for record in gone if record.cause}
        if causes:
            for cause in causes - {record.cause for record in self.records.values()}:
                self.known_causes.pop(cause, None)
        return Counter((record.function_id, record.state, record.priority) for record in gone)

    def _forget(self, id: int) -> Record:
        record = self.records.pop(id)
        del self.hashes[id]
        self.happened.pop(id, None)
        self._sort(record._replace(state=QUEUED))
        return record

    def _sort(self, record: Record) -> None:
        """Put a job among the ended ones, as the last of them, or take it from there."""
        for failed in (False, True):
            side = (record.function_id, failed)
            self.sizes[side] -= self.ended.get(side, {}).pop(record.id, 0)
            if record.state in ENDED and failed == (record.state == FAILED):
                size = self.ended.setdefault(side, {})[record.id] = len(record.workload) + len(record.result)
                self.sizes[side] += size

    async def totals(self) -> list[Total]:
        """See `Store`; cancelled jobs are counted as done."""
        return [
            Total(function_id, FAILED if failed else DONE, 0, len(ids), self.sizes[(function_id, failed)])
            for (function_id, failed), ids in self.ended.items()
        ]

    async def survey(self, after: int, limit: int) -> tuple[list[Total], int | None]:
        """See `Store`."""
        page = list(islice(self.records.values(), after, after + limit))
        found = [
            Total(each.function_id, each.state, (each.ended_at // 1000 + 1) * 1000, 1, len(each.workload + each.result))
            for each in page
            if each.state in ENDED
        ]
        return found, after + len(page) if page else None

    async def prunable(self, bounds: tuple[Bounds, Bounds], after: int, limit: int) -> tuple[list[Ended], int | None]:
        """See `Store`. The oldest of each function come first of all, so every page begins the walk anew."""
        found: list[Ended] = []
        for (function_id, failed), ids in self.ended.items():
            before = bounds[failed].of(function_id)
            for id, size in islice(ids.items(), limit - len(found)):
                record = self.records[id]
                if record.ended_at >= before:
                    break
                found.append(Ended(id, function_id, record.state, record.ended_at, size))
        return found, None if len(found) < limit else after + 1

    async def shrink(self) -> bool:
        """See `Store`."""
        return False

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

    async def events(self, ids: Sequence[int]) -> dict[int, list[Event]]:
        """See `Store`."""
        return {id: list(self.happened[id]) for id in ids if id in self.happened}

    async def failures(self, function_ids: Sequence[int] | None) -> list[Failure]:
        """See `Store`."""
        ended: dict[tuple[int, int], list[int]] = {}
        for record in self.records.values():
            if record.cause and (function_ids is None or record.function_id in function_ids):
                ended.setdefault((record.cause, record.function_id), []).append(record.ended_at)
        return [
            Failure(cause, *self.known_causes[cause], function_id, len(times), min(times), max(times))
            for (cause, function_id), times in ended.items()
        ]

    async def causes(self, low: int, high: int) -> list[int]:
        """See `Store`."""
        return sorted(id for id in self.known_causes if low <= id <= high)

    async def imported(self, keys: Sequence[int]) -> dict[int, int]:
        """See `Store`."""
        return {key: self.origins[key][0] for key in keys if key in self.origins}

    async def origin(self, id: int) -> bytes:
        """See `Store`."""
        return next((origin for job_id, origin in self.origins.values() if job_id == id), b"")

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
        size += len(record.workload) + len(record.error) + len(record.result)
        if size >= CLAIM_BYTES:
            break
    return page


def _matches(record: Record, wanted: Filter) -> bool:
    return (
        (wanted.ids is None or record.id in wanted.ids)
        and (wanted.function_ids is None or record.function_id in wanted.function_ids)
        and (wanted.states is None or record.state in wanted.states)
        and (wanted.causes is None or record.cause in wanted.causes)
        and (wanted.since is None or record.created_at >= wanted.since)
        and (wanted.until is None or record.created_at < wanted.until)
        and (wanted.below is None or record.id < wanted.below)
        and (wanted.error is None or wanted.error in record.error or wanted.error in record.reason)
        and (wanted.unique is None or record.unique == wanted.unique)
        and (wanted.payload_match is None or wanted.payload_match in record.workload)
    )
