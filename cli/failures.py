"""`gearstore failures`: failed jobs by their cause, so that each can be looked at and retried at once."""

import json
import time
from pathlib import Path
from typing import Optional

from . import output, render
from .client import Connection, Row
from .database import DB, answering
from .errors import CommandError
from .filters import wire_text
from .options import JSON, SERVER, option

MOST_FUNCTIONS = 3  # named in one row


def functions_cell(value: dict[str, int], now: int) -> str:
    """Return the functions of a cause, the most frequent first."""
    names = sorted(value, key=lambda name: (-value[name], name))
    more = f" and {len(names) - MOST_FUNCTIONS} more" if len(names) > MOST_FUNCTIONS else ""
    return " ".join(map(render.escaped, names[:MOST_FUNCTIONS])) + more


TABLE = (
    render.Column("CAUSE", "cause", render.plain),
    render.Column("JOBS", "jobs", render.plain, right=True),
    render.Column("REASON", "reason", render.plain),
    render.Column("TEXT", "text", render.plain, overflow="fold"),
    render.Column("FUNCTIONS", "functions", functions_cell, overflow="fold"),
    render.Column("FIRST", "first_at", render.age, right=True),
    render.Column("LAST", "last_at", render.age, right=True),
)
LINES = tuple(column._replace(cell=render.moment) if column.key.endswith("_at") else column for column in TABLE)


def failures(
    function: Optional[str] = option(None, "--function", "-f", metavar="GLOB", help="Function, with * ? [...]."),
    as_json: bool = JSON,
    db: Optional[Path] = DB,
    server: str = SERVER,
) -> None:
    """Show why jobs failed: alike errors, but for numbers and ids, are one cause.

    `jobs --cause ID` lists the jobs of a cause, `retry --cause ID` puts them back. Through a pipe: tab-separated cause,
    number of jobs, reason, text, functions, first and last time.

    Example: gearstore failures --function 'mail*'
    """
    request: Row = {} if function is None else {"function": wire_text(function)}
    with answering(server, db) as address, Connection(address) as connection:
        rows = list(connection.manage("failures", request))
    if not rows:
        raise CommandError("no job has failed")
    now = round(time.time() * 1000)
    if as_json:
        output.write("".join(json.dumps(row) + "\n" for row in rows))
    elif output.to_terminal():
        output.show(render.table(TABLE, rows, now))
    else:
        output.write("".join(render.line(LINES, row, now) for row in rows))
