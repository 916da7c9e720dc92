"""A Debian that boots in a container, with the package in it or not (see packaging/testbox)."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from itertools import count
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TESTBOX = ROOT / "packaging/testbox"
LIMIT = 300.0  # seconds after which a script in a box is taken to hang, on a busy machine as well

_numbers = count(1)


class Failed(AssertionError):
    """A script in a box ended with another code than it should; the message has what it printed."""


class Box:
    """One container. `folder` keeps its files; `shown` is a folder that it sees as /mnt."""

    def __init__(self, tree: Path, folder: Path, shown: Path, *options: str) -> None:
        self.name = f"gearstore-{os.getpid()}-{next(_numbers)}"
        self.tree = tree
        self.folder = folder
        self.options = [f"--bind={shown}:/mnt", f"--bind={ROOT / 'tests/packaging/scripts'}:/opt", *options]
        self.start()

    def testbox(self, *arguments: str | Path) -> None:
        """Run packaging/testbox."""
        environ = os.environ | {"TESTBOX_DIR": str(self.folder)}
        done = subprocess.run([TESTBOX, *arguments], capture_output=True, text=True, env=environ, timeout=LIMIT)
        if done.returncode != 0:
            raise Failed(f"testbox {arguments[0]}: {done.stdout}{done.stderr}")

    def command(self, script: str) -> list[str]:
        """Return the command line, for this machine, of a script in the box."""
        prefix = ["env", f"TESTBOX_DIR={self.folder}", str(TESTBOX), "run", self.name]
        return [*prefix, "env", "-C", "/root", "bash", "-euo", "pipefail", "-c", script]

    # Life

    def start(self, *options: str) -> None:
        """Boot."""
        self.testbox("start", self.name, self.tree, *self.options, *options)

    def stop(self) -> None:
        """Shut down; the files stay."""
        self.testbox("stop", self.name)

    def cut_power(self) -> None:
        """Kill everything in the box at once, then boot it again."""
        self.testbox("cut", self.name)
        self.start("--keep")

    def remove(self) -> None:
        """End it, and leave nothing."""
        self.testbox("rm", self.name)

    # What happens in it

    def try_(self, script: str, limit: float = LIMIT) -> subprocess.CompletedProcess[str]:
        """Run a script; return how it ended and what it printed, errors included."""
        return subprocess.run(
            self.command(script),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
        )

    def sh(self, script: str, limit: float = LIMIT) -> str:
        """Run a script that must succeed and return what it printed, without the last newline."""
        done = self.try_(script, limit)
        if done.returncode != 0:
            raise Failed(f"{script}\nended with {done.returncode}:\n{done.stdout}\n{self.journal()}")
        return done.stdout.rstrip("\n")

    def fails(self, script: str) -> str:
        """Run a script that must not succeed and return what it printed."""
        done = self.try_(script)
        if done.returncode == 0:
            raise Failed(f"{script}\nshould have failed:\n{done.stdout}")
        return done.stdout.rstrip("\n")

    def until(self, script: str, within: float = 120.0) -> str:
        """Run a script that only looks, until it succeeds; return what it printed then."""
        began = looked = time.monotonic()
        while (done := self.try_(script)).returncode != 0:
            now = time.monotonic()
            if now > began + within:
                pytest.fail(f"not within {within} s: {script}\n{done.stdout}\n{self.journal()}")
            time.sleep(max(now - looked, 0.05))  # it costs half a processor at most
            looked = time.monotonic()
        return done.stdout.rstrip("\n")

    def show(self, properties: str, unit: str = "gearstore") -> dict[str, str]:
        """Return properties of a unit."""
        return dict(line.split("=", 1) for line in self.sh(f"systemctl show -p {properties} {unit}").splitlines())

    def journal(self, unit: str = "gearstore") -> str:
        """Return what a unit has said so far."""
        return self.try_(f"journalctl -q --no-pager -u {unit} -o cat").stdout

    def expect_journal(self, text: str, unit: str = "gearstore") -> None:
        """Wait until a unit has said this."""
        self.until(f"journalctl -q --no-pager -u {unit} -o cat | grep -F -- {shlex.quote(text)}")

    def status(self) -> list[str]:
        """Return the rows of `gearstore status`."""
        return self.sh("gearstore status").splitlines()[:-1]

    def started(self) -> None:
        """Wait until the service serves."""
        self.until("systemctl is-active gearstore && gearstore status")

    def configure(self, text: str) -> None:
        """Add lines to the service's unit."""
        folder = "/run/systemd/system/gearstore.service.d"
        self.sh(f"mkdir -p {folder}; printf '[Service]\\n{text}\\n' >{folder}/test.conf; systemctl daemon-reload")
