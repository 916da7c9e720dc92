"""`gearstore selftest`: does this machine, with its disk, keep what the server promises when it is killed."""

import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, List, NamedTuple, Optional

from gearstore.config import load_config

from . import machine, output
from .backup import ended_in_order
from .client import Connection
from .database import storing
from .errors import CommandError, NotGearstore, Refused, Unreachable, UsageError
from .options import JSON, SERVER, argument, option
from .private_server import NotStarted, PrivateServer
from .progress import bar
from .render import amount
from .trial import Trial, Verdict

SYNCS, LONGEST = 500, 2.0  # syncs that are measured, and seconds after which no other one is begun
JOB_SPACE = 2000  # bytes that a job may need, generously
MOST_TOLD = 10  # handles and faults that are named one by one


class Disk(NamedTuple):
    """How long syncs took, in milliseconds, and how many a second there can be."""

    p50: float
    p99: float
    a_second: float


def selftest(
    options: List[str] = argument(
        None, metavar="[-- OPTION...]", help="Options of gearstore serve for the server of the test."
    ),
    directory: Optional[Path] = option(
        None, "--dir", metavar="FOLDER", help="Where the test keeps its files (default: beside the database)."
    ),
    rounds: int = option(20, "--rounds", "-n", min=1, max=100_000, metavar="N", help="How often the server is killed."),
    clients: int = option(4, "--clients", min=1, max=200, metavar="N", help="Clients that submit, half as many work."),
    jobs: int = option(50_000, "--jobs", min=1, max=10_000_000, metavar="N", help="Jobs to submit, at least."),
    as_json: bool = JSON,
    server: str = SERVER,
) -> None:
    """Kill a server again and again while clients use it, and count whether any acknowledged job is lost.

    A server of its own is started, with its files in a new folder beside those of the real database: the same disk and
    file system, and nothing of the real one is touched. Clients submit and workers work; in their midst the server is
    killed (SIGKILL) and started again. In the end every job whose handle a client has seen must be there, byte for
    byte, no job may have run again after its worker had the end confirmed, and the database must pass gearstore check.

    Jobs that ran twice were interrupted by a kill: that is allowed, and counted. What this can't show is a power cut:
    whether the disk keeps what it has synced. See how long a sync takes: less than 0.02 ms is too good to be true.

    Exit code 0 if nothing was lost, else 1; the files are then kept. Options behind -- are for the server of the test,
    to see what they cost: --sync interval:50, for instance, or --memory, which loses everything.

    Example: gearstore selftest --rounds 100
    """
    with folder_in(directory or beside_the_database(server), jobs) as folder:
        disk = measured(folder)
        with PrivateServer(folder, options or ()) as own:
            trial = Trial(own, clients, max(1, clients // 2))
            verdict = kill_again_and_again(trial, rounds, jobs)
        show(verdict, trial, disk, folder, as_json)
        if not verdict.sound:
            raise CommandError(f"the files are kept in {folder}")


def beside_the_database(server: str) -> Path:
    """Return the folder of the server's database; of the configured one, if no server answers."""
    try:
        with Connection(server) as connection:
            (hello,) = connection.manage("hello")
    except (Unreachable, NotGearstore):
        file = os.environ.get("GEARSTORE_CONFIG")
        return load_config({}, os.environ, Path(file) if file else None)[0].db.parent
    if hello["database"] is None:
        raise Refused(f"the server at {server} keeps its jobs in memory only: name a folder with --dir")
    return Path(hello["database"]).parent


@contextmanager
def folder_in(parent: Path, jobs: int) -> Iterator[Path]:
    """Yield a new folder; remove it in the end unless the test found something (a CommandError)."""
    try:
        free = shutil.disk_usage(parent).free
        folder = Path(tempfile.mkdtemp(prefix="selftest-", dir=parent))
    except FileNotFoundError:
        raise UsageError(f"there is no folder {parent}: name one with --dir") from None
    except OSError as error:
        raise Refused(f"{parent}: {error.strerror}; do it as the server's user, or name a folder with --dir") from None
    keep = False
    try:
        if free < jobs * JOB_SPACE:
            raise UsageError(f"{parent} has too little space for {amount(jobs, 'job')}: ask for less with --jobs")
        with ended_in_order():
            yield folder
    except CommandError as error:
        keep = not isinstance(error, UsageError)
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def measured(folder: Path) -> Disk:
    """Measure the disk's syncs."""
    times = [seconds * 1000 for seconds in machine.sync_times(folder, SYNCS, LONGEST)]
    return Disk(statistics.median(times), sorted(times)[len(times) * 99 // 100], 1000 / statistics.fmean(times))


def kill_again_and_again(trial: Trial, rounds: int, jobs: int) -> Verdict:
    """Do all rounds, or as many as there are without a fault, and return what came of them."""
    try:
        trial.start()
    except NotStarted as error:
        raise UsageError(str(error)) from None  # nothing can be lost yet
    try:
        with storing(), bar("selftest", "jobs") as report:
            for number in range(1, rounds + 1):
                trial.round(jobs * number // rounds, lambda done: report(done, jobs))
                trial.start()
                if trial.ledger.faults:
                    break
            return trial.judge()
    except CommandError as error:
        so_far = f"after {amount(trial.kills, 'kill')}, with {len(trial.ledger.acknowledged):,} jobs acknowledged"
        raise CommandError(f"{so_far}: {error}; the files are kept in {trial.server.folder}") from None
    finally:
        trial.kill()


def show(verdict: Verdict, trial: Trial, disk: Disk, folder: Path, as_json: bool) -> None:
    """Print what came of it."""
    figures = {
        "acknowledged": verdict.acknowledged, "found": verdict.found, "lost": len(verdict.lost),
        "altered": len(verdict.altered), "run_twice": verdict.run_twice,
    }  # fmt: skip
    rate = round(verdict.acknowledged / trial.loaded)
    slowest = max(trial.starts[1:])
    if as_json:
        row: dict[str, Any] = figures | {
            "kills": trial.kills, "jobs_per_second": rate, "slowest_start_ms": round(slowest * 1000),
            "sync_p50_ms": round(disk.p50, 4), "sync_p99_ms": round(disk.p99, 4),
            "syncs_per_second": round(disk.a_second), "lost_handles": verdict.lost,
            "altered_handles": verdict.altered, "faults": verdict.faults,
            "kept": None if verdict.sound else str(folder),
        }  # fmt: skip
        output.write(json.dumps(row) + "\n")
        return
    shown = [f"{name.replace('_', ' ')} {number:,}" for name, number in figures.items() if number or name != "altered"]
    lines = [
        " · ".join(shown),
        f"{amount(trial.kills, 'kill')} · answered again after {slowest:.2f} s at most · {rate:,} jobs a second",
        f"sync {disk.p50:.3g} ms (p50), {disk.p99:.3g} ms (p99) · {disk.a_second:,.0f} commits a second on this disk",
    ]
    lines += told("lost", verdict.lost) + told("altered", verdict.altered) + told("fault", verdict.faults)
    output.write("\n".join(lines) + "\n")


def told(word: str, what: list[str]) -> list[str]:
    """Return a line for each of the first ones, and how many more there are."""
    lines = [f"{word}: {each}" for each in what[:MOST_TOLD]]
    return lines + ([f"{word}: {len(what) - MOST_TOLD:,} more"] if len(what) > MOST_TOLD else [])
