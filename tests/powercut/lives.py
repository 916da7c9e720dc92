"""The lives of a server that are recorded: how each of them begins, and how it ends."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.powercut.cuts import NAME, Record
from tests.powercut.recording import Recorder
from tests.powercut.serve import WINDOW, command
from tests.powercut.workload import Crowd, Plan
from tests.server.process import Server, eventually

WITHIN = 60.0  # seconds; only a machine that does much else needs them
BUSY = 60  # submits that are answered before a life ends

Life = Callable[["Subject", Crowd], None]


class Subject:
    """A server that is recorded over all of its lives."""

    def __init__(self, folder: Path, name: str, fault: str = "") -> None:
        directory = folder / name
        directory.mkdir()
        self.recorder = Recorder(folder, directory)
        self.faults = self.recorder.faults
        self.record = Record(self.recorder.log, str(self.recorder.directory), Plan())
        self.fault = fault
        self.server: Server | None = None

    def live(self, life: Life, seed: int) -> None:
        """Start the server, let the crowd in, end it as the life says."""
        if self.server is None:
            directory = Path(self.record.directory)
            self.server = Server(
                directory.parent,
                "--job-handle-prefix=H:test",
                "--drain-timeout=0.1",
                f"--window={WINDOW}",
                db=directory / NAME,
                variables=self.recorder.variables,
                command=command(self.fault),
            )
        else:
            self.recorder.mend()
            self.server.restart()
        crowd = Crowd(self.server, self.record.plan, b"", seed)
        with crowd.at_work():
            life(self, crowd)
        self.faults.heal()

    def busy(self, crowd: Crowd, jobs: int = BUSY) -> None:
        """Wait until so many more submits were answered."""
        wanted = crowd.answered + jobs
        eventually(lambda: crowd.answered >= wanted or self.server.process.poll() is not None, "answers", WITHIN)

    def end(self) -> None:
        """Leave nothing running."""
        if self.server is not None:
            self.server.end()


def killed(subject: Subject, crowd: Crowd) -> None:
    """kill -9 in the middle of it."""
    subject.busy(crowd)
    subject.server.kill()


def stopped(subject: Subject, crowd: Crowd) -> None:
    """An orderly end in the middle of it."""
    subject.busy(crowd)
    assert subject.server.terminate(WITHIN) == 0 or subject.fault, subject.server.log


def sync_fails(subject: Subject, crowd: Crowd) -> None:
    """A sync fails: the server has to stop."""
    subject.busy(crowd)
    subject.faults.error = errno.EIO
    subject.faults.syncs = 1
    assert subject.server.wait(WITHIN) == 1, subject.server.log


def syncs_fail(subject: Subject, crowd: Crowd) -> None:
    """All syncs fail, those of the end too."""
    subject.busy(crowd)
    subject.faults.error = errno.EIO
    subject.faults.syncs = -1
    assert subject.server.wait(WITHIN) == 1, subject.server.log


def young_log_fails(subject: Subject, crowd: Crowd) -> None:
    """The first commit after a checkpoint meets a sync that fails, and the server is killed before it can do anything
    about it: nothing in the log is on the disk."""
    subject.busy(crowd)
    subject.faults.error = errno.EIO
    subject.faults.dies = 1
    subject.faults.young = 2  # (the header of the log comes first)
    assert subject.server.wait(WITHIN) == -signal.SIGKILL, subject.server.log


def disk_full(subject: Subject, crowd: Crowd) -> None:
    """No file can grow for a while; then it is killed."""
    subject.busy(crowd)
    subject.faults.error = errno.ENOSPC
    subject.faults.room = 0
    eventually(lambda: subject.faults.failed > 5, "a full disk", WITHIN)
    subject.faults.heal()
    subject.busy(crowd, 20)
    subject.server.signal(signal.SIGKILL)


# What is recorded in one go
USUAL: Sequence[Life] = (killed, stopped, sync_fails, killed, disk_full, stopped)
WORST: Sequence[Life] = (syncs_fail, young_log_fails, killed, young_log_fails, syncs_fail, stopped)


def record_lives(folder: Path, name: str, lives: Sequence[Life], fault: str = "", seed: int = 0) -> Record:
    """Record a server over these lives."""
    subject = Subject(folder, name, fault)
    try:
        for number, life in enumerate(lives):
            subject.live(life, seed + number)
    finally:
        subject.end()
    return subject.record
