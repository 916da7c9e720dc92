"""The packet table of the Gearman binary protocol: the one place that knows its numbers.

Follows the `PROTOCOL` document of gearmand 1.1.20 ("Binary Packet") and what gearmand accepts of it.
Knows nothing of jobs, functions or connections.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

HEADER = Struct(">4sII")  # magic, type, size of what follows
HEADER_SIZE = HEADER.size
REQ = b"\0REQ"
RES = b"\0RES"


class PacketType(IntEnum):
    """Packet types as `PROTOCOL` numbers them."""

    CAN_DO = 1
    CANT_DO = 2
    RESET_ABILITIES = 3
    PRE_SLEEP = 4
    NOOP = 6
    SUBMIT_JOB = 7
    JOB_CREATED = 8
    GRAB_JOB = 9
    NO_JOB = 10
    JOB_ASSIGN = 11
    WORK_STATUS = 12
    WORK_COMPLETE = 13
    WORK_FAIL = 14
    GET_STATUS = 15
    ECHO_REQ = 16
    ECHO_RES = 17
    SUBMIT_JOB_BG = 18
    ERROR = 19
    STATUS_RES = 20
    SUBMIT_JOB_HIGH = 21
    SET_CLIENT_ID = 22
    CAN_DO_TIMEOUT = 23
    ALL_YOURS = 24
    WORK_EXCEPTION = 25
    OPTION_REQ = 26
    OPTION_RES = 27
    WORK_DATA = 28
    WORK_WARNING = 29
    GRAB_JOB_UNIQ = 30
    JOB_ASSIGN_UNIQ = 31
    SUBMIT_JOB_HIGH_BG = 32
    SUBMIT_JOB_LOW = 33
    SUBMIT_JOB_LOW_BG = 34
    SUBMIT_JOB_SCHED = 35
    SUBMIT_JOB_EPOCH = 36
    SUBMIT_REDUCE_JOB = 37
    SUBMIT_REDUCE_JOB_BACKGROUND = 38
    GRAB_JOB_ALL = 39
    JOB_ASSIGN_ALL = 40
    GET_STATUS_UNIQUE = 41
    STATUS_RES_UNIQUE = 42


CAN_DO = PacketType.CAN_DO
CANT_DO = PacketType.CANT_DO
RESET_ABILITIES = PacketType.RESET_ABILITIES
PRE_SLEEP = PacketType.PRE_SLEEP
NOOP = PacketType.NOOP
SUBMIT_JOB = PacketType.SUBMIT_JOB
JOB_CREATED = PacketType.JOB_CREATED
GRAB_JOB = PacketType.GRAB_JOB
NO_JOB = PacketType.NO_JOB
JOB_ASSIGN = PacketType.JOB_ASSIGN
WORK_STATUS = PacketType.WORK_STATUS
WORK_COMPLETE = PacketType.WORK_COMPLETE
WORK_FAIL = PacketType.WORK_FAIL
GET_STATUS = PacketType.GET_STATUS
ECHO_REQ = PacketType.ECHO_REQ
ECHO_RES = PacketType.ECHO_RES
SUBMIT_JOB_BG = PacketType.SUBMIT_JOB_BG
ERROR = PacketType.ERROR
STATUS_RES = PacketType.STATUS_RES
SUBMIT_JOB_HIGH = PacketType.SUBMIT_JOB_HIGH
SET_CLIENT_ID = PacketType.SET_CLIENT_ID
CAN_DO_TIMEOUT = PacketType.CAN_DO_TIMEOUT
ALL_YOURS = PacketType.ALL_YOURS
WORK_EXCEPTION = PacketType.WORK_EXCEPTION
OPTION_REQ = PacketType.OPTION_REQ
OPTION_RES = PacketType.OPTION_RES
WORK_DATA = PacketType.WORK_DATA
WORK_WARNING = PacketType.WORK_WARNING
GRAB_JOB_UNIQ = PacketType.GRAB_JOB_UNIQ
JOB_ASSIGN_UNIQ = PacketType.JOB_ASSIGN_UNIQ
SUBMIT_JOB_HIGH_BG = PacketType.SUBMIT_JOB_HIGH_BG
SUBMIT_JOB_LOW = PacketType.SUBMIT_JOB_LOW
SUBMIT_JOB_LOW_BG = PacketType.SUBMIT_JOB_LOW_BG
SUBMIT_JOB_SCHED = PacketType.SUBMIT_JOB_SCHED
SUBMIT_JOB_EPOCH = PacketType.SUBMIT_JOB_EPOCH
SUBMIT_REDUCE_JOB = PacketType.SUBMIT_REDUCE_JOB
SUBMIT_REDUCE_JOB_BACKGROUND = PacketType.SUBMIT_REDUCE_JOB_BACKGROUND
GRAB_JOB_ALL = PacketType.GRAB_JOB_ALL
JOB_ASSIGN_ALL = PacketType.JOB_ASSIGN_ALL
GET_STATUS_UNIQUE = PacketType.GET_STATUS_UNIQUE
STATUS_RES_UNIQUE = PacketType.STATUS_RES_UNIQUE

LAST_TYPE = 42

# TLS where there should be none: its first byte, and an alert ("unexpected message") for whoever speaks it.
TLS_HELLO = 0x16
TLS_ALERT = bytes.fromhex("15 03 03 00 02 02 0a")

# What the parser hands on besides packets. They use numbers that no packet has, so that one table dispatches all.
TEXT = 0  # a line of the text protocol: args = [line]
WRONG_MAGIC = LAST_TYPE + 1  # a response where a request was expected: args = []
MALFORMED = LAST_TYPE + 2  # arguments missing inside the declared size: args = [name of the type]
KINDS = MALFORMED + 1


class Layout(NamedTuple):
    """How the body of a request is cut: `parts` pieces, NUL between them; the last takes the rest."""

    parts: int
    at_least: int  # fewer pieces are a malformed packet; missing ones up to `parts` are empty


def _exactly(parts: int) -> Layout:
    return Layout(parts, parts)


# Requests and their layout. Types that only a server sends (and the reserved ones, ALL_YOURS included) are not here:
# their body is not looked into. The sloppy forms of real workers (results without their NUL, WORK_STATUS with two
# arguments) are understood; gearmand loses its framing on them and the job is run again and again.
LAYOUTS: dict[int, Layout] = {
    CAN_DO: _exactly(1),
    CANT_DO: _exactly(1),
    RESET_ABILITIES: _exactly(0),
    PRE_SLEEP: _exactly(0),
    SUBMIT_JOB: _exactly(3),
    GRAB_JOB: _exactly(0),
    WORK_STATUS: Layout(3, 2),
    WORK_COMPLETE: Layout(2, 1),
    WORK_FAIL: _exactly(1),
    GET_STATUS: _exactly(1),
    ECHO_REQ: _exactly(1),
    SUBMIT_JOB_BG: _exactly(3),
    SUBMIT_JOB_HIGH: _exactly(3),
    SET_CLIENT_ID: _exactly(1),
    CAN_DO_TIMEOUT: _exactly(2),
    WORK_EXCEPTION: Layout(2, 1),
    OPTION_REQ: _exactly(1),
    WORK_DATA: Layout(2, 1),
    WORK_WARNING: Layout(2, 1),
    GRAB_JOB_UNIQ: _exactly(0),
    SUBMIT_JOB_HIGH_BG: _exactly(3),
    SUBMIT_JOB_LOW: _exactly(3),
    SUBMIT_JOB_LOW_BG: _exactly(3),
    SUBMIT_JOB_SCHED: _exactly(8),
    SUBMIT_JOB_EPOCH: _exactly(4),
    # PROTOCOL documents three arguments and data; libgearman sends a fourth, unused one. Both are understood.
    SUBMIT_REDUCE_JOB: Layout(5, 4),
    SUBMIT_REDUCE_JOB_BACKGROUND: Layout(5, 4),
    GRAB_JOB_ALL: _exactly(0),
    GET_STATUS_UNIQUE: _exactly(1),
}


def request(type: int, *args: bytes) -> bytes:
    """Return the packet that a client or worker sends: header and arguments joined by NUL."""
    body = b"\0".join(args)
    return HEADER.pack(REQ, type, len(body)) + body


def response(type: int, *args: bytes) -> bytes:
    """Return the packet that a server sends: header and arguments joined by NUL."""
    body = b"\0".join(args)
    return HEADER.pack(RES, type, len(body)) + body


def error(code: bytes, text: bytes) -> bytes:
    """Return an ERROR packet. libgearman maps the code back to its return codes by name, so codes are exact."""
    return response(ERROR, code, text)
