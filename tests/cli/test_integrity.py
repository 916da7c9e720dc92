"""`gearstore check`: beside a server, after its death, on backups, and with faults planted."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.acceptance.servers import Server
from tests.cli.conftest import Cli, run_here


def test_beside_a_server(gearstore: Cli, function: str, tmp_path: Path) -> None:
    gearstore("submit", function, "w", "--count", "100", "--unique", "u")
    gearstore("submit", function, "w", "--count", "100")
    result = gearstore("check")
    assert (result.code, result.output) == (0, ""), result
    assert "is sound: 101 jobs" in result.errors
    gearstore("backup", str(tmp_path / "backup.db"))
    assert gearstore("check", "--db", str(tmp_path / "backup.db")).code == 0


def test_after_a_kill_with_faults(tmp_path: Path) -> None:
    server = Server(tmp_path, "gearstore")
    (handle, *_) = Cli(server, tmp_path).printed("submit", "f", "w", "--count", "10")
    server.kill9()
    db = str(server.db)
    assert run_here(["check", "--db", db]).code == 0
    with closing(sqlite3.connect(db)) as other:
        other.execute("UPDATE jobs SET workload = x'00' WHERE id = 1")
        other.execute("DELETE FROM jobs WHERE id = 2")
        other.commit()
    result = run_here(["check", "--db", db])
    assert result.code == 1
    assert [line.split("\t")[:2] for line in result.lines] == [["checksum", handle], ["counts", "-"]]
    assert "has faults, see the 2 lines above" in result.errors
    rows = [json.loads(line) for line in run_here(["check", "--db", db, "--json"]).lines]
    assert [(row["rule"], row["handle"]) for row in rows] == [("checksum", handle), ("counts", None)]


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"x" * 200)
    assert run_here(["check", "--db", str(tmp_path / "other")]).code == 4
    assert run_here(["check", "--db", str(tmp_path / "none")]).code == 2
    assert run_here(["check", "--server", "127.0.0.1:1"]).code == 3


def test_on_a_terminal(gearstore: Cli) -> None:
    result = gearstore.on_terminal("check")
    assert result.code == 0
    assert "checking" in result.output
    assert "is sound" in result.output
