"""The options of `gearstore serve`, made from the one table; each case runs the command itself."""

import inspect
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, get_type_hints

import pytest

from gearstore.config import FOREIGN, OPTIONS, Config, load_config
from gearstore.errors import ConfigError
from gearstore_cli.serve import serve, set_up_logging
from tests.authority import Authority

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# The command alone, so that this test needs no other module of the command line.
PROGRAM = """
import typer
from gearstore_cli.serve import serve
app = typer.Typer(add_completion=False)
app.command("serve")(serve)
app.command("other")(lambda: None)
app()
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `serve` with arguments, in an environment without our variables."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("GEARSTORE_", "GEARMAND_"))}

    def run_serve(
        *arguments: str, stderr: IO[str] | int = subprocess.PIPE, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", PROGRAM, "serve", *arguments]
        # A wide terminal: Rich would cut the names of options.
        given = environ | {"COLUMNS": "250", "NO_COLOR": "1"} | variables
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=given, cwd=tmp_path, timeout=60
        )

    return run_serve


def test_signature_and_annotations_agree() -> None:
    parameters = inspect.signature(serve).parameters
    assert list(parameters) == ["config", "check_config", *(o.name for o in OPTIONS), *(o.name for o in FOREIGN)]
    assert get_type_hints(serve) == {name: item.annotation for name, item in parameters.items()}


def test_every_option_is_in_the_help(run: Run) -> None:
    result = run("--help")
    assert result.returncode == 0
    for option in OPTIONS:
        for flag in option.flags:
            assert all(part in result.stdout for part in flag.split("/"))
    assert "Example: gearstore serve" in result.stdout
    assert "--hashtable-buckets" not in result.stdout


def test_check_config_prints_ok_and_ends(run: Run) -> None:
    result = run("--check-config")
    assert (result.returncode, result.stdout, result.stderr) == (0, "ok\n", "")


def test_every_option_of_gearmand_is_accepted(run: Run) -> None:
    result = run(
        *("--check-args", "-b", "32", "-d", "--exceptions", "-f", "1000", "-j", "3", "--job-handle-prefix", "H:x"),
        *("--hashtable-buckets", "991", "--keepalive", "--keepalive-idle", "5", "--keepalive-interval", "5"),
        *("--keepalive-count", "5", "-l", "none", "-L", "localhost", "-P", "g.pid", "-r", "http", "--http-port", "80"),
        *("-R", "-q", "libsqlite3", "--libsqlite3-db", "x", "--syslog", "--coredump", "-t", "4", "-u", "gearman"),
        *("--verbose", "INFO", "-w", "1", "-p", "4731", "--store-queue-on-shutdown", "--libpq-conninfo=dbname=x"),
        *("--redis-server=r", "--mysql-host=m", "--libmemcached-servers=s", "--libsqlite3-table", "t"),
    )
    assert (result.returncode, result.stdout) == (0, "ok\n")
    lines = result.stderr.splitlines()
    assert all(line.startswith("gearstore: --") and "is gearmand's and is ignored: " in line for line in lines)
    assert len(lines) == 16


def test_gearmands_options_for_tls_mean_the_same(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    authority.server()
    files = ("--ssl-certificate", "authority/server.crt", "--ssl-key=authority/server.key")
    result = run("--check-config", "--ssl", *files, "--ssl-ca-file", "authority/ca.pem")
    assert (result.returncode, result.stdout, result.stderr) == (0, "ok\n", "")
    result = run("--check-config", "--ssl", *files, "--ssl-ca-file", "authority/none.pem")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"gearstore: tls_ca: {tmp_path}/authority/none.pem: No such file or directory")
    result = run("--check-config", "--ssl")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("gearstore: listen: tls:127.0.0.1:4730 needs a certificate")


@pytest.mark.parametrize(
    "arguments",
    [["--port", "x"], ["--listen", "4730"], ["--config", "none.toml"], ["--no-such-option"], ["stray"], ["--por", "1"]],
)
def test_a_mistake_ends_with_2_and_without_a_traceback(run: Run, arguments: list[str]) -> None:
    result = run("--check-config", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_our_errors_are_one_line(run: Run) -> None:
    assert run("-p", "x").stderr == "gearstore: --port: 'x' is not a whole number from 0 to 65535\n"


def test_environment_and_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("port = 'x'\n")
    assert "GEARSTORE_PORT: 'x'" in run(GEARSTORE_PORT="x").stderr
    assert run("--check-config", "-p", "1", GEARSTORE_PORT="x").returncode == 0
    assert "bad.toml, line 1: port: 'x'" in run("--config", "bad.toml").stderr
    assert "bad.toml, line 1: port: 'x'" in run("--config-file=bad.toml").stderr
    assert "bad.toml, line 1: port: 'x'" in run(GEARSTORE_CONFIG="bad.toml").stderr


def test_the_journal_gets_priorities_and_no_times(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        identity = os.fstat(journal.fileno())
        result = run(
            *("--threads=2", f"--db={tmp_path}", "--listen=127.0.0.1:0"),
            stderr=journal,
            JOURNAL_STREAM=f"{identity.st_dev}:{identity.st_ino}",
        )
        journal.seek(0)
        warning, error = journal.read().splitlines()
    assert result.returncode == 4
    assert warning.startswith("<4>--threads is gearmand's and is ignored")
    assert error == f"<3>{tmp_path} is a directory: name a file with --db"


@pytest.fixture
def config() -> Iterator[Config]:
    """A configuration; the logger is as before when the test ends."""
    logger = logging.getLogger("gearstore")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield load_config({}, {})[0]
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


def test_the_log_goes_to_a_file_and_follows_its_rotation(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "gearstore.log"
    set_up_logging(replace(config, log_file=str(file), log_level=logging.WARNING))
    logger = logging.getLogger("gearstore.server")
    logger.info("quiet")
    logger.warning("first")
    file.rename(tmp_path / "gearstore.log.1")
    logger.error("second")
    assert (tmp_path / "gearstore.log.1").read_text().split()[2:] == ["WARNING", "first"]
    assert file.read_text().split()[2:] == ["ERROR", "second"]


def test_the_log_goes_nowhere(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging(replace(config, log_file="none"))
    logging.getLogger("gearstore").error("unheard")
    assert capfd.readouterr() == ("", "")


def test_a_log_file_that_cannot_be_opened(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--log-file: .*No such file"):
        set_up_logging(replace(config, log_file=str(tmp_path / "no" / "log")))
