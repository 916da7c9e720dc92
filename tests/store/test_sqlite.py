"""The store on SQLite: the common suite, and what only a file can go through: other programs, damage, a full disk."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gearstore.errors import StoreBusy, StoreError, StoreFull, StoreUnusable
from gearstore.queue.job import DONE, FAILED, NORMAL, QUEUED
from gearstore.store.backup import back_up
from gearstore.store.base import Changes, Filter, Store
from gearstore.store.pace import COMMIT_WORK, LEAST_WORK
from gearstore.store.sqlite import SqliteStore
from tests.store.conformance import FUNCTION, PREFIX, StoreTests, Writer, claim, everything

Opener = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gearstore.db"


@pytest.fixture(autouse=True)
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't write eight megabytes for each test."""
    monkeypatch.setattr("gearstore.store.sqlite.LOG_SIZE", 64 << 10)
    monkeypatch.setattr("gearstore.store.reserve.SIZE", 64 << 10)


def killed(store: Store, path: Path) -> Path:
    """Return a copy of the files as a kill at this moment would leave them."""
    assert store.path is not None
    path.parent.mkdir(exist_ok=True, parents=True)
    for suffix in ("", "-wal"):
        shutil.copy(f"{store.path}{suffix}", f"{path}{suffix}")
    return path


class TestSqliteStore(StoreTests):
    @pytest.fixture
    def make(self, path: Path) -> Callable[[], Store]:
        return lambda: SqliteStore(str(path))

    @pytest.fixture
    def crash(self, tmp_path: Path) -> Callable[[Store], Store]:
        crashes = iter(range(100))
        return lambda store: SqliteStore(str(killed(store, tmp_path / f"{next(crashes)}" / "killed.db")))

    @pytest.fixture
    def fail(self) -> Callable[[Store, Writer], Any]:
        async def fail(store: Store, write: Writer) -> None:
            write.new(1)  # its number is taken: the last statement but one fails
            with pytest.raises(StoreError):
                await write.to(store)

        return fail


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(path))
    await store.open(PREFIX, 5, 1000)
    yield store
    await store.close()


async def opening(path: Path, **later: Any) -> SqliteStore:
    """Return a store that is open on this path."""
    store = SqliteStore(str(path), **later)
    await store.open(PREFIX, 5, 1000)
    return store


async def refused(path: Path, kind: type[StoreError] = StoreUnusable) -> str:
    """Return why the path can't be opened."""
    store = SqliteStore(str(path))
    with pytest.raises(StoreError) as refusal:
        await store.open(PREFIX, 5, 1000)
    assert type(refusal.value) is kind
    assert str(path) in str(refusal.value)
    return str(refusal.value)


async def fill(path: Path, number: int = 3) -> None:
    """Make a database with some jobs, closed in order."""
    store, write = await opening(path), Writer()
    for id in range(1, number + 1):
        write.new(id, unique=b"unique %d" % id, workload=b"workload number %d" % id)
    await write.to(store)
    await store.close()


# An orderly end


async def test_an_orderly_end_leaves_no_log(path: Path) -> None:
    await fill(path)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "gearstore.db", "gearstore.db.lock", "gearstore.db.reserve",
    ]  # fmt: skip
    store = await opening(path)
    assert await claim(store) == [1, 2, 3]
    assert store.warning == ""
    await store.close()


async def test_close_waits_for_a_connection_that_nobody_wants_any_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at an end just after the start: a thread that outlives its loop fails, or keeps the process alive."""
    store = await opening(path)
    gate, connect = threading.Event(), sqlite3.connect

    def connect_late(*args: Any, **options: Any) -> sqlite3.Connection:
        assert gate.wait(10)
        return connect(*args, **options)

    monkeypatch.setattr(sqlite3, "connect", connect_late)
    threads = threading.active_count()
    reading = asyncio.create_task(store.find(Filter(), False, None, 1))
    while threading.active_count() == threads:
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    asyncio.get_running_loop().call_later(0.3, gate.set)
    await store.close()
    assert gate.is_set()


async def test_a_directory_is_made(tmp_path: Path) -> None:
    store = await opening(tmp_path / "a" / "b" / "c.db")
    await store.close()
    assert (tmp_path / "a" / "b" / "c.db").exists()


async def test_a_relative_path_stays_where_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    store = SqliteStore(path.name)
    monkeypatch.chdir("/")
    await store.open(PREFIX, 5, 1000)
    await Writer().new(1).to(store)
    assert (store.path, await claim(store)) == (str(path), [1])
    await store.close()


@pytest.mark.parametrize("name", ["with space.db", "a?mode=memory.db", "100%41.db", "#1.db", "é.db"])
async def test_paths_with_odd_characters(tmp_path: Path, name: str) -> None:
    store = await opening(tmp_path / name)
    await Writer().new(1).to(store)
    assert await claim(store) == [1]
    await store.close()
    assert (tmp_path / name).exists()


async def test_close_waits_for_what_is_under_way(path: Path) -> None:
    store, write = await opening(path), Writer()
    commit = asyncio.ensure_future(write.new(1).to(store))
    await asyncio.sleep(0)
    await store.close()
    await commit
    store = await opening(path)
    assert await claim(store) == [1]
    await store.close()


async def test_a_first_read_that_is_cancelled_leaves_no_thread(path: Path) -> None:
    """Its connection's thread would keep the server from ending."""
    store = await opening(path)
    before = set(threading.enumerate())
    reading = asyncio.create_task(store.claim(1, NORMAL, 0, 10))
    while not (opened := set(threading.enumerate()) - before):
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await store.close()
    for thread in opened:
        thread.join(5)
        assert not thread.is_alive(), thread


async def test_a_listing_does_not_delay_a_commit(store: SqliteStore) -> None:
    """It reads what was there when it began, on a connection of its own."""
    write = Writer()
    for id in range(1, 2000):
        write.new(id, workload=b"x" * 500)
    await write.to(store)
    listing = asyncio.ensure_future(store.find(Filter(), False, None, 5000))
    await asyncio.sleep(0)
    await write.new(5000).to(store)
    assert len(await listing) in (1999, 2000)
    assert len(await everything(store)) == 2000


# How it is written


async def test_settings_of_the_file(store: SqliteStore) -> None:
    await Writer().new(1).to(store)
    with closing(sqlite3.connect(f"file:{store.path}?mode=ro", uri=True)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("PRAGMA application_id").fetchone() == (0x67737472,)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert other.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


@pytest.mark.parametrize(("interval_ms", "synchronous"), [(0, 2), (50, 1)])
async def test_settings_of_the_writer(path: Path, interval_ms: int, synchronous: int) -> None:
    store = await opening(path, interval_ms=interval_ms)
    for pragma, value in (("journal_mode", "wal"), ("synchronous", synchronous), ("trusted_schema", 0),
                          ("cell_size_check", 1)):  # fmt: skip
        assert store._writer.execute(f"PRAGMA {pragma}").fetchone() == (value,)
    await Writer().new(1).to(store)
    assert await claim(store) == [1]
    await store.close()


async def one_by_one(store: SqliteStore, write: Writer, ids: range, size: int = 1000) -> None:
    """Write batches of one new job each."""
    for id in ids:
        await write.new(id, workload=b"x" * size).to(store)


async def test_the_log_is_checkpointed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearstore.store.pace.LEAST_WORK", 20)
    monkeypatch.setattr("gearstore.store.pace.CHECKPOINT_PAGES", 20)
    store = await opening(path)
    await one_by_one(store, Writer(), range(1, 300))
    assert Path(f"{path}-wal").stat().st_size < 60 * 8192  # each batch writes three pages and more
    await store.close()


async def test_no_commit_checkpoints(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite keeps quiet about a sync that fails there."""
    monkeypatch.setattr("gearstore.store.pace.LEAST_WORK", 1_000_000)
    monkeypatch.setattr("gearstore.store.pace.MOST_GROWTH", 1 << 30)
    store = await opening(path)
    written = path.stat().st_mtime_ns
    await one_by_one(store, Writer(), range(1, 500))
    assert path.stat().st_mtime_ns == written
    _, pages, _ = store._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert pages > 1000
    assert path.stat().st_mtime_ns > written
    await store.close()


async def test_the_file_of_a_log_that_grows_is_enough_for_a_checkpoint(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was estimated."""
    monkeypatch.setattr("gearstore.store.pace.LEAST_WORK", 1_000_000)
    monkeypatch.setattr("gearstore.store.pace.MOST_GROWTH", 20 * 8192)
    store = await opening(path)
    await one_by_one(store, Writer(), range(1, 300))
    assert Path(f"{path}-wal").stat().st_size < 60 * 8192
    await store.close()


@pytest.mark.parametrize("fast", [True, False])
async def test_commits_on_the_loop_and_in_the_thread(path: Path, monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    """Whatever the disk of this machine is like."""
    monkeypatch.setattr("gearstore.store.pace.FAST", 60.0 if fast else 0.0)
    store = await opening(path)
    write = Writer()
    await one_by_one(store, write, range(1, 51))
    threads: set[int] = set()
    store._writer.set_trace_callback(lambda sql: threads.add(threading.get_ident()) if sql == "COMMIT" else None)
    await one_by_one(store, write, range(51, 101))
    assert len(threads) == 1 and (threading.get_ident() in threads) == fast
    threads.clear()
    await one_by_one(store, write, range(101, 102), size=1 << 20)
    assert len(threads) == 1 and threading.get_ident() not in threads
    assert len(await claim(store)) == 101
    await store.close()


async def test_a_checkpoint_that_fails_is_not_kept_quiet(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was acknowledged stands in the log, which can be written; the next batch tells."""
    monkeypatch.setattr("gearstore.store.pace.LEAST_WORK", 1)
    monkeypatch.setattr("gearstore.store.pace.CHECKPOINT_PAGES", 1)
    store = await opening(path)
    write = Writer()
    await one_by_one(store, write, range(1, 6))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 8192, before[1]))
    try:
        await one_by_one(store, write, range(6, 7), path.stat().st_size // 2)
        with pytest.raises(StoreError, match="the server stops, what was acknowledged is stored"):
            await one_by_one(store, write, range(7, 8))
        await store.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    store = await opening(path)
    assert await claim(store) == [1, 2, 3, 4, 5, 6]
    await store.close()


@pytest.mark.parametrize("pragma", ["journal_mode", "synchronous"])
async def test_a_setting_that_does_not_hold_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, pragma: str
) -> None:
    """As on a file system without shared memory, where SQLite stays in another journal mode and says nothing."""

    class Deaf(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            return super().execute("SELECT 1" if sql.startswith(f"PRAGMA {pragma} =") else sql, *args)

    connect = sqlite3.connect
    with closing(connect(path)) as other:
        other.execute(f"PRAGMA application_id = {0x67737472}")
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **named: connect(*args, factory=Deaf, **named))
    if pragma == "synchronous":  # (2 is the default)
        with pytest.raises(StoreUnusable, match="synchronous"):
            await SqliteStore(str(path), interval_ms=50).open(PREFIX, 5, 1000)
    else:
        assert "journal_mode" in await refused(path)


async def test_a_file_that_another_program_keeps_locked(path: Path) -> None:
    await fill(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in await refused(path, StoreFull)
    store = await opening(path)
    assert await claim(store) == [1, 2, 3]
    await store.close()


# Whose file it is


async def test_a_second_server_is_told_the_pid_of_the_first(store: SqliteStore, path: Path) -> None:
    assert f"is in use by process {os.getpid()}: stop" in await refused(path, StoreBusy)
    await Writer().new(1).to(store)
    assert await claim(store) == [1]


async def test_after_the_first_server_has_ended_the_file_is_free(path: Path) -> None:
    for _ in range(3):
        await fill(path, 0)


async def test_the_lock_of_a_killed_server_does_not_remain(path: Path) -> None:
    program = f"""
        import asyncio, os, signal
        from gearstore.store.sqlite import SqliteStore
        async def main():
            await SqliteStore({str(path)!r}).open(b"H:test:", 5, 1000)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=120, check=False)
    assert ended.returncode == -9
    store = await opening(path)
    assert store.warning == ""
    await store.close()


@pytest.mark.parametrize("content", [b"x", b"hello\n" * 100, b"\0" * 4096, b"SQLite format 2\0" + b"\0" * 100])
async def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "not a gearstore database" in await refused(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("open_elsewhere", [True, False])
@pytest.mark.parametrize("wal", [True, False])
@pytest.mark.parametrize(("user_version", "application_id"), [(0, 0), (1, 0), (0, 7), (1, 7)])
async def test_the_database_of_another_program_is_left_alone(
    path: Path, open_elsewhere: bool, wal: bool, user_version: int, application_id: int
) -> None:
    with closing(sqlite3.connect(path)) as other:
        if wal:
            other.execute("PRAGMA journal_mode = WAL")
        other.execute(f"PRAGMA user_version = {user_version}")
        other.execute(f"PRAGMA application_id = {application_id}")
        other.execute("CREATE TABLE theirs (value)")
        other.execute("INSERT INTO theirs VALUES (1)")
        other.commit()
        if open_elsewhere:
            assert "another program" in await refused(path)
    if not open_elsewhere:
        before = path.read_bytes()
        assert "another program" in await refused(path)
        assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
        assert other.execute("PRAGMA application_id").fetchone() == (application_id,)


async def test_a_database_of_a_newer_gearstore(path: Path) -> None:
    await fill(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 9999")
    assert "newer gearstore" in await refused(path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM jobs").fetchone() == (3,)


async def test_a_directory_in_its_place(path: Path) -> None:
    path.mkdir()
    assert "is a directory" in await refused(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(StoreUnusable, match="cannot write"):
        await SqliteStore(str(closed / "gearstore.db")).open(PREFIX, 5, 1000)


async def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnusable, match="cannot write"):
        await SqliteStore(str(tmp_path / "file" / "gearstore.db")).open(PREFIX, 5, 1000)


@pytest.mark.parametrize("repeat", range(3))
async def test_after_a_refusal_a_good_file_can_be_opened(path: Path, repeat: int) -> None:
    path.write_bytes(b"no database")
    await refused(path)
    path.unlink()
    store = await opening(path)
    await store.close()


# Damage


async def test_an_emptied_file(path: Path) -> None:
    """For SQLite it would be a new database."""
    await fill(path)
    path.write_bytes(b"")
    assert "is empty" in await refused(path)


@pytest.mark.parametrize("size", [1, 50, 99, 100, 5000, 9000])
async def test_a_truncated_file(path: Path, size: int) -> None:
    await fill(path)
    path.write_bytes(path.read_bytes()[:size])
    await refused(path)


async def test_a_missing_file_beside_its_log(store: SqliteStore, tmp_path: Path) -> None:
    copy = killed(store, tmp_path / "copy" / "killed.db")
    copy.unlink()
    assert "is missing but its log" in await refused(copy)


@pytest.mark.parametrize("position", [0, 1, 3])
async def test_a_log_with_a_damaged_header(store: SqliteStore, tmp_path: Path, position: int) -> None:
    """SQLite would ignore it, and what was acknowledged with it."""
    await Writer().new(1).to(store)
    copy = killed(store, tmp_path / "copy" / "killed.db")
    log = Path(f"{copy}-wal")
    content = bytearray(log.read_bytes())
    content[position] ^= 0xFF
    log.write_bytes(content)
    assert "is damaged" in (await refused(copy)).replace(f"{copy}-wal", str(copy))


@pytest.mark.parametrize(("content", "good"), [(bytes(32), True), (bytes(4 << 20), True), (bytes(9000) + b"x", False)])
async def test_a_log_of_zeros(path: Path, content: bytes, good: bool) -> None:
    """A power cut leaves one where the log had got its length and not yet its header, which is synced by itself."""
    await fill(path)
    Path(f"{path}-wal").write_bytes(content)
    if not good:
        assert "is damaged" in (await refused(path)).replace(f"{path}-wal", str(path))
        return
    store = await opening(path)
    assert await claim(store) == [1, 2, 3]
    await store.close()


async def test_a_log_that_is_gone_with_all_that_was_written(store: SqliteStore, tmp_path: Path) -> None:
    await Writer().new(1).to(store)
    copy = killed(store, tmp_path / "copy" / "killed.db")
    Path(f"{copy}-wal").unlink()
    other = await opening(copy)
    assert "is gone" in other.warning
    await other.close()


@pytest.mark.parametrize("kind", ["missing", "empty"])
async def test_a_log_that_is_gone_after_a_crash(store: SqliteStore, tmp_path: Path, kind: str) -> None:
    await Writer().new(1).to(store)
    store._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = killed(store, tmp_path / "copy" / "killed.db")
    log = Path(f"{copy}-wal")
    if kind == "missing":
        log.unlink()
    else:
        log.write_bytes(b"")
    other = await opening(copy)
    if kind == "missing":
        assert "is gone" in other.warning
    assert await claim(other) == [1]
    await other.close()


async def test_an_altered_payload_is_never_handed_out_as_intact(path: Path) -> None:
    await fill(path)
    content = path.read_bytes()
    assert content.count(b"workload number 2") == 1
    path.write_bytes(content.replace(b"workload number 2", b"workload number 7"))
    store = await opening(path)
    records = await store.claim(FUNCTION, NORMAL, 0, 10)
    assert [(record.id, record.intact) for record in records] == [(1, True), (2, False), (3, True)]
    assert [record.intact for record in (await everything(store)).values()] == [True, False, True]
    await store.close()


async def test_an_altered_unique_is_noticed(path: Path) -> None:
    await fill(path)
    path.write_bytes(path.read_bytes().replace(b"unique 2", b"unique 7"))
    store = await opening(path)
    assert [record.intact for record in await store.claim(FUNCTION, NORMAL, 0, 10)] == [True, False, True]
    await store.close()


async def test_a_damaged_page_is_refused_at_the_start(path: Path) -> None:
    await fill(path, 500)
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 8192):
        content[page * 8192 : page * 8192 + 8] = b"\xff" * 8
    path.write_bytes(content)
    assert "damaged" in await refused(path)


async def test_the_log_of_a_killed_server_beside_a_backup(store: SqliteStore, tmp_path: Path) -> None:
    """SQLite would take it for the backup's own and mix the two."""
    write = Writer()
    await write.new(1).new(2).to(store)
    back_up(str(store.path), tmp_path / "backup.db", False, lambda done, total: None)
    store._writer.execute("PRAGMA wal_checkpoint(RESTART)")
    await write.new(3).done(1).to(store)
    copy = killed(store, tmp_path / "copy" / "killed.db")
    log = Path(f"{copy}-wal")
    shutil.copy(tmp_path / "backup.db", copy)
    contents = [copy.read_bytes(), log.read_bytes()]
    assert f"{log} does not belong to {copy}" in await refused(copy)
    assert [copy.read_bytes(), log.read_bytes()] == contents
    log.rename(tmp_path / "away")
    other = await opening(copy)
    assert await claim(other) == [1, 2]
    await other.close()


async def test_a_log_that_makes_no_sense_with_its_file(path: Path, tmp_path: Path) -> None:
    """A file of the same server, copied while it ran, and a later log: what they give together is looked at first."""
    store, write = await opening(path), Writer()
    await write.new(1).to(store)
    early = tmp_path / "early"
    shutil.copy(path, early)
    for id in range(2, 80):
        await write.new(id, workload=b"x" * 10_000).to(store)
        if id % 10 == 0:
            store._writer.execute("PRAGMA wal_checkpoint(RESTART)")
    copy = killed(store, tmp_path / "copy" / "killed.db")
    shutil.copy(early, copy)
    contents = [copy.read_bytes(), Path(f"{copy}-wal").read_bytes()]
    assert "damaged" in await refused(copy)
    assert [copy.read_bytes(), Path(f"{copy}-wal").read_bytes()] == contents
    await store.close()


async def test_a_log_that_was_removed_and_came_back(path: Path, tmp_path: Path) -> None:
    """As after a power cut right after an orderly end, or in the middle of a start."""
    store = await opening(path)
    await Writer().new(1).to(store)
    store._writer.execute("UPDATE meta SET value = 1 WHERE name = 'clean'")
    copy = killed(store, tmp_path / "copy" / "killed.db")
    await store.close()
    shutil.copy(path, copy)
    other = await opening(copy)
    assert await claim(other) == [1]
    assert other.warning == ""
    await other.close()


# A crash while the file was made


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10, 20, 28, 32, 40])
async def test_a_crash_while_the_file_is_made(path: Path, tmp_path: Path, steps: int) -> None:
    """Killed after so many statements of the first start; the next start makes it whole."""
    program = f"""
        import asyncio, os, sqlite3
        connect = sqlite3.connect
        left = {steps * 2}
        class Connection(sqlite3.Connection):
            def execute(self, *args):
                global left
                left -= 1
                if left < 0:
                    os._exit(0)
                return super().execute(*args)
        sqlite3.connect = lambda *args, **named: connect(*args, factory=Connection, **named)
        from gearstore.store.sqlite import SqliteStore
        asyncio.run(SqliteStore({str(path)!r}).open(b"H:test:", 5, 1000))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=120, check=False)
    assert not path.exists() or path.stat().st_size > 8192  # whole, or not there
    store = await opening(path)
    await Writer().new(1).to(store)
    assert await claim(store) == [1]
    await store.close()
    assert sorted(os.listdir(path.parent)) == [
        "gearstore.db", "gearstore.db.lock", "gearstore.db.reserve",
    ]  # fmt: skip


# Space


async def test_a_full_disk_refuses_the_batch_and_nothing_else(store: SqliteStore) -> None:
    write = Writer()
    await write.new(1, workload=b"kept").to(store)
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    (before,) = store._writer.execute("PRAGMA max_page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(3):
        full = Writer()
        full.functions.add(FUNCTION)
        with pytest.raises(StoreFull, match="disk is full"):
            await full.new(2, workload=b"x" * 1_000_000).new(3).to(store)
        assert await claim(store) == [1]
    await write.done(1).to(store)  # what needs no new page still works
    store._writer.execute(f"PRAGMA max_page_count = {before}")
    await write.new(4, workload=b"x" * 1_000_000).to(store)
    assert {id: record.state for id, record in (await everything(store)).items()} == {1: DONE, 4: QUEUED}


async def test_a_disk_that_is_full(path: Path) -> None:
    """A real one: a small file system in a namespace of its own."""
    program = f"""
        import asyncio, os
        from gearstore.errors import StoreError, StoreFull
        from gearstore.store import sqlite
        from gearstore.store.base import Changes, checksum
        sqlite.LOG_SIZE = 65536
        folder = {str(path.parent)!r}
        def job(id, size):
            return (id, 1, 1, id, b"", None, b"x" * size, checksum(b"", b"", b"x" * size), 0, b"")
        async def main():
            store = sqlite.SqliteStore({str(path)!r})
            await store.open(b"H:test:", 5, 1000)
            await store.apply(Changes(functions=[(1, b"f")], new=[job(1, 10)], counts={{(1, 0, 1): 1}}))
            with open(folder + "/ballast", "wb", 0) as ballast:
                free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
                ballast.write(bytes(free - 500_000))
            failures = []
            for id in (2, 3):
                try:
                    await store.apply(Changes(new=[job(id, 1 << 20)], counts={{(1, 0, 1): 1}}))
                except StoreFull:
                    failures.append("full")
                except StoreError as error:
                    failures.append(repr(error))
            os.unlink(folder + "/ballast")
            await store.apply(Changes(new=[job(4, 1 << 20)], counts={{(1, 0, 1): 1}}))
            await store.close()
            store = sqlite.SqliteStore({str(path)!r})
            recovered = await store.open(b"H:test:", 5, 1000)
            print(failures, [record.id for record in await store.claim(1, 1, 0, 10)], recovered.counts)
            await store.close()
        asyncio.run(main())
    """
    inside = f'mount -t tmpfs -o size=8m tmpfs "{path.parent}" || exit 77; exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", inside, "sh", sys.executable, "-c", textwrap.dedent(program)]
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    ended = subprocess.run(command, timeout=60, check=False, capture_output=True, text=True)
    if ended.returncode in (1, 77) and "Traceback" not in ended.stderr:
        pytest.skip(f"no namespace to mount in: {ended.stderr.strip()}")
    assert (ended.stdout, ended.stderr) == ("['full', 'full'] [1, 4] [(1, 0, 1, 2, 0)]\n", "")


# Other programs on the file


@pytest.fixture
def other(store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """Return another program's connection."""
    with closing(sqlite3.connect(str(store.path), isolation_level=None, timeout=5)) as connection:
        yield connection


async def test_a_writer_elsewhere_is_waited_for(store: SqliteStore, other: sqlite3.Connection) -> None:
    other.execute("BEGIN IMMEDIATE")
    commit = asyncio.ensure_future(Writer().new(1).to(store))
    beats = 0
    for _ in range(5):
        await asyncio.sleep(0.01)
        beats += 1
    assert not commit.done() and beats == 5  # the loop goes on
    other.execute("ROLLBACK")
    await commit
    assert await claim(store) == [1]


async def test_a_writer_elsewhere_that_does_not_end(
    store: SqliteStore, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearstore.store.sqlite.BUSY_TIMEOUT_MS", 50)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(StoreFull, match="locked"):
            await Writer().new(1).to(store)
    other.execute("ROLLBACK")
    await Writer().new(2).to(store)
    assert await claim(store) == [2]


async def test_a_reader_elsewhere_disturbs_nobody(store: SqliteStore, other: sqlite3.Connection) -> None:
    write = Writer()
    await write.new(1).to(store)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    for id in range(2, 300):
        await write.new(id, workload=b"x" * 10_000).to(store)
    assert len(await claim(store)) == 299
    assert other.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


async def test_a_log_that_grew_beside_a_reader_shrinks_again(store: SqliteStore, other: sqlite3.Connection) -> None:
    write, log = Writer(), Path(f"{store.path}-wal")
    await write.new(1).to(store)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM jobs").fetchone()
    for id in range(2, 1200):
        await write.new(id, workload=b"x" * 10_000).to(store)
    assert log.stat().st_size > 10 << 20
    other.execute("ROLLBACK")
    for id in range(1200, 1200 + 2 * LEAST_WORK // COMMIT_WORK):  # until the next checkpoint, and then one more
        await write.new(id, workload=b"x" * 10_000).to(store)
    assert log.stat().st_size < 4 << 20


async def test_a_start_beside_a_reader(path: Path) -> None:
    await fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM jobs").fetchone()
        store = await opening(path)
        await Writer().new(10, function=7).to(store)
        await store.close()


async def test_what_is_not_ours_to_recover_from(store: SqliteStore, other: sqlite3.Connection) -> None:
    other.execute("DROP TABLE jobs")
    with pytest.raises(StoreError) as failure:
        await Writer().new(1).to(store)
    assert not isinstance(failure.value, StoreFull)
    assert str(store.path) in str(failure.value)


# Failures in the middle


async def test_every_statement_of_a_batch_may_fail(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails, nothing of the batch is there, and the next batch works."""
    store, kept = await opening(path), Writer()
    await kept.new(1).to(store)

    def batch() -> Changes:
        write = Writer()
        write.jobs, write.functions = {1: dict(kept.jobs[1])}, {FUNCTION}
        write.new(2, function=9).new(3, state=FAILED).done(1)
        write.changes.next_id = 50
        return write.changes

    class Failing:
        """The writer's connection, whose n-th statement fails."""

        def __init__(self, connection: sqlite3.Connection, after: int) -> None:
            self.connection, self.left = connection, after

        def __getattr__(self, name: str) -> Any:
            return getattr(self.connection, name)

        def execute(self, sql: str, *args: Any) -> Any:
            return self.step(self.connection.execute, sql, *args)

        def executemany(self, sql: str, *args: Any) -> Any:
            return self.step(self.connection.executemany, sql, *args)

        def step(self, work: Callable[..., Any], sql: str, *args: Any) -> Any:
            self.left -= sql != "ROLLBACK"
            if self.left < 0 and sql != "ROLLBACK":
                raise sqlite3.DatabaseError("injected")
            return work(sql, *args)

    real = store._writer
    failed = 0
    for after in range(1, 20):
        store._writer = Failing(real, after)  # type: ignore[assignment]
        try:
            await store.apply(batch())
        except StoreError:
            failed += 1
            assert not real.in_transaction
            assert {id: record.state for id, record in (await everything(store)).items()} == {1: QUEUED}
        else:
            break
        finally:
            store._writer = real
    assert failed >= 5
    assert {id: record.state for id, record in (await everything(store)).items()} == {1: DONE, 2: QUEUED, 3: FAILED}
    await store.close()


# Synced by a timer


async def test_interval(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fdatasync = os.fdatasync

    def count(fd: int) -> None:
        synced.append(fd)
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", count)
    store, write = await opening(path, interval_ms=10), Writer()
    await asyncio.sleep(0.05)
    assert synced == []  # nothing to sync
    for id in range(1, 4):
        await write.new(id).to(store)
        async with asyncio.timeout(5):
            while len(synced) < id:
                await asyncio.sleep(0.002)
    await store.close()
    store = await opening(path)
    assert await claim(store) == [1, 2, 3]
    await store.close()


async def test_space_that_became_free_is_given_back_in_small_pieces(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearstore.store.sqlite.SPARE_PAGES", 10)
    store, write = await opening(path), Writer()
    for id in range(1, 201):
        write.new(id, workload=os.urandom(100_000)).done(id)
    await write.to(store)
    assert not await store.shrink()
    write.changes.pruned = list(range(1, 181))
    await write.to(store)
    pieces = 1
    while await store.shrink():
        pieces += 1
    assert pieces > 10
    left = await everything(store)
    await store.close()
    assert path.stat().st_size < 4 << 20
    store = await opening(path)
    assert await everything(store) == left
    assert len(left) == 20
    await store.close()


async def test_shrinking_waits_for_another_program_that_writes(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearstore.store.sqlite.SPARE_PAGES", 0)
    write = Writer()
    for id in range(1, 51):
        write.new(id, workload=os.urandom(100_000)).done(id)
    await write.to(store)
    write.changes.pruned = list(range(1, 51))
    await write.to(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFull, match="locked"):
            await store.shrink()
        other.execute("ROLLBACK")
    assert await store.shrink()
    await write.new(51).to(store)
    assert list(await everything(store)) == [51]
