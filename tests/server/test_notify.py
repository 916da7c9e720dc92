"""The notifier against a socket in the place of systemd's."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearstore.server.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that receives what systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


def test_states_arrive_as_systemd_spells_them(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready()
    notifier.status("3 jobs\nqueued")
    notifier.watchdog()
    notifier.stopping(1.5)
    assert [manager.recv(100) for _ in range(4)] == [
        b"READY=1",
        b"STATUS=3 jobs queued",
        b"WATCHDOG=1",
        b"STOPPING=1\nEXTEND_TIMEOUT_USEC=1500000",
    ]


def test_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0gearstore-test-{os.getpid()}")
        receiver.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@gearstore-test-{os.getpid()}"}).ready()
        assert receiver.recv(100) == b"READY=1"


def test_silence_without_systemd() -> None:
    notifier = Notifier({})
    notifier.ready()
    notifier.stopping(1)
    assert notifier.watchdog_interval is None


@pytest.mark.parametrize("address", ["/nowhere/notify", "relative", "@", "/" + "x" * 200])
def test_a_manager_that_is_not_there_harms_nobody(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).ready()


def test_a_manager_that_does_not_read_harms_nobody(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for _ in range(5000):
        notifier.watchdog()


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval(environ: dict[str, str], interval: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/run/notify", **environ}).watchdog_interval == interval
