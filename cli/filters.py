"""The one set of options by which jobs are chosen: handles, or filters that must all hold."""

import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, List, Optional

from .client import Row, text_of
from .errors import UsageError
from .options import argument, option
from .times import milliseconds, parse_past

# A request line may be 65,536 bytes; this leaves room for the verb and its other keys.
LINE_LIMIT = 60_000


class State(StrEnum):
    """States of a job, as options spell them."""

    QUEUED = "queued"
    DELAYED = "delayed"
    RUNNING = "running"
    HELD = "held"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which jobs are meant. Without handles (None) the filters choose; an empty list of handles means no job at all."""

    handles: list[str] | None
    filters: Row
    limit: int | None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said about which jobs; a limit alone says nothing."""
        return self.handles is None and not self.filters

    def among(self, states: Sequence[str]) -> "Selection":
        """Return the selection with these states where neither handles nor states say which jobs are meant."""
        if self.handles is not None or "state" in self.filters:
            return self
        return Selection(None, {**self.filters, "state": list(states)}, self.limit)

    def requests(self, **more: Any) -> Iterator[Row]:
        """Yield the requests, each short enough for one line, that together ask for these jobs."""
        base = self.filters | more | ({} if self.limit is None else {"limit": self.limit})
        if self.handles is None:
            yield base
            return
        for part in split(self.handles, LINE_LIMIT - len(json.dumps(base))):
            yield base | {"handles": part}


def split(handles: Iterable[str], room: int) -> Iterator[list[str]]:
    """Yield the handles in lists that take at most `room` bytes of JSON each."""
    part: list[str] = []
    used = 0
    for handle in handles:
        size = len(json.dumps(handle)) + 1
        if part and used + size > room:
            yield part
            part, used = [], 0
        part.append(handle)
        used += size
    if part:
        yield part


def read_handles(arguments: Iterable[str]) -> list[str]:
    """Return the handles named; `-` stands for the first word of each line of standard input. Each comes once."""
    handles: dict[str, None] = {}
    for each in arguments:
        lines = sys.stdin.buffer if each == "-" else [os.fsencode(each)]
        handles.update((text_of(words[0]), None) for line in lines if (words := line.split()))
    return list(handles)


def wire_text(argument: Optional[str]) -> Optional[str]:
    """Return an argument as the server will see it: its bytes count, whatever this terminal's encoding."""
    return None if argument is None else text_of(os.fsencode(argument))


def moment(argument: Optional[str]) -> Optional[int]:
    """Return the moment of --since or --until in milliseconds."""
    return None if argument is None else milliseconds(parse_past(argument, datetime.now().astimezone()))


def select(
    handles: List[str] = argument(None, help="Jobs; - reads handles from input."),
    function: Optional[str] = option(None, "--function", "-f", metavar="GLOB", help="Function, with * ? [...]."),
    state: List[State] = option([], "--state", metavar="STATE", help=f"State: {', '.join(State)}; may be repeated."),
    since: Optional[str] = option(None, metavar="TIME", help="Submitted then or later: 2h, 14:00, date and time."),
    until: Optional[str] = option(None, metavar="TIME", help="Submitted before then."),
    error: Optional[str] = option(None, metavar="TEXT", help="Text contained in the error or the reason."),
    unique: Optional[str] = option(None, metavar="TEXT", help="The client's unique, exactly."),
    unique_is: Optional[str] = option(None, "--unique-is", metavar="TEXT", help="The client's unique, exactly."),
    payload_match: Optional[str] = option(None, metavar="TEXT", help="Text contained in the workload."),
    cause: List[str] = option([], "--cause", metavar="ID", help="Cause, as failures shows it; may be repeated."),
    limit: Optional[int] = option(None, min=1, metavar="N", help="At most so many jobs."),
) -> Selection:
    """Return the selection that these options describe."""
    if handles and limit is not None:
        raise UsageError("--limit goes with filters; handles are already a choice")
    texts = {
        "function": function,
        "error": error,
        "unique": unique_is if unique is None else unique,
        "payload_match": payload_match,
    }
    if "" in texts.values():
        raise UsageError("a filter is empty; leave it out, or say '*' if you mean all functions")
    filters: Row = {name: wire_text(value) for name, value in texts.items()}
    filters |= {"state": [each.value for each in state] or None, "since": moment(since), "until": moment(until)}
    filters["cause"] = cause or None
    now = milliseconds(datetime.now().astimezone())
    if filters["since"] is not None and filters["since"] >= (filters["until"] or now):
        raise UsageError("--since is not before --until, or lies ahead: no job can match")
    named = read_handles(handles) if handles else None
    return Selection(named, {name: value for name, value in filters.items() if value is not None}, limit)


FILTERS = tuple(name for name in inspect.signature(select).parameters if name != "unique_is")


def takes_selection(command: Callable[..., None], names: Sequence[str] = FILTERS) -> Callable[..., None]:
    """Give a command options of `select`; the command gets the Selection as its first argument in their place."""
    known = inspect.signature(select).parameters
    shared = {name: known[name] for name in names}
    without: dict[str, Any] = {name: [] if each.annotation == List[str] else None for name, each in known.items()}
    own = list(inspect.signature(command).parameters.values())[1:]

    def run(**options: Any) -> None:
        chosen = {name: options.pop(name) for name in shared}
        command(select(**{**without, **chosen}), **options)

    # Typer reads signature and annotations; both must tell the same.
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*shared.values(), *own)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
