"""The servers that are compared: how each is started, asked whether it answers, and stopped.

Every run gets a fresh server on a free port of 127.0.0.1, with an empty folder of its own on the disk
that is measured. Nothing here sleeps for a guessed time: a server is ready when it answers an ECHO_REQ.
"""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20.0
STOP_SECONDS = 15.0
START_TRIES = 3  # another process may take the free port before the server does
ECHO_REQUEST = b"\0REQ" + struct.pack(">II", 16, 4) + b"ping"
ECHO_RESPONSE = b"\0RES" + struct.pack(">II", 17, 4) + b"ping"


class ServerError(Exception):
    """A server cannot be started or does not answer."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server to compare; `command` makes its command line from a port and its folder."""

    name: str
    title: str
    command: Callable[[int, Path], list[str]]
    serial: bool = False  # one disk transaction a job: give it a small backlog
    keeps_jobs: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """A started server."""

    server: Server
    port: int
    pid: int
    folder: Path


def find_gearmand() -> str | None:
    """Return gearmand's path; /usr/sbin is often missing from a user's PATH."""
    return shutil.which("gearmand", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def gearstore_command(port: int, folder: Path) -> list[str]:
    """gearstore as it comes: durable, every option at its default."""
    database = folder / "gearstore.db"
    return [sys.executable, "-m", "gearstore_cli", "serve", "--listen", f"127.0.0.1:{port}", "--db", str(database)]


def gearmand(*options: str) -> Callable[[int, Path], list[str]]:
    """gearmand with its defaults, but for a backlog of connections that 64 clients at once do not overrun."""

    def command(port: int, folder: Path) -> list[str]:
        own = ["-L", "127.0.0.1", "-p", str(port), "-b", "4096", "-l", "stderr", "-P", str(folder / "pid")]
        return [find_gearmand() or "gearmand", *own, *(option.format(folder=folder) for option in options)]

    return command


def sink(program: Path, backlog: int) -> Server:
    """Return the generator's own sink, which keeps nothing and hands out `backlog` jobs that nobody submitted."""

    def command(port: int, _folder: Path) -> list[str]:
        return [str(program), "sink", f"-p{port}", "-t120", f"-n{backlog}"]

    return Server("sink", "(sink)", command, keeps_jobs=False)


GEARSTORE = Server("gearstore", "gearstore", gearstore_command)
MEMORY = Server("gearmand-memory", "gearmand memory", gearmand())
SQLITE = Server(
    "gearmand-sqlite", "gearmand sqlite", gearmand("-q", "libsqlite3", "--libsqlite3-db", "{folder}/queue"), serial=True
)
LARGE_TABLE = Server("gearmand-large", "gearmand large", gearmand("--hashtable-buckets", "999983"))
SERVERS = {server.name: server for server in (GEARSTORE, MEMORY, SQLITE, LARGE_TABLE)}


@contextlib.contextmanager
def running(server: Server, base: Path) -> Iterator[Running]:
    """Start the server in a new folder below `base`; stop it and remove the folder at the end."""
    with tempfile.TemporaryDirectory(prefix=f"{server.name}-", dir=base, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        process, port = start(server, folder)
        try:
            yield Running(server, port, process.pid, folder)
        finally:
            stop(process)


def start(server: Server, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Return the process and its port as soon as it answers; raise ServerError with the end of its log."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GEARSTORE_")}
    for _ in range(START_TRIES):
        port = free_port()
        with open(folder / "log", "wb") as log:
            try:
                command = server.command(port, folder)
                process = subprocess.Popen(
                    command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            except OSError as error:
                raise ServerError(f"{server.title} cannot be started: {error}") from error
        try:
            if wait_for_answer(process, port):
                return process, port
        except BaseException:
            stop(process)
            raise
        stop(process)
    tail = (folder / "log").read_text(errors="replace")[-2000:].strip()
    raise ServerError(f"{server.title} does not answer; its log ends with:\n{tail}")


def wait_for_answer(process: subprocess.Popen[bytes], port: int) -> bool:
    """Return whether the server echoed within START_SECONDS; False at once when its process ended."""
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit and process.poll() is None:
        if echoes(port):
            return process.poll() is None
        time.sleep(0.01)  # between two attempts to connect
    return False


def echoes(port: int) -> bool:
    """Return whether a server on the port answers an ECHO_REQ."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(ECHO_REQUEST)
            return connection.recv(len(ECHO_RESPONSE), socket.MSG_WAITALL) == ECHO_RESPONSE
    except OSError:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server: SIGTERM, and SIGKILL when it takes too long."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def queued_jobs(port: int) -> int:
    """Return how many jobs the server's own `status` counts: a second opinion on what the generator saw."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"status\n")
        with connection.makefile("rb") as lines:
            rows = [line.split(b"\t") for line in iter(lines.readline, b".\n") if line.count(b"\t") >= 3]
    return sum(int(row[1]) for row in rows)
