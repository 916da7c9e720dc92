"""A database without its server: opened by those who look at it, never written to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from gearstore.errors import StoreError, StoreUnusable
from gearstore.store.base import Applied, Changes, Holds, Recovered, never
from gearstore.store.files import View
from gearstore.store.migrations import available
from gearstore.store.reader import Reader, recovered, refuse_newer, translated

CACHE = "PRAGMA cache_size = -64000"
STEPS = 500_000  # of SQLite's machine, some milliseconds, between two looks whether the server still runs


@contextmanager
def snapshot(path: str) -> Iterator[tuple[sqlite3.Connection, View]]:
    """Open a database for a look at one state of it, whatever a server writes meanwhile. Raises StoreError.

    As long as it lasts the log of a running server can't be emptied: it grows by what is written. If the server ends
    meanwhile, so does the look, for its next start must not wait.
    """
    view = View(path)
    try:
        with closing(sqlite3.connect(view.uri, timeout=5, isolation_level=None, uri=True)) as connection:
            connection.execute(view.first).fetchall()
            connection.execute(CACHE)
            connection.set_progress_handler(view.outlived, STEPS)
            connection.execute("BEGIN")
            refuse_other(view.file, connection)
            yield connection, view
    except sqlite3.Error as error:
        refuse_outlived(view)
        raise translated(view.file, error) from error
    view.verify()


def refuse_outlived(view: View) -> None:
    """Raise StoreUnusable if the server has ended since the look began."""
    if view.outlived():
        raise StoreUnusable(f"the server has ended while {view.file} was read, and a start must not wait: try again")


def refuse_other(file: str, connection: sqlite3.Connection) -> None:
    """Raise StoreUnusable unless the schema is the one that this program reads."""
    version, known = refuse_newer(file, connection), available("sqlite")[-1][0]
    if version < known:
        raise StoreUnusable(
            f"{file} was written by an older gearstore (schema {version}, this program reads {known}): "
            "a start of `gearstore serve` brings it up to date; do that with a copy if you want to keep it as it is"
        )


class ViewStore(Reader):
    """`Store` that only reads: what a server would answer about a database if one ran on it."""

    warning = ""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.view = View(path)
        self._uri, self._first = self.view.uri, self.view.first

    async def open(self, prefix: bytes, max_interruptions: int, window: int, holds: Holds = never) -> Recovered:
        """See `Store`; what ran at the end is left running."""
        with snapshot(self._file) as (connection, _):
            return recovered(connection)

    async def apply(self, changes: Changes) -> Applied:
        """Refuse."""
        raise StoreError(f"{self._file} is only read")

    async def shrink(self) -> bool:
        """See `Store`."""
        return False

    async def forget_numbers(self, next_id: int) -> None:
        """There were none."""

    async def close(self) -> None:
        """Let the file go; raise StoreUnusable if what was read is worth nothing."""
        await self.stop_reading()
        self.view.verify()
