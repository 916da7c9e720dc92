"""The shell completions, each in its own shell, with a server behind them."""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docs.make.commands import Command, commands
from gearstore.protocol.packets import WORK_FAIL
from tests.acceptance.servers import HOST, clean_environment, free_port, tool
from tests.cli.conftest import Cli, Worker, read_terminal, take_terminal

COMPLETIONS = Path(__file__).parents[2] / "completions"
NAMES = {command.name.split()[0] for command in commands()}
EVIL = "evil $(touch pwned) `touch pwned`"

BASH = """
source "$1/gearstore.bash"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_gearstore "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""
# The shell prints what it understood in place of running it.
REPORT = 'gearstore() { printf "<%s>" "$@"; echo; }\n'
BASHRC = f"source {COMPLETIONS}/gearstore.bash\n{REPORT}PS1='$ '\n"
ZSHRC = f"fpath=({COMPLETIONS} $fpath)\nautoload -U compinit\ncompinit -u -d dump\n{REPORT}PS1='$ '\n"

READY = "\x1b[?2004h"  # what both shells write when they start to read keys

Complete = Callable[..., list[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a `gearstore` to run, and what the shells read at their start."""
    # A user would not wait for an answer as long as a busy machine may take.
    for name, text in (("gearstore", f'{sys.executable} -m gearstore_cli "$@"'), ("timeout", '"${@:2}"')):
        program = tmp_path / name
        program.write_text(f"#!/bin/bash\nexec {text}\n")
        program.chmod(0o755)
    (tmp_path / "bashrc").write_text(BASHRC)
    (tmp_path / ".zshrc").write_text(ZSHRC)
    return tmp_path


@pytest.fixture
def environment(home: Path, gearstore: Cli) -> dict[str, str]:
    """The environment of a shell, in which `gearstore` talks to the server of the test."""
    return (
        clean_environment()
        | gearstore.environment
        | {"PATH": f"{home}:{os.environ['PATH']}", "HOME": str(home), "ZDOTDIR": str(home), "LC_ALL": "C.UTF-8"}
    )


@pytest.fixture
def bash(home: Path, environment: dict[str, str]) -> Complete:
    """Return what bash offers for a command line in words as bash cuts them."""

    def complete(*words: str) -> list[str]:
        done = subprocess.run(
            [tool("bash", "bash"), "-c", BASH, "bash", COMPLETIONS, "gearstore", *words],
            cwd=home, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stderr == ""
        return [line for line in done.stdout.splitlines() if line]

    return complete


@pytest.fixture
def fish(home: Path, environment: dict[str, str]) -> Complete:
    """Return what fish offers for a command line, without the explanations."""

    def complete(*words: str) -> list[str]:
        script = f"source {COMPLETIONS}/gearstore.fish; complete -C $line"
        done = subprocess.run(
            [tool("fish", "fish"), "--no-config", "-c", script],
            cwd=home, env=environment | {"line": " ".join(["gearstore", *words])}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stderr == ""
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    return complete


@pytest.fixture(params=["bash", "fish"])
def offered(request: pytest.FixtureRequest) -> Complete:
    """What a shell offers, in each shell that can be asked."""
    complete: Complete = request.getfixturevalue(request.param)
    return complete


def test_commands(offered: Complete) -> None:
    assert NAMES <= set(offered(""))
    assert set(offered("sta")) == {name for name in NAMES if name.startswith("sta")}
    assert offered("config", "sa") == ["sample"]


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_all_options_of_a_command(offered: Complete, command: Command) -> None:
    flags = {next(flag for flag in each.flags if flag.startswith("--")) for each in command.options}
    assert flags <= set(offered(*command.name.split(), "--"))


def test_words(offered: Complete) -> None:
    assert offered("retry", "--state", "fa") == ["failed"]
    assert offered("submit", "-p", "hi") == ["high"]
    assert offered("serve", "--log-level", "WARN") == ["WARNING"]


def test_files(offered: Complete, home: Path) -> None:
    (home / "payload.bin").touch()
    assert offered("submit", "--file", "payl") == ["payload.bin"]


def test_functions_come_from_the_server_and_are_never_run(
    offered: Complete, gearstore: Cli, function: str, home: Path
) -> None:
    gearstore.printed("submit", function)
    gearstore.printed("submit", EVIL)
    assert offered("submit", function[:-2]) == [function]
    assert offered("jobs", "--function", function[:-2]) == [function]
    assert offered("work", function[:-2]) == [function]
    assert len(offered("submit", "evil")) == 1
    assert not (home / "pwned").exists()


def test_handles_of_jobs_that_the_command_is_for(offered: Complete, gearstore: Cli, function: str) -> None:
    (handle,) = gearstore.printed("submit", function)
    assert handle in offered("cancel", handle[:1])
    assert handle not in offered("retry", handle[:1])
    gearstore.printed("cancel", handle)
    assert handle not in offered("cancel", handle[:1])
    assert handle in offered("show", handle[:1])


def test_the_server_that_is_named_is_asked(offered: Complete, gearstore: Cli, function: str) -> None:
    gearstore.printed("submit", function)
    assert offered("submit", "--server", f"localhost:{gearstore.server.port}", function[:-2]) == [function]
    assert offered("submit", f"--server=localhost:{gearstore.server.port}", function[:-2]) == [function]


def test_without_a_server_it_is_silent(offered: Complete) -> None:
    assert offered("show", "--server", f"{HOST}:{free_port()}", "H") == []


def test_the_command_of_a_worker(offered: Complete, home: Path) -> None:
    (home / "job.php").touch()
    assert "gearstore" in offered("work", "f", "--", "gearst")
    assert offered("work", "f", "--", "cat", "job") == ["job.php"]


def test_bash_cuts_words_at_colons_and_equal_signs(bash: Complete, gearstore: Cli, function: str) -> None:
    (handle,) = gearstore.printed("submit", function)
    assert handle.removeprefix("H:") in bash("show", "H", ":", handle[2])
    assert bash("retry", "--state", "=", "fa") == ["failed"]


def typed(shell: list[str], home: Path, environment: dict[str, str], keys: str, expected: str) -> str:
    """Type keys in an interactive shell and return all that it shows, up to a line that has what is expected."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        shell, stdin=slave, stdout=slave, stderr=slave, cwd=home, env=environment, start_new_session=True,
        preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(slave)
    text = ""
    try:
        while expected not in text and select.select([master], [], [], 30)[0] and (data := read_terminal(master)):
            text += data.decode("utf-8", "replace")
            if keys and READY in text:
                os.write(master, keys.encode())
                keys = ""
        return text
    finally:
        os.close(master)
        process.kill()
        process.wait(10)


@pytest.fixture(params=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, home: Path, environment: dict[str, str]) -> Iterator[Callable[..., str]]:
    """Type in a shell on a terminal; bash and zsh complete there only."""
    name = request.param
    shell = {"bash": ["--rcfile", str(home / "bashrc"), "-i"], "zsh": ["-i"]}[name]
    yield lambda keys, expected: typed([tool(name, name), *shell], home, environment, keys, expected)


def test_a_terminal(
    terminal: Callable[..., str], gearstore: Cli, function: str, worker: Callable[[Cli, str], Worker]
) -> None:
    (handle,) = gearstore.printed("submit", function)
    failing = worker(gearstore, function)
    failing.report(WORK_FAIL, failing.grab()[0])
    assert "<retry>" in terminal("gearstore retr\t\n", "<retry>")
    assert "<config><sample>" in terminal("gearstore confi\tsa\t\n", "<sample>")
    assert "<submit><-p><high>" in terminal("gearstore submit -p hi\t\n", "<high>")
    assert f"<retry><{handle}>" in terminal("gearstore retry H\t\n", f"<{handle}>")
    assert f"<jobs><--function><{function}>" in terminal(
        f"gearstore jobs --function {function[:-2]}\t\n", f"<{function}>"
    )
    gearstore.printed("retry", handle)  # so that there is none for the next


def test_a_name_is_quoted_on_a_terminal(terminal: Callable[..., str], gearstore: Cli, home: Path) -> None:
    gearstore.printed("submit", EVIL)
    assert f"<submit><{EVIL}>" in terminal("gearstore submit evil\t\n", f"<{EVIL}>")
    assert not (home / "pwned").exists()
