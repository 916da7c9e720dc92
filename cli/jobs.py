"""`gearstore jobs` and `gearstore show`: look at jobs, many at a time or one in full."""

import base64
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import List, Optional

from . import output, render
from .client import Connection, Row
from .database import DB, answering
from .errors import CommandError, UsageError
from .filters import Selection, read_handles, takes_selection
from .options import JSON, SERVER, argument, option
from .timeline import story

# How many jobs are listed unless --limit says otherwise; with named handles there is no limit.
LISTED = 50


def find(connection: Connection, selection: Selection, order: str) -> Iterator[Row]:
    """Yield the jobs of a selection."""
    for request in selection.requests(order=order):
        if "handles" in request:  # the server's default limit is meant for filters
            request["limit"] = len(request["handles"])
        yield from connection.manage("jobs", request)


@takes_selection
def jobs(
    selection: Selection,
    oldest: bool = option(False, "--oldest", help="Oldest first; else newest first."),
    as_json: bool = JSON,
    db: Optional[Path] = DB,
    server: str = SERVER,
) -> None:
    """List jobs, the newest 50 unless told otherwise.

    Through a pipe: tab-separated handle, function, state, priority, time of submission, attempts, reason, unique and
    the beginning of the workload.

    Example: gearstore jobs --function 'mail*' --state failed --since 2h
    """
    limit = selection.limit or (LISTED if selection.handles is None else None)
    # One more than wanted tells whether there are more.
    asked = Selection(selection.handles, selection.filters, None if limit is None else limit + 1)
    with answering(server, db) as address, Connection(address) as connection:
        found = find(connection, asked, "oldest" if oldest else "newest")
        count = print_jobs(islice(found, limit), as_json)
        more = next(found, None) is not None
    if not count:
        raise CommandError("no job matches")
    if more and selection.limit is None:
        output.say(f"there are more than these {LISTED}; --limit N shows more")


def print_jobs(found: Iterator[Row], as_json: bool) -> int:
    """Print jobs in the form that their reader wants and return how many there were."""
    now = round(time.time() * 1000)
    if output.to_terminal() and not as_json:
        rows = list(found)
        if rows:
            output.show(render.table(render.JOBS, rows, now))
        return len(rows)
    count = 0
    for row in found:
        output.write(json.dumps(row) + "\n" if as_json else render.line(render.JOB_LINES, row, now))
        count += 1
    return count


def show(
    handles: List[str] = argument(..., help="Jobs; - reads handles from input."),
    payload: bool = option(False, "--payload", "--workload", help="Print the workload of one job, as it is."),
    result: bool = option(False, "--result", help="Print the result of one job, as it is."),
    as_json: bool = JSON,
    db: Optional[Path] = DB,
    server: str = SERVER,
) -> None:
    """Show all that is known of jobs, and what happened to them.

    With --json, --payload and --result add the bytes in base64.

    Example: gearstore show --payload H:host:000000000042 > payload
    """
    selection = Selection(read_handles(handles), {}, None)
    wanted = [name for name, on in (("workload", payload), ("result", result)) if on]
    if wanted and not as_json and (len(wanted) > 1 or len(selection.handles or []) != 1):
        raise UsageError("--payload and --result print the bytes of one job; name one handle and one of the two")
    with answering(server, db) as address, Connection(address) as connection:
        for request in selection.requests(workload=payload, result=result):
            for row in connection.manage("show", request):
                print_job(row, wanted, as_json)


def print_job(job: Row, wanted: list[str], as_json: bool) -> None:
    """Print one job in full, or only the bytes that are wanted of it."""
    if as_json:
        output.write(json.dumps(job) + "\n")
    elif not wanted:
        output.write(story(job, round(time.time() * 1000)) + "\n")
    else:
        output.write(bytes_of(job, wanted[0]))


def bytes_of(job: Row, name: str) -> bytes:
    """Return workload or result of a job; raise CommandError if it is not there, as large results are not kept."""
    if name == "result" and job["state"] != "done":
        raise CommandError(f"{job['handle']} has no result: it is {job['state']}")
    data = base64.b64decode(job[name] or "")
    size = job["result_size" if name == "result" else "size"]
    if job[name] is None or len(data) != size:
        raise CommandError(f"the {name} of {job['handle']} was not kept ({render.size_words(size)})")
    return data
