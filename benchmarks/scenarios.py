"""What is measured: the scenarios, and one run of one of them on one fresh server."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import generator
from generator import Load, Shape
from machine import Share, share, usage
from servers import Running, Server, ServerError, running

GROUPS = ("submit", "drain", "foreground", "echo")
FILL_SECONDS = 20.0
LARGE = 10 * 1024  # bytes of a workload


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load with a name; its seconds and jobs come from the plan, its workloads too unless they have a size here."""

    name: str
    group: str
    shape: Shape
    size: int = 0
    usual: bool = True  # else it is run when it is asked for by name


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    program: Path
    base: Path
    size: int
    seconds: float
    drain_seconds: float
    part: float = 1.0  # of a server's backlog

    def backlog_of(self, server: Server) -> int:
        """Return how many jobs a drain of this server starts with."""
        return int(server.backlog * self.part)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run: what the generator saw, and what server and bystanders used meanwhile."""

    scenario: str
    server: str
    round: int
    load: Load
    server_cpu_s: float = 0.0
    foreign_cores: float = 0.0

    @property
    def server_us(self) -> float:
        """CPU microseconds of the server an operation."""
        return self.server_cpu_s / self.load.done * 1e6 if self.load.done else 0.0

    @property
    def generator_us(self) -> float:
        """CPU microseconds of the generator an operation."""
        return self.load.cpu_s / self.load.done * 1e6 if self.load.done else 0.0

    @property
    def generator_busy(self) -> float:
        """The generator's share of one processor: near 1 it was the bottleneck, not the server."""
        return self.load.cpu_s / self.load.seconds if self.load.seconds else 0.0


def submit(connections: int, window: int) -> Scenario:
    """Background submits."""
    return Scenario(f"submit {connections}x{window}", "submit", Shape("submit-bg", connections, window))


def drain(workers: int) -> Scenario:
    """Workers that drain a backlog."""
    return Scenario(f"drain {workers}", "drain", Shape("work", workers=workers))


def foreground(pairs: int, usual: bool) -> Scenario:
    """Round trips from clients through workers."""
    shape = Shape("fg", pairs, workers=pairs)
    return Scenario(f"foreground {pairs}+{pairs}", "foreground", shape, usual=usual)


def echo(connections: int, window: int, usual: bool) -> Scenario:
    """ECHO_REQ, which costs a server least."""
    return Scenario(f"echo {connections}x{window}", "echo", Shape("echo", connections, window), usual=usual)


SCENARIOS = (
    *(submit(connections, window) for connections, window in ((1, 1), (8, 1), (64, 1), (8, 64))),
    Scenario("submit 8x64, 10 KB", "submit", Shape("submit-bg", 8, 64, jobs=60_000), LARGE),
    *(drain(workers) for workers in (1, 8, 64)),
    *(foreground(pairs, usual=pairs == 8) for pairs in (1, 8, 64)),
    *(echo(*load, usual=load == (64, 1)) for load in ((64, 1), (8, 64))),
)


def measure(scenario: Scenario, server: Server, number: int, plan: Plan) -> Measurement:
    """Run a scenario on a fresh server; errors of any kind are in the measurement's load."""
    os.sync()  # what the run before left behind is not this one's to write
    try:
        with running(server, plan.base) as target:
            load, used = load_once(scenario, target, plan)
    except (ServerError, OSError, ValueError, IndexError) as error:
        load, used = generator.failed(f"the server failed: {error}"), Share(0.0, 0.0)
    return Measurement(scenario.name, server.name, number, load, used.server_cpu_s, used.foreign_cores)


def load_once(scenario: Scenario, target: Running, plan: Plan) -> tuple[Load, Share]:
    """Bring the server into the state that the scenario begins with, load it, and compare the counts."""
    draining = scenario.group == "drain"
    jobs = plan.backlog_of(target.server) if draining else scenario.shape.jobs
    size, more = scenario.size or plan.size, ["--protocol", target.server.protocol.name]
    if draining and target.server.keeps_jobs:
        handles = str(target.folder / "handles")
        filled = generator.run(plan.program, filling(jobs), target.port, size, *more, "--save-handles", handles)
        if filled.errors or not filled.done:
            return filled, Share(0.0, 0.0)
        jobs = filled.done  # on a slow disk fewer than wanted
        more += ["--expect-handles", handles]
    shape = replace(scenario.shape, jobs=jobs, seconds=plan.drain_seconds if draining else plan.seconds)
    before = usage(target.pid)
    load = generator.run(plan.program, shape, target.port, size, *more)
    used = share(before, usage(target.pid))
    return compared(load, scenario, target, jobs), used


def filling(jobs: int) -> Shape:
    """Return the load that queues the backlog of a drain."""
    return Shape("submit-bg", 8, 64, jobs=jobs, seconds=FILL_SECONDS)


def compared(load: Load, scenario: Scenario, target: Running, jobs: int) -> Load:
    """Count it as an error when the server's own count disagrees with the generator's."""
    if not target.server.keeps_jobs or load.errors:
        return load
    expected = {"submit": load.done, "drain": jobs - load.done}.get(scenario.group, 0)
    found = target.server.protocol.jobs(target.port)
    if found == expected:
        return load
    return replace(load, errors=1, detail=f"the server counts {found} jobs, expected {expected}")
