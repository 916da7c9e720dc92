"""The commands of the text protocol, answered byte for byte as gearmand 1.1.20 does (its faults apart).

The faults that are not kept: `create function x` without CR loses a letter, `drop function` orphans queued jobs and
ignores case, more than five words close the connection, a cancelled job's late result is still forwarded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from operator import attrgetter

from gearstore import __version__
from gearstore.errors import QueueError
from gearstore.protocol import admin
from gearstore.protocol.parser import MANAGEMENT
from gearstore.queue import operators
from gearstore.queue.functions import Function
from gearstore.queue.job import DELAYED, HELD, LIVE, RUNNING, Job
from gearstore.server.connection import Connection, Later
from gearstore.server.management import manage

_NAME = attrgetter("name")

LONG_ANSWER = 16 << 10  # bytes; who asks for many such has to read them before there are more
GEARMAND_VERSION = "1.1.20"  # what we speak; monitors and mod_gearman parse it


def text_line(conn: Connection, args: list[bytes]) -> None:
    """Answer one line."""
    line = args[0]
    if line.startswith(MANAGEMENT) or line == MANAGEMENT.rstrip():
        raise Later(manage, conn, line)
    words = admin.words(line)
    command = COMMANDS.get(words[0].lower())
    if len(words) > admin.MAX_WORDS:
        conn.reply(admin.TOO_MANY_ARGUMENTS)
    elif command is None:
        conn.reply(admin.unknown_command(words[0]))
    elif not (conn.rights.manage or command not in CHANGING) or not (conn.rights.read or command is not show):
        conn.reply(admin.refused(b"NOT_ALLOWED", b"You may not do this here"))
    else:
        try:
            answer = command(conn, words)
        except QueueError as refusal:
            answer = admin.refused(refusal.code, refusal.text)
        conn.reply(answer)
        if len(answer) > LONG_ANSWER:
            raise Later(conn.drain)


def _functions(conn: Connection) -> Iterable[Function]:
    return sorted([function for function in conn.engine.functions.values() if function.listed], key=_NAME)


def status(conn: Connection, words: list[bytes]) -> bytes:
    """`status`: name, jobs waiting and running, running, workers."""
    return admin.status([(f.name, f.total, f.states[RUNNING], len(f.workers)) for f in _functions(conn)])


def prioritystatus(conn: Connection, words: list[bytes]) -> bytes:
    """`prioritystatus`: name, queued by priority (jobs for a later time are NORMAL), workers."""
    rows = []
    for function in _functions(conn):
        high, normal, low = function.queued
        normal += function.states[DELAYED]
        rows.append((admin.clean_name(function.name), high, normal, low, len(function.workers)))
    return admin.table(rows)


def workers(conn: Connection, words: list[bytes]) -> bytes:
    """`workers`: one line a connection, clients and this one included."""
    rows = [
        admin.worker_row(other.fd, other.address, other.peer.client_id, (f.name for f in other.peer.order))
        for other in conn.hub.connections
    ]
    return b"".join(rows) + b".\n"


def show(conn: Connection, words: list[bytes]) -> bytes:
    """`show jobs` and `show unique jobs`."""
    if len(words) == 1:
        return admin.unknown_command(b"show")
    what = b" ".join(words[1:]).lower()
    if what not in (b"jobs", b"unique jobs"):
        return admin.UNKNOWN_SHOW_ARGUMENTS
    if conn.hub.spilled():
        raise Later(_show_all, conn, what == b"jobs")
    jobs = [job for job in conn.engine.jobs.values() if job.state in LIVE]
    if what == b"jobs":
        return admin.table(map(_job_row, jobs))
    return admin.table([job.unique] for job in jobs)


def _job_row(job: Job) -> tuple[bytes, int, int, int]:
    ignored = not job.background and not job.listeners
    return job.handle, job.attempts, int(ignored), int(job.background)


async def _show_all(conn: Connection, with_handles: bool) -> None:
    """List also what is only on disk, page by page."""
    engine = conn.engine
    live = {job.id: job for job in engine.jobs.values() if job.state in LIVE}
    async for record in conn.hub.live_records():
        handle = engine.handle(record.id)
        live.pop(record.id, None)
        job = engine.jobs.get(handle)  # also one that was read back from disk a moment ago
        if job is None:
            row: tuple[bytes | int, ...] = (handle, record.attempts, 0, 1)
        elif job.state in LIVE:
            row = _job_row(job)
        else:
            continue
        conn.reply(admin.table([row if with_handles else (record.unique,)])[:-2])
        await conn.drain()
    rest = [job for job in live.values() if job.state in LIVE]
    conn.reply(admin.table(map(_job_row, rest) if with_handles else ([job.unique] for job in rest)))


def cancel(conn: Connection, words: list[bytes]) -> bytes:
    """`cancel job HANDLE`."""
    if len(words) == 1 or (len(words) == 2 and words[1].lower() == b"job"):
        return admin.unknown_command(b"cancel")
    if len(words) != 3 or words[1].lower() != b"job":
        return admin.UNKNOWN_ERROR
    handle = words[2]
    job = conn.engine.jobs.get(handle)
    if job is None and conn.hub.may_be_on_disk(handle):
        raise Later(_cancel_on_disk, conn, handle)
    return _cancel(conn, job)


def _cancel(conn: Connection, job: Job | None) -> bytes:
    if job is None or job.state not in (*LIVE, HELD) or (job.background and job.stored_state < 0):
        return admin.UNKNOWN_JOB
    operators.cancel(conn.engine, job)
    conn.reply_after(job.batch, admin.OK)  # after a crash it must not be back
    return b""


async def _cancel_on_disk(conn: Connection, handle: bytes) -> None:
    conn.reply(_cancel(conn, await conn.hub.job_of(handle)))


def create(conn: Connection, words: list[bytes]) -> bytes:
    """`create function NAME`."""
    if len(words) != 3 or words[1].lower() != b"function":
        return admin.incomplete(b"create")
    conn.engine.function(words[2])
    return admin.OK


def drop(conn: Connection, words: list[bytes]) -> bytes:
    """`drop function NAME`: refused while it has workers or jobs."""
    if len(words) != 3 or words[1].lower() != b"function":
        return admin.incomplete(b"drop")
    dropped = conn.engine.drop(words[2])
    return admin.FUNCTION_NOT_FOUND if dropped is None else admin.OK if dropped else admin.FUNCTION_IN_USE


def maxqueue(conn: Connection, words: list[bytes]) -> bytes:
    """`maxqueue NAME [n | high normal [low]]`: no number, zero or no number at all means no limit. It is stored."""
    if len(words) == 1:
        return admin.incomplete(b"maxqueue")
    function = conn.engine.functions.get(words[1])
    if function is not None:
        limits = [int(word) if word.isdigit() and len(word) < 10 else 0 for word in words[2:]]
        function.maximums = (limits * 3 if len(limits) == 1 else [*limits, 0, 0, 0])[:3]
        function.set_limits()
        conn.engine.journal.steer(function)
        conn.reply_after(conn.hub.journal.batch, admin.OK)
        return b""
    return admin.OK


def version(conn: Connection, words: list[bytes]) -> bytes:
    """`version`: the gearmand that we stand in for, and who we are behind a plus."""
    return admin.value(f"{GEARMAND_VERSION}+gearstore{__version__}")


def verbose(conn: Connection, words: list[bytes]) -> bytes:
    """`verbose`: the log level by gearmand's name."""
    return admin.value(conn.hub.level_name())


def getpid(conn: Connection, words: list[bytes]) -> bytes:
    """`getpid`."""
    return admin.value(str(os.getpid()))


COMMANDS: dict[bytes, Callable[[Connection, list[bytes]], bytes]] = {
    b"status": status,
    b"prioritystatus": prioritystatus,
    b"workers": workers,
    b"show": show,
    b"cancel": cancel,
    b"create": create,
    b"drop": drop,
    b"maxqueue": maxqueue,
    b"version": version,
    b"verbose": verbose,
    b"getpid": getpid,
}
CHANGING = (cancel, create, drop, maxqueue)
