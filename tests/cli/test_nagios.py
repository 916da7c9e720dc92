"""`gearstore status --check`: states, sentences and performance data; of rows by hand, then of real servers."""

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearstore.protocol.packets import WORK_FAIL
from gearstore_cli.client import Row
from gearstore_cli.nagios import Limits, State, label, verdict
from tests.acceptance.servers import HOST, Server, free_port
from tests.cli.conftest import Cli, Worker

Connect = Callable[[Cli, str], Worker]

NOW = 1_800_000_000_000
MINUTE = 60_000
IDLE: Row = {
    "function": "mail", "queued": 0, "running": 0, "workers": 0, "oldest_at": None, "delayed": 0, "held": 0,
    "failed": 0, "done": 0, "done_per_minute": 0, "failed_per_minute": 0, "paused_at": None, "paused_until": None,
}  # fmt: skip
BUSY = IDLE | {"queued": 60, "running": 2, "workers": 2, "oldest_at": NOW - 12 * MINUTE}
PAUSED = BUSY | {"workers": 0, "paused_at": NOW - 30 * MINUTE}


def said(
    *rows: Row, total: dict[str, Any] | None = None, all_together: bool = False, **limits: Any
) -> tuple[State, str]:
    """Return state and sentences for these rows."""
    sums = {key: sum(row[key] for row in rows) for key in ("queued", "running", "delayed", "held", "failed")}
    sums |= {"done_per_minute": 0, "failed_per_minute": 0, "oldest_at": None, "workers": 2} | (total or {})
    state, line = verdict(list(rows), sums, Limits(**limits, total=all_together), NOW)
    start, text, _ = re.split(r" - | \| ", line, maxsplit=2)
    assert start == f"GEARSTORE {state.name}"
    assert line.endswith("\n")
    return state, text


def test_an_idle_function_needs_no_worker() -> None:
    assert said(IDLE) == (State.OK, "1 function, 0 jobs wait, 0 running")


def test_jobs_that_no_worker_can_run_are_critical() -> None:
    assert said(BUSY | {"workers": 0}) == (State.CRITICAL, "mail: 60 jobs wait and no worker can run them")
    assert said(IDLE | {"queued": 1})[1] == "mail: 1 job waits and no worker can run it"


@pytest.mark.parametrize(
    ("limits", "state", "text"),
    [
        ({}, State.OK, "1 function, 60 jobs wait, the oldest for 12m, 2 running"),
        ({"warn": 60, "crit": 60}, State.OK, None),
        ({"warn": 59, "crit": 60}, State.WARNING, "mail: 60 jobs wait (limit 59)"),
        ({"warn": 10, "crit": 59}, State.CRITICAL, "mail: 60 jobs wait (limit 59)"),
        ({"max_age": 12 * MINUTE}, State.OK, None),
        ({"max_age": 10 * MINUTE}, State.CRITICAL, "mail: the oldest job waits for 12m (limit 10m)"),
        ({"max_failed": 0}, State.OK, None),
    ],
)
def test_limits(limits: dict[str, int], state: State, text: str | None) -> None:
    found = said(BUSY, total={"oldest_at": NOW - 12 * MINUTE}, **limits)
    assert found[0] is state
    assert text is None or found[1] == text


def test_jobs_that_wait_for_an_operator() -> None:
    row = IDLE | {"failed": 3, "held": 1}
    assert said(row, max_failed=4)[0] is State.OK
    text = "mail: 3 failed and 1 held jobs wait for an operator (limit 3)"
    assert said(row, max_failed=3) == (State.WARNING, text)


def test_limits_are_those_of_each_function_or_of_the_total() -> None:
    rows = [BUSY | {"function": name} for name in ("a", "b")]
    assert said(*rows, crit=100)[0] is State.OK
    assert said(*rows, crit=100, all_together=True) == (State.CRITICAL, "all functions: 120 jobs wait (limit 100)")


def test_a_paused_function_may_wait_until_it_seems_forgotten() -> None:
    assert said(PAUSED, max_age=MINUTE) == (State.OK, "1 function, 60 jobs wait, 2 running; paused: mail")
    assert said(PAUSED, max_pause=10 * MINUTE) == (State.WARNING, "mail: paused for 30m, 60 jobs wait")
    assert said(PAUSED | {"paused_until": NOW + MINUTE}, max_pause=0)[0] is State.OK  # it ends by itself
    assert said(PAUSED, crit=50)[0] is State.CRITICAL  # the queue may still grow too long


def test_a_server_that_assigns_nothing() -> None:
    paused = {"paused_at": NOW - 2 * 60 * MINUTE}
    assert said(BUSY | {"workers": 0}, total=paused) == (State.WARNING, "all functions are paused for 2h")
    assert said(IDLE, total=paused, max_pause=3 * 60 * MINUTE)[0] is State.OK
    assert said(IDLE, total={"draining": True}) == (State.WARNING, "the server is ending and assigns no jobs")


def test_the_worst_comes_first_and_not_everything_is_named() -> None:
    rows = [BUSY | {"function": f"f{n}"} for n in range(7)]
    rows[6]["workers"] = 0
    state, text = said(*rows, warn=1)
    assert state is State.CRITICAL
    assert text.startswith("f6: 60 jobs wait and no worker can run them; f0: 60 jobs wait (limit 1); f1")
    assert text.endswith("; and 3 more")


def test_performance_data() -> None:
    _, line = verdict([BUSY], BUSY, Limits(warn=70, crit=90, max_age=30 * MINUTE, max_failed=5), NOW)
    data = line.rstrip("\n").split(" | ")[1]
    assert data.startswith("'queued'=60;;;0 'running'=2;;;0 'workers'=2;;;0 'age'=720s;;;0 'failed'=0;;;0 ")
    assert "'mail queued'=60;70;90;0 'mail running'=2;;;0 'mail workers'=2;;;0 'mail age'=720s;;1800;0 " in data
    assert "'mail failed'=0;5;;0 " in data
    assert "'held'=0;;;0" in data and "'mail held'" not in data
    assert re.fullmatch(r"('[^'=|]+'=\d+s?(;\d*){3} ?)+", data)


def test_the_performance_data_of_many_functions_is_only_their_sum() -> None:
    rows = [IDLE | {"function": f"f{n}"} for n in range(21)]
    _, line = verdict(rows, IDLE, Limits(), NOW)
    assert "'queued'=0" in line
    assert "f0" not in line


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain name", "'plain name'"),
        ("it's=a|50%", "'it%27s%3Da%7C50%25'"),
        ("Déjà\n\udcff", "'Déjà%0A%FF'"),
        ("\u202e", "'%E2%80%AE'"),
    ],
)
def test_labels_are_safe_for_every_reader(name: str, written: str) -> None:
    assert label(name) == written


def test_names_cannot_break_the_line() -> None:
    _, text = said(IDLE | {"function": "a|b\n\x1b[2J", "queued": 1})
    assert text == "a\\x7cb\\n\\x1b[2J: 1 job waits and no worker can run it"


# Real servers


def test_waiting_jobs_without_a_worker(either: Cli, function: str, worker: Connect) -> None:
    def check() -> tuple[int, str]:
        result = either("status", "--check", "--function", function)
        assert len(result.lines) == 1 and not result.errors
        return result.code, result.output.partition(" | ")[0]

    assert check() == (3, f"GEARSTORE UNKNOWN - no function matches {function}\n")
    either.printed("submit", function, "--count", "2")
    text = f"GEARSTORE CRITICAL - {function}: 2 jobs wait and no worker can run them"
    assert check() == (2, text)
    hand = worker(either, function)
    either.server.expect_workers(function)
    code, text = check()
    assert (code, text[:14]) == (0, "GEARSTORE OK -")
    hand.grab()
    assert check()[1].endswith("1 running")


def test_failures_ages_and_sizes(gearstore: Cli, function: str, worker: Connect) -> None:
    gearstore.printed("submit", function, "--count", "3")
    hand = worker(gearstore, function)
    hand.report(WORK_FAIL, hand.grab()[0])
    check = ["status", "--check", "--function", f"{function[:-1]}?"]
    for options, code in (
        (["--warn", "2"], 0),
        (["--warn", "1"], 1),
        (["--warn", "0", "--crit", "1"], 2),
        (["--max-failed", "1"], 0),
        (["--max-failed", "0"], 1),
        (["--max-age", "1h"], 0),
        (["--max-age", "0s"], 2),
        (["--total", "--crit", "1"], 2),
    ):
        assert gearstore(*check, *options).code == code, options


def test_gearmand_tells_no_ages(gearmand: Cli, function: str, worker: Connect) -> None:
    worker(gearmand, function)
    gearmand.server.expect_workers(function)
    result = gearmand("status", "--check", "--function", function, "--max-age", "10m")
    assert (result.code, result.output.partition(" | ")[0]) == (
        3, "GEARSTORE UNKNOWN - a plain gearmand tells neither ages nor failed jobs",
    )  # fmt: skip
    assert gearmand("status", "--check", "--function", function, "--crit", "5").code == 0


def test_a_server_without_any_function_is_fine(tmp_path: Path) -> None:
    server = Server(tmp_path, "gearstore")
    try:
        result = Cli(server, tmp_path)("status", "--check", "--max-age", "1m", "--max-failed", "0")
        assert (result.code, result.output[:42]) == (0, "GEARSTORE OK - 0 functions, 0 jobs wait, 0")
    finally:
        server.process.kill()


def test_what_can_not_be_found_out_is_unknown(gearstore: Cli) -> None:
    result = gearstore("status", "--check", "--server", f"{HOST}:{free_port()}")
    assert (result.code, result.output[:34]) == (3, "GEARSTORE UNKNOWN - no server at 1")
    for options in (["--warn", "5", "--crit", "1"], ["--max-age", "soon"]):
        result = gearstore("status", "--check", *options)
        assert (result.code, result.output[:19]) == (3, "GEARSTORE UNKNOWN -")


def test_a_server_that_does_not_answer(gearstore: Cli) -> None:
    with socket.create_server((HOST, 0)) as silent:
        address = f"{HOST}:{silent.getsockname()[1]}"
        result = gearstore("status", "--check", "--timeout", "100ms", "--server", address)
    assert (result.code, result.output) == (3, "GEARSTORE UNKNOWN - no answer within 0.1 seconds\n")


@pytest.mark.parametrize(
    "options",
    [["--warn", "1"], ["--total"], ["--check", "--db", "here"], ["--check", "--watch"], ["--check", "--warn", "-1"]],
)
def test_options_that_do_not_go_together(gearstore: Cli, options: list[str]) -> None:
    assert gearstore("status", *options).code == 2
