"""Run gearstore and gearmand side by side and print their ratios.

    python benchmarks/bench.py [--rounds N] [--quick] [--only submit|drain|foreground] [--check] [--json FILE]

Servers are interleaved: in each round every scenario runs on every server before the next scenario
begins, each time on a fresh server with an empty folder. Figures are medians over the rounds.
Exit codes: 0 clean, 1 a run had errors or (with --check) a floor was missed, 2 nothing could be run.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import generator
import machine
import report
from scenarios import ECHOES, GROUPS, SCENARIOS, Measurement, Plan, Scenario, measure
from servers import GEARSTORE, MEMORY, SERVERS, SQLITE, Server, ServerError, find_gearmand, running, sink

BUILD = Path(__file__).resolve().parent.parent / "build" / "bench"
FULL_ROUNDS, QUICK_ROUNDS = 5, 1


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options; a wrong one ends the program with code 2."""
    parser = argparse.ArgumentParser(description="Compare gearstore with gearmand: rates, ratios, latencies.")
    parser.add_argument("--rounds", type=int, help=f"rounds to take medians over ({FULL_ROUNDS}; quick {QUICK_ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="short runs: for a look, not for a claim")
    parser.add_argument("--only", choices=GROUPS, action="append", help="only this group (may be repeated)")
    parser.add_argument("--scenario", action="append", help='only this scenario, as in "submit 64x1" (may be repeated)')
    parser.add_argument("--servers", default=",".join(SERVERS), help="comma-separated, of: %(default)s")
    parser.add_argument("--size", type=int, default=100, help="bytes of a workload (%(default)s)")
    parser.add_argument("--dir", type=Path, default=BUILD, help="folder on the disk to measure (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the machine and every run to FILE")
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
        return Plan(program, base, options.size, 0.5, 1.0, backlog=20_000, serial_backlog=600)
    return Plan(program, base, options.size, 1.2, 2.5, backlog=100_000, serial_backlog=2_500)


def chosen(options: argparse.Namespace) -> list[Scenario]:
    """Return the scenarios that were asked for."""
    groups, names = options.only or GROUPS, options.scenario
    return [one for one in SCENARIOS if one.group in groups and (not names or one.name in names)]


def schedule(options: argparse.Namespace, plan: Plan) -> Iterator[tuple[int, Scenario, Server]]:
    """Yield every run in its order; the servers' order rotates so that none is always the first."""
    servers, ground = [SERVERS[name] for name in options.servers.split(",")], sink(plan.program, plan.backlog)
    scenarios = chosen(options)
    for number in range(options.rounds):
        turn = number % len(servers)
        for scenario in scenarios:
            for server in servers[turn:] + servers[:turn]:
                yield number + 1, scenario, server
            if scenario.group != "foreground":  # the sink has no workers to pass jobs to
                yield number + 1, scenario, ground
        if any(scenario.group == "submit" for scenario in scenarios):
            yield from ((number + 1, scenario, server) for scenario in ECHOES for server in (MEMORY, ground))


def try_servers(options: argparse.Namespace, plan: Plan) -> None:
    """Start each server once, so that a missing one is told now and not after minutes."""
    for name in options.servers.split(","):
        with running(SERVERS[name], plan.base):
            pass


def run_all(options: argparse.Namespace, plan: Plan) -> list[Measurement]:
    """Do every run and tell on stderr how it went."""
    found = []
    for number, scenario, server in schedule(options, plan):
        one = measure(scenario, server, number, plan)
        found.append(one)
        outcome = one.load.detail if one.load.errors else f"{one.load.ops_s:10.0f}/s"
        print(f"round {number}/{options.rounds}  {scenario.name:17} {server.name:16} {outcome}", file=sys.stderr)
    return found


def show(results: report.Results, options: argparse.Namespace, facts: dict[str, str]) -> None:
    """Print the machine, the tables, the noise and the errors."""
    servers = options.servers.split(",")
    print("\n".join(f"{name}: {fact}" for name, fact in facts.items()), end="\n\n")
    for group in GROUPS:
        if report.names_of(group, results):
            print("\n".join(report.rates(group, results, servers)))
    for part in (report.latencies, report.processors, report.ceiling):
        print("\n".join(part(results, servers)))
    print(report.noise(results))
    print("\n".join(report.complaints(results)))


def passed(results: report.Results, check: bool) -> bool:
    """Return whether all runs were clean and, if asked, the floors are kept; nothing to compare is not kept."""
    verdicts = report.verdicts(results)
    compared = any(one.server == GEARSTORE.name for one in results.all)
    if compared or check:
        print("\n".join(["Floors", *(text for _, text in verdicts)]))
    return not results.bad and (not check or (bool(verdicts) and all(kept for kept, _ in verdicts)))


def write_json(path: Path, facts: dict[str, str], options: argparse.Namespace, results: report.Results) -> None:
    """Write everything that was measured, so that others can take other medians."""
    runs = [report.as_record(one) for one in results.all]
    plan = {"rounds": options.rounds, "quick": options.quick, "size": options.size}
    path.write_text(json.dumps({"machine": facts, "plan": plan, "runs": runs}, indent=1) + "\n")


def terminate(_number: int, _frame: FrameType | None) -> None:
    """Leave through every `finally`, so that no server stays behind."""
    raise SystemExit(2)


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = parse_arguments()
    signal.signal(signal.SIGTERM, terminate)
    try:
        if find_gearmand() is None:
            raise ServerError("gearmand is not installed (Debian: gearman-job-server)")
        program = generator.build(BUILD)
        options.dir.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="run-", dir=options.dir) as base:
            facts = machine.facts(Path(base))
            plan = make_plan(options, program, Path(base))
            facts["plan"] = f"{options.rounds} rounds, workloads of {plan.size} bytes, runs of {plan.seconds} s, "
            facts["plan"] += f"drains of {plan.backlog} jobs ({SQLITE.title}: {plan.serial_backlog})"
            try_servers(options, plan)
            results = report.Results(run_all(options, plan))
        facts["took"] = f"{time.monotonic() - began:.0f} s"
    except (ServerError, generator.GeneratorError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    show(results, options, facts)
    if options.json:
        write_json(options.json, facts, options, results)
    return 0 if passed(results, options.check) else 1


if __name__ == "__main__":
    sys.exit(main())
