"""What the engine asks of the outside: to make things durable, and to tell others."""

from __future__ import annotations

from typing import Protocol

from gearstore.queue.job import Job
from gearstore.queue.peer import Peer


class Journal(Protocol):
    """What the engine asks of durability. Each verb may be called again for a job; the newest state counts."""

    def add(self, job: Job) -> None: ...
    def change(self, job: Job) -> None: ...
    def assigned(self, job: Job) -> None: ...
    def look_up(self, job: Job) -> None: ...


class Outbox(Protocol):
    """What the engine has others told."""

    def wake(self, peer: Peer) -> None: ...
    def failed(self, job: Job) -> None: ...
