"""Documents whose examples are run: what they show of a terminal is what happens, in this order.

    ```console             "# command" at the prompt of root, followed by what it prints;
    ```php /path/of/file   a file that the reader has to write, named by its path (relative ones are in /root).

`...` stands for anything, also for several lines if it stands alone. `^C` ends a command that runs until Ctrl-C.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.packaging.box import Box

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ESCAPES = re.compile(rb"\x1b[\[(][0-9;?]*[A-Za-z]|\x1b[=>]")
WITHIN = 120.0  # seconds for a command that runs until Ctrl-C to print what is expected


@dataclass
class Command:
    """A command of a transcript and what it prints."""

    text: str
    expected: list[str] = field(default_factory=list)

    @property
    def runs_on(self) -> bool:
        """Whether it ends by Ctrl-C only."""
        return self.expected[-1:] == ["^C"]


@dataclass
class File:
    """A file that the reader has to write."""

    path: str
    text: str


def steps(document: Path) -> list[Command | File]:
    """Return what a reader of the document does, in order."""
    found: list[Command | File] = []
    for kind, path, text in BLOCK.findall(document.read_text()):
        if path:
            found.append(File(path, text))
        elif kind == "console":
            for line in text.splitlines():
                if line.startswith("# "):
                    found.append(Command(line[2:]))
                else:
                    assert isinstance(found[-1], Command), line
                    found[-1].expected.append(line)
    return found


def pattern(expected: list[str]) -> re.Pattern[str]:
    """Return what the output must match: blanks count as one, `...` as anything."""
    lines = []
    for line in expected:
        words = [".*?".join(map(re.escape, word.split("..."))) for word in line.split()]
        lines.append(r"(?:.*\n)*?" if line == "..." else r"\s+".join(words) + r"[ \t]*\n")
    return re.compile("".join(lines))


def play(box: Box, document: Path) -> None:
    """Do what the document says."""
    for step in steps(document):
        if isinstance(step, File):
            box.sh(f"cat >'{step.path}' <<'END'\n{step.text}END")
        elif step.runs_on:
            run_until_control_c(box, step)
        else:
            done = box.try_(step.text)
            printed = "".join(f"{line.strip()}\n" for line in done.stdout.splitlines())
            assert pattern(step.expected).fullmatch(printed), (
                f"# {step.text}\n{done.stdout}\ninstead of\n" + "\n".join(step.expected) + f"\n{box.journal()}"
            )


def run_until_control_c(box: Box, command: Command) -> None:
    """Run a command on a terminal until it has printed what is expected, then press Ctrl-C."""
    wanted = pattern(command.expected[:-1])
    terminal, inner = pty.openpty()
    environ = f"export TERM=xterm COLUMNS=120 LINES=30; stty cols 120 rows 30; {command.text}"
    # A session of its own with this terminal, so that Ctrl-C reaches all of it; we may have been started to ignore it.
    process = subprocess.Popen(
        ["setsid", "--ctty", *box.command(environ)], stdin=inner, stdout=inner, stderr=inner, preexec_fn=heed_control_c
    )
    os.close(inner)
    os.set_blocking(terminal, False)
    printed, deadline = b"", time.monotonic() + WITHIN
    try:
        while not wanted.search(screen(printed)):
            if time.monotonic() > deadline:
                pytest.fail(f"# {command.text}\n{screen(printed)}\ninstead of\n" + "\n".join(command.expected))
            try:
                printed += os.read(terminal, 65536)
            except BlockingIOError:
                time.sleep(0.02)
        os.write(terminal, b"\x03")
        process.wait(WITHIN)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def heed_control_c() -> None:
    """Undo what a shell sets for commands in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def screen(printed: bytes) -> str:
    """Return the text that was drawn; what a program moves the cursor for begins a new line."""
    moved = re.sub(rb"\x1b\[[0-9;]*[Hd]|\r\n|\r|\x08", b"\n", printed)
    text = ESCAPES.sub(b"", moved).decode("utf-8", "replace")
    return "".join(f"{line.strip()}\n" for line in text.splitlines() if line.strip())
