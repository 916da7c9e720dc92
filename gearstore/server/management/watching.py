"""The verb `tail`: each transition of a job as it happens, one a line, for as long as the reader stays."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING

from gearstore.queue.functions import Function
from gearstore.queue.job import ENDED, Job, JobState, Reason
from gearstore.queue.record import Record
from gearstore.server.connection import BUSY, WRITE, Connection
from gearstore.server.management.choosing import filter_of, pages
from gearstore.server.management.request import Object, Refusal, Verb, send, text

if TYPE_CHECKING:
    from gearstore.server.hub import Hub

UNSENT = 500  # lines of one reader that wait for the end of a turn, or behind a commit
MAX_HISTORY = 1000
ERROR_LENGTH = 200  # bytes of an error's first line
ATTEMPTS = (Reason.FAIL, Reason.EXCEPTION, Reason.TIMEOUT, Reason.LOST)  # reasons of attempts that ended


async def tail(conn: Connection, request: Object) -> None:
    """The last endings if asked for, then each transition as it happens, until the client closes."""
    count, follow = request.pop("history", 0), request.pop("follow", True)
    if not 0 <= count <= MAX_HISTORY:
        raise Refusal("usage", f"history is 0 to {MAX_HISTORY}")
    states = (await filter_of(conn, request)).states
    watch = Watch(conn, request.get("function", "*"), frozenset(JobState if states is None else states))
    if not follow:
        send(conn, *await history(conn, request, count))
        return
    enter(conn.hub, watch)
    try:
        watch.begin(await history(conn, request, count))
        await stay(conn, watch)
    finally:
        leave(conn.hub, watch)


async def stay(conn: Connection, watch: Watch) -> None:
    """Wait for the end of the connection, by which we are cancelled; meanwhile it is read from, to notice that end."""
    let_stop(conn)
    conn.resume(BUSY)
    conn.turn_over(True)
    while conn.transport is not None:
        await conn.caught_up()
        watch.tell_skipped()


def let_stop(conn: Connection) -> None:
    """Let the reader stop for as long as it likes (Ctrl-S, a pager): it costs no memory. Keepalive stays."""
    sock = conn.transport.get_extra_info("socket") if conn.transport is not None else None
    if sock is not None and sock.family != socket.AF_UNIX:
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)


def enter(hub: Hub, watch: Watch) -> None:
    """Let a reader see what happens. Without any the engine doesn't look up from its work."""
    hub.watches[watch] = None
    hub.engine.observer = partial(observe, hub)


def leave(hub: Hub, watch: Watch) -> None:
    """Forget a reader."""
    hub.watches.pop(watch, None)
    if not hub.watches:
        hub.engine.observer = None


def observe(hub: Hub, job: Job, word: bytes) -> None:
    """Tell all who watch of a transition."""
    watches = [watch for watch in hub.watches if watch.wants(job)]
    line = b"" if all(watch.behind for watch in watches) else encoded(transition(hub, job, word))
    for watch in watches:
        watch.send(line, job)


class Watch:
    """One reader of transitions. What it is too slow for is skipped and counted, so it costs little memory."""

    def __init__(self, conn: Connection, glob: str, states: frozenset[int]) -> None:
        self.conn = conn
        self.glob = glob
        self.states = states
        self.functions: dict[Function, bool] = {}  # whether the glob matches
        self.early: list[tuple[int, bytes]] | None = []  # ids and lines that came while the history was read
        self.skipped = 0

    def wants(self, job: Job) -> bool:
        """Whether the filter lets this job pass."""
        if job.state not in self.states:
            return False
        wanted = self.functions.get(job.function)
        if wanted is None:
            wanted = self.functions[job.function] = fnmatchcase(text(job.function.name), self.glob)
        return wanted

    @property
    def behind(self) -> bool:
        """Whether the reader has not read yet what it has got."""
        conn = self.conn
        waiting = conn.waiting if self.early is None else self.early
        return bool(conn.paused & WRITE) or len(waiting) > UNSENT

    def send(self, line: bytes, job: Job) -> None:
        """Send a line, unless the reader is behind."""
        if self.behind:
            self.skipped += 1
        elif self.early is not None:
            self.early.append((job.id if job.state in ENDED else 0, line))
        else:
            self.tell_skipped()
            self.conn.reply(line)
            if len(self.conn.out) > UNSENT:
                self.conn.flush()  # one turn may bring any number of them

    def begin(self, lines: list[Object]) -> None:
        """Send the history, then what has happened since it was asked for, each job's end once."""
        early, self.early = self.early or [], None
        seen = {id for id, _ in early}
        send(self.conn, *(line for line in lines if self.conn.engine.number(line["handle"].encode()) not in seen))
        self.conn.reply(b"".join([line for _, line in early]) + encoded({"following": True}))
        self.tell_skipped()

    def tell_skipped(self) -> None:
        """Tell a reader that has caught up how much it has missed."""
        if self.skipped and not self.behind:
            self.conn.reply(encoded({"skipped": self.skipped}))
            self.skipped = 0


def encoded(line: Object) -> bytes:
    """Return a line of an answer."""
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def transition(hub: Hub, job: Job, word: bytes) -> Object:
    """Return what has just happened to a job."""
    now = hub.engine.now
    worker = job.worker_id or (job.worker.connection.address if job.worker is not None else b"")
    return {
        "at": now,
        "event": text(word),
        "handle": text(job.handle),
        "function": text(job.function.name),
        "state": job.state.name.lower(),
        "attempts": job.attempts,
        "worker": text(worker) or None,
        "waited": now - job.waiting_since if word == b"assigned" else None,
        "took": now - job.started_at if attempt_ended(job, word) else None,
        "run_at": job.run_at if job.state is JobState.DELAYED else None,
        "reason": text(job.reason) or None,
        "error": first_line(job.error),
    }


def attempt_ended(job: Job, word: bytes) -> bool:
    """Whether this transition is the end of an attempt. (A job whose time has come had its attempt long before.)"""
    if word in (b"done", b"failed"):
        return job.started_at > 0
    again = word == b"delayed" or (word == b"queued" and job.run_at <= job.started_at)
    return again and job.reason in ATTEMPTS


def ending(hub: Hub, record: Record) -> Object:
    """Return how a stored job ended."""
    state = JobState(record.state)
    return {
        "at": record.ended_at,
        "event": state.name.lower(),
        "handle": text(hub.engine.handle(record.id)),
        "function": text(hub.function_of(record).name),
        "state": state.name.lower(),
        "attempts": record.attempts,
        "worker": text(record.worker) or None,
        "waited": None,
        "took": record.ended_at - record.started_at if record.attempts and state is not JobState.CANCELLED else None,
        "run_at": None,
        "reason": text(record.reason) or None,
        "error": first_line(record.error),
    }


def first_line(error: bytes) -> str | None:
    """Return the beginning of an error text."""
    return text(error.lstrip().split(b"\n", 1)[0][:ERROR_LENGTH]) or None


async def history(conn: Connection, request: Object, count: int) -> list[Object]:
    """Return the last endings, in order: those of the last thousand that the filter lets pass, then, as after a start
    there are none, those of the jobs submitted last."""
    if not count:
        return []
    await conn.hub.durable(patient=False)
    wanted = await filter_of(conn, request)
    wanted.states = [state for state in wanted.states or ENDED if state in ENDED]
    recent = list(conn.hub.journal.endings)
    ids = recent if request else recent[-count:]
    found: dict[int, Object] = {}
    for choice, limit in ((replace(wanted, ids=ids), None), (wanted, count)):
        async for page in pages(conn, choice, True, limit):
            found.update((record.id, ending(conn.hub, record)) for record in page)
        if len(found) >= count:
            break
    rank = {id: place for place, id in enumerate(recent)}  # of those within one millisecond
    order = sorted(found, key=lambda id: (found[id]["at"], rank.get(id, -1), id))
    return [found[id] for id in order[-count:]]


VERBS = {"tail": Verb(tail, {"function": (str,), "state": (list, str), "history": (int,), "follow": (bool,)})}
