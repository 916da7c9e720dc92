"""`gearstore cancel`, `retry` and `replay`: one implementation, as the server answers all three alike.

On a terminal the server is first asked what it would do; the question to the user is about those very jobs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import typer

from . import output
from .client import Connection, Row
from .errors import CommandError, Refused, UsageError
from .filters import Selection, takes_selection
from .options import JSON, SERVER, option
from .render import escaped

SAMPLES = 3
DRY_RUN = option(False, "--dry-run", "-n", help="Change nothing; print how many jobs, and three of them.")
YES = option(False, "--yes", "-y", envvar="GEARSTORE_YES", help="Don't ask before more than one job.")


class Verb(NamedTuple):
    """What tells the three commands apart. Filters choose among `states` unless told otherwise."""

    name: str
    done: str
    states: tuple[str, ...]
    help: str


CANCEL = Verb(
    "cancel",
    "cancelled",
    ("queued", "delayed", "held", "running"),
    """Cancel jobs that are queued, delayed, held or running.

    Example: gearstore cancel --function 'mail*' --state queued --dry-run
    """,
)
RETRY = Verb(
    "retry",
    "put back into the queue",
    ("failed", "held"),
    """Put failed or held jobs back into their queue, with the same handle.

    What an operator has cancelled comes back only if its handle or --state cancelled names it.

    Example: gearstore jobs --state failed --since 2h | cut -f1 | gearstore retry -
    """,
)
REPLAY = Verb(
    "replay",
    "submitted again",
    ("done", "failed"),
    """Submit copies of jobs that are done or failed; each copy gets a handle of its own.

    What an operator has cancelled is copied only if its handle or --state cancelled names it.

    Example: gearstore replay H:host:000000000042
    """,
)


@dataclass(slots=True)
class Outcome:
    """How many jobs the server changed (or would change) and refused, and whether it missed a handle."""

    changed: int = 0
    refused: int = 0
    missing: CommandError | None = None

    @property
    def exit_code(self) -> int:
        """0 all was done, 4 something was refused, 1 a handle is missing or nothing matched."""
        if self.refused:
            return Refused.exit_code
        return CommandError.exit_code if self.missing or not self.changed else 0


def make_command(verb: Verb) -> Callable[..., None]:
    """Return the command of a verb."""

    def command(
        selection: Selection,
        dry_run: bool = DRY_RUN,
        yes: bool = YES,
        as_json: bool = JSON,
        server: str = SERVER,
    ) -> None:
        if selection.is_empty:
            raise UsageError(f"which jobs? {verb.name} wants handles, - or a filter (--function '*' means all)")
        selection = selection.among(verb.states)
        with Connection(server) as connection:
            if dry_run:
                tell = print_json if as_json else sampler()
                raise typer.Exit(report(verb, change(verb, connection, selection, True, tell), "would be "))
            if not yes and output.can_ask():
                selection = confirmed(verb, connection, selection)
            tell = print_json if as_json else print_change
            raise typer.Exit(report(verb, change(verb, connection, selection, False, tell)))

    command.__name__, command.__doc__ = verb.name, verb.help
    return takes_selection(command)


def confirmed(verb: Verb, connection: Connection, selection: Selection) -> Selection:
    """Ask before more than one job is changed. What was counted is what is changed, whatever arrives meanwhile."""
    rows: list[Row] = []
    count = change(verb, connection, selection, True, rows.append).changed
    if count > 1 and not typer.confirm(f"{verb.name} {count} jobs?", err=True):
        raise CommandError("nothing was changed")
    if selection.handles is not None:
        return selection
    return Selection([row["handle"] for row in rows], {}, None)


def change(
    verb: Verb, connection: Connection, selection: Selection, dry_run: bool, tell: Callable[[Row], None]
) -> Outcome:
    """Send a selection to the server, tell what becomes of each job, and count."""
    outcome = Outcome()
    for request in selection.requests(dry_run=dry_run):
        try:
            for row in connection.manage(verb.name, request):
                if "handle" in row:  # the last one is the server's own count
                    outcome.refused += "refused" in row
                    outcome.changed += "refused" not in row
                    tell(row)
        except CommandError as error:
            # A handle that does not exist must not stop the requests behind it.
            if error.exit_code != CommandError.exit_code:
                raise
            outcome.missing = error
    return outcome


def change_line(row: Row) -> str:
    """Return one line about a changed job."""
    if "replay" in row:
        return f"{escaped(row['handle'])} -> {escaped(row['replay'])}\n"
    states = " -> ".join(dict.fromkeys((row["was"], row["state"])))
    return f"{escaped(row['handle'])}\t{escaped(row['function'])}\t{states}\n"


def print_change(row: Row) -> None:
    """Print what became of one job; refusals are for standard error."""
    if "refused" in row:
        output.say(f"{row['handle']}: {row['refused']}")
    else:
        output.write(change_line(row))


def print_json(row: Row) -> None:
    """Print what became of one job as the server says it."""
    output.write(json.dumps(row) + "\n")


def sampler() -> Callable[[Row], None]:
    """Return a function that prints the first few of what it is told."""
    left = iter(range(SAMPLES))
    return lambda row: print_change(row) if next(left, None) is not None else None


def report(verb: Verb, outcome: Outcome, would: str = "") -> int:
    """Sum up on standard error, unless one job was changed and that is all; return the exit code."""
    if outcome.missing:
        output.say(str(outcome.missing))
    if outcome.changed != 1 or outcome.refused or would:
        jobs = "1 job" if outcome.changed == 1 else f"{outcome.changed} jobs"
        refused = f", {outcome.refused} refused" if outcome.refused else ""
        output.say(f"{jobs} {would}{verb.done}{refused}")
    return outcome.exit_code


cancel, retry, replay = map(make_command, (CANCEL, RETRY, REPLAY))
