"""The verbs that carry jobs from one queue to another: export, import."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from gearstore.errors import QueueError
from gearstore.queue.adopt import Foreign, adopt
from gearstore.queue.job import Job, JobState, Priority
from gearstore.queue.ports import Event
from gearstore.queue.record import Record
from gearstore.server.management.choosing import KEYS, describe, filter_of, pages
from gearstore.server.management.request import MAX_INTEGER, Object, Refusal, Verb, data, send, text
from gearstore.store.base import REPLAY, Filter

if TYPE_CHECKING:
    from gearstore.server.connection import Connection

MAX_JOBS = 1000  # of one import request


async def export(conn: Connection, request: Object) -> None:
    """Jobs that match a filter, with all that another queue has to know of them. Foreground jobs are not kept."""
    await conn.hub.durable(patient=False)
    wanted = await filter_of(conn, request)
    async for page in pages(conn, wanted, request.get("order") == "newest", request.get("limit")):
        events = await conn.hub.store.events([record.id for record in page])
        send(conn, *(whole(conn, record, events.get(record.id, [])) for record in page))
        await conn.drain()


def whole(conn: Connection, record: Record, events: list[Event]) -> Object:
    """Return everything about a job."""
    job = conn.engine.jobs.get(conn.engine.handle(record.id))
    found = describe(conn.hub, record, job)
    found["intact"] = record.intact
    found["reducer"] = text(record.reducer)
    found["workload"] = base64.b64encode(record.workload).decode()
    found["result"] = base64.b64encode(record.result).decode() if len(record.result) == record.result_size else None
    found["events"] = [
        {
            "at": event.at,
            "kind": text(event.kind),
            "started_at": event.started_at,
            "worker": text(event.worker),
            "error": text(event.detail),
            "next_at": event.next_at,
        }
        for event in events
        if event.kind != REPLAY  # it names a number of this server
    ]
    return found


async def import_(conn: Connection, request: Object) -> None:
    """Take in jobs of another queue, each once however often it is sent; answer when they are durable.

    What is too long for one line comes in pieces of its JSON text; `end` says that they are one job.
    """
    jobs = request.get("jobs", [])
    if "piece" in request:
        collect(conn, request["piece"])
        if not request.get("end"):
            return
        jobs = [joined(conn)]
    if len(jobs) > MAX_JOBS:
        raise Refusal("usage", f"more than {MAX_JOBS} jobs in one request")
    async with conn.hub.importing:  # two at once could both find that a job is not here yet
        await take_in(conn, jobs)


def collect(conn: Connection, piece: str) -> None:
    """Keep a piece of a job's JSON text; raise Refusal if it grows larger than any job may be."""
    pieces = conn.hub.pieces.setdefault(conn, [])
    pieces.append(piece)
    if sum(map(len, pieces)) > 2 * conn.hub.config.max_packet:
        del conn.hub.pieces[conn]
        raise Refusal("refused", f"the job is larger than --max-packet {conn.hub.config.max_packet}")


def joined(conn: Connection) -> Any:
    """Return the job whose pieces have come."""
    try:
        return json.loads("".join(conn.hub.pieces.pop(conn)))
    except (ValueError, RecursionError) as error:
        raise Refusal("usage", f"the pieces are not JSON: {error}") from None


async def take_in(conn: Connection, jobs: list[Any]) -> None:
    """Adopt what has not come before, and answer with one line a job, in their order."""
    arrivals = [Arrival.of(job) for job in jobs]
    before = await conn.hub.store.imported([arrival.key for arrival in arrivals])
    known: dict[int, Job | int] = {**before, **await residents(conn, arrivals)}
    conn.hub.set_time()
    lines: list[Object | tuple[str, Job]] = [arrive(conn, arrival, known) for arrival in arrivals]
    await conn.hub.durable()
    totals = dict.fromkeys(("imported", "joined", "known", "refused"), 0)
    for arrival, line in zip(arrivals, lines, strict=True):
        answer = line if isinstance(line, dict) else outcome(*line)
        totals[next(iter(answer))] += 1
        send(conn, {"origin": arrival.origin, **answer})
    send(conn, totals)


class Arrival(NamedTuple):
    """A job as it was sent: what it was called, what tells it from all others, and itself or why it is none."""

    origin: str
    key: int
    job: Foreign | str

    @staticmethod
    def of(job: Any) -> Arrival:
        """Return what was sent."""
        origin = job.get("handle") if isinstance(job, dict) else None
        origin = origin if isinstance(origin, str) else ""
        try:
            if not isinstance(job, dict):
                raise ValueError("it is not a JSON object")
            if job.get("intact") is False:
                raise ValueError("its bytes were altered on disk")
            foreign = Foreign(**{key: read(job, key) for key, read in FIELDS.items()})
            key = key_of(data(origin), foreign.function, foreign.unique, foreign.workload, b"%d" % foreign.created_at)
        except (ValueError, Refusal) as error:
            return Arrival(origin, 0, str(error))
        return Arrival(origin, key, foreign)


async def residents(conn: Connection, arrivals: list[Arrival]) -> dict[int, int]:
    """Return the numbers of those, by key, that were exported from here and are still here."""
    named = {conn.engine.number(data(arrival.origin)): arrival for arrival in arrivals if arrival.key}
    ids = [number for number in named if number is not None]
    found = {}
    for record in await conn.hub.store.find(Filter(ids=ids), False, None, len(ids)) if ids else ():
        job = named[record.id].job
        if isinstance(job, Foreign) and (job.unique, job.workload, job.created_at) == (
            record.unique, record.workload, record.created_at,
        ):  # fmt: skip
            found[named[record.id].key] = record.id
    return found


def arrive(conn: Connection, arrival: Arrival, known: dict[int, Job | int]) -> Object | tuple[str, Job]:
    """Adopt a job unless it is known; return the answer, or its word and the job once that is stored."""
    if isinstance(arrival.job, str):
        return {"refused": arrival.job}
    before = known.get(arrival.key)
    if isinstance(before, int):
        return {"known": text(conn.engine.handle(before))}
    if before is not None:
        return "known", before
    try:
        job, is_new = adopt(conn.engine, arrival.job)
    except QueueError as refusal:
        return {"refused": text(refusal.text)}
    journal = conn.hub.journal
    journal.imported(arrival.key, job, data(arrival.origin))
    if is_new and job.id not in journal.batch.look_ups:  # (else it may yet join another job)
        for event in arrival.job.events:
            journal.note(Event(job.id, *event))
    known[arrival.key] = job
    return "imported" if is_new else "joined", job


def outcome(word: str, job: Job) -> Object:
    """Return what became of a job, now that its batch is through."""
    if job.stored_state < 0:
        return {"refused": "the job could not be stored"}
    return {"joined" if job.dropped else word: text(job.handle)}


def key_of(*pieces: bytes) -> int:
    """Return a hash of what identifies a job at its source."""
    digest = blake2b(digest_size=8)
    for piece in pieces:
        digest.update(b"%d:" % len(piece) + piece)
    return int.from_bytes(digest.digest(), "big", signed=True)


Read = Callable[[Object, str], Any]


def octets(job: Object, key: str) -> bytes:
    """Return a text as bytes, none for null."""
    value = job.get(key) or ""
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a text")
    try:
        return data(value)
    except Refusal as refusal:
        raise ValueError(str(refusal)) from None


def name(job: Object, key: str) -> bytes:
    """Return a text that must be there."""
    if key not in job:
        raise ValueError(f"{key} is missing")
    return octets(job, key)


def number(job: Object, key: str) -> int:
    """Return a number that is not negative, 0 for null."""
    value = job.get(key) or 0
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise ValueError(f"{key} is not a number from 0 on")
    return value


def encoded(job: Object, key: str) -> bytes:
    """Return the bytes of a text in base64, none for null."""
    try:
        return base64.b64decode(octets(job, key), validate=True)
    except binascii.Error:
        raise ValueError(f"{key} is not base64") from None


def happened(job: Object, key: str) -> Any:
    """Return what happened to a job: tuples of the fields of `Event` behind the first."""
    events = job.get(key) or []
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        raise ValueError(f"{key} is not a list of objects")
    return tuple(tuple(read(event, name) for name, read in EVENT_FIELDS.items()) for event in events)


def word(words: type[JobState] | type[Priority], default: str) -> Read:
    """Return the function that reads one of some words."""

    def read(job: Object, key: str) -> Any:
        value = job.get(key) or default
        if not isinstance(value, str) or value.upper() not in words.__members__:
            raise ValueError(f"{key} is none of {', '.join(words.__members__).lower()}")
        return words[value.upper()]

    return read


FIELDS: dict[str, Read] = {
    "function": name,
    "unique": octets,
    "workload": encoded,
    "result": encoded,
    "priority": word(Priority, "normal"),
    "state": word(JobState, "queued"),
    **dict.fromkeys(("reducer", "worker", "client", "reason", "error"), octets),
    **dict.fromkeys(("run_at", "attempts", "interruptions", "created_at", "started_at", "ended_at"), number),
    "result_size": number,
    "events": happened,
}

EVENT_FIELDS: dict[str, Read] = {
    "at": number, "kind": name, "started_at": number, "worker": octets, "error": octets, "next_at": number,
}  # fmt: skip

VERBS = {
    "export": Verb(export, KEYS),
    "import": Verb(import_, {"jobs": (list,), "piece": (str,), "end": (bool,)}, changes=True),
}
