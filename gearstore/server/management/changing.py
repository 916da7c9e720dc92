"""The verbs that change jobs, in batches that hold up nobody: cancel, retry, replay."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from gearstore.errors import QueueError
from gearstore.queue.job import ENDED, HELD, LIVE, JobState, coalescing_key
from gearstore.queue.record import Record, load, replay, retry
from gearstore.server.management.choosing import CHOOSING, KEYS, filter_of, pages, volatile
from gearstore.server.management.request import Object, Refusal, Verb, data, send, strings, text

if TYPE_CHECKING:
    from gearstore.queue.functions import Function
    from gearstore.server.connection import Connection


async def change(conn: Connection, request: Object, act: Callable[..., Coroutine[Any, Any, Object]]) -> None:
    """Do something to each job named or matched, in batches; every line is sent after its batch is durable."""
    if not CHOOSING.keys() & request.keys():
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


def changer(act: Callable[..., Coroutine[Any, Any, Object]]) -> Verb:
    """Return the verb that does `act` to each job."""

    async def verb(conn: Connection, request: Object) -> None:
        await change(conn, request, act)

    return Verb(verb, {**KEYS, "dry_run": (bool,)}, changes=True)


VERBS = {
    "cancel": changer(cancel_one),
    "retry": changer(retry_one),
    "replay": changer(replay_one),
}
