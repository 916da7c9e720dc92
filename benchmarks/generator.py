"""Build the load generator (`load.c`, `peers.c`) and run it once; its JSON line becomes a `Load`.

The generator is C because a Python one would be the bottleneck of every comparison.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCES = [FOLDER / name for name in ("load.c", "peers.c")]
PARTS = [*SOURCES, FOLDER / "load.h"]
COMPILER_FLAGS = ["-O2", "-Wall", "-Wextra"]
ALARM_SLACK = 90  # the generator's own alarm is at 60 seconds past its limit


class GeneratorError(Exception):
    """The generator cannot be built."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the generator saw; latencies in microseconds, CPU in seconds."""

    ops_s: float
    done: int
    seconds: float
    p50_us: float
    p95_us: float
    p99_us: float
    p999_us: float
    max_us: float
    cpu_s: float
    cut_short: bool
    errors: int
    detail: str


@dataclass(frozen=True, slots=True)
class Shape:
    """How the generator loads a server."""

    mode: str
    connections: int = 1
    window: int = 1
    workers: int = 1
    jobs: int = 1_000_000
    seconds: float = 1.0


def build(folder: Path) -> Path:
    """Compile the generator into the folder unless it is newer than its sources; return the program."""
    program = folder / "load"
    if program.exists() and program.stat().st_mtime > max(part.stat().st_mtime for part in PARTS):
        return program
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        raise GeneratorError("no C compiler found: install gcc, or name one in CC")
    folder.mkdir(parents=True, exist_ok=True)
    command = [compiler, *COMPILER_FLAGS, "-o", str(program), *map(str, SOURCES)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if built.returncode != 0:
        raise GeneratorError(f"the load generator does not compile:\n{built.stderr}")
    return program


def run(program: Path, shape: Shape, port: int, size: int, *more: str) -> Load:
    """Load the server on the port; `more` are further options of the generator."""
    command = [str(program), shape.mode, f"-p{port}", f"-s{size}", f"-n{shape.jobs}", f"-t{shape.seconds}"]
    command += [f"-c{shape.connections}", f"-w{shape.window}", f"-k{shape.workers}", *more]
    try:
        limit = shape.seconds + ALARM_SLACK
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return failed(f"the generator did not end within {limit:.0f} s")
    if ended.returncode not in (0, 1) or not ended.stdout:
        return failed(ended.stderr.strip() or f"the generator ended with code {ended.returncode}")
    return parse(ended.stdout, ended.stderr.strip())


def parse(line: str, complaint: str) -> Load:
    """Return the generator's JSON line as a `Load`, with its non-zero error counts in words."""
    record = json.loads(line)
    counts = [f"{name} {count}" for name, count in record["error_counts"].items() if count]
    record["detail"] = ", ".join([*counts, complaint] if complaint else counts)
    return Load(**{name: record[name] for name in Load.__slots__})


def failed(detail: str) -> Load:
    """Return a run that measured nothing, so that it counts as an error and the others go on."""
    return Load(0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, cut_short=True, errors=1, detail=detail)
