"""The table of the commands that change jobs: which jobs they choose unless told otherwise, and their own options."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Optional

from .client import Row
from .errors import UsageError
from .filters import FILTERS, wire_text
from .options import option
from .times import parse_duration

# replay has another meaning for --unique.
FILTERS_OF_REPLAY = tuple("unique_is" if name == "unique" else name for name in FILTERS)


class UniquePolicy(StrEnum):
    """What becomes of the unique of a replayed job."""

    KEEP = "keep"
    DROP = "drop"


def delay_settings(own: Mapping[str, Any]) -> Row:
    """Return the settings of --delay."""
    text = own["delay"]
    milliseconds = None if text is None else round(parse_duration(text) * 1000)
    if milliseconds == 0:
        raise UsageError("--delay: no time at all; leave it out")
    return {"delay": milliseconds}


def replay_settings(own: Mapping[str, Any]) -> Row:
    """Return the settings of replay's own options."""
    name = own["as_function"]
    if name == "":
        raise UsageError("--as-function: name a function")
    return delay_settings(own) | {
        "as_function": wire_text(name),
        "unique_policy": own["unique"].value,
        "again": own["again"] or None,
    }


class Verb(NamedTuple):
    """What tells the commands apart. Filters choose among `states` unless told otherwise."""

    name: str
    done: str
    states: tuple[str, ...]
    help: str
    options: Mapping[str, Mapping[str, Any]] = {}  # name -> annotation and default, as inspect.Parameter takes them
    settings: Callable[[Mapping[str, Any]], Row] = lambda own: {}  # what the options mean to the server
    takes: Sequence[str] = FILTERS


DELAY = {
    "delay": {
        "annotation": Optional[str],
        "default": option(None, "--delay", metavar="DURATION", help="Have them wait so long first: 10m, 2h."),
    }
}
COPY = {
    "as_function": {
        "annotation": Optional[str],
        "default": option(None, "--as-function", metavar="NAME", help="Submit the copies to this function."),
    },
    "unique": {
        "annotation": UniquePolicy,
        "default": option(UniquePolicy.KEEP, "--unique", help="Give the copies the unique of the job, or none."),
    },
    "again": {
        "annotation": bool,
        "default": option(False, "--again", help="Also what has been replayed already."),
    },
}

VERBS = (
    Verb(
        "cancel", "cancelled", ("queued", "delayed", "held", "running"),
        """Cancel jobs that are queued, delayed, held or running.

        They stay in the history; replay submits them once more. A worker that runs a job is not disturbed, what it
        reports is ignored.

        Example: gearstore cancel --function 'mail*' --state queued --dry-run
        """,
    ),
    Verb(
        "retry", "put back into the queue", ("failed", "held"),
        """Put failed or held jobs back into their queue, with the same handle.

        What an operator has cancelled comes back only if its handle or --state cancelled names it. Interrupted, the
        same command goes on where it stopped.

        Example: gearstore retry --cause 7f3a1c --rate 50/s
        """,
        DELAY, delay_settings,
    ),
    Verb(
        "replay", "submitted again", ("done", "failed"),
        """Submit copies of jobs that are done or failed, in their old order; each copy has a handle of its own.

        What an operator has cancelled is copied only if its handle or --state cancelled names it. A job that has been
        replayed is not replayed again without --again, so that an interrupted command can be given once more.

        Example: gearstore replay --since 14:00 --until 14:30 --function 'import*'
        """,
        {**DELAY, **COPY}, replay_settings, FILTERS_OF_REPLAY,
    ),
    Verb(
        "hold", "held", ("queued", "delayed"),
        """Keep jobs that wait from workers, until they are released or cancelled.

        Example: gearstore hold --function 'mail*' --payload-match newsletter
        """,
    ),
    Verb(
        "release", "released", ("held",),
        """Put held jobs back into their queue.

        Example: gearstore release --function 'mail*'
        """,
        DELAY, delay_settings,
    ),
    Verb(
        "purge", "purged", ("done", "failed", "cancelled"),
        """Forget ended jobs for good. There is no way back: a backup first does no harm.

        Example: gearstore purge --state done --until 30d
        """,
    ),
)  # fmt: skip
