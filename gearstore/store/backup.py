"""A copy of a database as it is at one moment, while a server writes to it or without one.

The copy is the file that `gearstore serve --db` starts on, with every job and handle. It appears under its name once it
is whole and on disk; whatever goes wrong before leaves nothing behind.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from gearstore.errors import StoreError
from gearstore.store.files import owner_of, sync
from gearstore.store.view import refuse_outlived, snapshot

PAGES = 512  # copied between two reports of progress: 4 MiB
MODE = 0o640
# The original goes on giving out numbers. A server on the copy begins so far behind, so that no handle is given twice.
SPARE_NUMBERS = 1_000_000_000

Progress = Callable[[int, int], None]
"""Takes the bytes done and the bytes in all."""


class Backup(NamedTuple):
    """What a backup holds."""

    size: int  # bytes
    jobs: int


def back_up(source: str, target: Path, force: bool, progress: Progress) -> Backup:
    """Copy the database; raise StoreError with a sentence, StoreUnusable if the source is damaged."""
    try:
        refuse_target(Path(source), target, force)
    except OSError as error:
        raise StoreError(f"cannot write {target} ({error.strerror}): name a file elsewhere") from None
    with partial(target) as copy:
        with snapshot(source) as (connection, view):

            def report(done: int, total: int) -> None:
                refuse_outlived(view)
                progress(done, total)

            jobs = copy_pages(connection, copy, target, report)
        put_in_place(copy, target)
    return Backup(target.stat().st_size, jobs)


def refuse_target(source: Path, target: Path, force: bool) -> None:
    """Raise StoreError unless the copy may have this name."""
    if target.is_dir():
        raise StoreError(f"{target} is a directory: name a file for the backup")
    if target.exists() and source.exists() and target.samefile(source):
        raise StoreError(f"{target} is the database itself: name another file")
    if owner := owner_of(str(target)):
        raise StoreError(f"{target} is in use by {owner}: name another file")
    if Path(f"{target}-wal").exists():
        raise StoreError(f"{target}-wal is there and would be taken for the log of the backup: name another file")
    if target.exists() and not force:
        raise StoreError(f"{target} is there already: name another file, or replace it with --force")


@contextmanager
def partial(target: Path) -> Iterator[Path]:
    """Make a file beside the target and remove it in the end if it is still there."""
    try:
        fd, name = tempfile.mkstemp(".partial", f".{target.name}.", target.parent)
    except OSError as error:
        raise StoreError(f"cannot write to {target.parent} ({error.strerror}): name a file elsewhere") from None
    os.close(fd)
    try:
        yield Path(name)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def copy_pages(connection: sqlite3.Connection, copy: Path, target: Path, progress: Progress) -> int:
    """Copy the snapshot page by page and return the number of its jobs. Since its transaction goes on, what a server
    writes meanwhile doesn't make the copy start anew."""
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()

    def report(status: int, remaining: int, total: int) -> None:
        progress((total - remaining) * page_size, total * page_size)

    try:
        with closing(sqlite3.connect(copy, isolation_level=None)) as other:
            # No journal, no syncs: until it is whole nobody needs the copy.
            other.execute("PRAGMA journal_mode = OFF").fetchone()
            other.execute("PRAGMA synchronous = OFF")
            connection.backup(other, pages=PAGES, progress=report)
        with closing(sqlite3.connect(copy, isolation_level=None)) as other:
            other.execute("UPDATE meta SET value = 1 WHERE name = 'clean'")  # no log is missing
            other.execute("UPDATE meta SET value = value + ? WHERE name = 'next_id'", (SPARE_NUMBERS,))
            (jobs,) = other.execute("SELECT coalesce(sum(jobs), 0) FROM counts").fetchone()
            return int(jobs)
    except sqlite3.Error as error:
        if (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise StoreError(f"cannot write {target} ({error}): make space, or name a file elsewhere") from None
        raise


def put_in_place(copy: Path, target: Path) -> None:
    """Have the copy on disk, then give it its name, then have the name on disk."""
    try:
        copy.chmod(MODE)
        sync(copy)
        copy.rename(target)
        sync(target.parent)
    except OSError as error:
        raise StoreError(f"cannot write {target} ({error.strerror}): make space, or name a file elsewhere") from None
