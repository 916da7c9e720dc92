"""What a job server means: submits, order, coalescing, workers that sleep or vanish, times. No clock, no disk."""

import gc
from collections.abc import Callable

import pytest

from gearstore.errors import QueueError
from gearstore.queue.job import (
    CANCELLED,
    DELAYED,
    DONE,
    FAILED,
    HELD,
    HIGH,
    LOW,
    NORMAL,
    PRIORITIES,
    QUEUED,
    RUNNING,
    Job,
    Reason,
)
from gearstore.queue.operators import replay, retry
from gearstore.queue.waking import AUTO
from tests.queue.doubles import NOW, Server, refusal, row


@pytest.fixture
def server() -> Server:
    return Server()


# Submitting


def test_handles_are_numbered_in_order(server: Server) -> None:
    jobs = [server.ask(b"f"), server.ask(b"f", client=server.connect()), server.ask(b"g")]
    assert [job.handle for job in jobs] == [b"H:localhost:00000000000%d" % n for n in (1, 2, 3)]


def test_a_background_job_is_seen_by_workers_after_its_commit(server: Server) -> None:
    worker = server.connect(b"f")
    job = server.ask(b"f")
    assert server.disk.asked == [("add", job.id)]
    assert server.engine.grab(worker) is None
    assert server.engine.sleep(worker)
    assert server.woken() == []
    server.disk.commit()
    assert server.woken() == [worker]
    assert server.engine.grab(worker) is job


def test_a_foreground_job_costs_no_write(server: Server) -> None:
    worker, client = server.sleeper(b"f"), server.connect()
    job = server.ask(b"f", client=client)
    assert server.woken() == [worker]
    assert server.engine.grab(worker) is job
    server.engine.complete(job, b"result")
    assert server.disk.asked == []
    assert (job.state, list(job.listeners), server.counts(), server.live()) == (DONE, [client], {}, [])


def test_every_byte_of_a_job_is_kept(server: Server) -> None:
    everything = bytes(range(256))
    worker = server.connect(everything)
    job = server.submit(everything, everything, unique=everything[:64])
    assert server.engine.grab(worker) is job
    assert (job.function.name, job.unique, job.workload) == (everything, everything[:64], everything)


def test_empty_names_uniques_and_workloads(server: Server) -> None:
    worker = server.connect(b"")
    first, second = server.submit(b"", b""), server.submit(b"", b"")
    assert first is not second
    assert [server.engine.grab(worker) for _ in range(3)] == [first, second, None]


@pytest.mark.parametrize(
    ("name", "unique", "expected"),
    [
        (b"f" * 512, b"u" * 64, None),
        (b"f", b"u" * 65, (b"ARGUMENT_TOO_LARGE", b"Unique value too large")),
        (b"f", b"-" * 65, (b"ARGUMENT_TOO_LARGE", b"Unique value too large")),
        (b"f" * 513, b"", (b"ARGUMENT_TOO_LARGE", b"Function name too large")),
    ],
)
@pytest.mark.parametrize("background", [True, False])
def test_lengths(
    server: Server, name: bytes, unique: bytes, expected: tuple[bytes, bytes] | None, background: bool
) -> None:
    client = None if background else server.connect()
    if expected is None:
        assert server.submit(name, unique=unique, client=client).state is QUEUED
        return
    with pytest.raises(QueueError) as refused:
        server.ask(name, unique=unique, client=client)
    assert refusal(refused.value) == expected
    assert (server.disk.asked, server.live()) == ([], [])


def test_a_worker_may_not_register_a_name_that_is_too_long(server: Server) -> None:
    with pytest.raises(QueueError):
        server.connect(b"f" * 513)
    assert server.engine.functions == {}


def test_maxqueue_counts_waiting_and_running_jobs(server: Server) -> None:
    worker = server.connect(b"f")
    server.engine.function(b"f").maximums = [0, 2, 1]
    server.engine.function(b"f").set_limits()
    first = server.submit(b"f", priority=LOW)
    server.submit(b"f")
    for priority in (NORMAL, LOW):
        with pytest.raises(QueueError) as refused:
            server.ask(b"f", priority=priority)
        assert refusal(refused.value) == (b"QUEUE_ERROR", b"Job queue is full")
    server.submit(b"f", priority=HIGH)  # unlimited
    assert server.engine.grab(worker) is not None
    with pytest.raises(QueueError):
        server.ask(b"f")
    assert server.counts() == {"queued": 2, "running": 1}
    assert server.work(worker) == [b"w", b"w"]
    server.engine.complete(next(iter(worker.jobs.values())), b"")
    server.disk.commit()
    assert server.submit(b"f", priority=LOW).id > first.id


def test_a_submit_that_joins_a_job_is_not_limited(server: Server) -> None:
    server.engine.function(b"f").maximums = [1, 1, 1]
    server.engine.function(b"f").set_limits()
    job = server.submit(b"f", unique=b"u")
    assert server.ask(b"f", unique=b"u") is job


def test_while_draining_foreground_is_refused_and_background_is_stored(server: Server) -> None:
    worker = server.sleeper(b"f")
    server.engine.draining = True
    with pytest.raises(QueueError) as refused:
        server.ask(b"f", client=server.connect())
    assert refused.value.code == b"QUEUE_ERROR"
    job = server.submit(b"f")
    assert (job.state, server.woken(), server.engine.grab(worker), server.engine.sleep(worker)) == (
        QUEUED, [], None, True
    )  # fmt: skip


def test_refusals_do_not_pile_up(server: Server) -> None:
    """An exception that is raised again and again must not keep the frames, and so the workloads, of each time."""
    server.engine.function(b"f").maximums = [1, 1, 1]
    server.engine.function(b"f").set_limits()
    server.submit(b"f")
    client = server.connect()

    def frames(submit: Callable[[], object]) -> int:
        with pytest.raises(QueueError) as refused:
            submit()
        traceback, depth = refused.value.__traceback__, 0
        while traceback is not None:
            traceback, depth = traceback.tb_next, depth + 1
        return depth

    refused: list[Callable[[], object]] = [
        lambda: server.ask(b"f"),
        lambda: server.ask(b"f", unique=b"u" * 65),
        lambda: server.ask(b"f" * 513),
        lambda: server.ask(b"g", client=client),
    ]
    server.engine.draining = True
    for submit in refused[3:]:
        assert len({frames(submit) for _ in range(5)}) == 1
    server.engine.draining = False
    for submit in refused[:3]:
        assert len({frames(submit) for _ in range(5)}) == 1


def test_without_numbers_nothing_is_accepted(server: Server) -> None:
    server.engine.ids_until = server.engine.next_id
    for client in (None, server.connect()):
        with pytest.raises(QueueError) as refused:
            server.ask(b"f", client=client)
        assert refused.value.code == b"QUEUE_ERROR"
    assert (server.live(), server.engine.functions[b"f"].total) == ([], 0)


def test_running_jobs_come_back_also_when_numbers_are_short(server: Server) -> None:
    """A disk that stays full for a million foreground jobs must not cost those that a worker loses."""
    client, worker = server.connect(), server.connect(b"f")
    job = server.ask(b"f", client=client)
    delayed = server.submit(b"f", b"delayed", run_at=NOW + 1000)
    assert server.engine.grab(worker) is job
    refused = False
    for _ in range(10):
        server.engine.ids_until = server.engine.next_id
        try:
            server.ask(b"f", b"more", client=client)
        except QueueError:
            refused = True
    assert refused
    server.engine.disconnect(worker)
    server.advance(1000)
    other = server.connect(b"f")
    assert {server.engine.grab(other), server.engine.grab(other)} == {job, delayed}


def test_a_refused_job_never_runs(server: Server) -> None:
    worker = server.sleeper(b"f")
    job = server.ask(b"f", unique=b"u")
    delayed = server.ask(b"f", unique=b"v", run_at=NOW + 1)
    server.disk.refuse()
    assert (server.woken(), server.engine.grab(worker), server.counts(), server.live()) == ([], None, {}, [])
    server.advance(10)
    assert server.engine.grab(worker) is None
    again = server.submit(b"f", unique=b"u")
    assert again.handle not in (job.handle, delayed.handle)
    assert server.engine.grab(worker) is again


# Numbers and names


def test_numbers_of_handles(server: Server) -> None:
    engine = server.engine
    engine.prefixes = [(0, b"H:old:"), (100, b"H:new:"), (200, b"H:old:")]
    engine.next_id = 300
    assert [engine.handle(id) for id in (1, 99, 100, 199, 200)] == [
        b"H:old:000000000001", b"H:old:000000000099", b"H:new:000000000100", b"H:new:000000000199",
        b"H:old:000000000200",
    ]  # fmt: skip
    assert [engine.number(engine.handle(id)) for id in (1, 99, 100, 199, 200)] == [1, 99, 100, 199, 200]
    assert server.ask(b"f").handle == b"H:old:000000000300"


@pytest.mark.parametrize(
    "handle",
    [
        b"",
        b"H:localhost:",
        b"H:localhost:1",  # gearmand's own form is not ours
        b"H:localhost:000000000011",  # not given out yet
        b"H:localhost:0000000000001",  # too wide
        b"H:localhost:00000000000x",
        b"H:localhost:+00000000001",
        b"H:other:000000000001",
        b"000000000001",
        b"H:localhost:000000000001\0",
        b"H:localhost:" + b"\xd9\xa1" * 12,  # digits, but not of ASCII
        b"H:localhost:" + b"9" * 64,
        b"H:localhost:" + b"9" * 5000,  # int() refuses more than 4300
        b"H:localhost:" + b"0" * 5000 + b"1",
    ],
)
def test_what_is_no_handle_of_ours(server: Server, handle: bytes) -> None:
    for _ in range(10):
        server.ask(b"f")
    assert server.engine.number(b"H:localhost:000000000010") == 10
    assert server.engine.number(handle) is None


def test_handles_go_on_where_their_digits_end(server: Server) -> None:
    server.engine.next_id, server.engine.ids_until = 10**12, 10**13
    job = server.ask(b"f")
    assert job.handle == b"H:localhost:1000000000000"
    assert server.engine.number(job.handle) == 10**12


# Order


def test_priorities_first_then_first_come_first_served(server: Server) -> None:
    worker = server.connect(b"f")
    for n in (1, 2):
        for priority in (LOW, NORMAL, HIGH):
            server.submit(b"f", b"%d%d" % (priority, n), priority=priority)
    assert server.work(worker) == [b"01", b"02", b"11", b"12", b"21", b"22"]


def test_foreground_and_background_share_one_queue(server: Server) -> None:
    worker, client = server.connect(b"f"), server.connect()
    for n in range(10):
        server.submit(b"f", b"%d" % n, client=client if n % 3 else None)
    assert server.work(worker) == [b"%d" % n for n in range(10)]


def fill_a_and_b(server: Server) -> None:
    for name in (b"A", b"B"):
        for priority, letter in ((LOW, b"L"), (NORMAL, b"N"), (HIGH, b"H")):
            for _ in range(2):
                server.submit(name, name + letter, priority=priority)


def test_the_function_registered_last_is_served_first(server: Server) -> None:
    fill_a_and_b(server)
    worker = server.connect(b"A", b"B")
    assert server.work(worker) == [
        b"BH", b"BH", b"BN", b"BN", b"BL", b"BL", b"AH", b"AH", b"AN", b"AN", b"AL", b"AL"
    ]  # fmt: skip


def test_registering_again_makes_a_function_the_newest(server: Server) -> None:
    fill_a_and_b(server)
    worker = server.connect(b"A", b"B", b"A")
    assert [job[:1] for job in server.work(worker)] == [b"A"] * 6 + [b"B"] * 6
    assert server.engine.functions[b"A"].workers == {worker: None}


def test_round_robin_takes_turns() -> None:
    server = Server(round_robin=True)
    fill_a_and_b(server)
    assert server.work(server.connect(b"A", b"B")) == [
        b"BH", b"AH", b"BH", b"AH", b"BN", b"AN", b"BN", b"AN", b"BL", b"AL", b"BL", b"AL"
    ]  # fmt: skip


def test_round_robin_does_not_move_functions_without_jobs() -> None:
    server = Server(round_robin=True)
    worker = server.connect(b"A", b"B", b"C")
    for name in (b"A", b"A", b"B"):
        server.submit(name, name)
    assert server.work(worker) == [b"B", b"A", b"A"]


def test_global_priorities_come_before_functions() -> None:
    server = Server(global_priority=True)
    fill_a_and_b(server)
    assert server.work(server.connect(b"A", b"B")) == [
        b"BH", b"BH", b"AH", b"AH", b"BN", b"BN", b"AN", b"AN", b"BL", b"BL", b"AL", b"AL"
    ]  # fmt: skip


def test_global_priorities_with_round_robin() -> None:
    server = Server(global_priority=True, round_robin=True)
    fill_a_and_b(server)
    assert server.work(server.connect(b"A", b"B")) == [
        b"BH", b"AH", b"BH", b"AH", b"BN", b"AN", b"BN", b"AN", b"BL", b"AL", b"BL", b"AL"
    ]  # fmt: skip


def test_the_priority_scope_may_change_while_serving(server: Server) -> None:
    fill_a_and_b(server)
    worker = server.connect(b"A", b"B")
    for _ in range(2):
        assert server.engine.grab(worker)
    server.engine.set_priority_scope(True)
    job = server.engine.grab(worker)
    assert job is not None and job.workload == b"AH"


def test_a_worker_gets_only_what_it_can_do(server: Server) -> None:
    server.submit(b"f")
    assert server.engine.grab(server.connect()) is None
    assert server.engine.grab(server.connect(b"g")) is None
    other = server.connect(b"f")
    server.engine.cant_do(other, server.engine.functions[b"f"])
    assert server.engine.grab(other) is None
    assert server.engine.grab(server.connect(b"f")) is not None


# Coalescing


@pytest.mark.parametrize("first_in_background", [True, False])
@pytest.mark.parametrize("second_in_background", [True, False])
@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("priority", PRIORITIES)
def test_equal_function_and_unique_are_one_job(
    server: Server, first_in_background: bool, second_in_background: bool, running: bool, priority: int
) -> None:
    worker = server.connect(b"f", b"g")
    first = server.submit(b"f", b"data", unique=b"u", client=None if first_in_background else server.connect())
    if running:
        assert server.engine.grab(worker) is first
    server.woken()
    again = server.submit(
        b"f", b"other", unique=b"u", priority=priority, client=None if second_in_background else server.connect()
    )
    assert again is first
    assert (first.workload, first.priority, server.woken()) == (b"data", NORMAL, [])
    assert server.submit(b"g", b"data", unique=b"u") is not first
    assert server.submit(b"f", b"data", unique=b"U") is not first
    if not running:
        assert server.engine.grab(worker) is not None
        assert server.engine.grab(worker) is first
    server.engine.complete(first, b"")
    server.engine.told(first)
    assert server.ask(b"f", unique=b"u") is not first


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
def test_an_ended_job_is_not_joined_even_before_its_end_is_durable(server: Server, end: str) -> None:
    worker = server.connect(b"f")
    job = server.submit(b"f", unique=b"u")
    assert server.engine.grab(worker) is job
    if end == "complete":
        server.engine.complete(job, b"")
    elif end == "fail":
        server.engine.fail(job, Reason.FAIL)
    else:
        server.engine.cancel(job)
    again = server.ask(b"f", unique=b"u")
    assert again is not job
    server.disk.commit()
    assert server.engine.grab(worker) is again
    assert server.ask(b"f", unique=b"u") is again


def test_dash_coalesces_by_workload(server: Server) -> None:
    job = server.submit(b"f", b"data", unique=b"-")
    assert server.ask(b"f", b"data", unique=b"-") is job
    assert server.ask(b"f", b"data", unique=b"-", client=server.connect()) is job
    assert job.unique == b"-"
    assert server.ask(b"f", b"atad", unique=b"-") is not job
    assert server.ask(b"f", b"", unique=b"-") is not server.ask(b"f", b"", unique=b"-")
    named = server.submit(b"f", unique=b"name")
    assert server.ask(b"f", b"name", unique=b"-") is named
    long = server.ask(b"f", b"x" * 1000, unique=b"-")
    assert server.ask(b"f", b"x" * 1000, unique=b"-") is long
    assert server.ask(b"f", b"x" * 999 + b"y", unique=b"-") is not long


def test_empty_uniques_never_coalesce(server: Server) -> None:
    assert len({server.ask(b"f", b"same").handle for _ in range(3)}) == 3


def test_a_delayed_job_is_joined(server: Server) -> None:
    client = server.connect()
    job = server.submit(b"f", unique=b"u", run_at=NOW + 1000)
    assert server.ask(b"f", unique=b"u") is job
    assert server.ask(b"f", unique=b"u", client=client) is job
    assert job.state is DELAYED
    server.advance(1000)
    server.disk.commit()
    assert server.engine.grab(server.connect(b"f")) is job
    assert list(job.listeners) == [client]


def test_two_submits_of_one_client_are_two_listeners(server: Server) -> None:
    client = server.connect()
    job = server.ask(b"f", unique=b"u", client=client)
    server.ask(b"f", unique=b"u", client=client)
    assert list(job.listeners) == [client, client]
    server.engine.disconnect(client)
    assert job.state is CANCELLED


def test_background_that_joins_foreground_is_stored_and_stays(server: Server) -> None:
    client, worker = server.connect(), server.connect(b"f")
    job = server.ask(b"f", unique=b"u", client=client)
    assert server.ask(b"f", unique=b"u") is job
    assert job.batch is not None  # what its acknowledgement waits for
    server.disk.commit()
    assert server.disk.rows[job.id].state == QUEUED
    server.engine.disconnect(client)
    assert server.engine.grab(worker) is job
    server.engine.disconnect(worker)
    server.disk.commit()
    other = server.connect(b"f")
    assert server.engine.grab(other) is job
    assert server.engine.grab(other) is None
    server.engine.complete(job, b"")
    server.disk.commit()
    assert server.disk.rows[job.id].state == DONE


def test_background_that_joins_a_running_foreground_job(server: Server) -> None:
    client, worker = server.connect(), server.connect(b"f")
    job = server.ask(b"f", unique=b"u", client=client)
    assert server.engine.grab(worker) is job
    assert server.ask(b"f", unique=b"u") is job
    server.disk.commit()
    assert server.disk.rows[job.id].state == RUNNING
    server.engine.disconnect(client)
    server.engine.disconnect(worker)
    assert (job.state, server.counts()) == (QUEUED, {"queued": 1})
    assert server.engine.grab(server.connect(b"f")) is job


def test_background_that_is_refused_leaves_the_foreground_job_as_it_was(server: Server) -> None:
    client, worker = server.connect(), server.connect(b"f")
    job = server.ask(b"f", unique=b"u", client=client)
    server.ask(b"f", unique=b"u")
    server.disk.refuse()
    assert not job.background
    assert server.engine.grab(worker) is job
    server.engine.complete(job, b"")
    assert (server.disk.pending, server.live(), server.counts()) == ({}, [], {})


def test_background_that_is_refused_after_the_foreground_client_left(server: Server) -> None:
    client, worker = server.connect(), server.connect(b"f")
    server.ask(b"f", unique=b"u", client=client)
    server.ask(b"f", unique=b"u")
    server.engine.disconnect(client)
    server.disk.refuse()
    assert (server.engine.grab(worker), server.counts(), server.live()) == (None, {}, [])


def test_background_that_is_refused_after_the_job_ended(server: Server) -> None:
    client, worker = server.connect(), server.connect(b"f")
    job = server.ask(b"f", unique=b"u", client=client)
    server.ask(b"f", unique=b"u")
    assert server.engine.grab(worker) is job
    server.engine.complete(job, b"")
    server.engine.told(job)
    server.disk.refuse()
    assert (server.counts(), dict(server.engine.jobs)) == ({}, {})


def test_background_that_is_refused_after_the_job_was_lost_and_spilled() -> None:
    server = Server(window=1)
    client, worker = server.connect(), server.connect(b"f")
    job = server.ask(b"f", b"first", unique=b"u", client=client)
    server.ask(b"f", unique=b"u")
    for workload in (b"a", b"b"):
        server.disk.asked.append(("-", server.ask(b"f", workload, client=None).id))
    assert server.engine.grab(worker) is job
    server.engine.disconnect(worker)
    server.disk.refuse()
    other = server.connect(b"f")
    assert server.work(other) == [b"first"]
    assert server.counts() == {}


def test_foreground_that_joins_background_never_takes_it_along(server: Server) -> None:
    job = server.submit(b"f", unique=b"u")
    client, worker = server.connect(), server.connect(b"f")
    assert server.ask(b"f", unique=b"u", client=client) is job
    server.engine.disconnect(client)
    assert server.engine.grab(worker) is job
    other = server.connect()
    assert server.ask(b"f", unique=b"u", client=other) is job
    server.engine.disconnect(other)
    server.engine.disconnect(worker)
    assert server.engine.grab(server.connect(b"f")) is job


# Reports


def test_what_a_completion_leaves(server: Server) -> None:
    worker = server.connect(b"f", client_id=b"w1")
    job = server.submit(b"f")
    server.engine.now += 5
    assert server.engine.grab(worker) is job
    server.engine.now += 10
    server.engine.complete(job, b"result\0")
    assert job.batch is not None
    server.disk.commit()
    kept = server.disk.rows[job.id]
    assert (kept.state, kept.attempts, kept.worker, kept.result, kept.result_size) == (DONE, 1, b"w1", b"result\0", 7)
    assert (kept.created_at, kept.started_at, kept.ended_at) == (NOW, NOW + 5, NOW + 15)
    assert (server.counts(), worker.jobs, dict(server.engine.jobs)) == ({"done": 1}, {}, {})


@pytest.mark.parametrize("reason", [Reason.FAIL, Reason.EXCEPTION])
def test_failures_are_final(server: Server, reason: bytes) -> None:
    worker = server.connect(b"f")
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    server.engine.fail(job, reason, b"why")
    server.disk.commit()
    kept = server.disk.rows[job.id]
    assert (kept.state, kept.reason, kept.error, kept.attempts) == (FAILED, reason, b"why", 1)
    assert (server.engine.grab(worker), server.counts()) == (None, {"failed": 1})


def test_the_worker_named_is_the_one_that_ran_it_last(server: Server) -> None:
    named, nameless = server.connect(b"f", client_id=b"w1"), server.connect(b"f")
    job = server.submit(b"f")
    assert server.engine.grab(named) is job
    server.engine.disconnect(named)
    assert server.engine.grab(nameless) is job
    server.engine.complete(job, b"")
    server.disk.commit()
    assert server.disk.rows[job.id].worker in (b"", b"-")


def test_reports_are_taken_from_the_worker_that_holds_the_job(server: Server) -> None:
    worker, other = server.connect(b"f"), server.connect(b"f")
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    assert server.engine.held(worker, job.handle, b"text") is job
    for peer, handle in ((other, job.handle), (worker, b"H:localhost:000000000002"), (worker, b"")):
        with pytest.raises(QueueError) as refused:
            server.engine.held(peer, handle, b"text")
        assert refusal(refused.value) == (b"JOB_NOT_FOUND", b"text")


@pytest.mark.parametrize("how", ["complete", "timeout", "cant_do", "cancel"])
def test_late_reports_are_ignored(server: Server, how: str) -> None:
    """Perl workers die of an unexpected ERROR, and send WORK_FAIL after WORK_EXCEPTION."""
    worker = server.connect(b"f", timeout=1000)
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    if how == "complete":
        server.engine.complete(job, b"")
    elif how == "timeout":
        server.advance(1000)
    elif how == "cant_do":
        server.engine.cant_do(worker, job.function)
    else:
        server.engine.cancel(job)
    assert server.engine.held(worker, job.handle, b"") is None


def test_a_worker_may_hold_many_jobs(server: Server) -> None:
    worker = server.connect(b"f")
    jobs = [server.submit(b"f", b"%d" % n) for n in range(3)]
    assert [server.engine.grab(worker) for _ in jobs] == jobs
    for job in reversed(jobs):
        server.engine.complete(job, b"")
    assert (server.counts(), worker.jobs) == ({"done": 3}, {})


# Workers that go away


@pytest.mark.parametrize("how", ["disconnect", "cant_do", "timeout"])
def test_a_lost_job_goes_to_the_end_of_its_priority(server: Server, how: str) -> None:
    worker, other = server.connect(b"f", timeout=1000), server.connect(b"f")
    jobs = [server.submit(b"f", b"%d" % n) for n in range(3)]
    low = server.submit(b"f", b"low", priority=LOW)
    assert server.engine.grab(worker) is jobs[0]
    jobs[0].numerator, jobs[0].denominator = b"3", b"10"
    assert server.engine.sleep(server.connect(b"g"))
    if how == "disconnect":
        server.engine.disconnect(worker)
    elif how == "cant_do":
        server.engine.cant_do(worker, jobs[0].function)
    else:
        server.advance(1000)
    assert (jobs[0].state, jobs[0].attempts, jobs[0].worker) == (QUEUED, 1, None)
    assert jobs[0].reason == (Reason.TIMEOUT if how == "timeout" else Reason.LOST)
    assert (jobs[0].numerator, jobs[0].denominator) == (b"0", b"0")
    assert jobs[0].batch is not None
    assert [server.engine.grab(other) for _ in range(5)] == [jobs[1], jobs[2], jobs[0], low, None]


def test_a_lost_job_stands_behind_a_submit_that_is_being_stored(server: Server) -> None:
    """In the order in which a restart would read them."""
    worker, other = server.connect(b"f"), server.connect(b"f")
    server.submit(b"f", b"lost")
    assert server.engine.grab(worker)
    server.ask(b"f", b"on its way")
    server.engine.disconnect(worker)
    server.disk.commit()
    assert server.work(other) == [b"on its way", b"lost"]


def test_jobs_of_a_lost_worker_keep_their_order(server: Server) -> None:
    worker, other = server.connect(b"f"), server.connect(b"f")
    jobs = [server.submit(b"f", b"%d" % n) for n in range(4)]
    for _ in jobs:
        server.engine.grab(worker)
    server.engine.disconnect(worker)
    assert [server.engine.grab(other) for _ in jobs] == jobs


def test_cant_do_leaves_jobs_of_other_functions_alone(server: Server) -> None:
    worker = server.connect(b"f", b"g")
    jobs = [server.submit(b"f"), server.submit(b"g")]
    assert {server.engine.grab(worker), server.engine.grab(worker)} == set(jobs)
    server.engine.cant_do(worker, server.engine.functions[b"f"])
    assert ([job.state for job in jobs], list(worker.jobs.values())) == ([QUEUED, RUNNING], [jobs[1]])
    server.engine.cant_do(worker, server.engine.functions[b"f"])  # not its own any more: nothing happens
    assert jobs[0].attempts == 1


@pytest.mark.parametrize("attempts", [1, 2, 3])
@pytest.mark.parametrize("how", ["disconnect", "timeout"])
@pytest.mark.parametrize("background", [True, False])
def test_job_retries_is_the_number_of_attempts(attempts: int, how: str, background: bool) -> None:
    server = Server(job_retries=attempts)
    client = server.connect()
    job = server.submit(b"f", unique=b"u", client=None if background else client)
    if background:
        server.submit(b"f", unique=b"u", client=client)
    for number in range(1, attempts + 1):
        assert server.failures() == []
        worker = server.connect(b"f", timeout=1000)
        assert server.engine.grab(worker) is job
        if how == "disconnect":
            server.engine.disconnect(worker)
        else:
            server.advance(1000)
        assert job.attempts == number
        server.disk.commit()
    assert server.engine.grab(server.connect(b"f")) is None
    assert server.failures() == [(job.handle, [client])]
    assert list(job.listeners) == []
    if background:
        kept = server.disk.rows[job.id]
        assert (kept.state, kept.attempts, kept.ended_at) == (FAILED, attempts, server.engine.now)
        assert kept.reason == (Reason.TIMEOUT if how == "timeout" else Reason.LOST)
        assert server.counts() == {"failed": 1}
    else:
        assert (server.disk.rows, server.counts()) == ({}, {})
    assert server.engine.jobs == {}


def test_without_a_limit_jobs_are_tried_for_ever(server: Server) -> None:
    job = server.submit(b"f")
    for _ in range(300):
        worker = server.connect(b"f")
        assert server.engine.grab(worker) is job
        server.engine.disconnect(worker)
        server.disk.commit()
    assert (job.attempts, job.state) == (300, QUEUED)


def test_nothing_is_kept_of_a_peer_that_left(server: Server) -> None:
    peer = server.sleeper(b"f")
    server.submit(b"f", unique=b"u", client=peer)
    server.engine.disconnect(peer)
    function = server.engine.functions[b"f"]
    assert (function.workers, function.sleepers, server.live(), server.counts()) == ({}, {}, [], {})


# Timeouts


@pytest.mark.parametrize(("asked", "after"), [(1, 1000), (5, 1000), (999, 1000), (1000, 1000), (2500, 2500)])
def test_a_timeout_is_in_milliseconds_and_a_second_at_least(server: Server, asked: int, after: int) -> None:
    worker = server.connect(b"f", timeout=asked)
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    assert server.engine.next_wait() == after
    sleeper = server.sleeper(b"f")
    server.advance(after - 1)
    assert (job.state, server.engine.next_wait()) == (RUNNING, 1)
    server.advance(1)
    assert (job.state, server.woken()) == (QUEUED, [sleeper])
    assert server.engine.grab(sleeper) is job
    assert server.engine.next_wait() is None


@pytest.mark.parametrize("timeout", [0, -1, -5000])
def test_no_timeout(server: Server, timeout: int) -> None:
    worker = server.connect(b"f", timeout=timeout)
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    assert server.engine.next_wait() is None
    server.advance(1 << 40)
    assert job.state is RUNNING


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "disconnect", "cant_do"])
def test_a_timeout_ends_with_the_attempt(server: Server, end: str) -> None:
    """gearmand's timer goes on, and the finished job is assigned again with empty data."""
    worker = server.connect(b"f", timeout=1000)
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    match end:
        case "complete":
            server.engine.complete(job, b"")
        case "fail":
            server.engine.fail(job, Reason.FAIL)
        case "cancel":
            server.engine.cancel(job)
        case "disconnect":
            server.engine.disconnect(worker)
        case _:
            server.engine.cant_do(worker, job.function)
    server.disk.commit()
    counts, attempts = server.counts(), job.attempts
    assert server.engine.next_wait() is None
    server.advance(10_000)
    assert (server.counts(), job.attempts) == (counts, attempts)


def test_each_job_of_a_worker_has_its_own_timeout(server: Server) -> None:
    worker = server.connect(b"f", timeout=1000)
    jobs = [server.submit(b"f"), server.submit(b"f")]
    assert server.engine.grab(worker) is jobs[0]
    server.advance(400)
    assert server.engine.grab(worker) is jobs[1]
    server.advance(600)
    assert [job.state for job in jobs] == [QUEUED, RUNNING]
    server.advance(400)
    assert [job.state for job in jobs] == [QUEUED, QUEUED]


def test_the_wall_clock_does_not_move_timeouts(server: Server) -> None:
    worker = server.connect(b"f", timeout=1000)
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    server.engine.now += 1 << 40
    server.engine.tick()
    assert job.state is RUNNING


def test_registering_again_changes_the_timeout(server: Server) -> None:
    worker = server.connect(b"f", timeout=1000)
    server.engine.can_do(worker, b"f", 0)
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    server.advance(10_000)
    assert job.state is RUNNING


# Clients that leave


def test_an_abandoned_queued_job_never_runs(server: Server) -> None:
    client, worker = server.connect(), server.connect(b"f")
    job = server.ask(b"f", b"abandoned", unique=b"u", client=client)
    server.ask(b"f", b"stays", client=server.connect())
    server.engine.disconnect(client)
    assert (job.state, server.counts()) == (CANCELLED, {"queued": 1})
    again = server.ask(b"f", b"new", unique=b"u", client=server.connect())
    assert again is not job  # gearmand lets it join, and wait for ever
    assert server.work(worker) == [b"stays", b"new"]


def test_an_abandoned_running_job_is_not_run_again(server: Server) -> None:
    client, worker, other = server.connect(), server.connect(b"f"), server.connect(b"f")
    job = server.ask(b"f", client=client)
    assert server.engine.grab(worker) is job
    server.engine.disconnect(client)
    assert job.state is RUNNING
    assert server.engine.held(worker, job.handle, b"") is job
    server.engine.disconnect(worker)
    assert (server.engine.grab(other), server.counts(), server.live()) == (None, {}, [])
    assert server.failures() == []


def test_a_running_job_that_was_abandoned_can_be_joined(server: Server) -> None:
    client, worker, other = server.connect(), server.connect(b"f"), server.connect(b"f")
    job = server.ask(b"f", unique=b"u", client=client)
    assert server.engine.grab(worker) is job
    server.engine.disconnect(client)
    assert server.ask(b"f", unique=b"u", client=server.connect()) is job
    server.engine.disconnect(worker)
    assert server.engine.grab(other) is job


def test_a_job_with_a_client_left_goes_on(server: Server) -> None:
    first, second, worker = server.connect(), server.connect(), server.connect(b"f")
    job = server.ask(b"f", unique=b"u", client=first)
    server.ask(b"f", unique=b"u", client=second)
    server.engine.disconnect(first)
    assert list(job.listeners) == [second]
    assert server.engine.grab(worker) is job


def test_a_background_job_outlives_its_client(server: Server) -> None:
    client, worker = server.connect(), server.connect(b"f")
    job = server.engine.submit(client, b"f", b"", b"w", NORMAL, True)
    server.engine.disconnect(client)
    server.disk.commit()
    assert server.engine.grab(worker) is job


def test_a_peer_that_is_client_and_worker_of_one_job(server: Server) -> None:
    peer, other = server.connect(b"f"), server.sleeper(b"f")
    job = server.ask(b"f", client=peer)
    assert server.engine.grab(peer) is job
    server.engine.disconnect(peer)
    assert (server.engine.grab(other), server.counts(), server.live()) == (None, {}, [])


def jobs_in_memory() -> int:
    gc.collect()
    return sum(isinstance(each, Job) for each in gc.get_objects())


def test_abandoned_jobs_do_not_fill_memory(server: Server) -> None:
    """Clients that give up on a function without workers, again and again."""
    before = jobs_in_memory()
    server.ask(b"f", b"stays", client=server.connect())
    for _ in range(20_000):
        client = server.connect()
        server.ask(b"f", b"x" * 100, client=client)
        server.engine.disconnect(client)
    assert jobs_in_memory() - before < 5_000
    assert server.work(server.connect(b"f")) == [b"stays"]


def test_cancelled_jobs_do_not_fill_memory(server: Server) -> None:
    before = jobs_in_memory()
    server.submit(b"f", b"stays")
    for _ in range(20_000):
        server.engine.cancel(server.submit(b"f"))
        server.disk.commit()
        server.disk.rows.clear()
    assert jobs_in_memory() - before < 5_000
    assert server.work(server.connect(b"f")) == [b"stays"]


# Cancelling


@pytest.mark.parametrize(
    ("state", "background"), [(QUEUED, True), (QUEUED, False), (RUNNING, True), (RUNNING, False), (DELAYED, True)]
)
def test_cancel(server: Server, background: bool, state: int) -> None:
    client, worker = server.connect(), server.connect(b"f")
    job = server.submit(
        b"f", unique=b"u", client=None if background else client, run_at=NOW + 1000 if state == DELAYED else 0
    )
    if background:
        server.submit(b"f", unique=b"u", client=client)
    if state == RUNNING:
        assert server.engine.grab(worker) is job
    server.woken()
    server.engine.cancel(job)
    assert server.failures() == [(job.handle, [client])]
    assert (job.state, list(job.listeners), worker.jobs, server.woken()) == (CANCELLED, [], {}, [])
    with pytest.raises(QueueError):
        server.engine.cancel(job)
    assert server.failures() == []
    again = server.ask(b"f", unique=b"u")
    assert again is not job
    server.disk.commit()
    assert server.engine.next_wait() is None
    server.advance(2000)
    assert server.engine.grab(worker) is again
    assert server.engine.grab(worker) is None
    if background:
        kept = server.disk.rows[job.id]
        assert (kept.state, kept.reason, kept.ended_at) == (CANCELLED, Reason.CANCELLED, NOW)


@pytest.mark.parametrize("state", [DONE, FAILED])
def test_an_ended_job_is_not_cancelled(server: Server, state: int) -> None:
    worker = server.connect(b"f")
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    if state == DONE:
        server.engine.complete(job, b"")
    else:
        server.engine.fail(job, Reason.FAIL)
    with pytest.raises(QueueError):
        server.engine.cancel(job)
    assert job.state is state


def test_cancel_before_the_first_commit(server: Server) -> None:
    worker = server.connect(b"f")
    job = server.ask(b"f", unique=b"u")
    delayed = server.ask(b"f", run_at=NOW + 1000)
    server.engine.cancel(job)
    server.engine.cancel(delayed)
    assert server.ask(b"f", b"again", unique=b"u") is not job
    server.disk.commit()
    server.advance(1000)
    assert server.work(worker) == [b"again"]
    assert server.counts() == {"cancelled": 2, "done": 1}
    assert server.engine.delayed_on_disk == 0


def test_cancel_of_a_held_job(server: Server) -> None:
    job = server.submit(b"f")
    job.place, job.state = 0, HELD  # as a record of a held job is loaded
    job.function.states[QUEUED], job.function.states[HELD], job.function.queued[NORMAL] = 0, 1, 0
    server.engine.cancel(job)
    server.disk.commit()
    assert server.disk.rows[job.id].state == CANCELLED


# Sleeping and waking


def test_a_worker_that_sleeps_is_woken_once(server: Server) -> None:
    worker = server.sleeper(b"f")
    for _ in range(3):
        server.submit(b"f")
    assert server.woken() == [worker]
    assert not server.engine.sleep(worker)


@pytest.mark.parametrize(
    ("wakeup", "expected"),
    [(AUTO, [1, 1, 1]), (0, [4, 0, 0]), (1, [1, 1, 1]), (2, [2, 2, 0]), (9, [4, 0, 0])],
)
@pytest.mark.parametrize("background", [True, False])
def test_worker_wakeup(wakeup: int, expected: list[int], background: bool) -> None:
    server = Server(worker_wakeup=wakeup)
    sleepers = [server.sleeper(b"f") for _ in range(4)]
    awake, other = server.connect(b"f"), server.sleeper(b"g")
    client = None if background else server.connect()
    woken = []
    for _ in range(3):
        server.submit(b"f", client=client)
        woken.append(server.woken())
    assert [len(peers) for peers in woken] == expected
    assert [peer for peers in woken for peer in peers] == sleepers[: sum(expected)]
    assert not awake.asleep and other.asleep


@pytest.mark.parametrize("wakeup", [AUTO, 1])
def test_worker_wakeup_for_jobs_of_one_commit(wakeup: int) -> None:
    server = Server(worker_wakeup=wakeup)
    sleepers = [server.sleeper(b"f") for _ in range(4)]
    for _ in range(3):
        server.ask(b"f")
    server.disk.commit()
    assert server.woken() == sleepers[:3]


@pytest.mark.parametrize("wakeup", [AUTO, 1])
def test_worker_wakeup_takes_turns(wakeup: int) -> None:
    server = Server(worker_wakeup=wakeup)
    sleepers = [server.sleeper(b"f") for _ in range(3)]
    woken = []
    for _ in range(6):
        server.submit(b"f")
        (peer,) = server.woken()
        woken.append(peer)
        job = server.engine.grab(peer)
        assert job is not None
        server.engine.complete(job, b"")
        assert server.engine.sleep(peer)
    assert woken == sleepers * 2


@pytest.mark.parametrize("wakeup", [AUTO, 1, 2])
def test_the_one_that_was_woken_leaves(wakeup: int) -> None:
    server = Server(worker_wakeup=wakeup)
    sleepers = [server.sleeper(b"f") for _ in range(4)]
    job = server.submit(b"f")
    woken = server.woken()
    for peer in woken:
        server.engine.disconnect(peer)
    (next_one, *_) = server.woken()
    assert next_one in sleepers and next_one not in woken
    assert server.engine.grab(next_one) is job


@pytest.mark.parametrize("wakeup", [AUTO, 1])
def test_the_one_that_was_woken_cannot_do_it_any_more(wakeup: int) -> None:
    server = Server(worker_wakeup=wakeup)
    first, second = server.sleeper(b"f"), server.sleeper(b"f")
    server.submit(b"f")
    assert server.woken() == [first]
    server.engine.cant_do(first, server.engine.functions[b"f"])
    assert server.woken() == [second]


def test_a_job_that_comes_back_wakes(server: Server) -> None:
    worker, other = server.connect(b"f"), server.connect(b"f")
    server.submit(b"f")
    assert server.engine.grab(worker) is not None
    assert server.engine.sleep(other)
    server.engine.disconnect(worker)
    assert server.woken() == [other]


def test_a_delayed_job_wakes_when_it_is_due(server: Server) -> None:
    worker = server.sleeper(b"f")
    job = server.submit(b"f", run_at=NOW + 5000)
    assert (server.woken(), server.engine.next_wait()) == ([], 5000)
    server.advance(4999)
    assert (server.woken(), server.engine.grab(worker)) == ([], None)
    assert server.engine.sleep(worker)
    server.advance(1)
    assert server.woken() == [worker]
    assert server.engine.grab(worker) is job


def test_sleep_with_a_job_waiting(server: Server) -> None:
    worker = server.connect(b"f")
    server.submit(b"f")
    for _ in range(3):
        assert not server.engine.sleep(worker)
        assert not worker.asleep
    assert server.woken() == []


def test_no_lost_wakeup_after_a_noop_without_grab(server: Server) -> None:
    """gearmand sends it no NOOP any more until it grabs."""
    worker, other = server.sleeper(b"f"), server.connect(b"f")
    server.submit(b"f")
    assert server.woken() == [worker]
    assert server.engine.grab(other) is not None  # another one was faster
    assert server.engine.sleep(worker)
    server.submit(b"f")
    assert server.woken() == [worker]


def test_no_lost_wakeup_by_can_do_while_asleep(server: Server) -> None:
    server.submit(b"g")
    worker = server.sleeper(b"f")
    server.engine.can_do(worker, b"g", 0)
    assert server.woken() == [worker]
    assert server.engine.grab(worker) is not None


def test_can_do_while_asleep_without_jobs(server: Server) -> None:
    worker = server.sleeper(b"f")
    server.engine.can_do(worker, b"g", 0)
    assert (server.woken(), worker.asleep) == ([], True)
    server.submit(b"g")
    assert server.woken() == [worker]


def test_sleep_without_abilities(server: Server) -> None:
    worker = server.sleeper()
    server.submit(b"f")
    assert server.woken() == []
    server.engine.can_do(worker, b"f", 0)
    assert server.woken() == [worker]


def test_a_sleeper_that_takes_its_ability_back_sleeps_on(server: Server) -> None:
    worker = server.sleeper(b"f", b"g")
    server.engine.cant_do(worker, server.engine.functions[b"f"])
    server.submit(b"f")
    assert (server.woken(), worker.asleep) == ([], True)
    server.submit(b"g")
    assert server.woken() == [worker]


def test_a_worker_asleep_for_many_functions_is_woken_once(server: Server) -> None:
    worker = server.sleeper(b"f", b"g")
    server.ask(b"f")
    server.ask(b"g")
    server.disk.commit()
    assert server.woken() == [worker]


def test_grab_ends_sleep(server: Server) -> None:
    worker = server.sleeper(b"f")
    assert server.engine.grab(worker) is None
    server.submit(b"f")
    assert server.woken() == []


# Delayed jobs


@pytest.mark.parametrize("run_at", [0, 1, NOW - 1, NOW, -5])
def test_the_past_is_now(server: Server, run_at: int) -> None:
    job = server.submit(b"f", run_at=run_at)
    assert job.state is QUEUED
    assert server.engine.grab(server.connect(b"f")) is job


def test_delayed_jobs_block_nobody_and_come_in_their_order(server: Server) -> None:
    worker = server.connect(b"f")
    for run_at in (3, 1, 2):
        server.submit(b"f", b"%d" % run_at, run_at=NOW + run_at)
    server.submit(b"f", b"low", priority=LOW)
    assert server.counts() == {"delayed": 3, "queued": 1}
    assert server.engine.functions[b"f"].total == 4
    assert server.work(worker) == [b"low"]
    server.advance(1000)
    server.disk.commit()
    assert server.work(worker) == [b"1", b"2", b"3"]


def test_a_delayed_job_is_due_only_after_its_commit(server: Server) -> None:
    worker = server.connect(b"f")
    job = server.ask(b"f", run_at=NOW + 1)
    server.advance(10)
    assert server.engine.grab(worker) is None
    server.disk.commit()
    server.advance(0)
    assert server.engine.grab(worker) is job


def test_delayed_jobs_keep_their_priority(server: Server) -> None:
    worker = server.connect(b"f")
    server.submit(b"f", b"normal")
    server.submit(b"f", b"high", priority=HIGH, run_at=NOW + 5)
    server.advance(5)
    assert server.work(worker) == [b"high", b"normal"]


# Functions


def test_drop(server: Server) -> None:
    engine, worker = server.engine, server.connect(b"f")
    assert engine.drop(b"unknown") is None
    assert engine.drop(b"f") is False
    engine.disconnect(worker)
    job = server.submit(b"f")
    assert engine.drop(b"f") is False
    engine.cancel(job)
    assert engine.drop(b"f") is True
    assert engine.drop(b"f") is None
    assert not engine.functions[b"f"].listed
    assert server.submit(b"f").function is engine.functions[b"f"]
    assert engine.functions[b"f"].listed


@pytest.mark.parametrize("state", [DELAYED, RUNNING])
def test_a_function_with_jobs_is_not_dropped(server: Server, state: int) -> None:
    server.submit(b"f", run_at=NOW + 5 if state == DELAYED else 0)
    if state == RUNNING:
        worker = server.connect(b"f")
        job = server.engine.grab(worker)
        assert job is not None
        job.function.workers.clear()
    assert server.engine.drop(b"f") is False


def test_a_function_with_a_held_job_is_not_dropped(server: Server) -> None:
    server.engine.function(b"f").states[HELD] = 1
    assert server.engine.drop(b"f") is False


# Retry and replay


def ended(server: Server, how: int, unique: bytes = b"u") -> Job:
    """Return a job that has ended so."""
    worker = server.connect(b"f")
    job = server.submit(b"f", b"data", unique=unique)
    assert server.engine.grab(worker) is job
    if how == DONE:
        server.engine.complete(job, b"result")
    elif how == FAILED:
        server.engine.fail(job, Reason.EXCEPTION, b"why")
    else:
        server.engine.cancel(job)
    server.disk.commit()
    server.engine.disconnect(worker)
    assert server.engine.jobs == {}
    return job


@pytest.mark.parametrize("how", [FAILED, CANCELLED])
def test_retry(server: Server, how: int) -> None:
    job = ended(server, how)
    sleeper = server.sleeper(b"f")
    record = server.disk.rows[job.id]
    again = retry(server.engine, job.function, record)
    assert (again.handle, again.state, again.attempts, again.reason) == (
        job.handle, QUEUED, record.attempts, Reason.RETRY
    )  # fmt: skip
    assert (again.error, again.ended_at, again.position > record.position) == (record.error, 0, True)
    server.disk.commit()
    assert server.woken() == [sleeper]
    assert server.counts() == {"queued": 1}
    assert server.ask(b"f", unique=b"u") is again
    assert server.work(sleeper) == [b"data"]
    assert server.counts() == {"done": 1}


@pytest.mark.parametrize("how", [DONE, QUEUED, RUNNING])
def test_what_cannot_be_retried(server: Server, how: int) -> None:
    job = ended(server, DONE) if how == DONE else server.submit(b"f", unique=b"u")
    if how == RUNNING:
        assert server.engine.grab(server.connect(b"f")) is job
    jobs, counts = dict(server.engine.jobs), server.counts()
    with pytest.raises(QueueError):
        retry(server.engine, job.function, row(job))
    assert (server.engine.jobs, server.counts(), server.disk.pending) == (jobs, counts, {})


def test_retry_is_refused_while_its_unique_lives(server: Server) -> None:
    job = ended(server, FAILED)
    other = server.submit(b"f", unique=b"u")
    with pytest.raises(QueueError) as refused:
        retry(server.engine, job.function, server.disk.rows[job.id])
    assert other.handle in refused.value.text
    assert list(server.engine.jobs) == [other.handle]


def test_retry_is_refused_while_the_end_is_being_stored(server: Server) -> None:
    worker = server.connect(b"f")
    job = server.submit(b"f")
    assert server.engine.grab(worker) is job
    record = row(job)
    server.engine.fail(job, Reason.FAIL)
    with pytest.raises(QueueError):
        retry(server.engine, job.function, record._replace(state=int(FAILED)))
    assert job.state is FAILED


def test_a_job_with_altered_bytes_is_neither_retried_nor_replayed(server: Server) -> None:
    job = ended(server, FAILED)
    record = server.disk.rows[job.id]._replace(intact=False, workload=b"dat4")
    for verb in (retry, replay):
        with pytest.raises(QueueError):
            verb(server.engine, job.function, record)
    assert (server.engine.jobs, server.counts(), server.disk.pending) == ({}, {"failed": 1}, {})


@pytest.mark.parametrize("how", [DONE, FAILED, CANCELLED])
def test_replay(server: Server, how: int) -> None:
    job = ended(server, how)
    record = server.disk.rows[job.id]._replace(reducer=b"sum", priority=int(HIGH))
    copy = replay(server.engine, job.function, record)
    server.disk.commit()
    assert copy.handle != job.handle
    kept = server.disk.rows[copy.id]
    assert (kept.replay_of, kept.unique, kept.workload, kept.reducer, kept.priority) == (
        job.id, b"u", b"data", b"sum", HIGH
    )  # fmt: skip
    assert server.disk.rows[job.id].state == how
    assert (kept.attempts, kept.created_at, kept.error, kept.result) == (0, server.engine.now, b"", b"")


def test_replay_is_refused_for_live_jobs_and_live_uniques(server: Server) -> None:
    live = server.submit(b"f", unique=b"u")
    with pytest.raises(QueueError):
        replay(server.engine, live.function, row(live))
    with pytest.raises(QueueError):
        replay(server.engine, live.function, row(live)._replace(id=live.id + 1, state=int(DONE)))
    assert list(server.engine.jobs) == [live.handle]
