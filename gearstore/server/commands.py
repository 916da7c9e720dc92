"""One small function for each packet type: take the arguments, call one verb of the engine, make the reply.

No decision is made here; refusals come as QueueError and are answered by the connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from gearstore.errors import QueueError
from gearstore.protocol import packets as p
from gearstore.protocol.packets import HEADER, RES, response
from gearstore.queue.job import HIGH, LIVE, LOW, NORMAL, RUNNING, Job, Reason
from gearstore.queue.schedule import next_match
from gearstore.server.connection import Connection, Handler, Later
from gearstore.server.text import text_line

NOOP = response(p.NOOP)
NO_JOB = response(p.NO_JOB)

MAX_CLIENT_ID = 127
MAX_MILLISECONDS = 1 << 62
LAST_EPOCH = 253402300799  # the end of the year 9999 in seconds; what lies beyond was meant as milliseconds

RESULT_NOT_FOUND = b"Job given in work result not found"
DATA_NOT_FOUND = b"Job does not exist on server"
EXCEPTION_NOT_FOUND = b"An exception was received for a job that does not exist"

_INTEGER = re.compile(rb"[ \t]*([+-]?\d{1,20})")


def unexpected(conn: Connection, args: list[bytes]) -> None:
    """A type that only a server sends (or ALL_YOURS)."""
    raise QueueError(b"INVALID_COMMAND", b"Command not expected")


def wrong_magic(conn: Connection, args: list[bytes]) -> None:
    """A response where a request was expected."""
    raise QueueError(b"INVALID_MAGIC", b"Request magic expected")


def malformed(conn: Connection, args: list[bytes]) -> None:
    """Arguments are missing inside the declared size; only this packet is lost."""
    raise QueueError(b"INVALID_PACKET", b"%s has too few arguments" % args[0])


def echo_req(conn: Connection, args: list[bytes]) -> None:
    """ECHO_REQ."""
    conn.reply(response(p.ECHO_RES, args[0]))


def option_req(conn: Connection, args: list[bytes]) -> None:
    """OPTION_REQ: `exceptions` is the only option; it can't be taken back."""
    if args[0].split(b"\0", 1)[0].lower() != b"exceptions":
        raise QueueError(b"UNKNOWN_OPTION", b"Server does not recognize given option")
    conn.peer.exceptions = True
    conn.reply(response(p.OPTION_RES, args[0]))


# Clients


def submitter(priority: int, background: bool) -> Handler:
    """Return the command for one of SUBMIT_JOB, SUBMIT_JOB_HIGH, ... SUBMIT_JOB_LOW_BG."""

    def submit_job(conn: Connection, args: list[bytes]) -> None:
        function, unique, workload = args
        conn.created(conn.engine.submit(conn.peer, function, unique, workload, priority, background), background)

    return submit_job


def submit_job_epoch(conn: Connection, args: list[bytes]) -> None:
    """SUBMIT_JOB_EPOCH: a background job for a time in seconds since 1970; the past is now."""
    function, unique, epoch, workload = args
    seconds = int(epoch) if re.fullmatch(rb"[+-]?\d{1,18}", epoch) else 0 if not epoch else None
    if seconds is None or seconds > LAST_EPOCH:
        raise QueueError(b"INVALID_ARGUMENT", b"The time must be whole seconds since 1970, before the year 10000")
    conn.created(conn.engine.submit(conn.peer, function, unique, workload, NORMAL, True, seconds * 1000), True)


def submit_job_sched(conn: Connection, args: list[bytes]) -> None:
    """SUBMIT_JOB_SCHED: a background job for the next moment that matches, in the server's time zone."""
    function, unique, *fields, workload = args
    try:
        moment = next_match(fields, datetime.fromtimestamp(conn.engine.now / 1000))
    except ValueError as reason:
        raise QueueError(b"INVALID_ARGUMENT", str(reason).encode()) from None
    run_at = int(moment.timestamp() * 1000)
    conn.created(conn.engine.submit(conn.peer, function, unique, workload, NORMAL, True, run_at), True)


def reduce_submitter(background: bool) -> Handler:
    """Return the command for SUBMIT_REDUCE_JOB or SUBMIT_REDUCE_JOB_BACKGROUND."""

    def submit_reduce_job(conn: Connection, args: list[bytes]) -> None:
        function, unique, reducer, _, workload = args
        if len(reducer) > 64:
            raise QueueError(b"ARGUMENT_TOO_LARGE", b"Unique value too large")
        conn.created(
            conn.engine.submit(conn.peer, function, unique, workload, NORMAL, background, 0, reducer), background
        )

    return submit_reduce_job


def get_status(conn: Connection, args: list[bytes]) -> None:
    """GET_STATUS: what is known of a live job; ended ones are unknown, as in gearmand."""
    handle = args[0].removesuffix(b"\0")
    job = conn.engine.jobs.get(handle)
    if job is None and conn.hub.may_be_on_disk(handle):
        raise Later(_status_from_disk, conn, handle)
    conn.reply(response(p.STATUS_RES, handle, *_status(job)))


async def _status_from_disk(conn: Connection, handle: bytes) -> None:
    record = await conn.hub.record_of(handle)
    known = record is not None and record.state in LIVE
    conn.reply(response(p.STATUS_RES, handle, b"1" if known else b"0", b"0", b"0", b"0"))


def _status(job: Job | None) -> tuple[bytes, bytes, bytes, bytes]:
    if job is None or job.state not in LIVE:
        return b"0", b"0", b"0", b"0"
    return b"1", b"1" if job.state is RUNNING else b"0", job.numerator, job.denominator


def get_status_unique(conn: Connection, args: list[bytes]) -> None:
    """GET_STATUS_UNIQUE: of the live jobs with this unique the running one, else the oldest."""
    unique = args[0].removesuffix(b"\0")
    functions = conn.engine.functions.values()
    jobs = [function.uniques[unique] for function in functions if unique in function.uniques] if unique else []
    job = min(jobs, key=lambda job: (job.state is not RUNNING, job.id), default=None)
    if job is None and unique and conn.hub.spilled():
        raise Later(_unique_from_disk, conn, unique)
    clients = b"%d" % len(job.listeners) if job is not None else b"0"
    conn.reply(response(p.STATUS_RES_UNIQUE, unique, *_status(job), clients))


async def _unique_from_disk(conn: Connection, unique: bytes) -> None:
    known = await conn.hub.unique_on_disk(unique)
    conn.reply(response(p.STATUS_RES_UNIQUE, unique, b"1" if known else b"0", b"0", b"0", b"0", b"0"))


# Workers


def can_do(conn: Connection, args: list[bytes]) -> None:
    """CAN_DO."""
    _register(conn, args[0], 0)


def can_do_timeout(conn: Connection, args: list[bytes]) -> None:
    """CAN_DO_TIMEOUT."""
    _register(conn, args[0], milliseconds(args[1]))


def _register(conn: Connection, name: bytes, timeout: int) -> None:
    """At a limit there is no ERROR, for the reason that access.py tells: it would end the worker's other functions."""
    try:
        conn.engine.can_do(conn.peer, name, timeout)
    except QueueError as refusal:
        if not refusal.limit:
            raise
        conn.note(refusal)


def milliseconds(text: bytes) -> int:
    """Return the timeout that a worker announces; what is no number that makes sense is none."""
    found = _INTEGER.match(text)
    timeout = int(found[1]) if found and len(text) <= 20 else 0
    return timeout if timeout <= MAX_MILLISECONDS else 0


def cant_do(conn: Connection, args: list[bytes]) -> None:
    """CANT_DO."""
    function = conn.engine.functions.get(args[0])
    if function is not None:
        conn.engine.cant_do(conn.peer, function)


def reset_abilities(conn: Connection, args: list[bytes]) -> None:
    """RESET_ABILITIES."""
    for function in list(conn.peer.order):
        conn.engine.cant_do(conn.peer, function)


def set_client_id(conn: Connection, args: list[bytes]) -> None:
    """SET_CLIENT_ID: cut to 127 bytes and at a NUL, as in gearmand."""
    conn.peer.client_id = args[0].split(b"\0", 1)[0][:MAX_CLIENT_ID]


def pre_sleep(conn: Connection, args: list[bytes]) -> None:
    """PRE_SLEEP."""
    if not conn.engine.sleep(conn.peer):
        conn.reply(NOOP)


def grab_job(conn: Connection, args: list[bytes]) -> None:
    """GRAB_JOB."""
    job = conn.engine.grab(conn.peer)
    if job is None:
        conn.reply(NO_JOB)
        return
    body = b"\0".join((job.handle, job.function.name, job.workload))
    conn.reply(HEADER.pack(RES, p.JOB_ASSIGN, len(body)) + body)


def grab_job_uniq(conn: Connection, args: list[bytes]) -> None:
    """GRAB_JOB_UNIQ."""
    job = conn.engine.grab(conn.peer)
    conn.reply(NO_JOB if job is None else _assign_uniq(job))


def grab_job_all(conn: Connection, args: list[bytes]) -> None:
    """GRAB_JOB_ALL: reduce jobs come with their reducer, others as JOB_ASSIGN_UNIQ."""
    job = conn.engine.grab(conn.peer)
    if job is None:
        conn.reply(NO_JOB)
    elif job.reducer:
        conn.reply(response(p.JOB_ASSIGN_ALL, job.handle, job.function.name, job.unique, job.reducer, job.workload))
    else:
        conn.reply(_assign_uniq(job))


def _assign_uniq(job: Job) -> bytes:
    body = b"\0".join((job.handle, job.function.name, job.unique, job.workload))
    return HEADER.pack(RES, p.JOB_ASSIGN_UNIQ, len(body)) + body


def work_complete(conn: Connection, args: list[bytes]) -> None:
    """WORK_COMPLETE. A stored job's clients, and the worker's next answers, wait until the end is durable."""
    handle, data = args
    engine = conn.engine
    job = engine.held(conn.peer, handle, RESULT_NOT_FOUND)
    if job is None:
        return
    engine.complete(job, data)
    if job.listeners:
        packet = response(p.WORK_COMPLETE, handle, data)
        for peer in job.listeners:
            peer.connection.reply_after(job.batch, packet)
        engine.told(job)
    if job.background:
        conn.hold_back(job.batch)


def work_fail(conn: Connection, args: list[bytes]) -> None:
    """WORK_FAIL."""
    job = conn.engine.held(conn.peer, args[0].removesuffix(b"\0"), RESULT_NOT_FOUND)
    if job is not None:
        if conn.engine.fail(job, Reason.FAIL):
            tell_failure(job)
            conn.engine.told(job)
        conn.hold_back(job.batch)


def work_exception(conn: Connection, args: list[bytes]) -> None:
    """WORK_EXCEPTION. Clients that asked for exceptions get it, the others WORK_FAIL; none while the job is retried."""
    handle, data = args
    job = conn.engine.held(conn.peer, handle, EXCEPTION_NOT_FOUND)
    if job is not None:
        if conn.engine.fail(job, Reason.EXCEPTION, data):
            tell_failure(job, response(p.WORK_EXCEPTION, handle, data))
            conn.engine.told(job)
        conn.hold_back(job.batch)


def tell_failure(job: Job, exception: bytes | None = None) -> None:
    """Send WORK_FAIL to a job's clients, with the bare handle: libgearman waits for ever on one with a NUL."""
    fail = response(p.WORK_FAIL, job.handle)
    for peer in job.listeners:
        peer.connection.reply_after(job.batch, exception if exception is not None and peer.exceptions else fail)


def forwarder(kind: p.PacketType) -> Handler:
    """Return the command for WORK_DATA or WORK_WARNING: to all of the job's clients, nothing stored."""

    def forward(conn: Connection, args: list[bytes]) -> None:
        job = conn.engine.held(conn.peer, args[0], DATA_NOT_FOUND)
        if job is not None and job.listeners:
            packet = response(kind, *args)
            for peer in job.listeners:
                peer.connection.reply(packet)
            if conn.hub.buffers.choked and len(job.listeners) == 1:  # (one of several must not hold up the others)
                conn.hub.buffers.slow_down(conn, job.listeners[0].connection)

    return forward


def work_status(conn: Connection, args: list[bytes]) -> None:
    """WORK_STATUS: kept as numbers for GET_STATUS, forwarded as it came."""
    job = conn.engine.held(conn.peer, args[0], RESULT_NOT_FOUND)
    if job is None:
        return
    job.numerator, job.denominator = _unsigned(args[1]), _unsigned(args[2])
    for peer in job.listeners:
        peer.connection.reply(response(p.WORK_STATUS, *args))


def _unsigned(text: bytes) -> bytes:
    """Return a number as gearmand keeps it: leading digits, 32 bits, 0 for anything else."""
    found = _INTEGER.match(text)
    return b"%d" % (int(found[1]) & 0xFFFFFFFF) if found else b"0"


COMMANDS: dict[int, Callable[[Connection, list[bytes]], None]] = {
    p.TEXT: text_line,
    p.CAN_DO: can_do,
    p.CANT_DO: cant_do,
    p.RESET_ABILITIES: reset_abilities,
    p.PRE_SLEEP: pre_sleep,
    p.SUBMIT_JOB: submitter(NORMAL, False),
    p.GRAB_JOB: grab_job,
    p.WORK_STATUS: work_status,
    p.WORK_COMPLETE: work_complete,
    p.WORK_FAIL: work_fail,
    p.GET_STATUS: get_status,
    p.ECHO_REQ: echo_req,
    p.SUBMIT_JOB_BG: submitter(NORMAL, True),
    p.SUBMIT_JOB_HIGH: submitter(HIGH, False),
    p.SET_CLIENT_ID: set_client_id,
    p.CAN_DO_TIMEOUT: can_do_timeout,
    p.WORK_EXCEPTION: work_exception,
    p.OPTION_REQ: option_req,
    p.WORK_DATA: forwarder(p.WORK_DATA),
    p.WORK_WARNING: forwarder(p.WORK_WARNING),
    p.GRAB_JOB_UNIQ: grab_job_uniq,
    p.SUBMIT_JOB_HIGH_BG: submitter(HIGH, True),
    p.SUBMIT_JOB_LOW: submitter(LOW, False),
    p.SUBMIT_JOB_LOW_BG: submitter(LOW, True),
    p.SUBMIT_JOB_SCHED: submit_job_sched,
    p.SUBMIT_JOB_EPOCH: submit_job_epoch,
    p.SUBMIT_REDUCE_JOB: reduce_submitter(False),
    p.SUBMIT_REDUCE_JOB_BACKGROUND: reduce_submitter(True),
    p.GRAB_JOB_ALL: grab_job_all,
    p.GET_STATUS_UNIQUE: get_status_unique,
    p.WRONG_MAGIC: wrong_magic,
    p.MALFORMED: malformed,
}
HANDLERS: tuple[Handler, ...] = tuple(COMMANDS.get(kind, unexpected) for kind in range(p.KINDS))
