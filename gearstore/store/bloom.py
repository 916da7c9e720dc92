"""Which uniques the disk surely does not know: a Bloom filter, so that few submits have to be looked up there.

Of a million entries it says of one other hash in 33 that there may be one, of ten million of one in four.
"""

from __future__ import annotations

from collections.abc import Collection

BYTES = 1 << 22  # 25 of the 32 bits of a hash decide
STALE = BYTES  # entries added after which it is made anew: the bits of deleted ones stay


class Bloom:
    """A set of hashes that may seem to have others, too."""

    __slots__ = ("_bits", "made_with", "size")

    def __init__(self) -> None:
        self._bits = bytearray(BYTES)
        self.size = 0  # hashes
        self.made_with = 0  # so many of them; the others were added since

    def add(self, hashes: Collection[int]) -> None:
        """Have more hashes in it."""
        bits = self._bits
        for hash in hashes:
            bits[hash >> 10 & BYTES - 1] |= 1 << (hash >> 7 & 7)
        self.size += len(hashes)

    @property
    def added(self) -> int:
        """How many hashes were added since it was made."""
        return self.size - self.made_with

    def __contains__(self, hash: int) -> bool:
        return self._bits[hash >> 10 & BYTES - 1] >> (hash >> 7 & 7) & 1 == 1
