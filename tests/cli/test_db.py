"""Reading verbs with --db: on a server that runs, on one that was killed, on what is no database."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.servers import Server
from tests.cli.conftest import Cli, Worker, run_here

GRABBED, QUEUED, DELAYED = "grabbed", "queued", "delayed"


@pytest.fixture
def killed(tmp_path: Path, worker: Callable[[Cli, str], Worker]) -> Path:
    """The database of a server that was killed while a job ran."""
    server = Server(tmp_path, "gearstore")
    cli = Cli(server, tmp_path)
    cli("submit", "f", GRABBED)
    worker(cli, "f").grab()
    cli("submit", "f", QUEUED, "--priority", "high", "--unique", "u")
    cli("submit", "g", DELAYED, "--in", "1h")
    assert len(cli.printed("jobs", "--state", "running")) == 1
    server.kill9()
    return server.db


def test_jobs_of_a_killed_server(killed: Path) -> None:
    before = {file.name: file.read_bytes() for file in killed.parent.iterdir()}
    result = run_here(["jobs", "--db", str(killed), "--json", "--oldest"])
    assert (result.code, result.errors) == (0, "")
    jobs = [json.loads(line) for line in result.lines]
    assert [(job["preview"], job["state"]) for job in jobs] == [
        (GRABBED, "running"), (QUEUED, "queued"), (DELAYED, "delayed"),
    ]  # fmt: skip
    assert run_here(["jobs", "--db", str(killed), "--state", "done"]).code == 1
    shown = run_here(["show", "--db", str(killed), "--payload", jobs[1]["handle"]])
    assert shown.bytes == QUEUED.encode()
    assert {file.name: file.read_bytes() for file in killed.parent.iterdir()} == before


def test_status_of_a_killed_server(killed: Path) -> None:
    assert run_here(["status", "--db", str(killed)]).output == "f\t2\t1\t0\ng\t1\t0\t0\n.\n"
    rows = [json.loads(line) for line in run_here(["status", "--db", str(killed), "--json"]).lines]
    assert [(row["queued"], row["running"], row["delayed"]) for row in rows] == [(1, 1, 0), (0, 0, 1)]
    assert rows[0]["oldest_at"]


def test_failures_and_a_backup(gearstore: Cli, function: str, tmp_path: Path) -> None:
    line = json.dumps({"handle": "H:x:1", "function": function, "state": "failed", "reason": "fail", "error": "at 7"})
    gearstore("import", "-", given=line.encode())
    gearstore("backup", str(tmp_path / "backup.db"))
    result = run_here(["failures", "--db", str(tmp_path / "backup.db"), "--function", function, "--json"])
    (cause,) = [json.loads(each) for each in result.lines]
    assert (cause["text"], cause["jobs"]) == ("at #", 1)
    found = run_here(["jobs", "--db", str(tmp_path / "backup.db"), "--cause", cause["cause"]])
    assert [each.split("\t")[1:3] for each in found.lines] == [[function, "failed"]]


def test_the_file_of_a_server_that_runs(gearstore: Cli, function: str) -> None:
    (handle,) = gearstore.printed("submit", function, "w")
    result = gearstore("jobs", "--db", str(gearstore.server.db), "--function", function)
    assert result.code == 0
    assert result.output.startswith(f"{handle}\t{function}\tqueued")
    assert f"in use by process {gearstore.server.pid}" in result.errors


@pytest.mark.parametrize("command", [["jobs"], ["status"], ["show", "H:x:000000000001"]])
def test_what_is_no_database(command: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    for content, code, sentence in (
        (None, 2, "No such file"),
        (b"x" * 200, 4, "not a gearstore"),
        (b"", 4, "is empty"),
    ):
        if content is not None:
            other.write_bytes(content)
        result = run_here([*command, "--db", str(other)])
        assert (result.code, result.output) == (code, "")
        assert sentence in result.errors
        assert len(result.errors.splitlines()) == 1
    assert run_here([*command, "--db", str(tmp_path)]).code == 4


def test_a_file_cannot_be_watched(tmp_path: Path) -> None:
    assert run_here(["status", "--watch", "--db", str(tmp_path)]).code == 2
