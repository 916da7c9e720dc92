"""What a client says and what an answer belongs to, as pure values: no socket, no loop, no clock.

The asyncio connection, the blocking one and the worker are IO around this.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from gearstore.client.errors import ClientError, NotGearstore, Refused, Unreachable
from gearstore.errors import ProtocolError
from gearstore.protocol import packets as p
from gearstore.protocol.packets import request

Name = str | bytes
Row = dict[str, Any]


class Priority(StrEnum):
    """In which order a function's jobs run."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


FOREGROUND = {
    Priority.HIGH: p.SUBMIT_JOB_HIGH,
    Priority.NORMAL: p.SUBMIT_JOB,
    Priority.LOW: p.SUBMIT_JOB_LOW,
}
BACKGROUND = {
    Priority.HIGH: p.SUBMIT_JOB_HIGH_BG,
    Priority.NORMAL: p.SUBMIT_JOB_BG,
    Priority.LOW: p.SUBMIT_JOB_LOW_BG,
}
SCHEDULE_FIELDS = 5
TLS_REQUIRED = b"TLS_REQUIRED"  # gearstore's code for who speaks plain text to an address that speaks TLS
LONGEST_HANDLE = 63  # gearmand never answers a question about a longer one


class Handle(str):
    """The server's name for a job, as text, with the address of the server that gave it (empty if not known)."""

    server: str

    def __new__(cls, text: str, server: str = "") -> Handle:
        handle = super().__new__(cls, text)
        handle.server = server
        return handle


class JobStatus(NamedTuple):
    """What a server knows of a job: nothing, queued, or running with the progress that its worker reports."""

    known: bool
    running: bool
    numerator: int
    denominator: int
    clients: int | None = None  # how many wait for it; told when asked by unique only


UNKNOWN = JobStatus(False, False, 0, 0)


def to_bytes(name: Name) -> bytes:
    """Return a name as it goes over the wire; text becomes UTF-8, surrogates the bytes they came from."""
    return name.encode("utf-8", "surrogateescape") if isinstance(name, str) else bytes(name)


def to_text(data: bytes) -> str:
    """Return bytes of the wire as text, so that they can be turned back into the same bytes."""
    return data.decode("utf-8", "surrogateescape")


def argument(name: Name, what: str) -> bytes:
    """Return a name that stands before others in a packet; raise ValueError if it would cut the packet elsewhere."""
    data = to_bytes(name)
    if b"\0" in data:
        raise ValueError(f"{what} can't hold a NUL byte")
    return data


def number(text: bytes) -> int:
    """Return a number that a worker reported, 0 for anything else: servers pass on what they get."""
    return int(text) if text.isdigit() else 0


# Requests


def submit_request(
    function: Name,
    workload: Name,
    unique: Name = b"",
    priority: Priority | str = Priority.NORMAL,
    background: bool = False,
    reducer: Name | None = None,
    at: int | None = None,
    schedule: str | None = None,
) -> bytes:
    """Return the packet that submits a job; `at` is in seconds since 1970. Raise ValueError for what can't be said."""
    wanted = Priority(priority)
    names = [argument(function, "a function's name"), argument(unique, "a unique")]
    data = to_bytes(workload)
    given = [reducer is not None, at is not None, schedule is not None]
    if sum(given) > 1:
        raise ValueError("reducer, time and schedule exclude each other")
    if any(given) and wanted is not Priority.NORMAL:
        raise ValueError("Gearman knows no priority for jobs with a reducer, a time or a schedule")
    if reducer is not None:
        kind = p.SUBMIT_REDUCE_JOB_BACKGROUND if background else p.SUBMIT_REDUCE_JOB
        return request(kind, *names, argument(reducer, "a reducer's name"), b"", data)
    if at is not None:
        return request(p.SUBMIT_JOB_EPOCH, *names, b"%d" % at, data)
    if schedule is not None:
        return request(p.SUBMIT_JOB_SCHED, *names, *schedule_fields(schedule), data)
    return request((BACKGROUND if background else FOREGROUND)[wanted], *names, data)


def schedule_fields(schedule: str) -> list[bytes]:
    """Return the five fields of a schedule such as `30 4 * * 0`; raise ValueError if there are not five."""
    fields = schedule.split()
    if len(fields) != SCHEDULE_FIELDS or not all(field == "*" or field.isdecimal() for field in fields):
        raise ValueError("a schedule is five numbers or *: minute, hour, day of month, month, day of week (0: Monday)")
    return [b"" if field == "*" else field.encode() for field in fields]


def encode_request(request: Row) -> bytes:
    """Return a request of the management protocol on one line.

    Spaces are escaped: a gearmand closes the connection on a line of more than five words instead of answering.
    """
    return json.dumps(request, separators=(",", ":")).replace(" ", "\\u0020").encode()


def manage_request(verb: str, request: Row | None = None) -> bytes:
    """Return the line, without its end, that asks for one of gearstore's own verbs."""
    return b"gearstore %s %s" % (to_bytes(verb), encode_request(request or {}))


# Answers

LISTS = ("status", "prioritystatus", "workers", "show", "gearstore")


def answers_with_list(command: str) -> bool:
    """Return whether the answer to a text command is lines up to a dot; else it is one line."""
    return command.split(" ", 1)[0].lower() in LISTS


def status_of(pieces: list[bytes]) -> JobStatus:
    """Return the meaning of STATUS_RES or STATUS_RES_UNIQUE."""
    known, running, numerator, denominator, *clients = pieces[1:]
    waiting = number(clients[0]) if clients else None
    return JobStatus(known == b"1", running == b"1", number(numerator), number(denominator), waiting)


def refusal(pieces: list[bytes]) -> Refused:
    """Return the exception for an ERROR packet."""
    return Refused(": ".join(map(to_text, pieces)), to_text(pieces[0]))


def row_of(line: bytes, server: str) -> Row:
    """Return the object on a line of a verb's answer; raise Unreachable if there is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise not_gearman(server) from None
    if not isinstance(row, dict):
        raise not_gearman(server)
    return row


def line_of(kind: int, pieces: list[bytes], server: str) -> bytes:
    """Return a line of text; raise what another packet in its place means: an ERROR is that of a server which takes no
    more connections."""
    if kind == p.ERROR:
        raise refusal(pieces)
    if kind != p.TEXT:
        raise not_gearman(server)
    return pieces[0]


def checked_line(line: bytes, server: str) -> bytes | None:
    """Return a line of a list, None for the dot that ends it; raise what `ERR code text` means."""
    if line in (b".\n", b".\r\n"):
        return None
    # A function may be named `ERR x`: its row has tabs.
    if not line.startswith(b"ERR ") or b"\t" in line:
        return line
    _, code, text = (to_text(line).strip() + " ").split(" ", 2)
    if code == "UNKNOWN_COMMAND":
        raise NotGearstore(f"the server at {server} is not gearstore: it does not know this command", code)
    if code == TLS_REQUIRED.decode():
        raise wants_tls(server)
    raise Refused(text.strip() or code, code)


def not_gearman(server: str) -> Unreachable:
    """Return the exception for a server of something else."""
    return Unreachable(f"{server} does not speak Gearman")


def wants_tls(server: str) -> Unreachable:
    """Return the exception for a server that speaks TLS and was spoken to in plain text."""
    return Unreachable(f"the server at {server} speaks TLS: write tls:{server}")


# Which answer belongs to what

FINAL = (p.WORK_COMPLETE, p.WORK_FAIL, p.WORK_EXCEPTION)
REPORTS = (*FINAL, p.WORK_DATA, p.WORK_WARNING, p.WORK_STATUS)


class Waiter(Protocol):
    """Who waits for an answer: a future of asyncio, or anything like it."""

    def done(self) -> bool: ...
    def set_result(self, result: list[bytes], /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


class Listener(Protocol):
    """Who waits for the reports about a job."""

    def report(self, kind: int, pieces: list[bytes]) -> None: ...
    def lose(self, error: ClientError) -> None: ...


class Question(NamedTuple):
    """A request whose answer is still to come: its type, who waits, and who wants the job's reports."""

    kind: int
    waiter: Waiter | None
    listener: Listener | None


class Exchange:
    """What is under way on one connection.

    Answers carry nothing that names their request: they come in the order of the requests, with an ERROR in the place
    of what was refused. Reports of workers name their job and may come between. A job that this connection submitted
    twice (equal uniques) has each report sent twice, one copy right after the other.
    """

    def __init__(self, complain: Callable[[Refused], None]) -> None:
        self._complain = complain
        self._questions: deque[Question] = deque()
        self._listeners: dict[bytes, deque[Listener]] = {}

    def expect(self, kind: int, waiter: Waiter | None = None, listener: Listener | None = None) -> None:
        """Note that a request was sent whose answer is of this type; without a waiter nobody wants to know."""
        self._questions.append(Question(kind, waiter, listener))

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not self._questions and not self._listeners

    def receive(self, kind: int, pieces: list[bytes]) -> None:
        """Give a packet to whom it belongs; raise ProtocolError if it can't be."""
        if kind in REPORTS:
            self._report(kind, pieces)
        elif self._questions and kind in (self._questions[0].kind, p.ERROR):
            self._answer(self._questions.popleft(), kind, pieces)
        elif kind == p.ERROR:
            self._complain(refusal(pieces))
        elif kind != p.NOOP:
            raise ProtocolError(f"packet type {kind} answers nothing that was asked")

    def lose(self, error: ClientError) -> None:
        """Tell everybody that the connection is gone."""
        questions, self._questions = self._questions, deque()
        listeners, self._listeners = self._listeners, {}
        for question in questions:
            if question.waiter and not question.waiter.done():
                question.waiter.set_exception(error)
        for group in listeners.values():
            for listener in group:
                listener.lose(error)

    def _answer(self, question: Question, kind: int, pieces: list[bytes]) -> None:
        """Give an answer to who asked. The reports of a job whose submitter gave up must still find their place."""
        if kind == p.JOB_CREATED and question.listener:
            self._listeners.setdefault(pieces[0], deque()).append(question.listener)
        waiter = question.waiter
        if waiter is None or waiter.done():
            return
        if kind == p.ERROR:
            waiter.set_exception(refusal(pieces))
        else:
            waiter.set_result(pieces)

    def _report(self, kind: int, pieces: list[bytes]) -> None:
        """Give each copy of a report to the next of the job's listeners in turn."""
        handle = pieces[0].removesuffix(b"\0")  # gearmand adds one to the WORK_FAIL that it makes of an exception
        group = self._listeners.get(handle)
        if group is None:
            return
        listener = group.popleft()
        if kind not in FINAL:
            group.append(listener)
        elif not group:
            del self._listeners[handle]
        listener.report(kind, pieces)
