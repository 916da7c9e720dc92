"""A server of a command's own, for commands that try something out: a real `gearstore serve` on files of its own."""

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
from typing import Optional, Self

from .errors import CommandError, UsageError

PATIENCE = 60.0  # seconds that a start or an end may take
LOOK = 0.1  # seconds between two looks whether a server that isn't ready has ended
FOREIGN = ("GEARSTORE_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")  # variables that are about another server
SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG

_libc = ctypes.CDLL(None)


class NotStarted(CommandError):
    """The server ended or did not answer; the message holds its own words."""


class PrivateServer:
    """One server on a database of its own: started, killed, and started again on the same files.

    It listens on a Unix socket that only its user reaches, with `tcp` on a free port of loopback, and dies with this
    process, however that ends. (Ctrl-C reaches the command alone: it runs in a session of its own.)
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), tcp: bool = False) -> None:
        self.folder = folder
        self.db = folder / "gearstore.db"
        self.log = folder / "server.log"
        self._options = options
        # A path of the database may be too long for a socket, and its file system may know none.
        self._sockets = tempfile.TemporaryDirectory(prefix="gearstore-")
        self._notices = Path(self._sockets.name, "ready")
        self.address = "127.0.0.1:0" if tcp else f"unix:{self._sockets.name}/socket"
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
        """Start it and return how many seconds it took to be ready; raise NotStarted."""
        began = time.monotonic()
        command = [sys.executable, "-m", "gearstore_cli", "serve", "--listen", self.address, "--db", str(self.db)]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices, self.log.open("ab") as log:
            self._notices.unlink(missing_ok=True)
            notices.bind(str(self._notices))
            self._process = subprocess.Popen(
                [*command, *self._options], cwd=self.folder, start_new_session=True,
                env=clean_environment() | {"NOTIFY_SOCKET": str(self._notices)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip
            self._wait_until_ready(notices, began + PATIENCE)
        if self.address.endswith(":0"):
            _, _, said = self.log.read_text("utf-8", "replace").rpartition("listening on ")
            self.address = said.split()[0]
        return time.monotonic() - began

    def _wait_until_ready(self, notices: socket.socket, deadline: float) -> None:
        notices.settimeout(LOOK)
        while time.monotonic() < deadline:
            try:
                if notices.recv(4096).startswith(b"READY=1"):
                    return
            except TimeoutError:
                if not self.alive:
                    raise NotStarted(f"the private server did not start: {self.last_words()}") from None
        self.kill()
        raise NotStarted(f"the private server did not become ready: {self.last_words()}")

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
                raise CommandError(f"the private server does not end: {self.last_words()}") from None

    def close(self) -> None:
        """End it, however it takes that, and forget its socket."""
        self.kill()
        self._sockets.cleanup()

    def last_words(self) -> str:
        """Return the last line of its log."""
        lines = self.log.read_text("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")


@contextmanager
def temporary_server(parent: Path, *options: str) -> Iterator[PrivateServer]:
    """Yield a server on a port of loopback, started in a new folder that goes with it; raise UsageError where there can
    be none."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".gearstore-", dir=parent)).resolve()
    except OSError as error:
        raise UsageError(f"{parent}: {error.strerror}") from None
    try:
        with PrivateServer(folder, options, tcp=True) as server:
            server.start()
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clean_environment() -> dict[str, str]:
    """Return this environment without what is about another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


def die_with_parent() -> None:
    """Have the kernel kill this new process when the one that has made it ends."""
    _libc.prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
