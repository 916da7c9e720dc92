"""`gearstore status` and `gearstore workers`: a table for people, the server's own text for pipes.

Both work with a plain gearmand as well, with the columns that its text protocol has.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional

from . import output, render
from .client import Connection, Row, text_of
from .database import DB, answering
from .errors import NotGearstore, Unreachable, UsageError
from .options import JSON, SERVER, argument, option

if TYPE_CHECKING:
    from rich.table import Table


class Report(NamedTuple):
    """One of the server's lists: its verb (and text command), the columns of its table, how its text rows are read."""

    verb: str
    columns: Sequence[render.Column]
    parse: Callable[[bytes], Row]


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


STATUS = Report("status", render.STATUS, parse_status)
WORKERS = Report("workers", render.WORKERS, parse_worker)


def rows_of(report: Report, server: str) -> list[Row]:
    """Return the rows of a report, from gearmand's text where there are no management verbs."""
    with Connection(server) as connection:
        try:
            return list(connection.manage(report.verb))
        except NotGearstore:
            return [report.parse(line.rstrip(b"\n")) for line in connection.lines(report.verb.encode())]


def table_of(report: Report, server: str) -> "Table":
    """Return a report as a table. Connections without functions are clients: they aren't shown among the workers."""
    rows = [row for row in rows_of(report, server) if row.get("functions") != []]
    return render.table(report.columns, rows, round(time.time() * 1000))


def print_report(report: Report, server: str, as_json: bool) -> None:
    """Print a report once, in the form that its reader wants."""
    if as_json:
        output.write("".join(json.dumps(row) + "\n" for row in rows_of(report, server)))
    elif output.to_terminal():
        output.show(table_of(report, server))
    else:
        with Connection(server) as connection:
            output.write(connection.text(report.verb.encode()))


def watch_table(report: Report, server: str, seconds: float) -> None:
    """Show a table again and again, until Ctrl-C. A server that is away for a while is waited for."""
    from rich.live import Live
    from rich.text import Text

    with Live(console=output.console(), auto_refresh=False) as live:
        while True:
            try:
                live.update(table_of(report, server), refresh=True)
            except Unreachable as error:
                live.update(Text(str(error)), refresh=True)
            time.sleep(seconds)


def status(
    watch: bool = option(False, "--watch", "-w", help="Go on until Ctrl-C, every SECONDS."),
    seconds: Optional[float] = argument(None, min=0.1, help="Pause for --watch (default: 2)."),
    as_json: bool = JSON,
    db: Optional[Path] = DB,
    server: str = SERVER,
) -> None:
    """Show how many jobs each function has, and how many workers.

    Through a pipe: exactly what `gearadmin --status` prints, which is function, jobs, running jobs and workers.

    Example: gearstore status | sort -n | column -t
    """
    if seconds is not None and not watch:
        raise UsageError("SECONDS goes with --watch")
    if watch and db is not None:
        raise UsageError("--watch goes with a server, not with --db")
    seconds = seconds or 2.0
    try:
        with answering(server, db) as address:
            if watch and output.to_terminal() and not as_json:
                watch_table(STATUS, address, seconds)
            print_report(STATUS, address, as_json)
            while watch:
                time.sleep(seconds)
                print_report(STATUS, address, as_json)
    except KeyboardInterrupt:
        if not watch:
            raise


def workers(as_json: bool = JSON, server: str = SERVER) -> None:
    """Show the connected workers, their functions and what they are doing.

    Through a pipe: exactly what `gearadmin --workers` prints.

    Example: gearstore workers
    """
    print_report(WORKERS, server, as_json)
