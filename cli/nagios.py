"""`gearstore status --check`: what Nagios, Icinga and the like want to know, on one line. No input, no output.

The line is `GEARSTORE STATE - sentences | performance data`, the exit code the state. A function is no worry as long as
nothing waits in it; jobs that wait while no worker can run them are one at once. A paused function is let wait, since
somebody wanted that, until the pause is so old that it may be forgotten.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple, Optional

from .client import Row
from .render import duration, escaped, pause_words

NAMED = 5  # problems that the line names
DETAILED = 20  # functions with performance data of their own; of more only the sums are given
AWKWARD = "'=|%"  # signs that a label can't hold for every reader of performance data


class State(IntEnum):
    """The states of a service, by the exit codes of plugins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Limits(NamedTuple):
    """What is still fine; None is no limit. Durations in milliseconds."""

    warn: Optional[int] = None
    crit: Optional[int] = None
    max_age: Optional[int] = None
    max_failed: Optional[int] = None
    max_pause: int = 3_600_000
    total: bool = False  # counts and age are those of all functions together


class Problem(NamedTuple):
    """Something that is not fine, in words."""

    state: State
    text: str


def verdict(rows: Sequence[Row], server: Optional[Row], limits: Limits, now: int) -> tuple[State, str]:
    """Return the state and the line. `server` is the total of gearstore, None for a plain gearmand."""
    total = server or sum_of(rows)
    problems = [*of_server(server or {}, limits, now), *of_functions(rows, total, limits, now)]
    if server is None and (limits.max_age is not None or limits.max_failed is not None):
        problems.append(Problem(State.UNKNOWN, "a plain gearmand tells neither ages nor failed jobs"))
    # Unknown is worse than a warning: what was asked for isn't known; but what is critical comes first.
    problems.sort(key=lambda problem: (State.CRITICAL, State.UNKNOWN, State.WARNING).index(problem.state))
    state = problems[0].state if problems else State.OK
    texts = [problem.text for problem in problems[:NAMED]]
    if len(problems) > NAMED:
        texts.append(f"and {len(problems) - NAMED} more")
    texts = texts or [summary(rows, total, now)]
    texts += pauses(rows, limits, now)
    return state, line(state, "; ".join(texts), performance(rows, total, limits, now))


def line(state: State, text: str, performance_data: str = "") -> str:
    """Return the line of a plugin; nothing in its text can end it or begin the performance data."""
    data = f" | {performance_data}" if performance_data else ""
    return f"GEARSTORE {state.name} - {escaped(text).replace('|', chr(92) + 'x7c')}{data}\n"


def sum_of(rows: Iterable[Row]) -> Row:
    """Return what a gearmand's rows add up to."""
    total: Row = {"queued": 0, "running": 0}
    for row in rows:
        total = {key: value + row[key] for key, value in total.items()}
    return total


def of_server(server: Row, limits: Limits, now: int) -> Iterator[Problem]:
    """Yield what is wrong with the server as a whole."""
    if server.get("draining"):
        yield Problem(State.WARNING, "the server is ending and assigns no jobs")
    if forgotten(server, limits, now):
        yield Problem(State.WARNING, f"all functions are {pause_words(server, now)}")


def of_functions(rows: Sequence[Row], total: Row, limits: Limits, now: int) -> Iterator[Problem]:
    """Yield what is wrong with functions."""
    paused = bool(total.get("paused_at"))
    for row in rows:
        resting = paused or bool(row.get("paused_at"))
        if row["queued"] and not row["workers"] and not resting:
            them = "it" if row["queued"] == 1 else "them"
            text = f"{row['function']}: {waiting(row['queued'])} and no worker can run {them}"
            yield Problem(State.CRITICAL, text)
        if forgotten(row, limits, now):
            yield Problem(State.WARNING, f"{row['function']}: {pause_words(row, now)}, {waiting(row['queued'])}")
        if not limits.total:
            yield from of_counts(row["function"], row, limits, now, resting)
    if limits.total:
        yield from of_counts("all functions", total, limits, now, paused)


def of_counts(name: str, row: Row, limits: Limits, now: int, resting: bool) -> Iterator[Problem]:
    """Yield which limits the numbers of a row are over."""
    if limits.crit is not None and row["queued"] > limits.crit:
        yield Problem(State.CRITICAL, f"{name}: {waiting(row['queued'])} (limit {limits.crit})")
    elif limits.warn is not None and row["queued"] > limits.warn:
        yield Problem(State.WARNING, f"{name}: {waiting(row['queued'])} (limit {limits.warn})")
    age = age_of(row, now)
    if limits.max_age is not None and age > limits.max_age and not resting:
        text = f"{name}: the oldest job waits for {duration(age)} (limit {duration(limits.max_age)})"
        yield Problem(State.CRITICAL, text)
    set_aside = row.get("failed", 0) + row.get("held", 0)
    if limits.max_failed is not None and set_aside > limits.max_failed:
        text = f"{name}: {row['failed']} failed and {row['held']} held jobs wait for an operator"
        yield Problem(State.WARNING, f"{text} (limit {limits.max_failed})")


def waiting(number: int) -> str:
    """Return how many jobs wait."""
    return "1 job waits" if number == 1 else f"{number} jobs wait"


def age_of(row: Row, now: int) -> int:
    """Return for how long the oldest queued job waits."""
    return max(now - row["oldest_at"], 0) if row.get("oldest_at") is not None else 0


def forgotten(row: Row, limits: Limits, now: int) -> bool:
    """Whether a pause without an end is older than it should be."""
    return bool(row.get("paused_at")) and not row.get("paused_until") and now - row["paused_at"] > limits.max_pause


def pauses(rows: Iterable[Row], limits: Limits, now: int) -> Iterator[str]:
    """Yield the functions that are paused, but not forgotten."""
    names = [row["function"] for row in rows if row.get("paused_at") and not forgotten(row, limits, now)]
    if names:
        more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
        yield f"paused: {', '.join([*names[:NAMED], *more])}"


def summary(rows: Sequence[Row], total: Row, now: int) -> str:
    """Return what is going on, if all is well."""
    functions = "1 function" if len(rows) == 1 else f"{len(rows)} functions"
    oldest = f", the oldest for {duration(age_of(total, now))}" if total.get("oldest_at") is not None else ""
    return f"{functions}, {waiting(total['queued'])}{oldest}, {total['running']} running"


def performance(rows: Sequence[Row], total: Row, limits: Limits, now: int) -> str:
    """Return the performance data: of all together, and of each function if there aren't too many."""
    apart = Limits() if not limits.total else limits
    values = [*numbers("", total, apart, now), *others(total)]
    if len(rows) <= DETAILED:
        each = limits if not limits.total else Limits()
        for row in rows:
            values += numbers(f"{row['function']} ", row, each, now)
    return " ".join(values)


def numbers(prefix: str, row: Row, limits: Limits, now: int) -> Iterator[str]:
    """Yield the numbers of a row as `'label'=value[unit];warn;crit;min`."""
    max_age = "" if limits.max_age is None else str(limits.max_age // 1000)
    yield value(prefix + "queued", row["queued"], limits.warn, limits.crit)
    yield value(prefix + "running", row["running"])
    if "workers" in row:
        yield value(prefix + "workers", row["workers"])
    if "oldest_at" in row:
        yield f"{label(prefix + 'age')}={age_of(row, now) // 1000}s;;{max_age};0"
        yield value(prefix + "failed", row["failed"], limits.max_failed)
        yield value(prefix + "done_per_minute", row["done_per_minute"])


def others(total: Row) -> Iterator[str]:
    """Yield numbers that are given of the total only."""
    for key in ("delayed", "held", "failed_per_minute"):
        if key in total:
            yield value(key, total[key])


def value(name: str, number: int, warn: Optional[int] = None, crit: Optional[int] = None) -> str:
    """Return one number with its limits."""
    return f"{label(name)}={number};{'' if warn is None else warn};{'' if crit is None else crit};0"


def label(name: str) -> str:
    """Return a label in quotes; what would end it or the line is written as %XX, as are bytes that don't print."""
    signs = (sign if sign.isprintable() and sign not in AWKWARD else _percent(sign) for sign in name)
    return f"'{''.join(signs)}'"


def _percent(sign: str) -> str:
    return "".join(f"%{byte:02X}" for byte in sign.encode("utf-8", "surrogateescape"))
