"""`gearstore backup`: copy the database to a file, while the server runs or without it.

The command reads the database itself, as its user: the server needs neither the right to write where the backup goes
nor the time to do it.
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from . import output
from .database import DB, database_of, storing
from .options import JSON, SERVER, argument, option
from .progress import bar
from .render import amount, size_words


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does, so that nothing is left behind."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    numbers = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def backup(
    file: Path = argument(..., metavar="FILE", help="Where the copy goes."),
    force: bool = option(False, "--force", help="Replace FILE if it is there."),
    as_json: bool = JSON,
    db: Optional[Path] = DB,
    server: str = SERVER,
) -> None:
    """Copy all jobs to a file, as they are at one moment, while the server goes on.

    The copy is a database like the original: `gearstore serve --db FILE` starts on it, and jobs, show, status, check
    and export read it with --db. It appears under its name once it is whole and on disk.

    The command must be able to read the server's database: run it as the server's user or as root.

    Example: gearstore backup /backup/gearstore-$(date +%F).db
    """
    source = database_of(server, db)
    with storing(), ended_in_order():
        from gearstore.store.backup import back_up

        with bar(f"backup of {source.name}") as report:
            made = back_up(str(source), file, force, report)
    if as_json:
        output.write(json.dumps({"file": str(file), "size": made.size, "jobs": made.jobs}) + "\n")
    else:
        output.say(f"{file}: {amount(made.jobs, 'job')}, {size_words(made.size)}")
