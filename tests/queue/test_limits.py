"""Jobs and bytes that a function, or all functions together, may have."""

from collections.abc import Callable

import pytest

from gearstore.errors import QueueError
from gearstore.queue import operators
from gearstore.queue.endings import weight
from gearstore.queue.engine import RECOUNT
from gearstore.queue.job import Job
from gearstore.queue.names import RESCAN
from gearstore.queue.peer import Peer
from gearstore.queue.policy import Policies, Policy
from tests.queue.doubles import Server


@pytest.fixture
def server() -> Server:
    return Server()


def refused_for(server: Server, name: bytes, workload: bytes = b"w", client: Peer | None = None) -> str:
    """Submit what must be refused; return the limit that it met."""
    with pytest.raises(QueueError) as refused:
        server.ask(name, workload, client=client)
    assert refused.value.code == b"QUEUE_ERROR"
    return refused.value.limit


def test_bytes_of_a_function(server: Server) -> None:
    server.engine.set_policies(Policies(Policy(max_queue_bytes=10)))
    server.submit(b"f", b"12345678")
    assert refused_for(server, b"f", b"123") == "max_queue_bytes"
    server.submit(b"f", b"12")
    assert refused_for(server, b"f", b"1") == "max_queue_bytes"
    server.submit(b"f", b"")  # takes none
    server.submit(b"g", b"1234567890")
    server.work(server.connect(b"f"))
    server.submit(b"f", b"1234567890")


ENDS: dict[str, Callable[[Server, Job, Peer], object]] = {
    "complete": lambda server, job, worker: server.engine.complete(job, b"result"),
    "fail": lambda server, job, worker: server.engine.fail(job, b"fail"),
    "cancel": lambda server, job, worker: operators.cancel(server.engine, job),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("foreground", [False, True])
def test_what_has_ended_counts_no_more(
    server: Server, end: Callable[[Server, Job, Peer], object], foreground: bool
) -> None:
    client, worker = server.connect() if foreground else None, server.connect(b"f")
    server.submit(b"f", b"12345", client=client)
    function = server.engine.function(b"f")
    job = server.engine.grab(worker)
    assert job is not None and function.bytes == 5
    assert server.engine.foreground == (weight(job) if foreground else 0)
    end(server, job, worker)
    server.disk.commit()
    assert (function.bytes, server.engine.foreground) == (0, 0)


def test_a_held_job_does_not_count_until_it_is_released(server: Server) -> None:
    function = server.engine.function(b"f")
    job = server.submit(b"f", b"12345")
    operators.hold(server.engine, job)
    server.disk.commit()
    assert function.bytes == 0
    operators.retry(server.engine, function, server.disk.rows[job.id])
    server.disk.commit()
    assert function.bytes == 5
    held = server.submit(b"f", b"123")
    operators.hold(server.engine, held)
    operators.cancel(server.engine, held)
    server.disk.commit()
    assert function.bytes == 5


def test_jobs_of_all_functions(server: Server) -> None:
    server.submit(b"f")
    server.engine.set_limits(3, 0)
    server.submit(b"f")
    server.submit(b"g")
    assert refused_for(server, b"h") == "max_jobs"
    server.work(server.connect(b"f"))
    server.advance(RECOUNT)
    server.submit(b"h")
    server.submit(b"h")
    assert refused_for(server, b"f") == "max_jobs"


def test_bytes_of_all_functions(server: Server) -> None:
    server.engine.set_limits(0, 10)
    server.submit(b"f", b"12345678")
    assert refused_for(server, b"g", b"123") == "max_jobs_bytes"
    server.submit(b"g", b"12")
    server.advance(RECOUNT)
    assert refused_for(server, b"g", b"1") == "max_jobs_bytes"


def test_a_submit_that_joins_a_job_takes_no_room(server: Server) -> None:
    server.engine.set_limits(1, 0)
    job = server.submit(b"f", unique=b"u")
    assert server.ask(b"f", unique=b"u") is job
    assert refused_for(server, b"f") == "max_jobs"


def test_a_foreground_job_that_becomes_background_is_not_in_memory_only(server: Server) -> None:
    client = server.connect()
    job = server.submit(b"f", b"12345", unique=b"u", client=client)
    server.engine.max_foreground = weight(job)
    assert refused_for(server, b"f", client=client) == "max_foreground"
    server.submit(b"f", b"12345", unique=b"u")
    assert server.engine.foreground == 0
    server.submit(b"f", client=client)


def test_functions(server: Server) -> None:
    server.engine.max_functions = 3
    used, worker = server.connect(b"worked on"), server.connect()
    client = server.connect()
    server.submit(b"has a job")
    server.submit(b"answer 1", client=client)
    assert refused_for(server, b"one more") == "max_functions"
    server.work(server.connect(b"answer 1"))
    server.advance(RESCAN)
    assert refused_for(server, b"one more") == "max_functions", "its worker is still there"
    server.engine.disconnect(next(iter(server.engine.functions[b"answer 1"].workers)))
    assert refused_for(server, b"one more") == "max_functions", "nobody looks again at once"
    server.advance(RESCAN)
    server.engine.can_do(worker, b"answer 2", 0)
    assert set(server.engine.functions) == {b"worked on", b"has a job", b"answer 2"}
    assert used.order == [server.engine.functions[b"worked on"]]


def test_what_an_operator_has_set_is_not_forgotten(server: Server) -> None:
    function = server.engine.function(b"paused")
    server.engine.pause(function)
    function.steered = True  # as the journal does
    server.engine.max_functions = 1
    server.advance(RESCAN)
    assert refused_for(server, b"one more") == "max_functions"
