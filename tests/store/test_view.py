"""Databases looked at without their server: nothing is written, and nothing that changed meanwhile is believed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gearstore.errors import StoreBusy, StoreError, StoreUnusable
from gearstore.store.base import Changes, Filter
from gearstore.store.files import Lock, View, owner_of
from gearstore.store.sqlite import SqliteStore
from gearstore.store.view import ViewStore, snapshot
from tests.store.conformance import PREFIX, Writer

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't write eight megabytes for each test."""
    monkeypatch.setattr("gearstore.store.sqlite.LOG_SIZE", 64 << 10)


@pytest.fixture
async def store(tmp_path: Path) -> SqliteStore:
    """A store with a job in the file and one in its log."""
    store = SqliteStore(str(tmp_path / "live" / "gearstore.db"))
    await store.open(PREFIX, 5, 1000)
    write = Writer()
    await write.new(1, workload=b"in the file").to(store)
    store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await write.new(2, workload=b"in the log").to(store)
    return store


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


@pytest.fixture
def read_only() -> Iterator[list[Path]]:
    """Directories that nobody may write to, until the test ends."""
    directories: list[Path] = []
    yield directories
    for directory in directories:
        directory.chmod(0o755)


def left_by_kill(store: SqliteStore, directory: Path, *suffixes: str) -> Path:
    """Return a copy of the files as a kill leaves them."""
    directory.mkdir()
    for suffix in ("", *suffixes):
        shutil.copy(f"{store.path}{suffix}", directory / f"gearstore.db{suffix}")
    return directory / "gearstore.db"


async def workloads(path: Path) -> list[bytes]:
    view = ViewStore(str(path))
    await view.open(b"", 0, 16)
    found = [record.workload for record in await view.find(Filter(), False, None, 10)]
    await view.close()
    return found


@pytest.mark.parametrize("suffixes", [("-wal", "-shm"), ("-wal",)])
async def test_after_a_kill_the_log_is_read_and_nothing_is_touched(
    store: SqliteStore, tmp_path: Path, suffixes: tuple[str, ...], read_only: list[Path]
) -> None:
    path = left_by_kill(store, tmp_path / "killed", *suffixes)
    await store.close()
    before = contents(path.parent)
    path.parent.chmod(0o555)
    read_only.append(path.parent)
    assert await workloads(path) == [b"in the file", b"in the log"]
    assert contents(path.parent) == before


async def test_after_an_orderly_end_no_file_is_made(store: SqliteStore, read_only: list[Path]) -> None:
    await store.close()
    path = Path(str(store.path))
    before = contents(path.parent)
    path.parent.chmod(0o555)
    read_only.append(path.parent)
    assert await workloads(path) == [b"in the file", b"in the log"]
    assert contents(path.parent) == before


async def test_beside_a_server(store: SqliteStore) -> None:
    path = Path(str(store.path))
    assert owner_of(str(path)) == f"process {os.getpid()}"
    with snapshot(str(path)) as (connection, view):
        assert view.owner
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (2,)
        await Writer().new(3, function=9).to(store)
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (2,)
    assert len(await workloads(path)) == 3
    await store.close()
    assert owner_of(str(path)) == ""


async def test_a_look_at_the_owner_keeps_no_server_out(store: SqliteStore) -> None:
    await store.close()
    path = str(store.path)
    assert owner_of(path) == ""
    lock = Lock(path)
    with pytest.raises(StoreBusy, match=f"process {os.getpid()}"):
        Lock(path)
    lock.release()


async def test_what_a_server_changed_meanwhile_is_not_believed(store: SqliteStore, tmp_path: Path) -> None:
    path = left_by_kill(store, tmp_path / "killed", "-wal")
    await store.close()
    view = ViewStore(str(path))
    await view.open(b"", 0, 16)
    started = SqliteStore(str(path))
    await started.open(PREFIX, 5, 1000)
    with pytest.raises(StoreUnusable, match="changed while it was read"):
        await view.close()
    await started.close()


async def test_a_snapshot_of_a_file_that_changes_is_not_believed(store: SqliteStore) -> None:
    await store.close()
    with pytest.raises(StoreUnusable, match="changed while it was read"):
        with snapshot(str(store.path)) as (connection, _):
            assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (2,)
            with closing(sqlite3.connect(str(store.path))) as other:
                other.execute("UPDATE meta SET value = 7 WHERE name = 'next_id'")
                other.commit()


async def test_a_look_ends_with_the_server(store: SqliteStore) -> None:
    """Its next start must not wait for a look, however long that would take."""
    assert store._lock is not None
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(StoreUnusable, match="the server has ended while"):
        with snapshot(str(store.path)) as (connection, _):
            store._lock.release()
            connection.execute(endless).fetchone()
    store._lock = None
    await store.close()


async def test_a_start_waits_for_a_look_to_end(store: SqliteStore, tmp_path: Path) -> None:
    path = left_by_kill(store, tmp_path / "killed", "-wal")
    await store.close()
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM jobs").fetchone()
    end = threading.Timer(0.3, reader.close)
    end.start()
    started = SqliteStore(str(path))
    await started.open(PREFIX, 5, 1000)
    assert not end.is_alive()
    await started.close()


async def test_nothing_can_be_written(store: SqliteStore, tmp_path: Path) -> None:
    path = left_by_kill(store, tmp_path / "killed", "-wal")
    await store.close()
    view = ViewStore(str(path))
    with pytest.raises(StoreError, match="only read"):
        await view.apply(Changes())
    with pytest.raises(StoreError):
        await view._rows("DELETE FROM jobs", ())
    await view.close()


async def test_other_files(store: SqliteStore, tmp_path: Path) -> None:
    await store.close()
    path = str(store.path)
    with pytest.raises(StoreUnusable, match="is not there"):
        View(str(tmp_path / "none"))
    (tmp_path / "text").write_text("no database" * 20)
    with pytest.raises(StoreUnusable, match="not a gearstore database"):
        View(str(tmp_path / "text"))
    for version, sentence in ((0, "older gearstore"), (9999, "newer gearstore")):
        with closing(sqlite3.connect(path)) as other:
            other.execute(f"PRAGMA user_version = {version}")
        with pytest.raises(StoreUnusable, match=sentence):
            with snapshot(path):
                pass
