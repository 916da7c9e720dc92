"""What the engine asks of the outside: to make things durable, and to tell others."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from gearstore.queue.functions import Function
from gearstore.queue.job import Job
from gearstore.queue.peer import Peer


class Event(NamedTuple):
    """Something that happened to a job other than its plain way, which its own row tells."""

    job_id: int
    at: int
    kind: bytes  # a Reason for an attempt that ended, else an operator's verb
    started_at: int = 0  # of the attempt
    worker: bytes = b""
    detail: bytes = b""  # error text of an attempt, number of a copy
    next_at: int = 0  # the time that the job then waits for, 0 for none


class Journal(Protocol):
    """What the engine asks of durability. Each verb may be called again for a job; the newest state counts."""

    def add(self, job: Job) -> None: ...
    def change(self, job: Job) -> None: ...
    def assigned(self, job: Job) -> None: ...
    def look_up(self, job: Job) -> bool: ...  # False: surely nobody has its unique, and nothing is looked up
    def note(self, event: Event) -> None: ...
    def steer(self, function: Function) -> None: ...
    def steer_all(self) -> None: ...


class Outbox(Protocol):
    """What the engine has others told."""

    def wake(self, peer: Peer) -> None: ...
    def failed(self, job: Job) -> None: ...
    def hold_back(self, peer: Peer, job: Job) -> None: ...
