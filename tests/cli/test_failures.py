"""`gearstore failures`, and what its ids are good for."""

import json
from collections.abc import Callable

import pytest

from gearstore.protocol.packets import WORK_EXCEPTION, WORK_FAIL
from tests.cli.conftest import Cli, Worker

Connect = Callable[[Cli, str], Worker]


@pytest.fixture
def failed(gearstore: Cli, function: str, worker: Connect) -> list[str]:
    """Handles of jobs that failed: three for one cause, one that hides control bytes, one without a word."""
    by_hand = worker(gearstore, function)
    handles = gearstore.printed("submit", function, "--count", "5")
    for error in (b"order 1 lost", b"order 22 lost", b"order 333 lost\nTraceback", b"\x1b]0;title\x07\xff", None):
        handle = by_hand.grab()[0]
        by_hand.report(WORK_FAIL, handle) if error is None else by_hand.report(WORK_EXCEPTION, handle, error)
    return handles


def test_causes_through_a_pipe(gearstore: Cli, function: str, failed: list[str]) -> None:
    rows = [line.split("\t") for line in gearstore.printed("failures", "--function", function)]
    assert [row[1:5] for row in rows][0] == ["3", "exception", "order # lost", function]
    assert sorted(tuple(row[1:4]) for row in rows[1:]) == [
        ("1", "exception", "\\x1b]#;title\\x07\\xff"),
        ("1", "fail", "-"),
    ]
    assert all(len(row) == 7 for row in rows)


def test_causes_on_a_terminal(gearstore: Cli, function: str, failed: list[str]) -> None:
    shown = gearstore.on_terminal("failures", "--function", function)
    assert shown.code == 0
    assert "CAUSE" in shown.lines[0] and "FUNCTIONS" in shown.lines[0]
    assert any("order # lost" in line for line in shown.lines)
    assert "\x1b]0" not in shown.output and "\x07" not in shown.output


def test_causes_as_json(gearstore: Cli, function: str, failed: list[str]) -> None:
    rows = [json.loads(line) for line in gearstore.printed("failures", "--function", function, "--json")]
    assert [row["jobs"] for row in rows] == [3, 1, 1]
    assert rows[0]["functions"] == {function: 3} and rows[0]["first_at"] <= rows[0]["last_at"]


def test_a_cause_finds_and_retries_its_jobs(gearstore: Cli, function: str, failed: list[str]) -> None:
    cause = gearstore.printed("failures", "--function", function)[0].split("\t")[0]
    for digits in (cause, cause.upper()[:4]):
        listed = gearstore.printed("jobs", "--cause", digits, "--function", function, "--oldest")
        assert [line.split("\t")[0] for line in listed] == failed[:3]
    dry = gearstore("retry", "--cause", cause, "--function", function, "--dry-run")
    assert (dry.code, dry.errors) == (0, "gearstore: 3 jobs would be put back into the queue\n")
    result = gearstore("retry", "--cause", cause, "--function", function)
    assert (result.code, [line.split("\t")[0] for line in result.lines]) == (0, failed[:3])
    assert gearstore("retry", "--cause", cause, "--function", function).code == 1
    assert len(gearstore.printed("failures", "--function", function)) == 2


def test_nothing_has_failed(gearstore: Cli, function: str) -> None:
    for arguments in (["--function", function], ["--function", function, "--json"]):
        result = gearstore("failures", *arguments)
        assert (result.code, result.output, result.errors) == (1, "", "gearstore: no job has failed\n")


@pytest.mark.parametrize("cause", ["zz", "12", "", "1234567890123", "-"])
@pytest.mark.parametrize("command", ["jobs", "retry"])
def test_what_is_no_id_of_a_cause(gearstore: Cli, command: str, cause: str) -> None:
    result = gearstore(command, "--cause", cause)
    assert (result.code, result.output) == (2, "")
    assert result.errors == f"gearstore: {cause!r} is not the id of a cause: that is 3 to 12 hexadecimal digits\n"


def test_an_id_that_nothing_has(gearstore: Cli) -> None:
    result = gearstore("jobs", "--cause", "000000")
    assert (result.code, result.output) == (1, "")
    assert result.errors.startswith("gearstore: no cause begins with 000000")
