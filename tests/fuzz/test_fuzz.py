"""Every input of the corpus as a test of its own, faults that the targets must see, and a short run of all targets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearstore.address import Address
from gearstore.client import core
from gearstore.protocol import admin
from gearstore.protocol.parser import PacketParser
from gearstore.server import commands, connection, text
from gearstore.server.management import looking, request
from tests.acceptance.servers import eventually
from tests.fuzz.blind import fuzz
from tests.fuzz.corpus import FOLDERS, inputs, words
from tests.fuzz.targets import TARGETS
from tests.fuzz.world import Violation

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.fuzz"]
CASES = [pytest.param(target, path, id=f"{target}-{path.name}") for target in TARGETS for path in inputs(target)]


@pytest.mark.parametrize(("target", "path"), CASES)
def test_the_corpus(target: str, path: Path) -> None:
    TARGETS[target](path.read_bytes())


def test_each_target_has_a_corpus_of_small_files() -> None:
    assert FOLDERS.keys() == TARGETS.keys()
    assert all(inputs(target) for target in TARGETS)
    assert max(path.stat().st_size for target in TARGETS for path in inputs(target)) < 4096
    assert all(0 < len(word) < 65 for word in words())


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_that_are_changed_blindly(target: str, tmp_path: Path) -> None:
    """What runs on a Python for which there is no atheris."""
    assert fuzz(target, 60, 100, 1, lambda data: tmp_path / "never") == 100


# Faults that are planted: the place, and what stands there instead. The corpus alone must show each of them.


def returning(value: Any) -> Callable[..., Any]:
    """Return a function that returns this whatever it is given."""
    return lambda *_, **__: value


def failing(*_: Any) -> None:
    """Fail as a command does that has a fault."""
    raise IndexError("planted")


def one_line_less(rows: Any) -> bytes:
    """Return a table without its end."""
    return WHOLE_TABLE(rows)[:-2]


def sent_twice(conn: Any, *objects: Any) -> None:
    """Answer without the line ends."""
    conn.reply(b"".join(repr(line).encode() + b"\n" for line in objects))


WHOLE_TABLE = admin.table
PLANTED: dict[str, tuple[str, Any, str, Any]] = {
    "the parser raises": ("parser", PacketParser, "_tolerated", failing),
    "the parser keeps a rest": ("parser", PacketParser, "unfinished", property(returning(1 << 20))),
    "a command has a fault": ("connection", commands, "_status", failing),
    "nobody is answered": ("connection", connection.Connection, "flush", returning(None)),
    "a connection stays": ("connection", connection.Connection, "connection_lost", returning(None)),
    "a table has no end": ("text", text.admin, "table", one_line_less),
    "a line has no answer": ("text", text.admin, "unknown_command", returning(b"")),
    "a line is no JSON": ("manage", looking, "send", sent_twice),
    "a wrong key breaks a verb": ("manage", request, "_check", failing),
    "any value is taken": ("verbs", request, "_check", returning(None)),
    "a row of the server is no object": ("client", core, "row_of", returning(1)),
    "a packet has too few pieces": ("client", core, "status_of", failing),
    "an address is written wrongly": ("settings", Address, "__str__", returning("x:1")),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, place, attribute, instead = PLANTED[name]
    monkeypatch.setattr(place, attribute, instead)
    with pytest.raises((Violation, IndexError, ValueError)):
        for path in inputs(target):
            TARGETS[target](path.read_bytes())


# Runs


@pytest.mark.slow
def test_a_short_run_of_all_targets(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--seconds", "6", "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    found = re.fullmatch(r"([\d,]+) executions over 7 targets in \d+ s: no crash, no hang", last)
    assert found and int(found[1].replace(",", "")) > 500
    rows = re.findall(r"^(\w+) +([\d,]+) executions$", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == list(TARGETS)
    assert all(int(number.replace(",", "")) > 0 for _, number in rows)


PLANT = """
import sys
from pathlib import Path
from tests.fuzz.engine import fuzz
from gearstore.client import core
core.row_of = lambda line, server: 1
fuzz("client", Path(sys.argv[1]), 60, 0, 1)
"""


@pytest.mark.slow
def test_an_input_that_fails_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run([sys.executable, "-c", PLANT, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "a row that is none" in done.stdout + done.stderr
    (saved,) = tmp_path.glob("client-crash-*")
    again = [*COMMAND, "client", str(saved)]
    assert subprocess.run(again, cwd=ROOT, capture_output=True, text=True).stdout == f"{saved}: no fault\n"
    monkeypatch.setattr(core, "row_of", returning(1))
    with pytest.raises(Violation, match="a row that is none"):
        TARGETS["client"](saved.read_bytes())


@pytest.mark.slow
def test_a_run_ends_with_the_first_process_that_does(tmp_path: Path) -> None:
    command = [*COMMAND, "--seconds", "60", "--folder", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:

        def children() -> list[int]:
            path = Path(f"/proc/{running.pid}/task/{running.pid}/children")
            return [int(pid) for pid in path.read_text().split()]

        started = eventually(lambda: children() if len(children()) == len(TARGETS) else None)
        assert started
        os.kill(started[2], signal.SIGKILL)
        assert running.stdout is not None
        output = running.stdout.read()
    assert running.returncode == 1
    assert f"{list(TARGETS)[2]} ended with -9," in output
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
