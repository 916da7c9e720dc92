"""Data to text: tables for a terminal, tab-separated lines for a pipe, plain words for one job. No input, no output.

What came over the wire is escaped wherever a person or a line-based tool reads it, so that no job can move the cursor
or break a row.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .client import Row

if TYPE_CHECKING:
    from rich.console import OverflowMethod
    from rich.table import Table
    from rich.text import Text

NOTHING = "-"
NEEDED = 3  # columns of a rank up to this one tell something also with nothing but zeros
REASONS = {
    "fail": "its worker reported a failure",
    "exception": "its worker reported an exception",
    "timeout": "it took too long",
    "lost": "its worker went away",
    "interrupted": "the server ended while it ran",
    "cancelled": "an operator cancelled it",
    "retry": "an operator put it back",
    "held": "an operator holds it",
    "damaged": "its bytes were altered on disk",
}
STYLES = {"running": "green", "held": "yellow", "delayed": "cyan", "failed": "red", "cancelled": "magenta"}
ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
AGES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


class Column(NamedTuple):
    """One column: its title, the key of the value, and how the value becomes text (given the present as well).

    Where a table is too wide, columns with a rank are left out, the highest first, but those that have nothing to tell
    before all others, unless they are NEEDED. Then columns with an overflow give way: they are folded ("fold") or cut
    ("ellipsis").
    """

    title: str
    key: str
    cell: Callable[[Any, int], str]
    right: bool = False
    overflow: "OverflowMethod | None" = None
    rank: int = 0


def escaped(text: str) -> str:
    """Return the text with everything that is not printable written as an escape."""
    return text if text.isprintable() else "".join(map(escaped_sign, text))


def escaped_sign(sign: str) -> str:
    """Return one character, or its escape; an undecodable byte comes as a surrogate and leaves as its two digits."""
    number = ord(sign)
    if sign.isprintable():
        return sign
    if sign in ESCAPES:
        return ESCAPES[sign]
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def duration(milliseconds: int) -> str:
    """Return a duration in its largest unit, as the options accept it."""
    seconds = max(milliseconds, 0) / 1000
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    size, unit = next(each for each in AGES if seconds >= each[0])
    return f"{int(seconds / size)}{unit}"


def iso(milliseconds: int) -> str:
    """Return a moment in local time with its offset, or the number itself where the calendar ends."""
    try:
        return datetime.fromtimestamp(milliseconds // 1000).astimezone().isoformat()
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)


def plain(value: Any, now: int) -> str:
    """Return a text or number."""
    return NOTHING if value in (None, "") else escaped(str(value))


def words(value: Any, now: int) -> str:
    """Return a text of ours, or nothing."""
    return str(value or "")


def names(value: Sequence[str], now: int) -> str:
    """Return a list of names."""
    return " ".join(map(escaped, value)) or NOTHING


def age(value: int | None, now: int) -> str:
    """Return how long ago a moment was, or how far it is ahead."""
    if value is None:
        return NOTHING
    return duration(now - value) if value <= now else f"in {duration(value - now)}"


def moment(value: int | None, now: int) -> str:
    """Return a moment as scripts like it."""
    return NOTHING if value is None else iso(value)


def clock(value: int | None, now: int) -> str:
    """Return a moment as people say it: the time of day, with the date before it if that is another day."""
    if value is None:
        return NOTHING
    try:
        when, today = (datetime.fromtimestamp(each / 1000) for each in (value, now))
    except (ValueError, OverflowError, OSError):
        return str(value)
    return f"{when:%H:%M:%S}" if when.date() == today.date() else f"{when:%Y-%m-%d %H:%M:%S}"


def occupation(value: Sequence[Row], now: int) -> str:
    """Return what a worker is doing, and since when."""
    jobs = (
        f"{escaped(job['handle'])} {escaped(job['function'])} since {clock(job['started_at'], now)}"
        f" ({age(job['started_at'], now)})"
        for job in value
    )
    return "\n".join(jobs) or NOTHING


def pause_words(row: Row, now: int) -> str:
    """Return since when a function (or all of them) is paused, and until when; nothing if it isn't."""
    if not row.get("paused_at"):
        return ""
    until = row.get("paused_until")
    return f"paused for {age(row['paused_at'], now)}" + (f", until {clock(until, now)}" if until else "")


def note(row: Row, now: int) -> str:
    """Return what an operator should know of a function."""
    return pause_words(row, now) or ("no worker" if row["queued"] and not row["workers"] else "")


def yes_no(value: bool, now: int) -> str:
    """Return yes or no."""
    return "yes" if value else "no"


STATUS = (
    Column("FUNCTION", "function", plain, overflow="fold"),
    Column("QUEUED", "queued", plain, right=True),
    Column("RUNNING", "running", plain, right=True),
    Column("WORKERS", "workers", plain, right=True, rank=1),
    Column("OLDEST", "oldest_at", age, right=True, rank=2),
    Column("DELAYED", "delayed", plain, right=True, rank=6),
    Column("HELD", "held", plain, right=True, rank=5),
    Column("FAILED", "failed", plain, right=True, rank=3),
    Column("DONE", "done", plain, right=True, rank=8),
    Column("DONE/MIN", "done_per_minute", plain, right=True, rank=4),
    Column("FAIL/MIN", "failed_per_minute", plain, right=True, rank=7),
    Column("", "note", words, overflow="fold"),
)
WORKERS = (
    Column("FD", "fd", plain, right=True, rank=5),
    Column("ADDRESS", "address", plain, rank=4),
    Column("ID", "client_id", plain, overflow="fold"),
    Column("CONNECTED", "connected_at", age, right=True, rank=6),
    Column("FUNCTIONS", "functions", names, overflow="fold"),
    Column("ASLEEP", "asleep", yes_no, rank=7),
    Column("JOBS", "jobs", occupation, overflow="fold"),
)
JOBS = (
    Column("HANDLE", "handle", plain),
    Column("FUNCTION", "function", plain, overflow="fold"),
    Column("STATE", "state", plain),
    Column("AGE", "created_at", age, right=True),
    Column("TRIES", "attempts", plain, right=True),
    Column("REASON", "reason", plain),
    Column("WORKLOAD", "preview", plain, overflow="ellipsis"),
)
JOB_LINES = (
    Column("handle", "handle", plain),
    Column("function", "function", plain),
    Column("state", "state", plain),
    Column("priority", "priority", plain),
    Column("created_at", "created_at", moment),
    Column("attempts", "attempts", plain),
    Column("reason", "reason", plain),
    Column("unique", "unique", plain),
    Column("preview", "preview", plain),
)


def table(
    columns: Iterable[Column], rows: Sequence[Row], now: int, width: int | None = None, total: Row | None = None
) -> "Table":
    """Return a Rich table of the columns that the rows have: a plain gearmand tells less than gearstore.

    With a width only those that fit; with a total one more row, set apart.
    """
    # Loaded here, so that scripts, whose output is no terminal, don't wait for it.
    from rich.table import Table
    from rich.text import Text

    shown = [column for column in columns if not rows or column.key in rows[0]]
    if width is not None:
        shown = fitting(shown, [*rows, *([total] if total else [])], now, width)
    result = Table(box=None, pad_edge=False, header_style="bold", footer_style="bold", show_footer=total is not None)
    for column in shown:
        footer = column.cell(total.get(column.key), now) if total else ""
        justify: Literal["right", "left"] = "right" if column.right else "left"
        result.add_column(column.title, Text(footer), justify=justify, no_wrap=not column.overflow)
    for row in rows:
        style = row.get("style") or STYLES.get(str(row.get("state")), "")
        result.add_row(*(cell_text(column, column.cell(row[column.key], now), style) for column in shown))
    return result


def fitting(columns: Sequence[Column], rows: Sequence[Row], now: int, width: int) -> list[Column]:
    """Return the columns that fit into a width, with two spaces between them; one without a title only if it tells
    something."""
    from rich.cells import cell_len

    widths = {}
    for column in columns:
        widest = max([0, *(cell_len(column.cell(row.get(column.key), now)) for row in rows)])
        widths[column] = max(len(column.title), min(widest, width // 3) if column.overflow else widest)
    told = {column: any(row.get(column.key) for row in rows) for column in columns}
    shown = [column for column in columns if column.title or told[column]]
    while sum(widths[column] + 2 for column in shown) - 2 > width:
        droppable = [column for column in shown if column.rank]
        if not droppable:
            break
        shown.remove(max(droppable, key=lambda column: (not told[column] and column.rank > NEEDED, column.rank)))
    return shown


def cell_text(column: Column, content: str, style: str) -> "Text":
    """Return the content of a cell; as Text, because in a str Rich would look for markup."""
    from rich.text import Text

    return Text(content, style, overflow=column.overflow, no_wrap=column.overflow == "ellipsis")


def line(columns: Iterable[Column], row: Row, now: int) -> str:
    """Return a row as one line, its columns separated by tabs."""
    return "\t".join(column.cell(row[column.key], now) for column in columns) + "\n"


def job_text(job: Row, now: int) -> str:
    """Return all that is known of a job, in plain words, one fact a line."""
    facts = {label: fact(job, now) for label, fact in FACTS.items()}
    return "".join(f"{label:<12}{text}\n" for label, text in facts.items() if text)


def state_words(job: Row, now: int) -> str:
    """Return the state and why."""
    reason = REASONS.get(job["reason"], job["reason"])
    return f"{job['state']} ({escaped(reason)})" if reason else str(job["state"])


def moment_words(key: str) -> Callable[[Row, int], str]:
    """Return the function that words the moment under this key."""

    def words(job: Row, now: int) -> str:
        value = job[key]
        if value is None:
            return ""
        distance = age(value, now)
        return f"{iso(value)} ({distance if value > now else f'{distance} ago'})"

    return words


def attempts_words(job: Row, now: int) -> str:
    """Return how often the job was tried, and how often the server's own end cut it short."""
    interruptions = job["interruptions"]
    return f"{job['attempts']}" + (
        f", and {interruptions} interrupted by the server's own end" if interruptions else ""
    )


def took_words(job: Row, now: int) -> str:
    """Return how long the last attempt took."""
    both = job["started_at"] is not None and job["ended_at"] is not None
    return duration(job["ended_at"] - job["started_at"]) if both else ""


def error_words(job: Row, now: int) -> str:
    """Return the error text, its further lines below the first."""
    return f"\n{'':12}".join(map(escaped, (job["error"] or "").splitlines()))


def amount(number: int, word: str) -> str:
    """Return a number of things."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def size_words(size: int | None) -> str:
    """Return a number of bytes."""
    return "empty" if not size else "1 byte" if size == 1 else f"{size} bytes"


def workload_words(job: Row, now: int) -> str:
    """Return size and beginning of the workload."""
    return size_words(job["size"]) + (f": {escaped(job['preview'])}" if job["preview"] else "")


def result_words(job: Row, now: int) -> str:
    """Return the size of the result of a job that may have one."""
    return size_words(job["result_size"]) if job["result_size"] or job["state"] == "done" else ""


FACTS: dict[str, Callable[[Row, int], str]] = {
    "handle": lambda job, now: escaped(job["handle"]),
    "function": lambda job, now: escaped(job["function"]),
    "state": state_words,
    "priority": lambda job, now: f"{job['priority']}, {'background' if job['background'] else 'foreground'}",
    "unique": lambda job, now: escaped(job["unique"] or ""),
    "submitted": moment_words("created_at"),
    "due": lambda job, now: moment_words("run_at")(job, now) if job["state"] == "delayed" else "",
    "started": moment_words("started_at"),
    "ended": moment_words("ended_at"),
    "took": took_words,
    "attempts": attempts_words,
    "worker": lambda job, now: escaped(job["worker"] or ""),
    "progress": lambda job, now: f"{job['numerator']}/{job['denominator']}" if job["denominator"] else "",
    "error": error_words,
    "workload": workload_words,
    "result": result_words,
    "imported": lambda job, now: f"from {escaped(job['origin'])}" if job.get("origin") else "",
    "replay of": lambda job, now: escaped(job["replay_of"] or ""),
}
