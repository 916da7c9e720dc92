"""Points in time at which something is due. One heap for all; it knows no clock: `now` is an argument.

As beanstalkd's `prottick`: `due(now)` hands out what is due, `next_at` says when to come back.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Deadlines(Generic[Item]):
    """Items with a due time in milliseconds. Cancelling is lazy: a dead entry is dropped when it is met."""

    __slots__ = ("_alive", "_heap", "_serial", "sooner")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []  # (due time, serial)
        self._alive: dict[int, Item] = {}
        self._serial = 0
        self.sooner = False  # an item has become the earliest; who has taken note of it sets it back

    def __len__(self) -> int:
        return len(self._alive)

    def add(self, at: int, item: Item) -> int:
        """Enter an item and return the number by which it can be cancelled; equal times are due in order of entry."""
        self._serial += 1
        self._alive[self._serial] = item
        heappush(self._heap, (at, self._serial))
        if self._heap[0][1] == self._serial:
            self.sooner = True
        return self._serial

    def cancel(self, serial: int) -> None:
        """Forget an item; a number that is not known any more is ignored."""
        if self._alive.pop(serial, None) is not None and len(self._heap) > 2 * len(self._alive) + 1000:
            # Jobs that end long before their timeout would otherwise fill the heap.
            self._heap = [entry for entry in self._heap if entry[1] in self._alive]
            heapify(self._heap)

    def due(self, now: int) -> list[Item]:
        """Take out and return the items that are due at `now`, earliest first."""
        items = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            item = self._alive.pop(heappop(heap)[1], None)
            if item is not None:
                items.append(item)
        return items

    def later_half(self) -> tuple[int, list[Item]]:
        """Take out the half of the items that is due last; return the earliest time among them, and them."""
        entries = sorted(entry for entry in self._heap if entry[1] in self._alive)
        kept = entries[: len(entries) // 2]
        taken = entries[len(kept) :]
        self._heap = kept  # a sorted list is a heap
        return taken[0][0], [self._alive.pop(serial) for _, serial in taken]

    @property
    def next_at(self) -> int | None:
        """The time of the earliest item, None without any."""
        heap = self._heap
        while heap and heap[0][1] not in self._alive:
            heappop(heap)
        return heap[0][0] if heap else None
