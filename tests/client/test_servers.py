"""Several servers, servers that go away, and what of it is told to the caller."""

import asyncio

import pytest

from gearstore.client import Client, Uncertain, Unreachable, Worker, WorkerJob
from gearstore.protocol.packets import ECHO_RES, JOB_CREATED, OPTION_RES, WORK_COMPLETE, response
from tests.acceptance.servers import HOST, Server, free_port
from tests.client.conftest import StartServer, address, in_thread, peer, working


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a submit and vanish before acknowledging it."""
    await reader.readuntil(b"workload")


async def test_nobody_there() -> None:
    nowhere = f"{HOST}:{free_port()}"
    async with Client([nowhere, "unix:/nonexistent/socket"]) as client:
        with pytest.raises(
            Unreachable, match=f"no server at {nowhere}: .*; no server at unix:/none.*: No such"
        ) as error:
            await client.submit_background("f")
    assert not isinstance(error.value, Uncertain)


async def test_a_server_that_is_away_is_passed_over(server: Server, f: str) -> None:
    async with Client([f"{HOST}:{free_port()}", address(server)]) as client:
        handle = await client.submit_background(f)
    assert handle.server == address(server)
    assert server.status()[f] == (1, 0, 0)


async def test_a_client_stays_with_its_server_and_moves_on_when_it_dies(start_server: StartServer, f: str) -> None:
    first, second = start_server(), start_server()
    async with Client([address(first), address(second)]) as client:
        places = {(await client.submit_background(f)).server for _ in range(10)}
        assert places == {address(first)}
        old = await client.submit_background(f)
        await in_thread(first.kill9)
        assert (await client.submit_background(f)).server == address(second)
        await in_thread(first.restart)
        assert (await client.submit_background(f)).server == address(second)
        # A handle leads to the server that gave it, also after its crash.
        assert (await client.status(old)).known
        await in_thread(second.kill9)
        assert (await client.submit_background(f)).server == address(first)


async def test_a_status_is_asked_for_where_it_can_be_known(start_server: StartServer, f: str) -> None:
    first, second = start_server(), start_server()
    async with Client(address(second)) as elsewhere:
        handle = str(await elsewhere.submit_background(f, unique=f))
    async with Client([address(first), address(second)]) as client:
        assert (await client.status(handle)).known
        assert (await client.status_by_unique(f)).known
        await in_thread(second.kill9)
        with pytest.raises(Unreachable):
            await client.status(handle)  # nobody can say


async def test_a_server_killed_while_a_job_is_waited_for(server: Server, start_server: StartServer, f: str) -> None:
    mortal = start_server(server.kind)
    async with Client(address(mortal)) as client:
        jobs = [await client.submit(f) for _ in range(3)]
        waiting = [asyncio.create_task(job.result()) for job in jobs[:2]]
        updates = asyncio.create_task(anext(jobs[2]))
        await in_thread(mortal.kill9)
        for task in (*waiting, updates):
            with pytest.raises(Unreachable) as lost:
                await task
            assert not isinstance(lost.value, Uncertain)  # it was acknowledged
        await in_thread(mortal.restart)
        assert await client.echo(b"back") == b"back"


async def test_a_server_that_died_unnoticed_is_noticed_before_it_matters(start_server: StartServer, f: str) -> None:
    """The loop had no chance to read the end of the connection: both calls block it."""
    mortal = start_server()
    async with Client(address(mortal)) as client:
        await client.echo()
        mortal.kill9()
        mortal.restart()
        assert (await client.status(await client.submit_background(f))).known


async def test_a_lost_acknowledgement_is_told() -> None:
    async with peer(swallow) as place, Client(place) as client:
        for submit in (client.submit, client.submit_background, client.run):
            with pytest.raises(Uncertain, match="may be queued or not"):
                await submit("f", b"workload")


async def test_no_other_server_gets_a_job_that_may_be_queued_already(server: Server, f: str) -> None:
    async with peer(swallow) as place, Client([place, address(server)]) as client:
        with pytest.raises(Uncertain):
            await client.submit_background(f, b"workload")
        assert f not in server.status()
        # The next one goes elsewhere at once: such a server is no better than one that can't be reached.
        assert (await client.submit_background(f, b"workload")).server == address(server)


async def test_who_asks_for_it_gets_a_second_submit(server: Server, f: str) -> None:
    async with peer(swallow) as place, Client([place, address(server)]) as client:
        assert (await client.submit_background(f, b"workload", resubmit=True)).server == address(server)
    assert server.status()[f] == (1, 0, 0)


async def test_resubmits_come_to_an_end() -> None:
    async with peer(swallow) as first, peer(swallow) as second, Client([first, second]) as client:
        with pytest.raises(Uncertain):
            await client.submit_background("f", b"workload", resubmit=True)


async def test_a_resubmit_moves_on_when_the_first_server_is_gone(server: Server, f: str) -> None:
    listening: asyncio.Server

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"workload")
        listening.close()
        writer.close()

    listening = await asyncio.start_server(die, HOST, 0)
    place = f"{HOST}:{listening.sockets[0].getsockname()[1]}"
    async with Client([place, address(server)]) as client:
        handle = await client.submit_background(f, b"workload", resubmit=True)
    assert handle.server == address(server)
    assert server.status()[f] == (1, 0, 0)


async def test_a_resubmit_that_finds_nobody_is_uncertain() -> None:
    listening: asyncio.Server

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"workload")
        listening.close()
        writer.close()

    listening = await asyncio.start_server(die, HOST, 0)
    async with Client(f"{HOST}:{listening.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(Uncertain, match="refused"):
            await client.submit_background("f", b"workload", resubmit=True)


async def test_a_job_acknowledged_on_the_second_try_gets_its_result() -> None:
    calls = 0

    async def moody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"workload")
        if calls == 2:
            writer.write(
                response(OPTION_RES, b"exceptions")
                + response(JOB_CREATED, b"H:h:2")
                + response(WORK_COMPLETE, b"H:h:2", b"ok")
            )
            await reader.read()

    async with peer(moody) as place, Client(place) as client:
        assert await client.run("f", b"workload", resubmit=True) == b"ok"
    assert calls == 2


async def test_many_callers_dial_once() -> None:
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readexactly(22)  # OPTION_REQ
        writer.write(response(OPTION_RES, b"exceptions"))
        while await reader.read(12):
            writer.write(response(ECHO_RES, b""))

    async with peer(count) as place, Client(place) as client:
        await asyncio.gather(*(client.echo() for _ in range(20)))
    assert connections == 1


async def test_a_server_that_is_away_for_a_while_is_waited_for(start_server: StartServer, f: str) -> None:
    mortal = start_server()
    async with Client(address(mortal), retry_for=30) as client:
        await client.echo()
        await in_thread(mortal.kill9)
        submitting = asyncio.create_task(client.submit_background(f))
        await in_thread(mortal.restart)
        assert (await client.status(await submitting)).known


async def test_a_worker_serves_all_its_servers_in_turn(start_server: StartServer, f: str) -> None:
    servers = [start_server() for _ in range(2)]
    for each in servers:
        async with Client(address(each)) as client:
            await asyncio.gather(*(client.submit_background(f) for _ in range(20)))
    worker, order = Worker(map(address, servers)), []

    @worker.function(f)
    async def note(job: object) -> None:
        order.append(job.handle.server)  # type: ignore[attr-defined]

    await worker.run(max_jobs=40)
    middle = order[2:20]
    assert {place: middle.count(place) for place in middle} == {address(each): 9 for each in servers}


async def test_one_of_two_servers_is_away(server: Server, f: str) -> None:
    worker = Worker([f"{HOST}:{free_port()}", address(server)])
    worker.register(f, lambda job: b"served")
    async with Client(address(server)) as client, working(worker):
        assert await client.run(f) == b"served"


async def test_every_job_is_done_whatever_happens_to_the_server(start_server: StartServer, f: str) -> None:
    """Jobs are submitted and worked on while their server is killed again and again."""
    mortal = start_server()
    worker, done = Worker(address(mortal), concurrency=4), set()

    @worker.function(f)
    async def note(job: WorkerJob) -> None:
        done.add(job.unique)

    async def submit_all() -> None:
        async with Client(address(mortal), retry_for=30) as client:
            for number in range(600):
                await client.submit_background(f, b"", unique=f"{number}", resubmit=True)

    async with working(worker), asyncio.TaskGroup() as group:
        submitting = group.create_task(submit_all())
        for goal in (50, 150, 300):
            while len(done) < goal:
                await asyncio.sleep(0)
            await in_thread(mortal.kill9)
            await in_thread(mortal.restart)
        await submitting
        while len(done) < 600:
            await in_thread(mortal.status)
        await in_thread(mortal.expect_status, f, 0, 0, 4)
    assert done == {f"{number}" for number in range(600)}
