"""Numbered SQL files, applied once, each in one transaction with its record."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gearstore.store import migrations
from gearstore.store.migrations import available, migrate, statements
from gearstore.store.reader import FAILURES


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def version(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def tables(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]


def offer(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    monkeypatch.setattr(migrations, "available", lambda dialect: list(enumerate(texts, 1)))


def test_files_are_numbered_without_gaps() -> None:
    assert [number for number, _ in available("sqlite")] == list(range(1, len(available("sqlite")) + 1))


def test_file_names() -> None:
    folder = Path(migrations.__file__).parent / "sql" / "sqlite"
    for file in folder.iterdir():
        number, underscore, name = file.name[:4], file.name[4], file.name[5:]
        assert number.isdigit() and underscore == "_" and name.endswith(".sql")


def test_an_empty_database_gets_everything(connection: sqlite3.Connection) -> None:
    assert migrate(connection) == [number for number, _ in available("sqlite")]
    assert tables(connection) == [
        "causes", "counts", "events", "functions", "imported", "jobs", "meta", "prefixes", "uniques", "uniques_log",
    ]  # fmt: skip
    assert version(connection) == available("sqlite")[-1][0]


def test_twice_is_once(connection: sqlite3.Connection) -> None:
    migrate(connection)
    before = connection.execute("SELECT sql FROM sqlite_master").fetchall()
    assert migrate(connection) == []
    assert connection.execute("SELECT sql FROM sqlite_master").fetchall() == before


def test_the_bytes_of_jobs_that_are_there_already_are_counted(connection: sqlite3.Connection) -> None:
    first, *rest = available("sqlite")
    with pytest.MonkeyPatch.context() as patch:
        offer(patch, first[1])
        migrate(connection)
    connection.execute("INSERT INTO functions (id, name) VALUES (1, x'66')")
    for id, (state, result) in enumerate([(0, b""), (0, b""), (1, b"result")], 1):
        connection.execute(
            'INSERT INTO jobs (id, function_id, priority, position, state, "unique", workload, checksum, created_at, '
            "result) VALUES (?, 1, 1, ?, ?, x'', x'303132', 0, 0, ?)",
            (id, id, state, result),
        )
    connection.execute("INSERT INTO counts (function_id, state, priority, jobs) VALUES (1, 0, 1, 2), (1, 1, 1, 1)")
    assert migrate(connection) == [number for number, _ in rest]
    counts = connection.execute("SELECT state, jobs, bytes FROM counts ORDER BY state").fetchall()
    assert counts == [(0, 2, 6), (1, 1, 9)]


def test_tables_are_strict_and_names_are_unique(connection: sqlite3.Connection) -> None:
    migrate(connection)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO functions (id, name) VALUES (1, 'text where a blob belongs')")
    connection.execute("INSERT INTO functions (id, name) VALUES (1, x'00')")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO functions (id, name) VALUES (2, x'00')")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT * FROM jobs WHERE state = 0 AND function_id = 1 AND priority = 1 AND position > 5 ORDER BY position",
         "jobs_queued"),
        ("SELECT * FROM jobs WHERE state = 2 AND (run_at, id) > (1, 2) ORDER BY run_at, id", "jobs_delayed"),
        ("SELECT id FROM jobs WHERE state = 3", "jobs_running"),
        ("SELECT * FROM jobs WHERE state IN (5) AND state > 3 ORDER BY id DESC", "jobs_set_aside"),
        ("SELECT * FROM jobs WHERE cause IN (7) AND cause <> 0 AND id > 5 ORDER BY id", "jobs_cause"),
        ("SELECT * FROM events WHERE job_id IN (5) ORDER BY id", "events_job"),
        ("SELECT hash, job_id FROM uniques WHERE hash IN ((1), (2))", "SEARCH uniques USING PRIMARY KEY (hash=?)"),
    ],
)  # fmt: skip
def test_hot_queries_use_their_index_and_sort_nothing(connection: sqlite3.Connection, query: str, index: str) -> None:
    migrate(connection)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query} LIMIT 10")]
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_failures_are_counted_without_their_rows(connection: sqlite3.Connection) -> None:
    migrate(connection)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {FAILURES.format(among='')}")]
    assert any("COVERING INDEX jobs_cause" in step for step in plan), plan


def test_only_what_is_missing_is_applied(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "CREATE TABLE a (x);")
    assert migrate(connection) == [1]
    connection.execute("INSERT INTO a VALUES (5)")
    offer(
        monkeypatch, "CREATE TABLE a (x);", "CREATE TABLE b (x);\nINSERT INTO b SELECT x FROM a;", "CREATE TABLE c (x);"
    )
    assert migrate(connection) == [2, 3]
    assert (tables(connection), version(connection)) == (["a", "b", "c"], 3)
    assert connection.execute("SELECT x FROM b").fetchall() == [(5,)]


def test_a_migration_that_fails_leaves_nothing_behind(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, "CREATE TABLE a (x);", "CREATE TABLE b (x);\nINSERT INTO nowhere VALUES (1);")
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection)
        assert (tables(connection), version(connection), connection.in_transaction) == (["a"], 1, False)
    offer(monkeypatch, "CREATE TABLE a (x);", "CREATE TABLE b (x);")
    assert migrate(connection) == [2]


def test_statements() -> None:
    text = """-- A comment; with a semicolon.
CREATE TABLE a (x);  -- another; one

CREATE TRIGGER t AFTER INSERT ON a BEGIN
    INSERT INTO b VALUES (';');
    DELETE FROM b;
END;
INSERT INTO a VALUES ('two
lines; here');
"""
    found = statements(text)
    assert len(found) == 3
    assert "".join(found) == text
    assert found[1].strip().startswith("CREATE TRIGGER") and "END;" in found[1]


def test_a_statement_without_its_end_is_not_forgotten() -> None:
    for _, text in available("sqlite"):
        assert "".join(statements(text)).strip() == text.strip()
    assert statements("CREATE TABLE a (x);\n\n-- The end\n  -- of it") == ["CREATE TABLE a (x);\n"]
    with pytest.raises(ValueError, match="semicolon"):
        statements("CREATE TABLE a (x);\nCREATE TABLE b (x)")
