"""Every rule of the check finds the fault that breaks it, and none of them finds anything in sound databases."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gearstore.queue.job import CANCELLED, DELAYED, FAILED, HELD, QUEUED, RUNNING
from gearstore.store.base import checksum
from gearstore.store.check import FINDINGS, JOB_RULES, QUERIES, Finding, check
from gearstore.store.sqlite import SqliteStore
from gearstore.store.view import snapshot
from tests.store.conformance import PREFIX, Writer

# What breaks each rule, and the job that it is about (0: none).
FAULTS = {
    "checksum": ("UPDATE jobs SET workload = x'00' WHERE id = 1", 1),
    "function": ("UPDATE jobs SET function_id = 99 WHERE id = 1", 1),
    "state": ("UPDATE jobs SET state = 7 WHERE id = 1", 1),
    "priority": ("UPDATE jobs SET priority = 3 WHERE id = 1", 1),
    "number": ("UPDATE jobs SET id = 5000 WHERE id = 1", 5000),
    "position": ("UPDATE jobs SET position = 5000 WHERE id = 1", 1),
    "time": ("UPDATE jobs SET ended_at = 1000000000000 WHERE id = 4", 4),
    "counter": ("UPDATE jobs SET attempts = -1 WHERE id = 1", 1),
    "result": ("UPDATE jobs SET result = x'00', result_size = 9 WHERE id = 1", 1),
    "hash": ("UPDATE jobs SET unique_hash = unique_hash + 1 WHERE id = 3", 3),
    "unhashed": ("UPDATE jobs SET unique_hash = NULL WHERE id = 3", 3),
    "copy": ("UPDATE jobs SET replay_of = 5 WHERE id = 4", 4),
    "original": ("UPDATE jobs SET replayed_as = 3 WHERE id = 4", 4),
    "cause": ("UPDATE jobs SET cause = 77 WHERE id = 4", 4),
    "place": ("UPDATE jobs SET position = 1 WHERE id = 2", 2),
    "unique": ("UPDATE jobs SET \"unique\" = x'75', checksum = ? WHERE id = 2", 3),
    "entry": ("DELETE FROM uniques_log", 3),
    "log": ("INSERT INTO uniques_log (entries) VALUES (zeroblob(17))", 0),
    "counts": ("UPDATE counts SET jobs = jobs + 1 WHERE state = 0", 0),
    "event": (
        "INSERT INTO events (job_id, at, kind, started_at, worker, detail, next_at) "
        "VALUES (99, 1, x'', 0, x'', x'', 0)",
        99,
    ),
    "steering": ("UPDATE functions SET paused_until = 5", 0),
    "import": ("INSERT INTO imported (key, job_id, origin) VALUES (1, 5000, x'')", 0),
    "counted function": ("INSERT INTO counts (function_id, state, priority, jobs) VALUES (99, 0, 0, 1)", 0),
    "function name": ("UPDATE functions SET name = zeroblob(513)", 0),
    "meta": ("DELETE FROM meta WHERE name = 'clean'", 0),
    "prefix": ("UPDATE prefixes SET first_id = 1", 0),
}


@pytest.fixture(autouse=True)
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't write eight megabytes for each test."""
    monkeypatch.setattr("gearstore.store.sqlite.LOG_SIZE", 64 << 10)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with a job in each state."""
    path = tmp_path / "gearstore.db"
    store = SqliteStore(str(path))
    await store.open(PREFIX, 5, 1000)
    write = Writer()
    write.new(1, workload=b"one").new(2, workload=b"two")
    write.new(3, state=DELAYED, unique=b"u", spilled=True, run_at=2_000_000_000_000)
    write.new(4, state=FAILED, ended_at=1_700_000_000_001).new(5, state=HELD)
    write.new(6, state=CANCELLED, ended_at=1_700_000_000_001).new(7, state=RUNNING)
    write.changes.next_id = 1000
    await write.to(store)
    await store.close()
    return path


def findings(path: Path) -> list[Finding]:
    with snapshot(str(path)) as (connection, _):
        return list(check(connection, lambda what: None))


def test_there_is_a_fault_for_every_rule() -> None:
    assert set(FAULTS) == {*JOB_RULES, *QUERIES}


def test_a_sound_database(path: Path) -> None:
    assert findings(path) == []


@pytest.mark.parametrize("rule", FAULTS)
def test_a_rule_finds_its_fault(path: Path, rule: str) -> None:
    sql, id = FAULTS[rule]
    with closing(sqlite3.connect(path)) as other:
        other.execute(sql, (checksum(b"u", b"", b"two"),) if "?" in sql else ())
        other.commit()
    found = [finding for finding in findings(path) if finding.rule == rule]
    assert [finding.handle for finding in found] == [PREFIX + b"%012d" % id if id else b""]
    assert "{" not in found[0].sentence


def test_many_faults_are_counted(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.executemany(
            "INSERT INTO jobs (id, function_id, priority, position, workload, checksum, created_at) "
            "VALUES (?, 1, 1, ?, x'00', 0, 1)", [(id, id) for id in range(100, 100 + FINDINGS + 5)],
        )  # fmt: skip
        other.commit()
    found = [finding for finding in findings(path) if finding.rule == "checksum"]
    assert len(found) == FINDINGS + 1
    assert found[-1].sentence == "and 5 more like these"


def test_damaged_pages(path: Path) -> None:
    """What SQLite can't read is said, and the rest is looked at all the same."""
    with closing(sqlite3.connect(path)) as other:
        (root,) = other.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs'").fetchone()
        (size,) = other.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xff" * size, (root - 1) * size)
    found = findings(path)
    assert {"integrity", "jobs"} <= {finding.rule for finding in found}
    assert any("to the end" in finding.sentence for finding in found)


async def test_beside_a_server_that_writes(path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open(PREFIX, 5, 1000)
    assert findings(path) == []
    await store.close()


def test_all_counts_are_missing(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM counts")
        other.commit()
    found = findings(path)
    assert {finding.rule for finding in found} == {"counts"}
    assert f"state {QUEUED:d}, priority 1: 0 jobs of 0 bytes are counted, 2 of 6 bytes are there" in found[0].sentence


def test_bytes_are_counted(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE counts SET bytes = bytes + 1 WHERE state = 0")
        other.commit()
    assert [finding.rule for finding in findings(path)] == ["counts"]
