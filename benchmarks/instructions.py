"""Count the instructions of the hot path and compare them with what the tree records: a clock shows no tenth.

    python benchmarks/instructions.py             count those of Python's bytecode and compare; exact, works everywhere
    python benchmarks/instructions.py --update    record them, after a change that is worth its price
    python benchmarks/instructions.py --machine   also those of the processor, by perf or else by valgrind (a minute)

Only the instructions of `gearstore/` are counted, by function, on 64 connections with the SQLite store; what happens
inside of C (SQLite, dictionaries, system calls) weighs nothing. Python's versions compile differently, so each has a
baseline of its own. Exit codes: 0 fine, 1 more than a tenth above the baseline, 3 nothing to compare with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from hot_path import CLIENTS, PAIRS, HotPath

import gearstore
from gearstore.store.sqlite import SqliteStore

BASELINE = Path(__file__).with_name("instructions.json")
SOURCES = Path(gearstore.__file__).parent
LIMIT = 1.1  # times the baseline
ROUNDS = 6  # turns of each operation
OPERATIONS = {"submit": CLIENTS, "complete and grab": CLIENTS, "round trip": PAIRS}  # of each in a turn
WORK_ROUNDS = 30  # of a process whose processor instructions are counted: against one with a tenth of them
SHOWN = 8  # functions that grew
COUNTERS = {
    "perf": (["perf", "stat", "-x,", "-e", "instructions:u"], re.compile(r"^(\d+),,instructions")),
    "valgrind": (
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"],
        re.compile(r"Collected : (\d+)"),
    ),
}

Counts = dict[str, dict[str, float]]  # operation -> function -> instructions an operation


@contextmanager
def counting(counter: Counter[str]) -> Iterator[None]:
    """Count each instruction that this thread executes in a function of gearstore."""
    names: dict[Any, str | None] = {}

    def name_of(code: Any) -> str | None:
        path = Path(code.co_filename)
        return f"{path.relative_to(SOURCES)} {code.co_qualname}" if path.is_relative_to(SOURCES) else None

    def enter(frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        code = frame.f_code
        if code not in names:
            names[code] = name_of(code)
        if names[code] is None:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    def step(frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        if event == "opcode":
            counter[names[frame.f_code] or ""] += 1
        return step

    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(None)


async def walk(rounds: int, counters: dict[str, Counter[str]]) -> None:
    """Let jobs be submitted, grabbed and completed, then foreground ones; count if there are counters to count with."""
    with tempfile.TemporaryDirectory() as folder:
        path = HotPath(SqliteStore(f"{folder}/db", interval_ms=1000))
        await path.open()

        async def counted(name: str, work: Coroutine[Any, Any, None]) -> None:
            with counting(counters[name]) if counters else nullcontext():
                await work

        await path.turn(path.submits())  # the first ones fill caches
        for _ in range(rounds):
            await counted("submit", path.turn(path.submits()))
        await path.turn(path.grabs())
        for _ in range(rounds):
            await counted("complete and grab", path.turn(path.completions()))
        await path.round_trips()
        for _ in range(rounds):
            await counted("round trip", path.round_trips())
        await path.close()


def count() -> Counts:
    """Return the bytecode instructions of each function an operation."""
    counters: dict[str, Counter[str]] = {name: Counter() for name in OPERATIONS}
    asyncio.run(walk(ROUNDS, counters))
    return {
        name: {function: round(number / ROUNDS / OPERATIONS[name], 2) for function, number in counter.most_common()}
        for name, counter in counters.items()
    }


def compiled() -> list[str]:
    """Return the modules of gearstore that are not Python any more: their instructions can't be seen."""
    loaded = [(name, getattr(module, "__file__", None) or "") for name, module in list(sys.modules.items())]
    return [name for name, file in loaded if name.startswith("gearstore") and file and not file.endswith(".py")]


def kind() -> str:
    """Return what a baseline depends on."""
    return "{}.{}".format(*sys.version_info)


def machine_kind(counter: str) -> str:
    """Return what a baseline of the processor's instructions depends on."""
    return f"{platform.python_version()} {platform.python_compiler()}, {platform.machine()}, {counter}"


def compare(before: Counts, now: Counts) -> bool:
    """Print both, and which functions grew if it is too much; return whether it is not."""
    kept = True
    print(f"{'instructions an operation':32} {'baseline':>10} {'now':>10}")
    for name, functions in now.items():
        old, new = sum(before.get(name, {}).values()), sum(functions.values())
        if not old:
            print(f"{name:32} {'-':>10} {new:10.1f}")
            continue
        worse = new > LIMIT * old
        kept = kept and not worse
        print(f"{name:32} {old:10.1f} {new:10.1f} {round(new / old - 1, 4) + 0.0:+8.1%}{'  TOO MUCH' if worse else ''}")
        for grown, function in grown_most(before.get(name, {}), functions) if worse else []:
            print(f"    {grown:+8.1f}  {function}")
    return kept


def grown_most(before: dict[str, float], now: dict[str, float]) -> list[tuple[float, str]]:
    """Return by how much which functions grew, the worst first."""
    grown = [(number - before.get(function, 0.0), function) for function, number in now.items()]
    return sorted((each for each in grown if each[0] > 0), reverse=True)[:SHOWN]


def machine_counts() -> tuple[str, Counts] | None:
    """Return how the processor's instructions were counted and how many an operation takes, None if nothing can."""
    for name, (command, pattern) in COUNTERS.items():
        if shutil.which(command[0]) is None:
            continue
        few, many = (run_counted(command, pattern, rounds) for rounds in (WORK_ROUNDS // 10, WORK_ROUNDS))
        if few and many:
            operations = (WORK_ROUNDS - WORK_ROUNDS // 10) * CLIENTS
            return name, {"all of the above": {"everything": round((many - few) / operations, 1)}}
    return None


def run_counted(command: list[str], pattern: re.Pattern[str], rounds: int) -> int:
    """Return the instructions of a process that walks so many rounds, 0 if the counter does not work here."""
    own = [sys.executable, str(Path(__file__).resolve()), "--work", str(rounds)]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run([*command, *own], capture_output=True, text=True, env=environment, check=False)
    found = [match[1] for line in done.stderr.splitlines() if (match := pattern.search(line))]
    return int(found[0]) if found and done.returncode == 0 else 0


def update(file: Path, baseline: dict[str, Counts], fresh: dict[str, Counts]) -> None:
    """Record counts; those of other Pythons stay."""
    file.write_text(json.dumps(baseline | fresh, indent=1, sort_keys=True) + "\n")
    print(f"recorded in {file}: {'; '.join(fresh)}")


def parse_arguments() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description="Count the instructions of the hot path.")
    parser.add_argument("--update", action="store_true", help="record the counts instead of comparing them")
    parser.add_argument("--machine", action="store_true", help="also the processor's instructions (perf or valgrind)")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="file of recorded counts (%(default)s)")
    parser.add_argument("--work", type=int, metavar="ROUNDS", help=argparse.SUPPRESS)
    return parser.parse_args()


def measured(with_machine: bool) -> dict[str, Counts]:
    """Return all counts that can be had here, by their kind."""
    fresh = {kind(): count()}
    if with_machine:
        machine = machine_counts()
        if machine is None:
            print(
                "the processor's instructions can't be counted here: neither perf nor valgrind works", file=sys.stderr
            )
        else:
            fresh[machine_kind(machine[0])] = machine[1]
    return fresh


def main() -> int:
    """Count and compare; return the exit code."""
    options = parse_arguments()
    if options.work is not None:
        asyncio.run(walk(options.work, {}))
        return 0
    if names := compiled():
        print(f"bytecode can't be counted in compiled modules ({', '.join(names)})", file=sys.stderr)
        return 3
    baseline: dict[str, Counts] = json.loads(options.baseline.read_text()) if options.baseline.exists() else {}
    fresh = measured(options.machine)
    if options.update:
        update(options.baseline, baseline, fresh)
        return 0
    kept, compared = True, False
    for name, counts in fresh.items():
        print(name)
        compared = compared or name in baseline
        kept = compare(baseline.get(name, {}), counts) and kept
    if not compared:
        print(f"there is no baseline for Python {kind()}: record one with --update", file=sys.stderr)
        return 3
    return 0 if kept else 1


if __name__ == "__main__":
    os.environ.pop("GEARSTORE_CONFIG", None)
    sys.exit(main())
