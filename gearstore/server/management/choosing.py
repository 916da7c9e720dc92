"""Which jobs a request means: the filter of `jobs` and of all verbs that change jobs, and the jobs page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from fnmatch import fnmatchcase
from string import hexdigits
from typing import TYPE_CHECKING

from gearstore.queue.causes import DIGITS
from gearstore.queue.job import LIVE, Job, JobState, Priority
from gearstore.queue.record import Record
from gearstore.server.management.request import Object, Refusal, data, strings, text
from gearstore.store.base import Filter

if TYPE_CHECKING:
    from typing import Any

    from gearstore.server.connection import Connection
    from gearstore.server.hub import Hub

PAGE = 200  # jobs handled between two looks at other connections
PREVIEW = 60  # bytes of a workload
SHOWN_DIGITS = 6  # of a cause's id: 50,000 causes are told apart nearly always

CHOOSING: dict[str, tuple[type, ...]] = {
    "function": (str,), "state": (list, str), "since": (int,), "until": (int,), "error": (str,), "unique": (str,),
    "payload_match": (str,), "cause": (list, str), "handles": (list,),
}  # fmt: skip
KEYS: dict[str, tuple[type, ...]] = {**CHOOSING, "limit": (int,), "order": (str,)}


async def filter_of(conn: Connection, request: Object) -> Filter:
    """Return the filter of a request; raise Refusal for values that make no sense."""
    wanted = Filter(since=request.get("since"), until=request.get("until"), below=conn.engine.next_id)
    for key in ("error", "unique", "payload_match"):
        if key in request:
            setattr(wanted, key, data(request[key]))
    if "function" in request:
        functions = conn.engine.functions.values()
        wanted.function_ids = [f.id for f in functions if fnmatchcase(text(f.name), request["function"])]
    if "state" in request:
        wanted.states = [state_of(name) for name in strings(request["state"])]
    if "handles" in request:
        numbers = [conn.engine.number(data(handle)) for handle in strings(request["handles"])]
        wanted.ids = [number for number in numbers if number is not None]
    if "cause" in request:
        wanted.causes = [await cause_of(conn, text) for text in strings(request["cause"])]
    if request.get("order", "oldest") not in ("newest", "oldest"):
        raise Refusal("usage", "order is newest or oldest")
    if request.get("limit", 1) < 1:
        raise Refusal("usage", "limit is 1 or more")
    return wanted


async def cause_of(conn: Connection, digits: str) -> int:
    """Return the cause whose id begins with these digits."""
    if not 3 <= len(digits) <= DIGITS or not set(digits) <= set(hexdigits):
        raise Refusal("usage", f"{digits!r} is not the id of a cause: that is 3 to {DIGITS} hexadecimal digits")
    low, high = (int(digits.ljust(DIGITS, fill), 16) for fill in "0f")
    found = await conn.hub.store.causes(low, high)
    if len(found) != 1:
        how = "several causes begin" if found else "no cause begins"
        raise Refusal("not_found", f"{how} with {digits}: `failures` lists them")
    return found[0]


def cause_id(cause: int) -> str:
    """Return a cause as people type it; 0 (none) is an empty text."""
    return f"{cause:0{DIGITS}x}"[:SHOWN_DIGITS] if cause else ""


def state_of(name: str) -> JobState:
    """Return a state by its name."""
    try:
        return JobState[name.upper()]
    except KeyError:
        names = ", ".join(state.name.lower() for state in JobState)
        raise Refusal("usage", f"there is no state {name!r}; there are {names}") from None


async def pages(conn: Connection, wanted: Filter, newest: bool, limit: int | None) -> AsyncIterator[list[Record]]:
    """Yield matching rows page by page, a consistent order over all of them."""
    last: int | None = None
    left = limit if limit is not None else 1 << 62
    while left > 0:
        page = await conn.hub.store.find(wanted, newest, last, min(PAGE, left))
        if not page:
            return
        last = page[-1].id
        left -= len(page)
        yield page
        await asyncio.sleep(0)


async def matching(conn: Connection, request: Object) -> AsyncIterator[list[Object]]:
    """Yield descriptions of matching jobs. Foreground jobs, which have no row, come first."""
    await conn.hub.durable(patient=False)
    wanted = await filter_of(conn, request)
    newest = request["order"] == "newest"
    limit = request["limit"]
    foreground = volatile(conn, wanted, newest, limit)
    if foreground:
        yield [describe(conn.hub, None, job) for job in foreground]
    async for page in pages(conn, wanted, newest, limit - len(foreground)):
        yield [describe(conn.hub, record, conn.engine.jobs.get(conn.engine.handle(record.id))) for record in page]


def volatile(conn: Connection, wanted: Filter, newest: bool, limit: int | None) -> list[Job]:
    """Return the foreground jobs that match."""
    jobs = [job for job in conn.engine.jobs.values() if not job.background and job.state in LIVE and fits(job, wanted)]
    return sorted(jobs, key=lambda job: job.id, reverse=newest)[:limit]


def fits(job: Job, wanted: Filter) -> bool:
    """Whether a foreground job matches."""
    return (
        (wanted.ids is None or job.id in wanted.ids)
        and (wanted.function_ids is None or job.function.id in wanted.function_ids)
        and (wanted.states is None or job.state in wanted.states)
        and (wanted.since is None or job.created_at >= wanted.since)
        and (wanted.until is None or job.created_at < wanted.until)
        and wanted.error is None
        and wanted.causes is None
        and (wanted.unique is None or job.unique == wanted.unique)
        and (wanted.payload_match is None or wanted.payload_match in job.workload)
    )


def describe(hub: Hub, record: Record | None, job: Job | None) -> Object:
    """Return the fields of a job: of its row, with what memory knows better."""
    source: Any = record if record is not None else job
    function = job.function if job is not None else hub.function_of(source)
    live = job if job is not None else source
    return {
        "handle": text(hub.engine.handle(source.id)),
        "function": text(function.name),
        "unique": text(source.unique),
        "state": JobState(live.state).name.lower(),
        "priority": Priority(source.priority).name.lower(),
        "background": record is not None or live.background,
        "attempts": live.attempts,
        "interruptions": live.interruptions,
        "created_at": source.created_at,
        "run_at": live.run_at or None,
        "started_at": live.started_at or None,
        "ended_at": live.ended_at or None,
        "worker": text(job.worker_id if job is not None else source.worker) or None,
        "client": text(source.client) or None,
        "reason": text(live.reason) or None,
        "error": text(live.error) or None,
        "size": len(source.workload),
        "preview": text(source.workload[:PREVIEW]),
        "result_size": live.result_size,
        "numerator": int(job.numerator) if job is not None else 0,
        "denominator": int(job.denominator) if job is not None else 0,
        "cause": cause_id(source.cause) or None,
        "replay_of": text(hub.engine.handle(source.replay_of)) if source.replay_of else None,
        "replayed_as": text(hub.engine.handle(record.replayed_as)) if record and record.replayed_as else None,
    }
