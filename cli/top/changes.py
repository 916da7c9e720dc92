"""The keys of `gearstore top` that change things: each asks first, naming what and how many. No input, no output.

Each function returns the fields of the model that hold the question, or the message why there is none.
"""

import re
from collections.abc import Callable, Sequence

from ..client import Row
from .model import Change, Model, Page, Question

RETRIED = ("failed", "held", "cancelled")
CANCELLED = ("queued", "delayed", "held", "running")


def exactly(name: str) -> str:
    """Return the glob that matches this name only."""
    return re.sub(r"([*?[])", r"[\1]", name)


def retry(model: Model) -> Row:
    """Put back the job that is chosen, or all that wait for an operator of the function that is chosen."""
    row = model.row
    if row is None:
        return {}
    if model.page is not Page.FUNCTIONS:
        return one_job(row, "retry", "put back", RETRIED)
    states = {state: row.get(state, 0) for state in ("failed", "held")}
    return many_jobs(row["function"], "retry", "put back", states)


def cancel(model: Model) -> Row:
    """Cancel the job that is chosen, or all that wait of the function that is chosen."""
    row = model.row
    if row is None:
        return {}
    if model.page is not Page.FUNCTIONS:
        return one_job(row, "cancel", "cancelled", CANCELLED)
    states = {state: row.get(state, 0) for state in ("queued", "delayed")}
    return many_jobs(row["function"], "cancel", "cancelled", states)


def pause(model: Model) -> Row:
    """Pause the function that is meant, or resume it."""
    row = model.function_row()
    if row is None:
        return {}
    verb, done = ("resume", "is resumed") if row.get("paused_at") else ("pause", "is paused")
    text = f"{verb.title()} {row['function']} ({row['queued']} queued, {row['running']} running)?"
    request = {"function": exactly(row["function"])}
    return {"question": Question(text, Change(verb, request, f"{row['function']} {done}"))}


def one_job(row: Row, verb: str, done: str, states: Sequence[str]) -> Row:
    """Ask about one job."""
    if row["state"] not in states:
        hint = ": `gearstore replay` submits a copy" if verb == "retry" and row["state"] == "done" else ""
        return {"message": f"{row['handle']} is {row['state']}{hint}"}
    text = f"{verb.title()} 1 {row['state']} job, {row['handle']} of {row['function']}?"
    return {"question": Question(text, Change(verb, {"handles": [row["handle"]]}, done))}


def many_jobs(function: str, verb: str, done: str, states: dict[str, int]) -> Row:
    """Ask about the jobs of a function in some states."""
    counts = [f"{number} {state}" for state, number in states.items() if number]
    if not counts:
        return {"message": f"{function} has no {' or '.join(states)} jobs"}
    jobs = "job" if sum(states.values()) == 1 else "jobs"
    request = {"function": exactly(function), "state": list(states)}
    return {
        "question": Question(
            f"{verb.title()} {' and '.join(counts)} {jobs} of {function}?", Change(verb, request, done)
        )
    }


CHANGES: dict[str, Callable[[Model], Row]] = {"R": retry, "C": cancel, "P": pause}
