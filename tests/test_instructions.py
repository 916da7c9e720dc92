"""The hot path executes no more bytecode than the tree records (benchmarks/instructions.py); a rise would be told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, str(ROOT / "benchmarks/instructions.py")]
NOTHING_TO_COMPARE = 3


def count(*options: str) -> "subprocess.CompletedProcess[str]":
    """Count, with hashes that are the same each time; skip the test where there is nothing to compare with."""
    done = subprocess.run(
        [*COMMAND, *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        timeout=60,
        check=False,
    )
    if done.returncode == NOTHING_TO_COMPARE:
        pytest.skip(done.stderr.strip())
    return done


def test_the_hot_path_costs_at_most_a_tenth_more_than_recorded() -> None:
    done = count()
    assert done.returncode == 0, f"see benchmarks/README.md, Instructions\n{done.stdout}{done.stderr}"


def test_a_rise_is_told_with_the_functions_that_grew(tmp_path: Path) -> None:
    recorded = tmp_path / "instructions.json"
    assert count("--update", "--baseline", str(recorded)).returncode == 0
    baseline = json.loads(recorded.read_text())
    for operations in baseline.values():
        operations["submit"]["protocol/parser.py PacketParser.take"] -= 1000
    recorded.write_text(json.dumps(baseline))
    done = count("--baseline", str(recorded))
    assert done.returncode == 1
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if "TOO" in line] == ["submit"]
    assert [line[1:] for line in lines if line[0] == "+1000.0"] == [["protocol/parser.py", "PacketParser.take"]]
