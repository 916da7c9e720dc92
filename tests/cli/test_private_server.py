"""The private server of commands that try something out: it starts, survives a kill on its file, and leaves nothing."""

import os
import signal
from pathlib import Path

import pytest

from gearstore_cli.client import Connection
from gearstore_cli.errors import CommandError, UsageError
from gearstore_cli.private_server import PrivateServer, interruptible


def hello(server: PrivateServer) -> dict[str, object]:
    with Connection(server.address) as connection:
        (row,) = connection.manage("hello")
    return row


def test_it_serves_on_a_database_of_its_own_and_goes_with_everything_it_made(tmp_path: Path) -> None:
    with PrivateServer(tmp_path) as server:
        assert hello(server)["database"] == str(server.database)
        assert server.database.parent.parent == tmp_path
        pid = server.pid
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_one_starts_again_on_the_same_file_and_address(tmp_path: Path) -> None:
    with PrivateServer(tmp_path) as server:
        address, pid = server.address, server.pid
        server.kill()
        assert server.pid == 0
        server.start()
        assert server.address == address
        assert hello(server)["pid"] == server.pid != pid
        assert server.stop() == 0


def test_its_options_are_those_of_serve(tmp_path: Path) -> None:
    with PrivateServer(tmp_path, "--sync", "interval:50") as server, Connection(server.address) as connection:
        values = {row["name"]: row["value"] for row in connection.manage("config")}
    assert values["sync"] == "interval:50"


def test_one_that_does_not_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="does not start; .*--sync"), PrivateServer(tmp_path, "--sync", "never"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: No such file"), PrivateServer(tmp_path / "missing"):
        pass


def test_another_servers_variables_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARSTORE_MEMORY", "1")
    with PrivateServer(tmp_path) as server:
        assert hello(server)["database"] == str(server.database)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_too(tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), interruptible(), PrivateServer(tmp_path):
        os.kill(os.getpid(), number)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) == signal.SIG_DFL
