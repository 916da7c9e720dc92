"""kill -9 and start again: what was acknowledged is back, with its handle, in its order, once. Section 7 of the
behaviour reference, item 19 of its checklist; the windows of a queue that is larger than memory."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    ECHO_REQ,
    ECHO_RES,
    GET_STATUS,
    GET_STATUS_UNIQUE,
    GRAB_JOB,
    GRAB_JOB_ALL,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN,
    JOB_ASSIGN_ALL,
    JOB_ASSIGN_UNIQ,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    STATUS_RES,
    STATUS_RES_UNIQUE,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    SUBMIT_JOB_HIGH_BG,
    SUBMIT_JOB_LOW_BG,
    SUBMIT_JOB_SCHED,
    SUBMIT_REDUCE_JOB_BACKGROUND,
    WORK_COMPLETE,
    WORK_EXCEPTION,
    WORK_FAIL,
    WORK_STATUS,
)
from tests.server.process import Server, StartServer, eventually
from tests.server.wire import Wire, packet

UNKNOWN = (b"0", b"0", b"0", b"0")
WAITS = (b"1", b"0", b"0", b"0")


def drain(worker: Wire, jobs: int) -> list[tuple[bytes, bytes, bytes]]:
    """Take and complete so many jobs, and find no more; return (handle, unique, workload) of each.

    After a start, and where the queue is larger than its window, a worker may have to sleep while jobs are read back.
    """
    found: list[tuple[bytes, bytes, bytes]] = []
    while True:
        answer, content = worker.ask(GRAB_JOB_UNIQ)
        if answer is NO_JOB:
            if len(found) >= jobs:
                return found
            worker.send(PRE_SLEEP)
            worker.expect(NOOP)
            continue
        assert answer is JOB_ASSIGN_UNIQ
        handle, _, unique, workload = content.split(b"\0", 3)
        found.append((handle, unique, workload))
        worker.send(WORK_COMPLETE, handle, b"")


def drained(worker: Wire, jobs: int) -> list[bytes]:
    """Return the handles of drain()."""
    return [handle for handle, _, _ in drain(worker, jobs)]


def grab(worker: Wire, handle: bytes, function: bytes, workload: bytes) -> None:
    """Take this job; sleep before if it has to be read back."""
    while (answer := worker.ask(GRAB_JOB))[0] is NO_JOB:
        worker.send(PRE_SLEEP)
        worker.expect(NOOP)
    assert answer == (JOB_ASSIGN, b"\0".join([handle, function, workload]))


@contextmanager
def writing(server: Server) -> Iterator[None]:
    """Hold the database's write lock, as a program does that writes to it."""
    with closing(sqlite3.connect(server.db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def listed(wire: Wire) -> list[bytes]:
    """Return the handles of `show jobs`, each of which must be there once."""
    handles = [row[0] for row in wire.rows(b"show jobs")]
    assert len(handles) == len(set(handles))
    return sorted(handles)


def test_19_every_kind_of_background_job_is_back(start_server: StartServer) -> None:
    server = start_server()
    client, other, worker = server.connect(), server.connect(), server.connect()
    high = [(client.submit(SUBMIT_JOB_HIGH_BG, b"r", b"h%d" % n, b"high"), b"h%d" % n, b"high") for n in (1, 2)]
    low = [(client.submit(SUBMIT_JOB_LOW_BG, b"r", b"l%d" % n, b"low"), b"l%d" % n, b"low") for n in (1, 2)]
    normal = [
        (client.submit(SUBMIT_JOB_BG, b"r", unique, workload), unique, workload)
        for unique, workload in [
            (b"", b""),
            (b"", b""),
            (b"", b"the same"),
            (b"", b"the same"),
            (b"-", b"one"),
            (b"-", b"two"),
            (b"u", b""),
            (b"\xff\xfe \t\n'\"", b"\0\0\xff\r\n"),
            (b"x" * 64, b"y" * 100_000),
        ]
    ]
    twin = client.submit(SUBMIT_JOB_BG, b"r2", b"u", b"other function, same unique")
    reduce3 = client.submit(SUBMIT_REDUCE_JOB_BACKGROUND, b"reduce", b"r3", b"aggregator", b"three args")
    reduce4 = client.submit(SUBMIT_REDUCE_JOB_BACKGROUND, b"reduce", b"r4", b"aggregator", b"", b"")
    later = client.submit(SUBMIT_JOB_EPOCH, b"epoch", b"", b"%d" % (time.time() + 3600), b"later")
    scheduled = client.submit(SUBMIT_JOB_SCHED, b"epoch", b"s", b"0", b"0", b"1", b"1", b"", b"new year")
    joined = other.submit(SUBMIT_JOB, b"joined", b"j", b"was foreground")
    assert client.submit(SUBMIT_JOB_BG, b"joined", b"j", b"ignored") == joined
    onto = client.submit(SUBMIT_JOB_BG, b"joined", b"k", b"was background")
    assert other.submit(SUBMIT_JOB, b"joined", b"k", b"ignored") == onto
    foreground = other.submit(SUBMIT_JOB, b"foreground", b"f", b"dies with its client")
    for function in (b"ran", b"done", b"failed", b"excepted"):
        worker.send(CAN_DO, function)
    ran = client.submit(SUBMIT_JOB_BG, b"ran", b"ran", b"ran")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, ran, b"ran", b"ran")
    worker.send(WORK_STATUS, ran, b"3", b"10")
    ended = {}
    for function, end in ((b"done", WORK_COMPLETE), (b"failed", WORK_FAIL), (b"excepted", WORK_EXCEPTION)):
        ended[function] = client.submit(SUBMIT_JOB_BG, function, b"", b"")
        worker.send(GRAB_JOB)
        worker.expect(JOB_ASSIGN, ended[function], function, b"")
        worker.send(end, ended[function], *([b"said"] if end is not WORK_FAIL else []))
        worker.expect_nothing()  # that is: the worker was answered after the end
    cancelled = client.submit(SUBMIT_JOB_BG, b"cancelled", b"", b"")
    assert client.text(b"cancel job " + cancelled) == b"OK\r\n"
    assert client.show(ran)["state"] == "running"  # what is shown is on disk
    stored = [*(job[0] for job in high + normal + low), twin, reduce3, reduce4, later, scheduled, joined, onto, ran]

    server.kill()
    server.restart()
    client, worker = server.connect(), server.connect()

    assert listed(client) == sorted(stored)
    for handle in stored:
        client.send(GET_STATUS, handle)
        client.expect(STATUS_RES, handle, *WAITS)
    for handle in (foreground, cancelled, *ended.values()):
        client.send(GET_STATUS, handle)
        client.expect(STATUS_RES, handle, *UNKNOWN)
    states = {name: client.show(handle, result=True) for name, handle in ended.items()}
    assert [states[name]["state"] for name in ended] == ["done", "failed", "failed"]
    assert [states[name]["reason"] for name in ended] == [None, "fail", "exception"]
    assert (states[b"done"]["result"], states[b"excepted"]["error"]) == ("c2FpZA==", "said")
    assert client.show(cancelled)["state"] == "cancelled"
    back = client.show(ran)
    assert (back["state"], back["reason"], back["attempts"], back["interruptions"]) == ("queued", "interrupted", 0, 1)

    worker.send(CAN_DO, b"r")
    assert drain(worker, 13) == high + normal + low
    worker.send(CAN_DO, b"reduce")
    worker.send(PRE_SLEEP)
    worker.expect(NOOP)
    worker.send(GRAB_JOB_ALL)
    worker.expect(JOB_ASSIGN_ALL, reduce3, b"reduce", b"r3", b"aggregator", b"three args")
    worker.send(GRAB_JOB_ALL)
    worker.expect(JOB_ASSIGN_ALL, reduce4, b"reduce", b"r4", b"aggregator", b"")
    worker.send(CAN_DO, b"joined")
    assert drain(worker, 2) == [(joined, b"j", b"was foreground"), (onto, b"k", b"was background")]
    for function, job in ((b"ran", (ran, b"ran", b"ran")), (b"r2", (twin, b"u", b"other function, same unique"))):
        worker.send(CAN_DO, function)
        assert drain(worker, 1) == [job]
    for function in (b"epoch", b"done", b"failed", b"excepted", b"cancelled", b"foreground"):
        worker.send(CAN_DO, function)
    assert drain(worker, 0) == []
    assert listed(client) == sorted([later, scheduled, reduce3, reduce4])
    new = client.submit(SUBMIT_JOB_BG, b"new", b"", b"")
    assert new not in [*stored, foreground, cancelled, *ended.values()]


def test_uniques_coalesce_as_before_a_crash(start_server: StartServer) -> None:
    server = start_server()
    client, worker = server.connect(), server.connect()
    known = client.submit(SUBMIT_JOB_BG, b"f", b"u", b"first")
    by_data = client.submit(SUBMIT_JOB_BG, b"f", b"-", b"data")
    delayed = client.submit(SUBMIT_JOB_EPOCH, b"f", b"d", b"%d" % (time.time() + 3600), b"")
    worker.send(CAN_DO, b"running")
    running = client.submit(SUBMIT_JOB_BG, b"running", b"r", b"")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, running, b"running", b"")
    client.show(running)
    server.kill()
    server.restart()
    client = server.connect()
    for _ in range(2):
        assert client.submit(SUBMIT_JOB_BG, b"f", b"u", b"second") == known
        assert client.submit(SUBMIT_JOB, b"f", b"u", b"third") == known
        assert client.submit(SUBMIT_JOB_BG, b"f", b"-", b"data") == by_data
        assert client.submit(SUBMIT_JOB_BG, b"f", b"d", b"") == delayed
        assert client.submit(SUBMIT_JOB_BG, b"running", b"r", b"") == running
    assert listed(client) == sorted([known, by_data, delayed, running])


def test_an_answered_completion_is_never_delivered_again(start_server: StartServer) -> None:
    server = start_server()
    client, worker = server.connect(), server.connect()
    handles = [client.submit(SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(100)]
    worker.send(CAN_DO, b"f")
    worker.send(GRAB_JOB)
    answered: list[bytes] = []
    while len(answered) < 60:
        handle = worker.expect(JOB_ASSIGN)[0]
        worker.send_bytes(packet(WORK_COMPLETE, handle, b"") + packet(GRAB_JOB))
        answered.append(handle)
    next_job = worker.expect(JOB_ASSIGN)[0]  # it answers after the commit of the last completion
    server.kill()
    server.restart()
    worker = server.connect()
    worker.send(CAN_DO, b"f")
    again = drained(worker, 40)
    assert again == handles[60:] and next_job == handles[60]


def test_acknowledged_submits_of_a_pipeline_are_back(start_server: StartServer) -> None:
    server = start_server()
    client = server.connect()
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"f", b"%d" % n, b"w%d" % n) for n in range(800)))
    acknowledged = [client.expect(JOB_CREATED)[0] for _ in range(150)]
    server.kill()
    server.restart()
    worker = server.connect()
    worker.send(CAN_DO, b"f")
    jobs = drain(worker, 150)
    assert [handle for handle, _, _ in jobs[:150]] == acknowledged
    assert [(unique, workload) for _, unique, workload in jobs] == [(b"%d" % n, b"w%d" % n) for n in range(len(jobs))]
    assert len({handle for handle, _, _ in jobs}) == len(jobs)


def test_an_interrupted_job_keeps_its_place_and_a_requeued_one_its_new_one(start_server: StartServer) -> None:
    server = start_server()
    client, lost, worker = server.connect(), server.connect(), server.connect()
    first, second, third, fourth = [client.submit(SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(4)]
    lost.send(CAN_DO, b"f")
    lost.send(GRAB_JOB)
    lost.expect(JOB_ASSIGN, first, b"f", b"0")
    lost.leave()  # first goes to the end
    worker.send(CAN_DO, b"f")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, second, b"f", b"1")
    assert [client.show(handle)["state"] for handle in (first, second)] == ["queued", "running"]
    server.kill()
    server.restart()
    client, worker = server.connect(), server.connect()
    assert [row[:2] for row in client.rows(b"show jobs") if row[0] == first] == [[first, b"1"]]
    worker.send(CAN_DO, b"f")
    assert drained(worker, 4) == [second, third, fourth, first]


@pytest.mark.parametrize("orderly", [False, True], ids=["kill", "sigterm"])
def test_handles_are_never_given_twice(start_server: StartServer, orderly: bool) -> None:
    server = start_server()
    seen: list[bytes] = []
    for _ in range(2):
        client, worker = server.connect(), server.connect()
        for n in range(3):
            seen.append(client.submit(SUBMIT_JOB_BG, b"f", b"", b""))
            seen.append(client.submit(SUBMIT_JOB, b"f", b"", b"%d" % n))
        worker.send(CAN_DO, b"f")
        drain(worker, 6)
        worker.expect_nothing()
        if orderly:
            assert server.terminate() == 0
        else:
            server.kill()
        server.restart()
    assert len(set(seen)) == len(seen)
    assert seen == sorted(seen)
    assert len({len(handle) for handle in seen}) == 1 and len(seen[0]) <= 63


def test_handles_survive_a_new_prefix(start_server: StartServer) -> None:
    server = start_server("--job-handle-prefix=H:old")
    client = server.connect()
    old = client.submit(SUBMIT_JOB_BG, b"f", b"", b"old")
    assert old.startswith(b"H:old:")
    server.kill()
    server.restart("--job-handle-prefix=H:new")
    client, worker = server.connect(), server.connect()
    new = client.submit(SUBMIT_JOB_BG, b"f", b"", b"new")
    assert new.startswith(b"H:new:")
    assert [row[0] for row in client.rows(b"show jobs")] == [old, new]
    client.send(GET_STATUS, old)
    client.expect(STATUS_RES, old, *WAITS)
    client.send(GET_STATUS, b"H:new:" + old[6:])
    client.expect(STATUS_RES, b"H:new:" + old[6:], *UNKNOWN)
    worker.send(CAN_DO, b"f")
    assert drained(worker, 2) == [old, new]


def test_a_job_that_is_interrupted_too_often_is_held(start_server: StartServer) -> None:
    server = start_server("--max-interruptions=1")
    handle = server.connect().submit(SUBMIT_JOB_BG, b"f", b"u", b"takes the machine down")
    for _ in range(2):
        worker = server.connect()
        worker.send(CAN_DO, b"f")
        grab(worker, handle, b"f", b"takes the machine down")
        worker.show(handle)
        server.kill()
        server.restart()
    client = server.connect()
    client.send(CAN_DO, b"f")
    client.send(GRAB_JOB)
    client.expect(NO_JOB)
    job = client.show(handle)
    assert (job["state"], job["reason"], job["interruptions"]) == ("held", "interrupted", 2)
    assert client.manage("retry", handles=[handle.decode()])[-1] == {"matched": 1, "changed": 1, "refused": 0}
    client.send(GRAB_JOB)
    client.expect(JOB_ASSIGN, handle, b"f", b"takes the machine down")


def test_a_delayed_job_is_run_on_time_after_a_restart(start_server: StartServer) -> None:
    server = start_server()
    due = int(time.time()) + 2
    handle = server.connect().submit(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % due, b"due")
    past = server.connect().submit(SUBMIT_JOB_EPOCH, b"g", b"", b"%d" % (time.time() + 1), b"while it was down")
    server.kill()
    server.restart()
    worker = server.connect()
    worker.send(CAN_DO, b"f")
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    worker.send(PRE_SLEEP)
    worker.expect(NOOP)
    assert 0 <= time.time() - due < 1
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"f", b"due")
    worker.send(CAN_DO, b"g")
    grab(worker, past, b"g", b"while it was down")


def test_ended_jobs_can_be_retried_and_replayed_after_a_crash(start_server: StartServer) -> None:
    server = start_server()
    client, worker = server.connect(), server.connect()
    failed, done = [client.submit(SUBMIT_JOB_BG, b"f", b"u%d" % n, b"w%d" % n) for n in range(2)]
    worker.send(CAN_DO, b"f")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, failed, b"f", b"w0")
    worker.send(WORK_FAIL, failed)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, done, b"f", b"w1")
    worker.send(WORK_COMPLETE, done, b"result")
    worker.expect_nothing()
    server.kill()
    server.restart()
    client = server.connect()
    assert client.manage("retry", handles=[failed.decode()])[0]["state"] == "queued"
    copy = client.manage("replay", handles=[done.decode()])[0]["replay"].encode()
    server.kill()
    server.restart()
    client, worker = server.connect(), server.connect()
    worker.send(CAN_DO, b"f")
    assert drain(worker, 2) == [(failed, b"u0", b"w0"), (copy, b"u1", b"w1")]
    assert client.show(copy)["replay_of"] == done.decode()
    assert client.show(failed)["attempts"] == 2


# A queue that is larger than its window in memory


def fill(client: Wire, jobs: int = 500) -> list[bytes]:
    """Queue jobs of three priorities in turn; return their handles in the order in which they are to be served."""
    kinds = (SUBMIT_JOB_LOW_BG, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_BG)
    client.send_bytes(b"".join(packet(kinds[n % 3], b"f", b"u%d" % n, b"w%d" % n) for n in range(jobs)))
    handles = [client.expect(JOB_CREATED)[0] for _ in range(jobs)]
    return handles[1::3] + handles[2::3] + handles[0::3]


@pytest.mark.parametrize("crash", [False, True], ids=["running", "after_a_crash"])
def test_a_small_window_serves_all_in_order(start_server: StartServer, crash: bool) -> None:
    server = start_server("--window=16")
    client = server.connect()
    handles = fill(client)
    foreground = [] if crash else [client.submit(SUBMIT_JOB, b"f", b"", b"foreground")]
    if crash:
        server.kill()
        server.restart()
    client, worker = server.connect(), server.connect()
    assert client.status(b"f") == (500 + len(foreground), 0, 0)
    assert listed(client) == sorted(handles + foreground)
    assert sorted(row[0] for row in client.rows(b"show unique jobs")) == sorted(
        [b"u%d" % n for n in range(500)] + [b""] * len(foreground)
    )
    worker.send(CAN_DO, b"f")
    served = drained(worker, len(handles + foreground))
    expected = handles[:]
    if foreground:
        expected[333:333] = foreground  # behind the normal ones
    assert served == expected
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    assert client.status(b"f") == (0, 0, 1)


@pytest.mark.parametrize("crash", [False, True], ids=["running", "after_a_crash"])
def test_a_job_on_disk_is_known_by_handle_and_unique(start_server: StartServer, crash: bool) -> None:
    server = start_server("--window=16")
    client = server.connect()
    handles = fill(client)
    if crash:
        server.kill()
        server.restart()
    client, other, worker = server.connect(), server.connect(), server.connect()
    last = handles[-1]  # the last of the low ones: w498
    client.send(GET_STATUS, last)
    client.expect(STATUS_RES, last, *WAITS)
    client.send(GET_STATUS_UNIQUE, b"u498")
    client.expect(STATUS_RES_UNIQUE, b"u498", *WAITS, b"0")
    client.send(GET_STATUS_UNIQUE, b"u500")
    client.expect(STATUS_RES_UNIQUE, b"u500", *UNKNOWN, b"0")
    # Coalescing, also of a pipeline with twins in one batch
    client.send_bytes(
        b"".join(packet(SUBMIT_JOB_BG, b"f", unique, b"") for unique in (b"u498", b"new", b"u498", b"new", b"u0"))
    )
    answers = [client.expect(JOB_CREATED)[0] for _ in range(5)]
    assert answers[0] == answers[2] == last
    assert answers[1] == answers[3] and answers[1] not in handles
    assert answers[4] == handles[333]
    assert other.submit(SUBMIT_JOB, b"f", b"u498", b"") == last
    assert other.submit(SUBMIT_JOB, b"g", b"u498", b"other function") not in handles
    client.send(GET_STATUS_UNIQUE, b"new")
    client.expect(STATUS_RES_UNIQUE, b"new", *WAITS, b"0")
    assert client.status(b"f") == (501, 0, 0)
    # Cancel
    victim = handles[-2]
    assert client.text(b"cancel job " + victim) == b"OK\r\n"
    assert client.text(b"cancel job " + victim) == b"ERR UNKNOWN_JOB\r\n"
    client.send(GET_STATUS, victim)
    client.expect(STATUS_RES, victim, *UNKNOWN)
    assert victim not in listed(client)
    assert client.status(b"f") == (500, 0, 0)
    # The foreground client of a job on disk gets its result
    worker.send(CAN_DO, b"f")
    served = drained(worker, 500)
    assert served == [*handles[:333], answers[1], *handles[333:-2], last]
    other.expect(WORK_COMPLETE, last, b"")
    assert client.submit(SUBMIT_JOB_BG, b"f", b"u498", b"") not in handles


def test_a_foreground_client_of_a_job_on_disk_hears_of_its_cancelling(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client, other = server.connect(), server.connect()
    last = fill(client)[-1]
    assert other.submit(SUBMIT_JOB, b"f", b"u498", b"") == last
    assert client.text(b"cancel job " + last) == b"OK\r\n"
    other.expect(WORK_FAIL, last)


def test_foreground_clients_that_leave_at_once_leave_nothing_behind(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client, worker = server.connect(), server.connect()
    handles = fill(client)
    for n in range(20):
        # Its unique is looked up on disk; the client does not wait for that.
        hasty = server.connect()
        hasty.send(SUBMIT_JOB, b"f", b"hasty%d" % n, b"nobody waits")
        hasty.reset()
    client.show(handles[0])
    worker.send(CAN_DO, b"f")
    served = drained(worker, 500)
    assert served == handles
    assert client.status(b"f") == (0, 0, 1)
    assert client.rows(b"show jobs") == []


def grab_at_once(worker: Wire, times: int) -> list[bytes]:
    """Ask for jobs faster than any can be read back; return the handles of those that were given."""
    worker.send_bytes(packet(GRAB_JOB) * times)
    answers = [worker.receive() for _ in range(times)]
    return [content.split(b"\0")[0] for kind, content in answers if kind is JOB_ASSIGN]


def test_low_jobs_do_not_overtake_high_ones_on_disk(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client, worker = server.connect(), server.connect()
    high = [client.submit(SUBMIT_JOB_HIGH_BG, b"f", b"", b"") for _ in range(30)]
    low = [client.submit(kind, b"f", b"", b"") for kind in (SUBMIT_JOB_BG, SUBMIT_JOB, SUBMIT_JOB_LOW_BG)]
    worker.send(CAN_DO, b"f")
    served = grab_at_once(worker, 25)
    assert served == high[: len(served)]
    assert served + drained(worker, 33 - len(served)) == high + low


def test_foreground_jobs_do_not_overtake_older_ones_on_disk(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client, worker = server.connect(), server.connect()
    handles = [client.submit(SUBMIT_JOB_BG, b"f", b"", b"") for _ in range(30)]
    handles.append(client.submit(SUBMIT_JOB, b"f", b"", b""))
    worker.send(CAN_DO, b"f")
    served = grab_at_once(worker, 25)
    assert served == handles[: len(served)]
    assert served + drained(worker, 31 - len(served)) == handles


def test_a_client_that_leaves_while_its_unique_is_looked_up(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client, hasty, worker = server.connect(), server.connect(), server.connect()
    handles = fill(client, 60)
    with writing(server):  # nothing can be committed, so the look-up does not come back
        hasty.send(SUBMIT_JOB, b"f", b"hasty", b"nobody waits")
        hasty.send(SUBMIT_JOB, b"f", b"u57", b"its job is on disk")
        eventually(lambda: client.status(b"f") == (62, 0, 0), "both submits to arrive")
        hasty.reset()
        eventually(lambda: client.status(b"f") == (61, 0, 0) or client.status(b"f") == (60, 0, 0), "their end")
    client.submit(SUBMIT_JOB_BG, b"other", b"x", b"")  # committed after what waited
    worker.send(CAN_DO, b"f")
    assert drained(worker, 60) == handles
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    counts = status_of(server)
    assert (counts["queued"], counts["done"], counts["cancelled"]) == (0, 60, 0)
    for kind in (SUBMIT_JOB_BG, SUBMIT_JOB_LOW_BG):
        handle = client.submit(kind, b"f", b"", b"next")
        worker.expect(NOOP)
        worker.send(GRAB_JOB)
        worker.expect(JOB_ASSIGN, handle, b"f", b"next")
        worker.send(PRE_SLEEP)


def test_a_job_that_came_back_from_disk_is_still_joined(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client, other, worker = server.connect(), server.connect(), server.connect()
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"f", b"u%d" % n, b"") for n in range(30)))
    handles = [client.expect(JOB_CREATED)[0] for _ in range(30)]
    assert other.submit(SUBMIT_JOB, b"f", b"u29", b"") == handles[29]  # looked up on disk
    worker.send(CAN_DO, b"f")
    for handle in handles[:29]:
        grab(worker, handle, b"f", b"")
    for kind in (SUBMIT_JOB_BG, SUBMIT_JOB):
        assert client.submit(kind, b"f", b"u29", b"") == handles[29]
    assert client.status(b"f") == (30, 29, 1)
    grab(worker, handles[29], b"f", b"")
    worker.send(WORK_COMPLETE, handles[29], b"done")
    for listener in (other, client):
        listener.expect(WORK_COMPLETE, handles[29], b"done")


def test_a_lost_workers_job_goes_behind_those_on_disk(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client, lost, worker = server.connect(), server.connect(), server.connect()
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"f", b"%d" % n, b"") for n in range(100)))
    handles = [client.expect(JOB_CREATED)[0] for _ in range(100)]
    lost.send(CAN_DO, b"f")
    for handle in handles[:3]:
        lost.send(GRAB_JOB)
        lost.expect(JOB_ASSIGN, handle, b"f", b"")
    lost.leave()
    assert client.submit(SUBMIT_JOB_BG, b"f", b"1", b"joins") == handles[1]
    server.kill()
    server.restart()
    worker = server.connect()
    worker.send(CAN_DO, b"f")
    served = drained(worker, 100)
    assert served[:97] == handles[3:]
    assert sorted(served[97:]) == handles[:3]


def test_large_workloads_are_read_back_in_order(start_server: StartServer) -> None:
    server = start_server()
    client = server.connect()
    workloads = [bytes([n]) * (3 << 20) for n in range(13)]
    handles = [client.submit(SUBMIT_JOB_BG, b"f", b"", workload) for workload in workloads]
    server.kill()
    server.restart()
    worker = server.connect()
    worker.send(CAN_DO, b"f")
    for handle, workload in zip(handles, workloads, strict=True):
        grab(worker, handle, b"f", workload)
        worker.send(WORK_COMPLETE, handle, b"")


def status_of(server: Server) -> dict[str, int]:
    """Return the counts of function f."""
    (counts,) = server.connect().manage("status", function="f")
    return {name: value for name, value in counts.items() if isinstance(value, int)}


def test_counts_are_the_same_after_a_crash(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client, worker = server.connect(), server.connect()
    fill(client, 90)
    client.submit(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (time.time() + 3600), b"")
    worker.send(CAN_DO, b"f")
    for end in (WORK_COMPLETE, WORK_COMPLETE, WORK_FAIL):
        worker.send(GRAB_JOB)
        handle = worker.expect(JOB_ASSIGN)[0]
        worker.send(end, handle, *([b""] if end is WORK_COMPLETE else []))
    worker.send(ECHO_REQ, b"")
    worker.expect(ECHO_RES, b"")
    assert client.text(b"cancel job " + client.rows(b"show jobs")[50][0]) == b"OK\r\n"
    worker.leave()
    before = status_of(server)
    assert (before["queued"], before["delayed"], before["done"], before["failed"], before["cancelled"]) == (
        86,
        1,
        2,
        1,
        1,
    )
    server.kill()
    server.restart()
    after = status_of(server)
    here = {"oldest_at": 0, "done_per_minute": 0, "failed_per_minute": 0}
    assert {**after, **here} == {**before, **here}
