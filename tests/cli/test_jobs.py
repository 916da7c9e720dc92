"""`gearstore jobs` and `show`: what is found, and how it is told."""

import json
from collections.abc import Callable

import pytest

from gearstore.protocol.packets import WORK_COMPLETE, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS
from tests.cli.conftest import Cli, Worker

Connect = Callable[[Cli, str], Worker]


def handles(lines: list[str]) -> list[str]:
    """Return the first column."""
    return [line.split("\t")[0] for line in lines]


def test_lines_begin_with_the_handle(gearstore: Cli, function: str) -> None:
    (handle,) = gearstore.printed("submit", function, "tab\there", "--unique", "u1", "--priority", "high")
    fields = gearstore.printed("jobs", "--function", function)[0].split("\t")
    assert fields[:4] == [handle, function, "queued", "high"]
    assert fields[5:] == ["0", "-", "u1", "tab\\there"]


def test_newest_first_or_oldest_first(gearstore: Cli, function: str) -> None:
    submitted = gearstore.printed("submit", function, "--count", "3")
    assert handles(gearstore.printed("jobs", "--function", function)) == submitted[::-1]
    assert handles(gearstore.printed("jobs", "--function", function, "--oldest")) == submitted


def test_filters_must_all_hold(gearstore: Cli, function: str, worker: Connect) -> None:
    by_hand = worker(gearstore, function)
    failed, excepted, done, waiting = (
        gearstore.printed("submit", function, workload, "--unique", workload)[0]
        for workload in ("one apple", "two apples", "a pear", "no fruit")
    )
    by_hand.report(WORK_FAIL, by_hand.grab()[0])
    by_hand.report(WORK_EXCEPTION, by_hand.grab()[0], b"no such file or directory: 5% of _all_")
    by_hand.report(WORK_COMPLETE, by_hand.grab()[0], b"")

    def found(*filters: str) -> list[str]:
        return handles(gearstore("jobs", "--function", f"{function[:-1]}*", "--oldest", *filters).lines)

    assert found() == [failed, excepted, done, waiting]
    assert found("--state", "failed") == [failed, excepted]
    assert found("--state", "queued", "--state", "done") == [done, waiting]
    assert found("--error", "file or dir") == [excepted]
    assert found("--error", "5% of _") == [excepted]
    assert found("--unique", "a pear") == [done]
    assert found("--payload-match", "apple") == [failed, excepted]
    assert found("--payload-match", "apple", "--error", "fail") == [failed]
    assert found("--since", "1h") == [failed, excepted, done, waiting]
    assert found("--until", "1h") == []
    assert found("--limit", "2") == [failed, excepted]
    assert found(done, failed) == [failed, done]


def test_nothing_found_is_exit_code_1(gearstore: Cli, function: str) -> None:
    result = gearstore("jobs", "--function", function)
    assert (result.code, result.output, result.errors) == (1, "", "gearstore: no job matches\n")


def test_more_than_the_first_fifty_is_said(gearstore: Cli, function: str) -> None:
    submitted = gearstore.printed("submit", function, "--count", "60")
    result = gearstore("jobs", "--function", function)
    assert (result.code, len(result.lines)) == (0, 50)
    assert "more than these 50" in result.errors
    assert len(gearstore.printed("jobs", "--function", function, "--limit", "60")) == 60
    assert "more than" not in gearstore("jobs", "--function", function, "--limit", "55").errors
    assert len(gearstore.printed("jobs", *submitted)) == 60


def test_more_handles_than_one_request_takes(gearstore: Cli, function: str) -> None:
    submitted = gearstore.printed("submit", function, "--count", "4000")
    listed = gearstore.printed("jobs", "-", given="\n".join(submitted).encode())
    assert sorted(handles(listed)) == submitted


def test_jobs_as_json(gearstore: Cli, function: str) -> None:
    (handle,) = gearstore.printed("submit", function, "--", "\udcff")
    (row,) = map(json.loads, gearstore.printed("jobs", "--json", handle))
    assert (row["handle"], row["function"], row["preview"], row["size"]) == (handle, function, "\udcff", 1)


def test_a_terminal_gets_a_table_without_its_control_bytes(gearstore: Cli, function: str) -> None:
    (handle,) = gearstore.printed("submit", function, "\x1b[2J\x07")
    shown = gearstore.on_terminal("jobs", handle).output
    assert "HANDLE" in shown
    assert handle in shown
    assert "\\x1b[2J\\x07" in shown


def test_one_job_in_full(gearstore: Cli, function: str, worker: Connect) -> None:
    (handle,) = gearstore.printed("submit", function, "work", "--unique", "u1")
    by_hand = worker(gearstore, function)
    by_hand.grab()
    by_hand.report(WORK_STATUS, handle.encode(), b"3", b"10")
    running = gearstore("show", handle).output
    assert "state       running\n" in running
    assert "progress    3/10\n" in running
    by_hand.report(WORK_EXCEPTION, handle.encode(), b"it broke\n  at line 3\x1b[2J\n")
    failed = gearstore("show", handle).output
    assert f"handle      {handle}\nfunction    {function}\n" in failed
    assert "state       failed (its worker reported an exception)\n" in failed
    assert "unique      u1\n" in failed
    assert "worker      by-hand\n" in failed
    assert "error       it broke\n              at line 3\\x1b[2J\n" in failed
    assert "workload    4 bytes: work\n" in failed


def test_exact_bytes(gearstore: Cli, function: str, worker: Connect) -> None:
    every_byte = bytes(range(256)) * 200
    (handle,) = gearstore.printed("submit", function, "-", given=every_byte)
    by_hand = worker(gearstore, function)
    by_hand.report(WORK_COMPLETE, by_hand.grab()[0], every_byte[::-1])
    assert gearstore("show", "--payload", handle).bytes == every_byte
    assert gearstore("show", "--result", handle).bytes == every_byte[::-1]


def test_a_result_that_was_not_kept_is_not_an_empty_one(gearstore: Cli, function: str, worker: Connect) -> None:
    (handle,) = gearstore.printed("submit", function)
    assert gearstore("show", "--result", handle).bytes == b""
    by_hand = worker(gearstore, function)
    by_hand.report(WORK_COMPLETE, by_hand.grab()[0], bytes(100_000))
    result = gearstore("show", "--result", handle)
    assert (result.code, result.bytes) == (1, b"")
    assert "was not kept (100000 bytes)" in result.errors


def test_bytes_in_json_are_base64(gearstore: Cli, function: str) -> None:
    (handle,) = gearstore.printed("submit", function, "work")
    (row,) = map(json.loads, gearstore.printed("show", "--json", "--payload", handle))
    assert (row["workload"], row["state"]) == ("d29yaw==", "queued")
    (row,) = map(json.loads, gearstore.printed("show", "--json", handle))
    assert "workload" not in row


def test_jobs_pipe_into_show(gearstore: Cli, function: str) -> None:
    gearstore.printed("submit", function, "--count", "2")
    listed = gearstore("jobs", "--function", function)
    assert len([line for line in gearstore("show", "-", given=listed.bytes).lines if line.startswith("handle ")]) == 2


@pytest.mark.parametrize("handle", ["H:nobody:000000000001", "nonsense", "H:h:1 x"])
def test_an_unknown_handle_is_exit_code_1(gearstore: Cli, handle: str) -> None:
    result = gearstore("show", handle)
    assert (result.code, result.output) == (1, "")
    assert result.errors.startswith("gearstore: ")
