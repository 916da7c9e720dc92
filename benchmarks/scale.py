"""How gearstore bears numbers: idle connections, sleeping workers, functions, queued jobs.

    python benchmarks/scale.py [--only CASE]... [--jobs N] [--connections N] [--rounds N] [--dir FOLDER] [--json FILE]

Ten million jobs (`--only queued --jobs 10000000`) need 4 GB of disk: a million of them is submitted, the others are
written into the database while no server runs.
"""

import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import backlog
import crowd
import generator
import machine
import pruning
from crowd import connect, expect, packet
from generator import Load, Shape
from protocols import GEARMAN
from report import lines
from servers import GEARSTORE, gearstore, running

BUILD = Path(__file__).resolve().parent.parent / "build"
SETTLE = 3  # pings before a memory is read: what the last requests needed is given back
JOBS_ONE_BY_ONE = 20  # each of them for all sleeping workers
FUNCTIONS = 1000
SUBMITTED = 1_000_000  # of the queued jobs
WINDOW = 64  # submits under way of each connection while a queue is filled
FIRST = count(0, 10**8)  # numbers of unique ids: what two runs submit must not coalesce


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure; `target` is the most it may be (or the least, if `least`), None for none."""

    case: str
    name: str
    value: float
    unit: str
    target: float | None = None
    least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the target is met."""
        return self.target is None or (self.value >= self.target if self.least else self.value <= self.target)

    def cells(self) -> list[str]:
        """Return the row of the table."""
        if self.target is None:
            return [f"{self.case}: {self.name}", f"{self.value:,.4g} {self.unit}", "", ""]
        sign = ">=" if self.least else "<="
        verdict = "ok" if self.kept else "MISSED"
        return [f"{self.case}: {self.name}", f"{self.value:,.4g} {self.unit}", f"{sign} {self.target:g}", verdict]


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    program: Path
    base: Path
    connections: int
    jobs: int
    rounds: int
    seconds: float


def submits(plan: Plan, port: int, seconds: float = 2.0, **shape: int) -> Load:
    """Submit 100-byte jobs with unique ids for some seconds."""
    jobs = round(100_000 * seconds) + 1_000_000  # more than there is time for
    wanted = Shape("submit-bg", connections=shape.pop("connections", 8), seconds=seconds, jobs=jobs, **shape)
    load = generator.run(plan.program, wanted, port, 100, f"-f{next(FIRST)}")
    if load.errors:
        raise SystemExit(f"submits failed: {load.detail}")
    return load


def settled(port: int) -> None:
    """Let the server come to rest."""
    with connect(port) as sock:
        for _ in range(SETTLE):
            crowd.ping(sock)


def at_rest(pid: int) -> None:
    """Wait until a server does nothing by itself any more: a start reads in the uniques of its backlog."""
    used, before = machine.usage(pid).server, -1.0
    while used - before > 0.01:
        time.sleep(0.5)
        used, before = machine.usage(pid).server, used


def idle(plan: Plan) -> Iterator[Figure]:
    """Connections that do nothing: their memory, and what others feel of them."""
    number = crowd.most(plan.connections)
    with running(GEARSTORE, plan.base) as server:
        submits(plan, server.port)
        settled(server.port)
        before = crowd.memory(server.pid)
        with crowd.crowd(server.port, number):
            each = (crowd.memory(server.pid) - before) / number
        yield Figure("idle", f"memory of each of {number:,}", each / 1024, "KB", 4.0)
    p99: dict[bool, list[float]] = {False: [], True: []}
    processor: dict[bool, list[float]] = {False: [], True: []}
    for round in range(plan.rounds):
        for crowded in (False, True) if round % 2 else (True, False):
            with running(GEARSTORE, plan.base) as server, crowd.crowd(server.port, number if crowded else 0):
                before_us = machine.usage(server.pid)
                load = submits(plan, server.port)
                p99[crowded].append(load.p99_us)
                processor[crowded].append(machine.share(before_us, machine.usage(server.pid)).server_cpu_s / load.done)
    alone, beside = (statistics.median(p99[crowded]) for crowded in (False, True))
    yield Figure("idle", "p99 of submits by 8 clients, alone", alone / 1000, "ms")
    yield Figure("idle", "p99 of submits by 8 clients, beside them", beside / 1000, "ms")
    yield Figure("idle", "ratio of both", beside / alone, "", 1.2)
    ratio = statistics.median(processor[True]) / statistics.median(processor[False])
    yield Figure("idle", "CPU of a submit, beside them to alone", ratio, "")


def wake(plan: Plan) -> Iterator[Figure]:
    """One job at a time for a function on which thousands sleep: how long others have to wait."""
    number = crowd.most(plan.connections)
    greeting = packet(crowd.CAN_DO, b"f") + packet(crowd.PRE_SLEEP)
    with running(GEARSTORE, plan.base) as server, connect(server.port) as client, connect(server.port) as other:
        before = crowd.memory(server.pid)
        with crowd.crowd(server.port, number, greeting) as workers:
            yield Figure("wake", f"memory of each of {number:,} sleeping workers",
                         (crowd.memory(server.pid) - before) / number / 1024, "KB")  # fmt: skip
            quiet = max(crowd.ping(other) for _ in range(200))
            ears = crowd.Ears(workers)
            worst, woken = 0.0, []
            for _ in range(JOBS_ONE_BY_ONE):
                client.sendall(packet(crowd.SUBMIT_JOB_BG, b"f", b"", b"w" * 100))
                worst = max(worst, crowd.ping(other))
                expect(client, crowd.JOB_CREATED)
                worst = max(worst, crowd.ping(other))
                woken.append(0)
                while GEARMAN.jobs(server.port):
                    who = ears.awake()
                    woken[-1] += len(who)
                    take_all(who)
            yield Figure("wake", "workers woken for a job, median", statistics.median(woken), "")
            yield Figure("wake", "longest echo of another client, nothing else going on", quiet * 1000, "ms")
            yield Figure("wake", f"longest echo of another client, {JOBS_ONE_BY_ONE} jobs", worst * 1000, "ms", 10.0)


def take_all(workers: list[socket.socket]) -> None:
    """Have those who were woken do what there is, and sleep again."""
    for worker in workers:
        expect(worker, crowd.NOOP)
        worker.sendall(packet(crowd.GRAB_JOB))
        while (answer := crowd.receive(worker))[0] == crowd.JOB_ASSIGN:
            handle = answer[1].split(b"\0", 1)[0]
            worker.sendall(packet(crowd.WORK_COMPLETE, handle, b"") + packet(crowd.GRAB_JOB))
        worker.sendall(packet(crowd.PRE_SLEEP) + packet(crowd.ECHO_REQ, b"ping"))
        expect(worker, crowd.ECHO_RES)


def status(plan: Plan) -> Iterator[Figure]:
    """`status` with a thousand functions, and with few and many jobs in them."""
    with running(GEARSTORE, plan.base) as server, connect(server.port) as sock:
        few = time_of_status(sock, fill_functions(sock, FUNCTIONS))
        many = time_of_status(sock, fill_functions(sock, plan.jobs - FUNCTIONS) + FUNCTIONS)
    yield Figure("status", f"{FUNCTIONS:,} functions, one job each", few * 1000, "ms", 1.0)
    yield Figure("status", f"{FUNCTIONS:,} functions, {plan.jobs:,} jobs", many * 1000, "ms", 1.0)
    yield Figure("status", "ratio of both", many / few, "", 1.2)


def fill_functions(sock: socket.socket, jobs: int) -> int:
    """Submit jobs to all functions in turn; return how many."""
    for start in range(0, jobs, 1000):
        count = min(1000, jobs - start)
        sock.sendall(b"".join(packet(crowd.SUBMIT_JOB_BG, b"function%d" % n, b"", b"w" * 100) for n in range(count)))
        for _ in range(count):
            expect(sock, crowd.JOB_CREATED)
    return jobs


def time_of_status(sock: socket.socket, jobs: int) -> float:
    """Return the median time of `status`, which must count so many jobs."""
    times = []
    for _ in range(200):
        began = time.perf_counter()
        sock.sendall(b"status\n")
        text = b""
        while not text.endswith(b".\n"):
            text += sock.recv(1 << 20)
        times.append(time.perf_counter() - began)
    counted = sum(int(line.split(b"\t")[1]) for line in text.splitlines()[:-1])
    if counted != jobs:
        raise SystemExit(f"status counts {counted} jobs, not {jobs}")
    return statistics.median(times)


def queued(plan: Plan) -> Iterator[Figure]:
    """Many queued jobs: memory, disk, rate of submits, and a start after kill -9."""
    memory, start, rate = (200.0, 5.0, 0.6) if plan.jobs > SUBMITTED else (120.0, 1.0, 0.8)
    name = f"{plan.jobs:,} jobs"
    with (
        tempfile.TemporaryDirectory(prefix="queued-", dir=plan.base) as folder,
        closing(backlog.Life(Path(folder))) as life,
    ):
        fill(plan, life.port, min(plan.jobs, SUBMITTED))
        if plan.jobs > SUBMITTED:
            life.kill()
            backlog.write(life.database, plan.jobs - SUBMITTED)
            life.start()
        at_rest(life.pid)
        settled(life.port)
        yield Figure("queued", f"memory with {name}", crowd.memory(life.pid) / 2**20, "MB", memory)
        rates: dict[str, list[tuple[float, float]]] = {"empty": [], name: []}
        for _ in range(plan.rounds):
            with running(GEARSTORE, plan.base) as empty:
                rates["empty"].append(rate_of_submits(plan, empty.port, empty.pid))
            rates[name].append(rate_of_submits(plan, life.port, life.pid))
        for what, measured in rates.items():
            yield Figure("queued", f"submits a second, {what}", statistics.median(each[0] for each in measured), "")
            yield Figure("queued", f"CPU for each, {what}", statistics.median(each[1] for each in measured), "us")
        ratio = statistics.median(full[0] / alone[0] for full, alone in zip(rates[name], rates["empty"], strict=True))
        yield Figure("queued", f"submits a second, {name} to empty", ratio, "", rate, least=True)
        have = GEARMAN.jobs(life.port)
        life.kill()
        yield Figure("queued", "bytes on disk a job", life.database.stat().st_size / have, "", 300.0)
        seconds = life.start()
        yield Figure("queued", f"kill -9 to the first JOB_ASSIGN, {have:,} jobs", seconds, "s", start)
        yield Figure("queued", "CPU of the server until then", life.processor, "s")


def tail(plan: Plan) -> Iterator[Figure]:
    """The slowest of a minute's submits, while many jobs are queued and a history of twice as many is pruned."""
    with (
        tempfile.TemporaryDirectory(prefix="tail-", dir=plan.base) as folder,
        closing(backlog.Life(Path(folder))) as life,
    ):
        fill(plan, life.port, plan.jobs)
        life.kill()
        pruning.write_history(life.database, 2 * plan.jobs)
        life.command = gearstore("--keep-done", f"count={pruning.KEPT}")
        life.start()
        while (before := pruning.ended_jobs(life.port)) == 2 * plan.jobs:
            pass  # until it has begun: each look is a process, and takes a quarter of a second
        load = submits(plan, life.port, plan.seconds, connections=64)
        left = pruning.ended_jobs(life.port)
        if left <= pruning.KEPT:
            raise SystemExit("all of the history was pruned before the end: the last submits had it easier")
        yield Figure("tail", f"{plan.seconds:g} s, {plan.jobs:,} queued, pruned meanwhile", before - left, "jobs")
        yield Figure("tail", "submits a second by 64 clients", load.ops_s, "")
        yield Figure("tail", "p50", load.p50_us / 1000, "ms")
        yield Figure("tail", "p99.9", load.p999_us / 1000, "ms")
        yield Figure("tail", "p99.9 to p50", load.p999_us / load.p50_us, "", 10.0)
        yield Figure("tail", "longest", load.max_us / 1000, "ms", 50.0)


def rate_of_submits(plan: Plan, port: int, pid: int) -> tuple[float, float]:
    """Return submits a second by 64 clients, and the server's CPU time for each in microseconds."""
    before = machine.usage(pid)
    load = submits(plan, port, connections=64)
    return load.ops_s, machine.share(before, machine.usage(pid)).server_cpu_s / load.done * 1e6


def fill(plan: Plan, port: int, jobs: int) -> None:
    """Submit until so many jobs are queued."""
    while (have := GEARMAN.jobs(port)) < jobs:
        shape = Shape("submit-bg", connections=8, window=WINDOW, jobs=jobs - have, seconds=600)
        load = generator.run(plan.program, shape, port, 100, f"-f{next(FIRST)}")
        if load.errors:
            raise SystemExit(f"submits failed: {load.detail}")


CASES: dict[str, Callable[[Plan], Iterator[Figure]]] = {
    "idle": idle,
    "wake": wake,
    "status": status,
    "queued": queued,
    "tail": tail,
}


def main() -> int:
    """Measure; exit code 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=CASES, help="may be repeated (all)")
    parser.add_argument("--connections", type=int, default=10_000, metavar="N")
    parser.add_argument("--jobs", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of what is compared (3)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="of the tail (60)")
    parser.add_argument("--dir", type=Path, default=BUILD / "bench", metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    facts = machine.facts(options.dir)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="scale-", dir=options.dir) as folder:
        program = generator.build(options.dir)
        plan = Plan(program, Path(folder), options.connections, options.jobs, options.rounds, options.seconds)
        for name in options.only or CASES:
            for figure in CASES[name](plan):
                figures.append(figure)
                print("  ".join(figure.cells()), file=sys.stderr)
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    print("\n".join(["", *lines([["", "measured", "target", ""], *(figure.cells() for figure in figures)])]))
    if options.json:
        record = {"machine": facts, "figures": [asdict(figure) | {"kept": figure.kept} for figure in figures]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
