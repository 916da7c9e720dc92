"""`gearstore selftest`: on sound disks, and on those that lose something between two lives of the server."""

import json
import os
import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gearstore_cli.client import Connection
from gearstore_cli.errors import Unreachable
from gearstore_cli.private_server import NotStarted, PrivateServer
from gearstore_cli.trial import Trial, Verdict
from tests.acceptance.servers import Server, eventually
from tests.cli.conftest import INTERRUPT, Cli

pytestmark = pytest.mark.slow  # each start of a server takes half a second


@pytest.fixture
def small(gearstore: Cli, tmp_path: Path) -> Callable[..., list[str]]:
    """The arguments of a small test in a folder of its own, which begins empty."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "sockets").mkdir()
    gearstore.environment["TMPDIR"] = str(tmp_path / "sockets")

    def arguments(*more: str) -> list[str]:
        return ["selftest", "--dir", str(tmp_path / "disk"), "--rounds", "2", "--jobs", "300", *more]

    return arguments


def left(tmp_path: Path) -> list[Path]:
    """Return what a test has left on disk."""
    return [*(tmp_path / "disk").iterdir(), *(tmp_path / "sockets").iterdir()]


def test_nothing_is_lost_beside_the_database_of_a_server(gearstore: Cli, server: Server) -> None:
    before = sorted(server.directory.iterdir())
    lines = gearstore.printed("selftest", "--rounds", "2", "--jobs", "1000")
    found = re.fullmatch(r"acknowledged ([\d,]+) · found ([\d,]+) · lost 0 · run twice \d+", lines[0])
    assert found and found[1] == found[2] and int(found[1].replace(",", "")) >= 1000
    assert re.fullmatch(r"2 kills · answered again after \d+\.\d\d s at most · [\d,]+ jobs a second", lines[1])
    assert re.fullmatch(r"sync \S+ ms \(p50\), \S+ ms \(p99\) · [\d,]+ commits a second on this disk", lines[2])
    assert len(lines) == 3
    assert sorted(server.directory.iterdir()) == before


def test_json(gearstore: Cli, small: Callable[..., list[str]], tmp_path: Path) -> None:
    (line,) = gearstore.printed(*small("--json", "--clients", "1"))
    row = json.loads(line)
    assert row["acknowledged"] == row["found"] >= 300
    assert (row["lost"], row["altered"], row["kills"], row["faults"], row["kept"]) == (0, 0, 2, [], None)
    assert 0 < row["sync_p50_ms"] <= row["sync_p99_ms"] and row["syncs_per_second"] and row["jobs_per_second"]
    assert left(tmp_path) == []


def test_a_server_that_keeps_nothing_loses_everything(
    gearstore: Cli, small: Callable[..., list[str]], tmp_path: Path
) -> None:
    result = gearstore(*small("--", "--memory"))
    assert result.code == 1 and re.match(r"acknowledged ([\d,]+) · found 0 · lost \1 ", result.output), result
    (kept,) = left(tmp_path)
    assert f"the files are kept in {kept}" in result.errors and (kept / "server.log").exists()
    assert re.search(r"^lost: H:\S+:\d{12}$", result.output, re.MULTILINE)


def servers_in(place: Path) -> list[int]:
    """Return the servers whose files are in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"serve" in words and any(word.startswith(os.fsencode(place)) for word in words):
                found.append(int(path.parent.name))
    return found


def is_under_load(place: Path) -> bool:
    """Whether the server whose socket is here has been given jobs."""
    for path in place.glob("*/socket"):
        with suppress(Unreachable), Connection(f"unix:{path}") as connection:
            return b"selftest-a" in connection.text(b"status")
    return False


def test_a_server_that_ends_under_load(gearstore: Cli, small: Callable[..., list[str]], tmp_path: Path) -> None:
    running = gearstore.spawn(*small("--jobs", "1000000"))
    eventually(lambda: is_under_load(tmp_path / "sockets"))
    (pid,) = servers_in(tmp_path / "disk")
    os.kill(pid, signal.SIGKILL)
    assert running.wait(30) == 1
    assert re.match(r"acknowledged ([\d,]+) · found \1 · lost 0 ", running.lines[0])
    assert any(line.startswith("fault: ") for line in running.lines)
    (kept,) = left(tmp_path)
    assert f"the files are kept in {kept}" in running.log


def test_options_that_the_server_refuses(gearstore: Cli, small: Callable[..., list[str]], tmp_path: Path) -> None:
    result = gearstore(*small("--", "--nonsense"))
    assert (result.code, result.output) == (2, "")
    assert "the private server did not start" in result.errors and "--nonsense" in result.errors
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("place", "code", "sentence"),
    [
        ("/nowhere", 2, "there is no folder /nowhere: name one with --dir"),
        (os.devnull, 4, f"{os.devnull}: Not a directory; do it as the server's user, or name a folder with --dir"),
    ],
)
def test_a_folder_that_is_none(gearstore: Cli, place: str, code: int, sentence: str) -> None:
    result = gearstore("selftest", "--dir", place)
    assert (result.code, result.errors) == (code, f"gearstore: {sentence}\n")


def test_ctrl_c_leaves_nothing_behind(gearstore: Cli, small: Callable[..., list[str]], tmp_path: Path) -> None:
    shown = gearstore.on_terminal(*small("--jobs", "1000000"), typed=INTERRUPT, when="selftest")
    assert shown.code == 130, shown
    assert left(tmp_path) == []
    assert servers_in(tmp_path) == []


def test_sigterm_leaves_nothing_behind(gearstore: Cli, small: Callable[..., list[str]], tmp_path: Path) -> None:
    running = gearstore.spawn(*small("--jobs", "1000000"))
    eventually(lambda: list((tmp_path / "disk").glob("*/gearstore.db-wal")))
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait() == 128 + signal.SIGTERM
    assert left(tmp_path) == []
    assert servers_in(tmp_path) == []


def test_the_server_dies_with_a_test_that_is_killed(
    gearstore: Cli, small: Callable[..., list[str]], tmp_path: Path
) -> None:
    running = gearstore.spawn(*small("--jobs", "1000000"))
    eventually(lambda: list((tmp_path / "disk").glob("*/gearstore.db-wal")))
    assert servers_in(tmp_path)
    os.kill(running.pid, signal.SIGKILL)
    eventually(lambda: not servers_in(tmp_path), what="the end of the server")


# What happens to the files between two lives


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    """A trial whose server has just been killed under load."""
    with PrivateServer(tmp_path) as server:
        made = Trial(server, clients=2, workers=1)
        made.start()
        made.round(300)
        yield made
        made.kill()


def judged(trial: Trial) -> Verdict:
    """Start the server again and have all counted."""
    trial.start()
    return trial.judge()


def test_a_sound_end(trial: Trial) -> None:
    verdict = judged(trial)
    assert verdict.sound and verdict.found == verdict.acknowledged >= 300


def change(trial: Trial, statement: str) -> None:
    """Change the database behind everybody's back, also what the log holds."""
    connection = sqlite3.connect(trial.server.db)
    with connection:
        connection.execute(statement)
    connection.close()


def test_a_job_that_vanished_is_lost(trial: Trial) -> None:
    first = min(handle for handle, _ in trial.ledger.acknowledged)
    change(trial, f"DELETE FROM jobs WHERE id = {int(first.rpartition(b':')[2])}")
    verdict = judged(trial)
    assert not verdict.sound
    assert (verdict.lost, verdict.altered) == ([first.decode()], [])
    assert verdict.faults, "gearstore check finds that the counts are wrong"


def test_a_workload_that_changed_is_altered(trial: Trial) -> None:
    last = max(handle for handle, _ in trial.ledger.acknowledged)
    change(
        trial, f"UPDATE jobs SET workload = CAST(workload || 'x' AS BLOB) WHERE id = {int(last.rpartition(b':')[2])}"
    )
    verdict = judged(trial)
    assert (verdict.lost, verdict.altered) == ([], [last.decode()])
    assert verdict.found == verdict.acknowledged - 1


def test_an_end_that_was_forgotten_is_a_fault(trial: Trial) -> None:
    ended = max(trial.ledger.ended)
    change(trial, f"UPDATE jobs SET state = 0, position = id, priority = 0 WHERE id = {int(ended[-12:])}")
    change(trial, "DELETE FROM counts")
    change(
        trial,
        "INSERT INTO counts SELECT function_id, state, priority, count(*), sum(length(workload) + length(result))"
        " FROM jobs GROUP BY 1, 2, 3",
    )
    trial.start()
    trial.round(len(trial.ledger.acknowledged) + 300)
    assert f"{ended.decode()} ran again though its end was confirmed" in trial.ledger.faults


def test_a_database_that_was_emptied(trial: Trial) -> None:
    os.truncate(trial.server.db, 0)
    with pytest.raises(NotStarted, match="the private server did not start: .+"):
        trial.start()


def test_a_server_that_ends_by_itself(trial: Trial) -> None:
    trial.start()
    trial.server.kill()
    trial.load(1_000_000)
    assert any("no server at" in fault or "ended by itself" in fault for fault in trial.ledger.faults)


def test_a_server_that_refuses(tmp_path: Path) -> None:
    config = tmp_path / "gearstore.toml"
    config.write_text('[functions."selftest-*"]\nmax_queue = 1\n')
    with PrivateServer(tmp_path, ["--config", str(config)]) as server:
        trial = Trial(server, clients=1, workers=1)
        trial.start()
        trial.load(1000)
        trial.kill()
    assert any("Job queue is full" in fault for fault in trial.ledger.faults)
