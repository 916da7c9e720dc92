"""Turn measurements into medians, tables and the verdict on the floor."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from scenarios import GROUPS, SCENARIOS, Measurement
from servers import GEARSTORE, MEMORY, SERVERS, SQLITE

Table = list[list[str]]
NOISY_CORES = 0.3
TITLES = {
    "submit": "Background submits (connections x window), answered",
    "drain": "Drain of a backlog (workers), completed",
    "foreground": "Foreground round trips (clients + workers)",
}


@dataclass(frozen=True, slots=True)
class Floor:
    """The least ratio of gearstore to another server that a scenario must show."""

    scenario: str
    against: str
    least: float


FLOORS = (
    Floor("submit 64x1", MEMORY.name, 0.5),
    Floor("submit 64x1", SQLITE.name, 10.0),
    Floor("drain 64", MEMORY.name, 0.8),
    Floor("foreground 1+1", MEMORY.name, 0.8),
    Floor("foreground 8+8", MEMORY.name, 0.8),
    Floor("foreground 64+64", MEMORY.name, 0.8),
)


class Results:
    """All measurements of one call; those with errors are kept, shown and counted, but in no median."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self.all = list(measurements)
        self.bad = [one for one in self.all if one.load.errors]
        self._good: dict[tuple[str, str], dict[int, Measurement]] = defaultdict(dict)
        for one in self.all:
            if not one.load.errors:
                self._good[one.scenario, one.server][one.round] = one

    def runs(self, scenario: str, server: str) -> dict[int, Measurement]:
        """Return the clean runs of a cell by their round."""
        return self._good.get((scenario, server), {})

    def median(self, scenario: str, server: str, value: Callable[[Measurement], float]) -> float | None:
        """Return the median of a value over the rounds, None when there is none."""
        values = [value(one) for one in self.runs(scenario, server).values()]
        return statistics.median(values) if values else None

    def ratio(self, scenario: str, other: str) -> float | None:
        """Return the median over the rounds of gearstore's rate to the other's.

        The two runs of one round are neighbours in time, so what disturbed one most likely disturbed both.
        """
        ours, theirs = self.runs(scenario, GEARSTORE.name), self.runs(scenario, other)
        pairs = [ours[number].load.ops_s / theirs[number].load.ops_s for number in ours if number in theirs]
        return statistics.median(pairs) if pairs else None


def rate(one: Measurement) -> float:
    """Operations a second."""
    return one.load.ops_s


def short(value: float | None) -> str:
    """Write a rate or a time in microseconds with three digits that count."""
    if value is None:
        return "-"
    for limit, divisor, suffix in ((1e3, 1.0, ""), (1e6, 1e3, "k")):
        if value < limit:
            scaled = value / divisor
            return f"{scaled:.3g}{suffix}" if scaled < 100 else f"{scaled:.0f}{suffix}"
    return f"{value / 1e6:.3g}M"


def microseconds(value: float | None) -> str:
    """Write a time with its unit."""
    if value is None:
        return "-"
    for limit, divisor, unit in ((1e3, 1.0, "us"), (1e6, 1e3, "ms")):
        if value < limit:
            return f"{value / divisor:.{0 if value >= divisor * 100 or divisor == 1 else 1}f} {unit}"
    return f"{value / 1e6:.2f} s"


def times(value: float | None) -> str:
    """Write a ratio."""
    return "-" if value is None else f"{value:.3g}x"


def lines(table: Table) -> list[str]:
    """Align the columns of a table: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    rows = []
    for row in table:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        rows.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return rows


def names_of(group: str, results: Results) -> list[str]:
    """Return the group's scenarios that were run, in their usual order."""
    seen = {one.scenario for one in results.all}
    return [scenario.name for scenario in SCENARIOS if scenario.group == group and scenario.name in seen]


def rates(group: str, results: Results, servers: Sequence[str]) -> list[str]:
    """Return the table of rates and ratios of a group."""
    others = [name for name in servers if name != GEARSTORE.name] if GEARSTORE.name in servers else []
    head = ["per second", *(SERVERS[name].title for name in servers), *(f"/ {SERVERS[name].title}" for name in others)]
    table: Table = [head]
    for scenario in names_of(group, results):
        cells = [short(results.median(scenario, name, rate)) for name in servers]
        table.append([scenario, *cells, *(times(results.ratio(scenario, name)) for name in others)])
    return [TITLES[group], *lines(table), ""]


def latencies(results: Results, servers: Sequence[str]) -> list[str]:
    """Return the table of p50 and p99."""
    table: Table = [["", *(SERVERS[name].title for name in servers)]]
    for scenario in [name for group in GROUPS for name in names_of(group, results)]:
        row = [scenario]
        for name in servers:
            p50 = results.median(scenario, name, lambda one: one.load.p50_us)
            p99 = results.median(scenario, name, lambda one: one.load.p99_us)
            row.append("-" if p50 is None else f"{microseconds(p50)} / {microseconds(p99)}")
        table.append(row)
    return ["Latency p50 / p99: submit to handle, grab to assignment, submit to result", *lines(table), ""]


def processors(results: Results, servers: Sequence[str]) -> list[str]:
    """Return the table of CPU time an operation, and of how busy the generator was."""
    table: Table = [["", *(SERVERS[name].title for name in servers)]]
    for scenario in [name for group in GROUPS for name in names_of(group, results)]:
        row = [scenario]
        for name in servers:
            server = results.median(scenario, name, lambda one: one.server_us)
            own = results.median(scenario, name, lambda one: one.generator_us)
            busy = results.median(scenario, name, lambda one: one.generator_busy)
            row.append("-" if busy is None else f"{short(server)} / {short(own)} ({busy:.0%})")
        table.append(row)
    return ["CPU us an operation: server / generator (generator's share of one processor)", *lines(table), ""]


def ceiling(results: Results, servers: Sequence[str]) -> list[str]:
    """Return what the generator drives against its sink, beside the fastest server."""
    scenarios = dict.fromkeys(one.scenario for one in results.all if one.server == "sink")
    table: Table = [["per second", "sink", "fastest server", "headroom", "generator's CPU us, sink"]]
    for scenario in scenarios:
        top = results.median(scenario, "sink", rate)
        found = [value for name in (*servers, MEMORY.name) if (value := results.median(scenario, name, rate))]
        fastest = max(found, default=None)
        headroom = top / fastest if top and fastest else None
        own = results.median(scenario, "sink", lambda one: one.generator_us)
        table.append([scenario, short(top), short(fastest), times(headroom), short(own)])
    title = "The generator's ceiling: against a C server that keeps nothing"
    return [title, *lines(table), ""] if len(table) > 1 else []


def noise(results: Results) -> str:
    """Say how much of the machine others used (programs, and the host of a virtual one): it bends every figure."""
    foreign = [one.foreign_cores for one in results.all] or [0.0]
    noisy = sum(cores > NOISY_CORES for cores in foreign)
    return (
        f"Others used {statistics.median(foreign):.2f} processors (median of the runs, "
        f"at most {max(foreign):.2f}); {noisy} of {len(foreign)} runs saw more than {NOISY_CORES}."
    )


def complaints(results: Results) -> list[str]:
    """Return a line for each run that had errors."""
    return [f"ERROR: {one.scenario} on {one.server}, round {one.round}: {one.load.detail}" for one in results.bad]


def verdicts(results: Results) -> list[tuple[bool, str]]:
    """Compare each floor whose scenario was run with its median ratio."""
    found = []
    for floor in FLOORS:
        if not any(one.scenario == floor.scenario for one in results.all):
            continue
        ratio = results.ratio(floor.scenario, floor.against)
        kept = ratio is not None and ratio >= floor.least
        text = f"{floor.scenario} / {SERVERS[floor.against].title}: {times(ratio)}, floor {times(floor.least)}"
        found.append((kept, f"{'ok    ' if kept else 'MISSED'} {text}"))
    return found


def as_record(one: Measurement) -> dict[str, object]:
    """Return a measurement as a flat JSON object."""
    record = asdict(one)
    record.update(record.pop("load"))
    return record
