"""`gearstore limits`: what a server takes, how much of it is used, and who met a limit."""

import json
import time
from typing import Any

from . import output, render
from .client import Connection, Row
from .options import JSON, SERVER

UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))


def size(number: float) -> str:
    """Return a number of bytes in a unit in which it is short."""
    for factor, unit in UNITS:
        if number >= factor:
            return f"{number / factor:.1f}".removesuffix(".0") + unit
    return f"{number:g}"


def with_units(row: Row) -> Row:
    """Return a row with its amounts as texts."""
    spell: Any = {"bytes": size, "seconds": lambda number: f"{number:g}s"}.get(row["unit"], str)
    return {**row, **{key: None if row[key] is None else spell(row[key]) for key in ("most", "used")}}


TABLE = (
    render.Column("LIMIT", "limit", render.plain),
    render.Column("MOST", "most", render.plain, right=True),
    render.Column("USED", "used", render.plain, right=True),
    render.Column("MET", "met", render.plain, right=True),
    render.Column("LAST", "last_at", render.age, right=True),
    render.Column("BY", "last_by", render.plain),
)
LINES = tuple(column._replace(cell=render.moment) if column.key == "last_at" else column for column in TABLE)


def limits(as_json: bool = JSON, server: str = SERVER) -> None:
    """Show the limits of a server, what is used of them, and how often each was met since its start, and by whom.

    Each is an option of the same name, or a key in the policy of a function; `config show` tells who has set it.

    Through a pipe: tab-separated limit, most, used, times met, last time, address; sizes are bytes, times seconds.

    Example: gearstore limits
    """
    with Connection(server) as connection:
        rows = list(connection.manage("limits"))
    now = round(time.time() * 1000)
    if as_json:
        output.write("".join(json.dumps(row) + "\n" for row in rows))
    elif output.to_terminal():
        output.show(render.table(TABLE, [with_units(row) for row in rows], now))
    else:
        output.write("".join(render.line(LINES, row, now) for row in rows))
