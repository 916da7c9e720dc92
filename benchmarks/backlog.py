"""A server with more queued jobs than anybody would care to submit, killed and started again."""

import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import crowd
import machine
from crowd import connect, packet
from servers import GEARSTORE, ServerError, free_port

from gearstore.store.base import checksum

START_SECONDS = 600.0


def write(path: Path, jobs: int) -> None:
    """Write so many further queued jobs of the first function, as a server spills them."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        execute = connection.execute
        execute("PRAGMA journal_mode = DELETE")
        execute("PRAGMA synchronous = OFF")
        execute("BEGIN")
        indexes = execute("SELECT name, sql FROM sqlite_master WHERE name = 'jobs_queued'").fetchall()
        (first,) = execute(
            "SELECT max(value, (SELECT max(id) FROM jobs)) + 1 FROM meta WHERE name = 'next_id'"
        ).fetchone()
        for name, _ in indexes:
            execute(f"DROP INDEX {name}")
        connection.executemany(
            'INSERT INTO jobs (id, function_id, priority, position, "unique", unique_hash, workload, checksum, '
            "created_at, client) VALUES (?1, 1, 1, ?1, ?2, ?3, ?4, ?5, ?6, CAST('127.0.0.1' AS BLOB))",
            rows(first, jobs),
        )
        for _, sql in indexes:
            execute(sql)
        execute("INSERT INTO uniques SELECT unique_hash >> 32, id FROM jobs WHERE id >= ? ORDER BY 1, 2", (first,))
        execute("UPDATE meta SET value = ? WHERE name = 'next_id'", (first + jobs,))
        execute(
            "UPDATE counts SET jobs = jobs + ?, bytes = bytes + ? WHERE function_id = 1 AND state = 0 AND priority = 1",
            (jobs, jobs * 100),
        )
        execute("COMMIT")


def rows(first: int, jobs: int) -> Iterator[tuple[int, bytes, int, bytes, int, int]]:
    """Yield id, unique, a number as random as its hash, workload, checksum and time of each job."""
    workload, now = b"w" * 100, int(time.time() * 1000)
    for id in range(first, first + jobs):
        unique = b"%036d" % id
        yield id, unique, (id * 0x9E3779B97F4A7C15) % 2**64 - 2**63, workload, checksum(unique, b"", workload), now


class Life:
    """A server that is killed and started again on the same folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = GEARSTORE.command  # of the next start
        self.database = folder / "gearstore.db"
        self.processor = 0.0  # seconds of CPU that the last start took
        self.process: subprocess.Popen[bytes]
        self.start()

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid

    def start(self) -> float:
        """Start; return the seconds until a worker got a job, or the answer that there is none."""
        self.port = free_port()
        began = time.monotonic()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command(self.port, self.folder),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        with self.connect(began + START_SECONDS) as sock:
            sock.sendall(packet(crowd.CAN_DO, b"bench") + packet(crowd.GRAB_JOB))
            crowd.receive(sock)
            seconds = time.monotonic() - began
            self.processor = machine.usage(self.pid).server
        return seconds

    def connect(self, until: float) -> socket.socket:
        """Return the first connection that the server takes."""
        while True:
            try:
                return connect(self.port)
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise ServerError((self.folder / "log").read_text()) from None
                time.sleep(0.002)  # between two attempts to connect

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    close = kill
