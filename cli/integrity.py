"""`gearstore check`: is the database whole, and does it keep the queue's own rules."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from . import output
from .client import text_of
from .database import DB, database_of, storing
from .errors import CommandError
from .options import JSON, SERVER
from .render import amount, escaped


def check(as_json: bool = JSON, db: Optional[Path] = DB, server: str = SERVER) -> None:
    """Check that the database is whole and that the queue's own rules hold.

    Looked at are SQLite's structure, each job's checksum, counts, numbers, places in the queues, uniques, times and
    everything else that must fit together. Nothing is changed. A server may run meanwhile; its log grows as long as the
    check takes.

    Each fault is one line: rule, handle (or -), sentence. Exit code 0 without faults, 1 with.

    Example: gearstore check --db /backup/gearstore.db
    """
    source = database_of(server, db)
    with storing(), telling() as tell:
        from gearstore.store.check import check as check_rules
        from gearstore.store.view import snapshot

        count = 0
        with snapshot(str(source)) as (connection, _):
            for finding in check_rules(connection, tell):
                count += 1
                handle = text_of(finding.handle)
                if as_json:
                    row = {"rule": finding.rule, "handle": handle or None, "sentence": finding.sentence}
                    output.write(json.dumps(row) + "\n")
                else:
                    output.write(f"{finding.rule}\t{escaped(handle) or '-'}\t{escaped(finding.sentence)}\n")
            jobs = connection.execute("SELECT coalesce(sum(jobs), 0) FROM counts").fetchone()[0] if not count else 0
    if count:
        raise CommandError(
            f"{source} has faults, see the {amount(count, 'line')} above: "
            "restore a backup, or export what is whole of it"
        )
    output.say(f"{source} is sound: {amount(jobs, 'job')}")


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is looked at."""
    if not sys.stderr.isatty():
        yield lambda what: None
        return
    from rich.console import Console

    with Console(stderr=True).status("checking") as status:
        yield lambda what: status.update(f"checking {what}")
