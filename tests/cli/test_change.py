"""`gearstore cancel`, `retry` and `replay`: what they touch, what they say, when they ask."""

import json
from collections.abc import Callable

import pytest

from gearstore.protocol.packets import WORK_COMPLETE, WORK_FAIL
from tests.cli.conftest import Cli, Worker

Connect = Callable[[Cli, str], Worker]


@pytest.fixture
def failed(gearstore: Cli, function: str, worker: Connect) -> list[str]:
    """The handles of four jobs that have failed."""
    return ended(gearstore, worker(gearstore, function), function, 4, WORK_FAIL)


def ended(gearstore: Cli, worker: Worker, function: str, count: int, kind: int) -> list[str]:
    """Return the handles of jobs that a worker has ended in this way."""
    handles = gearstore.printed("submit", function, "--count", str(count))
    for _ in handles:
        handle = worker.grab()[0]
        worker.report(kind, handle, *([b"result"] if kind == WORK_COMPLETE else []))
    return handles


def states(gearstore: Cli, function: str) -> list[str]:
    """Return the states of a function's jobs, the oldest first."""
    return [line.split("\t")[2] for line in gearstore("jobs", "--function", function, "--oldest").lines]


def test_one_job_is_retried(gearstore: Cli, function: str, failed: list[str]) -> None:
    result = gearstore("retry", failed[1])
    assert (result.code, result.output, result.errors) == (0, f"{failed[1]}\t{function}\tfailed -> queued\n", "")
    assert states(gearstore, function) == ["failed", "queued", "failed", "failed"]


def test_jobs_pipe_into_retry(gearstore: Cli, function: str, failed: list[str]) -> None:
    listed = gearstore("jobs", "--function", function, "--state", "failed")
    result = gearstore("retry", "-", given="\n".join(line.split("\t")[0] for line in listed.lines).encode())
    assert (result.code, len(result.lines)) == (0, 4)
    assert result.errors == "gearstore: 4 jobs put back into the queue\n"
    assert states(gearstore, function) == ["queued"] * 4


def test_a_filter_takes_what_can_be_retried(gearstore: Cli, function: str, failed: list[str]) -> None:
    gearstore.printed("submit", function)
    gearstore.printed("retry", failed[0])
    gearstore.printed("cancel", failed[0])
    assert len(gearstore.printed("retry", "--function", function)) == 3
    assert states(gearstore, function) == ["cancelled", "queued", "queued", "queued", "queued"]
    assert len(gearstore.printed("retry", "--function", function, "--state", "cancelled")) == 1


def test_a_limit_takes_the_oldest(gearstore: Cli, function: str, failed: list[str]) -> None:
    gearstore.printed("retry", "--function", function, "--limit", "2")
    assert states(gearstore, function) == ["queued", "queued", "failed", "failed"]


def test_a_dry_run_changes_nothing(gearstore: Cli, function: str, failed: list[str]) -> None:
    result = gearstore("retry", "--function", function, "--dry-run")
    assert result.code == 0
    assert result.lines == [f"{handle}\t{function}\tfailed -> queued" for handle in failed[:3]]
    assert result.errors == "gearstore: 4 jobs would be put back into the queue\n"
    assert states(gearstore, function) == ["failed"] * 4


def test_copies_are_replayed(gearstore: Cli, function: str, worker: Connect) -> None:
    by_hand = worker(gearstore, function)
    (old,) = ended(gearstore, by_hand, function, 1, WORK_COMPLETE)
    (line,) = gearstore.printed("replay", old)
    arrow, new = line.removeprefix(old).split(maxsplit=1)
    assert arrow == "->"
    assert by_hand.grab()[0] == new.encode()
    assert f"replay of   {old}\n" in gearstore("show", new).output


def test_queued_and_running_jobs_are_cancelled(gearstore: Cli, function: str, worker: Connect) -> None:
    by_hand = worker(gearstore, function)
    gearstore.printed("submit", function, "--count", "2")
    gearstore.printed("submit", function, "--in", "1h")
    by_hand.grab()
    result = gearstore("cancel", "--function", function, "--json")
    assert result.code == 0
    assert [json.loads(line)["was"] for line in result.lines] == ["running", "queued", "delayed"]
    assert states(gearstore, function) == ["cancelled"] * 3


def test_what_is_refused_is_exit_code_4(gearstore: Cli, function: str, failed: list[str]) -> None:
    result = gearstore("cancel", failed[0])
    assert (result.code, result.output) == (4, "")
    assert result.errors.startswith(f"gearstore: {failed[0]}: ")
    result = gearstore("retry", *gearstore.printed("submit", function), failed[0])
    assert (result.code, len(result.lines)) == (4, 1)
    assert result.errors.endswith("gearstore: 1 job put back into the queue, 1 refused\n")


@pytest.mark.parametrize("verb", ["cancel", "retry", "replay"])
def test_nothing_to_do_is_exit_code_1(gearstore: Cli, verb: str, function: str) -> None:
    for arguments in (["--function", function], ["-"], [""], ["--function", function, "--dry-run"]):
        result = gearstore(verb, *arguments)
        assert (result.code, result.output) == (1, "")
        assert result.errors.startswith("gearstore: 0 jobs ")


def test_an_unknown_handle_does_not_stop_the_others(gearstore: Cli, function: str, failed: list[str]) -> None:
    unknown = [f"H:nobody:{number:012}" for number in range(3000)]
    result = gearstore("retry", "-", given="\n".join([*unknown, *failed]).encode())
    assert (result.code, len(result.lines)) == (1, 4)
    assert "H:nobody:" in result.errors
    assert states(gearstore, function) == ["queued"] * 4


def test_a_terminal_is_asked_before_more_than_one_job(gearstore: Cli, function: str, failed: list[str]) -> None:
    declined = gearstore.on_terminal("retry", "--function", function, typed="n\n", when="retry 4 jobs?")
    assert declined.code == 1
    assert "nothing was changed" in declined.output
    assert states(gearstore, function) == ["failed"] * 4
    agreed = gearstore.on_terminal("retry", *failed[:3], typed="y\n", when="retry 3 jobs?")
    assert agreed.code == 0
    assert states(gearstore, function) == ["queued", "queued", "queued", "failed"]


def test_ctrl_c_is_no(gearstore: Cli, function: str, failed: list[str]) -> None:
    result = gearstore.on_terminal("retry", "--function", function, typed="\x03", when="retry 4 jobs?")
    assert result.code == 130
    assert "Traceback" not in result.output
    assert states(gearstore, function) == ["failed"] * 4


def test_a_terminal_is_not_asked_about_one_job_or_with_yes(gearstore: Cli, function: str, failed: list[str]) -> None:
    assert "?" not in gearstore.on_terminal("retry", failed[0]).output
    assert "?" not in gearstore.on_terminal("retry", "--function", function, "--yes").output
    assert states(gearstore, function) == ["queued"] * 4


def test_what_arrives_while_the_question_is_open_is_not_touched(gearstore: Cli, function: str) -> None:
    gearstore.printed("submit", function, "--count", "2")

    def answer() -> str:
        gearstore.printed("submit", function)
        return "y\n"

    assert gearstore.on_terminal("cancel", "--function", function, typed=answer, when="cancel 2 jobs?").code == 0
    assert states(gearstore, function) == ["cancelled", "cancelled", "queued"]
