"""What gearstore shall reach: floors, below which something is wrong, and the targets that it was built for."""

from dataclasses import dataclass
from statistics import median

from report import COLUMNS, MEMORY, Column, Results, microseconds, p50, p99, times
from servers import GEARSTORE, INTERVAL, SERVERS

TUNED, SQLITE, REDIS, BEANSTALKD = COLUMNS[1:]
SYNC_AND = 150  # microseconds above the disk's fdatasync within which half of one client's submits are answered
SPREAD = 5  # times p50 that p99 may be


@dataclass(frozen=True, slots=True)
class Ratio:
    """The least ratio of our rate to another's."""

    scenario: str
    against: Column
    least: float
    ours: str = GEARSTORE.name


FLOORS = (
    Ratio("submit 64x1", MEMORY, 0.5),
    Ratio("submit 64x1", SQLITE, 10.0),
    Ratio("drain 64", MEMORY, 0.8),
    Ratio("foreground 1+1", MEMORY, 0.8),
    Ratio("foreground 8+8", MEMORY, 0.8),
    Ratio("foreground 64+64", MEMORY, 0.8),
)
TARGETS = (
    Ratio("submit 1x1", SQLITE, 3.0),
    Ratio("submit 1x1", REDIS, 0.7),
    Ratio("submit 8x1", SQLITE, 14.0),
    Ratio("submit 8x1", REDIS, 0.8),
    Ratio("submit 64x1", MEMORY, 1.0),
    Ratio("submit 64x1", TUNED, 0.6),
    Ratio("submit 64x1", SQLITE, 45.0),
    Ratio("submit 64x1", REDIS, 0.9),
    Ratio("submit 8x64", MEMORY, 1.7),
    Ratio("submit 8x64, 10 KB", REDIS, 0.9),
    Ratio("submit 8x64, 10 KB", SQLITE, 10.0),
    Ratio("drain 1", MEMORY, 0.25),
    Ratio("drain 8", MEMORY, 0.5),
    Ratio("drain 64", MEMORY, 1.0),
    Ratio("drain 64", TUNED, 0.6),
    *(Ratio(f"drain {workers}", MEMORY, 1.0, INTERVAL.name) for workers in (1, 8, 64)),
    Ratio("foreground 8+8", Column("gearmand -t 1", ("gearmand-1",)), 1.0),
    Ratio("foreground 8+8", Column("gearmand -t 4", ("gearmand-4",)), 1.3),
    Ratio("echo 64x1", MEMORY, 1.3),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something is as it shall be; None if it was not measured."""

    kept: bool | None
    text: str

    def __str__(self) -> str:
        return f"{'      ' if self.kept is None else 'ok    ' if self.kept else 'MISSED'} {self.text}"


def judge(results: Results, ratio: Ratio) -> Verdict:
    """Compare a ratio with its least value."""
    found = results.ratio(ratio.scenario, ratio.against, ratio.ours)
    kept = None if found is None else found >= ratio.least
    sync = "" if ratio.ours == GEARSTORE.name else f" ({SERVERS[ratio.ours].title.partition(', ')[2]})"
    text = f"{ratio.scenario}{sync} / {ratio.against.title}: {times(found)}, at least {times(ratio.least)}"
    return Verdict(kept, text)


def one_client(results: Results) -> Verdict:
    """Judge how much a submit by one client takes beside the disk."""
    took = results.median("submit 1x1", GEARSTORE.name, p50)
    if took is None or not results.syncs:
        return Verdict(None, "submit 1x1: p50")
    most = median(sync.p50 for sync in results.syncs) + SYNC_AND
    text = f"submit 1x1: p50 {microseconds(took)}, at most {microseconds(most)} (fdatasync and {SYNC_AND} us)"
    return Verdict(took <= most, text)


def spread(results: Results) -> Verdict:
    """Judge how far the slowest of 64 clients' submits are from the usual one."""
    usual, slow = (results.median("submit 64x1", GEARSTORE.name, value) for value in (p50, p99))
    if usual is None or slow is None:
        return Verdict(None, "submit 64x1: p99")
    return Verdict(slow <= SPREAD * usual, f"submit 64x1: p99 {times(slow / usual)} of p50, at most {times(SPREAD)}")


def verdicts(results: Results) -> tuple[list[Verdict], list[Verdict]]:
    """Return what became of the floors and of the targets, as far as they were measured."""
    floors = [judge(results, ratio) for ratio in FLOORS]
    targets = [*(judge(results, ratio) for ratio in TARGETS), one_client(results), spread(results)]
    seen = [[verdict for verdict in part if verdict.kept is not None] for part in (floors, targets)]
    return seen[0], seen[1]
