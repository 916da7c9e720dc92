"""What happened to a job, one line an event, in plain words. No input, no output."""

from collections.abc import Iterator

from .client import Row
from .render import REASONS, duration, escaped, iso, job_text

OPERATOR = {
    "retry": "put back by an operator",
    "release": "released by an operator",
    "hold": "held by an operator",
    "cancel": "cancelled by an operator",
}

LONGEST = 200  # characters of an error in one line

Moment = tuple[int, str]


def story(job: Row, now: int) -> str:
    """Return all that is known of a job, in plain words, and what happened to it."""
    return f"{job_text(job, now)}history\n" + "".join(f"  {each}\n" for each in timeline(job))


def timeline(job: Row) -> list[str]:
    """Return the lines of a job's history, as `show` tells it, oldest first."""
    moments = [(job["created_at"], submitted(job)), *last_attempt(job, job["events"])]
    for event in job["events"]:
        moments += event_moments(event)
    return [f"{iso(at)}  {text}" for at, text in sorted(moments, key=lambda moment: moment[0])]


def submitted(job: Row) -> str:
    """Return how it began."""
    client = f" by {escaped(job['client'])}" if job["client"] else ""
    copy = f", a copy of {escaped(job['replay_of'])}" if job["replay_of"] else ""
    return f"submitted{client}{copy}"


def event_moments(event: Row) -> Iterator[Moment]:
    """Yield what one event tells."""
    kind = event["kind"]
    later = f"; waits until {iso(event['next_at'])}" if event["next_at"] else ""
    if kind == "replay":
        yield event["at"], f"submitted again by an operator as {escaped(event['replay'])}"
    elif kind in OPERATOR:
        yield event["at"], OPERATOR[kind] + later
    else:
        if event["started_at"]:
            yield event["started_at"], f"assigned to {worker(event)}"
        yield event["at"], ended(event) + later


def ended(event: Row) -> str:
    """Return how an attempt ended other than well."""
    took = f" after {duration(event['at'] - event['started_at'])}" if event["started_at"] else ""
    return REASONS.get(event["kind"], escaped(event["kind"])) + took + summary(event["error"] or "")


def summary(error: str) -> str:
    """Return the first line of an error, cut where it gets long: `show` tells all of it above."""
    line = error.lstrip()[: LONGEST + 1].split("\n", 1)[0].rstrip()
    return f": {escaped(line[:LONGEST])}{'...' if len(line) > LONGEST else ''}" if line else ""


def last_attempt(job: Row, events: list[Row]) -> Iterator[Moment]:
    """Yield what the job's own row tells: the attempt that is no event."""
    if job["started_at"] and job["started_at"] not in {event["started_at"] for event in events}:
        yield job["started_at"], f"assigned to {worker(job)}"
    if job["state"] == "done":
        yield job["ended_at"], f"done after {duration(job['ended_at'] - job['started_at'])}"


def worker(source: Row) -> str:
    """Return who had the job; many workers give no name."""
    return escaped(source["worker"]) if source["worker"] else "a worker without a name"
