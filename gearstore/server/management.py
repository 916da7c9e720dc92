"""gearstore's own verbs on the Gearman port: `gearstore VERB {json}`, see docs/management.md.

Everything here may take its time: it awaits the store page by page and never holds up other connections.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from gearstore import __version__
from gearstore.errors import QueueError, StoreError
from gearstore.queue.job import ENDED, HELD, LIVE, Job, JobState, Priority, coalescing_key
from gearstore.queue.record import Record, load, replay, retry
from gearstore.store.base import Filter

if TYPE_CHECKING:
    from gearstore.queue.functions import Function
    from gearstore.server.connection import Connection
    from gearstore.server.hub import Hub

PAGE = 200  # jobs handled between two looks at other connections
LIST_LIMIT = 50
PREVIEW = 60  # bytes of a workload
MAX_INTEGER = (1 << 63) - 1  # that the store takes

CHOOSING = {"function", "state", "since", "until", "error", "unique", "payload_match", "handles"}
FILTER_KEYS = {*CHOOSING, "limit", "order"}
TYPES: dict[str, tuple[type, ...]] = {
    "function": (str,), "state": (list, str), "since": (int,), "until": (int,), "error": (str,), "unique": (str,),
    "payload_match": (str,), "handles": (list,), "limit": (int,), "order": (str,), "dry_run": (bool,),
    "workload": (bool,), "result": (bool,),
}  # fmt: skip

Object = dict[str, Any]


class Refusal(Exception):
    """An `ERR code text` line."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def text(data: bytes) -> str:
    """Return bytes as JSON carries them."""
    return data.decode("utf-8", "surrogateescape")


def data(value: str) -> bytes:
    """Return the bytes that JSON carried."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refusal("usage", f"{value!r} holds a surrogate that stands for no byte") from None


async def manage(conn: Connection, line: bytes) -> None:
    """Answer one line."""
    try:
        verb, request = parse(line)
        if verb in CHANGING and not conn.local:
            raise Refusal("refused", f"{verb} is taken from the Unix socket and from loopback only (manage_from)")
        await VERBS[verb](conn, request)
        conn.reply(b".\n")
    except Refusal as refusal:
        sentence = " ".join(str(refusal).split("\n"))  # it may quote a handle, and that may hold anything
        conn.reply(f"ERR {refusal.code} {sentence}\n".encode("utf-8", "surrogateescape"))
    except StoreError as error:
        conn.reply(f"ERR store {error}\n".encode())


def parse(line: bytes) -> tuple[str, Object]:
    """Return verb and request of a line; raise Refusal for anything that is not one."""
    _, _, rest = line.partition(b" ")
    word, _, body = rest.strip().partition(b" ")
    verb = text(word)
    if verb not in VERBS:
        raise Refusal("usage", f"unknown verb {verb!r}; there are {', '.join(VERBS)}")
    try:
        request = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refusal("usage", f"the request is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise Refusal("usage", "the request is not a JSON object")
    for key, value in request.items():
        if key not in KEYS[verb]:
            raise Refusal("usage", f"{verb} has no key {key!r}; there are {', '.join(sorted(KEYS[verb])) or 'none'}")
        if value is not None and type(value) not in TYPES[key]:
            raise Refusal("usage", f"{key} is {TYPES[key][0].__name__}, not {type(value).__name__}")
        if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise Refusal("usage", f"{key} has too many digits")
    return verb, {key: value for key, value in request.items() if value is not None}


def send(conn: Connection, *objects: Object) -> None:
    """Answer with one line an object."""
    conn.reply(b"".join([json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in objects]))


# Looking


async def hello(conn: Connection, request: Object) -> None:
    """Who is there."""
    hub = conn.hub
    send(
        conn,
        {
            "name": "gearstore",
            "version": __version__,
            "pid": os.getpid(),
            "database": hub.store.path,
            "started_at": hub.started_at,
            "draining": hub.engine.draining,
        },
    )


async def status(conn: Connection, request: Object) -> None:
    """Counts of each function."""
    names = request.get("function", "*")
    for function in sorted(conn.engine.functions.values(), key=lambda function: function.name):
        if not function.listed or not fnmatchcase(text(function.name), names):
            continue
        high, normal, low = function.queued
        states = {state.name.lower(): function.states[state] for state in JobState}
        queues = [*(window.jobs for window in function.windows), *function.volatile]
        heads = [next((job for job in jobs if job.place), None) for jobs in queues]  # withdrawn ones have no place
        send(
            conn,
            {
                "function": text(function.name),
                "high": high,
                "normal": normal,
                "low": low,
                **states,
                "workers": len(function.workers),
                "oldest_at": min((job.created_at for job in heads if job is not None), default=None),
            },
        )


async def workers(conn: Connection, request: Object) -> None:
    """Every connection."""
    for other in list(conn.hub.connections):
        peer = other.peer
        send(
            conn,
            {
                "fd": other.fd,
                "address": text(other.address),
                "client_id": text(peer.client_id),
                "functions": [text(function.name) for function in peer.order],
                "asleep": peer.asleep,
                "jobs": [
                    {"handle": text(job.handle), "function": text(job.function.name), "started_at": job.started_at}
                    for job in peer.jobs.values()
                ],
            },
        )


async def jobs(conn: Connection, request: Object) -> None:
    """Jobs that match a filter."""
    request.setdefault("limit", LIST_LIMIT)
    request.setdefault("order", "newest")
    async for page in matching(conn, request):
        send(conn, *page)
        await conn.drain()


async def show(conn: Connection, request: Object) -> None:
    """Everything about some jobs."""
    await conn.hub.durable(patient=False)
    for handle in strings(request.get("handles", [])):
        job = conn.engine.jobs.get(data(handle))
        record = await conn.hub.record_of(data(handle)) if job is None or job.background else None
        if record is None and job is None:
            raise Refusal("not_found", f"there is no job {handle}")
        found = describe(conn.hub, record, job)
        workload, result = (record.workload, record.result) if record else (job.workload, job.result)  # type: ignore[union-attr]
        if request.get("workload"):
            found["workload"] = base64.b64encode(workload).decode()
        if request.get("result"):
            kept = len(result) == found["result_size"]  # larger ones are not
            found["result"] = base64.b64encode(result).decode() if kept else None
        send(conn, found)
        await conn.drain()


def describe(hub: Hub, record: Record | None, job: Job | None) -> Object:
    """Return the fields of a job: of its row, with what memory knows better."""
    source: Any = record if record is not None else job
    function = job.function if job is not None else hub.function_of(source)
    live = job if job is not None else source
    replay_of = source.replay_of
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
        "reason": text(live.reason) or None,
        "error": text(live.error) or None,
        "size": len(source.workload),
        "preview": text(source.workload[:PREVIEW]),
        "result_size": live.result_size,
        "numerator": int(job.numerator) if job is not None else 0,
        "denominator": int(job.denominator) if job is not None else 0,
        "replay_of": text(hub.engine.handle(replay_of)) if replay_of else None,
    }


# Filters


def filter_of(conn: Connection, request: Object) -> Filter:
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
    if request.get("order", "oldest") not in ("newest", "oldest"):
        raise Refusal("usage", "order is newest or oldest")
    if request.get("limit", 1) < 1:
        raise Refusal("usage", "limit is 1 or more")
    return wanted


def strings(value: Any) -> list[str]:
    """Return a list of texts, also for a single one."""
    values = [value] if isinstance(value, str) else value
    if not all(isinstance(item, str) for item in values):
        raise Refusal("usage", "a list of texts is wanted")
    return list(values)


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
    wanted = filter_of(conn, request)
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
        and (wanted.unique is None or job.unique == wanted.unique)
        and (wanted.payload_match is None or wanted.payload_match in job.workload)
    )


# Changing


async def change(conn: Connection, request: Object, act: Callable[..., Coroutine[Any, Any, Object]]) -> None:
    """Do something to each job named or matched, in batches; every line is sent after its batch is durable."""
    if not CHOOSING & request.keys():
        raise Refusal("usage", "name handles or give a filter")
    dry_run, newest, limit = request.get("dry_run", False), request.get("order") == "newest", request.get("limit")
    totals = {"matched": 0, "changed": 0, "refused": 0}
    await conn.hub.durable(patient=False)
    wanted = filter_of(conn, request)
    known: set[bytes] = set()

    async def change_page(page: list[tuple[bytes, Record | None]]) -> None:
        lines = []
        for handle, record in page:
            known.add(handle)
            conn.hub.set_time()
            lines.append(await attempt(conn, handle, record, act, dry_run))
        await conn.hub.durable()
        for line in lines:
            totals["matched"] += 1
            totals["refused" if "refused" in line else "changed"] += 1
        send(conn, *lines)
        await conn.drain()

    foreground = volatile(conn, wanted, newest, limit)
    await change_page([(job.handle, None) for job in foreground])
    async for page in pages(conn, wanted, newest, None if limit is None else limit - len(foreground)):
        await change_page([(conn.engine.handle(record.id), record) for record in page])
    for name in strings(request.get("handles", [])):
        if data(name) not in known:
            raise Refusal("not_found", f"there is no job {name}")
    send(conn, totals)


async def attempt(
    conn: Connection,
    handle: bytes,
    record: Record | None,
    act: Callable[..., Coroutine[Any, Any, Object]],
    dry_run: bool,
) -> Object:
    """Return what was done to one job, or why not."""
    try:
        return {"handle": text(handle), **await act(conn, handle, record, dry_run)}
    except QueueError as refusal:
        return {"handle": text(handle), "refused": text(refusal.text)}


def newest_state(conn: Connection, handle: bytes, record: Record | None) -> tuple[Function, JobState]:
    """Return function and state of a job, of which memory knows more than its row; a foreground job has none."""
    job = conn.engine.jobs.get(handle)
    if job is not None:
        return job.function, JobState(job.state)
    if record is None:
        raise QueueError(b"REFUSED", b"it has just ended")
    return conn.hub.function_of(record), JobState(record.state)


async def cancel_one(conn: Connection, handle: bytes, record: Record | None, dry_run: bool) -> Object:
    """Cancel a live or held job."""
    function, state = newest_state(conn, handle, record)
    name = state.name.lower()
    if state not in (*LIVE, HELD):
        raise QueueError(b"REFUSED", b"it is %s already" % name.encode())
    if not dry_run:
        job = conn.engine.jobs.get(handle)
        if job is None:
            assert record is not None
            job = load(conn.engine, function, record)
        conn.engine.cancel(job)
    return {"function": text(function.name), "was": name, "state": "cancelled"}


async def retry_one(conn: Connection, handle: bytes, record: Record | None, dry_run: bool) -> Object:
    """Put an ended or held job back into its queue."""
    function, state = newest_state(conn, handle, record)
    if record is None or state.name not in ("FAILED", "CANCELLED", "HELD"):
        hint = ": use replay" if state.name == "DONE" else ""
        raise QueueError(b"REFUSED", f"it is {state.name.lower()}{hint}".encode())
    if not dry_run:
        await refuse_twin(conn, record)
        retry(conn.engine, function, record)
    return {"function": text(function.name), "was": state.name.lower(), "state": "queued"}


async def refuse_twin(conn: Connection, record: Record) -> None:
    """Refuse if a job on disk has the same unique; those in memory are the engine's to see."""
    key = coalescing_key(record.unique, record.workload)
    if key and conn.hub.spilled():
        other = await conn.hub.store.find_live(record.function_id, key)
        if other is not None and other.id != record.id:
            raise QueueError(b"REFUSED", b"its unique is queued again as %s" % conn.engine.handle(other.id))


async def replay_one(conn: Connection, handle: bytes, record: Record | None, dry_run: bool) -> Object:
    """Submit a copy of an ended job."""
    function, state = newest_state(conn, handle, record)
    name = state.name.lower()
    line: Object = {"function": text(function.name), "was": name, "state": name}
    if record is None or state not in ENDED:
        raise QueueError(b"REFUSED", b"it is %s" % name.encode())
    if dry_run:
        return line
    await refuse_twin(conn, record)
    copy = replay(conn.engine, function, record)
    return {**line, "replay": text(copy.handle)}


def changer(act: Callable[..., Coroutine[Any, Any, Object]]) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return the verb that does `act` to each job."""

    async def verb(conn: Connection, request: Object) -> None:
        await change(conn, request, act)

    return verb


CHANGING: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "cancel": changer(cancel_one),
    "retry": changer(retry_one),
    "replay": changer(replay_one),
}
VERBS: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "hello": hello,
    "status": status,
    "workers": workers,
    "jobs": jobs,
    "show": show,
    **CHANGING,
}
KEYS: dict[str, Iterable[str]] = {
    "hello": set(),
    "status": {"function"},
    "workers": set(),
    "jobs": FILTER_KEYS,
    "show": {"handles", "workload", "result"},
    **{verb: {*FILTER_KEYS, "dry_run"} for verb in CHANGING},
}
