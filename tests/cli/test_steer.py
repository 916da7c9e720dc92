"""`gearstore pause`, `resume` and `drain`: what they say, and what workers get."""

import json
import signal
from collections.abc import Callable, Iterator

import pytest

from gearstore.protocol.packets import GRAB_JOB_UNIQ, WORK_COMPLETE, request
from tests.acceptance.servers import eventually
from tests.cli.conftest import Cli, Worker

Connect = Callable[[Cli, str], Worker]


@pytest.fixture(autouse=True)
def nothing_stays_paused(gearstore: Cli) -> Iterator[None]:
    """Let the next test find a server that assigns."""
    yield
    gearstore("resume")


def assigns(worker: Worker) -> bool:
    """Whether a worker that asks gets a job."""
    worker.connection.send(request(GRAB_JOB_UNIQ))
    return len(worker.connection.receive()[1]) == 4


def states(gearstore: Cli, function: str) -> list[str]:
    """Return the states of a function's jobs, the oldest first."""
    return [line.split("\t")[2] for line in gearstore("jobs", "--function", function, "--oldest").lines]


def test_a_function_is_paused_and_resumed(gearstore: Cli, function: str, worker: Connect) -> None:
    by_hand = worker(gearstore, function)
    gearstore.printed("submit", function, "--count", "2")
    assert assigns(by_hand)
    assert gearstore.printed("pause", function) == [
        f"{function}\tpaused until somebody resumes it, 1 still running"
    ]  # fmt: skip
    assert not assigns(by_hand)
    assert gearstore.printed("resume", function) == [f"{function}\tnot paused"]
    assert assigns(by_hand)


def test_a_pause_of_everything_for_a_while(gearstore: Cli, function: str, worker: Connect) -> None:
    by_hand = worker(gearstore, function)
    gearstore.printed("submit", function)
    (line,) = gearstore.printed("pause", "--for", "10m")
    assert line.startswith("all functions\tpaused until 20")
    assert not assigns(by_hand)
    (row,) = [json.loads(line) for line in gearstore.printed("pause", "--json", "--for", "2s")]
    assert 0 < row["paused_until"] - row["paused_at"] <= 2001  # (two clocks are read, and rounded)
    eventually(lambda: assigns(by_hand), what="an end of the pause")


def test_functions_by_glob(gearstore: Cli, function: str) -> None:
    names = [f"{function}{letter}" for letter in "abc"]
    for name in names:
        gearstore.printed("submit", name)
    assert [line.split("\t")[0] for line in gearstore.printed("pause", f"{function}[ab]")] == names[:2]
    result = gearstore("pause", "no function is called so*")
    assert (result.code, result.output) == (1, "")
    assert result.errors == "gearstore: no function matches no function is called so*\n"


def test_what_waits_is_held_with_the_pause(gearstore: Cli, function: str, worker: Connect) -> None:
    by_hand = worker(gearstore, function)
    gearstore.printed("submit", function, "--count", "3")
    gearstore.printed("submit", function, "--in", "1h")
    by_hand.grab()
    result = gearstore("pause", function, "--hold")
    assert (result.code, result.errors) == (0, "gearstore: 3 jobs held\n")
    gearstore.printed("submit", function)
    gearstore.printed("resume", function)
    assert states(gearstore, function) == ["running", "held", "held", "held", "queued"]
    assert len(gearstore.printed("release", "--function", function)) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("pause", ""), "the function's name is empty"),
        (("resume", ""), "the function's name is empty"),
        (("drain", ""), "the function's name is empty"),
        (("pause", "f", "--for", "0s"), "--for: no time at all"),
        (("pause", "f", "--for", "soon"), "'soon' is not a duration"),
        (("pause", "f", "--for", "99999999999d"), "'99999999999d' is not a duration"),
        (("drain", "--timeout", "soon"), "'soon' is not a duration"),
        (("pause", "x" * 513), "Function name too large"),
    ],
)
def test_wrong_usage(gearstore: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    result = gearstore(*arguments)
    assert (result.code, result.output) == (2, "")
    assert result.errors.startswith(f"gearstore: {sentence}") and result.errors.count("\n") == 1


def test_a_drain_ends_when_nothing_runs(gearstore: Cli, function: str, worker: Connect) -> None:
    by_hand = worker(gearstore, function)
    gearstore.printed("submit", function, "--count", "3")
    handles = [by_hand.grab()[0] for _ in range(2)]
    draining = gearstore.spawn("drain", function)
    eventually(lambda: "waiting for 2 running jobs" in draining.log, what=lambda: draining.log)
    by_hand.report(WORK_COMPLETE, handles[0], b"")
    eventually(lambda: "waiting for 1 running job\n" in draining.log, what=lambda: draining.log)
    assert draining.alive and not assigns(by_hand)
    by_hand.report(WORK_COMPLETE, handles[1], b"")
    assert draining.wait() == 0
    assert draining.log.endswith("gearstore: nothing runs any more; gearstore resume goes on\n")
    assert not assigns(by_hand), "it stays paused"
    gearstore.printed("resume", function)
    assert assigns(by_hand)


def test_a_drain_may_give_up(gearstore: Cli, function: str, worker: Connect) -> None:
    gearstore.printed("submit", function)
    worker(gearstore, function).grab()
    result = gearstore("drain", function, "--timeout", "100ms")
    assert result.code == 1
    assert result.errors.endswith("gearstore: 1 still running; nothing new is assigned until gearstore resume\n")
    gearstore.printed("resume", function)


def test_ctrl_c_ends_a_drain_and_leaves_the_pause(gearstore: Cli, function: str, worker: Connect) -> None:
    gearstore.printed("submit", function)
    worker(gearstore, function).grab()
    draining = gearstore.spawn("drain", function)
    eventually(lambda: "waiting for 1 running job" in draining.log, what=lambda: draining.log)
    draining.process.send_signal(signal.SIGINT)
    assert draining.wait() == 130 and "Traceback" not in draining.log
    gearstore.printed("submit", function)
    assert not assigns(worker(gearstore, function))
    gearstore.printed("resume", function)
