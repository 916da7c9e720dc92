"""With the clients and workers of others: the gearman tool, and another library's if it is there."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from gearstore.client import Client, JobException, JobFailed, Worker, WorkerJob
from gearstore.client.blocking import Client as BlockingClient
from tests.acceptance.servers import HOST, Running, Server, run, tool
from tests.client.conftest import address, in_thread, working

EVERY_BYTE = bytes(range(256)) * 100
PHP_CLIENT = """
$client = new GearmanClient();
$client->addServer($argv[1], (int) $argv[2]);
$client->setStatusCallback(function ($task) { echo $task->taskNumerator(), "/", $task->taskDenominator(), "\\n"; });
$client->setDataCallback(function ($task) { echo "data ", $task->data(), "\\n"; });
$client->setCompleteCallback(function ($task) { echo "done ", $task->data(), "\\n"; });
$client->setExceptionCallback(function ($task) { echo "exception ", $task->data(), "\\n"; });
$client->addTask($argv[3], "good");
$client->runTasks();
$client->addTask($argv[3], "bad");
$client->runTasks();
"""


def gearman(server: Server, *arguments: str) -> list[str]:
    """Return the command line of the gearman tool against a server."""
    return [tool("gearman", "gearman-tools"), "-h", HOST, "-p", str(server.port), *arguments]


async def test_a_job_for_the_gearman_tool(server: Server, f: str, tmp_path: Path) -> None:
    worker = Running(gearman(server, "-w", "-f", f, "-c", "2", "--", "cat"), tmp_path, "gearman")
    await in_thread(server.expect_workers, f)
    async with Client(address(server)) as client:
        assert await client.run(f, EVERY_BYTE) == EVERY_BYTE
        assert await client.run(f, b"x", unique="u") == b"x"
    worker.kill()


async def test_a_command_that_fails_in_the_gearman_tool(server: Server, f: str, tmp_path: Path) -> None:
    worker = Running(gearman(server, "-w", "-f", f, "--", "false"), tmp_path, "gearman")
    await in_thread(server.expect_workers, f)
    async with Client(address(server)) as client:
        with pytest.raises(JobFailed):
            await client.run(f)
    worker.kill()


async def test_a_job_of_the_gearman_tool(server: Server, f: str) -> None:
    worker = Worker(address(server))

    @worker.function(f)
    async def handler(job: WorkerJob) -> bytes:
        if job.workload == b"bad":
            raise JobFailed
        await job.send_data(b"part ")
        return job.workload[::-1]

    command = gearman(server, "-f", f)
    async with working(worker):
        await in_thread(lambda: expect(run([*command, "abc"]), b"part cba", 0))
        await in_thread(lambda: expect(run([*command, "bad"]), b"", 1))


async def test_a_job_of_php(server: Server, f: str, tmp_path: Path) -> None:
    php = shutil.which("php")
    if php is None or b"gearman" not in run([php, "-m"]).stdout:
        pytest.skip("php-gearman is missing: apt-get install php-cli php-gearman")
    (tmp_path / "client.php").write_text(f"<?php {PHP_CLIENT}")
    worker = Worker(address(server))

    @worker.function(f)
    async def handler(job: WorkerJob) -> bytes:
        if job.workload == b"bad":
            raise JobException("no disk")
        await job.send_status(1, 2)
        await job.send_data("é")
        return b"well"

    async with working(worker):
        command = [php, str(tmp_path / "client.php"), HOST, str(server.port), f]
        await in_thread(lambda: expect(run(command), "1/2\ndata é\ndone well\nexception no disk\n".encode(), 0))


def test_a_worker_of_the_command_line(server: Server, f: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gearstore_cli", "work", "--server", address(server), f, "--", "tr", "a-z", "A-Z"]
    worker = Running(command, tmp_path, "work")
    server.expect_workers(f)
    with BlockingClient(address(server)) as client:
        assert client.run(f, "abc") == b"ABC"
    worker.kill()


def expect(done: object, output: bytes, code: int) -> None:
    """Assert what a command printed and how it ended."""
    found = (done.stdout, done.returncode)  # type: ignore[attr-defined]
    assert found == (output, code), done


def test_with_uvloop(server: Server, f: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    worker = Worker(address(server), concurrency=2)
    worker.register(f, lambda job: job.workload[::-1])

    async def main() -> list[bytes]:
        async with Client(address(server)) as client, working(worker):
            return await asyncio.gather(*(client.run(f, EVERY_BYTE) for _ in range(20)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [EVERY_BYTE[::-1]] * 20
