"""What is measured: the scenarios, and one run of one of them on one fresh server."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import generator
from generator import Load, Shape
from machine import Share, share, usage
from servers import Running, Server, ServerError, queued_jobs, running

GROUPS = ("submit", "drain", "foreground")
FILL_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load with a name; its seconds and jobs come from the plan."""

    name: str
    group: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    program: Path
    base: Path
    size: int
    seconds: float
    drain_seconds: float
    backlog: int
    serial_backlog: int

    def backlog_of(self, server: Server) -> int:
        """Return how many jobs a drain of this server starts with."""
        return self.serial_backlog if server.serial else self.backlog


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


def foreground(pairs: int) -> Scenario:
    """Round trips from clients through workers."""
    return Scenario(f"foreground {pairs}+{pairs}", "foreground", Shape("fg", pairs, workers=pairs))


def echo(connections: int, window: int) -> Scenario:
    """ECHO_REQ, which costs a server least: part of the generator's ceiling."""
    return Scenario(f"echo {connections}x{window}", "ceiling", Shape("echo", connections, window))


SCENARIOS = (
    *(submit(connections, window) for connections, window in ((1, 1), (8, 1), (64, 1), (8, 64))),
    *(drain(workers) for workers in (1, 8, 64)),
    *(foreground(pairs) for pairs in (1, 8, 64)),
)
ECHOES = (echo(64, 1), echo(8, 64))


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
    handles: tuple[str, ...] = ()
    if draining and target.server.keeps_jobs:
        filled = fill(target, jobs, plan)
        if filled.errors:
            return filled, Share(0.0, 0.0)
        handles = ("--expect-handles", str(target.folder / "handles"))
    shape = replace(scenario.shape, jobs=jobs, seconds=plan.drain_seconds if draining else plan.seconds)
    before = usage(target.pid)
    load = generator.run(plan.program, shape, target.port, plan.size, *handles)
    used = share(before, usage(target.pid))
    return compared(load, scenario, target, jobs), used


def fill(target: Running, jobs: int, plan: Plan) -> Load:
    """Queue the backlog of a drain and keep its handles; fewer jobs than wanted are an error."""
    shape = Shape("submit-bg", 8, 64, jobs=jobs, seconds=FILL_SECONDS)
    load = generator.run(plan.program, shape, target.port, plan.size, "--save-handles", str(target.folder / "handles"))
    if load.errors == 0 and load.done < jobs:
        return generator.failed(f"only {load.done} of {jobs} jobs could be queued within {FILL_SECONDS:.0f} s")
    return load


def compared(load: Load, scenario: Scenario, target: Running, jobs: int) -> Load:
    """Count it as an error when the server's own `status` disagrees with the generator."""
    if not target.server.keeps_jobs or scenario.group == "ceiling" or load.errors:
        return load
    expected = {"submit": load.done, "drain": jobs - load.done, "foreground": 0}[scenario.group]
    found = queued_jobs(target.port)
    if found == expected:
        return load
    return replace(load, errors=1, detail=f"status shows {found} jobs, expected {expected}")
