"""`gearstore tail`: the words, and real servers followed through pipes and on terminals."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearstore.protocol.packets import WORK_COMPLETE, WORK_EXCEPTION
from gearstore_cli.render import clock
from gearstore_cli.tail import words
from tests.acceptance.servers import Server, clean_environment, eventually
from tests.cli.conftest import COMMAND, Cli, Worker
from tests.cli.terminal import Terminal

Connect = Callable[[Cli, str], Worker]

NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("event", "row", "text"),
    [
        ("submitted", {}, "submitted"),
        ("submitted", {"run_at": NOW}, f"submitted, waits until {clock(NOW, NOW)}"),
        ("assigned", {"worker": "w1", "waited": 2000}, "assigned to w1 after 2s"),
        ("assigned", {"waited": 0}, "assigned after 0ms"),
        ("done", {"worker": "w1", "took": 3000}, "done by w1 in 3s"),
        ("done", {"took": 3000}, "done in 3s"),
        ("failed", {"reason": "fail", "took": 5, "worker": "w1"}, "failed by w1 in 5ms"),
        ("failed", {"reason": "exception", "took": 5, "error": "no\x1b[2J"}, "failed (exception) in 5ms: no\\x1b[2J"),
        ("failed", {"reason": "lost", "took": 5, "attempts": 5}, "failed (lost) in 5ms, attempt 5"),
        ("queued", {"reason": "lost", "took": 60_000, "worker": "w1"}, "lost by w1 in 1m, queued again"),
        ("queued", {"reason": "retry"}, "put back by an operator"),
        ("queued", {"reason": "fail", "error": "old"}, "its time has come"),
        ("delayed", {"run_at": NOW + 5000}, f"waits until {clock(NOW + 5000, NOW)}"),
        (
            "delayed",
            {"run_at": NOW, "reason": "exception", "took": 1, "error": "no"},
            f"exception in 1ms, waits until {clock(NOW, NOW)}: no",
        ),
        ("refused", {}, "refused: the store did not take it"),
        ("cancelled", {"reason": "cancelled"}, "cancelled"),
        ("held", {"reason": "interrupted"}, "held: the server ended while it ran"),
        ("something new", {}, "something new"),
    ],
)
def test_what_happened_in_words(event: str, row: dict[str, Any], text: str) -> None:
    nothing = {"worker": None, "waited": None, "took": None, "run_at": None, "reason": None, "error": None}
    assert words({"at": NOW, "event": event, "attempts": 1, **nothing, **row}) == text


def run(cli: Cli, function: str, worker: Worker, kind: int = WORK_COMPLETE) -> str:
    """Submit a job, have it end, and return its handle."""
    (handle,) = cli.printed("submit", function)
    assert worker.grab()[0].decode() == handle
    worker.report(kind, handle.encode(), b"no\nmore")
    return handle


def test_the_last_endings(gearstore: Cli, function: str, worker: Connect) -> None:
    hand = worker(gearstore, function)
    handles = [run(gearstore, function, hand, kind) for kind in (WORK_COMPLETE, WORK_COMPLETE, WORK_EXCEPTION)]
    lines = gearstore.printed("tail", "-n", "2", "--function", function)
    rows = [line.split("\t") for line in lines]
    assert [(row[1], row[2]) for row in rows] == [(function, handle) for handle in handles[1:]]
    assert rows[0][3].startswith("done by by-hand in ")
    assert rows[1][3].startswith("failed (exception) by by-hand in ") and rows[1][3].endswith("ms: no")
    (row,) = map(json.loads, gearstore.printed("tail", "--function", function, "--state", "failed", "--json"))
    assert (row["event"], row["handle"]) == ("failed", handles[2])


def test_following_until_ctrl_c(gearstore: Cli, function: str, worker: Connect) -> None:
    before = ended(gearstore, function)
    process = gearstore.spawn("tail", "-f", "--function", function)
    eventually(lambda: process.lines, what=lambda: process.log)
    handle = run(gearstore, function, worker(gearstore, function))
    eventually(lambda: len(process.lines) == 4, what=lambda: process.lines)
    assert [line.split("\t")[2] for line in process.lines] == [before, *[handle] * 3]
    assert process.lines[1].endswith("\tsubmitted")
    process.process.send_signal(signal.SIGINT)
    gearstore.printed("submit", function)  # Python sees a signal that came just before a wait when that is over
    assert process.wait() == 130
    assert process.log.strip() == ""


def ended(cli: Cli, function: str) -> str:
    """Return a job that has ended: `tail -f` shows it first, and from then on all that happens."""
    (handle,) = cli.printed("submit", function)
    cli.printed("cancel", handle)
    return handle


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_goes_ends_it_though_nothing_happens(gearstore: Cli, function: str, form: list[str]) -> None:
    environment = clean_environment() | gearstore.environment
    arguments = [*COMMAND, "tail", "-f", "--function", function, *form]
    ended(gearstore, function)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


def test_following_on_a_terminal(gearstore: Cli, function: str, tmp_path: Path) -> None:
    (handle,) = gearstore.printed("submit", "\x1b[31m" + function)
    gearstore.printed("cancel", handle)
    environment = {"GEARSTORE_SERVER": gearstore.address}
    terminal = Terminal(tmp_path, environment, *COMMAND, "tail", "-f", "-n", "1")
    try:
        terminal.shows(f"\\x1b[31m{function}  {handle}  cancelled")
        (other,) = gearstore.printed("submit", function)
        terminal.shows(f"{function}  {other}  submitted")
        terminal.press("C-c")
        gearstore.printed("submit", function)  # see above
        terminal.shows("ended with 130")
        assert "Traceback" not in terminal.screen
    finally:
        terminal.end()


def test_a_server_that_ends(tmp_path: Path) -> None:
    server = Server(tmp_path, "gearstore")
    cli = Cli(server, tmp_path)
    try:
        ended(cli, "mail")
        process = cli.spawn("tail", "-f")
        eventually(lambda: process.lines, what=lambda: process.log)
        server.terminate()
        assert process.wait() == 3
        assert process.log == f"gearstore: the server at {cli.address} closed the connection\n"
    finally:
        server.process.kill()
        process.kill()


def test_the_last_endings_of_a_server_that_is_gone(tmp_path: Path) -> None:
    server = Server(tmp_path, "gearstore")
    cli = Cli(server, tmp_path)
    handles = [cli.printed("submit", "mail")[0] for _ in range(2)]
    cli.printed("cancel", *handles, "--yes")
    server.kill9()
    rows = [line.split("\t")[1:] for line in cli.printed("tail", "--db", str(server.db))]
    assert rows == [["mail", handle, "cancelled"] for handle in handles]
    result = cli("tail", "-f", "--db", str(server.db))
    assert (result.code, result.errors) == (2, "gearstore: --follow goes with a server, not with --db\n")


def test_gearmand_can_not_tell(gearmand: Cli) -> None:
    result = gearmand("tail")
    assert (result.code, result.output) == (4, "")
    assert "is not gearstore" in result.errors


def test_the_past_ends_through_a_pipe_as_well(gearstore: Cli, function: str, worker: Connect) -> None:
    handle = run(gearstore, function, worker(gearstore, function))
    done = subprocess.run(
        [*COMMAND, "tail", "--function", function],
        env=clean_environment() | gearstore.environment,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0
    assert handle.encode() in done.stdout
