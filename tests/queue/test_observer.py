"""Every transition is told to the observer, in one word and once."""

import pytest

from gearstore.queue.job import HELD, Job, Reason
from tests.queue.doubles import NOW, Server


@pytest.fixture
def server() -> Server:
    return Server(window=3)


def observed(server: Server) -> list[tuple[bytes, bytes]]:
    """Return the list that what is told goes into: workload and word."""
    told: list[tuple[bytes, bytes]] = []

    def observe(job: Job, word: bytes) -> None:
        told.append((job.workload, word))

    server.engine.observer = observe
    return told


def test_the_plain_way(server: Server) -> None:
    told = observed(server)
    server.submit(b"f")
    server.work(server.connect(b"f"))
    assert told == [(b"w", b"submitted"), (b"w", b"assigned"), (b"w", b"done")]
    assert server.engine.functions[b"f"].ended == [0, 1, 0, 0, 0, 0, 0]


def test_failures_and_lost_workers(server: Server) -> None:
    told = observed(server)
    server.submit(b"f")
    for _ in range(2):
        worker = server.connect(b"f")
        server.engine.grab(worker)
        server.engine.disconnect(worker)
    job = server.engine.grab(server.connect(b"f"))
    assert job is not None
    server.engine.fail(job, Reason.FAIL)
    words = [word for _, word in told]
    assert words == [b"submitted", *[b"assigned", b"queued"] * 2, b"assigned", b"failed"]


def test_times_and_operators(server: Server) -> None:
    told = observed(server)
    job = server.submit(b"f", run_at=NOW + 1000)
    server.engine.now = NOW + 1000
    server.engine.tick()
    server.engine.hold(job, Reason.HELD)
    assert job.state is HELD
    server.engine.cancel(job)
    assert [word for _, word in told] == [b"submitted", b"queued", b"held", b"cancelled"]


def test_a_submit_that_the_store_refuses(server: Server) -> None:
    told = observed(server)
    server.ask(b"f")
    server.disk.refuse()
    assert [word for _, word in told] == [b"submitted", b"refused"]


def test_a_submit_that_joins_a_job_on_disk(server: Server) -> None:
    for number in range(5):
        server.submit(b"f", b"%d" % number, unique=b"%d" % number)
    told = observed(server)
    server.submit(b"f", b"again", unique=b"4")
    assert told == [(b"again", b"submitted"), (b"again", b"joined")]
