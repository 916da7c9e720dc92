"""`gearstore cancel`, `retry` and `replay`: what they touch, what they say, when they ask."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gearstore.protocol.packets import WORK_COMPLETE, WORK_EXCEPTION, WORK_FAIL
from tests.acceptance.servers import Server, clean_environment, eventually
from tests.cli.conftest import COMMAND, Cli, Worker

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


def states(gearstore: Cli, function: str, *options: str) -> list[str]:
    """Return the states of a function's jobs, the oldest first."""
    return [line.split("\t")[2] for line in gearstore("jobs", "--function", function, "--oldest", *options).lines]


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


# Many jobs on a terminal


def test_a_bar_shows_how_far_it_is(gearstore: Cli, function: str, worker: Connect) -> None:
    ended(gearstore, worker(gearstore, function), function, 50, WORK_FAIL)
    result = gearstore.on_terminal("retry", "--function", function, typed="y\n", when="retry 50 jobs?")
    assert result.code == 0
    assert "50/50" in result.output, "the bar"
    assert "failed -> queued" not in result.output, "not every job"
    assert result.lines[-1].endswith("gearstore: 50 jobs put back into the queue")
    assert states(gearstore, function) == ["queued"] * 50
    result = gearstore.on_terminal("cancel", "--function", function, "--yes")
    assert "50/50" in result.output and "jobs?" not in result.output and result.code == 0
    assert states(gearstore, function) == ["cancelled"] * 50


def test_ctrl_c_stops_between_two_batches(gearstore: Cli, function: str, worker: Connect) -> None:
    ended(gearstore, worker(gearstore, function), function, 60, WORK_FAIL)
    arguments = ("retry", "--function", function, "--yes", "--rate", "20")

    def interrupt() -> str:
        eventually(lambda: "queued" in states(gearstore, function, "--limit", "100"), what="the first batch")
        return "\x03"

    result = gearstore.on_terminal(*arguments, typed=interrupt, when="/60")
    assert result.code == 130 and "Traceback" not in result.output
    left = states(gearstore, function, "--limit", "100").count("failed")
    assert 0 < left < 60
    result = gearstore("retry", "--function", function)
    assert (result.code, len(result.lines)) in ((0, left), (0, left - 1), (0, left - 2))  # a batch was under way
    assert states(gearstore, function, "--limit", "100") == ["queued"] * 60


# Their options


def test_hold_release_and_purge(gearstore: Cli, function: str, failed: list[str]) -> None:
    waiting = gearstore.printed("submit", function, "--count", "3")
    assert gearstore.printed("hold", "--function", function) == [
        f"{handle}\t{function}\tqueued -> held" for handle in waiting
    ]
    assert gearstore.printed("release", waiting[0]) == [f"{waiting[0]}\t{function}\theld -> queued"]
    assert gearstore.printed("release", waiting[1], "--delay", "1h") == [f"{waiting[1]}\t{function}\theld -> delayed"]
    result = gearstore("purge", "--function", function)
    assert result.lines == [f"{handle}\t{function}\tfailed -> purged" for handle in failed]
    assert result.errors == "gearstore: 4 jobs purged\n"
    assert states(gearstore, function) == ["queued", "delayed", "held"]
    assert gearstore("show", failed[0]).code == 1


def test_a_retry_that_waits(gearstore: Cli, function: str, failed: list[str]) -> None:
    assert gearstore.printed("retry", failed[0], "--delay", "2h") == [f"{failed[0]}\t{function}\tfailed -> delayed"]
    assert "state       delayed (an operator put it back)\n" in gearstore("show", failed[0]).output
    assert "put back by an operator; waits until " in gearstore("show", failed[0]).output


def test_replays_with_their_options(gearstore: Cli, function: str, worker: Connect) -> None:
    by_hand = worker(gearstore, function)
    (old,) = gearstore.printed("submit", function, "--unique", "u1")
    by_hand.report(WORK_FAIL, by_hand.grab()[0])
    copy = gearstore.printed("replay", old, "--as-function", f"{function}2", "--delay", "1h")[0].split()[-1]
    shown = gearstore("show", copy).output
    assert f"function    {function}2\n" in shown and "unique      u1\n" in shown and "delayed" in shown
    again = gearstore("replay", "--function", function)
    assert (again.code, again.output) == (4, "")
    assert f"it was replayed already, as {copy}" in again.errors
    copy = gearstore.printed("replay", old, "--again", "--unique", "drop")[0].split()[-1]
    assert "unique      u1" not in gearstore("show", copy).output
    live = gearstore.printed("submit", function, "--unique", "u1")[0]
    refused = gearstore("replay", old, "--again")
    assert (refused.code, refused.output) == (4, "")
    assert f"its unique is queued as {live}" in refused.errors
    assert gearstore.printed("replay", "--unique-is", "u1", "--function", function, "--again", "--unique", "drop")


def test_a_rate(gearstore: Cli, function: str, failed: list[str]) -> None:
    began = time.monotonic()
    assert len(gearstore.printed("retry", "--function", function, "--rate", "20/s")) == 4
    assert time.monotonic() - began >= 0.19


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("retry",), "which jobs? retry wants handles"),
        (("purge", "--limit", "5"), "which jobs? purge wants handles"),
        (("retry", "--function", "f", "--since", "2999-01-01"), "--since is not before --until, or lies ahead"),
        (("retry", "--function", "f", "--since", "1h", "--until", "2h"), "--since is not before --until"),
        (("retry", "--function", "f", "--since", "99999999d"), "'99999999d' is not a duration"),
        (("retry", "--function", ""), "a filter is empty"),
        (("retry", "H:h:000000000001", "--limit", "1"), "--limit goes with filters"),
        (("retry", "--function", "f", "--rate", "0"), "--rate: '0' is not a number of jobs a second"),
        (("retry", "--function", "f", "--rate", "many"), "--rate: 'many' is not a number of jobs a second"),
        (("retry", "--function", "f", "--delay", "0s"), "--delay: no time at all"),
        (("release", "--function", "f", "--delay", "-1s"), "'-1s' is not a duration"),
        (("replay", "--function", "f", "--as-function", ""), "--as-function: name a function"),
        (("replay", "--function", "f", "--unique", "some"), "Invalid value for '--unique'"),
        (("retry", "--function", "f", "--state", "lost"), "Invalid value for '--state'"),
    ],
)
def test_wrong_usage(gearstore: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    result = gearstore(*arguments)
    assert (result.code, result.output) == (2, "")
    assert result.errors.startswith(f"gearstore: {sentence}") and result.errors.count("\n") == 1


@pytest.mark.parametrize("verb", ["cancel", "retry", "replay", "hold", "release", "purge"])
@pytest.mark.parametrize("handle", ["H:nobody:000000000001", "nonsense", "H:vm:\x1b[2J", "x" * 3000])
def test_a_handle_that_nobody_has(gearstore: Cli, verb: str, handle: str) -> None:
    result = gearstore(verb, handle)
    assert (result.code, result.output) == (1, "")
    assert result.errors.startswith("gearstore: there is no job ") and "\x1b" not in result.errors


@pytest.mark.parametrize("verb", ["retry", "replay", "hold", "release", "purge"])
def test_the_handle_of_a_foreground_job(gearstore: Cli, verb: str, function: str, worker: Connect) -> None:
    waiting = gearstore.spawn("submit", function, "--wait")
    by_hand = worker(gearstore, function)
    handle = by_hand.grab()[0].decode()
    result = gearstore(verb, handle)
    assert (result.code, result.output) == (4, "")
    assert result.errors.startswith(f"gearstore: {handle}: it is running\n".replace("\n", ""))
    by_hand.report(WORK_COMPLETE, handle.encode(), b"result")
    assert waiting.wait() == 0
    assert gearstore(verb, handle).code == 1, "nothing is kept of it"


def test_states_that_contradict_a_handle(gearstore: Cli, function: str, failed: list[str]) -> None:
    result = gearstore("retry", failed[0], "--state", "held")
    assert (result.code, result.output) == (1, "")
    assert result.errors.startswith(f"gearstore: there is no job {failed[0]} that matches\n")


def test_names_and_payloads_with_control_bytes(gearstore: Cli, worker: Connect) -> None:
    function, workload = "evil\x1b[2J\x07", "\x1b]0;title\x07\r\n\t"
    handle = gearstore.printed("submit", function, workload)[0]
    for arguments in (["hold", handle], ["jobs", handle], ["show", handle], ["pause", function], ["resume", function],
                      ["cancel", handle, "--dry-run"], ["release", "--function", "evil*"]):  # fmt: skip
        results = [gearstore(*arguments)]
        if arguments[0] in ("jobs", "show", "pause"):
            results.append(gearstore.on_terminal(*arguments))
        for result in results:
            assert "\x1b[2J" not in result.output and "\x1b]0" not in result.output and "\x07" not in result.output
            assert "\x1b" not in result.errors
    assert gearstore("show", "--payload", handle).bytes == workload.encode()


# Readers that have enough


@pytest.mark.parametrize("command", ["jobs", "retry", "failures"])
def test_a_reader_that_closes_the_pipe_early(gearstore: Cli, function: str, worker: Connect, command: str) -> None:
    by_hand = worker(gearstore, function)
    handles = gearstore.printed("submit", function, "x" * 500, "--count", "300")
    for handle in handles:
        by_hand.grab()
        by_hand.report(WORK_EXCEPTION, handle.encode(), b"e" * 100)
    options = {"jobs": ["--limit", "100000", "--json"], "retry": ["--json"], "failures": ["--json"]}[command]
    process = subprocess.Popen(
        [*COMMAND, command, "--function", function, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment() | gearstore.environment,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    if command == "failures":
        process.stdout.close()
    else:
        process.stdout.readline()
        process.stdout.close()
    with process.stderr:
        errors = process.stderr.read()
    code = process.wait(60)
    assert (code, errors) == (141, b"") or (code == 0 and b"\n" not in errors[:-1]), "or it had said everything before"
    rest = gearstore("retry", "--function", function, "--state", "failed")
    assert rest.code in (0, 1)
    assert states(gearstore, function, "--limit", "1000") == ["queued"] * 300


@pytest.mark.slow
def test_a_payload_of_100_megabytes(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server", "gearstore", ["--max-packet", "200M"])
    gearstore = Cli(server, tmp_path)
    try:
        payload = b"\x1b" * 100_000_000
        (handle,) = gearstore.printed("submit", "large", "-", given=payload)
        shown = gearstore("show", handle)
        assert shown.code == 0 and len(shown.output) < 1000 and "workload    100000000 bytes: \\x1b" in shown.output
        whole = gearstore.spawn("show", "--payload", handle)
        assert whole.wait(60) == 0 and whole.output == payload
        assert gearstore.printed("cancel", handle) == [f"{handle}\tlarge\tqueued -> cancelled"]
    finally:
        server.process.kill()
