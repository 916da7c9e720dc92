"""A server of a command's own, on a database of its own in a temporary directory, for commands that try something out.

It runs in a session of its own, so that Ctrl-C reaches the command alone, which then ends it and removes the directory.
"""

import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Optional

from .errors import CommandError, UsageError

START, END = 20.0, 20.0  # seconds until it must be ready, and until it must have ended
CLEAN = ("GEARSTORE_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")  # variables that are meant for another server
LOG_LINES = 5  # that are shown when it fails

_numbers = itertools.count(1)


class PrivateServer:
    """One server on loopback; use it in a `with`. `parent` is the directory that its own one is made in.

    `options` are those of `gearstore serve`. After a `kill` or `stop`, `start` goes on with the same database on the
    same address.
    """

    def __init__(self, parent: Optional[Path] = None, *options: str) -> None:
        self._parent = parent
        self._options = options
        self._ready = f"gearstore-private-{os.getpid()}-{next(_numbers)}"
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.address = "127.0.0.1:0"
        self.directory = Path()

    def __enter__(self) -> "PrivateServer":
        """Make the directory and start; raise UsageError if that is no place to write to."""
        try:
            self.directory = Path(tempfile.mkdtemp(prefix=".gearstore-", dir=self._parent)).resolve()
        except OSError as error:
            raise UsageError(f"{self._parent or tempfile.gettempdir()}: {error.strerror}") from None
        try:
            self.start()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._clean_up()

    @property
    def database(self) -> Path:
        """The file that it keeps its jobs in."""
        return self.directory / "gearstore.db"

    @property
    def pid(self) -> int:
        """The process, 0 if it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    @property
    def log(self) -> str:
        """Everything that it has said so far."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def start(self) -> None:
        """Start it; return when it serves. Raise CommandError with the end of its log if it does not."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(CLEAN)}
        environment["NOTIFY_SOCKET"] = f"@{self._ready}"
        own = ["--listen", self.address, "--db", str(self.database), *self._options]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, self._log_path.open("ab") as log:
            ready.bind(f"\0{self._ready}")
            self._process = subprocess.Popen(
                [*with_us(), sys.executable, "-m", "gearstore_cli", "serve", *own],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._wait_until(ready)
        self.address = re.findall(r"listening on (\S+)", self.log)[-1]

    def stop(self) -> int:
        """Let it end in order (SIGTERM) and return its exit code; kill it if that takes too long."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def failed(self, what: str) -> CommandError:
        """Return the error of a command whose server let it down, with the end of the server's log."""
        lines = self.log.strip().splitlines()[-LOG_LINES:]
        return CommandError("; ".join([what, *lines]))

    @property
    def _log_path(self) -> Path:
        return self.directory / "log"

    def _wait_until(self, ready: socket.socket) -> None:
        ready.settimeout(0.1)
        deadline = time.monotonic() + START
        while self.pid and time.monotonic() < deadline:
            try:
                if ready.recv(4096).startswith(b"READY=1"):
                    return
            except TimeoutError:
                pass
        self.kill()
        raise self.failed("the private server does not start")

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        process.send_signal(number)  # nothing happens if it has ended
        try:
            return process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(END)

    def _clean_up(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def with_us() -> list[str]:
    """Return the command that lets a process die with this one even by kill -9, if there is one."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end a command as Ctrl-C does, through every `finally`."""

    def interrupt(_number: int, _frame: Optional[FrameType]) -> None:
        raise KeyboardInterrupt

    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
