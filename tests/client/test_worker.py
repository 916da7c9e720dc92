"""The worker against gearstore and gearmand: handlers and their ends, concurrency, sleep, stop, reconnects."""

import asyncio
import contextvars
import logging
import re
import sys
import threading
import time

import pytest

from gearstore.client import (
    Client,
    GiveBack,
    JobData,
    JobException,
    JobFailed,
    JobProgress,
    JobWarning,
    ThreadJob,
    Worker,
    WorkerJob,
)
from gearstore.protocol.packets import NO_JOB, NOOP, WORK_COMPLETE, request, response
from tests.acceptance.servers import HOST, Server, free_port
from tests.client.conftest import StartServer, address, in_thread, peer, working

EVERY_BYTE = bytes(range(256)) * 4000


async def test_what_a_handler_knows(server: Server, client: Client, f: str) -> None:
    worker, known = Worker(address(server)), []

    @worker.function(f)
    async def note(job: WorkerJob) -> bytes:
        known.append((job.handle, job.handle.server, job.function, job.unique, job.reducer))
        return job.workload

    async with working(worker):
        job = await client.submit(f, EVERY_BYTE, unique="Ünique 1")
        assert await job.result() == EVERY_BYTE
    assert known == [(job.handle, address(server), f, "Ünique 1", "")]


@pytest.mark.parametrize(
    ("value", "result"),
    [(None, b""), ("é\udcff", b"\xc3\xa9\xff"), (bytearray(b"x"), b"x"), (memoryview(b"y"), b"y"), (b"", b"")],
)
async def test_what_a_handler_may_return(gearstore: Server, f: str, value: object, result: bytes) -> None:
    worker = Worker(address(gearstore))
    worker.register(f, lambda job: value)
    async with Client(address(gearstore)) as client, working(worker):
        assert await client.run(f) == result


def raises(error: BaseException) -> object:
    """Return a handler that raises."""

    async def handler(job: WorkerJob) -> None:
        raise error

    return handler


@pytest.mark.parametrize(
    ("handler", "data"),
    [
        (raises(ValueError("no disk")), b"ValueError: no disk"),
        (raises(JobException(b"as it is\xff")), b"as it is\xff"),
        (raises(asyncio.CancelledError()), b"the handler was cancelled"),
        (raises(SystemExit(3)), b"SystemExit: 3"),
        (lambda job: sys.exit("no more"), b"SystemExit: no more"),
        (lambda job: job.fail("in a thread"), b"in a thread"),
        (lambda job: {}[b"key"], b"KeyError: b'key'"),
        (lambda job: 7, b"TypeError: a handler returns bytes, text or None, not int"),
    ],
)
async def test_a_failure_with_a_text(server: Server, client: Client, f: str, handler: object, data: bytes) -> None:
    worker = Worker(address(server))
    worker.register(f, handler)  # type: ignore[arg-type]
    async with working(worker):
        for _ in range(2):  # the worker goes on
            with pytest.raises(JobException) as failed:
                await client.run(f)
            assert failed.value.data == data


@pytest.mark.parametrize("handler", [raises(JobFailed()), lambda job: job.fail()])
async def test_a_failure_without_a_text(server: Server, client: Client, f: str, handler: object) -> None:
    worker = Worker(address(server))
    worker.register(f, handler)  # type: ignore[arg-type]
    async with working(worker):
        with pytest.raises(JobFailed) as failed:
            await client.run(f)
    assert type(failed.value) is JobFailed


async def test_a_failure_that_was_not_meant_is_logged(
    server: Server, client: Client, f: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(address(server))
    worker.register(f, raises(ValueError("planted")))  # type: ignore[arg-type]
    async with working(worker):
        with pytest.raises(JobException):
            await client.run(f)
    assert "ValueError: planted" in caplog.text
    assert "Traceback" in caplog.text


async def test_the_reason_is_in_the_history(gearstore: Server, f: str) -> None:
    worker = Worker(address(gearstore))
    worker.register(f, raises(ValueError("no disk")))  # type: ignore[arg-type]
    async with Client(address(gearstore)) as client:
        handle = await client.submit_background(f)
        await worker.run(max_jobs=1)
        (row,) = [row async for row in client.manage("show", {"handles": [handle]})]
    assert (row["state"], row["reason"], row["error"]) == ("failed", "exception", "ValueError: no disk")


async def test_updates_from_the_loop_and_from_a_thread(server: Server, client: Client, f: str) -> None:
    worker = Worker(address(server))

    @worker.function(f"{f}_async")
    async def in_loop(job: WorkerJob) -> None:
        await job.send_status(1, 2)
        await job.send_data(EVERY_BYTE)
        await job.send_warning("hot")

    @worker.function(f"{f}_thread")
    def in_a_thread(job: ThreadJob) -> None:
        assert threading.current_thread() is not threading.main_thread()
        job.send_status(1, 2)
        job.send_data(EVERY_BYTE)
        job.send_warning("hot")

    async with working(worker):
        for kind in ("async", "thread"):
            job = await client.submit(f"{f}_{kind}")
            updates = [update async for update in job]
            assert updates == [JobProgress(1, 2), JobData(EVERY_BYTE), JobWarning(b"hot")]


async def test_a_thread_sees_the_context_and_keeps_its_locals(server: Server, client: Client, f: str) -> None:
    worker, local, seen = Worker(address(server)), threading.local(), []
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")

    @worker.function(f)
    def count(job: ThreadJob) -> None:
        local.jobs = getattr(local, "jobs", 0) + 1
        seen.append((name.get(), local.jobs))

    name.set("context")
    async with working(worker):
        for _ in range(3):
            await client.run(f)
    assert seen == [("context", 1), ("context", 2), ("context", 3)]


async def test_jobs_run_at_the_same_time(server: Server, client: Client, f: str) -> None:
    """Four jobs that wait for each other, in the loop and in threads."""
    worker = Worker(address(server), concurrency=4)
    meeting, barrier = asyncio.Barrier(4), threading.Barrier(4)

    @worker.function(f"{f}_async")
    async def meet(job: WorkerJob) -> None:
        await meeting.wait()

    @worker.function(f"{f}_thread")
    def meet_in_threads(job: ThreadJob) -> None:
        barrier.wait(60)

    async with working(worker):
        for kind in ("async", "thread"):
            await asyncio.gather(*(client.run(f"{f}_{kind}") for _ in range(4)))


async def test_no_more_jobs_at_a_time_than_asked_for_over_all_servers(start_server: StartServer, f: str) -> None:
    servers = [start_server(), start_server()]
    worker, running, most = Worker(map(address, servers), concurrency=2), 0, 0

    @worker.function(f)
    async def count(job: WorkerJob) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        await job.send_status(1, 1)
        running -= 1

    for each in servers:
        async with Client(address(each)) as client:
            await asyncio.gather(*(client.submit_background(f) for _ in range(50)))
    await worker.run(max_jobs=100)
    assert most == 2


async def test_a_worker_ends_after_so_many_jobs(server: Server, client: Client, f: str) -> None:
    await asyncio.gather(*(client.submit_background(f) for _ in range(10)))
    worker = Worker(address(server), concurrency=3)
    worker.register(f, lambda job: None)
    await worker.run(max_jobs=7)
    await in_thread(server.expect_status, f, 3, 0, 0)
    await worker.run(max_jobs=3)
    await in_thread(server.expect_status, f, 0, 0, 0)


async def test_the_function_registered_first_is_served_first(server: Server, client: Client, f: str) -> None:
    names = [f"{f}_{letter}" for letter in "bac"]
    for name in reversed(names):
        await client.submit_background(name)
    worker, order = Worker(address(server)), []
    for name in names:
        worker.register(name, lambda job: order.append(job.function))
    await worker.run(max_jobs=3)
    assert order == names


async def test_what_a_server_shows_of_a_worker(server: Server, client: Client, f: str) -> None:
    worker = Worker(address(server), concurrency=2, client_id=f"me-{f}")
    worker.register(f, lambda job: None)
    async with working(worker):
        await in_thread(server.expect_workers, f, 2)
        lines = [line for line in await client.command("workers") if f"me-{f}".encode() in line]
    assert sorted(line.split()[2] for line in lines) == [f"me-{f}-1".encode(), f"me-{f}-2".encode()]


async def test_a_sleeping_worker_misses_nothing(server: Server, client: Client, f: str) -> None:
    """Each job finds the worker asleep, or about to be."""
    worker = Worker(address(server))
    worker.register(f, lambda job: job.workload)
    async with working(worker):
        for number in range(300):
            assert await client.run(f, b"%d" % number) == b"%d" % number


async def test_many_workers_and_clients_miss_nothing(server: Server, f: str) -> None:
    workers = [Worker(address(server), concurrency=2) for _ in range(4)]

    async def ask(number: int) -> None:
        async with Client(address(server)) as client:
            for _ in range(50):
                assert await client.run(f, b"%d" % number) == b"%d" % number

    async with asyncio.TaskGroup() as group:
        for worker in workers:
            worker.register(f, lambda job: job.workload)
            group.create_task(worker.run())
        await asyncio.gather(*map(ask, range(8)))
        for worker in workers:
            worker.stop()


async def test_a_wake_up_between_grab_and_its_answer() -> None:
    """A server may say NOOP before NO_JOB. The worker then says PRE_SLEEP, so that the server can look again."""
    said: list[bytes] = []
    finished = asyncio.Event()

    async def scripted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(request(39))  # GRAB_JOB_ALL
        writer.write(response(NOOP) + response(NO_JOB))
        said.append(await reader.readexactly(12))
        writer.write(response(NOOP))
        said.append(await reader.readexactly(12))
        for byte in response(31, b"H:h:1", b"f", b"", b"half a packet at a time"):
            writer.write(bytes([byte]))
            await writer.drain()
        said.append(await reader.readuntil(b"DONE"))
        finished.set()

    worker = Worker("127.0.0.1")
    async with peer(scripted) as place:
        worker = Worker(place)
        worker.register("f", lambda job: b"DONE")
        async with working(worker):
            await finished.wait()
    assert said == [request(4), request(39), request(WORK_COMPLETE, b"H:h:1", b"DONE")]


async def test_a_sleeper_looks_now_and_then(
    server: Server, client: Client, f: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gearmand wakes nobody for a delayed job that becomes due."""
    monkeypatch.setattr("gearstore.client.slot.LONGEST_SLEEP", 0.1)
    worker = Worker(address(server))
    worker.register(f, lambda job: None)
    async with working(worker, max_jobs=1) as task:
        await in_thread(server.expect_workers, f)
        await client.submit_background(f, delay=1)
        await task


# Timeouts


async def test_a_handler_that_takes_too_long(server: Server, client: Client, f: str) -> None:
    """The server gives the job to another worker, here to the same one, whose first handler is cancelled."""
    worker, cancelled = Worker(address(server), concurrency=2), asyncio.Event()

    @worker.function(f, timeout=1)
    async def slow_once(job: WorkerJob) -> bytes:
        if cancelled.is_set():
            return b"second"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b"first"

    async with working(worker):
        job = await client.submit(f)
        await cancelled.wait()
        assert await client.run(f) == b"second"
        try:
            assert await job.result() == b"second"
        except JobException as error:  # our clock rang before that of the server
            assert error.text == "not done within 1 s"
        assert await client.run(f) == b"second"  # the late report has put nothing out of step


async def test_a_timeout_of_the_handler_s_own_is_a_failure_like_others(gearstore: Server, f: str) -> None:
    worker = Worker(address(gearstore))

    @worker.function(f, timeout=30)
    async def impatient(job: WorkerJob) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    async with Client(address(gearstore)) as client, working(worker):
        with pytest.raises(JobException, match="^TimeoutError"):
            await client.run(f)


# The end


async def test_stop_lets_the_job_at_hand_finish_and_grabs_no_other(server: Server, client: Client, f: str) -> None:
    worker, running, go = Worker(address(server), concurrency=3), asyncio.Event(), asyncio.Event()

    @worker.function(f)
    async def wait(job: WorkerJob) -> bytes:
        running.set()
        await go.wait()
        return b"finished"

    task = asyncio.create_task(worker.run())
    await in_thread(server.expect_workers, f, 3)
    job = await client.submit(f)
    await running.wait()
    worker.stop()
    worker.stop()
    await in_thread(server.expect_workers, f, 1)  # the idle slots leave at once
    left = await client.submit_background(f)
    go.set()
    await task
    assert await job.result() == b"finished"
    assert await client.status(left) == (True, False, 0, 0, None)
    await in_thread(server.expect_status, f, 1, 0, 0)


async def test_stop_lets_a_thread_finish(server: Server, client: Client, f: str) -> None:
    worker, running, go = Worker(address(server)), asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @worker.function(f)
    def wait(job: ThreadJob) -> bytes:
        loop.call_soon_threadsafe(running.set)
        go.wait(60)
        return b"finished"

    task = asyncio.create_task(worker.run())
    job = await client.submit(f)
    await running.wait()
    worker.stop()
    assert not task.done()
    go.set()
    await task
    assert await job.result() == b"finished"


async def test_an_idle_worker_stops_at_once(server: Server, f: str) -> None:
    worker = Worker(address(server), concurrency=5)
    worker.register(f, lambda job: None)
    async with working(worker):
        await in_thread(server.expect_workers, f, 5)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    await in_thread(server.expect_workers, f, 0)


async def test_a_worker_may_be_stopped_before_it_runs_and_run_again(server: Server, client: Client, f: str) -> None:
    worker = Worker(address(server))
    worker.register(f, lambda job: b"ran")
    worker.stop()
    await worker.run()
    async with working(worker) as task:
        assert await client.run(f) == b"ran"
        with pytest.raises(RuntimeError, match="runs already"):
            await worker.run()
        with pytest.raises(RuntimeError, match="before the worker runs"):
            worker.register("other", lambda job: None)
        assert not task.done()


async def test_the_last_report_has_arrived_when_run_returns(gearstore: Server, f: str) -> None:
    worker = Worker(address(gearstore), concurrency=8)
    worker.register(f, lambda job: b"x" * 100_000)
    async with Client(address(gearstore)) as client:
        handles = await asyncio.gather(*(client.submit_background(f) for _ in range(40)))
        await worker.run(max_jobs=40)
        rows = [row async for row in client.manage("show", {"handles": handles})]
    assert [(row["state"], row["result_size"]) for row in rows] == [("done", 100_000)] * 40


async def test_a_cancelled_worker_gives_its_job_up(server: Server, client: Client, f: str) -> None:
    worker, running, cancelled = Worker(address(server)), asyncio.Event(), asyncio.Event()

    @worker.function(f)
    async def wait(job: WorkerJob) -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.create_task(worker.run())
    await client.submit_background(f)
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()
    await in_thread(server.expect_status, f, 1, 0, 0)  # back in its queue


async def test_a_job_that_is_given_back(
    server: Server, client: Client, f: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker, tries = Worker(address(server)), 0

    @worker.function(f)
    async def unready(job: WorkerJob) -> bytes:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise GiveBack("the database is away")
        return b"done"

    async with working(worker):
        assert await client.run(f) == b"done"
    assert tries == 2
    assert "the database is away; trying again in 0.5 s" in caplog.text


# Servers that go away


async def test_a_worker_comes_back_after_a_crash_of_its_server(
    server: Server, start_server: StartServer, f: str, caplog: pytest.LogCaptureFixture
) -> None:
    mortal = start_server(server.kind)
    worker = Worker(address(mortal), concurrency=2)
    worker.register(f, lambda job: job.workload)
    async with working(worker), Client(address(mortal), retry_for=20) as client:
        for round in (b"one", b"two"):
            assert await client.run(f, round) == round
            await in_thread(mortal.kill9)
            await in_thread(mortal.restart)
            await in_thread(mortal.expect_workers, f, 2)
    # (A server that is killed with something unread resets its connections.)
    assert re.search("(closed the connection|Connection reset by peer); trying again in 0.5 s", caplog.text)


async def test_a_server_that_dies_during_a_job(start_server: StartServer, f: str) -> None:
    """The job runs again; what the first run reports too late reaches nobody and harms nothing."""
    mortal = start_server("gearstore")
    worker, running, go, runs = Worker(address(mortal)), asyncio.Event(), asyncio.Event(), []

    @worker.function(f)
    async def wait(job: WorkerJob) -> bytes:
        runs.append(job.handle)
        running.set()
        await go.wait()
        await job.send_status(1, 1)
        return b"done"

    async with working(worker), Client(address(mortal), retry_for=20) as client:
        handle = await client.submit_background(f)
        await running.wait()
        await in_thread(mortal.kill9)
        await in_thread(mortal.restart)
        go.set()
        while len(runs) < 2 or (await client.status(handle)).known:
            await in_thread(mortal.status)
    assert runs == [handle, handle]


async def test_a_worker_starts_before_its_server(
    start_server: StartServer, f: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "gearstore.client")
    mortal = start_server()
    await in_thread(mortal.kill9)
    worker = Worker(address(mortal), concurrency=3)
    worker.register(f, lambda job: b"at last")
    async with working(worker):
        while caplog.text.count("trying again in 0.5 s") < 3:
            await in_thread(time.sleep, 0.01)
        await in_thread(mortal.restart)
        async with Client(address(mortal)) as client:
            assert await client.run(f) == b"at last"
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len({record.getMessage() for record in said}) == len(said)  # not once for each slot


async def test_a_worker_without_a_server_stops_at_once(f: str) -> None:
    worker = Worker(f"{HOST}:{free_port()}")
    worker.register(f, lambda job: None)
    async with working(worker):
        await asyncio.sleep(0)


# Wrong use


async def test_what_a_worker_refuses(f: str) -> None:
    worker = Worker()
    with pytest.raises(ValueError, match="register a function"):
        await worker.run()
    with pytest.raises(ValueError, match="NUL"):
        worker.register("a\0b", lambda job: None)
    with pytest.raises(ValueError, match="timeout"):
        worker.register(f, lambda job: None, timeout=0)
    with pytest.raises(ValueError, match="concurrency"):
        Worker(concurrency=0)


def test_a_handler_is_registered_under_its_own_name() -> None:
    worker = Worker()

    @worker.function()
    def resize(job: ThreadJob) -> None: ...

    @worker.function("other", timeout=5)
    async def whatever(job: WorkerJob) -> None: ...

    assert resize.__name__ == "resize"
    assert whatever.__name__ == "whatever"
