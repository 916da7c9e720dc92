"""What a private server does under load, and what limits it: for `gearstore bench`. Loaded late, as it needs much."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from . import machine, output
from .client import Connection, Row
from .errors import CommandError
from .examination import FLEETING
from .private import PrivateServer, temporary_server
from .progress import bar
from .render import Column, escaped, line, table

STEPS = (("submit", 1), ("submit", 8), ("submit", 64), ("drain", 64))
MOST_PROCESSES = 4  # that load the server
SYNCS = 300  # measured before and after
BUSY, HALF = 0.85, 0.5  # shares of the time from which on something is the limit
PATIENCE = 60.0  # seconds that a process may take beyond those that it was given


def share(value: float, now: int) -> str:
    """Return a part of the time."""
    return f"{value:.0%}"


def rate(value: float, now: int) -> str:
    """Return a number a second, or of jobs."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def short(value: float, now: int) -> str:
    """Return milliseconds."""
    return f"{value:.3g}"


COLUMNS = (
    Column("", "step", lambda value, now: str(value)),
    Column("CLIENTS", "connections", lambda value, now: str(value), right=True),
    Column("JOBS/S", "jobs_per_second", rate, right=True),
    Column("P50 MS", "p50_ms", short, right=True),
    Column("P99 MS", "p99_ms", short, right=True),
    Column("COMMITS/S", "commits_per_second", rate, right=True, rank=1),
    Column("JOBS EACH", "jobs_per_commit", rate, right=True),
    Column("DISK", "disk", share, right=True),
    Column("SERVER", "server", share, right=True),
    Column("LOAD", "load", share, right=True, rank=2),
    Column("LIMIT", "limit", lambda value, now: str(value)),
)
LIMITS = {
    "this command": "this command is the limit, its processes busy {load:.0%} of the time: the server can do more",
    "processor": "the server's one thread is the limit, busy {server:.0%} of the time: a faster disk changes little",
    "others": "other programs are the limit: the server's thread waited for a processor {waited:.0%} of the time",
    "disk": "the disk is the limit, busy with commits {disk:.0%} of the time, {jobs_per_commit:.1f} jobs in each",
    "waking": "nothing is busy all the time: it is the waking up of either side, at each answer, that takes long",
}
SHARES = {"processor": "server", "others": "waited", "disk": "disk"}  # limit -> key of a row


class Usage(NamedTuple):
    """Counters of the server at one moment; seconds of its commits, and of its thread."""

    commits: int
    jobs: int
    committing: float
    ran: float
    waited: float


def usage(server: PrivateServer) -> Usage:
    """Read the counters."""
    with Connection(server.address) as connection:
        (last,) = connection.manage("status", {"total": True, "function": ""})
    counted = last["total"]["receipt"]["start"]
    try:
        thread = machine.thread_of(server.pid)
    except OSError:
        raise let_down(server, "the server is gone") from None
    return Usage(counted["commits"], counted["jobs"], counted["commit_seconds"], thread.ran, thread.waited)


@contextmanager
def loaders(arguments: Sequence[Sequence[str]]) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Start processes of load.py, wait until all are connected, and end what is left of them."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for each in arguments:
            command = [sys.executable, "-m", "gearstore_cli.load", *each]
            pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            started.append(subprocess.Popen(command, start_new_session=True, **pipes))
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise CommandError(f"the load can't be made: {process.communicate()[1].decode().strip()}")
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def portions(connections: int) -> list[int]:
    """Return how many connections each process gets: the server keeps a processor for itself, if there are two."""
    processors = len(os.sched_getaffinity(0))
    processes = max(1, min(connections, processors - 1, MOST_PROCESSES))
    return [connections // processes + (place < connections % processes) for place in range(processes)]


def measure(server: PrivateServer, step: str, connections: int, seconds: float, size: int) -> Row:
    """Load the server in one way and return what it did."""
    parts = portions(connections)
    arguments = [
        [server.address, step, str(part), str(seconds), str(size), str(connections * 100 + place)]
        for place, part in enumerate(parts)
    ]
    with loaders(arguments) as processes:
        before = usage(server)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        seen = [result_of(process, server, seconds) for process in processes]
        after = usage(server)
    if not any(one["times"] for one in seen):
        raise let_down(server, f"no job was answered within {seconds:g} seconds")
    used = Usage._make(later - earlier for later, earlier in zip(after, before, strict=True))
    row = {"step": step, "connections": connections, **figures(seen, used)}
    return {**row, "limit": limit_of(row)}


def figures(seen: Sequence[Row], used: Usage) -> Row:
    """Return what the processes saw, and what the server used for it."""
    times = sorted(each for one in seen for each in one["times"])
    took = max(one["seconds"] for one in seen)
    return {
        "jobs_per_second": round(len(times) / took, 1),
        "p50_ms": times[len(times) // 2] / 1000,
        "p99_ms": times[int(len(times) * 0.99)] / 1000,
        "commits_per_second": round(used.commits / took, 1),
        "jobs_per_commit": round(used.jobs / max(used.commits, 1), 1),
        "disk": part(used.committing, took),
        "server": part(used.ran, took),
        "waited": part(used.waited, took),
        "load": max(part(one["cpu"], one["seconds"]) for one in seen),
    }


def part(seconds: float, of: float) -> float:
    """Return a part of the time, at most all of it."""
    return round(min(seconds / max(of, 1e-3), 1.0), 3)


def result_of(process: "subprocess.Popen[bytes]", server: PrivateServer, seconds: float) -> Row:
    """Return what a process has seen, at its end."""
    try:
        out, errors = process.communicate(timeout=seconds + PATIENCE)
    except subprocess.TimeoutExpired:
        raise let_down(server, "the server does not answer any more") from None
    if process.returncode != 0:
        raise let_down(server, errors.decode(errors="replace").strip() or "the load ended early")
    result: Row = json.loads(out)
    return result


def let_down(server: PrivateServer, what: str) -> CommandError:
    """Return the error of a command whose server has failed."""
    return CommandError(f"{what}; the server said last: {server.last_words()}")


def limit_of(row: Row) -> str:
    """Say what was the limit."""
    if row["load"] >= BUSY and row["load"] > row["server"] + row["waited"]:
        return "this command"
    shares = {name: row[key] for name, key in SHARES.items()}
    most = max(shares, key=lambda name: shares[name])
    return most if shares[most] >= HALF or sum(shares.values()) >= BUSY else "waking"


def sentence(rows: Sequence[Row]) -> str:
    """Say in one sentence what limits submits by many clients, and by one."""
    one, *_, many = [row for row in rows if row["step"] == "submit"]
    most, least = (LIMITS[row["limit"]].format(**row) for row in (many, one))
    least = "it is the same" if one["limit"] == many["limit"] else least
    return f"With {many['connections']} clients {most}; with one, {least}."


def measure_all(directory: Path, seconds: float, size: int) -> tuple[list[Row], Row]:
    """Do all steps with a server in a directory; return their rows and what is known of the disk."""
    with temporary_server(directory) as server:
        syncs = measured_syncs(server.folder)
        rows = []
        with bar("measuring", "steps") as report:
            for number, (step, connections) in enumerate(STEPS):
                report(number, len(STEPS))
                rows.append(measure(server, step, connections, seconds, size))
        return rows, about_disk(server.folder.parent, syncs)


def measured_syncs(directory: Path) -> machine.Syncs:
    """Measure syncs on their own; raise CommandError if that isn't possible."""
    try:
        return machine.measure_syncs(directory, SYNCS)
    except OSError as error:
        raise CommandError(f"{directory}: {error.strerror}") from None


def about_disk(directory: Path, syncs: machine.Syncs) -> Row:
    """Return what is known of the disk."""
    device, kind = machine.device_of(directory), machine.mount_of(directory).kind
    if kind in FLEETING:
        output.say(f"{directory} is in memory ({kind}): this says nothing about a disk")
    return {
        "directory": str(directory),
        "file_system": kind,
        "device": device.name if device else None,
        "sync_p50_ms": round(syncs.median * 1000, 3),
        "sync_p99_ms": round(syncs.p99 * 1000, 3),
    }


def show(rows: Sequence[Row], disk: Row, as_json: bool) -> None:
    """Print everything in the form that its reader wants."""
    said = sentence(rows)
    if as_json:
        output.write("".join(json.dumps(row) + "\n" for row in (*rows, {**disk, "sentence": said})))
        return
    place = ", ".join(filter(None, (disk["file_system"], disk["device"])))
    about = f"{escaped(disk['directory'])} ({place}): a sync takes {disk['sync_p50_ms']:.3g} ms, 1 % of them more than "
    about += f"{disk['sync_p99_ms']:.3g} ms"
    if output.to_terminal():
        from rich.text import Text

        output.show(table(COLUMNS, rows, 0, output.console().width))
        output.show(Text(f"\n{about}\n{said}"))
    else:
        output.write("".join(line(COLUMNS, row, 0) for row in rows) + f"{about}\n{said}\n")
