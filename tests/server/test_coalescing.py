"""Jobs of one unique are one job: section 2 of the behaviour reference, items 6 and 7 of its checklist."""

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    GRAB_JOB,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN,
    JOB_ASSIGN_UNIQ,
    NO_JOB,
    PRE_SLEEP,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    SUBMIT_JOB_HIGH,
    SUBMIT_JOB_HIGH_BG,
    SUBMIT_JOB_LOW,
    SUBMIT_JOB_LOW_BG,
    SUBMIT_REDUCE_JOB,
    SUBMIT_REDUCE_JOB_BACKGROUND,
    WORK_COMPLETE,
    WORK_DATA,
    WORK_EXCEPTION,
    WORK_FAIL,
    WORK_STATUS,
    WORK_WARNING,
    PacketType,
)
from tests.server.wire import Connect, Wire, packet

SUBMITS = (SUBMIT_JOB, SUBMIT_JOB_HIGH, SUBMIT_JOB_LOW, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW_BG)


@pytest.mark.parametrize("first", SUBMITS, ids=lambda kind: kind.name)
def test_06_whatever_comes_second_joins(client: Wire, worker: Wire, f: bytes, first: PacketType) -> None:
    handle = client.submit(first, f, b"u", b"the first workload")
    for state in ("queued", "running"):
        for kind in SUBMITS:
            assert client.submit(kind, f, b"u", b"another") == handle, state
        assert client.submit(SUBMIT_JOB_EPOCH, f, b"u", b"9999999999", b"") == handle
        for kind in (SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND):
            assert client.submit(kind, f, b"u", b"reducer", b"", b"") == handle
        assert client.submit(SUBMIT_JOB_BG, f + b"2", b"u", b"") != handle
        assert client.submit(SUBMIT_JOB_BG, f, b"U", b"") != handle
        if state == "queued":
            worker.send(CAN_DO, f)
            worker.send(GRAB_JOB)
            # HIGH does not raise it, the first workload stays
            while worker.expect(JOB_ASSIGN)[0] != handle:
                worker.send(GRAB_JOB)
    worker.send(WORK_COMPLETE, handle, b"")
    assert worker.show(handle)["preview"] == "the first workload"


@pytest.mark.parametrize("end", [WORK_COMPLETE, WORK_FAIL, WORK_EXCEPTION], ids=lambda kind: kind.name)
@pytest.mark.parametrize("kind", [SUBMIT_JOB, SUBMIT_JOB_BG], ids=lambda kind: kind.name)
def test_06_after_the_end_there_is_a_new_job(
    connect: Connect, client: Wire, worker: Wire, f: bytes, kind: PacketType, end: PacketType
) -> None:
    handle = client.submit(kind, f, b"u", b"")
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"")
    worker.send(end, handle, *([] if end is WORK_FAIL else [b""]))
    worker.expect_nothing()
    second = connect().submit(SUBMIT_JOB_BG, f, b"u", b"new")
    assert second != handle
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, second, f, b"new")


def test_06_a_dash_joins_by_data(client: Wire, worker: Wire, f: bytes) -> None:
    handle = client.submit(SUBMIT_JOB, f, b"-", b"data")
    assert client.submit(SUBMIT_JOB_BG, f, b"-", b"data") == handle
    assert client.submit(SUBMIT_JOB, f, b"-", b"other") != handle
    assert client.submit(SUBMIT_JOB, f + b"2", b"-", b"data") != handle
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB_UNIQ)
    worker.expect(JOB_ASSIGN_UNIQ, handle, f, b"-", b"data")


def test_06_a_dash_joins_by_large_data(client: Wire, f: bytes) -> None:
    data = b"x" * 1_000_000
    handle = client.submit(SUBMIT_JOB, f, b"-", data)
    assert client.submit(SUBMIT_JOB, f, b"-", data) == handle
    assert client.submit(SUBMIT_JOB, f, b"-", data + b"y") != handle


def test_06_a_dash_joins_the_job_whose_unique_is_its_data(client: Wire, f: bytes) -> None:
    handle = client.submit(SUBMIT_JOB, f, b"data", b"w")
    assert client.submit(SUBMIT_JOB, f, b"-", b"data") == handle


@pytest.mark.parametrize("unique", [b"", b"-"])
def test_06_empty_never_joins(client: Wire, f: bytes, unique: bytes) -> None:
    handles = {client.submit(kind, f, unique, b"") for kind in SUBMITS for _ in range(2)}
    assert len(handles) == 12


def test_06_twins_in_one_write_are_one_job(client: Wire, f: bytes) -> None:
    client.send_bytes(b"".join(packet(kind, f, b"u", b"") for kind in SUBMITS * 3))
    handles = {client.expect(PacketType.JOB_CREATED)[0] for _ in SUBMITS * 3}
    assert len(handles) == 1
    assert client.status(f) == (1, 0, 0)


def test_06_joining_wakes_nobody_and_passes_no_limit(connect: Connect, f: bytes) -> None:
    client, worker, sleeper = connect(), connect(), connect()
    assert client.text(b"maxqueue %s 1" % f) == b"OK\r\n"
    handle = client.submit(SUBMIT_JOB, f, b"u", b"")
    assert client.text(b"maxqueue %s 1" % f) == b"OK\r\n"
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"")
    sleeper.send(CAN_DO, f)
    sleeper.send(PRE_SLEEP)
    sleeper.expect_nothing()
    assert client.submit(SUBMIT_JOB, f, b"u", b"") == handle
    client.send(SUBMIT_JOB, f, b"v", b"")
    client.expect(PacketType.ERROR, b"QUEUE_ERROR", b"Job queue is full")
    sleeper.expect_nothing()


def test_07_two_foreground_submits_of_one_connection_hear_everything_twice(
    client: Wire, worker: Wire, f: bytes
) -> None:
    handle = client.submit(SUBMIT_JOB, f, b"u", b"")
    assert client.submit(SUBMIT_JOB, f, b"u", b"") == handle
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"")
    for kind, args in (
        (WORK_DATA, (b"d",)),
        (WORK_WARNING, (b"w",)),
        (WORK_STATUS, (b"1", b"2")),
        (WORK_COMPLETE, (b"r",)),
    ):
        worker.send(kind, handle, *args)
        client.expect(kind, handle, *args)
        client.expect(kind, handle, *args)
    client.expect_nothing()


def test_a_late_listener_hears_what_comes_after_it(connect: Connect, f: bytes) -> None:
    first, second, worker = connect(), connect(), connect()
    handle = first.submit(SUBMIT_JOB, f, b"u", b"")
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"")
    worker.send(WORK_DATA, handle, b"early")
    first.expect(WORK_DATA, handle, b"early")
    assert second.submit(SUBMIT_JOB, f, b"u", b"") == handle
    worker.send(WORK_DATA, handle, b"late")
    for client in (first, second):
        client.expect(WORK_DATA, handle, b"late")
    worker.send(WORK_COMPLETE, handle, b"")
    for client in (first, second):
        client.expect(WORK_COMPLETE, handle, b"")


@pytest.mark.parametrize("kind", [SUBMIT_JOB, SUBMIT_JOB_BG], ids=lambda kind: kind.name)
def test_an_abandoned_or_cancelled_job_cannot_be_joined(
    connect: Connect, worker: Wire, f: bytes, kind: PacketType
) -> None:
    gone, client, admin = connect(), connect(), connect()
    abandoned = gone.submit(SUBMIT_JOB, f, b"u", b"old")
    gone.leave()
    handle = client.submit(kind, f, b"u", b"new")
    assert handle != abandoned
    assert admin.text(b"cancel job " + handle) == b"OK\r\n"
    if kind is SUBMIT_JOB:
        client.expect(WORK_FAIL, handle)
    last = client.submit(kind, f, b"u", b"newest")
    assert last != handle
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, last, f, b"newest")
    worker.send(WORK_COMPLETE, last, b"r")
    if kind is SUBMIT_JOB:
        client.expect(WORK_COMPLETE, last, b"r")
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)


def test_who_joins_an_abandoned_running_job_gets_its_result(connect: Connect, f: bytes) -> None:
    gone, client, worker = connect(), connect(), connect()
    handle = gone.submit(SUBMIT_JOB, f, b"u", b"w")
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"w")
    gone.leave()
    assert client.submit(SUBMIT_JOB, f, b"u", b"w") == handle
    worker.leave()  # it is run again: somebody waits
    worker = connect()
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"w")
    worker.send(WORK_COMPLETE, handle, b"r")
    client.expect(WORK_COMPLETE, handle, b"r")
