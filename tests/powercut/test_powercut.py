"""The power is cut at thousands of moments of a server's life, and the store is started on what the disk may hold then.

What was acknowledged must be there, what was told to have ended must not run again, what was refused must not be there,
and every start must succeed. `make powercut IMAGES=20000` goes on for longer.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from gearstore.protocol.packets import CAN_DO, GRAB_JOB, JOB_ASSIGN, NO_JOB, SUBMIT_JOB_BG, WORK_COMPLETE
from tests.powercut.cuts import NAME, Record, cut_again, images, judge_all, judged, write
from tests.powercut.judge import Known
from tests.powercut.lives import USUAL, WORST, Life, killed, record_lives, stopped, syncs_fail, young_log_fails
from tests.powercut.recording import Kind, compiler_is_there, events
from tests.powercut.workload import FUNCTIONS
from tests.server.process import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not compiler_is_there(), reason="there is no C compiler for the recorder"),
]

IMAGES = 850  # of each record, besides those right before the end of each sync
SERVERS = 8  # whole servers that are started on an image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("powercut")


@pytest.fixture(scope="module")
def usual(folder: Path) -> Record:
    """A server that is killed, stopped, has a sync that fails and a disk that is full for a while."""
    return record_lives(folder, "usual", USUAL)


@pytest.fixture(scope="module")
def worst(folder: Path) -> Record:
    """A server whose syncs fail, for good or right before it is killed."""
    return record_lives(folder, "worst", WORST, seed=100)


def test_the_record_holds_what_it_should(usual: Record, worst: Record) -> None:
    """Else what follows would judge nothing."""
    for record in (usual, worst):
        known = Known(record.plan)
        kinds = set()
        for event in events(record.log):
            kinds.add(event.kind)
            if event.kind is Kind.SEND:
                known.take(event)
        assert kinds >= set(Kind) - {Kind.NOT_SYNCED, Kind.RENAME}
        assert len(known.acknowledged) > 200
        assert len(known.ended) > 100
    assert known.refused


def test_nothing_is_lost(usual: Record, worst: Record) -> None:
    verdict = judge_all([usual, worst], IMAGES)
    print(verdict)
    assert verdict.images.total() >= 2000
    assert not verdict.faults, verdict.examples


def test_nothing_is_lost_by_a_second_cut_while_the_first_is_recovered_from(folder: Path, worst: Record) -> None:
    verdict = cut_again(folder / "again", worst, 6, 15)
    print(verdict)
    assert verdict.images.total() >= 100
    assert not verdict.faults, verdict.examples


def test_whole_servers_start(tmp_path: Path, usual: Record) -> None:
    """As the others, seen by a client and a worker."""
    step = (IMAGES + 200) // SERVERS
    for number, image in enumerate(islice(images(usual, IMAGES, seed=1), step // 2, None, step)):
        directory = tmp_path / str(number)
        directory.mkdir()
        write(directory, image.files)
        server = Server(directory, "--job-handle-prefix=H:test", db=directory / NAME)
        try:
            look_at(server, image.known)
        finally:
            server.end()


def look_at(server: Server, known: Known) -> None:
    """Find all that is acknowledged, work on all that waits."""
    client, worker = server.connect(), server.connect()
    jobs = {job["handle"].encode(): job for job in client.manage("jobs", limit=100_000)}
    assert not known.acknowledged.keys() - jobs.keys()
    for function in FUNCTIONS:
        worker.send(CAN_DO, function)
    while (answer := worker.ask(GRAB_JOB))[0] is JOB_ASSIGN:
        handle, _, workload = answer[1].split(b"\0", 2)
        assert handle not in known.ended
        assert workload == known.acknowledged.get(handle, workload)
        worker.send(WORK_COMPLETE, handle, b"")
    assert answer[0] is NO_JOB
    assert client.submit(SUBMIT_JOB_BG, b"f", b"", b"new") not in known.acknowledged


# Faults that are planted in the server have to be found


@pytest.mark.parametrize(
    ("fault", "lives"),
    [
        ("synchronous = NORMAL", (killed, stopped)),
        ("acknowledged before the commit", (killed, stopped)),
        ("the log is taken as it reads", (syncs_fail, syncs_fail, syncs_fail, killed)),
        ("the log is checkpointed as it reads", (young_log_fails, young_log_fails, young_log_fails, killed)),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, fault: str, lives: Sequence[Life]) -> None:
    record = record_lives(tmp_path, "faulty", lives, fault)
    verdict = judged(images(record, 1500, seed=1), first=True)
    assert verdict.faults, f"{verdict} after {os.fspath(record.log)}"
