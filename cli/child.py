"""Run a command for one job at a time, for `gearstore work`. Knows processes, and nothing of connections."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gearstore.client.core import Handle

from .errors import CommandError

# The server's own clock shall ring first: then it is the server that decides what a timeout means for the job.
GRACE = 0.2
# How long a killed command's children, which may hold its pipes open, are waited for.
AFTER_KILL = 5.0


class Job(Protocol):
    """What a command is run for."""

    handle: Handle
    function: str
    unique: str
    workload: bytes


class Ending(NamedTuple):
    """How a command ended; the reason says why it failed and is empty if it did not."""

    result: bytes
    error: bytes
    reason: str


class Child:
    """The process that works on a job."""

    def __init__(self, command: Sequence[str], timeout: float | None, environment: dict[str, str]) -> None:
        self._command = command
        self._timeout = timeout
        self._environment = os.environ | environment
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()  # whoever kills has to see what is just being started

    def run(self, job: Job) -> Ending:
        """Run the command with the workload as its input, to its end; raise CommandError if it can't be started."""
        try:
            # A session of its own keeps Ctrl-C from the command, and makes it one group with its children.
            with self._starting:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=self._environment | about(job),
                    start_new_session=True,
                )
        except OSError as error:
            raise CommandError(f"{self._command[0]} can't be started: {error.strerror}") from None
        try:
            result, error_output = self._process.communicate(job.workload, self._timeout and self._timeout + GRACE)
        except subprocess.TimeoutExpired:
            return self._end_late(self._process)
        return Ending(result, error_output, reason_of(self._process.returncode))

    def kill(self) -> None:
        """Kill the command, if one runs, and its children."""
        with self._starting:
            process = self._process
        if process and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _end_late(self, process: "subprocess.Popen[bytes]") -> Ending:
        """Kill the command that took too long; the error text says so whatever the command wrote."""
        self.kill()
        reason = f"killed after {self._timeout:g} s"
        try:
            _, error_output = process.communicate(timeout=AFTER_KILL)
        except subprocess.TimeoutExpired:
            error_output = b""  # a child in another session holds the pipes open
        return Ending(b"", error_output + reason.encode(), reason)


def about(job: Job) -> dict[str, str]:
    """Return what the command finds in its environment about its job."""
    values = {"HANDLE": job.handle, "FUNCTION": job.function, "UNIQUE": job.unique}
    return {f"GEARSTORE_{name}": value for name, value in values.items()}


def reason_of(code: int) -> str:
    """Return why a command with this return code failed, an empty text if it did not."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}" if code else ""
