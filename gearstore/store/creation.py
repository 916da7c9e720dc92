"""How a new database comes to be: whole and on disk, or not at all."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress

from gearstore.errors import StoreError
from gearstore.store.files import APPLICATION_ID, sync
from gearstore.store.migrations import migrate

UNFINISHED = ".new"  # at the end of its name until it is whole
SUFFIXES = ("", "-wal", "-shm", "-journal")
SETTINGS = (
    "page_size = 8192",
    "auto_vacuum = INCREMENTAL",  # can only be chosen before the first table
    f"application_id = {APPLICATION_ID}",
    "synchronous = OFF",  # synced below, once for all
)


def create(path: str) -> None:
    """Make an empty database where there is none. It gets its name when nothing of it can be missing any more: a power
    cut leaves no file that looks like one that was emptied. Raises StoreError and sqlite3.Error."""
    if os.path.exists(path):
        return
    unfinished = path + UNFINISHED
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            os.unlink(unfinished + suffix)
    with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
        for setting in SETTINGS:
            connection.execute(f"PRAGMA {setting}")
        migrate(connection)
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
    try:
        sync(unfinished)
        os.rename(unfinished, path)
        sync(os.path.dirname(path))
    except OSError as error:
        raise StoreError(
            f"cannot make {path} ({error.strerror}): make space, or choose another file with --db"
        ) from None
