"""The user's guide, step by step: its client, its worker and its way of watching the queue."""

from pathlib import Path

import pytest

from tests.acceptance.conftest import Spawn
from tests.acceptance.servers import HOST, Server, eventually, printed, tool

SCRIPTS = Path(__file__).parent / "scripts"
ONCE = "Traitement du JOB avec le paramètre : Paramètres envoyés"


@pytest.fixture
def client(php: str, server: Server) -> list[str | Path]:
    """The command that runs the guide's client."""
    return [php, SCRIPTS / "guide_client.php", HOST, str(server.port)]


@pytest.fixture
def worker(php: str, server: Server) -> list[str | Path]:
    """The command that runs the guide's worker."""
    return [php, SCRIPTS / "guide_worker.php", HOST, str(server.port)]


def monitor(server: Server) -> list[str]:
    """Return what the guide's command for watching prints, without the blanks at the ends of its lines."""
    gearadmin, column = tool("gearadmin", "gearman-tools"), tool("column", "bsdextrautils")
    command = f"{gearadmin} -h {HOST} -p {server.port} --status | sort -n | {column} -t"
    return [line.rstrip() for line in printed(["sh", "-c", command]).decode().splitlines()]


def test_the_guide(server: Server, client: list[str | Path], worker: list[str | Path], spawn: Spawn) -> None:
    printed(client)
    assert monitor(server) == [".", "fonctionJob  1  0  0"]
    printed(client)
    assert monitor(server) == [".", "fonctionJob  2  0  0"]

    running = spawn(*worker)
    server.expect_status("fonctionJob", 0, 0, 1)
    assert running.output.decode() == ONCE * 2
    assert monitor(server) == [".", "fonctionJob  0  0  1"]

    printed(client)
    eventually(lambda: running.output.decode() == ONCE * 3, what=lambda: f"the third job in {running.output!r}")


def test_the_names_of_the_guide(server: Server, spawn: Spawn) -> None:
    gearman = tool("gearman", "gearman-tools")
    for function, count in (("monJob1", 1), ("fooJob", 50)):
        printed([gearman, "-h", HOST, "-p", str(server.port), "-b", "-f", function, "-N"], b"parameter\n" * count)
    spawn(gearman, "-h", HOST, "-p", str(server.port), "-w", "-f", "autreJob", "--", "cat")
    server.expect_workers("autreJob")
    assert sorted(monitor(server)) == [".", "autreJob  0   0  1", "fooJob    50  0  0", "monJob1   1   0  0"]


@pytest.mark.gearstore_only  # what the guide's reader misses in gearmand
def test_the_guide_and_a_crash(
    server: Server, client: list[str | Path], worker: list[str | Path], spawn: Spawn
) -> None:
    printed(client)
    printed(client)
    server.kill9()
    server.restart()
    assert monitor(server) == [".", "fonctionJob  2  0  0"]
    running = spawn(*worker)
    eventually(lambda: running.output.decode() == ONCE * 2, what=lambda: f"both jobs in {running.output!r}")
