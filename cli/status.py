"""`gearstore status` and `gearstore workers`: a table for people, the server's own text for pipes, a line for monitors.

All of it works with a plain gearmand as well, with the columns that its text protocol has.
"""

import json
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import typer

from . import nagios, output, render
from .client import Connection, Row, text_of
from .database import DB, answering
from .errors import CommandError, NotGearstore, Unreachable, UsageError
from .filters import wire_text
from .options import JSON, SERVER, argument, option
from .times import parse_duration

if TYPE_CHECKING:
    from rich.console import RenderableType


class Picture(NamedTuple):
    """What a server is doing: a row for each function, the total (None of a plain gearmand), and its time."""

    rows: list[Row]
    total: Optional[Row]
    now: int


def parse_status(line: bytes) -> Row:
    """Return the row of a line of gearmand's `status`; its first number counts running jobs as well."""
    function, total, running, workers = line.rsplit(b"\t", 3)
    queued = int(total) - int(running)
    return {"function": text_of(function), "queued": queued, "running": int(running), "workers": int(workers)}


def parse_worker(line: bytes) -> Row:
    """Return the row of a line of gearmand's `workers`."""
    connection, _, functions = text_of(line).partition(" :")
    fd, address, client_id = connection.split(" ", 2)
    return {"fd": int(fd), "address": address, "client_id": client_id, "functions": functions.split()}


def picture(connection: Connection, function: Optional[str]) -> Picture:
    """Ask for the functions that a glob matches."""
    try:
        *rows, last = connection.manage(
            "status", {"total": True} | ({} if function is None else {"function": function})
        )
        return Picture(rows, last["total"], last["total"]["now"])
    except NotGearstore:
        rows = [parse_status(line.rstrip(b"\n")) for line in lines_of(connection, function)]
        return Picture(rows, None, present())


def lines_of(connection: Connection, function: Optional[str]) -> Iterator[bytes]:
    """Yield the lines of the server's own text about the functions that a glob matches."""
    for line in connection.lines(b"status"):
        if function is None or fnmatchcase(text_of(line.rsplit(b"\t", 3)[0]), function):
            yield line


def worker_rows(connection: Connection) -> list[Row]:
    """Ask for all connections."""
    try:
        return list(connection.manage("workers"))
    except NotGearstore:
        return [parse_worker(line.rstrip(b"\n")) for line in connection.lines(b"workers")]


def present() -> int:
    """Return the present in milliseconds."""
    return round(time.time() * 1000)


# Output


def status_table(seen: Picture, width: int) -> "RenderableType":
    """Return a picture for a terminal."""
    from rich.console import Group
    from rich.text import Text

    total = None
    if seen.total is not None and len(seen.rows) > 1:
        total = {**seen.total, "function": f"{len(seen.rows)} functions"}
    rows = [with_note(row, seen.now) for row in seen.rows]
    remarks = [Text(remark, "yellow") for remark in server_remarks(seen)]
    return Group(render.table(render.STATUS, rows, seen.now, width, total), *remarks)


def with_note(row: Row, now: int) -> Row:
    """Return a row with what an operator should know of its function."""
    note = render.note(row, now)
    return {**row, "note": note, "style": ("yellow" if row.get("paused_at") else "red") if note else ""}


def server_remarks(seen: Picture) -> Iterator[str]:
    """Yield what holds for the whole server and is not as usual."""
    total = seen.total or {}
    if total.get("draining"):
        yield "The server is ending: it assigns no more jobs."
    if total.get("paused_at"):
        yield f"All functions are {render.pause_words(total, seen.now)}."


def print_status(server: str, function: Optional[str], as_json: bool, with_total: bool = False) -> None:
    """Print the status once, in the form that its reader wants."""
    with Connection(server) as connection:
        if as_json:
            seen = picture(connection, function)
            print_json([*seen.rows, {"total": seen.total}] if with_total else seen.rows)
        elif output.to_terminal():
            output.show(status_table(picture(connection, function), output.console().width))
        else:
            output.write(b"".join(lines_of(connection, function)) + b".\n")


def print_json(rows: Iterable[Row]) -> None:
    """Print rows as JSON."""
    output.write("".join(json.dumps(row) + "\n" for row in rows))


def watch_table(server: str, function: Optional[str], seconds: float) -> None:
    """Show a table again and again, until Ctrl-C. A server that is away for a while is waited for."""
    from rich.live import Live
    from rich.text import Text

    console = output.console()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                with Connection(server) as connection:
                    shown = status_table(picture(connection, function), console.width)
            except Unreachable as error:
                shown = Text(str(error))
            live.update(shown, refresh=True)
            time.sleep(seconds)


# Checks


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Unreachable when what is done inside takes longer."""

    def give_up(*_: Any) -> None:
        raise Unreachable(f"no answer within {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_check(server: str, function: Optional[str], timeout: Optional[str], **options: Any) -> nagios.State:
    """Print the line of a monitoring plugin and return the state. What can't be found out is UNKNOWN."""
    try:
        limits = limits_of(**options)
        with time_limit(10.0 if timeout is None else parse_duration(timeout)), Connection(server) as connection:
            seen = picture(connection, function)
        if not seen.rows and function is not None:
            raise CommandError(f"no function matches {function}")
        state, line = nagios.verdict(seen.rows, seen.total, limits, seen.now)
    except CommandError as error:
        state = nagios.State.UNKNOWN
        line = nagios.line(state, str(error))
    output.write(line)
    return state


def limits_of(
    warn: Optional[int], crit: Optional[int], max_age: Optional[str], max_pause: Optional[str], **others: Any
) -> nagios.Limits:
    """Return the limits that options describe."""
    if warn is not None and crit is not None and warn > crit:
        raise UsageError("--warn is above --crit")
    limits = nagios.Limits(warn, crit, milliseconds(max_age), **others)
    return limits if max_pause is None else limits._replace(max_pause=milliseconds(max_pause) or 0)


def milliseconds(duration: Optional[str]) -> Optional[int]:
    """Return a duration of an option."""
    return None if duration is None else round(parse_duration(duration) * 1000)


# Commands


def status(
    seconds: Optional[float] = argument(None, min=0.1, help="Pause for --watch (default: 2)."),
    function: Optional[str] = option(None, "--function", "-f", metavar="GLOB", help="Functions, with * ? [...]."),
    watch: bool = option(False, "--watch", "-w", help="Go on until Ctrl-C, every SECONDS."),
    checking: bool = option(False, "--check", help="Print one line for Nagios or Icinga; the exit code is the state."),
    warn: Optional[int] = option(None, min=0, metavar="N", help="--check: WARNING if more jobs wait."),
    crit: Optional[int] = option(None, min=0, metavar="N", help="--check: CRITICAL if more jobs wait."),
    max_age: Optional[str] = option(None, metavar="TIME", help="--check: CRITICAL if a job waits longer, as 10m."),
    max_failed: Optional[int] = option(None, min=0, metavar="N", help="--check: WARNING if more are failed or held."),
    max_pause: Optional[str] = option(None, metavar="TIME", help="--check: WARNING if a pause is older (1h)."),
    total: bool = option(
        False, "--total", help="--check: compare the total, not each function. --json: print it last."
    ),
    timeout: Optional[str] = option(None, metavar="TIME", help="--check: UNKNOWN if there is no answer by then (10s)."),
    as_json: bool = JSON,
    db: Optional[Path] = DB,
    server: str = SERVER,
) -> None:
    """Show how many jobs each function has, how many workers, since when the oldest job waits, and what ends a minute.

    Through a pipe: exactly what `gearadmin --status` prints, which is function, jobs, running jobs and workers.

    With --json --total the last line has the sums, and how many commits a second there were, how many jobs each of
    them carried, and how long acknowledgements took, over the last minute and since the start.

    With --check: CRITICAL also if jobs wait and no worker can run them; the limits are those of each function.

    Example: gearstore status | sort -n | column -t

    Example: gearstore status --check --max-age 10m --warn 50 --crit 500
    """
    function = wire_text(function)
    limits = {"warn": warn, "crit": crit, "max_age": max_age, "max_failed": max_failed, "max_pause": max_pause}
    if checking:
        if watch or seconds is not None or db is not None:
            raise UsageError("--check prints one line about a server, once: leave --watch and --db out")
        raise typer.Exit(run_check(server, function, timeout, total=total, **limits))
    if (total and not as_json) or timeout is not None or any(limit is not None for limit in limits.values()):
        raise UsageError("--warn, --crit, --max-... and --timeout go with --check, --total also with --json")
    if seconds is not None and not watch:
        raise UsageError("SECONDS goes with --watch")
    if watch and db is not None:
        raise UsageError("--watch goes with a server, not with --db")
    with answering(server, db) as address:
        show_status(address, function, as_json, total, watch, seconds or 2.0)


def show_status(server: str, function: Optional[str], as_json: bool, total: bool, watch: bool, seconds: float) -> None:
    """Show the status once, or until Ctrl-C."""
    try:
        if watch and output.to_terminal() and not as_json:
            watch_table(server, function, seconds)
        print_status(server, function, as_json, total)
        while watch:
            time.sleep(seconds)
            print_status(server, function, as_json, total)
    except KeyboardInterrupt:
        if not watch:
            raise


def workers(as_json: bool = JSON, server: str = SERVER) -> None:
    """Show the connected workers, their functions, what they are doing and since when.

    Through a pipe: exactly what `gearadmin --workers` prints.

    Example: gearstore workers
    """
    with Connection(server) as connection:
        if as_json:
            print_json(worker_rows(connection))
        elif output.to_terminal():
            rows = [row for row in worker_rows(connection) if row["functions"]]  # the others are clients
            output.show(render.table(render.WORKERS, rows, present(), output.console().width))
        else:
            output.write(connection.text(b"workers"))
