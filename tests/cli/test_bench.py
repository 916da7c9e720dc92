"""`gearstore bench`: what it prints, that it leaves nothing behind, and how it says what was the limit."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearstore_cli.measuring import COLUMNS, LIMITS, limit_of, portions, sentence
from tests.acceptance.servers import clean_environment, eventually
from tests.cli.conftest import COMMAND, run_here

IDLE = {
    "step": "submit",
    "connections": 64,
    "server": 0.1,
    "waited": 0.1,
    "disk": 0.1,
    "load": 0.1,
    "jobs_per_commit": 9.0,
}
QUICK = ("bench", "--seconds", "0.1")


def test_it_measures_four_steps_and_leaves_nothing(tmp_path: Path) -> None:
    result = run_here([*QUICK, "--json", "--dir", str(tmp_path)], b"", {})
    assert result.code == 0, result
    *rows, last = map(json.loads, result.lines)
    assert [(row["step"], row["connections"]) for row in rows] == [
        ("submit", 1), ("submit", 8), ("submit", 64), ("drain", 64),
    ]  # fmt: skip
    for row in rows:
        assert row["jobs_per_second"] > 0 and 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["limit"] in LIMITS
    assert rows[0]["jobs_per_commit"] == pytest.approx(1, abs=0.3) and rows[2]["jobs_per_commit"] > 2
    assert (last["directory"], last["sync_p50_ms"] > 0) == (str(tmp_path), True)
    assert last["sentence"].startswith("With 64 clients ")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def running(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A bench that has just begun to load its server."""
    process = subprocess.Popen(
        [*COMMAND, "bench", "--seconds", "30", "--dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    yield process
    process.kill()
    process.communicate()


def children(pid: int) -> dict[int, str]:
    """Return the command lines of a process's children."""
    pids = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in pids}


def child(pid: int, word: str) -> int:
    """Return the child whose command line holds a word, 0 if there is none (yet)."""
    return next((pid for pid, command in children(pid).items() if word in command), 0)


def test_ctrl_c_ends_everything(running: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    load = eventually(lambda: child(running.pid, "gearstore_cli.load"), what=lambda: "a load")
    server = child(running.pid, "serve")
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 130
    assert not list(tmp_path.iterdir())
    for pid in (load, server):  # one that was just being started is ended by the kernel, a moment later
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists(), what=lambda: "the end of a process")


def test_a_server_that_dies_is_told(running: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    eventually(lambda: child(running.pid, "gearstore_cli.load"), what=lambda: "a load")
    os.kill(child(running.pid, "serve"), signal.SIGKILL)
    _, errors = running.communicate(timeout=30)
    assert running.returncode in (1, 3) and errors.startswith(b"gearstore: ")
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    result = run_here([*QUICK, "--dir", str(tmp_path / "missing")], b"", {})
    assert (result.code, result.errors) == (2, f"gearstore: {tmp_path}/missing: No such file or directory\n")


def test_without_a_directory_it_is_that_of_the_database(tmp_path: Path) -> None:
    result = run_here([*QUICK], b"", {"GEARSTORE_DB": str(tmp_path / "missing" / "gearstore.db")})
    said = f"{tmp_path}/missing, where the database would be, can't be written to: name a directory with --dir"
    assert (result.code, result.errors) == (2, f"gearstore: {said}\n")


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ({"disk": 0.9}, "disk"),
        ({"server": 0.95}, "processor"),
        ({"server": 0.5, "disk": 0.4}, "processor"),
        ({"waited": 0.6, "server": 0.3}, "others"),
        ({"load": 0.95, "server": 0.6}, "this command"),
        ({"load": 0.9, "server": 0.95}, "processor"),  # both: but a faster load would not help
        ({}, "waking"),
    ],
)
def test_what_was_the_limit(row: dict[str, float], limit: str) -> None:
    found = limit_of({**IDLE, **row})
    assert found == limit
    assert "{" not in LIMITS[found].format(**IDLE)


def test_the_sentence_is_about_many_clients_and_one() -> None:
    many = {**IDLE, "server": 0.93, "limit": "processor"}
    one = {**IDLE, "connections": 1, "disk": 0.61, "jobs_per_commit": 1.0, "limit": "disk"}
    assert sentence([one, many, {**many, "step": "drain"}]) == (
        "With 64 clients the server's one thread is the limit, busy 93% of the time: a faster disk changes little; "
        "with one, the disk is the limit, busy with commits 61% of the time, 1.0 jobs in each."
    )
    assert sentence([{**one, "limit": "processor"}, many]).endswith("; with one, it is the same.")


def test_the_load_is_spread_over_processes_and_none_is_lost() -> None:
    for connections in (1, 2, 8, 64):
        assert sum(portions(connections)) == connections
        assert min(portions(connections)) >= 1


def test_the_columns_are_those_of_the_rows() -> None:
    keys = {"step", "connections", "jobs_per_second", "p50_ms", "p99_ms", "commits_per_second", "jobs_per_commit",
            "disk", "server", "load", "limit"}  # fmt: skip
    assert {column.key for column in COLUMNS} == keys
