"""A server of our own for a while: a real `gearstore serve` with its files in one folder, for commands that try it."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Optional, Self

from .client import Connection
from .errors import CommandError, Unreachable, UsageError

PATIENCE = 60.0  # seconds that a start or an end may take
PAUSE = 0.01  # seconds between two looks
FOREIGN = ("GEARSTORE_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")  # variables that are about another server
SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG

_libc = ctypes.CDLL(None)


class NotStarted(CommandError):
    """The server ended or did not answer; the message holds its own words."""


class PrivateServer:
    """One server on a database of its own: started, killed, and started again on the same files.

    It listens on a Unix socket that only its user reaches, or where it is told to, and dies with this process, however
    that ends.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), listen: str = "") -> None:
        self.db = folder / "gearstore.db"
        self.log = folder / "server.log"
        self.folder = folder
        self._options = options
        # A path of the database may be too long for a socket, and its file system may know none.
        self._socket_folder = tempfile.TemporaryDirectory(prefix="gearstore-")
        self.address = listen or f"unix:{self._socket_folder.name}/socket"
        self._process: Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process, 0 if it does not run."""
        return self._process.pid if self._process is not None and self.alive else 0

    def start(self) -> float:
        """Start it and return how many seconds it took to answer; raise NotStarted."""
        began = time.monotonic()
        command = [sys.executable, "-m", "gearstore_cli", "serve", "--listen", self.address, "--db", str(self.db)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._options], cwd=self.folder, env=clean_environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip
        while not self._answers():
            if not self.alive:
                raise NotStarted(f"the server of the test did not start: {self.last_words()}")
            if time.monotonic() - began > PATIENCE:
                raise NotStarted(f"the server of the test does not answer: {self.last_words()}")
            time.sleep(PAUSE)
        return time.monotonic() - began

    def _answers(self) -> bool:
        try:
            with Connection(self.address):
                return True
        except Unreachable:
            return False

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(PATIENCE)

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None and self.alive:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                raise CommandError(f"the server of the test does not end: {self.last_words()}") from None

    def close(self) -> None:
        """End it, however it takes that, and forget its socket."""
        self.kill()
        self._socket_folder.cleanup()

    def last_words(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_text("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def clean_environment() -> dict[str, str]:
    """Return this environment without what is about another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def die_with_parent() -> None:
    """Have the kernel kill this new process when the one that has made it ends."""
    _libc.prctl(SET_DEATH_SIGNAL, signal.SIGKILL)


@contextmanager
def temporary_server(parent: Path, *options: str) -> Iterator[PrivateServer]:
    """Run a server on a TCP port, as most clients reach one, in a folder below another one, and leave nothing behind.

    Raise UsageError if nothing can be written there. SIGTERM and a closed terminal end it as Ctrl-C does.
    """
    with interruptible():
        try:
            folder = Path(tempfile.mkdtemp(prefix=".gearstore-", dir=parent)).resolve()
        except OSError as error:
            raise UsageError(f"{parent}: {error.strerror}") from None
        try:
            with PrivateServer(folder, options, f"127.0.0.1:{free_port()}") as server:
                server.start()
                yield server
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
