"""Statements of many rows: each `step` gives up the GIL, so few steps beat `executemany` (benchmarks/README.md,
"multi-row"). Their sizes are powers of two, so that few different ones are prepared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeVar

Row = TypeVar("Row")

LARGEST_STATEMENT = 128  # rows


def pieces(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Yield the rows by 128, 64, ... 1."""
    start, size = 0, LARGEST_STATEMENT
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        yield rows[start : start + size]
        start += size


@cache
def statement(head: str, columns: int, tail: str, rows: int) -> str:
    """Return a statement for so many rows."""
    row = f"({', '.join('?' * columns)})"
    return f"{head}{', '.join([row] * rows)}{tail}"
