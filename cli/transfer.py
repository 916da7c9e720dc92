"""`gearstore export` and `gearstore import`: carry jobs from one queue to another, also from gearmand's own."""

import base64
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, Optional

from . import output
from .client import Connection, Row, encode_request, text_of
from .database import DB, answering, storing
from .errors import CommandError, Refused, UsageError
from .filters import LINE_LIMIT, Selection, takes_selection
from .options import JSON, SERVER, argument, option
from .progress import bar
from .render import amount

MOST = 500  # jobs of one request
REPORTED = 100  # jobs between two reports of progress
PIECE = LINE_LIMIT // 6  # characters of a job's JSON in one line, where a blank takes six


@takes_selection
def export(selection: Selection, db: Optional[Path] = DB, server: str = SERVER) -> None:
    """Print jobs with all that is known of them, one JSON object a line, oldest first; without filters all jobs.

    Workload and result are base64. `gearstore import` takes what this prints. Foreground jobs are left out: their
    clients wait for this server.

    Example: gearstore export --state failed --function 'mail*' > failed.jsonl
    """
    count = 0
    with (
        answering(server, db) as address,
        Connection(address) as connection,
        bar("export", "jobs", beside_data=True) as report,
    ):
        for request in selection.requests(order="oldest"):
            for row in connection.manage("export", request):
                output.write(json.dumps(row) + "\n")
                count += 1
                if count % REPORTED == 0:
                    report(count, 0)
    if not count:
        raise CommandError("no job matches")
    output.say(f"{amount(count, 'job')} exported")


class Item(NamedTuple):
    """Something to import: a job as the server takes it, or why it is none; and what it was at its source."""

    job: Any
    fault: str
    source: Row


@dataclass(slots=True)
class Outcome:
    """How many jobs became what; what is set aside goes to a file."""

    path: Path
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("imported", "joined", "known", "refused"), 0))
    refused_by_server: int = 0
    _file: Optional[IO[str]] = None

    def add(self, word: str, number: int = 1) -> None:
        """Count."""
        self.counts[word] += number

    def set_aside(self, item: Item, reason: str) -> None:
        """Keep what could not be imported, with the reason."""
        self.add("refused")
        if self._file is None:
            try:
                self._file = self.path.open("a")
            except OSError as error:
                raise Refused(f"--rejects: {self.path}: {error.strerror}") from None
        self._file.write(json.dumps({"reason": reason, **item.source}) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def import_(
    file: Optional[Path] = argument(None, metavar="FILE", help="A queue of gearmand, or exported jobs; - is input."),
    table: str = option("gearman_queue", "--table", metavar="NAME", help="Table of gearmand's queue."),
    dry_run: bool = option(False, "--dry-run", "-n", help="Read everything, change nothing."),
    rejects: Optional[Path] = option(
        None, "--rejects", metavar="FILE", help="Where what is no job goes (default: FILE.rejected.jsonl, here)."
    ),
    force: bool = option(False, "--force", help="Read a queue of gearmand although a process has it open."),
    as_json: bool = JSON,
    server: str = SERVER,
) -> None:
    """Take in the jobs of another queue: gearmand's SQLite file, or what `gearstore export` printed.

    Without FILE gearmand's queue is looked for where gearmand's configuration and packages put it. End gearmand before.

    Each job comes in once: what was imported before is known, also after it has ended, so that the command may be
    stopped and run again. Jobs get new handles; `gearstore show` tells the old ones. What waited or ran waits at the
    end of its queue, what is held or has ended keeps its state and its history; a job whose unique waits here already
    joins it. What is no job is set aside in a file, with the reason.

    Exit code 1 if something was set aside, 4 if the server refused some.

    Example: gearstore import /var/lib/gearman/gearmand.db
    """
    source = file or found_queue()
    outcome = Outcome(rejects or Path(f"{'input' if str(source) == '-' else source.name}.rejected.jsonl"))
    try:
        with storing(), opened(source, table, force) as (items, total, unit), bar("import", unit) as report:
            if dry_run:
                for item in items:
                    outcome.add("refused" if item.fault else "imported")
            else:
                with Connection(server) as connection:
                    send_all(connection, tracked(items, report, total), outcome)
    except KeyboardInterrupt:
        output.say("stopped; what was imported is stored, and known when you run this again")
        raise
    finally:
        outcome.close()
    tell(outcome, dry_run, as_json)


def tell(outcome: Outcome, dry_run: bool, as_json: bool) -> None:
    """Sum up; raise the exit code."""
    counts = outcome.counts
    words = [f"{amount(counts['imported'], 'job')} {'would be ' if dry_run else ''}imported"]
    words += [
        f"{counts[word]} {text}"
        for word, text in (("joined", "joined others"), ("known", "known before"))
        if counts[word]
    ]
    if counts["refused"]:
        words.append(f"{counts['refused']} set aside" + ("" if dry_run else f" in {outcome.path}"))
    if as_json:
        output.write(json.dumps(counts | {"rejects": str(outcome.path) if counts["refused"] else None}) + "\n")
    else:
        output.say(", ".join(words))
    if outcome.refused_by_server:
        raise Refused("")
    if counts["refused"] or not any(counts.values()):
        raise CommandError("" if counts["refused"] else "there is no job to import")


def found_queue() -> Path:
    """Return gearmand's queue, if there is one in the usual places."""
    from gearstore.store.gearmand import usual_places

    found = usual_places()
    if len(found) != 1:
        what = "there is no queue of gearmand" if not found else f"there are several: {', '.join(map(str, found))}"
        raise UsageError(f"{what}; name a file, or - for exported jobs from input")
    output.say(f"found {found[0]}")
    return found[0]


@contextmanager
def opened(source: Path, table: str, force: bool) -> Iterator[tuple[Iterator[Item], int, str]]:
    """Open what is imported; yield its items, how much there is of it and in which unit."""
    from gearstore.store import gearmand

    if str(source) == "-":
        yield lines(sys.stdin.buffer, "input"), 0, "jobs"
        return
    try:
        is_database = gearmand.is_sqlite(source)
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}") from None
    if not is_database:
        with source.open("rb") as file:
            yield lines(file, str(source.resolve())), 0, "jobs"
        return
    if not force and (user := gearmand.user_of(source)):
        raise Refused(
            f"{source} is open in {user}, whose workers would run the same jobs: end it first, or say --force"
        )
    with gearmand.queue(source) as (connection, path):
        gearmand.columns_of(connection, path, table)
        yield queue_items(connection, path, table), gearmand.count_rows(connection, table), "jobs"


def lines(file: Iterable[bytes], name: str) -> Iterator[Item]:
    """Yield the jobs of JSON lines. A job that was written by hand is told from others by its place."""
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        source = {"line": number, "text": text_of(line.rstrip(b"\n"))}
        try:
            job = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Item(None, f"it is not JSON: {error}", source)
            continue
        if isinstance(job, dict):
            job.setdefault("handle", f"{name} line {number}")
        yield Item(job, "", source)


def queue_items(connection: Any, path: Path, table: str) -> Iterator[Item]:
    """Yield the jobs of gearmand's queue. What tells them apart is the place where they stand."""
    from gearstore.store.gearmand import rows

    for row in rows(connection, path, table):
        source = {
            "rowid": row.rowid, "function_name": shown(row.function), "unique_key": shown(row.unique),
            "priority": row.priority, "when_to_run": row.when_to_run,
            "data": base64.b64encode(row.workload).decode() if isinstance(row.workload, bytes) else row.workload,
        }  # fmt: skip
        if row.fault:
            yield Item(None, row.fault, source)
            continue
        job = {
            "handle": f"{path.resolve()} {table} {row.rowid}",
            "function": text_of(row.function),
            "unique": text_of(row.unique),
            "priority": row.priority.name.lower(),
            "workload": source["data"],
            "state": "delayed" if row.when_to_run else "queued",
            "run_at": row.when_to_run * 1000,
        }
        yield Item(job, "", source)


def shown(value: Any) -> Any:
    """Return a column as JSON can hold it."""
    return text_of(value) if isinstance(value, bytes) else value


def tracked(items: Iterator[Item], report: Any, total: int) -> Iterator[Item]:
    """Yield the items and report how far we are."""
    for number, item in enumerate(items, 1):
        yield item
        if number % REPORTED == 0:
            report(number, total)


def send_all(connection: Connection, items: Iterator[Item], outcome: Outcome) -> None:
    """Import the items, many at a time; each request is durable or nothing."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if item.fault:
            outcome.set_aside(item, item.fault)
            continue
        length = len(encode_request(item.job) if isinstance(item.job, dict) else json.dumps(item.job))
        if batch and (size + length > LINE_LIMIT or len(batch) == MOST):
            send_batch(connection, batch, outcome)
            batch, size = [], 0
        if length > LINE_LIMIT:
            send_in_pieces(connection, item, outcome)
            continue
        batch.append(item)
        size += length + 1
    if batch:
        send_batch(connection, batch, outcome)


def send_batch(connection: Connection, batch: list[Item], outcome: Outcome) -> None:
    """Import some jobs by one request."""
    count(connection.manage("import", {"jobs": [item.job for item in batch]}), batch, outcome)


def send_in_pieces(connection: Connection, item: Item, outcome: Outcome) -> None:
    """Import one job that is too long for a line."""
    text = json.dumps(item.job, separators=(",", ":"))
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    try:
        for piece in pieces[:-1]:
            list(connection.manage("import", {"piece": piece}))
        count(connection.manage("import", {"piece": pieces[-1], "end": True}), [item], outcome)
    except Refused as refusal:
        outcome.refused_by_server += 1
        outcome.set_aside(item, str(refusal))


def count(answers: Iterator[Row], batch: list[Item], outcome: Outcome) -> None:
    """Count what became of each job of a request."""
    for item, answer in zip(batch, answers, strict=False):  # the last answer is the server's own count
        if "refused" in answer:
            outcome.refused_by_server += 1
            outcome.set_aside(item, answer["refused"])
        else:
            outcome.add(next(word for word in outcome.counts if word in answer))
    list(answers)
