"""The benchmark as it is called: runs that are clean, a result that can be reported again, a picture that is SVG."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BENCH = [sys.executable, str(ROOT / "benchmarks/bench.py")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="the load generator needs a C compiler"),
]


def bench(*options: str) -> "subprocess.CompletedProcess[str]":
    """Run the benchmark."""
    return subprocess.run([*BENCH, *options], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def test_servers_side_by_side(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    servers = "gearstore,redis"  # what is not installed is left out
    done = bench(
        "--quick",
        "--servers",
        servers,
        "--scenario",
        "submit 8x1",
        "--json",
        str(result),
        "--dir",
        os.path.relpath(tmp_path, ROOT),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = json.loads(result.read_text())["runs"]
    assert {run["server"] for run in runs} >= {"gearstore", "sink"}
    assert all(run["errors"] == 0 and run["done"] > 0 for run in runs)
    again = bench("--from", str(result))
    assert again.stdout == done.stdout
    drawn = ElementTree.fromstring((tmp_path / "benchmark.svg").read_text())
    assert "Submit: 8 clients, one at a time each" in [element.text for element in drawn.iter()]


def test_what_is_no_result(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    done = bench("--from", str(other))
    assert (done.returncode, done.stderr) == (2, f"bench: {other} is no result of this benchmark: KeyError('runs')\n")
