"""Runs all targets at once, each in processes of its own, until the time is over or one of them finds something."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.engine import ROOT, WITHOUT, has_atheris

GRACE = 900  # seconds that a process may take to start and to end: each looks at all modules first
TAIL = 3000  # characters of a log that are shown
SHOWN = 400  # bytes of a failing input that are shown


class Runner:
    """The process of one target."""

    def __init__(self, target: str, number: int, made: Path, seconds: float, runs: int, seed: int) -> None:
        self.target = target
        self.made = made
        self.log = made / f"{target}-{number}.log"
        self.before = set(self.findings())
        command = [sys.executable, "-m", "tests.fuzz", target, "--folder", str(made), "--seconds", f"{seconds:g}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--runs", str(runs), "--seed", str(seed)], cwd=ROOT, stdout=log, stderr=log
            )

    def findings(self) -> list[Path]:
        """Return the inputs of this target that have failed, in this run and before."""
        return sorted(
            path for kind in ("crash", "timeout", "oom", "leak") for path in self.made.glob(f"{self.target}-{kind}-*")
        )

    @property
    def done(self) -> int:
        """How many inputs were run so far."""
        text = self.log.read_text("utf-8", "replace")
        final = re.findall(r"^stat::number_of_executed_units:\s*(\d+)", text, re.MULTILINE)
        return int((final or re.findall(r"^#(\d+)", text, re.MULTILINE) or ["0"])[-1])

    def complain(self) -> None:
        """Print what failed, and how to run it again."""
        print(self.log.read_text("utf-8", "replace")[-TAIL:])
        print(f"{self.target} ended with {self.process.returncode}, see {self.log}")
        for path in sorted({*self.findings()} - self.before):
            print(f"input: {path.read_bytes()[:SHOWN]!r}")
            print(f"again: python -m tests.fuzz {self.target} {path}")


def fuzz_all(targets: list[str], processes: int, made: Path, seconds: float, runs: int, seed: int) -> int:
    """Fuzz all of these targets, each in so many processes; return the exit code."""
    made.mkdir(parents=True, exist_ok=True)
    if not has_atheris():
        print(WITHOUT)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # no process is left behind
    began = time.monotonic()
    runners: list[Runner] = []
    try:
        for number in range(1, processes + 1):
            runners += [Runner(target, number, made, seconds, runs, seed) for target in targets]
        failed = wait(runners, began + seconds + GRACE)
    finally:
        for runner in runners:
            runner.process.send_signal(signal.SIGKILL)
            runner.process.wait()
    for target in targets:
        done = sum(runner.done for runner in runners if runner.target == target)
        print(f"{target:<12}{done:>12,} executions")
    total, took = sum(runner.done for runner in runners), time.monotonic() - began
    if failed is not None:
        failed.complain()
        return 1
    print(f"{total:,} executions over {len(targets)} targets in {took:.0f} s: no crash, no hang")
    return 0


def wait(runners: list[Runner], deadline: float) -> Runner | None:
    """Wait until all have ended; return the first that did not end well, or in time."""
    left = list(runners)
    while left:
        for runner in left:
            code = runner.process.poll()
            if code or time.monotonic() > deadline:
                return runner
        left = [runner for runner in left if runner.process.poll() is None]
        time.sleep(0.1)
    return None
