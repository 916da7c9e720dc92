"""The operator's stories at the size that they happen at: causes of thousands of failures, and `kill -9` at any moment
of what puts them back, copies, holds or forgets them."""

import json
import random
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing

import pytest

from gearstore.queue.job import DONE, FAILED, HELD, QUEUED
from tests.acceptance.conftest import Spawn
from tests.acceptance.servers import HOST, Server, eventually, printed, run
from tests.acceptance.wire import Connection, PacketType, request
from tests.rows import faults, states

pytestmark = [pytest.mark.gearstore_only, pytest.mark.slow]

COMMAND = (sys.executable, "-m", "gearstore_cli")
CHUNK = 200
ERRORS = (b"order %d is not there", b"no connection to 10.0.0.%d", b"Traceback at 0x%08x\nmore")


def command(server: Server, *arguments: str) -> list[str]:
    """Return a command line of gearstore against the server."""
    return [*COMMAND, *arguments, "--server", f"{HOST}:{server.port}"]


def submit(server: Server, function: bytes, number: int) -> list[bytes]:
    """Submit jobs, every third with a unique; return their handles."""
    handles = []
    with Connection(server.port) as client:
        for start in range(0, number, CHUNK):
            numbers = range(start, min(start + CHUNK, number))
            uniques = [b"u%d" % each if each % 3 == 0 else b"" for each in numbers]
            client.send_bytes(
                b"".join(
                    request(PacketType.SUBMIT_JOB_BG, function, unique, b"job %d" % each)
                    for each, unique in zip(numbers, uniques, strict=True)
                )
            )
            handles += [client.expect(PacketType.JOB_CREATED)[0] for _ in numbers]
    return handles


def work(server: Server, function: bytes, number: int, chance: float, seed: int = 30) -> dict[bytes, bytes]:
    """Work on so many jobs of which this part fails for one of the reasons; return the errors by handle."""
    draw = random.Random(seed)
    failed: dict[bytes, bytes] = {}
    with Connection(server.port) as worker:
        worker.send(PacketType.CAN_DO, function)
        done = 0
        while done < number:
            some = min(CHUNK, number - done)
            worker.send_bytes(request(PacketType.GRAB_JOB_UNIQ) * some)
            answers = [worker.receive() for _ in range(some)]
            handles = [arguments[0] for kind, arguments in answers if kind is PacketType.JOB_ASSIGN_UNIQ]
            reports = b""
            for handle in handles:
                if draw.random() < chance:
                    failed[handle] = draw.choice(ERRORS) % draw.randrange(250)
                    reports += request(PacketType.WORK_EXCEPTION, handle, failed[handle])
                else:
                    reports += request(PacketType.WORK_COMPLETE, handle, b"fine")
            worker.send_bytes(reports)
            done += len(handles)
        worker.send(PacketType.ECHO_REQ, b"all of it")
        worker.expect(PacketType.ECHO_RES)
    return failed


def listed(server: Server, *arguments: str) -> list[dict[str, object]]:
    """Return what a listing prints as JSON."""
    return [json.loads(line) for line in printed(command(server, *arguments, "--json")).splitlines()]


def by_state(server: Server, function: str) -> dict[str, int]:
    """Count the jobs of a function as an operator would: `jobs --json | jq`, or without jq if it isn't there."""
    lines = printed(command(server, "jobs", "--function", function, "--limit", "100000", "--json"))
    if shutil.which("jq"):
        lines = printed(["jq", "-c", "{state}"], lines)
    return dict(Counter(json.loads(line)["state"] for line in lines.splitlines()))


def test_a_worker_that_fails_30_percent(server: Server) -> None:
    number = 10_000
    handles = submit(server, b"f", number)
    failed = work(server, b"f", number, 0.3)
    assert 0.27 * number < len(failed) < 0.33 * number
    assert by_state(server, "f") == {"done": number - len(failed), "failed": len(failed)}
    expected = Counter({b"order": 0, b"no": 0, b"Traceback": 0})
    expected.update(error.split()[0] for error in failed.values())
    causes = {str(row["text"]): row for row in listed(server, "failures")}
    assert sorted(causes) == ["Traceback at #", "no connection to #.#.#.#", "order # is not there"]
    assert {text.split()[0].encode(): row["jobs"] for text, row in causes.items()} == expected
    cause = str(causes["no connection to #.#.#.#"]["cause"])
    mine = sorted(handle for handle, error in failed.items() if error.startswith(b"no connection"))
    found = listed(server, "jobs", "--cause", cause, "--limit", "100000", "--oldest")
    assert [str(job["handle"]).encode() for job in found] == mine

    done = run(command(server, "retry", "--cause", cause))
    assert done.returncode == 0 and done.stderr == b"gearstore: %d jobs put back into the queue\n" % len(mine)
    assert [line.split(b"\t")[0] for line in done.stdout.splitlines()] == mine
    again = run(command(server, "retry", "--cause", cause))
    assert (again.returncode, again.stdout) == (1, b"")
    assert by_state(server, "f") == {
        "done": number - len(failed), "failed": len(failed) - len(mine), "queued": len(mine)
    }  # fmt: skip
    assert [str(row["text"])[:2] for row in listed(server, "failures")].count("no") == 0
    work(server, b"f", len(mine), 0.0)
    assert by_state(server, "f") == {"done": number - len(failed) + len(mine), "failed": len(failed) - len(mine)}
    attempts = Counter(job["attempts"] for job in listed(server, "jobs", "--function", "f", "--limit", "100000"))
    assert attempts == {1: number - len(mine), 2: len(mine)}
    server.kill9()
    assert faults(server.db) == [] and len(states(server.db)) == len(handles)


# kill -9 at any moment


def events(server: Server, kind: bytes) -> Counter[int]:
    """Count the events of a kind by job."""
    with closing(sqlite3.connect(f"file:{server.db}?mode=ro", uri=True)) as connection:
        return Counter(job for (job,) in connection.execute("SELECT job_id FROM events WHERE kind = ?", (kind,)))


def copies(server: Server) -> Counter[int]:
    """Count the copies of each job."""
    with closing(sqlite3.connect(f"file:{server.db}?mode=ro", uri=True)) as connection:
        return Counter(old for (old,) in connection.execute("SELECT replay_of FROM jobs WHERE replay_of <> 0"))


def number_of(handle: bytes) -> int:
    """Return the number of a job."""
    return int(handle.rpartition(b":")[2])


def killed_and_repeated(server: Server, spawn: Spawn, arguments: Sequence[str], total: int, kills: int) -> list[bytes]:
    """Run a command; kill the server in its middle, start it, run the same again, until it has ended by itself.

    Return the handles that it has told, over all its runs. Held back to 2000 jobs a second it can be met in its middle.
    """
    draw = random.Random(total)
    told: list[bytes] = []
    codes: list[int] = []
    while not {0, 4} & set(codes):  # 4: also told that something was replayed already
        process = spawn(*command(server, *arguments, "--rate", "2000/s"))
        if len(codes) < kills:
            target = draw.randrange(1, total // (2 * kills))
            eventually(lambda: len(process.lines) >= target, what=lambda: f"progress: {process.log}")  # noqa: B023
            server.kill9()
            codes.append(process.wait())
            assert faults(server.db) == []
            server.restart()
        else:
            codes.append(process.wait(60))
        assert codes[-1] in (0, 3, 4), process.log
        told += [line.split()[0].encode() for line in process.lines]
    assert 3 in codes, "no kill came in time"
    server.kill9()
    assert faults(server.db) == []
    assert run([*COMMAND, "check", "--db", server.db]).stdout == b""
    return told


def check_told(told: list[bytes], changed: set[int], handles: list[bytes]) -> None:
    """What was told happened, and all of it; a batch that was durable when the server died was perhaps not told."""
    assert len(told) == len(set(told)), "a job was changed twice"
    assert {number_of(handle) for handle in told} <= changed == {number_of(handle) for handle in handles}
    assert len(told) >= len(handles) - 3 * 100


KILLS = 2
JOBS = 1600


def test_kills_in_the_middle_of_a_retry(server: Server, spawn: Spawn) -> None:
    handles = submit(server, b"f", JOBS)
    work(server, b"f", JOBS, 1.0)
    told = killed_and_repeated(server, spawn, ["retry", "--function", "f"], JOBS, KILLS)
    retried = events(server, b"retry")
    check_told(told, set(retried), handles)
    assert set(retried.values()) == {1} and set(states(server.db).values()) == {QUEUED}
    server.restart()
    assert work(server, b"f", JOBS, 0.0) == {}, "each is there once"
    assert server.status()["f"][:2] == (0, 0)


def test_kills_in_the_middle_of_a_replay(server: Server, spawn: Spawn) -> None:
    handles = submit(server, b"f", JOBS)
    work(server, b"f", JOBS, 0.5)
    arguments = ["replay", "--function", "f", "--as-function", "g"]
    told = killed_and_repeated(server, spawn, arguments, JOBS, KILLS)
    made = copies(server)
    check_told(told, set(made), handles)
    assert set(made.values()) == {1}
    assert Counter(states(server.db).values())[QUEUED] == JOBS
    server.restart()
    assert work(server, b"g", JOBS, 0.0) == {}
    assert server.status()["g"][:2] == (0, 0)


def test_kills_in_the_middle_of_a_purge(server: Server, spawn: Spawn) -> None:
    handles = submit(server, b"f", JOBS)
    work(server, b"f", JOBS, 1.0)
    others = submit(server, b"g", 10)
    told = killed_and_repeated(server, spawn, ["purge", "--function", "f"], JOBS, KILLS)
    left = states(server.db)
    check_told(told, {number_of(handle) for handle in handles} - set(left), handles)
    assert set(left) == {number_of(handle) for handle in others}
    assert events(server, b"exception") == {}


def test_kills_in_the_middle_of_a_hold_and_of_the_release(server: Server, spawn: Spawn) -> None:
    handles = submit(server, b"f", JOBS)
    told = killed_and_repeated(server, spawn, ["hold", "--function", "f"], JOBS, KILLS)
    held = events(server, b"hold")
    check_told(told, set(held), handles)
    assert set(held.values()) == {1} and set(states(server.db).values()) == {HELD}
    server.restart()
    told = killed_and_repeated(server, spawn, ["release", "--function", "f"], JOBS, 2)
    released = events(server, b"release")
    check_told(told, set(released), handles)
    assert set(released.values()) == {1} and set(states(server.db).values()) == {QUEUED}


def test_kills_while_workers_take_what_is_put_back(server: Server, spawn: Spawn) -> None:
    """All at once: jobs come back, some are done, some fail again, and the server dies in between."""
    number, draw = 1500, random.Random(7)
    handles = submit(server, b"f", number)
    work(server, b"f", number, 1.0)
    for _ in range(KILLS):
        process = spawn(*command(server, "retry", "--function", "f", "--state", "failed"))
        eventually(lambda: server.status()["f"][0] > 0, what="jobs that are back")
        work(server, b"f", draw.randrange(50, 150), 0.3, draw.randrange(1000))
        server.kill9()
        process.wait()
        assert faults(server.db) == []
        server.restart()
    queued = server.status()["f"][0]
    work(server, b"f", queued, 0.0)
    server.kill9()
    assert faults(server.db) == []
    found = states(server.db)
    assert set(found) == {number_of(handle) for handle in handles} and set(found.values()) <= {DONE, FAILED}
    assert DONE in found.values()
