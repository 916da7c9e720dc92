"""What the engine knows of a connection: as a worker its abilities, as a client the jobs that it waits for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gearstore.queue.functions import Function
    from gearstore.queue.job import Job

REMEMBERED = 256  # handles; enough for every job that a worker can have had taken away within one round trip


class Peer:
    """One connection's state inside the engine; it may be client and worker at once."""

    __slots__ = ("abilities", "address", "asleep", "called_for", "client_id", "connection", "exceptions", "jobs",
                 "listening", "order", "past")  # fmt: skip

    def __init__(self, connection: Any, exceptions: bool = False) -> None:
        self.connection = connection  # opaque to the engine
        self.address = b""  # as operators see it
        self.client_id = b"-"
        self.exceptions = exceptions  # the client wants WORK_EXCEPTION rather than WORK_FAIL
        self.abilities: dict[Function, int] = {}  # function -> timeout in milliseconds, 0 for none
        self.order: list[Function] = []  # abilities in the order in which GRAB_JOB looks: newest first
        self.asleep = False
        self.called_for: Function | None = None  # it was woken for a job of this function, and has not asked for it yet
        self.jobs: dict[bytes, Job] = {}  # handle -> job that this worker runs
        self.past: deque[bytes] | None = None  # handles it once ran, for late reports; an empty deque takes 760 bytes
        self.listening: dict[Job, None] = {}  # foreground jobs that this client waits for
