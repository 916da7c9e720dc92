"""Backups: whole or not there at all, one moment of the database, and a database that a server starts on."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gearstore.errors import StoreError, StoreUnusable
from gearstore.store.backup import MODE, SPARE_NUMBERS, back_up
from gearstore.store.base import Filter
from gearstore.store.sqlite import SqliteStore
from tests.store.conformance import PREFIX, Writer

JOBS = 900
WORKLOAD = b"w" * 10_000


@pytest.fixture(autouse=True)
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't write eight megabytes for each test."""
    monkeypatch.setattr("gearstore.store.sqlite.LOG_SIZE", 64 << 10)


@pytest.fixture
async def store(tmp_path: Path) -> SqliteStore:
    """A store with some megabytes of jobs."""
    store = SqliteStore(str(tmp_path / "gearstore.db"))
    await store.open(PREFIX, 5, 1000)
    write = Writer()
    for id in range(1, JOBS + 1):
        write.new(id, workload=WORKLOAD)
    write.changes.next_id = 1000
    await write.to(store)
    return store


def quiet(done: int, total: int) -> None:
    """Report nothing."""


def names(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()}


async def test_a_server_starts_on_it(store: SqliteStore, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    made = back_up(str(store.path), target, False, quiet)
    await store.close()
    assert (made.jobs, made.size) == (JOBS, target.stat().st_size)
    assert target.stat().st_mode & 0o777 == MODE
    restored = SqliteStore(str(target))
    recovered = await restored.open(PREFIX, 5, 1000)
    assert restored.warning == ""
    assert recovered.next_id == 1000 + SPARE_NUMBERS
    found = await restored.find(Filter(), False, None, 1000)
    assert [record.id for record in found] == list(range(1, JOBS + 1))
    assert {record.workload for record in found} == {WORKLOAD}
    await restored.close()


async def test_it_is_one_moment_whatever_is_written_meanwhile(store: SqliteStore, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    reports: list[tuple[int, int]] = []
    with closing(sqlite3.connect(str(store.path), isolation_level=None)) as other:

        def write(done: int, total: int) -> None:
            reports.append((done, total))
            other.execute("UPDATE jobs SET run_at = run_at + 1")
            other.execute("DELETE FROM jobs WHERE id = ?", (len(reports),))

        back_up(str(store.path), target, False, write)
    await store.close()
    assert len(reports) > 2
    assert reports == sorted(reports)  # never begun anew
    assert reports[-1][0] == reports[-1][1]
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("SELECT count(*), max(run_at) FROM jobs").fetchone() == (JOBS, 0)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, RuntimeError])
async def test_what_ends_early_leaves_nothing(store: SqliteStore, tmp_path: Path, end: type[BaseException]) -> None:
    before = names(tmp_path)

    def give_up(done: int, total: int) -> None:
        raise end

    with pytest.raises(end):
        back_up(str(store.path), tmp_path / "backup.db", False, give_up)
    assert names(tmp_path) == before
    await store.close()


async def test_it_ends_with_the_server(store: SqliteStore, tmp_path: Path) -> None:
    before = names(tmp_path)
    lock, store._lock = store._lock, None

    def end(done: int, total: int) -> None:
        assert done < total
        assert lock is not None
        lock.release()

    with pytest.raises(StoreUnusable, match="the server has ended while"):
        back_up(str(store.path), tmp_path / "backup.db", False, end)
    assert names(tmp_path) == before
    await store.close()


async def test_a_failed_one_leaves_the_old_one(store: SqliteStore, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    target.write_bytes(b"the old one")

    def give_up(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(StoreError, match="is there already"):
        back_up(str(store.path), target, False, quiet)
    with pytest.raises(KeyboardInterrupt):
        back_up(str(store.path), target, True, give_up)
    assert target.read_bytes() == b"the old one"
    back_up(str(store.path), target, True, quiet)
    assert target.read_bytes().startswith(b"SQLite format 3")
    await store.close()


async def test_names_that_are_refused(store: SqliteStore, tmp_path: Path) -> None:
    path = Path(str(store.path))
    log = tmp_path / "with-log.db"
    Path(f"{log}-wal").write_bytes(b"")
    link = tmp_path / "link.db"
    link.symlink_to(path)
    for target, sentence in (
        (tmp_path, "is a directory"),
        (path, "the database itself"),
        (link, "the database itself"),
        (log, "taken for the log"),
        (tmp_path / "none" / "backup.db", "cannot write"),
    ):
        with pytest.raises(StoreError, match=sentence):
            back_up(str(path), target, True, quiet)
    await store.close()


async def test_a_damaged_database(store: SqliteStore, tmp_path: Path) -> None:
    await store.close()
    path = Path(str(store.path))
    before = names(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreUnusable, match="damaged"):
        back_up(str(path), tmp_path / "backup.db", False, quiet)
    assert names(tmp_path) == before
