"""The tests that every client library must pass, once as client and once as worker, against libgearman.

A subclass names its library and says what it cannot do on any server; a test that a library has no call for is
set to None there. See `languages.py` for the scripts.
"""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from tests.acceptance.conftest import Spawn
from tests.acceptance.languages import Library
from tests.acceptance.servers import HOST, Running, Server, eventually, run

TEXTS = (b"abc", "été".encode(), b"a\0b\0", b"", b"x" * 70_000)
BYTES = (*TEXTS, bytes(range(256)))


class Calls:
    """The library and libgearman's programs, each as client and worker of one function of one server."""

    def __init__(self, library: Library, programs: Path, server: Server, function: str, spawn: Spawn) -> None:
        self.library = library
        self.reference = Library([programs / "client"], [programs / "worker"], {})
        self.server = server
        self.function = function
        self.spawn = spawn

    def client(self, mode: str, workload: bytes = b"w", unique: str | None = None) -> tuple[int, bytes]:
        """Run the library's client; return its exit code and what it printed."""
        done = self.run(self.library, [mode, *([unique] if unique else [])], workload, {})
        assert done.returncode in (0, 1), done.stderr.decode()
        return done.returncode, done.stdout

    def reference_client(self, *arguments: str, workload: bytes = b"w", exceptions: bool = False) -> bytes:
        """Run libgearman's client, which must succeed, and return what it printed."""
        done = self.run(self.reference, arguments, workload, {"EXCEPTIONS": "1"} if exceptions else {})
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def run(
        self, library: Library, arguments: Sequence[str], workload: bytes, environment: dict[str, str]
    ) -> "subprocess.CompletedProcess[bytes]":
        command = [*library.client, str(self.server.port), self.function, *arguments]
        return run(command, workload, environment=library.environment | environment)

    def worker(self, behaviour: str) -> Running:
        """Start the library's worker and return when it is registered."""
        return self.start(self.library, behaviour)

    def reference_worker(self, behaviour: str) -> Running:
        """Start libgearman's worker and return when it is registered."""
        return self.start(self.reference, behaviour)

    def start(self, library: Library, behaviour: str) -> Running:
        arguments = [*library.worker, str(self.server.port), self.function, behaviour]
        running = self.spawn(*arguments, environment=library.environment)
        self.server.expect_workers(self.function)
        return running


class LibraryTests:
    """What a library must do; subclasses say which one, and what its own limits are."""

    load: ClassVar[Callable[[str], Library]]
    name: ClassVar[str]
    client_id: ClassVar[str] = "-"
    client_workloads: ClassVar[Sequence[bytes]] = BYTES
    worker_workloads: ClassVar[Sequence[bytes]] = BYTES
    background_suffix: ClassVar[bytes] = b""
    progress_at_client: ClassVar[bytes] = b"partend"
    progress_of_worker: ClassVar[Sequence[str]] = ("status 1/4", "data part", "warning careful", "complete end")

    @pytest.fixture
    def calls(self, shared_server: Server, c_programs: Path, function: str, spawn: Spawn) -> Calls:
        """The library and libgearman, on a function of this test's own."""
        library = type(self).load(self.name)
        return Calls(library, c_programs, shared_server, f"{self.name}_{function}", spawn)

    # As client

    def test_client_foreground(self, calls: Calls) -> None:
        calls.reference_worker("twice")
        for workload in self.client_workloads:
            assert calls.client("fg", workload) == (0, workload * 2)
        for mode in ("high", "low"):
            assert calls.client(mode, b"w") == (0, b"ww")

    def test_client_background_in_order_of_priority(self, calls: Calls) -> None:
        rows = {}
        for mode in ("bg-low", "bg", "bg-high"):
            code, printed_handle = calls.client(mode, mode.encode(), f"unique {mode}")
            workload = mode.encode() + self.background_suffix
            rows[mode] = f"{printed_handle.decode().strip()} unique {mode} {workload.hex()}"
            assert code == 0
        running = calls.reference_worker("twice")
        wanted = [rows["bg-high"], rows["bg"], rows["bg-low"]]
        eventually(lambda: running.lines == wanted, what=lambda: f"{wanted} in {running.lines}")

    def test_client_coalesces_by_unique(self, calls: Calls) -> None:
        handles = [calls.client("bg", b"w", unique) for unique in ("one", "two", "one")]
        assert handles[0] == handles[2] != handles[1]
        assert calls.server.status()[calls.function] == (2, 0, 0)

    def test_client_status(self, calls: Calls) -> None:
        assert calls.client("status") == (0, b"1 0\n")

    def test_client_of_a_failed_job(self, calls: Calls) -> None:
        calls.reference_worker("fail")
        assert calls.client("fg") == (1, b"")

    @pytest.mark.gearstore_only  # gearmand adds a NUL to the handle for clients that did not ask for exceptions
    def test_client_of_a_job_with_an_exception(self, calls: Calls) -> None:
        calls.reference_worker("exception")
        assert calls.client("fg") == (1, b"")

    def test_client_progress(self, calls: Calls) -> None:
        calls.reference_worker("progress")
        assert calls.client("fg") == (0, self.progress_at_client)

    # As worker

    def test_worker_foreground(self, calls: Calls) -> None:
        running = calls.worker("twice")
        for workload in self.worker_workloads:
            assert calls.reference_client("fg", workload=workload) == workload * 2
        assert [line.split(" ")[1] for line in running.lines] == [workload.hex() for workload in self.worker_workloads]

    def test_worker_background(self, calls: Calls) -> None:
        handles = [calls.reference_client("bg", workload=b"w%d" % n).decode().strip() for n in range(5)]
        running = calls.worker("twice")
        wanted = [f"{handle} {(b'w%d' % n).hex()}" for n, handle in enumerate(handles)]
        eventually(lambda: running.lines == wanted, what=lambda: f"{wanted} in {running.lines}")
        calls.server.expect_status(calls.function, 0, 0, 1)

    def test_worker_progress(self, calls: Calls) -> None:
        calls.worker("progress")
        assert calls.reference_client("tasks", "1").decode().splitlines() == list(self.progress_of_worker)

    def test_worker_fail(self, calls: Calls) -> None:
        running = calls.worker("fail")
        assert calls.reference_client("tasks", "1") == b"fail\n"
        assert calls.reference_client("tasks", "2") == b"fail\nfail\n"
        assert len(running.lines) == 3, "a failed job is not tried again"

    def test_worker_exception(self, calls: Calls) -> None:
        running = calls.worker("exception")
        assert calls.reference_client("tasks", "1", exceptions=True) == b"exception why\n"
        assert calls.reference_client("tasks", "2", exceptions=True) == b"exception why\n" * 2
        assert len(running.lines) == 3, "a failed job is not tried again"
        assert running.alive

    def test_worker_client_id(self, calls: Calls) -> None:
        calls.worker("twice")
        row = f" {HOST} {self.client_id} : {calls.function}"
        workers = calls.server.text("workers").split("\n")
        assert [line for line in workers if line.endswith(row)], f"{row} in {workers}"
