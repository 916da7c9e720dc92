"""The verbs that only look: hello, config, workers, jobs, failures, show."""

from __future__ import annotations

import base64
import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gearstore import __version__
from gearstore.server.management.choosing import KEYS, cause_id, describe, matching
from gearstore.server.management.request import Object, Refusal, Verb, data, send, strings, text
from gearstore.settings import options_of, policy_of, rights_of
from gearstore.store.base import REPLAY

if TYPE_CHECKING:
    from gearstore.queue.record import Record
    from gearstore.server.connection import Connection

LIST_LIMIT = 50


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
            "paused_at": hub.engine.paused_at or None,
            "paused_until": hub.engine.paused_until or None,
        },
    )


async def config(conn: Connection, request: Object) -> None:
    """What the server is configured to do, or the policy of a function, or the rights of a certificate."""
    used = conn.hub.config
    if "certificate" in request:
        settings = rights_of(used, request["certificate"])
        if not settings:
            raise Refusal("not_found", f"nothing is granted to {request['certificate']}: it is turned away")
    else:
        settings = policy_of(used, data(request["function"])) if "function" in request else options_of(used)
    send(conn, *(setting._asdict() for setting in settings))


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
                "connected_at": other.connected_at,
                "functions": [text(function.name) for function in peer.order],
                "timeouts": {text(function.name): limit for function, limit in peer.abilities.items() if limit},
                "denied": [text(name) for name in other.denied or ()],
                "certificate": list(other.names) if other.names else None,
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
        found["origin"] = text(await conn.hub.store.origin(record.id)) or None if record else None
        workload, result = (record.workload, record.result) if record else (job.workload, job.result)  # type: ignore[union-attr]
        if request.get("workload"):
            found["workload"] = base64.b64encode(workload).decode()
        if request.get("result"):
            kept = len(result) == found["result_size"]  # larger ones are not
            found["result"] = base64.b64encode(result).decode() if kept else None
        found["events"] = await events_of(conn, record) if record else []
        send(conn, found)
        await conn.drain()


async def events_of(conn: Connection, record: Record) -> list[Object]:
    """Return what happened to a job, in order."""
    events = (await conn.hub.store.events([record.id])).get(record.id, [])
    return [
        {
            "at": event.at,
            "kind": text(event.kind),
            "started_at": event.started_at or None,
            "worker": text(event.worker) or None,
            "error": text(event.detail) or None if event.kind != REPLAY else None,
            "replay": text(conn.engine.handle(int(event.detail))) if event.kind == REPLAY else None,
            "next_at": event.next_at or None,
        }
        for event in events
    ]


async def failures(conn: Connection, request: Object) -> None:
    """Failed jobs by their cause, the most frequent first."""
    await conn.hub.durable(patient=False)
    functions = {function.id: text(function.name) for function in conn.engine.functions.values()}
    chosen = [id for id, name in functions.items() if fnmatchcase(name, request.get("function", "*"))]
    causes: dict[int, Object] = {}
    for failure in await conn.hub.store.failures(chosen):
        cause = causes.setdefault(
            failure.cause,
            {
                "cause": cause_id(failure.cause) or None,
                "reason": text(failure.reason) or None,
                "text": text(failure.text),
                "jobs": 0,
                "functions": {},
                "first_at": failure.first_at,
                "last_at": failure.last_at,
            },
        )
        cause["jobs"] += failure.jobs
        cause["functions"][functions[failure.function_id]] = failure.jobs
        cause["first_at"] = min(cause["first_at"], failure.first_at)
        cause["last_at"] = max(cause["last_at"], failure.last_at)
    send(conn, *sorted(causes.values(), key=lambda cause: (-cause["jobs"], cause["last_at"])))


VERBS = {
    "hello": Verb(hello),
    "config": Verb(config, {"function": (str,), "certificate": (str,)}),
    "workers": Verb(workers),
    "jobs": Verb(jobs, KEYS),
    "failures": Verb(failures, {"function": (str,)}),
    "show": Verb(show, {"handles": (list,), "workload": (bool,), "result": (bool,)}),
}
