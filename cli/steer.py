"""`gearstore pause`, `resume` and `drain`: keep jobs from workers for a while. The server stores what is set."""

import json
import time
from datetime import datetime, timedelta
from typing import Optional

from . import output
from .client import Connection, Row
from .errors import CommandError, UsageError
from .filters import wire_text
from .options import JSON, SERVER, argument, option
from .render import escaped, iso
from .times import milliseconds, parse_duration

POLL = 0.5  # seconds between two looks at what still runs

FUNCTION = argument(None, metavar="[FUNCTION]", help="Function, with * ? [...]; all there are and will be if left out.")


def pause(
    function: Optional[str] = FUNCTION,
    for_: Optional[str] = option(None, "--for", metavar="DURATION", help="Resume by itself after that: 10m, 2h."),
    hold: bool = option(False, "--hold", help="Hold the jobs that wait now: they stay when the function is resumed."),
    as_json: bool = JSON,
    server: str = SERVER,
) -> None:
    """Assign no more jobs of a function; what runs is not disturbed, what comes is stored and waits.

    Without a function nothing at all is assigned. A pause survives restarts.

    Example: gearstore pause 'mail*' --for 10m
    """
    with Connection(server) as connection:
        rows = ask(connection, "pause", function, until=until_of(for_))
        if hold:
            among = {"function": wire_text(function or "*"), "state": ["queued", "delayed"]}
            held = sum(row.get("state") == "held" for row in connection.manage("hold", among))
            output.say(f"{held} jobs held")
        tell(rows, as_json)


def resume(function: Optional[str] = FUNCTION, as_json: bool = JSON, server: str = SERVER) -> None:
    """End a pause: that of a function, or without one the pause of everything.

    Example: gearstore resume 'mail*'
    """
    with Connection(server) as connection:
        tell(ask(connection, "resume", function), as_json)


def drain(
    function: Optional[str] = FUNCTION,
    timeout: Optional[str] = option(None, metavar="DURATION", help="Give up waiting after that, with exit code 1."),
    server: str = SERVER,
) -> None:
    """Pause, and wait until none of the jobs runs any more. `resume` ends it.

    Example: gearstore drain && systemctl restart gearstore && gearstore resume
    """
    seconds = None if timeout is None else parse_duration(timeout)
    with Connection(server) as connection:
        ask(connection, "pause", function)
        wait_until_idle(connection, chosen(function), seconds)
    output.say("nothing runs any more; gearstore resume goes on")


def wait_until_idle(connection: Connection, functions: Row, seconds: Optional[float]) -> None:
    """Wait until no job runs; raise CommandError if that takes too long."""
    deadline = None if seconds is None else time.monotonic() + seconds
    said = 0
    while running := sum(row["running"] for row in connection.manage("status", functions)):
        if running != said:
            output.say(f"waiting for {running} running {'job' if running == 1 else 'jobs'}")
            said = running
        if deadline is not None and time.monotonic() > deadline:
            raise CommandError(f"{running} still running; nothing new is assigned until gearstore resume")
        time.sleep(POLL)


def chosen(function: Optional[str]) -> Row:
    """Return the part of a request that names functions; without one it means all."""
    if function == "":
        raise UsageError("the function's name is empty; leave it out to mean all of them")
    return {} if function is None else {"function": wire_text(function)}


def ask(connection: Connection, verb: str, function: Optional[str], **more: Optional[int]) -> list[Row]:
    """Return what the server says of each function meant."""
    request = chosen(function) | {name: value for name, value in more.items() if value is not None}
    return list(connection.manage(verb, request))


def until_of(text: Optional[str]) -> Optional[int]:
    """Return the moment at which a pause of this length ends."""
    if text is None:
        return None
    seconds = parse_duration(text)
    if seconds <= 0:
        raise UsageError("--for: no time at all; leave it out for a pause without an end")
    return milliseconds(datetime.now().astimezone() + timedelta(seconds=seconds))


def tell(rows: list[Row], as_json: bool) -> None:
    """Print what holds now."""
    for row in rows:
        output.write(json.dumps(row) + "\n" if as_json else f"{words(row)}\n")


def words(row: Row) -> str:
    """Return what holds for a function in words."""
    name = "all functions" if row["function"] is None else escaped(row["function"])
    if not row["paused_at"]:
        return f"{name}\tnot paused"
    until = f" until {iso(row['paused_until'])}" if row["paused_until"] else " until somebody resumes it"
    running = f", {row['running']} still running" if row["running"] else ""
    return f"{name}\tpaused{until}{running}"
