"""The servers that are compared: how each is started, asked whether it answers, and stopped.

Every run gets a fresh server on a free port of 127.0.0.1, with an empty folder of its own on the disk
that is measured. Nothing here sleeps for a guessed time: a server is ready when it answers.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from protocols import BEANSTALKD, GEARMAN, REDIS, Protocol

START_SECONDS = 20.0
STOP_SECONDS = 15.0
START_TRIES = 3  # another process may take the free port before the server does
BACKLOG = 100_000  # jobs that a drain begins with
QUEUES = ("submit", "drain")

Command = Callable[[int, Path], list[str]]  # from a port and a folder


class ServerError(Exception):
    """A server cannot be started or does not answer."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server to compare: the program that must be there, its command line, and what it takes part in."""

    name: str
    title: str
    program: str
    command: Command
    groups: tuple[str, ...]
    protocol: Protocol = GEARMAN
    backlog: int = BACKLOG  # fewer where each job costs several flushes of the disk
    keeps_jobs: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """A started server."""

    server: Server
    port: int
    pid: int
    folder: Path


def find(program: str) -> str | None:
    """Return a program's path; /usr/sbin is often missing from a user's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def gearstore(*options: str) -> Command:
    """gearstore as it comes, but for the options."""

    def command(port: int, folder: Path) -> list[str]:
        own = ["--listen", f"127.0.0.1:{port}", "--db", str(folder / "gearstore.db")]
        return [sys.executable, "-m", "gearstore_cli", "serve", *own, *options]

    return command


def gearmand(*options: str) -> Command:
    """gearmand with its defaults, but for a backlog of connections that 64 clients at once do not overrun."""

    def command(port: int, folder: Path) -> list[str]:
        own = ["-L", "127.0.0.1", "-p", str(port), "-b", "4096", "-l", "stderr", "-P", str(folder / "pid")]
        return [find("gearmand") or "gearmand", *own, *(option.format(folder=folder) for option in options)]

    return command


def redis(*options: str) -> Command:
    """Redis with an append-only file and without snapshots."""

    def command(port: int, folder: Path) -> list[str]:
        own = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes"]
        return [find("redis-server") or "redis-server", *own, *options]

    return command


def beanstalkd(*options: str) -> Command:
    """beanstalkd with a log."""

    def command(port: int, folder: Path) -> list[str]:
        return [find("beanstalkd") or "beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", str(folder), *options]

    return command


def sink(program: Path, backlog: int) -> Server:
    """Return the generator's own sink, which keeps nothing and hands out `backlog` jobs that nobody submitted."""

    def command(port: int, _folder: Path) -> list[str]:
        return [str(program), "sink", f"-p{port}", "-t120", f"-n{backlog}"]

    return Server("sink", "(sink)", str(program), command, (), keeps_jobs=False)


PYTHON = sys.executable
GEARSTORE = Server("gearstore", "gearstore", PYTHON, gearstore(), (*QUEUES, "foreground", "echo"))
INTERVAL = Server(
    "gearstore-interval", "gearstore, interval:50", PYTHON, gearstore("--sync", "interval:50"), ("drain",)
)
ONE_THREAD = Server("gearmand-1", "gearmand -t 1", "gearmand", gearmand("-t", "1"), (*QUEUES, "foreground", "echo"))
THREADS = Server("gearmand-4", "gearmand -t 4", "gearmand", gearmand("-t", "4"), (*QUEUES, "foreground", "echo"))
TUNED = Server(
    "gearmand-tuned",
    "gearmand tuned",
    "gearmand",
    gearmand("--hashtable-buckets", "999983"),
    (*QUEUES, "foreground", "echo"),
)
SQLITE = Server(
    "gearmand-sqlite",
    "gearmand sqlite",
    "gearmand",
    gearmand("-q", "libsqlite3", "--libsqlite3-db", "{folder}/queue"),
    QUEUES,
    backlog=1_500,
)
REDIS_ALWAYS = Server("redis", "redis, synced", "redis-server", redis("--appendfsync", "always"), QUEUES, REDIS)
BEANSTALK = Server(
    "beanstalkd", "beanstalkd -f 0", "beanstalkd", beanstalkd("-f", "0"), QUEUES, BEANSTALKD, backlog=8_000
)
SERVERS = {
    server.name: server for server in (GEARSTORE, INTERVAL, ONE_THREAD, THREADS, TUNED, SQLITE, REDIS_ALWAYS, BEANSTALK)
}


@contextlib.contextmanager
def running(server: Server, base: Path) -> Iterator[Running]:
    """Start the server in a new folder below `base`; stop it and remove the folder at the end."""
    with tempfile.TemporaryDirectory(prefix=f"{server.name}-", dir=base, ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()  # the servers are started in it
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
            if wait_for_answer(process, server.protocol, port):
                return process, port
        except BaseException:
            stop(process)
            raise
        stop(process)
    tail = (folder / "log").read_text(errors="replace")[-2000:].strip()
    raise ServerError(f"{server.title} does not answer; its log ends with:\n{tail}")


def wait_for_answer(process: subprocess.Popen[bytes], protocol: Protocol, port: int) -> bool:
    """Return whether the server answered within START_SECONDS; False at once when its process ended."""
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit and process.poll() is None:
        if protocol.answers(port):
            return process.poll() is None
        time.sleep(0.01)  # between two attempts to connect
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
