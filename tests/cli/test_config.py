"""`gearstore config`: from a running server, from a file and the environment, checks and their sentences."""

import json
import os
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearstore.config import load_config
from gearstore.options import OPTIONS
from gearstore.policies import KEYS
from tests.acceptance.servers import HOST, Server, eventually, free_port
from tests.cli.conftest import Cli, Result, run_here

FILE = """
keep_failed = "90d"
[functions."import*"]
retry_on = ["fail", "lost"]
backoff = "10s"
[functions."import_big"]
concurrency = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file."""
    path = tmp_path / "gearstore.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def nobody() -> dict[str, str]:
    """An environment whose server is not there."""
    return {"GEARSTORE_SERVER": f"{HOST}:{free_port()}"}


def rows(result: Result) -> dict[str, tuple[Any, str]]:
    """Return value and source of each setting printed as JSON."""
    assert result.code == 0, result
    found = [json.loads(line) for line in result.lines]
    return {row["name"]: (row["value"], row["source"]) for row in found}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a configuration file and variables of its own."""
    directory = tmp_path_factory.mktemp("configured")
    (directory / "gearstore.toml").write_text(FILE)
    options = ["--config", str(directory / "gearstore.toml"), "--keep-done", "age=1d,count=10"]
    running = Server(directory, "gearstore", options)
    yield running
    running.process.kill()


def test_the_server_is_asked_what_it_uses(gearstore: Cli, server: Server) -> None:
    found = rows(gearstore("config", "show", "--json"))
    assert list(found) == [option.name for option in OPTIONS]
    assert found["keep_done"] == ({"age": "1d", "count": 10}, "--keep-done")
    value, source = found["keep_failed"]
    assert value == "90d"
    assert source.endswith("/gearstore.toml")
    assert found["window"] == (65536, "default")


def test_the_policy_of_a_function(gearstore: Cli) -> None:
    found = rows(gearstore("config", "show", "--function", "import_big", "--json"))
    assert list(found) == [key.name for key in KEYS]
    assert found["retry_on"][0] == ["fail", "lost"]
    assert found["retry_on"][1].endswith('gearstore.toml [functions."import*"]')
    assert found["concurrency"][0] == 1
    assert found["concurrency"][1].endswith('[functions."import_big"]')
    assert found["max_attempts"] == (6, "job_retries, default")
    assert found["keep_done"] == ({"age": "1d", "count": 10}, "--keep-done")
    other = rows(gearstore("config", "show", "-f", "other", "--json"))
    assert other["concurrency"] == (0, "default")


def test_what_is_shown_is_a_configuration_file(gearstore: Cli, tmp_path: Path) -> None:
    text = gearstore("config", "show").output + gearstore("config", "show", "--function", "import_a").output
    assert text.startswith(f"# in use by the server at {gearstore.address}\n")
    table = tomllib.loads(text)
    assert table["keep_done"] == {"age": "1d", "count": 10}
    assert table["functions"]["import_a"]["retry_on"] == ["fail", "lost"]
    again = tmp_path / "again.toml"
    again.write_text(text)
    assert load_config({}, {}, again)[0].keep_done.count == 10


def test_without_a_server_it_is_what_one_started_here_would_use(nobody: dict[str, str], file: Path) -> None:
    result = run_here(["config", "show"], environment=nobody | {"GEARSTORE_PORT": "5", "GEARSTORE_CONFIG": str(file)})
    assert result.code == 0
    assert result.errors.startswith("gearstore: no server at ")
    assert result.errors.endswith("; this is what a server started here would use\n")
    assert result.lines[0] == "# for a server that is started here"
    (port,) = [line for line in result.lines if line.startswith("port = ")]
    assert port.split() == ["port", "=", "5", "#", "GEARSTORE_PORT"]


def test_with_a_file_no_server_is_asked(gearstore: Cli, file: Path) -> None:
    file.write_text("backlog = 7\n")
    result = gearstore("config", "show", "--json", "--config", str(file))
    assert rows(result)["backlog"] == (7, str(file))
    assert result.errors == ""
    result = gearstore("config", "show", "--config", str(file), "--function", "a*b")
    assert result.lines[:2] == ["# for a server that is started here", '[functions."a[*]b"]']


def test_a_name_of_any_bytes(gearstore: Cli) -> None:
    for name in ("été", "\udcff\udcfe", "tab\t\x1b[2J"):
        result = gearstore("config", "show", "--function", name)
        assert (result.code, result.errors) == (0, "")
        assert "\x1b" not in result.output


def test_a_plain_gearmand_has_no_configuration_to_show(gearmand: Cli) -> None:
    result = gearmand("config", "show")
    assert (result.code, result.output) == (4, "")
    assert "is not gearstore" in result.errors


def test_a_reload_is_seen(gearstore: Cli, server: Server) -> None:
    config = server.directory / "gearstore.toml"
    before = config.read_text()
    config.write_text(before + '[functions."reloaded"]\ntimeout = "5m"\n')
    os.kill(server.pid, signal.SIGHUP)
    eventually(lambda: "the configuration is reloaded" in server.log, what="the reload")
    found = rows(gearstore("config", "show", "--function", "reloaded", "--json"))
    assert found["timeout"] == ("5m", f'{config} [functions."reloaded"]')


def test_check_says_ok(file: Path, nobody: dict[str, str]) -> None:
    for arguments, more in ((["--config", str(file)], {}), ([], {"GEARSTORE_CONFIG": str(file)}), ([], {})):
        result = run_here(["config", "check", *arguments], environment=nobody | more)
        assert (result.code, result.output, result.errors) == (0, "ok\n", "")


def test_check_prints_warnings(nobody: dict[str, str]) -> None:
    result = run_here(["config", "check"], environment=nobody | {"GEARSTORE_MEMORY": "1"})
    assert (result.code, result.output) == (0, "ok\n")
    assert "every job is lost" in result.errors


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port = 'x'", "port: 'x' is not a whole number from 0 to 65535"),
        ("[functions.f]\ntimeouts = 5", '[functions."f"]: timeouts is not a key of a policy; did you mean timeout?'),
        ("--port 5", "it is TOML"),
    ],
)
def test_check_says_what_is_wrong(file: Path, text: str, sentence: str) -> None:
    file.write_text(text)
    for command in ("check", "show"):
        result = run_here(["config", command, "--config", str(file)])
        assert (result.code, result.output) == (2, "")
        assert result.errors.startswith((f"gearstore: {file}: ", f"gearstore: {file}, line 1: "))
        assert sentence in result.errors
        assert len(result.errors.splitlines()) == 1


def test_check_names_a_wrong_variable_and_a_missing_file(tmp_path: Path) -> None:
    result = run_here(["config", "check"], environment={"GEARSTORE_KEEP_DONE": "7"})
    assert (result.code, result.output) == (2, "")
    assert result.errors.startswith("gearstore: GEARSTORE_KEEP_DONE: '7' is not a duration such as 7d, ")
    result = run_here(["config", "check", "--config", str(tmp_path / "none.toml")])
    assert (result.code, result.output) == (2, "")
    assert "No such file" in result.errors


def test_the_sample_is_right(tmp_path: Path) -> None:
    sample = run_here(["config", "sample"])
    assert sample.code == 0
    file = tmp_path / "sample.toml"
    file.write_text(sample.output)
    assert run_here(["config", "check", "--config", str(file)]).output == "ok\n"
    assert load_config({}, {}, file)[0] == load_config({}, {})[0]


def test_the_rights_of_a_certificate(gearstore: Cli, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text(
        'tls_ca = "ca.pem"\n[certificates."w*"]\nwork = ["mail*"]\n[certificates."web*"]\nrole = "client"\n'
    )
    show = ["config", "show", "--config", str(file), "--certificate"]
    assert gearstore.printed(*show, "web-1") == [
        "# for a server that is started here",
        '[certificates."web-1"]',
        f'role = "client"   # {file} [certificates."web*"]',
        f'submit = ["*"]    # role, {file} [certificates."web*"]',
        f'work = ["mail*"]  # {file} [certificates."w*"]',
    ]
    assert rows(gearstore(*show, "w", "--json"))["role"] == ("monitor", "default")
    result = gearstore(*show, "x*")
    assert (result.code, result.errors) == (1, "gearstore: nothing is granted to x*: it is turned away\n")
    asked = rows(gearstore("config", "show", "--certificate", "web-1", "--json"))  # a server without tables
    assert asked == dict.fromkeys(("role", "submit", "work"), (None, "the role of the address"))
    result = gearstore("config", "show", "--certificate", "web-1", "--function", "f")
    assert (result.code, result.errors) == (2, "gearstore: --function and --certificate exclude each other\n")


@pytest.mark.parametrize("command", ["show", "check", "sample"])
def test_every_help_has_an_example(command: str) -> None:
    result = run_here(["config", command, "--help"])
    assert result.code == 0
    assert f"Example: gearstore config {command}" in " ".join(result.output.split())
