"""The private server of commands that try something out: it starts, survives a kill on its file, and leaves nothing."""

import os
import signal
from pathlib import Path

import pytest

from gearstore_cli.backup import ended_in_order
from gearstore_cli.client import Connection
from gearstore_cli.errors import UsageError
from gearstore_cli.private_server import NotStarted, PrivateServer, temporary_server


def hello(server: PrivateServer) -> dict[str, object]:
    with Connection(server.address) as connection:
        (row,) = connection.manage("hello")
    return row


def test_it_serves_on_a_database_of_its_own_and_goes_with_everything_it_made(tmp_path: Path) -> None:
    with temporary_server(tmp_path) as server:
        assert hello(server)["database"] == str(server.db)
        assert server.db.parent.parent == tmp_path
        pid = server.pid
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("tcp", [True, False])
def test_a_killed_one_starts_again_on_the_same_file_and_address(tmp_path: Path, tcp: bool) -> None:
    with PrivateServer(tmp_path, tcp=tcp) as server:
        server.start()
        address, pid = server.address, server.pid
        assert address.startswith("127.0.0.1:" if tcp else "unix:")
        server.kill()
        assert server.pid == 0 and not server.alive
        server.start()
        assert server.address == address
        assert hello(server)["pid"] == server.pid != pid
        server.stop()
        assert not server.alive and server.last_words().endswith("ended")


def test_its_options_are_those_of_serve(tmp_path: Path) -> None:
    with temporary_server(tmp_path, "--sync", "interval:50") as server, Connection(server.address) as connection:
        values = {row["name"]: row["value"] for row in connection.manage("config")}
    assert values["sync"] == "interval:50"


def test_one_that_does_not_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="did not start: .*--sync"), temporary_server(tmp_path, "--sync", "never"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: No such file"), temporary_server(tmp_path / "missing"):
        pass


def test_another_servers_variables_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARSTORE_MEMORY", "1")
    with temporary_server(tmp_path) as server:
        assert hello(server)["database"] == str(server.db)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_too(tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(SystemExit), ended_in_order(), temporary_server(tmp_path):
        os.kill(os.getpid(), number)
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_hangup_that_was_ignored_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with ended_in_order():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
