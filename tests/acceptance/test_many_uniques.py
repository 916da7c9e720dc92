"""Many jobs with uniques, and `kill -9` while these are on their way into their table: no second job."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.acceptance.conftest import StartServer
from tests.acceptance.servers import Server, run
from tests.acceptance.wire import Connection, PacketType, request

pytestmark = [pytest.mark.gearstore_only, pytest.mark.slow]

KILLS = (80_000, 115_000, 150_000)  # at so many jobs
AT_ONCE = 400
FUNCTIONS = (b"f", b"g")  # each unique is used in both
RUNNING = 20


def submits(number: int) -> bytes:
    """Return the request of a job."""
    return request(PacketType.SUBMIT_JOB_BG, FUNCTIONS[number % 2], b"unique %d" % (number // 2), b"%d" % number)


def submit(server: Server, numbers: range, handles: dict[int, bytes], kill_at: int = 0) -> None:
    """Submit jobs; each that was acknowledged before has to be met again. Kill the server when so many are sent."""
    with Connection(server.port) as client:
        for first in range(numbers.start, numbers.stop, AT_ONCE):
            some = range(first, min(first + AT_ONCE, numbers.stop))
            client.send_bytes(b"".join(map(submits, some)))
            if kill_at and first >= kill_at:
                server.kill9()
                return
            for number in some:
                (handle,) = client.expect(PacketType.JOB_CREATED)
                assert handles.setdefault(number, handle) == handle, f"job {number} is there twice"


def test_kills_while_uniques_are_entered(start_server: StartServer) -> None:
    server = start_server("--window", "1000")
    handles: dict[int, bytes] = {}
    for jobs in KILLS:
        with Connection(server.port) as worker:
            worker.send(PacketType.CAN_DO, FUNCTIONS[0])
            submit(server, range(len(handles), jobs + AT_ONCE), handles, kill_at=jobs - AT_ONCE)
            assert not server.alive
        entered(server)
        server.restart()
        with Connection(server.port) as worker:
            worker.send(PacketType.CAN_DO, FUNCTIONS[0])
            worker.send_bytes(request(PacketType.GRAB_JOB) * RUNNING)
            for _ in range(RUNNING):
                worker.expect(PacketType.JOB_ASSIGN)
            submit(server, range(jobs), handles)
    server.kill9()
    rows = 'SELECT count(*), count(DISTINCT function_id || "unique"), count(DISTINCT workload) FROM jobs'
    (jobs, uniques, workloads) = asked(server, rows)
    assert jobs == uniques == workloads
    assert KILLS[-1] <= jobs < KILLS[-1] + AT_ONCE  # (those of the last kill were not asked for again)
    checked = run([*server.command()[:3], "check", "--db", server.db])
    assert checked.returncode == 0, checked.stdout


def entered(server: Server) -> None:
    """Check that the kill came while some uniques were in the table and others were not."""
    assert asked(server, "SELECT EXISTS (SELECT 1 FROM uniques), EXISTS (SELECT 1 FROM uniques_log)") == [1, 1]


def asked(server: Server, query: str) -> list[int]:
    """Return the row of a query to a copy of what the kill has left."""
    copy = server.directory / "copy.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{server.db}{suffix}", f"{copy}{suffix}")
    with closing(sqlite3.connect(copy)) as database:
        return list(database.execute(query).fetchone())
