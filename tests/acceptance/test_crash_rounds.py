"""Again and again `kill -9` in the middle of submits, grabs and completions, judged by counting.

A job counts as acknowledged when its JOB_CREATED was received; as ended when, after the report of its end, its
worker received any later answer on the same connection. A job whose worker reported its end and heard nothing more may
have ended or may run again: both are right, and the server's history must say which.
"""

import json
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from tests.acceptance.servers import HOST, Server, eventually, printed, run
from tests.acceptance.wire import Connection, PacketType, request

pytestmark = [pytest.mark.gearstore_only, pytest.mark.slow]

ROUNDS = int(os.environ.get("GEARSTORE_TEST_ROUNDS", "20"))  # `make crash ROUNDS=100`
SUBMITTERS = 3
WORKERS = 3
FUNCTIONS = (b"f", b"g")
SUBMITS = (PacketType.SUBMIT_JOB_BG, PacketType.SUBMIT_JOB_HIGH_BG, PacketType.SUBMIT_JOB_LOW_BG)


class Ledger:
    """What clients and workers were told, over all lives of the server."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.workloads: dict[bytes, bytes] = {}
        self.acknowledged: list[bytes] = []
        self.ended: set[bytes] = set()
        self.assignments: Counter[bytes] = Counter()
        self.faults: list[str] = []

    def acknowledge(self, handle: bytes, workload: bytes) -> None:
        """Note that the server has accepted a job."""
        with self.lock:
            self.acknowledged.append(handle)
            self.name(handle, workload)

    def assign(self, handle: bytes, workload: bytes) -> None:
        """Note that a worker was given a job."""
        with self.lock:
            self.assignments[handle] += 1
            self.name(handle, workload)
            if handle in self.ended:
                self.faults.append(f"{handle!r} was assigned again after its end")

    def end(self, handles: list[bytes]) -> None:
        """Note that workers know of the end of these jobs."""
        with self.lock:
            self.ended.update(handles)

    def name(self, handle: bytes, workload: bytes) -> None:
        """Check that a handle always means the same job."""
        known = self.workloads.setdefault(handle, workload)
        if known != workload:
            self.faults.append(f"{handle!r} means {known!r} and {workload!r}")


def submit_until_the_end(connection: Connection, ledger: Ledger, chance: random.Random, name: bytes) -> None:
    """Submit one to five jobs at a time, of all priorities and with all kinds of uniques."""
    number = 0
    while True:
        workloads = []
        requests = b""
        for _ in range(chance.randint(1, 5)):
            number += 1
            workload = b"%s-%d" % (name, number)
            unique = chance.choice((b"", b"-", b"unique " + workload))
            requests += request(chance.choice(SUBMITS), chance.choice(FUNCTIONS), unique, workload)
            workloads.append(workload)
        connection.send_bytes(requests)
        for workload in workloads:
            (handle,) = connection.expect(PacketType.JOB_CREATED)
            ledger.acknowledge(handle, workload)


def work_until_the_end(connection: Connection, ledger: Ledger, chance: random.Random) -> None:
    """Grab one to four jobs at a time and report their ends, all kinds of them, together with the next grabs."""
    for function in FUNCTIONS:
        connection.send(PacketType.CAN_DO, function)
    reported: list[bytes] = []
    reports = b""
    while True:
        grabs = chance.choice((1, 1, 1, 4))
        connection.send_bytes(reports + request(PacketType.GRAB_JOB_UNIQ) * grabs)
        held: list[bytes] = []
        for _ in range(grabs):
            packet_type, arguments = connection.receive()
            ledger.end(reported)
            if packet_type == PacketType.JOB_ASSIGN_UNIQ:
                ledger.assign(arguments[0], arguments[3])
                held.append(arguments[0])
            else:
                assert packet_type == PacketType.NO_JOB, packet_type
        if not held:
            connection.send(PacketType.PRE_SLEEP)
            connection.expect(PacketType.NOOP)
        reports = b"".join(report(handle, chance) for handle in held)
        reported = held


def report(handle: bytes, chance: random.Random) -> bytes:
    """Return the packets that end a job: mostly WORK_COMPLETE, sometimes after a status and data, sometimes failed."""
    end = chance.randrange(10)
    if end == 0:
        return request(PacketType.WORK_FAIL, handle)
    if end == 1:
        return request(PacketType.WORK_EXCEPTION, handle, b"why")
    if end == 2:
        status = request(PacketType.WORK_STATUS, handle, b"1", b"2")
        return status + request(PacketType.WORK_DATA, handle, b"part") + request(PacketType.WORK_COMPLETE, handle, b"")
    return request(PacketType.WORK_COMPLETE, handle, b"result of " + handle)


class Peers:
    """Threads that each use one connection until the server goes away."""

    def __init__(self, server: Server, ledger: Ledger) -> None:
        self.server = server
        self.ledger = ledger
        self.threads: list[threading.Thread] = []

    def start(self, use: Callable[[Connection], None]) -> None:
        """Start a thread that uses a connection of its own."""
        thread = threading.Thread(target=self.run, args=(Connection(self.server.port), use))
        thread.start()
        self.threads.append(thread)

    def run(self, connection: Connection, use: Callable[[Connection], None]) -> None:
        """Use the connection until it breaks; whatever else ends it is a fault."""
        with connection:
            try:
                use(connection)
            except ConnectionError:
                return
            except Exception as error:
                with self.ledger.lock:
                    self.ledger.faults.append(f"{type(error).__name__}: {error}")

    def join(self) -> None:
        """Wait until all threads have seen that the server has gone."""
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a peer did not see that the server has gone"
        self.threads.clear()


def test_kills_in_the_middle_of_work(server: Server) -> None:
    chance = random.Random(ROUNDS)
    ledger = Ledger()
    peers = Peers(server, ledger)

    def start_workers(count: int) -> None:
        for _ in range(count):
            own = random.Random(chance.random())
            peers.start(partial(work_until_the_end, ledger=ledger, chance=own))

    for number in range(ROUNDS):
        for submitter in range(SUBMITTERS):
            name, own = b"%d-%d" % (number, submitter), random.Random(chance.random())
            peers.start(partial(submit_until_the_end, ledger=ledger, chance=own, name=name))
        start_workers(WORKERS)
        acknowledged = len(ledger.acknowledged) + chance.randint(20, 250)
        ended = len(ledger.ended) + chance.randint(0, 50)
        eventually(partial(done, ledger, acknowledged, ended), what=lambda: ledger.faults or "progress")
        server.kill9()
        peers.join()
        expect_sound(server)
        server.restart()
        assert ledger.faults == []

    start_workers(WORKERS)
    eventually(lambda: ledger.faults or idle(server), within=300, what=lambda: f"an empty queue: {server.status()}")
    states = history(server, ledger.acknowledged)
    server.kill9()
    peers.join()

    assert ledger.faults == []
    assert len(ledger.acknowledged) == len(set(ledger.acknowledged)), "a handle was given to two jobs"
    lost = [handle for handle in ledger.acknowledged if handle not in states or handle not in ledger.assignments]
    assert lost == [], f"{len(lost)} of {len(ledger.acknowledged)} jobs were acknowledged and lost"
    assert set(states.values()) == {"done", "failed"}
    twice = sum(1 for count in ledger.assignments.values() if count > 1)
    print(
        f"{ROUNDS} kills, {len(states):,} jobs acknowledged, {len(lost)} lost; "
        f"{len(ledger.ended):,} known to have ended, {twice} ran more than once"
    )


def expect_sound(server: Server) -> None:
    """Check what the kill has left: the file is whole, and the queue's own rules hold."""
    checked = run([sys.executable, "-m", "gearstore_cli", "check", "--db", server.db], timeout=300)
    assert checked.returncode == 0, checked.stdout.decode()


def done(ledger: Ledger, acknowledged: int, ended: int) -> bool:
    """Tell whether there is enough in flight for a kill, or already a fault."""
    return bool(ledger.faults) or (len(ledger.acknowledged) >= acknowledged and len(ledger.ended) >= ended)


def idle(server: Server) -> bool:
    """Tell whether no job is queued or running."""
    return all(row[:2] == (0, 0) for row in server.status().values())


def history(server: Server, handles: list[bytes]) -> dict[bytes, str]:
    """Return the state of each of these jobs that the server knows, by handle."""
    address = ["--server", f"{HOST}:{server.port}"]
    command = [sys.executable, "-m", "gearstore_cli", "jobs", *address, "--json", "-"]
    rows = map(json.loads, printed(command, b"\n".join(handles), timeout=300).splitlines())
    return {row["handle"].encode(): row["state"] for row in rows}
