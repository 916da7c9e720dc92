"""The client against gearstore and gearmand: every kind of submit, results, updates, questions."""

import asyncio
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gearstore.client import (
    Client,
    ClientError,
    Handle,
    Job,
    JobData,
    JobException,
    JobFailed,
    JobProgress,
    JobStatus,
    JobWarning,
    NotGearstore,
    Refused,
    Unreachable,
    Worker,
    WorkerJob,
)
from gearstore.protocol.packets import ECHO_RES, JOB_CREATED, WORK_COMPLETE, WORK_DATA, response
from tests.acceptance.servers import HOST, Server, free_port, run, tool
from tests.acceptance.wire import Connection, PacketType
from tests.authority import Authority
from tests.client.conftest import StartServer, address, in_thread, peer, working

EVERY_BYTE = bytes(range(256)) * 4000


def grab(server: Server, function: str, count: int = 1) -> list[list[bytes]]:
    """Return handle, function, unique and workload of the next jobs, as a worker that never reports gets them."""
    with Connection(server.port) as worker:
        worker.send(PacketType.CAN_DO, function.encode())
        jobs = []
        for _ in range(count):
            worker.send(PacketType.GRAB_JOB_UNIQ)
            jobs.append(worker.expect(PacketType.JOB_ASSIGN_UNIQ))
        return jobs


async def submitted_by_hand(client: Client, server: Server, f: str) -> tuple[Job, Connection, bytes]:
    """Return a job under way, the raw worker that has it, and its handle as bytes."""
    job = await client.submit(f, b"question")
    worker = Connection(server.port)
    worker.send(PacketType.CAN_DO, f.encode())
    worker.send(PacketType.GRAB_JOB)
    handle, _, workload = worker.expect(PacketType.JOB_ASSIGN)
    assert workload == b"question"
    assert handle.decode() == job.handle
    return job, worker, handle


async def test_a_background_job_arrives_as_it_was_submitted(server: Server, client: Client, f: str) -> None:
    handle = await client.submit_background(f, EVERY_BYTE, unique="Prüfung 1")
    assert isinstance(handle, Handle)
    assert handle.server == address(server)
    assert grab(server, f) == [[handle.encode(), f.encode(), "Prüfung 1".encode(), EVERY_BYTE]]


async def test_priorities(server: Server, client: Client, f: str) -> None:
    for priority in ("low", "normal", "high"):
        await client.submit_background(f, priority, priority=priority)
    assert [job[3] for job in grab(server, f, 3)] == [b"high", b"normal", b"low"]


async def test_thousands_of_submits_at_a_time(server: Server, client: Client, f: str) -> None:
    handles = await asyncio.gather(*(client.submit_background(f, b"%d" % n) for n in range(3000)))
    assert len(set(handles)) == 3000
    assert server.status()[f] == (3000, 0, 0)
    first = grab(server, f)[0]
    assert (first[0].decode(), first[3]) == (handles[0], b"0")


async def test_equal_uniques_are_one_job(client: Client, f: str) -> None:
    first = await client.submit_background(f, unique="u1")
    assert await client.submit_background(f, unique="u1") == first
    assert await client.submit_background(f, unique="u2") != first


async def test_a_result_and_what_came_before(server: Server, client: Client, f: str) -> None:
    job, worker, handle = await submitted_by_hand(client, server, f)
    with worker:
        worker.send(PacketType.WORK_STATUS, handle, b"1", b"4")
        worker.send(PacketType.WORK_DATA, handle, b"first \0")
        worker.send(29, handle, b"hot")  # type: ignore[arg-type]  # WORK_WARNING
        assert [await anext(job) for _ in range(3)] == [JobProgress(1, 4), JobData(b"first \0"), JobWarning(b"hot")]
        assert job.progress == (1, 4)
        assert not job.ended
        worker.send(PacketType.WORK_DATA, handle, b"last")
        worker.send(PacketType.WORK_COMPLETE, handle, EVERY_BYTE)
        assert [update async for update in job] == [JobData(b"last")]
    assert await job.result() == EVERY_BYTE
    assert [update async for update in job] == []
    assert job.ended


async def test_a_failed_job_is_an_exception(server: Server, client: Client, f: str) -> None:
    job, worker, handle = await submitted_by_hand(client, server, f)
    with worker:
        worker.send(PacketType.WORK_FAIL, handle)
        with pytest.raises(JobFailed) as failed:
            await job.result()
        assert type(failed.value) is JobFailed
        with pytest.raises(JobFailed):
            await anext(job)


async def test_an_exception_brings_its_text(server: Server, client: Client, f: str) -> None:
    job, worker, handle = await submitted_by_hand(client, server, f)
    with worker:
        worker.send(PacketType.WORK_EXCEPTION, handle, b"no disk\xff")
        with pytest.raises(JobException, match="no disk") as failed:
            await job.result()
    assert failed.value.data == b"no disk\xff"


async def test_jobs_on_one_connection_don_t_mix(server: Server, client: Client, f: str) -> None:
    worker = Worker(address(server), concurrency=4)

    @worker.function(f)
    async def parts(job: WorkerJob) -> bytes:
        for part in range(3):
            await job.send_data(b"%s %d" % (job.workload, part))
        return job.workload

    async def one(number: int) -> None:
        job = await client.submit(f, b"%d" % number)
        assert [update async for update in job] == [JobData(b"%d %d" % (number, part)) for part in range(3)]
        assert await job.result() == b"%d" % number

    async with working(worker):
        await asyncio.gather(*(one(number) for number in range(200)))


async def test_two_who_wait_for_the_same_job(server: Server, client: Client, f: str) -> None:
    first, second = await asyncio.gather(*(client.submit(f, unique="u") for _ in range(2)))
    assert first.handle == second.handle
    worker = Worker(address(server))

    @worker.function(f)
    async def twice(job: WorkerJob) -> str:
        await job.send_data("x")
        await job.send_data("x")
        return "done"

    async with working(worker, max_jobs=1):
        for job in (first, second):
            assert [update async for update in job] == [JobData(b"x"), JobData(b"x")]
            assert await job.result() == b"done"


async def test_run_is_all_in_one(server: Server, client: Client, f: str) -> None:
    worker = Worker(address(server))
    worker.register(f, lambda job: job.workload.upper())
    async with working(worker):
        assert await client.run(f, "paramètres") == "paramètres".encode().upper()


async def test_a_job_that_takes_too_long_goes_on(server: Server, client: Client, f: str) -> None:
    go = asyncio.Event()
    worker = Worker(address(server))

    @worker.function(f)
    async def slow(job: WorkerJob) -> bytes:
        await go.wait()
        return b"late"

    async with working(worker):
        job = await client.submit(f)
        with pytest.raises(TimeoutError):
            await job.result(timeout=0.05)
        with pytest.raises(TimeoutError):
            await client.run(f, timeout=0.05)
        go.set()
        assert await job.result() == b"late"
        assert await client.run(f) == b"late"


async def test_status_of_a_job(server: Server, client: Client, f: str) -> None:
    handle = await client.submit_background(f, unique=f)
    assert await client.status(handle) == JobStatus(True, False, 0, 0)
    worker, reported, go = Worker(address(server)), asyncio.Event(), asyncio.Event()

    @worker.function(f)
    async def slow(job: WorkerJob) -> None:
        await job.send_status(3, 7)
        reported.set()
        await go.wait()

    async with working(worker, max_jobs=1) as task:
        await reported.wait()
        while (status := await client.status(str(handle))).denominator == 0:
            pass
        assert status == JobStatus(True, True, 3, 7)
        waiting = await client.submit(f, unique=f)
        assert waiting.handle == handle
        assert await client.status_by_unique(f) == JobStatus(True, True, 3, 7, 1)
        go.set()
        await task
    assert await waiting.result() == b""
    assert not (await client.status(handle)).known
    assert not (await client.status_by_unique(f)).known


async def test_status_of_what_no_server_can_know(client: Client) -> None:
    assert not (await client.status("H:nowhere:1")).known
    assert not (await client.status("H:" + "x" * 100)).known
    assert not (await client.status_by_unique("u" * 64)).known
    assert not (await client.status_by_unique("")).known
    assert await client.echo("still here") == b"still here"


async def test_echo_and_options(client: Client) -> None:
    assert await client.echo(EVERY_BYTE) == EVERY_BYTE
    assert await client.echo() == b""
    await client.option("exceptions")
    with pytest.raises(Refused, match="UNKNOWN_OPTION") as refused:
        await client.option("telepathy")
    assert refused.value.code == "UNKNOWN_OPTION"


async def test_a_refused_submit_takes_only_its_own_place(client: Client, f: str) -> None:
    submits = [client.submit_background(f, unique=unique) for unique in ("a", "u" * 65, "b")]
    first, refused, last = await asyncio.gather(*submits, return_exceptions=True)
    assert isinstance(first, Handle)
    assert isinstance(refused, Refused)
    assert refused.code == "ARGUMENT_TOO_LARGE"
    assert isinstance(last, Handle)


async def test_who_gives_up_does_not_disturb_the_others(server: Server, client: Client, f: str) -> None:
    given_up = asyncio.create_task(client.submit(f, b"given up"))
    await asyncio.sleep(0)  # it has been sent
    kept = asyncio.create_task(client.submit(f, b"kept"))
    await asyncio.sleep(0)
    given_up.cancel()
    worker = Worker(address(server))
    worker.register(f, lambda job: job.workload)
    async with working(worker):
        assert await (await kept).result() == b"kept"
    assert given_up.cancelled()


async def test_later(gearstore: Server, f: str) -> None:
    async with Client(address(gearstore)) as client:
        before = time.time()
        handles = [
            await client.submit_background(f, delay=90),
            await client.submit_background(f, delay=timedelta(hours=1)),
            await client.submit_background(f, at=datetime(2100, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
            await client.submit_background(f, at=4_102_542_245.5),
            await client.submit_background(f, schedule="4 3 2 1 *"),
        ]
        rows = {row["handle"]: row async for row in client.manage("jobs", {"function": f})}
    run_at = [rows[handle]["run_at"] / 1000 for handle in handles]
    assert all(rows[handle]["state"] == "delayed" for handle in handles)
    assert before + 90 <= run_at[0] <= time.time() + 91
    assert before + 3600 <= run_at[1] <= time.time() + 3601
    assert run_at[2:4] == [4_102_542_246, 4_102_542_246]
    assert time.strftime("%d.%m. %H:%M", time.localtime(run_at[4])) == "02.01. 03:04"


async def test_at_and_delay_exclude_each_other(client: Client, f: str) -> None:
    with pytest.raises(ValueError, match="exclude"):
        await client.submit_background(f, at=0, delay=0)


async def test_a_reduce_job_names_its_reducer(server: Server, client: Client, f: str) -> None:
    worker, reducers = Worker(address(server)), []

    @worker.function(f)
    async def reduced(job: WorkerJob) -> None:
        reducers.append((job.unique, job.reducer))

    async with working(worker):
        await client.run(f, reducer="sum", unique="u")
        await client.run(f, unique="v")
    assert reducers == [("u", "sum"), ("v", "")]


async def test_text_commands(server: Server, client: Client, f: str) -> None:
    await client.submit_background(f)
    assert b"%s\t1\t0\t0" % f.encode() in await client.command("status")
    (version,) = await client.command("version")
    assert version.startswith(b"OK 1.1.20")
    assert await client.command(f"maxqueue {f} 1") == [b"OK"]
    with pytest.raises(Refused, match="full"):
        await client.submit_background(f)
    with pytest.raises(NotGearstore):
        await client.command("frobnicate")


async def test_management_verbs(gearstore: Server, f: str) -> None:
    async with Client(address(gearstore)) as client:
        handles = [await client.submit_background(f, b"%d" % number) for number in range(3)]
        rows = [row async for row in client.manage("cancel", {"handles": handles[:2]})]
        assert [row["state"] for row in rows[:2]] == ["cancelled", "cancelled"]
        rows = [row async for row in client.manage("jobs", {"function": f, "error": "no such text"})]
        assert rows == []
        async for row in client.manage("jobs", {"function": f}):
            assert row["handle"] == handles[2]
            break  # the rest is not waited for
        with pytest.raises(Refused, match="unknown verb") as refused:
            [row async for row in client.manage("nothing like this")]
        assert refused.value.code == "usage"


async def test_gearmand_knows_no_management_verbs(gearmand: Server) -> None:
    async with Client(address(gearmand)) as client:
        with pytest.raises(NotGearstore, match="is not gearstore"):
            [row async for row in client.manage("jobs", {"error": "a text of more than five words for it"})]


async def test_a_unix_socket(start_server: StartServer, tmp_path: Path, f: str) -> None:
    start_server("gearstore", "--listen", f"unix:{tmp_path}/socket")
    async with Client(f"unix:{tmp_path}/socket") as client:
        handle = await client.submit_background(f)
        assert handle.server == f"unix:{tmp_path}/socket"
        assert (await client.status(handle)).known


async def test_tls(server: Server, tmp_path: Path, f: str) -> None:
    """Through a peer that takes TLS off; client and worker alike."""
    openssl = tool("openssl", "openssl")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    made = run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(certificate, key)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pump(reader, to_server), pump(from_server, writer))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    listening = await asyncio.start_server(relay, "localhost", 0, ssl=inside)
    async with listening:
        place = f"localhost:{listening.sockets[0].getsockname()[1]}"
        outside = ssl.create_default_context(cafile=certificate)
        worker = Worker(place, tls=outside)
        worker.register(f, lambda job: job.workload[::-1])
        async with Client(place, tls=outside) as client, working(worker, max_jobs=1):
            assert await client.run(f, EVERY_BYTE) == EVERY_BYTE[::-1]
        async with Client(place, tls=ssl.create_default_context()) as client:
            with pytest.raises(Unreachable, match="the certificate is of a CA that is not known here"):
                await client.echo()


async def test_gearstores_own_tls(start_server: StartServer, tmp_path: Path, f: str) -> None:
    authority = Authority(tmp_path / "authority")
    port = free_port()
    start_server("gearstore", "--listen", f"tls:{HOST}:{port}", "--tls-cert", str(authority.server()))
    context, place = ssl.create_default_context(cafile=authority.ca), f"tls:localhost:{port}"
    worker = Worker(place, tls=context)
    worker.register(f, lambda job: job.workload[::-1])
    async with Client(place, tls=context) as client, working(worker, max_jobs=1):
        assert await client.run(f, EVERY_BYTE * 4) == (EVERY_BYTE * 4)[::-1]
        assert (await client.submit_background(f)).server == place
        assert await client.command("version")
    async with Client(place) as client:  # which trusts the CAs of the system
        with pytest.raises(Unreachable, match="the certificate is of a CA that is not known here"):
            await client.echo()
    for plain in (f"localhost:{port}", f"{HOST}:{port}"):
        async with Client(plain) as client:
            with pytest.raises(Unreachable, match=f"the server at {plain} speaks TLS: write tls:{plain}"):
                await client.echo()


# Peers that are not what they seem


async def test_answers_byte_by_byte() -> None:
    answers = (
        response(JOB_CREATED, b"H:h:1") + response(WORK_DATA, b"H:h:1", b"a\0b") + response(WORK_COMPLETE, b"H:h:1")
    )

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"workload")
        for byte in response(27, b"exceptions") + answers:
            writer.write(bytes([byte]))
            await writer.drain()
        await reader.read()

    async with peer(drip) as place, Client(place) as client:
        job = await client.submit("f", b"workload")
        assert [update async for update in job] == [JobData(b"a\0b")]
        assert await job.result() == b""


async def test_a_packet_that_never_ends() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"workload")
        writer.write(
            response(27, b"exceptions") + response(JOB_CREATED, b"H:h:1") + response(WORK_COMPLETE, b"H:h:1", b"x")[:-1]
        )

    async with peer(half) as place, Client(place) as client:
        job = await client.submit("f", b"workload")
        with pytest.raises(Unreachable, match="closed the connection"):
            await job.result()


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0REQ\0\0\0\x10\0\0\0\0", response(ECHO_RES) * 2]
)
async def test_a_server_of_something_else(data: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await reader.read()

    async with peer(speak) as place, Client(place) as client:
        with pytest.raises(Unreachable, match="does not speak Gearman"):
            await client.option("x")


async def test_a_server_that_never_answers() -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with peer(listen) as place, Client(place, timeout=0.05) as client:
        with pytest.raises(TimeoutError):
            await client.submit_background("f")
        with pytest.raises(TimeoutError):
            await client.command("status")


async def test_a_closed_client(server: Server, f: str) -> None:
    async with Client(address(server)) as client:
        job = await client.submit(f)
    with pytest.raises(Unreachable, match="closed here"):
        await job.result()
    with pytest.raises(ClientError, match="the client is closed"):
        await client.echo()
    await client.close()


async def test_a_client_that_leaves_takes_its_foreground_jobs_along(gearstore: Server, f: str) -> None:
    async with Client(address(gearstore)) as client:
        await client.submit(f)
        await in_thread(gearstore.expect_status, f, 1, 0, 0)
    await in_thread(gearstore.expect_status, f, 0, 0, 0)


@pytest.mark.parametrize("servers", ["a b", "host:port", [], ["127.0.0.1", "[::1"]])
def test_what_is_no_server(servers: "str | list[str]") -> None:
    with pytest.raises(ValueError):
        Client(servers)
    with pytest.raises(ValueError):
        Worker(servers)
