"""Numbered SQL files, each applied once, in one transaction with its record (`PRAGMA user_version`).

Files are named `NNNN_what.sql` and never edited after a release. A database with a higher number than the newest file
was written by a newer gearstore.
"""

from __future__ import annotations

import sqlite3
from importlib import resources


def available(dialect: str) -> list[tuple[int, str]]:
    """Return number and SQL text of every migration, in order."""
    folder = resources.files("gearstore.store").joinpath("sql", dialect)
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [(int(file.name[:4]), file.read_text(encoding="utf-8")) for file in files]


def statements(text: str) -> list[str]:
    """Return the statements of an SQL text. (`executescript` would commit the transaction that they belong to.)"""
    found, current = [], ""
    for line in text.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    if any(line and not line.startswith("--") for line in map(str.strip, current.splitlines())):
        raise ValueError(f"a statement without its semicolon: {current.strip()}")
    return found


def migrate(connection: sqlite3.Connection, *along: str) -> list[int]:
    """Bring the database up to date and return the numbers applied. The connection commits by itself; each transaction
    also holds the statements of `along`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    applied = []
    for number, text in available("sqlite"):
        if number <= version:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements(text):
                connection.execute(statement)
            for statement in along:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        applied.append(number)
    return applied
