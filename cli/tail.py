"""`gearstore tail`: what happens to jobs, one line a transition."""

import json
import stat
import sys
import time
from collections.abc import Callable, Iterator
from os import fstat
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

from . import output
from .client import Connection, Row
from .database import DB, answering
from .errors import PipeClosed, UsageError
from .filters import State, wire_text
from .options import JSON, SERVER, option
from .render import REASONS, STYLES, clock, duration, escaped, iso

if TYPE_CHECKING:
    from rich.text import Text


def tail(
    follow: bool = option(False, "--follow", "-f", help="Go on until Ctrl-C."),
    lines: int = option(10, "--lines", "-n", min=0, max=1000, metavar="N", help="Begin with the last N endings."),
    function: Optional[str] = option(None, "--function", metavar="GLOB", help="Functions, with * ? [...]."),
    state: List[State] = option([], "--state", help="State that jobs have come to; may be repeated."),
    as_json: bool = JSON,
    db: Optional[Path] = DB,
    server: str = SERVER,
) -> None:
    """Show the jobs that ended last and, with -f, everything that happens to jobs from now on.

    Through a pipe: tab-separated time, function, handle and what happened.

    Example: gearstore tail -f --function 'mail*' --state failed
    """
    request: Row = {"history": lines, "follow": follow}
    if function is not None:
        request["function"] = wire_text(function)
    if state:
        request["state"] = [each.value for each in state]
    if follow and db is not None:
        raise UsageError("--follow goes with a server, not with --db")
    show = show_json if as_json else show_on_terminal() if output.to_terminal() else show_line
    with answering(server, db) as address, Connection(address) as connection:
        for row in watched(connection.manage("tail", request), connection):
            if "skipped" in row and not as_json:
                output.say(f"{row['skipped']} transitions are left out here: there are more than can be shown")
            elif "following" not in row:
                show(row)


def watched(rows: Iterator[Row], connection: Connection) -> Iterator[Row]:
    """Yield what happens. End when the reader of a pipe has gone, though nothing happens that could be written."""
    pipe = pipe_out()
    for row in rows:
        yield row
        if "following" in row:
            break
    else:
        return  # only the past was asked for, and all of it is told
    while pipe is None or connection.wait(pipe):
        row = next(rows, {})
        if not row:
            return
        yield row
    raise PipeClosed


def pipe_out() -> Optional[int]:
    """Return the file descriptor of standard output if it is a pipe."""
    try:
        number = sys.stdout.fileno()
        return number if stat.S_ISFIFO(fstat(number).st_mode) else None
    except OSError:
        return None


def show_json(row: Row) -> None:
    """Print a line as the server says it."""
    output.write(json.dumps(row) + "\n")


def show_line(row: Row) -> None:
    """Print a line for scripts."""
    output.write("\t".join((iso(row["at"]), escaped(row["function"]), escaped(row["handle"]), words(row))) + "\n")


def show_on_terminal() -> Callable[[Row], None]:
    """Return the function that prints a line for people."""
    console = output.console()
    return lambda row: console.print(line(row, round(time.time() * 1000)), soft_wrap=True)


def line(row: Row, now: int) -> "Text":
    """Return a line for people."""
    from rich.text import Text

    what = words(row)
    where = f"{clock(row['at'], now)}  {escaped(row['function'])}  {escaped(row['handle'])}  "
    return Text.assemble(where, (what, STYLES.get(row["event"], "")))


# What happened, in words


def words(row: Row) -> str:
    """Return what happened to a job; nothing in it can move the cursor or break the line."""
    event = str(row["event"])
    text = WORDS[event](row) if event in WORDS else event
    error = f": {row['error']}" if row["error"] and row["took"] is not None else ""
    return escaped(text + error)


def by(row: Row) -> str:
    """Return who did it, and how long it took."""
    worker = f" by {row['worker']}" if row["worker"] else ""
    return worker + (f" in {duration(row['took'])}" if row["took"] is not None else "")


def why(row: Row) -> str:
    """Return how an attempt ended, or what else moved a job."""
    reason = row["reason"]
    return ATTEMPTS[reason](row) if reason in ATTEMPTS else REASONS.get(reason, reason or "")


ATTEMPTS: dict[str, Callable[[Row], str]] = {
    "fail": lambda row: f"failed{by(row)}",
    "exception": lambda row: f"exception{by(row)}",
    "timeout": lambda row: f"timeout{by(row)}",
    "lost": lambda row: f"lost{by(row)}",
}


def queued(row: Row) -> str:
    """Word that a job is queued again."""
    if row["took"] is not None:
        return f"{why(row)}, queued again"
    return "put back by an operator" if row["reason"] == "retry" else "its time has come"


def delayed(row: Row) -> str:
    """Word that a job waits for a time."""
    until = f"waits until {clock(row['run_at'], row['at'])}" if row["run_at"] else "waits"
    return f"{why(row)}, {until}" if row["took"] is not None else until


def assigned(row: Row) -> str:
    """Word that a worker has got a job."""
    worker = f" to {row['worker']}" if row["worker"] else ""
    return f"assigned{worker} after {duration(row['waited'])}"


def failed(row: Row) -> str:
    """Word that a job has failed for good."""
    attempts = f", attempt {row['attempts']}" if row["attempts"] > 1 else ""
    reason = "" if row["reason"] == "fail" else f" ({row['reason']})"
    return f"failed{reason}{by(row)}{attempts}"


WORDS: dict[str, Callable[[Row], str]] = {
    "refused": lambda row: "refused: the store did not take it",
    "joined": lambda row: "is no job of its own: it joins one of the same unique",
    "submitted": lambda row: f"submitted, {delayed(row)}" if row["run_at"] else "submitted",
    "queued": queued,
    "delayed": delayed,
    "assigned": assigned,
    "done": lambda row: f"done{by(row)}",
    "failed": failed,
    "held": lambda row: f"held: {why(row)}" if row["reason"] else "held",
}
