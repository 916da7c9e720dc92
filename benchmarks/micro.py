"""Small benchmarks of single decisions; benchmarks/README.md tells what each of them is for.

Each line is the best of several runs, in CPU time of the thread, so that other work on the machine matters little.
No socket and no other process takes part. `python benchmarks/micro.py [NAME...]`
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from hot_path import CLIENTS, UNIQUE, WORKLOAD, HotPath, Nothing

from gearstore.protocol import packets as p
from gearstore.protocol.parser import PacketParser
from gearstore.queue.engine import Engine
from gearstore.queue.functions import Function
from gearstore.queue.job import NORMAL, Job
from gearstore.queue.record import claimed
from gearstore.store import migrations
from gearstore.store.memory import MemoryStore
from gearstore.store.reader import CLAIM, unpacked
from gearstore.store.sqlite import SqliteStore

ROUNDS = 30
CLAIMED = 1024  # jobs


def best(work: Callable[[], object], times: int, rounds: int = ROUNDS) -> float:
    """Return the microseconds of one of `times` things that `work` does, in its best round."""
    seconds = []
    for _ in range(rounds):
        start = time.thread_time()
        work()
        seconds.append(time.thread_time() - start)
    return min(seconds) / times * 1e6


def report(name: str, microseconds: float) -> None:
    """Print one line."""
    print(f"{name:58} {microseconds:8.2f} us")


def parser() -> None:
    """Cut 1000 pipelined submits into packets."""
    data = b"".join([p.request(p.SUBMIT_JOB_BG, b"f", UNIQUE % n, WORKLOAD) for n in range(1000)])

    def work() -> None:
        cutter = PacketParser(1 << 20)
        cutter.feed(data)
        cutter.take(1000)

    report("parser: a submit", best(work, 1000))
    numbers = list(p.PacketType)
    report("parser: look up a packet type by an enum call", best(lambda: [p.PacketType(18) for _ in range(1000)], 1000))
    table = tuple(numbers)
    report("parser: look it up in a tuple", best(lambda: [table[18] for _ in range(1000)], 1000))


def fields_of_a_job() -> None:
    """Look at eight fields that most jobs never change: with slots, and as defaults of the class."""
    job = Job(1, b"H", Function(1, b"f", 1000), b"u", b"w", 1, 0, True)
    defaults: Any = type("Defaults", (), {name: getattr(job, name) for name in Job.__slots__})()

    def look(job: Any) -> None:
        for _ in range(1000):
            _ = job.key, job.place, job.worker, job.listeners, job.deadline, job.reason, job.batch, job.reducer

    report("fields of a job: eight of them, with slots", best(lambda: look(job), 1000))
    report("fields of a job: eight defaults of the class", best(lambda: look(defaults), 1000))


def parameters() -> None:
    """Hand `bytes` and `bytearray` to sqlite3."""
    connection = sqlite3.connect(":memory:")
    query = f"SELECT {' + '.join(['length(?)'] * 100)}"
    for kind in (bytes, bytearray):
        values = [kind(b"12345678") for _ in range(100)]
        report(f"parameters: {kind.__name__}", best(lambda v=values: connection.execute(query, v), 100))  # type: ignore[misc]


def multi_row() -> None:
    """Insert 64 rows by one statement, and by executemany."""
    with tempfile.TemporaryDirectory(dir=folder()) as directory:
        connection = sqlite3.connect(f"{directory}/db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        migrations.migrate(connection)
        head = 'INSERT INTO jobs (function_id, priority, position, "unique", workload, checksum, created_at) VALUES '
        row = "(?, ?, ?, ?, ?, ?, ?)"
        rows = [(1, 1, n, bytearray(UNIQUE % n), bytearray(WORKLOAD), 1, 2) for n in range(64)]
        flat = [value for values in rows for value in values]

        def transaction(insert: Callable[[], object]) -> None:
            connection.execute("BEGIN")
            insert()
            connection.execute("COMMIT")

        one = lambda: connection.execute(head + ", ".join([row] * 64), flat)  # noqa: E731
        many = lambda: connection.executemany(head + row, rows)  # noqa: E731
        report("multi-row: one statement of 64 rows, each", best(lambda: transaction(one), 64))
        report("multi-row: executemany of 64 rows, each", best(lambda: transaction(many), 64))
        connection.close()


def folder() -> Path:
    """Return a folder on a real disk."""
    path = Path(__file__).parent.parent / "build"
    path.mkdir(exist_ok=True)
    return path


def hot_path() -> None:
    """The CPU time of the loop's thread for a submit and for a grab with a completion, 64 connections a turn."""
    with tempfile.TemporaryDirectory(dir=folder()) as directory:
        for name, store in (("no store", Nothing()), ("SQLite", SqliteStore(f"{directory}/db", 1000))):
            submit, drain = asyncio.run(_hot_path(store))
            report(f"hot path, {name}: submit", submit)
            report(f"hot path, {name}: complete and grab", drain)


async def _hot_path(store: MemoryStore | SqliteStore) -> tuple[float, float]:
    path = HotPath(store)
    await path.open()

    async def timed(requests: list[bytes]) -> float:
        start = time.thread_time()
        await path.turn(requests)
        return (time.thread_time() - start) / CLIENTS * 1e6

    submits = [await timed(path.submits()) for _ in range(ROUNDS)]
    await path.turn(path.grabs())
    drains = [await timed(path.completions()) for _ in range(ROUNDS - 1)]
    await path.close()
    return min(submits), min(drains)


def claim() -> None:
    """Take 1024 spilled jobs back from the one row that they come as: into records, and from there into a window."""
    found, data = asyncio.run(_claim())
    records = unpacked(json.loads(found), data)
    assert len(records) == CLAIMED

    def take() -> None:
        engine = Engine(cast(Any, None), cast(Any, None))
        function = engine.function(b"f")
        function.spilled = function.windows[NORMAL].on_disk = CLAIMED
        claimed(engine, function, NORMAL, records)
        assert function.ready == CLAIMED

    report("claim: a record", best(lambda: unpacked(json.loads(found), data), CLAIMED))
    report("claim: a job in its window", best(take, CLAIMED))


async def _claim() -> tuple[str, bytes]:
    with tempfile.TemporaryDirectory(dir=folder()) as directory:
        path = HotPath(SqliteStore(f"{directory}/db", 1000))
        await path.open()
        for _ in range(CLAIMED // CLIENTS):
            await path.turn(path.submits())
        await path.store.close()
        with contextlib.closing(sqlite3.connect(f"{directory}/db")) as connection:
            found: tuple[str, bytes] = connection.execute(CLAIM.format("1 ORDER BY position")).fetchone()
    return found


BENCHMARKS = {f.__name__: f for f in (parser, fields_of_a_job, parameters, multi_row, claim, hot_path)}


def main(names: list[str]) -> int:
    """Run the benchmarks named, or all."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"there is no {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    os.environ.pop("GEARSTORE_CONFIG", None)
    sys.exit(main(sys.argv[1:]))
