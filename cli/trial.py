"""What `gearstore selftest` does: clients and workers use a server that is killed again and again, then all is counted.

A job is acknowledged once its JOB_CREATED was received. It has ended for good once its worker, after the report of the
end, has received any later answer on the same connection.
"""

import base64
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from itertools import count
from typing import NamedTuple

from gearstore.client.core import Row, refusal
from gearstore.protocol.packets import (
    CAN_DO,
    ERROR,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN_UNIQ,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_HIGH_BG,
    SUBMIT_JOB_LOW_BG,
    WORK_COMPLETE,
    WORK_FAIL,
    request,
)
from gearstore.protocol.responses import Packet

from .client import Connection
from .errors import CommandError, Unreachable
from .private_server import PATIENCE, PrivateServer

FUNCTIONS = (b"selftest-a", b"selftest-b")
SUBMITS = (SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW_BG)
MOST_AT_ONCE = 20  # jobs that a client submits before it waits for their handles
SIZES = (0, 10, 100, 1000)  # bytes of a workload behind its name
LATEST = 0.02  # seconds: a kill comes at any moment within them, not just after an answer


class Verdict(NamedTuple):
    """What came of it. Handles are those of acknowledged jobs."""

    acknowledged: int
    lost: list[str]  # not there any more
    altered: list[str]  # there, but with other bytes
    run_twice: int
    faults: list[str]  # all else that must not be, as sentences

    @property
    def found(self) -> int:
        """How many jobs were there as they had been submitted."""
        return self.acknowledged - len(self.lost) - len(self.altered)

    @property
    def sound(self) -> bool:
        """Whether everything promised was true."""
        return not (self.lost or self.altered or self.faults)


class Ledger:
    """What clients and workers were told, over all lives of the server."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.acknowledged: list[tuple[bytes, bytes]] = []  # handle, and digest of the workload
        self.handles: set[bytes] = set()
        self.assigned: Counter[bytes] = Counter()
        self.ended: set[bytes] = set()
        self.faults: list[str] = []
        self.target = 0
        self.reached = threading.Event()  # so many jobs are acknowledged, or there is a fault

    def acknowledge(self, handle: bytes, digest: bytes) -> None:
        """Note that the server has accepted a job."""
        with self.lock:
            if handle in self.handles:
                self.faults.append(f"{handle.decode()} was given to two jobs")
            self.handles.add(handle)
            self.acknowledged.append((handle, digest))
            if len(self.acknowledged) >= self.target:
                self.reached.set()

    def assign(self, handle: bytes) -> None:
        """Note that a worker was given a job."""
        with self.lock:
            self.assigned[handle] += 1
            if handle in self.ended:
                self.faults.append(f"{handle.decode()} ran again though its end was confirmed")

    def end(self, handles: list[bytes]) -> None:
        """Note that a worker knows that the ends of these jobs are stored."""
        with self.lock:
            self.ended.update(handles)

    def fault(self, sentence: str) -> None:
        """Note what must not be, and have the load end."""
        with self.lock:
            self.faults.append(sentence)
            self.reached.set()

    def wait_for(self, target: int, within: float) -> bool:
        """Wait until so many jobs are acknowledged; return whether that, or a fault, was in time."""
        with self.lock:
            self.target = target
            if len(self.acknowledged) < target and not self.faults:
                self.reached.clear()
        return self.reached.wait(within)


class Trial:
    """The rounds, and their judgement."""

    def __init__(self, server: PrivateServer, clients: int, workers: int) -> None:
        self.server = server
        self.ledger = Ledger()
        self.starts: list[float] = []  # seconds until the server answered
        self.kills = 0
        self.loaded = 0.0  # seconds under load
        self._uses = [submit_for_ever] * clients + [work_for_ever] * workers
        self._threads: list[threading.Thread] = []
        self._killing = False
        self._numbers = count()

    def round(self, target: int, report: Callable[[int], None] = lambda done: None) -> None:
        """Have so many jobs acknowledged in all, and kill the server in the midst of that."""
        self.load(target, report)
        time.sleep(random.random() * LATEST)
        self.kill()

    def start(self) -> None:
        """Start the server on what there is."""
        self.starts.append(self.server.start())

    def load(self, target: int, report: Callable[[int], None] = lambda done: None) -> None:
        """Let clients and workers begin, and return when so many jobs are acknowledged; they go on until the kill."""
        self._killing = False
        began = moved = time.monotonic()
        before = -1
        for use in self._uses:
            self._threads.append(threading.Thread(target=self._run, args=(use,), daemon=True))
            self._threads[-1].start()
        while not self.ledger.wait_for(target, 0.1):
            done = len(self.ledger.acknowledged)
            moved = time.monotonic() if done > before else moved
            if not self.server.alive:
                self.ledger.fault(f"the server ended by itself: {self.server.last_words()}")
            elif time.monotonic() - moved > PATIENCE:
                self.ledger.fault(f"no job was acknowledged for {PATIENCE:.0f} s")
            before = done
            report(done)
        self.loaded += time.monotonic() - began

    def kill(self) -> None:
        """Kill the server; return when all clients and workers have seen that it is gone."""
        self._killing = True
        self.kills += self.server.alive
        self.server.kill()
        for thread in self._threads:
            thread.join(PATIENCE)
            if thread.is_alive():
                self.ledger.fault("a client did not see that the server was gone")
        self._threads.clear()

    def _run(self, use: Callable[[Connection, Ledger, bytes], None]) -> None:
        """Use a connection until the kill ends it; whatever else does is a fault."""
        try:
            with Connection(self.server.address) as connection:
                use(connection, self.ledger, b"%d" % next(self._numbers))
        except Unreachable as error:
            if not self._killing:
                self.ledger.fault(str(error))
        except Exception as error:
            self.ledger.fault(f"{type(error).__name__}: {error}" if not isinstance(error, CommandError) else str(error))

    def judge(self) -> Verdict:
        """Compare what is there, after the last start, with what was acknowledged; end the server in order."""
        ledger = self.ledger
        with Connection(self.server.address) as connection:
            present = {handle_of(job): digest_of(job) for job in connection.manage("export")}
        lost = [handle.decode() for handle, _ in ledger.acknowledged if handle not in present]
        altered = [handle.decode() for handle, digest in ledger.acknowledged if present.get(handle, digest) != digest]
        self.server.stop()
        twice = sum(times > 1 for times in ledger.assigned.values())
        return Verdict(len(ledger.acknowledged), lost, altered, twice, [*ledger.faults, *self._breaches()])

    def _breaches(self) -> Iterator[str]:
        """Yield what `gearstore check` finds in the database."""
        from gearstore.store.check import check
        from gearstore.store.view import snapshot

        if not self.server.db.exists():
            return  # then everything is lost
        with snapshot(str(self.server.db)) as (connection, _):
            for finding in check(connection, lambda what: None):
                yield f"{finding.rule} {finding.handle.decode() or '-'}: {finding.sentence}"


def handle_of(job: Row) -> bytes:
    """Return the handle of an exported job."""
    handle: str = job["handle"]
    return handle.encode()


def digest_of(job: Row) -> bytes:
    """Return the digest of an exported job's workload; of one that was altered on disk, none."""
    return digest(base64.b64decode(job["workload"])) if job["intact"] else b""


def digest(workload: bytes) -> bytes:
    """Return some bytes that tell workloads apart."""
    return blake2b(workload, digest_size=12).digest()


def submit_for_ever(connection: Connection, ledger: Ledger, name: bytes) -> None:
    """Submit some jobs at a time, of all priorities, with and without uniques."""
    chance = random.Random()
    for number in count():
        requests, digests = [], []
        for place in range(chance.randint(1, MOST_AT_ONCE)):
            own = b"%s-%d-%d" % (name, number, place)
            workload = own + chance.randbytes(chance.choice(SIZES))
            requests.append(
                request(chance.choice(SUBMITS), chance.choice(FUNCTIONS), chance.choice((b"", own)), workload)
            )
            digests.append(digest(workload))
        connection.send(b"".join(requests))
        for each in digests:
            ledger.acknowledge(expect(connection, JOB_CREATED)[1][0], each)


def work_for_ever(connection: Connection, ledger: Ledger, name: bytes) -> None:
    """Grab one to four jobs at a time, and report their ends together with the next grabs."""
    chance = random.Random()
    connection.send(b"".join(map(partial(request, CAN_DO), FUNCTIONS)))
    reported: list[bytes] = []
    reports = b""
    while True:
        grabs = chance.choice((1, 1, 1, 4))
        connection.send(reports + request(GRAB_JOB_UNIQ) * grabs)
        held = []
        for _ in range(grabs):
            kind, pieces = expect(connection, JOB_ASSIGN_UNIQ, NO_JOB)
            ledger.end(reported)
            if kind == JOB_ASSIGN_UNIQ:
                ledger.assign(pieces[0])
                held.append(pieces[0])
        if not held:
            connection.send(request(PRE_SLEEP))
            expect(connection, NOOP)
        reports = b"".join(report(handle, chance) for handle in held)
        reported = held


def report(handle: bytes, chance: random.Random) -> bytes:
    """Return the packet that ends a job: one in ten fails."""
    if chance.randrange(10) == 0:
        return request(WORK_FAIL, handle)
    return request(WORK_COMPLETE, handle, b"result of " + handle)


def expect(connection: Connection, *kinds: int) -> Packet:
    """Return the next packet, which must be one of these; raise CommandError."""
    packet = connection.receive()
    if packet[0] == ERROR:
        raise refusal(packet[1])
    if packet[0] not in kinds:
        raise CommandError(f"packet type {packet[0]} is not the answer to what was asked")
    return packet
