"""The commands that change jobs, all one implementation: the server answers them alike. Which there are: verbs.py.

On a terminal the server is first asked what it would do; the question to the user is about those very jobs.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Optional

import typer

from . import output
from .client import Connection, Row
from .errors import CommandError, Refused, UsageError
from .filters import Selection, takes_selection
from .options import JSON, SERVER, option
from .render import escaped
from .verbs import Verb

SAMPLES = 3
SHOWN = 20  # jobs that a person reads one by one; beyond it a bar shows how far it is
DRY_RUN = option(False, "--dry-run", "-n", help="Change nothing; print how many jobs, and three of them.")
YES = option(False, "--yes", "-y", envvar="GEARSTORE_YES", help="Don't ask before more than one job.")
RATE = option(None, "--rate", metavar="N/s", help="At most so many jobs a second.")


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
        rate: Optional[str] = RATE,
        dry_run: bool = DRY_RUN,
        yes: bool = YES,
        as_json: bool = JSON,
        server: str = SERVER,
        **own: Any,
    ) -> None:
        if selection.is_empty:
            raise UsageError(f"which jobs? {verb.name} wants handles, - or a filter (--function '*' means all)")
        selection = selection.among(verb.states)
        settings = {"rate": parse_rate(rate), **verb.settings(own)}
        settings = {name: value for name, value in settings.items() if value is not None}
        with Connection(server) as connection:
            if dry_run:
                tell = print_json if as_json else sampler()
                settings["dry_run"] = True
                raise typer.Exit(report(verb, change(verb, connection, selection, settings, tell), "would be "))
            total = None
            if output.can_ask() and (not yes or output.to_terminal()):
                selection, total = counted(verb, connection, selection, settings)
                if total > 1 and not yes and not typer.confirm(f"{verb.name} {total} jobs?", err=True):
                    raise CommandError("nothing was changed")
            with progress(verb, total) as tell_bar:
                tell = print_json if as_json else tell_bar
                outcome = change(verb, connection, selection, settings, tell)
            raise typer.Exit(report(verb, outcome))

    parameters = [each for each in inspect.signature(command).parameters.values() if each.name != "own"]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    own = [inspect.Parameter(name, kind, **each) for name, each in verb.options.items()]
    command.__signature__ = inspect.Signature([parameters[0], *own, *parameters[1:]])  # type: ignore[attr-defined]
    command.__name__, command.__doc__ = verb.name, verb.help
    return takes_selection(command, verb.takes)


def parse_rate(text: Optional[str]) -> Optional[int]:
    """Return the jobs a second that `50`, or `50/s`, means."""
    if text is None:
        return None
    digits = text.removesuffix("/s")
    if not digits.isdigit() or not 1 <= int(digits) <= 1_000_000:
        raise UsageError(f"--rate: {text!r} is not a number of jobs a second such as 50 or 50/s")
    return int(digits)


def counted(verb: Verb, connection: Connection, selection: Selection, settings: Row) -> tuple[Selection, int]:
    """Return the jobs that would be changed, and how many: those and no others, whatever arrives meanwhile."""
    rows: list[Row] = []
    count = change(verb, connection, selection, {**settings, "dry_run": True}, rows.append).changed
    if selection.handles is not None:
        return selection, count
    return Selection([row["handle"] for row in rows], {}, None), count


def change(
    verb: Verb, connection: Connection, selection: Selection, settings: Row, tell: Callable[[Row], None]
) -> Outcome:
    """Send a selection to the server, tell what becomes of each job, and count."""
    outcome = Outcome()
    for request in selection.requests(**settings):
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


@contextmanager
def progress(verb: Verb, total: Optional[int]) -> Iterator[Callable[[Row], None]]:
    """Yield what to tell of each job: its line, or for many of them on a terminal only how far it is."""
    if total is None or total <= SHOWN or not output.to_terminal() or not sys.stderr.isatty():
        yield print_change
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(verb.name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb.name, total=total)

        def tell(row: Row) -> None:
            bar.advance(task)
            if "refused" in row:
                print_change(row)

        yield tell


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
