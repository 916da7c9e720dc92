"""Order, attempts, timeouts, delays, wake-ups and lost peers: sections 3 and 4 of the behaviour reference, items 8 to
12 of its checklist."""

import sqlite3
import time
from contextlib import closing
from datetime import datetime

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    CAN_DO_TIMEOUT,
    ERROR,
    GET_STATUS,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    STATUS_RES,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    SUBMIT_JOB_HIGH,
    SUBMIT_JOB_HIGH_BG,
    SUBMIT_JOB_LOW,
    SUBMIT_JOB_LOW_BG,
    SUBMIT_JOB_SCHED,
    SUBMIT_REDUCE_JOB_BACKGROUND,
    WORK_COMPLETE,
    WORK_FAIL,
    PacketType,
)
from tests.server.process import Server, StartServer, eventually
from tests.server.wire import Connect, Wire, packet

FOREGROUND = {"LOW": SUBMIT_JOB_LOW, "NORMAL": SUBMIT_JOB, "HIGH": SUBMIT_JOB_HIGH}
BACKGROUND = {"LOW": SUBMIT_JOB_LOW_BG, "NORMAL": SUBMIT_JOB_BG, "HIGH": SUBMIT_JOB_HIGH_BG}


def take_all(worker: Wire) -> list[bytes]:
    """Take jobs until there are none; return their workloads."""
    workloads: list[bytes] = []
    while True:
        kind, content = worker.ask(GRAB_JOB)
        if kind is NO_JOB:
            return workloads
        handle, _, workload = content.split(b"\0", 2)
        workloads.append(workload)
        worker.send(WORK_COMPLETE, handle, b"")


def submit_two_of_each(client: Wire, functions: list[bytes], kinds: dict[str, PacketType]) -> None:
    """Submit LOW, NORMAL, HIGH twice to each function; the workload says which it is."""
    for number in (b"1", b"2"):
        for name, kind in kinds.items():
            for function in functions:
                client.submit(kind, function, b"", function[-1:] + name[:1].encode() + number)


def grab(worker: Wire, handle: bytes, f: bytes, workload: bytes = b"") -> None:
    """Take this job."""
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, workload)


# Order


@pytest.mark.parametrize("kinds", [FOREGROUND, BACKGROUND], ids=["foreground", "background"])
def test_08_the_last_can_do_is_served_first(client: Wire, worker: Wire, f: bytes, kinds: dict[str, PacketType]) -> None:
    submit_two_of_each(client, [f + b"A", f + b"B"], kinds)
    worker.send(CAN_DO, f + b"A")
    worker.send(CAN_DO, f + b"B")
    assert b" ".join(take_all(worker)) == b"BH1 BH2 BN1 BN2 BL1 BL2 AH1 AH2 AN1 AN2 AL1 AL2"


def test_08_foreground_and_background_stand_in_one_queue(client: Wire, worker: Wire, f: bytes) -> None:
    kinds = [SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_BG, SUBMIT_JOB, SUBMIT_JOB, SUBMIT_JOB_BG]
    for n, kind in enumerate(kinds):
        client.submit(kind, f, b"", b"%d" % n)
    worker.send(CAN_DO, f)
    assert take_all(worker) == [b"%d" % n for n in range(6)]


def test_08_reduce_jobs_are_normal(client: Wire, worker: Wire, f: bytes) -> None:
    client.submit(SUBMIT_JOB_LOW_BG, f, b"", b"low")
    client.submit(SUBMIT_REDUCE_JOB_BACKGROUND, f, b"", b"r", b"", b"reduce")
    client.submit(SUBMIT_JOB_HIGH_BG, f, b"", b"high")
    worker.send(CAN_DO, f)
    assert take_all(worker) == [b"high", b"reduce", b"low"]


def test_08_round_robin(start_server: StartServer) -> None:
    server = start_server("--round-robin")
    client, worker = server.connect(), server.connect()
    submit_two_of_each(client, [b"A", b"B"], BACKGROUND)
    worker.send(CAN_DO, b"A")
    worker.send(CAN_DO, b"B")
    assert b" ".join(take_all(worker)) == b"BH1 AH1 BH2 AH2 BN1 AN1 BN2 AN2 BL1 AL1 BL2 AL2"


def test_08_priorities_over_all_functions(start_server: StartServer) -> None:
    server = start_server("--priority-scope=global")
    client, worker = server.connect(), server.connect()
    submit_two_of_each(client, [b"A", b"B"], BACKGROUND)
    worker.send(CAN_DO, b"A")
    worker.send(CAN_DO, b"B")
    assert b" ".join(take_all(worker)) == b"BH1 BH2 AH1 AH2 BN1 BN2 AN1 AN2 BL1 BL2 AL1 AL2"


# Lost workers


@pytest.mark.parametrize("kind", [SUBMIT_JOB, SUBMIT_JOB_BG], ids=lambda kind: kind.name)
def test_09_a_lost_workers_job_goes_to_the_end_of_its_priority(connect: Connect, f: bytes, kind: PacketType) -> None:
    client, lost, worker = connect(), connect(), connect()
    handles = [client.submit(kind, f, b"", b"%d" % n) for n in range(3)]
    client.submit(SUBMIT_JOB_LOW, f, b"", b"low")
    lost.send(CAN_DO, f)
    grab(lost, handles[0], f, b"0")
    lost.leave()
    rows = {row[0]: row[1:] for row in client.rows(b"show jobs")}
    stored = b"1" if kind is SUBMIT_JOB_BG else b"0"
    assert rows[handles[0]] == [b"1", b"0", stored]
    assert rows[handles[1]] == [b"0", b"0", stored]
    worker.send(CAN_DO, f)
    assert take_all(worker) == [b"1", b"2", b"0", b"low"]


def test_09_a_connection_that_is_reset_loses_nothing(connect: Connect, f: bytes) -> None:
    client, lost, worker = connect(), connect(), connect()
    handle = client.submit(SUBMIT_JOB, f, b"", b"")
    lost.send(CAN_DO, f)
    grab(lost, handle, f)
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    lost.reset()
    worker.expect(NOOP)
    grab(worker, handle, f)
    worker.send(WORK_COMPLETE, handle, b"r")
    client.expect(WORK_COMPLETE, handle, b"r")


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_09_job_retries_are_attempts_in_all(start_server: StartServer, attempts: int) -> None:
    server = start_server(f"--job-retries={attempts}")
    client = server.connect()
    handle = client.submit(SUBMIT_JOB, b"f", b"", b"")
    stored = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    for number in range(attempts):
        lost = server.connect()
        lost.send(CAN_DO, b"f")
        grab(lost, handle, b"f")
        grab(lost, stored, b"f")
        client.expect_nothing()
        lost.leave()
        if number < attempts - 1:
            rows = {row[0]: row[1:] for row in client.rows(b"show jobs")}
            count = b"%d" % (number + 1)
            assert rows == {handle: [count, b"0", b"0"], stored: [count, b"0", b"1"]}
    client.expect(WORK_FAIL, handle)
    assert client.rows(b"show jobs") == []
    job = client.show(stored)
    assert (job["state"], job["reason"], job["attempts"]) == ("failed", "lost", attempts)


def test_09_no_limit_of_attempts(start_server: StartServer) -> None:
    server = start_server("--job-retries=0")
    client = server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    for _ in range(20):
        lost = server.connect()
        lost.send(CAN_DO, b"f")
        grab(lost, handle, b"f")
        lost.leave()
    assert client.rows(b"show jobs") == [[handle, b"20", b"0", b"1"]]


def test_09_failures_are_final(client: Wire, worker: Wire, f: bytes) -> None:
    worker.send(CAN_DO, f)
    for kind in (SUBMIT_JOB, SUBMIT_JOB_BG):
        for end, args in ((WORK_FAIL, ()), (PacketType.WORK_EXCEPTION, (b"oops",))):
            handle = client.submit(kind, f, b"", b"")
            grab(worker, handle, f)
            worker.send(end, handle, *args)
            if kind is SUBMIT_JOB:
                client.expect(WORK_FAIL, handle)
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)


# Timeouts


@pytest.mark.parametrize(("timeout", "seconds"), [(b"300", 1.0), (b"1000", 1.0), (b"1500", 1.5)])
def test_10_a_job_that_takes_too_long_goes_to_another(
    connect: Connect, f: bytes, timeout: bytes, seconds: float
) -> None:
    client, slow, other = connect(), connect(), connect()
    slow.send(CAN_DO_TIMEOUT, f, timeout)
    other.send(CAN_DO, f)
    handle = client.submit(SUBMIT_JOB, f, b"", b"")
    begin = time.monotonic()
    grab(slow, handle, f)
    other.send(PRE_SLEEP)
    limits = [row["timeouts"] for row in client.manage("workers") if row["timeouts"]]
    assert limits == [{f.decode(): seconds * 1000}]
    other.expect(NOOP)
    assert time.monotonic() - begin > seconds - 0.02
    client.expect_nothing()
    slow.expect_nothing()
    assert [row[1] for row in client.rows(b"show jobs") if row[0] == handle] == [b"1"]
    slow.send(WORK_COMPLETE, handle, b"late")  # neither believed nor answered
    slow.expect_nothing()
    grab(other, handle, f)
    other.send(WORK_COMPLETE, handle, b"in time")
    client.expect(WORK_COMPLETE, handle, b"in time")


def test_10_the_timer_of_a_job_ends_with_it(connect: Connect, f: bytes) -> None:
    client, worker, other = connect(), connect(), connect()
    worker.send(CAN_DO_TIMEOUT, f, b"1000")
    handle = client.submit(SUBMIT_JOB, f, b"", b"")
    grab(worker, handle, f)
    worker.send(WORK_COMPLETE, handle, b"r")  # and then silence, without PRE_SLEEP
    client.expect(WORK_COMPLETE, handle, b"r")
    # Another job's timeout is the clock: when it fires, that of the first one would have.
    marker = client.submit(SUBMIT_JOB, f, b"", b"marker")
    grab(worker, marker, f, b"marker")
    other.send(CAN_DO, f)
    other.send(PRE_SLEEP)
    other.expect(NOOP)
    grab(other, marker, f, b"marker")
    other.send(GRAB_JOB)
    other.expect(NO_JOB)
    assert client.status(f) == (1, 1, 2)


def test_10_each_job_has_its_own_timer(connect: Connect, f: bytes) -> None:
    client, worker, other = connect(), connect(), connect()
    worker.send(CAN_DO_TIMEOUT, f, b"1000")
    worker.send(CAN_DO, f + b"_patient")
    first = client.submit(SUBMIT_JOB, f, b"", b"1")
    second = client.submit(SUBMIT_JOB, f, b"", b"2")
    patient = client.submit(SUBMIT_JOB, f + b"_patient", b"", b"")
    grab(worker, patient, f + b"_patient")
    grab(worker, first, f, b"1")
    grab(worker, second, f, b"2")
    worker.send(WORK_COMPLETE, first, b"")
    client.expect(WORK_COMPLETE, first, b"")
    other.send(CAN_DO, f)
    other.send(CAN_DO, f + b"_patient")
    other.send(PRE_SLEEP)
    other.expect(NOOP)
    grab(other, second, f, b"2")
    other.send(GRAB_JOB)
    other.expect(NO_JOB)
    worker.send(WORK_COMPLETE, patient, b"r")
    client.expect(WORK_COMPLETE, patient, b"r")


def test_10_a_timeout_may_be_the_last_attempt(start_server: StartServer) -> None:
    server = start_server("--job-retries=1")
    client, worker = server.connect(), server.connect()
    worker.send(CAN_DO_TIMEOUT, b"f", b"1")
    handle = client.submit(SUBMIT_JOB, b"f", b"", b"")
    stored = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    grab(worker, handle, b"f")
    grab(worker, stored, b"f")
    client.expect(WORK_FAIL, handle)
    eventually(lambda: client.show(stored)["state"] == "failed", "the second timeout")
    assert client.show(stored)["reason"] == "timeout"


# Delays


def test_epoch_wakes_a_sleeping_worker_on_time(connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    due = int(time.time()) + 2
    handle = client.submit(SUBMIT_JOB_EPOCH, f, b"u", b"%d" % due, b"data\0")
    worker.expect_nothing()  # not now
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    worker.send(PRE_SLEEP)
    assert client.status(f) == (1, 0, 1)
    client.send(GET_STATUS, handle)
    client.expect(STATUS_RES, handle, b"1", b"0", b"0", b"0")
    assert client.submit(SUBMIT_JOB_BG, f, b"u", b"joins") == handle
    worker.expect(NOOP)
    assert 0 <= time.time() - due < 0.5
    grab(worker, handle, f, b"data\0")
    worker.send(WORK_COMPLETE, handle, b"")
    worker.expect_nothing()


@pytest.mark.parametrize("when", [b"", b"0", b"-5", b"1", b"1000000000"])
def test_epoch_in_the_past_is_now(client: Wire, worker: Wire, f: bytes, when: bytes) -> None:
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    handle = client.submit(SUBMIT_JOB_EPOCH, f, b"", when, b"")
    worker.expect(NOOP)
    grab(worker, handle, f)
    worker.send(WORK_COMPLETE, handle, b"")


def test_epoch_jobs_run_in_the_order_of_their_times(client: Wire, worker: Wire, f: bytes) -> None:
    now = time.time()
    for offset in (2, 1, 2, 1):
        client.submit(SUBMIT_JOB_EPOCH, f, b"", b"%d" % (now + offset), b"%d" % offset)
    worker.send(CAN_DO, f)
    seen: list[bytes] = []
    while len(seen) < 4:
        worker.send(PRE_SLEEP)
        worker.expect(NOOP)
        seen += take_all(worker)
    assert seen == [b"1", b"1", b"2", b"2"]


def test_epoch_jobs_block_nobody(connect: Connect, f: bytes) -> None:
    """gearmand: one that is not due makes LOW jobs unreachable, PRE_SLEEP answers NOOP and GRAB_JOB answers NO_JOB."""
    client, worker, gone = connect(), connect(), connect()
    delayed = client.submit(SUBMIT_JOB_EPOCH, f, b"", b"9999999999", b"")
    gone.submit(SUBMIT_JOB_LOW, f, b"", b"abandoned")
    gone.leave()
    low = client.submit(SUBMIT_JOB_LOW, f, b"", b"low")
    other = client.submit(SUBMIT_JOB_BG, f + b"2", b"", b"other")
    worker.send(CAN_DO, f + b"2")
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    worker.expect(NOOP)
    grab(worker, low, f, b"low")
    worker.send(PRE_SLEEP)
    worker.expect(NOOP)
    grab(worker, other, f + b"2", b"other")
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    assert client.text(b"cancel job " + delayed) == b"OK\r\n"


def test_a_schedule_is_its_next_moment(client: Wire, f: bytes) -> None:
    """Minute, hour, day of month, month, day of week; empty is any."""
    for fields, wanted in (
        ((b"30", b"6", b"", b"", b""), (30, 6)),
        ((b"0", b"0", b"29", b"2", b""), (0, 0, 29, 2)),
        ((b"15", b"23", b"", b"", b"0"), (15, 23)),
    ):
        handle = client.submit(SUBMIT_JOB_SCHED, f, b"", *fields, b"data")
        job = client.show(handle)
        assert job["state"] == "delayed"
        moment = datetime.fromtimestamp(job["run_at"] / 1000)
        assert (moment.minute, moment.hour, moment.day, moment.month)[: len(wanted)] == wanted
        assert moment.second == 0 and moment > datetime.now()
        if fields[4]:
            assert moment.weekday() == int(fields[4])


# Waking


@pytest.mark.parametrize(
    ("wakeup", "counts"),
    [("0", [4, 0, 0]), ("9", [4, 0, 0])],
    ids=["all", "more than there are"],
)
@pytest.mark.parametrize("kind", [SUBMIT_JOB, SUBMIT_JOB_BG], ids=lambda kind: kind.name)
def test_11_how_many_workers_a_job_wakes(
    start_server: StartServer, wakeup: str, counts: list[int], kind: PacketType
) -> None:
    """(Who was woken and does nothing is replaced after a moment: fewer than all are counted in tests/queue.)"""
    server = start_server(f"--worker-wakeup={wakeup}")
    client, sleepers = server.connect(), [server.connect() for _ in range(4)]
    for sleeper in sleepers:
        sleeper.send(CAN_DO, b"f")
        sleeper.send(PRE_SLEEP)
        sleeper.expect_nothing()
    woken: set[int] = set()
    for count in counts:
        client.submit(kind, b"f", b"", b"")
        before = len(woken)
        for number, sleeper in enumerate(sleepers):
            sleeper.send(PacketType.ECHO_REQ, b"?")
            answer, _ = sleeper.receive()
            if answer is NOOP:
                assert number not in woken
                woken.add(number)
                sleeper.expect(PacketType.ECHO_RES, b"?")
        assert len(woken) - before == count


def test_11_one_noop_until_the_next_grab(connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    for _ in range(3):
        client.submit(SUBMIT_JOB, f, b"", b"")
    worker.expect(NOOP)
    worker.expect_nothing()


def test_11_pre_sleep_with_a_job_waiting_is_answered_every_time(connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    worker.send(CAN_DO, f)
    client.submit(SUBMIT_JOB, f, b"", b"")
    for _ in range(3):
        worker.send(PRE_SLEEP)
        worker.expect(NOOP)


def test_11_a_worker_that_sleeps_again_without_a_grab_is_woken_again(connect: Connect, f: bytes) -> None:
    client, worker, faster = connect(), connect(), connect()
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    first = client.submit(SUBMIT_JOB, f, b"", b"1")
    worker.expect(NOOP)
    faster.send(CAN_DO, f)
    grab(faster, first, f, b"1")
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    second = client.submit(SUBMIT_JOB, f, b"", b"2")
    worker.expect(NOOP)
    grab(worker, second, f, b"2")


def test_11_a_sleeping_worker_that_learns_more_is_woken(connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    handle = client.submit(SUBMIT_JOB, f, b"", b"")
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    worker.send(CAN_DO, f)
    worker.expect(NOOP)
    grab(worker, handle, f)


@pytest.mark.parametrize("wakeup", ["auto", "1"])
def test_11_a_noop_whose_worker_leaves_goes_to_another(start_server: StartServer, wakeup: str) -> None:
    server = start_server(f"--worker-wakeup={wakeup}")
    client, first, second = server.connect(), server.connect(), server.connect()
    for worker in (first, second):
        worker.send(CAN_DO, b"f")
        worker.send(PRE_SLEEP)
        worker.expect_nothing()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    first.expect(NOOP)
    second.expect_nothing()
    first.leave()
    second.expect(NOOP)
    grab(second, handle, b"f")


def test_11_a_worker_that_hangs_keeps_no_job(connect: Connect, f: bytes) -> None:
    client, hung, good = connect(), connect(), connect()
    for worker in (hung, good):
        worker.send(CAN_DO, f)
        worker.send(PRE_SLEEP)
        worker.expect_nothing()
    handle = client.submit(SUBMIT_JOB_BG, f, b"", b"")
    hung.expect(NOOP)  # and does nothing
    good.expect(NOOP)
    grab(good, handle, f)


def test_11_many_sleepers_and_many_jobs_lose_no_wake_up(connect: Connect, f: bytes) -> None:
    client, workers = connect(), [connect() for _ in range(8)]
    for worker in workers:
        worker.send(CAN_DO, f)
        worker.send(PRE_SLEEP)
    jobs = 200
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, f, b"", b"%d" % n) for n in range(jobs)))
    done: list[bytes] = []
    while len(done) < jobs:
        before = len(done)
        for worker in workers:
            kind, content = worker.ask(GRAB_JOB)
            while kind is NOOP:
                kind, content = worker.receive()
            if kind is NO_JOB:
                worker.send(PRE_SLEEP)
                continue
            handle, _, workload = content.split(b"\0", 2)
            done.append(workload)
            worker.send(WORK_COMPLETE, handle, b"")
        if len(done) == before:
            workers[0].expect(NOOP)
    assert sorted(done, key=int) == [b"%d" % n for n in range(jobs)]


# Clients that leave


def test_12_a_queued_foreground_job_leaves_with_its_client(connect: Connect, f: bytes) -> None:
    gone, client, worker = connect(), connect(), connect()
    gone.submit(SUBMIT_JOB, f, b"", b"abandoned")
    kept = client.submit(SUBMIT_JOB, f, b"", b"kept")
    gone.leave()
    worker.send(CAN_DO, f)
    grab(worker, kept, f, b"kept")
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    worker.send(PRE_SLEEP)
    worker.expect_nothing()


def test_12_a_running_foreground_job_may_end_without_its_client(connect: Connect, f: bytes) -> None:
    gone, worker, admin = connect(), connect(), connect()
    handle = gone.submit(SUBMIT_JOB, f, b"", b"")
    worker.send(CAN_DO, f)
    grab(worker, handle, f)
    gone.leave()
    worker.expect_nothing()
    assert [row[1:] for row in admin.rows(b"show jobs") if row[0] == handle] == [[b"0", b"1", b"0"]]
    for kind, args in ((PacketType.WORK_DATA, (b"d",)), (PacketType.WORK_STATUS, (b"1", b"2"))):
        worker.send(kind, handle, *args)
    worker.send(WORK_COMPLETE, handle, b"")
    worker.expect_nothing()
    assert admin.status(f) == (0, 0, 1)


def test_12_an_abandoned_job_is_not_run_again(connect: Connect, f: bytes) -> None:
    gone, lost, worker = connect(), connect(), connect()
    handle = gone.submit(SUBMIT_JOB, f, b"", b"")
    lost.send(CAN_DO, f)
    grab(lost, handle, f)
    gone.leave()
    lost.leave()
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    assert worker.status(f) == (0, 0, 1)


def test_12_other_listeners_notice_nothing(connect: Connect, f: bytes) -> None:
    gone, client, worker = connect(), connect(), connect()
    handle = gone.submit(SUBMIT_JOB, f, b"u", b"")
    assert client.submit(SUBMIT_JOB, f, b"u", b"") == handle
    gone.leave()
    worker.send(CAN_DO, f)
    grab(worker, handle, f)
    worker.send(WORK_COMPLETE, handle, b"r")
    client.expect(WORK_COMPLETE, handle, b"r")


@pytest.mark.parametrize("first", [SUBMIT_JOB, SUBMIT_JOB_BG], ids=lambda kind: kind.name)
@pytest.mark.parametrize("runs", [False, True], ids=["queued", "running"])
def test_12_a_background_job_never_leaves_with_a_listener(
    connect: Connect, f: bytes, first: PacketType, runs: bool
) -> None:
    listener, client, lost, worker = connect(), connect(), connect(), connect()
    submits = {SUBMIT_JOB: listener, SUBMIT_JOB_BG: client}
    handle = submits.pop(first).submit(first, f, b"u", b"")
    if runs:
        lost.send(CAN_DO, f)
        grab(lost, handle, f)
    ((kind, second),) = submits.items()
    assert second.submit(kind, f, b"u", b"") == handle
    listener.leave()
    client.leave()
    lost.leave()
    worker.send(CAN_DO, f)
    grab(worker, handle, f)
    worker.send(WORK_COMPLETE, handle, b"")
    assert worker.show(handle)["state"] == "done"


# maxqueue


def test_maxqueue_counts_all_jobs_of_the_function(connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    worker.send(CAN_DO, f)
    worker.expect_nothing()
    assert client.text(b"maxqueue %s 3 2 1" % f) == b"OK\r\n"
    full = (ERROR, b"QUEUE_ERROR\0Job queue is full")
    client.submit(SUBMIT_JOB_LOW_BG, f, b"", b"")
    assert client.ask(SUBMIT_JOB_LOW_BG, f, b"", b"") == full
    handle = client.submit(SUBMIT_JOB, f, b"", b"")
    assert client.ask(SUBMIT_JOB, f, b"", b"") == full
    assert client.ask(SUBMIT_JOB_EPOCH, f, b"", b"9999999999", b"") == full
    client.submit(SUBMIT_JOB_HIGH, f, b"u", b"")
    assert client.ask(SUBMIT_JOB_HIGH_BG, f, b"", b"") == full
    assert client.submit(SUBMIT_JOB_HIGH, f, b"u", b"joins")
    worker.send(GRAB_JOB)
    running = worker.expect(JOB_ASSIGN)[0]
    assert client.ask(SUBMIT_JOB_HIGH_BG, f, b"", b"") == full  # running ones count
    worker.send(WORK_COMPLETE, running, b"")
    client.expect(WORK_COMPLETE, running, b"")
    client.expect(WORK_COMPLETE, running, b"")
    client.submit(SUBMIT_JOB_HIGH, f, b"", b"")
    assert client.text(b"maxqueue %s" % f) == b"OK\r\n"
    client.submit(SUBMIT_JOB_LOW, f, b"", b"")
    assert handle


def test_a_job_is_seen_after_its_commit_only(server: Server, connect: Connect, f: bytes) -> None:
    """Else a worker could complete what a power cut takes back."""
    client, worker = connect(), connect()
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    with closing(sqlite3.connect(server.db, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")  # nothing can be committed
        client.send(SUBMIT_JOB_BG, f, b"", b"w")
        eventually(lambda: worker.status(f) == (1, 0, 1), "the submit")
        worker.send(GRAB_JOB)
        worker.expect(NO_JOB)
        worker.send(PRE_SLEEP)
        worker.expect_nothing()
        writer.execute("ROLLBACK")
    worker.expect(NOOP)
    handle = client.expect(JOB_CREATED)[0]
    grab(worker, handle, f, b"w")
    worker.send(WORK_COMPLETE, handle, b"")


def test_a_result_is_forwarded_after_its_commit_only(server: Server, connect: Connect, f: bytes) -> None:
    """Else a client could have a result twice. Meanwhile the worker hears nothing, and others are served."""
    client, worker, other = connect(), connect(), connect()
    worker.send(CAN_DO, f)
    handle = client.submit(SUBMIT_JOB_BG, f, b"u", b"w")
    assert client.submit(SUBMIT_JOB, f, b"u", b"") == handle
    grab(worker, handle, f, b"w")
    with closing(sqlite3.connect(server.db, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        worker.send(WORK_COMPLETE, handle, b"r")
        worker.send(PacketType.ECHO_REQ, b"behind it")
        eventually(lambda: other.status(f) == (0, 0, 1), "the completion")
        for wire in (client, worker):
            wire.socket.setblocking(False)
            with pytest.raises(BlockingIOError):
                wire.socket.recv(1)
            wire.socket.settimeout(10)
        writer.execute("ROLLBACK")
    worker.expect(PacketType.ECHO_RES, b"behind it")
    client.expect(WORK_COMPLETE, handle, b"r")
