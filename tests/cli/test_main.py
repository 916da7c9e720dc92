"""How the command line as a whole behaves: exit codes, errors in one line, help."""

import re
import subprocess

import pytest

from gearstore import __version__
from tests.acceptance.servers import HOST, clean_environment, free_port, run
from tests.cli.conftest import COMMAND, Cli, run_here

COMMANDS = ["serve", "submit", "status", "workers", "jobs", "show", "cancel", "retry", "replay", "work"]


def test_the_version() -> None:
    done = run([*COMMAND, "--version"])
    assert done.returncode == 0
    assert done.stdout.decode() == f"gearstore {__version__}\n"


def test_the_exit_code_reaches_the_shell() -> None:
    done = run([*COMMAND, "status", "--server", f"{HOST}:{free_port()}"])
    assert done.returncode == 3
    assert done.stderr.startswith(b"gearstore: no server at ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(command: str) -> None:
    done = run_here([command, "--help"])
    assert done.code == 0
    assert f"Example: gearstore {command}" in done.output or f"| gearstore {command}" in done.output


def test_the_help_names_every_command() -> None:
    text = run_here(["--help"]).output
    assert [command for command in COMMANDS if not re.search(rf"\b{command}\b", text)] == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["status", "--nonsense"],
        ["status", "5"],
        ["jobs", "--state", "nonsense"],
        ["jobs", "--since", "nonsense"],
        ["jobs", "--limit", "0"],
        ["jobs", "--limit", "5", "H:h:1"],
        ["show"],
        ["show", "--payload", "H:h:1", "H:h:2"],
        ["show", "--payload", "--result", "H:h:1"],
        ["retry"],
        ["retry", "--limit", "5"],
        ["cancel", "--dry-run"],
        ["replay", "--function", ""],
        ["submit"],
        ["submit", "f", "--in", "soon"],
        ["submit", "f", "--at", "yesterday"],
        ["submit", "f", "--at", "2001-01-01 00:00"],
        ["submit", "f", "--in", "1h", "--at", "2100-01-01"],
        ["submit", "f", "--in", "1h", "--priority", "high"],
        ["submit", "f", "--wait", "--count", "2"],
        ["submit", "f", "--wait", "--in", "1h"],
        ["submit", "f", "--count", "0"],
        ["submit", "f", "workload", "--file", "/dev/null"],
        ["submit", "f", "--file", "/nonexistent/file"],
        ["work", "f"],
        ["work", "f", "--"],
        ["work", "--", "cat"],
        ["work", "f", "--", "/nonexistent/command"],
        ["work", "-j", "0", "f", "--", "cat"],
        ["status", "--server", "not an address"],
        ["work", "--server", "not an address", "f", "--", "cat"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str]) -> None:
    done = run_here(arguments)
    assert (done.code, done.output) == (2, "")
    assert re.fullmatch(r"gearstore: [^\n]+\n", done.errors)


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "f"],
        ["submit", "f", "--wait"],
        ["status"],
        ["workers", "--json"],
        ["jobs"],
        ["show", "H:h:1"],
        ["retry", "H:h:1"],
    ],
    ids=" ".join,
)
def test_an_unreachable_server_is_one_line_and_exit_code_3(arguments: list[str]) -> None:
    done = run_here([*arguments, "--server", f"{HOST}:{free_port()}"])
    assert (done.code, done.output) == (3, "")
    assert re.fullmatch(r"gearstore: no server at [^\n]+\n", done.errors)


@pytest.mark.parametrize("command", ["jobs", "show H:h:1", "retry H:h:1", "cancel --function *"])
def test_a_gearmand_does_not_know_the_verbs(gearmand: Cli, command: str) -> None:
    result = gearmand(*command.split())
    assert result.code == 4
    assert "is not gearstore" in result.errors


def test_a_reader_that_has_enough_is_no_error(gearstore: Cli, function: str) -> None:
    gearstore.printed("submit", function, "--count", "100")
    writer = subprocess.Popen(
        [*COMMAND, "jobs", "--function", function, "--limit", "100"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment() | gearstore.environment,
    )
    assert writer.stdout and writer.stderr
    writer.stdout.close()
    with writer.stderr:
        assert writer.stderr.read() == b""
    assert writer.wait(60) == 141


def test_a_full_disk_is_one_line(gearstore: Cli) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "status"], stdout=full, stderr=subprocess.PIPE, env=clean_environment() | gearstore.environment
        )
    assert done.returncode == 1
    assert done.stderr == b"gearstore: can't write to standard output: No space left on device\n"


def test_a_host_name_is_an_address_too(gearstore: Cli, function: str) -> None:
    (handle,) = gearstore.printed("submit", function, "--server", f"localhost:{gearstore.server.port}")
    assert gearstore.printed("jobs", handle)[0].startswith(handle)
