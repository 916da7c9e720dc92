"""`gearstore status` and `workers`: bytes for pipes, tables for people, JSON; also of a plain gearmand."""

import json
from collections.abc import Callable

import pytest

from tests.acceptance.servers import eventually
from tests.cli.conftest import Cli, Worker

Connect = Callable[[Cli, str], Worker]


def test_a_pipe_gets_the_servers_own_bytes(either: Cli, function: str, worker: Connect) -> None:
    either.printed("submit", function)
    either.printed("submit", "odd\udcff name")
    worker(either, function).grab()
    result = either("status")
    assert result.bytes == either.server.text_bytes(b"status\n")
    assert f"{function}\t1\t1\t1\n".encode() in result.bytes
    assert b"odd\xff name\t" in result.bytes
    assert result.bytes.endswith(b"\n.\n")


def test_workers_through_a_pipe(either: Cli, function: str, worker: Connect) -> None:
    worker(either, function)
    either.server.expect_workers(function)
    result = either("workers")
    assert any(line.endswith(f" 127.0.0.1 by-hand : {function}") for line in result.lines)
    assert result.lines[-1] == "."


def test_status_as_json(gearstore: Cli, function: str, worker: Connect) -> None:
    gearstore.printed("submit", function, "--count", "3")
    gearstore.printed("submit", function, "--in", "1h")
    worker(gearstore, function).grab()
    row = next(row for row in map(json.loads, gearstore.printed("status", "--json")) if row["function"] == function)
    assert {key: row[key] for key in ("queued", "running", "delayed", "workers", "failed")} == {
        "queued": 2, "running": 1, "delayed": 1, "workers": 1, "failed": 0,
    }  # fmt: skip


def test_the_total_with_the_receipt_as_json(gearstore: Cli, function: str) -> None:
    gearstore.printed("submit", function, "--count", "3")
    row, last = map(json.loads, gearstore.printed("status", "--json", "--total", "--function", function))
    assert (row["function"], last["total"]["queued"]) == (function, 3)
    receipt = last["total"]["receipt"]
    assert receipt["sync"] == "full"
    for span in ("minute", "start"):
        figures = receipt[span]
        assert figures["submits"] >= 3
        assert figures["commits_per_second"] > 0
        assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_status_of_gearmand_as_json(gearmand: Cli, function: str, worker: Connect) -> None:
    gearmand.printed("submit", function, "--count", "3")
    worker(gearmand, function).grab()
    rows = list(map(json.loads, gearmand.printed("status", "--json")))
    assert {"function": function, "queued": 2, "running": 1, "workers": 1} in rows


def test_workers_as_json(either: Cli, function: str, worker: Connect) -> None:
    worker(either, function)
    either.server.expect_workers(function)
    rows = list(map(json.loads, either.printed("workers", "--json")))
    (row,) = [row for row in rows if row["functions"] == [function]]
    assert (row["address"], row["client_id"]) == ("127.0.0.1", "by-hand")


def test_a_terminal_gets_a_table(either: Cli, function: str) -> None:
    either.printed("submit", function)
    either.printed("submit", "\x1b[31mred")
    shown = either.on_terminal("status").output
    assert "QUEUED" in shown
    assert function in shown
    assert "\\x1b[31mred" in shown
    assert "\n.\n" not in shown


def test_a_terminal_shows_only_connections_that_work(either: Cli, function: str, worker: Connect) -> None:
    worker(either, function)
    either.server.expect_workers(function)
    shown = either.on_terminal("workers").output
    assert "by-hand" in shown
    assert "127.0.0.1  -" not in shown  # the connection that asks


@pytest.mark.parametrize("seconds", [[], ["0.1"]])
def test_watching_goes_on_until_ctrl_c(gearstore: Cli, function: str, seconds: list[str]) -> None:
    gearstore.printed("submit", function)
    result = gearstore.on_terminal("status", "--watch", *seconds, typed="\x03", when=function[:20])
    assert result.code == 0
    assert result.output.endswith("\x1b[?25h")  # the cursor is back


def test_watching_through_a_pipe_repeats_the_text(gearstore: Cli) -> None:
    process = gearstore.spawn("status", "--watch", "0.1")
    eventually(lambda: process.lines.count(".") >= 3)
