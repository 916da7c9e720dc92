"""Turn measurements into medians, ratios and tables."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from machine import Syncs
from scenarios import GROUPS, SCENARIOS, Measurement
from servers import BEANSTALK, GEARSTORE, INTERVAL, ONE_THREAD, REDIS_ALWAYS, SERVERS, SQLITE, THREADS, TUNED

Table = list[list[str]]
NOISY_CORES = 0.3
TITLES = {
    "submit": "Background submits (connections x outstanding), answered per second",
    "drain": "Drain of a backlog (workers), completed per second",
    "foreground": "Foreground round trips (clients + workers) per second",
    "echo": "Echo (connections x outstanding), answered per second",
}


@dataclass(frozen=True, slots=True)
class Column:
    """What gearstore is compared with: one server, or the better of several in each scenario."""

    title: str
    servers: tuple[str, ...]


MEMORY = Column("gearmand memory", (ONE_THREAD.name, THREADS.name))
COLUMNS = (
    MEMORY,
    Column("gearmand tuned", (TUNED.name,)),
    Column("gearmand sqlite", (SQLITE.name,)),
    Column("redis", (REDIS_ALWAYS.name,)),
    Column("beanstalkd", (BEANSTALK.name,)),
)
OURS = (GEARSTORE.name, INTERVAL.name)


class Results:
    """All measurements of one call; those with errors are kept, shown and counted, but in no median."""

    def __init__(self, measurements: Iterable[Measurement], syncs: Iterable[Syncs] = ()) -> None:
        self.all = list(measurements)
        self.syncs = list(syncs)  # one a round
        self.bad = [one for one in self.all if one.load.errors]
        self._good: dict[tuple[str, str], dict[int, Measurement]] = defaultdict(dict)
        for one in self.all:
            if not one.load.errors:
                self._good[one.scenario, one.server][one.round] = one

    def runs(self, scenario: str, server: str) -> dict[int, Measurement]:
        """Return the clean runs of a cell by their round."""
        return self._good.get((scenario, server), {})

    def median(self, scenario: str, server: str | None, value: Callable[[Measurement], float]) -> float | None:
        """Return the median of a value over the rounds, None when there is none."""
        values = [value(one) for one in self.runs(scenario, server or "").values()]
        return statistics.median(values) if values else None

    def best(self, scenario: str, column: Column) -> str | None:
        """Return the server of a column that is the fastest in a scenario."""
        rates = {name: value for name in column.servers if (value := self.median(scenario, name, rate)) is not None}
        return max(rates, key=lambda name: rates[name], default=None)

    def ratio(self, scenario: str, column: Column, ours: str = GEARSTORE.name) -> float | None:
        """Return the median over the rounds of our rate to the other's.

        The two runs of one round are neighbours in time, so what disturbed one most likely disturbed both.
        """
        mine, theirs = self.runs(scenario, ours), self.runs(scenario, self.best(scenario, column) or "")
        pairs = [mine[number].load.ops_s / theirs[number].load.ops_s for number in mine if number in theirs]
        return statistics.median(pairs) if pairs else None

    def columns(self, scenarios: Iterable[str]) -> list[Column]:
        """Return the columns that have a figure in one of the scenarios."""
        names = list(scenarios)
        return [column for column in COLUMNS if any(self.best(name, column) for name in names)]


def rate(one: Measurement) -> float:
    """Operations a second."""
    return one.load.ops_s


def p50(one: Measurement) -> float:
    """Microseconds."""
    return one.load.p50_us


def p99(one: Measurement) -> float:
    """Microseconds."""
    return one.load.p99_us


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
    return "-" if value is None else f"{value:.0f}x" if value >= 100 else f"{value:.3g}x"


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


def rows_of(group: str, results: Results) -> list[tuple[str, str, str]]:
    """Return label, scenario and our server for each line of a group's tables."""
    found = []
    for scenario in names_of(group, results):
        for ours in OURS:
            if results.runs(scenario, ours) or (ours == GEARSTORE.name):
                label = scenario if ours == GEARSTORE.name else f"  {SERVERS[ours].title.partition(', ')[2]}"
                found.append((label, scenario, ours))
    return found


def peer(results: Results, scenario: str, column: Column, value: str) -> str:
    """Return a cell; where a column has several servers it says which one this is."""
    name = results.best(scenario, column)
    several = name is not None and len(column.servers) > 1
    return f"{value} ({SERVERS[name].title.partition(' ')[2]})" if several and name else value


def rates(group: str, results: Results) -> list[str]:
    """Return the table of rates and ratios of a group."""
    columns = results.columns(names_of(group, results))
    head = [column.title for column in columns]
    table: Table = [["", "gearstore", *head, *(f"/ {title.removeprefix('gearmand ')}" for title in head)]]
    for label, scenario, ours in rows_of(group, results):
        cells = [
            peer(results, scenario, column, short(results.median(scenario, results.best(scenario, column), rate)))
            if ours == GEARSTORE.name
            else ""
            for column in columns
        ]
        ratios = [times(results.ratio(scenario, column, ours)) for column in columns]
        table.append([label, short(results.median(scenario, ours, rate)), *cells, *ratios])
    return [TITLES[group], *lines(table), ""]


def details(results: Results, title: str, cell: Callable[[str, str], str]) -> list[str]:
    """Return a table of all scenarios with a text for each server: the best one of a column."""
    names = [name for group in GROUPS for name in names_of(group, results)]
    columns = results.columns(names)
    table: Table = [["", "gearstore", *(column.title for column in columns)]]
    for label, scenario, ours in [row for group in GROUPS for row in rows_of(group, results)]:
        servers = [results.best(scenario, column) if ours == GEARSTORE.name else None for column in columns]
        cells = [cell(scenario, name) if name and results.runs(scenario, name) else "" for name in (ours, *servers)]
        table.append([label, *cells])
    return [title, *lines(table), ""]


def latencies(results: Results) -> list[str]:
    """Return the table of p50 and p99."""

    def cell(scenario: str, name: str) -> str:
        return " / ".join(microseconds(results.median(scenario, name, value)) for value in (p50, p99))

    return details(results, "Latency p50 / p99: submit to answer, grab to assignment, submit to result", cell)


def processors(results: Results) -> list[str]:
    """Return the table of CPU time an operation, and of how busy the generator was."""

    def cell(scenario: str, name: str) -> str:
        server = results.median(scenario, name, lambda one: one.server_us)
        own = results.median(scenario, name, lambda one: one.generator_us)
        busy = results.median(scenario, name, lambda one: one.generator_busy)
        return f"{short(server)} / {short(own)} ({busy:.0%})"

    return details(results, "CPU us an operation: server / generator (generator's share of one processor)", cell)


def ceiling(results: Results) -> list[str]:
    """Return what the generator drives against its sink, beside the fastest server."""
    scenarios = dict.fromkeys(one.scenario for one in results.all if one.server == "sink")
    table: Table = [["per second", "sink", "fastest server", "headroom", "generator's CPU us, sink"]]
    for scenario in scenarios:
        top = results.median(scenario, "sink", rate)
        fastest = max(filter(None, (results.median(scenario, name, rate) for name in SERVERS)), default=None)
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


def whole(results: Results) -> list[str]:
    """Return all tables and remarks."""
    groups = [line for group in GROUPS if names_of(group, results) for line in rates(group, results)]
    rest = [line for part in (latencies, processors, ceiling) for line in part(results)]
    return [*groups, *rest, noise(results), *complaints(results)]


def as_record(one: Measurement) -> dict[str, object]:
    """Return a measurement as a flat JSON object."""
    record = asdict(one)
    record.update(record.pop("load"))
    return record
