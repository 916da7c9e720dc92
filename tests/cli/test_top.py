"""`gearstore top` in a real terminal: driven by keys, read from the screen."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearstore.protocol.packets import WORK_EXCEPTION
from tests.acceptance.servers import Server
from tests.cli.conftest import COMMAND, Cli, Worker
from tests.cli.terminal import Terminal

Connect = Callable[[Cli, str], Worker]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cli]:
    """The command against a server of the test's own."""
    server = Server(tmp_path, "gearstore")
    yield Cli(server, tmp_path)
    server.process.kill()


@pytest.fixture
def top(own: Cli) -> Iterator[Terminal]:
    """`gearstore top` in a terminal."""
    environment = {"GEARSTORE_SERVER": own.address}
    terminal = Terminal(own.directory, environment, *COMMAND, "top", "--interval", "0.1")
    yield terminal
    terminal.end()


def states(cli: Cli, function: str) -> list[str]:
    """Return the states of a function's jobs, oldest first."""
    return [line.split("\t")[2] for line in cli("jobs", "--function", function, "--oldest").lines]


def test_from_functions_to_jobs_to_one_job(own: Cli, top: Terminal, worker: Connect) -> None:
    top.shows("no functions yet")
    own.printed("submit", "mail", "hello", "--count", "3")
    own.printed("submit", "\x1b[2Jevil", "x")
    top.shows("Functions by queued", "mail", "\\x1b[2Jevil", "no worker", "4 queued")
    hand = worker(own, "mail")
    handle = hand.grab()[0].decode()
    top.shows("1 running", "1 workers")
    top.press("/", "m", "a", "i", "Enter")
    top.shows_no("evil")
    top.press("Enter")
    top.shows("All jobs of mail, newest first", handle, "running")
    top.press("s")
    top.shows("oldest first", handle)
    top.press("Enter")
    top.shows(f"Job {handle}", "state       running")
    hand.report(WORK_EXCEPTION, handle.encode(), b"no such \x1b[31mhost")
    top.shows("state       failed", "no such \\x1b[31mhost")
    top.press("Escape")
    top.shows("All jobs of mail", "exception")
    top.press("f", "f", "f", "f", "f")
    top.shows("Failed jobs of mail", handle)
    top.press("Escape")
    top.shows("Functions by queued", "evil")
    top.press("?")
    top.shows("Capital letters change things")
    top.press("x")
    top.press("q")
    top.shows("ended with 0", "icanon", "echo")
    assert "Functions" not in top.screen  # what was there before is back


def test_capital_letters_change_things(own: Cli, top: Terminal, worker: Connect) -> None:
    own.printed("submit", "mail", "hello", "--count", "2")
    own.printed("submit", "mail", "hello", "--in", "1h")
    hand = worker(own, "mail")
    handle = hand.grab()[0]
    hand.report(WORK_EXCEPTION, handle, b"no")
    hand.connection.close()
    top.shows("1 queued", "no worker")
    top.press("R")
    top.shows("Retry 1 failed job of mail?")
    top.press("n")
    top.shows("nothing was changed")
    assert states(own, "mail") == ["failed", "queued", "delayed"]
    top.press("R", "y")
    top.shows("1 job put back", "2 queued")
    assert states(own, "mail") == ["queued", "queued", "delayed"]
    top.press("P")
    top.shows("Pause mail (2 queued, 0 running)?")
    top.press("y")
    top.shows("mail is paused", "paused for")
    (row,) = map(json.loads, own.printed("status", "--json"))
    assert row["paused_at"]
    top.press("P", "y")
    top.shows("mail is resumed", "no worker")
    top.press("Enter")
    top.shows("All jobs of mail", handle.decode())  # (keys that come before the jobs do nothing)
    top.press("End", "C")
    top.shows(f"Cancel 1 queued job, {handle.decode()} of mail?")
    top.press("y")
    top.shows("1 job cancelled")
    top.press("Escape", "C", "y")
    top.shows("2 jobs cancelled", "0 queued")
    assert states(own, "mail") == ["cancelled"] * 3


def test_it_survives_the_end_of_the_server(own: Cli, top: Terminal) -> None:
    own.printed("submit", "mail", "hello")
    top.shows("mail", "1 queued")
    own.server.kill9()
    top.shows("No server: ", "Connection refused", "mail")
    own.server.restart()
    top.shows_no("No server")
    own.printed("submit", "mail", "hello")
    top.shows("2 queued")


def test_the_size_of_the_terminal_may_change(own: Cli, top: Terminal) -> None:
    for number in range(30):
        own.printed("submit", f"function{number:02}")
    top.shows("30 queued", "function00", "function17", "FAIL/MIN")
    top("resize-window", "-x", "50", "-y", "10")
    top.shows_no("FAIL/MIN")
    top.press("End")
    top.shows("function29", "s sort")
    top("resize-window", "-x", "120", "-y", "40")
    top.shows("function00", "function29", "FAIL/MIN")


def test_signals_and_ctrl_c_leave_the_terminal_as_it_was(own: Cli, top: Terminal) -> None:
    top.shows("no functions yet")
    top.press("C-z")  # a letter without a meaning, not a suspended program
    top.press("C-c")
    top.shows("ended with 0", "icanon", "isig")


def test_sigterm_leaves_the_terminal_as_it_was(own: Cli, top: Terminal) -> None:
    top.shows("no functions yet")
    pane = int(top("display-message", "-p", "#{pane_pid}"))
    children = Path(f"/proc/{pane}/task/{pane}/children").read_text().split()
    os.kill(int(children[0]), 15)
    top.shows("ended with 143", "icanon", "isig")


def test_it_needs_a_terminal(own: Cli) -> None:
    result = own("top")
    assert (result.code, result.output) == (2, "")
    assert "top needs a terminal" in result.errors


def test_a_server_that_can_not_be_one(gearstore: Cli) -> None:
    result = gearstore.on_terminal("top", "--server", "here:port")
    assert result.code == 2
    assert "--server" in result.output
