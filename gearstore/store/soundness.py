"""What is looked at before a server writes anything: whether the file is whole, and whether its log belongs to it.

A refusal leaves both as they were. (A connection that may write would bring the log into the file when it is closed.)
"""

from __future__ import annotations

import os
import sqlite3
import sys
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from struct import Struct

from gearstore.errors import StoreUnusable

HEADER = Struct(">I4xI4x8s8x")  # of a log: how its checksums are made, size of pages, salts of its present round
FRAME = Struct(">II8sII")  # page, size of the database where a transaction ends, salts, checksums
TOUCH = "UPDATE meta SET value = value WHERE name = 'clean'"  # tells the log of a start from one that does not belong
SMALL = 64 << 20  # bytes of a file that a start reads as a whole to check it: 2 ms of the processor for each MiB


def examine(path: str) -> None:
    """Raise StoreUnusable, or sqlite3.Error, for a database that must not be served."""
    log = Path(f"{path}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    if has_log and _closed_in_order(path) and not _ends_in_order(path, log):
        raise StoreUnusable(
            f"{log} does not belong to {path}, which was closed in order or is a backup: move the log away to start "
            "with the jobs of that file, or put back the file that the log belongs to"
        )
    if os.stat(path).st_size <= SMALL:
        with _looking_at(path, has_log) as connection:
            (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if problem != "ok":
            raise StoreUnusable(f"{path} is damaged ({' '.join(problem.split())}): restore it from a backup")


@contextmanager
def _looking_at(path: str, with_log: bool) -> Iterator[sqlite3.Connection]:
    """Open a connection that writes nothing: it has the index of the log in memory, or passes the log over."""
    flags = "vfs=unix-none" if with_log else "immutable=1"
    with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro&{flags}", uri=True)) as connection:
        if with_log:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
        yield connection


def _closed_in_order(path: str) -> bool:
    """Whether the file alone says so. After a power cut it may be anything without its log, and says nothing."""
    with _looking_at(path, False) as connection:
        try:
            found = connection.execute("SELECT value FROM meta WHERE name = 'clean'").fetchone()
        except sqlite3.DatabaseError:
            return False
    return bool(found == (1,))


def _ends_in_order(path: str, log: Path) -> bool:
    """Whether the last transaction of a log wrote to `meta`, as that of an orderly end does, and that of a start. (Such
    a log is there after a power cut: that it was removed was not on disk yet.)"""
    with _looking_at(path, False) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'meta'").fetchone()
    pages: set[int] = set()
    last: set[int] | None = None  # none at all is as good as an empty log
    for number, ends in _frames(log):
        pages.add(number)
        if ends:
            last, pages = pages, set()
    return last is None or page in last


def _frames(log: Path) -> Iterator[tuple[int, int]]:
    """Yield the pages that SQLite takes from a log, and whether a transaction ends with them.

    Behind them may be others that look much the same: of a transaction that failed, of the last round.
    """
    with log.open("rb") as file:
        header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            return
        magic, page_size, salts = HEADER.unpack(header)
        sums = _summed((0, 0), header[:24], magic)
        while len(frame := file.read(FRAME.size + page_size)) == FRAME.size + page_size:
            page, ends, of, *wanted = FRAME.unpack_from(frame)
            sums = _summed(_summed(sums, frame[:8], magic), frame[FRAME.size :], magic)
            if of != salts or sums != tuple(wanted):
                return
            yield page, ends


def _summed(sums: tuple[int, int], data: bytes, magic: int) -> tuple[int, int]:
    """Return SQLite's checksum of a log (https://sqlite.org/fileformat2.html, 4.2), carried on over more bytes."""
    first, second = sums
    words = array("I", data)
    if (sys.byteorder == "big") != bool(magic & 1):
        words.byteswap()
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
