"""What operators do beside clients: a history of a million jobs, how long a listing takes, and what submits feel of it
while a hundred thousand of its jobs are retried, replayed, held or purged.

    python benchmarks/history.py [--jobs N] [--change N] [--seconds S] [--rounds N] [--dir FOLDER] [--json FILE]
"""

import argparse
import json
import os
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from zlib import crc32

import generator
import machine
from generator import Load, Shape
from servers import GEARSTORE, start, stop

BUILD = Path(__file__).resolve().parent.parent / "build"
CLIENTS = 8  # that submit, one job at a time each
LONGEST = 5.0  # times the idle p99 that submits may take
LISTING_MS = 100.0
DONE, HELD, FAILED = 1, 4, 5  # as stored
FUNCTIONS = {1: b"retried", 2: b"replayed", 3: b"purged", 4: b"held", 5: b"history"}
CAUSE = 0x7F3A1C000000
WORKLOAD = b"w" * 100

VERBS = {
    "retry": {"function": "retried"},
    "replay": {"function": "replayed"},
    "purge": {"function": "purged"},
    "release": {"function": "held"},
}


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement beside one verb."""

    verb: str
    p50_us: float
    p99_us: float
    submits_s: float
    changed_s: float
    overlap: float  # part of the submits' time during which the verb ran


def rows(jobs: int, change: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield id, function, state, cause and a time for each job; the first ones are those to be changed."""
    states = {1: FAILED, 2: DONE, 3: DONE, 4: HELD, 5: DONE}
    began = int(time.time() * 1000) - jobs
    for id in range(1, jobs + 1):
        function = min((id - 1) // change + 1, 5)
        state = FAILED if function == 5 and id % 10 == 0 else states[function]
        yield id, function, state, CAUSE if state == FAILED else 0, began + id


def fill(path: Path, jobs: int, change: int) -> None:
    """Write the history into a database that a server has made."""
    crc = crc32(WORKLOAD)  # without unique and reducer
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        execute = connection.execute
        execute("PRAGMA synchronous = OFF")
        execute("BEGIN")
        connection.executemany("INSERT INTO functions (id, name) VALUES (?, ?)", FUNCTIONS.items())
        execute("INSERT INTO causes VALUES (?, ?, ?)", (CAUSE, b"fail", b""))
        connection.executemany(
            "INSERT INTO jobs (id, function_id, priority, state, position, workload, checksum, attempts, created_at, "
            "started_at, ended_at, cause) VALUES (?1, ?2, 1, ?3, ?1, ?6, ?7, 1, ?5, ?5, ?5, ?4)",
            ((*row, WORKLOAD, crc) for row in rows(jobs, change)),
        )
        execute(
            "INSERT INTO counts SELECT function_id, state, priority, count(*), sum(length(workload)) FROM jobs "
            "GROUP BY function_id, state, priority"
        )
        execute("UPDATE meta SET value = ? WHERE name = 'next_id'", (jobs + 1,))
        execute("COMMIT")


def ask(port: int, verb: str, request: dict[str, object]) -> tuple[list[bytes], float]:
    """Send a management verb; return the lines of its answer and how long it took."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.sendall(b"gearstore %s %s\n" % (verb.encode(), json.dumps(request).encode()))
        with connection.makefile("rb") as answer:
            lines = list(iter(answer.readline, b".\n"))
    if not lines or lines[-1].startswith(b"ERR"):
        raise SystemExit(f"history: {verb}: {lines[-1:]}")
    return lines, time.monotonic() - began


def beside(program: Path, port: int, verb: str, change: int, seconds: float) -> Row:
    """Submit while a verb changes jobs ("": while nothing else goes on)."""
    took: list[float] = []

    def change_them() -> None:
        lines, spent = ask(port, verb, {**VERBS[verb], "limit": change})
        changed = json.loads(lines[-1])["changed"]
        if changed != change:
            raise SystemExit(f"history: {verb} changed {changed} jobs")
        took.append(spent)

    thread = threading.Thread(target=change_them if verb else lambda: None)
    thread.start()
    load: Load = generator.run(program, Shape("submit-bg", CLIENTS, 1, seconds=seconds), port, 100)
    thread.join()
    if load.errors:
        raise SystemExit(f"history: {load.detail}")
    spent = took[0] if took else 0.0
    rate = change / spent if spent else 0.0
    return Row(verb or "idle", load.p50_us, load.p99_us, load.ops_s, rate, min(1.0, spent / load.seconds))


def listing(port: int) -> float:
    """Return the milliseconds that the server takes for `jobs --state failed --limit 50`."""
    lines, spent = ask(port, "jobs", {"state": ["failed"], "limit": 50, "order": "newest"})
    if len(lines) != 50:
        raise SystemExit(f"history: {len(lines)} jobs listed")
    return spent * 1000


def measure(options: argparse.Namespace, program: Path, folder: Path) -> tuple[float, list[Row]]:
    """Make the history, start a server on it and measure; every verb gets its part of the jobs once a round."""
    per_round = options.change * options.rounds
    process, port = start(GEARSTORE, folder)
    stop(process)
    fill(folder / "gearstore.db", options.jobs, per_round)
    found: list[Row] = []
    process, port = start(GEARSTORE, folder)
    try:
        listed = statistics.median(listing(port) for _ in range(11))
        for _ in range(options.rounds):
            for verb in ("", *VERBS):
                os.sync()
                found.append(beside(program, port, verb, options.change, options.seconds))
                print(f"{found[-1].verb:8} p99 {found[-1].p99_us / 1000:8.2f} ms", file=sys.stderr)
    finally:
        stop(process)
    return listed, found


def report(listed: float, found: list[Row]) -> bool:
    """Print medians and ratios; return whether all are as they should be."""
    print(f"jobs --state failed --limit 50: {listed:.1f} ms (at most {LISTING_MS:.0f})\n")
    print(f"{'beside':8}  {'p50':>9}  {'p99':>9}  {'of idle':>7}  {'submits/s':>9}  {'changed/s':>9}  overlap")
    good, idle = listed <= LISTING_MS, 0.0
    for verb in ("idle", *VERBS):
        rows = [row for row in found if row.verb == verb]
        p50, p99, submits, changed, overlap = (
            statistics.median(getattr(row, name) for row in rows)
            for name in ("p50_us", "p99_us", "submits_s", "changed_s", "overlap")
        )
        idle = idle or p99
        good &= p99 <= LONGEST * idle
        times = f"{p50 / 1000:6.2f} ms  {p99 / 1000:6.2f} ms  {p99 / idle:6.1f}x"
        print(f"{verb:8}  {times}  {submits:9.0f}  {changed:9.0f}  {overlap:6.0%}")
    return good


def main() -> int:
    """Run the benchmark; return the exit code: 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="in the history (1,000,000)")
    parser.add_argument("--change", type=int, default=100_000, help="changed beside the submits (100,000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of submits beside each verb (3)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dir", type=Path, default=BUILD / "bench", help="where the database is (build/bench)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.jobs < 5 * options.change * options.rounds:
        parser.error("--jobs must be five times --change times --rounds at least")
    options.dir.mkdir(parents=True, exist_ok=True)
    program = generator.build(BUILD)
    with tempfile.TemporaryDirectory(prefix="history-", dir=options.dir) as name:
        for fact, value in machine.facts(Path(name)).items():
            print(f"{fact}: {value}")
        listed, found = measure(options, program, Path(name))
    if options.json:
        options.json.write_text(json.dumps({"listing_ms": listed, "rows": [asdict(row) for row in found]}, indent=1))
    return 0 if report(listed, found) else 1


if __name__ == "__main__":
    sys.exit(main())
