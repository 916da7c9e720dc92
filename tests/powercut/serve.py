"""The server that is recorded: the real one, with logs so short that many checkpoints fit into a second, with uniques
that are entered soon, and with a fault of its own where a test plants one."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gearstore.store import files, journal, pace, recovery, reserve, sqlite, uniques
from gearstore.store.base import Applied, Changes
from gearstore.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]
LOG_SIZE = 128 << 10  # bytes
WINDOW = 16
SHORT = (
    (sqlite, "LOG_SIZE", LOG_SIZE),
    (reserve, "SIZE", LOG_SIZE),
    (pace, "MOST_GROWTH", LOG_SIZE),
    (pace, "LEAST_WORK", 40),  # a checkpoint after some ten commits
    (uniques, "GENERATION", 24),
    (journal, "UNSTORED", 2),
    (recovery, "UNSTORED", 2),
)

# Run by `python -c`; what follows are the server's options.
SERVE = "import sys; sys.path.insert(0, {root!r}); from tests.powercut.serve import main; main({fault!r})"


def command(fault: str = "") -> list[str]:
    """Return the arguments of Python that run the server."""
    return ["-c", SERVE.format(root=str(ROOT), fault=fault)]


@contextmanager
def shortened() -> Iterator[None]:
    """Have short logs, many checkpoints, and few uniques that wait to be entered or are entered at the start."""
    with ExitStack() as stack:
        for module, name, value in SHORT:
            stack.enter_context(patch.object(module, name, value))
        yield


def main(fault: str) -> None:
    """Serve."""
    if fault:
        FAULTS[fault]()
    from tests.server.process import SERVE as serve

    sys.argv[0] = "serve"
    with shortened():
        exec(serve, {"__name__": "__main__"})


# Planted faults


class Normal(sqlite3.Connection):
    """Syncs at checkpoints only, and says otherwise."""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
        """Do something else than asked."""
        if sql == "PRAGMA synchronous = 2":
            return super().execute("PRAGMA synchronous = 1")
        return super().execute("SELECT 2" if sql == "PRAGMA synchronous" else sql, *args)


class Lazy(sqlite3.Connection):
    """Leaves the log as the last server left it."""

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # type: ignore[override]
        """Do nothing where the log should be emptied."""
        return super().execute("SELECT 0, 0, 0" if sql == "PRAGMA wal_checkpoint(TRUNCATE)" else sql, *args)


def connect_by(kind: type[sqlite3.Connection]) -> None:
    """Let the writer be such a connection."""
    sqlite3.connect = partial(sqlite3.connect, factory=kind)  # type: ignore[assignment]


def acknowledge_early() -> None:
    """Say that a batch is durable while it is being committed."""
    apply, before = SqliteStore.apply, asyncio.Lock()

    async def later(store: SqliteStore, changes: Changes) -> None:
        async with before:
            await apply(store, changes)

    async def early(store: SqliteStore, changes: Changes) -> Applied:
        store.late = asyncio.ensure_future(later(store, changes))  # type: ignore[attr-defined]
        return Applied()

    SqliteStore.apply = early  # type: ignore[method-assign]


def leave_the_log() -> None:
    """Don't write the log again at the start."""
    files.renew_log = lambda path: None


def trust_the_log() -> None:
    """Go on at the end of what can be read of the log."""
    leave_the_log()
    connect_by(Lazy)


FAULTS = {
    "synchronous = NORMAL": partial(connect_by, Normal),
    "the log is taken as it reads": trust_the_log,
    "the log is checkpointed as it reads": leave_the_log,
    "acknowledged before the commit": acknowledge_early,
}
