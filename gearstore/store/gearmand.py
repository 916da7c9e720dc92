"""The queue that gearmand keeps with its SQLite plugin, read as it is: nothing in it is changed.

Read is whatever any version wrote: in the order of its rows, no workload for NULL, text as its bytes, a table without
`when_to_run`.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from gearstore.errors import StoreUnusable
from gearstore.queue.job import MAX_FUNCTION, MAX_UNIQUE, Priority
from gearstore.store.files import APPLICATION_ID, SQLITE_MAGIC

TABLE = "gearman_queue"
NEEDED = {"unique_key", "function_name", "priority", "data"}
CONFIGS = (
    "/etc/default/gearman-job-server",
    "/etc/gearmand.conf",
    "/etc/sysconfig/gearmand",
    "/etc/gearmand/gearmand.conf",
)
PLACES = ("/var/lib/gearman", "/var/lib/gearmand", "/var/lib/gearman-job-server", "/var/gearman", "/var/spool/gearmand")


class QueueRow(NamedTuple):
    """One row: its columns as they are, and why it is no job (an empty text if it is one)."""

    rowid: int
    function: Any
    unique: Any
    priority: Any
    workload: Any
    when_to_run: Any
    fault: str


def is_sqlite(path: Path) -> bool:
    """Whether the file is a database of SQLite."""
    with path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC


def usual_places() -> list[Path]:
    """Return the queues that gearmand's configuration names or that lie where it usually keeps them."""
    found = []
    for config in CONFIGS:
        with suppress(OSError):
            text = Path(config).read_text("utf-8", "replace")
            found += [Path(name) for name in re.findall(r"--libsqlite3-db[= ]+[\"']?([^\s\"']+)", text)]
    for place in PLACES:
        with suppress(OSError):
            found += sorted(file for file in Path(place).iterdir() if file.is_file())
    queues: dict[Path, None] = {}
    for path in found:
        with suppress(OSError, StoreUnusable):
            if is_sqlite(path):
                with queue(path) as (connection, _):
                    columns_of(connection, path, TABLE)
                queues[path.resolve()] = None
    return list(queues)


def user_of(path: Path) -> str:
    """Return which process has the file open, an empty text if none that we may see."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for fd in (process / "fd").iterdir():
                if process.name != str(os.getpid()) and os.readlink(fd) == str(path.resolve()):
                    return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


@contextmanager
def queue(path: Path) -> Iterator[tuple[sqlite3.Connection, Path]]:
    """Open gearmand's database. What a crash left half done is undone in a copy; the original stays as it is."""
    with tempfile.TemporaryDirectory(prefix="gearstore-") as directory:
        journal = Path(f"{path}-journal")
        if journal.exists() and journal.stat().st_size:
            copy = Path(directory) / "queue"
            shutil.copy(path, copy)
            shutil.copy(journal, f"{copy}-journal")
            uri = copy.as_uri()
        else:
            uri = f"{path.resolve().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, timeout=5, isolation_level=None, uri=True)) as connection:
                connection.text_factory = bytes
                yield connection, path
        except sqlite3.Error as error:
            raise StoreUnusable(f"{path} cannot be read as a queue of gearmand: {error}") from None


def columns_of(connection: sqlite3.Connection, path: Path, table: str) -> set[str]:
    """Return the columns of the table; raise StoreUnusable if it is none of gearmand's."""
    if connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        raise StoreUnusable(
            f"{path} is gearstore's own: `gearstore export --db {path} | gearstore import -` moves its jobs"
        )
    columns = {name.decode() for _, name, *_ in connection.execute(f"PRAGMA table_info({quoted(table)})")}
    if not columns >= NEEDED:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        there = ", ".join(name.decode("utf-8", "replace") for (name,) in names) or "none"
        raise StoreUnusable(
            f"{path} has no table {table} as gearmand makes it (there are: {there}): name it with --table"
        )
    return columns


def quoted(name: str) -> str:
    """Return an identifier as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def count_rows(connection: sqlite3.Connection, table: str) -> int:
    """Return how many rows there are."""
    return int(connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0])


def rows(connection: sqlite3.Connection, path: Path, table: str) -> Iterator[QueueRow]:
    """Yield the rows in the order in which gearmand would reload them."""
    when = "when_to_run" if "when_to_run" in columns_of(connection, path, table) else "0"
    for rowid, function, unique, priority, workload, when_to_run in connection.execute(
        f"SELECT rowid, function_name, unique_key, priority, data, {when} FROM {quoted(table)} ORDER BY rowid"
    ):
        if isinstance(unique, bytes):
            unique = unique.partition(b"\0")[0]
        yield QueueRow(
            rowid,
            function,
            b"" if unique is None else unique,
            Priority(priority) if priority in tuple(Priority) else Priority.NORMAL,
            b"" if workload is None else workload,
            when_to_run if isinstance(when_to_run, int) and when_to_run > 0 else 0,
            fault_of(function, unique, workload),
        )


def fault_of(function: Any, unique: Any, workload: Any) -> str:
    """Return why a row is no job, an empty text if it is one."""
    if not isinstance(function, bytes):
        return "its function is not a text"
    if len(function) > MAX_FUNCTION:
        return f"its function is longer than {MAX_FUNCTION} bytes"
    if not isinstance(unique, bytes | None):
        return "its unique is not a text"
    if unique and len(unique) > MAX_UNIQUE:
        return f"its unique is longer than {MAX_UNIQUE} bytes"
    if not isinstance(workload, bytes | None):
        return "its workload is a number"
    return ""
