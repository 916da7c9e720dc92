"""Clocks of a real server that a test moves: clock.c, built once, loaded into the process by LD_PRELOAD."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def compiler() -> str | None:
    """Return the C compiler, None if there is none."""
    return shutil.which("cc") or shutil.which("gcc")


class Clock:
    """How far one process's clocks are from the real ones, in seconds."""

    def __init__(self, directory: Path) -> None:
        self.library = directory / "clock.so"
        command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", self.library, SOURCE]
        subprocess.run(command, check=True)
        self.file = directory / "clock"
        self.wall = self.monotonic = 0.0
        self._write()

    @property
    def variables(self) -> dict[str, str]:
        """What the process needs in its environment."""
        return {"LD_PRELOAD": str(self.library), "TEST_CLOCK": str(self.file)}

    def jump(self, wall: float = 0.0, monotonic: float = 0.0) -> None:
        """Move the clocks, while the process runs."""
        self.wall += wall
        self.monotonic += monotonic
        self._write()

    def _write(self) -> None:
        # In place: the process has mapped this very file.
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("=qq", int(self.wall * 1e9), int(self.monotonic * 1e9)))
