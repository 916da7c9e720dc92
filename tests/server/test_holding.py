"""What a connection holds back until a commit: real sockets, and a store that is held up in the middle of a batch."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator

import pytest

from gearstore.config import load_config
from gearstore.protocol.packets import (
    CAN_DO,
    ECHO_REQ,
    ECHO_RES,
    GRAB_JOB,
    JOB_CREATED,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
    request,
    response,
)
from gearstore.queue.ports import Event
from gearstore.server.commands import HANDLERS
from gearstore.server.connection import Connection
from gearstore.server.hub import Hub
from gearstore.store.journal import Batch, Journal
from tests.store.test_journal import Notebook


class Bench:
    """A hub on a store whose commits wait for `store.gate`, and the peers of its connections."""

    def __init__(self) -> None:
        self.store = Notebook()
        self.loop = asyncio.get_running_loop()
        self.journal = Journal(self.store, lambda error: None)
        config, _ = load_config({"memory": "1"}, {}, None)
        self.hub = Hub(config, self.store, self.journal, self.loop)
        self.sockets: list[socket.socket] = []

    async def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.sockets.append(ours)
        await self.loop.create_connection(lambda: Connection(self.hub, HANDLERS), sock=theirs)
        return ours

    async def ask(self, peer: socket.socket, *packets: bytes) -> bytes:
        """Send packets; return the next answer."""
        peer.sendall(b"".join(packets))
        return await self.loop.sock_recv(peer, 65536)

    async def running(self, worker: socket.socket) -> bytes:
        """Have the worker run a stored job; return its handle."""
        created = await self.ask(worker, request(CAN_DO, b"f"), request(SUBMIT_JOB_BG, b"f", b"", b"w"))
        assert created[12:] in await self.ask(worker, request(GRAB_JOB))
        return created[12:]

    async def committed(self, batches: int) -> None:
        """Wait until the store has so many batches, and for the turns in which answers are written."""
        while len(self.store.batches) < batches:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    committing = asyncio.create_task(bench.journal.run())
    yield bench
    for each in bench.sockets:
        each.close()
    while bench.hub.connections:
        await asyncio.sleep(0)
    bench.store.gate.set()
    committing.cancel()
    await bench.journal.close()


def has_nothing(peer: socket.socket) -> bool:
    """Return whether the peer was sent nothing (and is not closed)."""
    try:
        peer.recv(1)
    except BlockingIOError:
        return True
    return False


async def test_an_answer_after_a_completion_waits_for_it(bench: Bench) -> None:
    worker = await bench.connect()
    handle = await bench.running(worker)
    bench.store.gate.clear()
    before = len(bench.store.batches)
    answer = asyncio.ensure_future(
        bench.ask(worker, request(WORK_COMPLETE, handle, b""), request(ECHO_REQ, b"a"), request(ECHO_REQ, b"b"))
    )
    while bench.store.tries == before:
        await asyncio.sleep(0)
    assert not answer.done()
    bench.store.gate.set()
    assert await answer == response(ECHO_RES, b"a") + response(ECHO_RES, b"b")
    assert await bench.ask(worker, request(ECHO_REQ, b"c")) == response(ECHO_RES, b"c")


async def test_an_answer_after_a_late_report_of_a_cancelled_job_waits_for_the_cancel(bench: Bench) -> None:
    """Else the worker believes its report stored, and after a crash the job runs again."""
    worker, operator = await bench.connect(), await bench.connect()
    handle = await bench.running(worker)
    bench.store.gate.clear()
    before = len(bench.store.batches)
    operator.sendall(b"cancel job " + handle + b"\n")
    while bench.store.tries == before:
        await asyncio.sleep(0)
    answer = asyncio.ensure_future(bench.ask(worker, request(WORK_COMPLETE, handle, b""), request(ECHO_REQ, b"a")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not answer.done() and has_nothing(operator)
    bench.store.gate.set()
    assert await answer == response(ECHO_RES, b"a")
    assert await bench.loop.sock_recv(operator, 65536) == b"OK\r\n"


async def test_who_asks_for_all_that_is_durable_waits_for_the_commit_under_way(bench: Bench) -> None:
    """Also when nothing has changed since it began."""
    client = await bench.connect()
    bench.store.gate.clear()
    before = bench.store.tries
    client.sendall(request(SUBMIT_JOB_BG, b"f", b"", b"w"))
    while bench.store.tries == before:
        await asyncio.sleep(0)
    durable = bench.hub.durable()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not durable.done()
    bench.store.gate.set()
    await durable
    assert bench.store.rows() == {1: 0}


async def test_an_older_commit_does_not_release_what_stands_behind_a_completion(bench: Bench) -> None:
    """The worker completes one job, then joins another whose commit is already under way."""
    worker, client = await bench.connect(), await bench.connect()
    handle = await bench.running(worker)
    bench.store.gate.clear()
    before = len(bench.store.batches)
    client.sendall(request(SUBMIT_JOB_BG, b"g", b"same", b"w"))
    while bench.store.tries == before:
        await asyncio.sleep(0)
    worker.sendall(request(WORK_COMPLETE, handle, b"") + request(SUBMIT_JOB_BG, b"g", b"same", b"w"))
    while not bench.journal.batch.jobs:
        await asyncio.sleep(0)
    bench.store.then = bench.store.gate.clear
    bench.store.gate.set()
    created = await bench.loop.sock_recv(client, 65536)
    assert created.startswith(response(JOB_CREATED, b"")[:8])
    await bench.committed(before + 1)
    assert has_nothing(worker)
    bench.store.gate.set()
    assert await bench.loop.sock_recv(worker, 65536) == created


async def test_a_worker_that_leaves_after_a_completion_is_let_go_when_that_is_stored(bench: Bench) -> None:
    worker = await bench.connect()
    handle = await bench.running(worker)
    bench.store.gate.clear()
    before = len(bench.store.batches)
    worker.sendall(request(WORK_COMPLETE, handle, b""))
    worker.shutdown(socket.SHUT_WR)
    while bench.store.tries == before:
        await asyncio.sleep(0)
    assert has_nothing(worker)
    bench.store.gate.set()
    assert await bench.loop.sock_recv(worker, 65536) == b""
    assert bench.store.rows() == {1: 1}


async def test_who_waits_for_a_batch_leaves_nothing_to_the_garbage_collector(bench: Bench) -> None:
    """It takes its time for jobs in a ring of references, while everybody waits (benchmarks/scale.py, "tail")."""
    client = await bench.connect()
    gc.collect()
    gc.disable()
    try:
        before = len(batches())
        for _ in range(3):
            await bench.ask(client, request(SUBMIT_JOB_BG, b"f", b"", b"w"))
            bench.journal.note(Event(1, 0, b"retried"))
            await bench.hub.durable()
        assert len(batches()) == before
    finally:
        gc.enable()


def batches() -> list[Batch]:
    """Return all that are in memory."""
    return [each for each in gc.get_objects() if isinstance(each, Batch)]
