"""Latency of submits while a large history is pruned, against the same server with nothing to prune.

    python benchmarks/pruning.py [--jobs N] [--rounds N] [--dir FOLDER]

The history is made once and copied for each run. In each round every load runs on an idle server, then on one that
prunes; the run counts only if it still prunes at the end. Figures are medians over the rounds. Exit codes: 0 clean,
1 a run had errors, 2 nothing could be run.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import generator
import servers
from generator import Load, Shape
from servers import Server, ServerError, running

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
LOADS = ((1, 1), (8, 1), (64, 1))  # connections and window
SECONDS = 2.0
PATIENCE = 120.0  # seconds until pruning must have begun
KEPT = 1000  # jobs that a server that prunes may keep
SIZE = 100  # bytes of a workload, the old ones and the submitted
DAY = 86_400_000


def make_history(path: Path, jobs: int) -> None:
    """Make a database with so many done jobs, which ended over the last six days."""
    command = [sys.executable, "-m", "gearstore_cli", "serve", "--listen", f"127.0.0.1:{servers.free_port()}"]
    process = subprocess.Popen([*command, "--db", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not Path(f"{path}-wal").exists():
        time.sleep(0.05)  # until it has made its tables
    time.sleep(1.0)
    servers.stop(process)
    write_history(path, jobs)


def write_history(path: Path, jobs: int) -> None:
    """Write so many done jobs of a function of their own into a database that no server has open."""
    now = int(time.time() * 1000)
    with sqlite3.connect(path) as database:
        execute = database.execute
        (first,) = execute("SELECT value FROM meta WHERE name = 'next_id'").fetchone()
        (function,) = execute("SELECT ifnull(max(id), 0) + 1 FROM functions").fetchone()
        execute("INSERT INTO functions (id, name) VALUES (?, CAST('old' AS BLOB))", (function,))
        database.executemany(
            "INSERT INTO jobs (id, function_id, priority, state, position, workload, checksum, created_at, ended_at) "
            "VALUES (?1, ?2, 1, 1, ?1, ?3, 0, 0, ?4)",
            (
                (first + number, function, b"w" * SIZE, now - 6 * DAY + 6 * DAY * number // jobs)
                for number in range(jobs)
            ),
        )
        execute("INSERT INTO counts VALUES (?, 1, 1, ?, ?)", (function, jobs, jobs * SIZE))
        execute("UPDATE meta SET value = ? WHERE name = 'next_id'", (first + jobs,))
    database.close()


def server(history: Path, prunes: bool) -> Server:
    """Return gearstore on a copy of the history."""

    start = servers.gearstore("--keep-done", f"count={KEPT}" if prunes else "forever")

    def command(port: int, folder: Path) -> list[str]:
        shutil.copy(history, folder / "gearstore.db")
        return start(port, folder)

    return Server("pruning" if prunes else "idle", "gearstore", sys.executable, command, ())


def ended_jobs(port: int) -> int:
    """Return how many jobs of the history are left."""
    command = [sys.executable, "-m", "gearstore_cli", "status", "--json", "--server", f"127.0.0.1:{port}"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    (row,) = [line for line in lines if '"function": "old"' in line]
    return int(row.partition('"done": ')[2].partition(",")[0])


def measure(program: Path, history: Path, jobs: int, prunes: bool, base: Path, load: tuple[int, int]) -> Load:
    """Return what the generator saw of one server."""
    os.sync()
    with running(server(history, prunes), base) as target:
        limit = time.monotonic() + PATIENCE
        while prunes and ended_jobs(target.port) == jobs:
            if time.monotonic() > limit:
                return generator.failed("the server did not begin to prune")
        left, started = ended_jobs(target.port), time.monotonic()
        seen = generator.run(program, Shape("submit-bg", *load, seconds=SECONDS), target.port, SIZE)
        now_left = ended_jobs(target.port)
        if prunes and now_left <= KEPT:
            return generator.failed("the server had nothing more to prune")
        if prunes:
            print(f"    pruned {(left - now_left) / (time.monotonic() - started):.0f}/s meanwhile", flush=True)
        return seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Latency of submits while a large history is pruned.")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="ended jobs of the history (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take medians over (%(default)s)")
    parser.add_argument("--dir", type=Path, default=BUILD, help="folder on the disk to measure (%(default)s)")
    options = parser.parse_args(arguments)
    options.dir.mkdir(parents=True, exist_ok=True)
    history = options.dir / "history.db"
    try:
        program = generator.build(BUILD)
        history.unlink(missing_ok=True)
        make_history(history, options.jobs)
        return report(program, history, options)
    except (generator.GeneratorError, ServerError, OSError, subprocess.SubprocessError) as error:
        print(f"nothing could be measured: {error}", file=sys.stderr)
        return 2
    finally:
        history.unlink(missing_ok=True)


def report(program: Path, history: Path, options: argparse.Namespace) -> int:
    """Measure every load in every round and print the medians."""
    errors = 0
    for load in LOADS:
        p99: dict[bool, list[Load]] = {False: [], True: []}
        for _ in range(options.rounds):
            for prunes, found in p99.items():
                seen = measure(program, history, options.jobs, prunes, options.dir, load)
                errors += seen.errors
                if seen.errors:
                    print(f"    {seen.detail}", file=sys.stderr)
                else:
                    found.append(seen)
        if all(p99.values()):
            print_line(load, p99[False], p99[True])
    return 1 if errors else 0


def print_line(load: tuple[int, int], idle: Sequence[Load], pruning: Sequence[Load]) -> None:
    """Print one load's figures."""
    before, after = median(seen.p99_us for seen in idle), median(seen.p99_us for seen in pruning)
    rates = [median(seen.ops_s for seen in found) for found in (idle, pruning)]
    print(
        f"submit {load[0]}x{load[1]}: p99 {before / 1000:.2f} ms idle, {after / 1000:.2f} ms pruning "
        f"({after / before:.1f} times); {rates[0]:.0f}/s and {rates[1]:.0f}/s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
