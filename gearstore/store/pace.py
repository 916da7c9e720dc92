"""Where a commit runs and when the log is checkpointed: decided by how long commits take and how long the log is."""

from __future__ import annotations

FAST, SLOW = 0.0005, 0.001  # seconds of a commit
TRUSTED = 32  # fast commits more than slow ones, before the loop itself waits for the disk
SMALL = 256 << 10  # bytes of workloads and results; larger batches say nothing about the disk and never run on the loop
PENALTY = 8  # fast commits that make up for one that was slow, for each multiple of SLOW

CHECKPOINT_PAGES = 1000  # pages in the log: 8 MB
MOST_GROWTH = 8 << 20  # bytes by which the file of the log may become longer, whatever was estimated
LEAST_WORK, MOST_WORK = 1000, 1_000_000  # see Log
COMMIT_WORK = 16  # a commit writes some pages whatever is in it


class Pace:
    """Says whether commits may run on the loop's thread: only while the disk is so fast that the way to another thread
    and back takes as long as the disk does (benchmarks/README.md, "commit on the loop").

    A slow disk never gets there; one that becomes slow is found out by its first commits, at the latest by one that
    takes four times SLOW.
    """

    def __init__(self) -> None:
        self.on_loop = False
        self._trust = 0

    def took(self, seconds: float) -> None:
        """Take note of the duration of a commit."""
        if seconds < FAST:
            self._trust = min(self._trust + 1, TRUSTED)
        elif seconds > SLOW:
            self._trust = max(self._trust - PENALTY * int(seconds / SLOW), 0)
        if self._trust in (0, TRUSTED):
            self.on_loop = self._trust == TRUSTED


class Log:
    """Says when to checkpoint, so that no commit has to. (SQLite would do it in a COMMIT, and keep quiet about a sync
    that fails there.)

    SQLite tells the length of its log only with a checkpoint. In between it is estimated from the rows written, by
    what the last checkpoint found; and what is far more than estimated makes the file grow.
    """

    def __init__(self) -> None:
        self._work = 0
        self._limit = 4 * LEAST_WORK
        self._size: int | None = None

    def grew(self, rows: int, size: int, times: int = 1) -> bool:
        """Take note of a commit, and of the bytes of the log's file; return whether it is time for a checkpoint, or for
        one that comes so many times as often."""
        if self._size is None:
            self._size = size
        self._work += rows + COMMIT_WORK
        return self._work * times >= self._limit or size > self._size + MOST_GROWTH

    def checkpointed(self, pages: int) -> None:
        """Take note of the pages that a checkpoint found in the log."""
        self._limit = min(max(self._work * CHECKPOINT_PAGES // max(pages, 1), LEAST_WORK), MOST_WORK)
        self._work, self._size = 0, None
