"""The hot path without sockets: 64 connections of a real hub, engine and journal, one turn of the loop at a time.

`micro.py` takes the time of these turns, `instructions.py` counts what they execute.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gearstore.config import load_config
from gearstore.protocol import packets as p
from gearstore.queue.job import DONE
from gearstore.queue.record import recover
from gearstore.server.commands import HANDLERS
from gearstore.server.connection import Connection
from gearstore.server.hub import Hub
from gearstore.store.base import Applied, Changes
from gearstore.store.journal import Journal
from gearstore.store.memory import MemoryStore

CLIENTS = 64
PAIRS = CLIENTS // 2  # of clients and workers, for foreground jobs
UNIQUE = b"aa93dba6-e7b4-11f1-b968-%012d"
WORKLOAD = b"x" * 100


class Transport:
    """Takes what a connection writes."""

    written = b""

    def write(self, data: bytes) -> None:
        """Keep the last write."""
        self.written = data


class Nothing(MemoryStore):
    """A store that only says yes."""

    async def apply(self, changes: Changes) -> Applied:
        """Store nothing."""
        return Applied()


def assigned(connection: Connection) -> bytes:
    """Return the handle of the job that a connection has just got."""
    return bytes(cast(Transport, connection.transport).written[12:]).split(b"\0")[0]


class HotPath:
    """Connections that all send something, then a commit, then all answers."""

    def __init__(self, store: Any) -> None:
        config, _ = load_config({"memory": "1"}, {}, None)
        self.store = store
        self.journal = Journal(store, print)
        self.hub = Hub(config, store, self.journal, asyncio.get_running_loop())
        self.connections: list[Connection] = []
        self.submitted = 0

    async def open(self) -> None:
        """Open the store and connect; all connections are workers, too."""
        recovered = await self.store.open(b"H:bench:", 5, 65536)
        engine = self.hub.engine
        engine.prefixes = recovered.prefixes
        engine.next_id = engine.ids_until = recovered.next_id
        recover(engine, recovered.functions, recovered.counts)
        await self.journal.commit()
        for _ in range(CLIENTS):
            connection = Connection(self.hub, HANDLERS)
            connection.transport = Transport()  # type: ignore[assignment]
            self.connections.append(connection)
        await self.turn([p.request(p.CAN_DO, b"f")] * CLIENTS)
        await self.turn([b""] * PAIRS + [p.request(p.CAN_DO, b"g") + p.request(p.PRE_SLEEP)] * PAIRS)

    async def turn(self, requests: list[bytes]) -> None:
        """Let each connection send its request, and take what it gets for it."""
        for connection, data in zip(self.connections, requests, strict=True):
            connection.data_received(data)
        await asyncio.sleep(0)
        await self.journal.commit()
        await asyncio.sleep(0)

    def submits(self) -> list[bytes]:
        """Return requests that submit a background job each."""
        numbers = range(self.submitted, self.submitted + CLIENTS)
        self.submitted += CLIENTS
        return [p.request(p.SUBMIT_JOB_BG, b"f", UNIQUE % number, WORKLOAD) for number in numbers]

    def grabs(self) -> list[bytes]:
        """Return requests that grab a job each."""
        return [p.request(p.GRAB_JOB_UNIQ)] * CLIENTS

    def completions(self) -> list[bytes]:
        """Return requests that complete the job just assigned and grab the next one."""
        handles = [assigned(connection) for connection in self.connections]
        return [p.request(p.WORK_COMPLETE, handle, b"") + p.request(p.GRAB_JOB_UNIQ) for handle in handles]

    async def round_trips(self) -> None:
        """Let half of the connections submit foreground jobs, and the others wake, work and fall asleep again."""
        numbers = range(PAIRS)
        submits = [p.request(p.SUBMIT_JOB, b"g", UNIQUE % number, WORKLOAD) for number in numbers]
        await self.turn([*submits, *[b""] * PAIRS])
        await self.turn([b""] * PAIRS + [p.request(p.GRAB_JOB_UNIQ)] * PAIRS)
        ends = p.request(p.GRAB_JOB_UNIQ) + p.request(p.PRE_SLEEP)
        handles = [assigned(connection) for connection in self.connections[PAIRS:]]
        await self.turn([b""] * PAIRS + [p.request(p.WORK_COMPLETE, handle, b"") + ends for handle in handles])
        assert self.hub.engine.functions[b"g"].total == 0, "a foreground job is left"

    async def close(self) -> None:
        """Close the store; every job that was completed must be done."""
        done = self.hub.engine.functions[b"f"].states[DONE]
        assert done == self.submitted - CLIENTS, f"{done} of {self.submitted} jobs are done"
        await self.store.close()
