"""The server as a real process: started, signalled, killed, started again.

With `cli=True` it is `gearstore serve` as users start it. Without, the same server is started without the command line
around it: that takes half the time, and these tests start more than a hundred.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.ports import HOST as HOST
from tests.ports import free_port as free_port
from tests.server.wire import Wire

START = 60.0  # seconds until a server must be ready
END = 60.0  # seconds until a server that was told to stop must have ended
CLEAN = ("GEARSTORE_", "GEARMAN", "NOTIFY_SOCKET", "WATCHDOG_")  # variables that must not reach a server

# The server alone. Its options are written as --name=value, or as --name for a switch.
SERVE = """
import logging, os, pathlib, sys
from gearstore.config import load_config
from gearstore.server.server import run
flags = {"listen": []}
for name, equals, value in (argument[2:].partition("=") for argument in sys.argv[1:]):
    name = name.replace("-", "_")
    if name == "listen":
        flags[name].append(value)
    else:
        flags[name] = value if equals else True
file = flags.pop("config", None)
config, warnings = load_config(flags, os.environ, file and pathlib.Path(file))
logging.basicConfig(level=config.log_level)
sys.exit(run(config))
"""

Result = TypeVar("Result")
StartServer = Callable[..., "Server"]

_numbers = count(1)


def eventually(condition: Callable[[], Result], what: object, within: float = 30.0) -> Result:
    """Return the first true value of condition(); fail at the deadline. For things that nothing announces."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within} s: {what}")
        time.sleep(0.002)
    return value


def pass_sockets(sockets: Sequence[socket.socket]) -> list[str]:
    """Return the start of a command line that passes sockets as systemd does: from descriptor 3 on."""
    if not sockets:
        return []
    moves = " ".join(f"{number}<&{sock.fileno()}" for number, sock in enumerate(sockets, 3))
    return ["bash", "-c", f'export LISTEN_PID=$$ LISTEN_FDS={len(sockets)}; exec "$@" {moves}', "systemd"]


class Manager:
    """What systemd is to a service: receives its sd_notify states."""

    def __init__(self) -> None:
        self.name = f"gearstore-test-{os.getpid()}-{next(_numbers)}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.name)
        self.states: list[str] = []

    def wait(self, state: str, process: subprocess.Popen[bytes], within: float) -> bool:
        """Receive states until one begins like this; False if the process ended before."""
        deadline = time.monotonic() + within
        self.socket.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                self.states.append(self.socket.recv(4096).decode())
            except TimeoutError:
                if process.poll() is not None:
                    return False
                continue
            if self.states[-1].startswith(state):
                return True
        return False

    def rest(self) -> list[str]:
        """Return all states, those that came after the last wait included."""
        self.socket.setblocking(False)
        while True:
            try:
                self.states.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.states


class Server:
    """One server on a port and a file of its own."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        listen: Sequence[str] = (f"{HOST}:0",),
        db: Path | None = None,
        variables: dict[str, str] | None = None,
        cli: bool = False,
        command: Sequence[str] = ("-c", SERVE),
        passed: Sequence[socket.socket] = (),
    ) -> None:
        self.passed = passed
        self.directory = directory
        self.db = db or directory / "gearstore.db"
        self.options = [*(f"--listen={address}" for address in listen), f"--db={self.db}", *options]
        self.variables = variables or {}
        self.command = ["-m", "gearstore_cli", "serve"] if cli else list(command)
        self.manager = Manager()
        self.log_path = directory / f"log{next(_numbers)}"
        self.wires: list[Wire] = []
        self.process: subprocess.Popen[bytes]
        self.port = 0
        self.start()

    # Life

    def start(self) -> None:
        """Start the process; return when it says that it is ready."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(CLEAN)}
        environ |= {"NOTIFY_SOCKET": "@" + self.manager.name} | self.variables
        command = [*pass_sockets(self.passed), sys.executable, *self.command, *self.options]
        files = [sock.fileno() for sock in self.passed]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                cwd=self.directory,
                pass_fds=files,
            )
        if not self.manager.wait("READY=1", self.process, START):
            self.end()
            pytest.fail(f"not ready: {self.log}")
        self.port = self.find_port()

    def find_port(self, before: str = "", behind: str = "") -> int:
        """Return the TCP port that the server listens on, with this before or behind its name; 0 if it has none."""
        ports = re.findall(rf"listening on {before}{re.escape(HOST)}:(\d+){behind}$", self.log, re.MULTILINE)
        return int(ports[-1]) if ports else 0

    def restart(self, *options: str) -> None:
        """Start again on the same file what has ended, with further options."""
        assert self.process.poll() is not None, "it runs"
        self.options += options
        self.start()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(END)

    def terminate(self, within: float = END) -> int:
        """Send SIGTERM and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(within)

    def wait(self, within: float = END) -> int:
        """Return the exit code once the process has ended."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not ended within {within} s: {self.log}")

    def end(self) -> None:
        """Make sure that nothing is left."""
        self.disconnect()
        if self.process.poll() is None:
            self.kill()
        Path(f"{self.db}.reserve").unlink(missing_ok=True)  # pytest keeps the folders of three runs
        self.manager.socket.close()

    # Looking

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What the server has written so far, over all its starts."""
        return self.log_path.read_text("utf-8", "backslashreplace")

    def expect_log(self, text: str) -> None:
        """Wait until the server has written this."""
        eventually(lambda: text in self.log, f"{text!r} in the log {self.log}")

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) << 10

    # Talking

    def connect(self, address: tuple[str, int] | str | None = None, tls: ssl.SSLContext | None = None) -> Wire:
        """Return a new connection."""
        wire = Wire(address or (HOST, self.port), tls)
        self.wires.append(wire)
        return wire

    def disconnect(self) -> None:
        """Close what connect() has opened."""
        for wire in self.wires:
            wire.close()
        self.wires.clear()


def run_serve(*options: str, cwd: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a server that must end by itself."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(CLEAN)}
    command = [sys.executable, "-m", "gearstore_cli", "serve", *options]
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=cwd, timeout=START, **settings)
