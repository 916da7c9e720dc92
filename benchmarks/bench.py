"""Run gearstore, gearmand, redis and beanstalkd side by side and print their ratios.

    python benchmarks/bench.py [--quick] [--rounds N] [--only GROUP] [--scenario NAME] [--check] [--publish]

Servers are interleaved: in each round every scenario runs on every server before the next scenario
begins, each time on a fresh server with an empty folder. Figures are medians over the rounds.
Exit codes: 0 clean, 1 a run had errors or (with --check) a floor was missed, 2 nothing could be run.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import generator
import machine
import outcome
import report
import targets
from scenarios import GROUPS, SCENARIOS, Measurement, Plan, Scenario, measure
from servers import GEARSTORE, SERVERS, Server, ServerError, find, running, sink

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
FULL_ROUNDS, QUICK_ROUNDS = 5, 1
CEILING_ROUNDS = 1  # in which the generator's ceiling is measured
PACKAGES = {"gearmand": "gearman-job-server", "redis-server": "redis-server", "beanstalkd": "beanstalkd"}  # Debian's


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="Compare gearstore with others: rates, ratios, latencies.")
    parser.add_argument("--rounds", type=int, help=f"rounds to take medians over ({FULL_ROUNDS}; quick {QUICK_ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="short runs: for a look, not for a claim")
    parser.add_argument("--minutes", type=float, default=10.0, help="begin no round that would end later (%(default)g)")
    parser.add_argument("--only", choices=GROUPS, action="append", help="only this group (may be repeated)")
    parser.add_argument("--scenario", action="append", help='only this scenario, as in "submit 64x1" (may be repeated)')
    parser.add_argument("--servers", default=",".join(SERVERS), help="comma-separated, of: %(default)s")
    parser.add_argument("--size", type=int, default=100, help="bytes of a workload (%(default)s)")
    parser.add_argument("--dir", type=Path, default=BUILD, help="folder on the disk to measure (%(default)s)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=BUILD / "result.json", help="every run (%(default)s)"
    )
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="run nothing: report what FILE holds")
    parser.add_argument("--publish", action="store_true", help="write the table and the picture into the tree")
    parser.add_argument("--check", action="store_true", help="exit 1 when gearstore is below a floor")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else FULL_ROUNDS)
    if not 1 <= options.rounds <= 100:
        parser.error("--rounds takes 1 to 100")
    if not 16 <= options.size <= 500_000:
        parser.error("--size takes 16 to 500000 bytes")
    unknown = set(options.servers.split(",")) - set(SERVERS)
    unknown |= set(options.scenario or ()) - {scenario.name for scenario in SCENARIOS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return options


def make_plan(options: argparse.Namespace, program: Path, base: Path) -> Plan:
    """Return how much to measure: enough for a claim, or little for a look."""
    if options.quick:
        return Plan(program, base, options.size, 0.4, 0.5, part=0.2)
    return Plan(program, base, options.size, 0.6, 0.8)


def chosen(options: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios that were asked for."""
    if options.scenario:
        return [one for one in SCENARIOS if one.name in options.scenario]
    return [one for one in SCENARIOS if one.usual and one.group in (options.only or GROUPS)]


def present(options: argparse.Namespace, base: Path) -> list[Server]:
    """Return the servers that were asked for and start here; say which are left out."""
    found = []
    for server in (SERVERS[name] for name in options.servers.split(",")):
        if find(server.program) is None:
            package = PACKAGES.get(server.program, server.program)
            print(f"left out: {server.title}, which is not installed (Debian: {package})", file=sys.stderr)
            continue
        try:
            with running(server, base):
                found.append(server)
        except ServerError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not found:
        raise ServerError("none of the servers can be started")
    return found


def schedule(scenarios: Sequence[Scenario], servers: list[Server], number: int) -> Iterator[tuple[Scenario, Server]]:
    """Yield the runs of a round in their order; the servers' order rotates so that none is always the first."""
    turn = number % len(servers)
    for scenario in scenarios:
        for server in servers[turn:] + servers[:turn]:
            if scenario.group in server.groups:
                yield scenario, server


def run_all(options: argparse.Namespace, plan: Plan, began: float) -> report.Results:
    """Do every run and tell on stderr how it went."""
    found: list[Measurement] = []
    syncs: list[machine.Syncs] = []
    scenarios, servers = chosen(options), present(options, plan.base)
    ceiling = [one for one in scenarios if one.group != "foreground"]  # the sink has no workers to pass jobs to
    for number in range(1, options.rounds + 1):
        started = time.monotonic()
        syncs.append(machine.sync_latency(plan.base, overwrite=True))
        runs = list(schedule(scenarios, servers, number))
        if number <= CEILING_ROUNDS:
            runs += [(scenario, sink(plan.program, plan.backlog_of(GEARSTORE))) for scenario in ceiling]
        for scenario, server in runs:
            found.append(measure(scenario, server, number, plan))
            tell(found[-1], options.rounds)
        now = time.monotonic()
        if number < options.rounds and now - began + (now - started) > options.minutes * 60:
            print(
                f"ended after {number} of {options.rounds} rounds, to keep to {options.minutes:g} minutes",
                file=sys.stderr,
            )
            break
    return report.Results(found, syncs)


def tell(one: Measurement, rounds: int) -> None:
    """Say how a run went."""
    went = one.load.detail if one.load.errors else f"{one.load.ops_s:10.0f}/s"
    print(f"round {one.round}/{rounds}  {one.scenario:18} {one.server:18} {went}", file=sys.stderr)


def run(options: argparse.Namespace) -> outcome.Outcome:
    """Run the benchmark."""
    program = generator.build(BUILD)
    options.dir.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="run-", dir=options.dir) as base:
        facts = machine.facts(Path(base))
        plan = make_plan(options, program, Path(base))
        results = run_all(options, plan, began)
    counted = instructions(machine_too=not options.quick)
    rounds = max(one.round for one in results.all)
    facts["plan"] = f"{rounds} rounds, workloads of {plan.size} bytes, runs of {plan.seconds} s, drains of "
    facts["plan"] += f"{plan.backlog_of(GEARSTORE)} jobs or {plan.drain_seconds} s"
    facts["took"] = f"{time.monotonic() - began:.0f} s"
    return outcome.Outcome(facts, results, counted)


def instructions(machine_too: bool) -> str:
    """Return what the count of instructions on the hot path says."""
    command = [sys.executable, str(Path(__file__).with_name("instructions.py"))]
    command += ["--machine"] if machine_too else []
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return (done.stdout + done.stderr).strip()


def passed(results: report.Results, check: bool) -> bool:
    """Return whether all runs were clean and, if asked, the floors are kept; nothing to compare is not kept."""
    floors, _ = targets.verdicts(results)
    return not results.bad and (not check or (bool(floors) and all(floor.kept for floor in floors)))


def terminate(_number: int, _frame: FrameType | None) -> None:
    """Leave through every `finally`, so that no server stays behind."""
    raise SystemExit(2)


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse_arguments()
    signal.signal(signal.SIGTERM, terminate)
    try:
        found = outcome.load(options.source) if options.source else run(options)
        if not options.source:
            outcome.save(options.json, found)
        print(outcome.text(found))
        written = outcome.in_tree() if options.publish else outcome.beside(options.source or options.json)
        outcome.publish(found, *written)
        print("wrote", *written, file=sys.stderr)
    except (ServerError, generator.GeneratorError, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if passed(found.results, options.check) else 1


if __name__ == "__main__":
    sys.exit(main())
