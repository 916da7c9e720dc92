"""`gearstore submit`: hand a job to the server; print its handle, or wait for its result."""

import math
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Optional

from gearstore.client.core import Priority, refusal, submit_request
from gearstore.protocol.packets import (
    ERROR,
    JOB_CREATED,
    OPTION_REQ,
    WORK_COMPLETE,
    WORK_DATA,
    WORK_EXCEPTION,
    WORK_FAIL,
    WORK_STATUS,
    WORK_WARNING,
    request,
)

from . import output
from .client import Connection, text_of
from .errors import JobFailed, Refused, UsageError
from .options import SERVER, argument, option
from .times import parse_duration, parse_future

# How much is sent before the answers are read: answers that nobody reads would make the server stop reading.
PIPELINE_JOBS = 500
PIPELINE_BYTES = 1 << 20


def submit(
    function: str = argument(..., help="The function that workers have registered."),
    workload: Optional[str] = argument(None, help="The workload; - reads it from input."),
    file: Optional[Path] = option(None, "--file", metavar="FILE", help="Read the workload from a file."),
    unique: str = option("", "--unique", "-u", help="Equal uniques of a function become one job."),
    priority: Priority = option(Priority.NORMAL, "--priority", "-p", envvar="GEARSTORE_PRIORITY", help="Priority."),
    delay: Optional[str] = option(None, "--in", metavar="DURATION", help="Run it later: 90s, 10m, 1h30m, 2d."),
    at: Optional[str] = option(None, "--at", metavar="TIME", help="Run it then: 14:00, '2026-12-01 08:00', ISO."),
    wait: bool = option(False, "--wait", help="Wait for the result and print it; the job is not stored."),
    count: int = option(1, "--count", "-n", min=1, metavar="N", help="Submit so many copies."),
    server: str = SERVER,
) -> None:
    """Submit a background job and print its handle, which means that the job is on disk.

    With --wait the job runs in the foreground: its result goes to standard output, progress and warnings go to standard
    error, and the exit code is 0 if it completed and 1 if it failed.

    Example: gearstore submit fonctionJob 'params'
    """
    starts_at = start_time(delay, at)
    if wait and (starts_at is not None or count > 1):
        raise UsageError("--wait is for one job that runs now; leave out --in, --at and --count")
    if starts_at is not None and priority is not Priority.NORMAL:
        raise UsageError("Gearman knows no priority for jobs that run later; leave out --priority")
    names = os.fsencode(function), read_workload(workload, file), os.fsencode(unique)
    try:
        packet = submit_request(*names, priority, background=not wait, at=starts_at)
    except ValueError as error:
        raise UsageError(str(error)) from None
    with Connection(server) as connection:
        if wait:
            run_in_foreground(connection, packet)
        else:
            submit_copies(connection, packet, count)


def start_time(delay: Optional[str], at: Optional[str]) -> int | None:
    """Return the second at which the job may start, None for at once."""
    if delay is not None and at is not None:
        raise UsageError("--in and --at exclude each other")
    now = datetime.now().astimezone()
    if delay is not None:
        return math.ceil((now + timedelta(seconds=parse_duration(delay))).timestamp())
    return None if at is None else math.ceil(parse_future(at, now).timestamp())


def read_workload(workload: Optional[str], file: Optional[Path]) -> bytes:
    """Return the workload's bytes; without any it is empty."""
    if workload is not None and file is not None:
        raise UsageError("the workload comes from an argument or from --file, not from both")
    if "-" in (workload, str(file)):
        return sys.stdin.buffer.read()
    if file is None:
        return os.fsencode(workload or "")
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"--file: {file}: {error.strerror}") from None


def submit_copies(connection: Connection, packet: bytes, count: int) -> None:
    """Submit copies of a job, many on the way at a time, and print the handle of each."""
    at_once = max(1, min(PIPELINE_JOBS, PIPELINE_BYTES // len(packet)))
    refused: Refused | None = None
    while count:
        size = min(at_once, count)
        connection.send(packet * size)
        for _ in range(size):
            try:
                output.write(read_handle(connection) + b"\n")
            except Refused as error:
                refused = error  # those behind it may be taken, and their handles are wanted
        count -= size
        if refused:
            raise refused


def read_handle(connection: Connection) -> bytes:
    """Return the handle that answers a submit."""
    kind, arguments = connection.receive()
    while kind not in (JOB_CREATED, ERROR):  # that of OPTION_REQ
        kind, arguments = connection.receive()
    if kind == ERROR:
        raise refusal(arguments)
    return arguments[0]


def run_in_foreground(connection: Connection, packet: bytes) -> None:
    """Submit a job and print what its worker reports, up to its end; raise JobFailed if it failed."""
    connection.send(request(OPTION_REQ, b"exceptions") + packet)
    read_handle(connection)
    kind = 0
    while kind != WORK_COMPLETE:
        kind, arguments = connection.receive()
        if kind in (WORK_DATA, WORK_COMPLETE):
            output.write(arguments[1])
        elif kind == WORK_STATUS:
            output.say("/".join(map(text_of, arguments[1:])))
        elif kind in (WORK_WARNING, WORK_EXCEPTION):
            output.relay(text_of(arguments[1]))
        if kind in (WORK_FAIL, WORK_EXCEPTION):
            raise JobFailed
