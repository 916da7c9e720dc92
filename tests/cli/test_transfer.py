"""`gearstore export` and `gearstore import`: between servers, from gearmand, interrupted, twice, and what is no job."""

import json
import os
import shlex
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gearstore.protocol.packets import WORK_COMPLETE, WORK_FAIL
from tests.acceptance.servers import Server, clean_environment, eventually
from tests.cli.conftest import COMMAND, Cli, Worker, run_here

BYTES = bytes(range(256))
KEPT = ("function", "unique", "workload", "priority", "state", "attempts", "created_at", "run_at", "started_at",
        "ended_at", "reason", "error", "result", "result_size", "reducer", "worker", "background", "cause", "client",
        "events")  # fmt: skip


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Cli]:
    """The command against a second, empty server."""
    (tmp_path / "other").mkdir()
    server = Server(tmp_path / "other", "gearstore", ["--job-handle-prefix", "H:other"])
    yield Cli(server, tmp_path)
    server.process.kill()


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    """A queue as gearmand makes it, with what its versions and its faults leave in it."""
    path = tmp_path / "queue.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE gearman_queue ( unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB, "
            "when_to_run INTEGER, PRIMARY KEY (unique_key, function_name))"
        )
        db.executemany("INSERT INTO gearman_queue VALUES (?, ?, ?, ?, ?)", [
            ("u1", "f", 1, BYTES, 0),
            ("u2", "f", 0, None, 0),
            ("u3", "f", 2, "text", None),
            ("u4", "f", None, b"w", 4_000_000_000),
            ("", "f", 9, b"w", 0),
            ("cut\0off", "f", 1, b"w", 0),
        ])  # fmt: skip
        db.executemany("INSERT INTO gearman_queue VALUES (?, ?, ?, ?, ?)", [
            ("bad1", None, 1, b"w", 0), ("bad2", "f", 1, 7, 0), ("u" * 65, "f", 1, b"w", 0),
            ("bad3", "f" * 513, 1, b"w", 0),
        ])  # fmt: skip
        db.commit()
    return path


def exported(cli: Cli, *arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in cli("export", *arguments).lines]


def kept(jobs: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{key: job[key] for key in KEPT} for job in jobs]


def with_history(cli: Cli, function: str, worker: Callable[[Cli, str], Worker]) -> list[dict[str, object]]:
    """Make a job in each state and return what is exported of them."""
    (cli.directory / "bytes").write_bytes(BYTES)
    peer = worker(cli, function)
    for kind, result in ((WORK_COMPLETE, (BYTES,)), (WORK_FAIL, ())):
        cli("submit", function, "--file", str(cli.directory / "bytes"))
        handle = peer.grab()[0]
        peer.report(kind, handle, *result)
    cli("submit", function, "cancelled")
    cli("cancel", "--function", function, "--state", "queued", "--yes")
    cli("submit", function, "queued", "--priority", "high", "--unique", function)
    cli("submit", function, "delayed", "--in", "1h")
    return exported(cli, "--function", function)


def test_from_one_server_to_another_and_again(
    gearstore: Cli, other: Cli, function: str, worker: Callable[[Cli, str], Worker], tmp_path: Path
) -> None:
    there = with_history(gearstore, function, worker)
    assert [job["state"] for job in there] == ["done", "failed", "cancelled", "queued", "delayed"]
    lines = gearstore("export", "--function", function).bytes
    result = other("import", "-", "--json", given=lines)
    assert (result.code, json.loads(result.output)) == (
        0, {"imported": 5, "joined": 0, "known": 0, "refused": 0, "rejects": None},
    )  # fmt: skip
    here = exported(other)
    assert kept(here) == kept(there)
    assert all(str(job["handle"]).startswith("H:other:") for job in here)
    shown = other("show", str(here[0]["handle"])).output
    assert f"imported    from {there[0]['handle']}\n" in shown
    again = other("import", "-", "--json", given=lines)
    assert (again.code, json.loads(again.output)["known"]) == (0, 5)
    assert len(exported(other)) == 5
    assert other("check").code == 0


def test_what_ended_since_is_known(other: Cli, worker: Callable[[Cli, str], Worker]) -> None:
    line = json.dumps({"handle": "H:x:1", "function": "f"}).encode()
    other("import", "-", given=line)
    peer = worker(other, "f")
    peer.report(WORK_COMPLETE, peer.grab()[0], b"")
    other.server.kill9()
    other.server.restart()
    assert json.loads(other("import", "-", "--json", given=line).output)["known"] == 1
    assert other.server.status().get("f", (0, 0, 0))[0] == 0


def test_into_the_server_it_came_from(gearstore: Cli, function: str) -> None:
    gearstore("submit", function, "w", "--count", "3")
    lines = gearstore("export", "--function", function).bytes
    assert json.loads(gearstore("import", "-", "--json", given=lines).output)["known"] == 3
    assert len(exported(gearstore, "--function", function)) == 3


def test_what_ran_there_waits_here(
    gearstore: Cli, other: Cli, function: str, worker: Callable[[Cli, str], Worker]
) -> None:
    gearstore("submit", function, "w")
    worker(gearstore, function).grab()
    other("import", "-", given=gearstore("export", "--function", function).bytes)
    (job,) = exported(other)
    assert (job["state"], job["interruptions"], job["reason"]) == ("queued", 1, "interrupted")


def test_a_unique_that_waits_here_already(gearstore: Cli, function: str) -> None:
    (handle,) = gearstore.printed("submit", function, "w", "--unique", "u")
    line = json.dumps({"handle": "H:x:2", "function": function, "unique": "u"}).encode()
    assert json.loads(gearstore("import", "-", "--json", given=line).output)["joined"] == 1
    assert [job["handle"] for job in exported(gearstore, "--function", function)] == [handle]


def test_a_large_job(gearstore: Cli, other: Cli, function: str, tmp_path: Path) -> None:
    """Larger than a line of the protocol may be."""
    workload = os.urandom(1_000_000)
    (tmp_path / "workload").write_bytes(workload)
    gearstore("submit", function, "--file", str(tmp_path / "workload"))
    (handle,) = gearstore.printed("submit", function, ' "\\\x01' * 20_000)
    lines = gearstore("export", "--function", function).bytes
    assert other("import", "-", given=lines).code == 0
    (first, second) = exported(other)
    assert other("show", "--payload", str(first["handle"])).bytes == workload
    assert other("show", "--payload", str(second["handle"])).bytes == gearstore("show", "--payload", handle).bytes


def test_lines_that_are_no_jobs(gearstore: Cli, tmp_path: Path, function: str) -> None:
    lines = [
        "no JSON", "[]", '{"unique": "u"}', json.dumps({"function": function, "workload": "no base64"}),
        json.dumps({"function": function, "state": "gone"}), json.dumps({"function": function, "attempts": -1}),
        json.dumps({"function": function, "unique": "u" * 65}), json.dumps({"function": function, "intact": False}),
        json.dumps({"function": function}), "",
    ]  # fmt: skip
    rejects = tmp_path / "rejects"
    result = gearstore("import", "-", "--rejects", str(rejects), given="\n".join(lines).encode())
    assert result.code == 4
    assert "1 job imported, 8 set aside" in result.errors
    aside = {row["line"]: row["reason"] for row in map(json.loads, rejects.read_text().splitlines())}
    assert set(aside) == {1, 2, 3, 4, 5, 6, 7, 8}
    assert "not JSON" in aside[1]
    assert "not base64" in aside[4]
    assert "altered" in aside[8]


def test_a_queue_of_gearmand(other: Cli, queue: Path, tmp_path: Path) -> None:
    before = queue.read_bytes()
    trial = other("import", str(queue), "--dry-run", "--json")
    assert json.loads(trial.output)["imported"] == 6
    assert exported(other) == []
    rejects = tmp_path / "rejects"
    result = other("import", str(queue), "--rejects", str(rejects))
    assert result.code == 1
    assert "6 jobs imported, 4 set aside" in result.errors
    jobs = exported(other)
    assert [(job["unique"], job["priority"], job["size"]) for job in jobs] == [
        ("u1", "normal", 256), ("u2", "high", 0), ("u3", "low", 4), ("u4", "normal", 1), ("", "normal", 1),
        ("cut", "normal", 1),
    ]  # fmt: skip
    assert [job["run_at"] for job in jobs if job["state"] == "delayed"] == [4_000_000_000_000]
    assert [json.loads(line)["reason"] for line in rejects.read_text().splitlines()] == [
        "its function is not a text", "its workload is a number", "its unique is longer than 64 bytes",
        "its function is longer than 512 bytes",
    ]  # fmt: skip
    again = other("import", str(queue), "--rejects", str(rejects))
    assert "0 jobs imported, 6 known before" in again.errors
    assert queue.read_bytes() == before


def test_an_old_table_of_another_name(other: Cli, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute('CREATE TABLE "a b" (unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB)')
        db.execute("INSERT INTO \"a b\" VALUES ('u', 'f', 1, x'00')")
        db.commit()
    wrong = other("import", str(path))
    assert (wrong.code, "there are: a b" in wrong.errors) == (4, True)
    assert other("import", str(path), "--table", "a b").code == 0
    assert len(exported(other)) == 1


def test_a_queue_that_gearmand_made_and_left(gearmand: Cli, other: Cli, tmp_path: Path) -> None:
    """The real thing, killed; while it runs it is refused."""
    (tmp_path / "gearmand").mkdir()
    db = tmp_path / "gearmand" / "queue.db"
    server = Server(tmp_path / "gearmand", "gearmand", ["-q", "libsqlite3", "--libsqlite3-db", str(db)])
    there = Cli(server, tmp_path)
    there("submit", "f", "w", "--unique", "1")
    there("submit", "f", "", "--unique", "2", "--priority", "low")
    there("submit", "f", "w", "--unique", "3", "--in", "1h")
    refused = other("import", str(db))
    assert (refused.code, "is open in gearmand" in refused.errors) == (4, True)
    server.kill9()
    assert other("import", str(db)).code == 0
    assert [(job["unique"], job["priority"], job["state"]) for job in exported(other)] == [
        ("1", "normal", "queued"), ("2", "low", "queued"), ("3", "normal", "delayed"),
    ]  # fmt: skip


def test_a_crash_that_left_a_journal(other: Cli, queue: Path) -> None:
    """What was half done is undone, in a copy."""
    with closing(sqlite3.connect(queue, isolation_level=None)) as db:
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO gearman_queue VALUES (?, 'f', 1, ?, 0)", [(f"lost{n}", b"w" * 4000) for n in range(200)]
        )
        crashed = queue.parent / "crashed.db"
        crashed.write_bytes(queue.read_bytes())
        Path(f"{crashed}-journal").write_bytes(Path(f"{queue}-journal").read_bytes())
        db.execute("ROLLBACK")
    before = crashed.read_bytes()
    other("import", str(crashed), "--rejects", str(queue.parent / "rejects"))
    assert len(exported(other)) == 6
    assert crashed.read_bytes() == before


def test_killed_in_the_middle_and_run_again(other: Cli, tmp_path: Path) -> None:
    """Neither the end of the command nor that of the server loses a job or doubles one."""
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps({"handle": f"H:x:{n}", "function": "f"}) + "\n" for n in range(20_000)))
    running = other.spawn("import", str(path))
    eventually(lambda: other("jobs", "--limit", "1").code == 0, what="the first jobs that are stored")
    running.process.kill()
    running.process.wait(60)
    other.server.kill9()
    other.server.restart()
    result = other("import", str(path), "--json")
    counts = json.loads(result.output)
    assert counts["imported"] + counts["known"] == 20_000
    assert counts["known"] > 0
    assert other.server.status()["f"][0] == 20_000
    assert other("check").code == 0


def test_two_at_a_time(other: Cli, tmp_path: Path) -> None:
    """Both bring the same jobs; each job comes in once."""
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps({"handle": f"H:x:{n}", "function": "f"}) + "\n" for n in range(5_000)))
    both = [other.spawn("import", str(path), "--json") for _ in range(2)]
    assert [each.wait(60) for each in both] == [0, 0]
    counts = [json.loads(each.output) for each in both]
    assert sum(count["imported"] for count in counts) == 5_000
    assert sum(count["known"] for count in counts) == 5_000
    assert other.server.status()["f"][0] == 5_000


def test_ctrl_c(other: Cli, tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(json.dumps({"handle": f"H:x:{n}", "function": "f"}) + "\n" for n in range(50_000)))
    result = other.on_terminal("import", str(path), typed="\x03", when="import")
    assert result.code == 130
    assert "stopped; what was imported is stored" in result.output
    assert "Traceback" not in result.output


def test_a_reader_that_has_enough(gearstore: Cli, function: str) -> None:
    gearstore("submit", function, "w" * 1000, "--count", "500")
    command = f"{shlex.join(COMMAND)} export --function {function} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, timeout=120,
        env=clean_environment() | gearstore.environment,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, b"")
    assert json.loads(done.stdout)["function"] == function


def test_sources_that_are_none(gearstore: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for name, code, sentence in (
        (str(tmp_path / "none"), 2, "No such file"),
        (str(tmp_path), 2, "directory"),
        (str(tmp_path / "empty"), 1, "no job to import"),
        (str(gearstore.server.db), 4, "gearstore's own"),
    ):
        result = gearstore("import", name, "--force")
        assert (result.code, sentence in result.errors) == (code, True), result


def test_the_usual_places(gearstore: Cli, queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearstore.store.gearmand.PLACES", (str(queue.parent / "none"),))
    config = queue.parent / "config"
    monkeypatch.setattr("gearstore.store.gearmand.CONFIGS", (str(config),))
    assert gearstore("import", "--dry-run").code == 2
    config.write_text(f'PARAMS="-q libsqlite3 --libsqlite3-db={queue}"')
    result = gearstore("import", "--dry-run")
    assert f"found {queue}" in result.errors


def test_export_of_a_file_and_of_nothing(gearstore: Cli, function: str, tmp_path: Path) -> None:
    gearstore("submit", function, "w")
    gearstore("backup", str(tmp_path / "backup.db"))
    assert run_here(["export", "--db", str(tmp_path / "backup.db"), "--function", function]).lines
    assert gearstore("export", "--function", "none").code == 1
