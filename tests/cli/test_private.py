"""The temporary server of commands that try something out: it serves by TCP, and goes with everything it made."""

import os
import signal
from pathlib import Path

import pytest

from gearstore_cli.client import Connection
from gearstore_cli.errors import UsageError
from gearstore_cli.private import NotStarted, PrivateServer, temporary_server


def hello(server: PrivateServer) -> dict[str, object]:
    with Connection(server.address) as connection:
        (row,) = connection.manage("hello")
    return row


def test_it_serves_on_a_database_of_its_own_and_goes_with_everything_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEARSTORE_MEMORY", "1")  # is about another server
    with temporary_server(tmp_path) as server:
        assert hello(server)["database"] == str(server.db)
        assert server.folder.parent == tmp_path and server.address.startswith("127.0.0.1:")
        pid = server.pid
    assert (server.pid, list(tmp_path.iterdir())) == (0, [])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_one_starts_again_on_the_same_file_and_address(tmp_path: Path) -> None:
    with temporary_server(tmp_path, "--sync", "interval:50") as server:
        address, pid = server.address, server.pid
        server.kill()
        server.start()
        assert server.address == address
        assert hello(server)["pid"] == server.pid != pid


def test_one_that_does_not_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="did not start: .*--sync"), temporary_server(tmp_path, "--sync", "never"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: No such file"), temporary_server(tmp_path / "missing"):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_too(tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), temporary_server(tmp_path):
        os.kill(os.getpid(), number)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) == signal.SIG_DFL
