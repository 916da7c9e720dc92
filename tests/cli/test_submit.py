"""`gearstore submit`, against gearstore and against a plain gearmand."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearstore.protocol.packets import WORK_COMPLETE, WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING
from tests.cli.conftest import Cli, Worker

Connect = Callable[[Cli, str], Worker]
HANDLE = re.compile(r"H:[^:]+:\d+")


def test_the_handle_is_all_that_is_printed(either: Cli, function: str, worker: Connect) -> None:
    result = either("submit", function, "Paramètres envoyés")
    assert result.code == 0
    assert result.errors == ""
    assert HANDLE.fullmatch(result.output.rstrip("\n"))
    assert worker(either, function).grab() == [
        result.lines[0].encode(), function.encode(), b"", "Paramètres envoyés".encode()
    ]  # fmt: skip


def test_where_the_workload_comes_from(gearstore: Cli, function: str, worker: Connect, tmp_path: Path) -> None:
    every_byte = bytes(range(256)) * 1000
    (tmp_path / "workload").write_bytes(every_byte)
    gearstore.printed("submit", function)
    gearstore.printed("submit", function, "-", given=every_byte + b"stdin")
    gearstore.printed("submit", function, "--file", str(tmp_path / "workload"))
    gearstore.printed("submit", function, "--", "-x")
    by_hand = worker(gearstore, function)
    assert [by_hand.grab()[3] for _ in range(4)] == [b"", every_byte + b"stdin", every_byte, b"-x"]


def test_priorities(either: Cli, function: str, worker: Connect) -> None:
    for priority in ("low", "normal", "high"):
        either.printed("submit", function, priority, "--priority", priority)
    by_hand = worker(either, function)
    assert [by_hand.grab()[3] for _ in range(3)] == [b"high", b"normal", b"low"]


def test_equal_uniques_are_one_job(either: Cli, function: str) -> None:
    first = either.printed("submit", function, "--unique", "u1")
    assert either.printed("submit", function, "--unique", "u1") == first
    assert either.printed("submit", function, "--unique", "u2") != first


def test_copies(either: Cli, function: str) -> None:
    handles = either.printed("submit", function, "x" * 3000, "--count", "1200")
    assert len(set(handles)) == 1200
    assert either.server.status()[function] == (1200, 0, 0)


def test_later(gearstore: Cli, function: str) -> None:
    before = time.time()
    (first,) = gearstore.printed("submit", function, "--in", "1h30m")
    (second,) = gearstore.printed("submit", function, "--at", "2100-01-02T03:04+00:00")
    shown = gearstore.printed("show", "--json", first, second)
    assert all('"delayed"' in line for line in shown)
    run_at = [int(found[1]) for line in shown if (found := re.search(r'"run_at": (\d+)', line))]
    assert before + 5400 <= run_at[0] / 1000 <= time.time() + 5401
    assert run_at[1] == 4_102_542_240_000


def test_a_result_is_waited_for(either: Cli, function: str, worker: Connect) -> None:
    client = either.spawn("submit", function, "--wait", "question")
    by_hand = worker(either, function)
    handle, _, _, workload = by_hand.grab()
    assert workload == b"question"
    by_hand.report(WORK_STATUS, handle, b"1", b"2")
    by_hand.report(WORK_WARNING, handle, b"take\x1b care\n")
    by_hand.report(WORK_DATA, handle, b"first \0")
    by_hand.report(WORK_COMPLETE, handle, b"last\xff")
    assert client.wait() == 0
    assert client.output == b"first \0last\xff"
    assert client.log == "gearstore: 1/2\ntake\\x1b care\n"


def test_a_failure_is_exit_code_1(either: Cli, function: str, worker: Connect) -> None:
    client = either.spawn("submit", function, "--wait")
    by_hand = worker(either, function)
    by_hand.report(WORK_FAIL, by_hand.grab()[0])
    assert client.wait() == 1
    assert (client.output, client.log) == (b"", "gearstore: the job failed\n")


def test_an_exception_is_told(either: Cli, function: str, worker: Connect) -> None:
    client = either.spawn("submit", function, "--wait")
    by_hand = worker(either, function)
    by_hand.report(WORK_EXCEPTION, by_hand.grab()[0], b"line 1\nline 2\n")
    assert client.wait() == 1
    assert (client.output, client.log) == (b"", "line 1\nline 2\ngearstore: the job failed\n")


def test_a_refused_submit_is_exit_code_4(either: Cli, function: str) -> None:
    result = either("submit", function, "--unique", "u" * 65, "--count", "3")
    assert result.code == 4
    assert result.output == ""
    assert "ARGUMENT_TOO_LARGE" in result.errors


def test_copies_up_to_a_limit(either: Cli, function: str) -> None:
    either.printed("submit", function)
    either.server.text(f"maxqueue {function} 3")
    result = either("submit", function, "--count", "5")
    assert result.code == 4
    assert len(result.lines) == 2
    assert "QUEUE_ERROR" in result.errors


@pytest.mark.parametrize("wait", [[], ["--wait"]])
def test_a_server_that_goes_away_is_exit_code_3(gearstore: Cli, function: str, wait: list[str]) -> None:
    """Ended by a server that answers nothing: a socket that accepts and closes."""
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        result = gearstore("submit", function, *wait, "--server", f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert result.code == 3
    assert result.output == ""
