"""`gearstore tail`: every transition as it happens, for fast, slow, late and absent readers; rates in `status`."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    SET_CLIENT_ID,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    WORK_COMPLETE,
    WORK_EXCEPTION,
    WORK_FAIL,
)
from tests.server.process import Server, StartServer, eventually
from tests.server.wire import Connect, Wire, packet

Line = dict[str, Any]
Follow = Callable[..., Wire]


@pytest.fixture
def follow(connect: Connect, f: bytes) -> Follow:
    """Return a connection that follows the test's function, and maybe says more about what it wants."""

    def start(**request: Any) -> Wire:
        reader = connect()
        request = {"function": f.decode()} | request
        reader.send_bytes(b"gearstore tail " + json.dumps(request).encode() + b"\n")
        if "history" not in request:
            assert seen(reader) == {"following": True}
        return reader

    return start


def seen(reader: Wire) -> Line:
    """Return the next line of a reader."""
    line: Line = json.loads(reader.line())
    return line


def run(client: Wire, worker: Wire, f: bytes, *report: Any) -> bytes:
    """Submit a job and have it end by this report; return its handle."""
    handle = client.submit(SUBMIT_JOB_BG, f, b"", b"w")
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    assert worker.expect(JOB_ASSIGN)[0] == handle
    worker.send(report[0], handle, *report[1:])
    worker.expect_nothing()
    return handle


# What a reader sees


def test_each_transition_is_one_line(client: Wire, worker: Wire, f: bytes, follow: Follow) -> None:
    reader = follow()
    worker.send(SET_CLIENT_ID, b"w1")
    handle = run(client, worker, f, WORK_COMPLETE, b"result").decode()
    before = time.time() * 1000
    submitted, assigned, done = seen(reader), seen(reader), seen(reader)
    assert before - 60_000 < submitted.pop("at") <= assigned.pop("at") <= done.pop("at") <= before
    nothing = {"worker": None, "waited": None, "took": None, "run_at": None, "reason": None, "error": None}
    same = {"handle": handle, "function": f.decode(), **nothing}
    assert submitted == {"event": "submitted", "state": "queued", "attempts": 0, **same}
    assert 0 <= assigned.pop("waited") < 60_000
    del same["waited"]
    assert assigned == {"event": "assigned", "state": "running", "attempts": 0, **same, "worker": "w1"}
    assert 0 <= done.pop("took") < 60_000
    del same["took"]
    assert done == {"event": "done", "state": "done", "attempts": 1, **same, "worker": "w1", "waited": None}


def test_failures_tell_why(client: Wire, worker: Wire, f: bytes, follow: Follow) -> None:
    reader = follow(state=["failed", "cancelled"])
    run(client, worker, f, WORK_EXCEPTION, b"\n no such host: \xff\x1b[31m\nsecond line")
    line = seen(reader)
    assert (line["event"], line["reason"], line["error"]) == ("failed", "exception", "no such host: \udcff\x1b[31m")
    run(client, worker, f, WORK_FAIL)
    line = seen(reader)
    assert (line["event"], line["reason"], line["error"], line["worker"]) == ("failed", "fail", None, None)
    handle = client.submit(SUBMIT_JOB_BG, f, b"", b"")
    client.text(b"cancel job " + handle)
    line = seen(reader)
    assert (line["event"], line["handle"], line["took"]) == ("cancelled", handle.decode(), None)


def test_a_lost_worker_is_seen(client: Wire, worker: Wire, f: bytes, follow: Follow) -> None:
    reader = follow(state="queued")
    client.submit(SUBMIT_JOB_BG, f, b"", b"")
    assert seen(reader)["event"] == "submitted"
    worker.send(CAN_DO, f)
    worker.ask(GRAB_JOB)
    worker.leave()
    line = seen(reader)
    assert (line["event"], line["reason"], line["attempts"]) == ("queued", "lost", 1)
    assert line["took"] >= 0


def test_delays_and_foreground_jobs_are_seen(client: Wire, worker: Wire, f: bytes, follow: Follow) -> None:
    reader = follow()
    client.submit(SUBMIT_JOB_EPOCH, f, b"", b"9999999999", b"")
    line = seen(reader)
    assert (line["event"], line["state"], line["run_at"]) == ("submitted", "delayed", 9_999_999_999_000)
    handle = client.submit(SUBMIT_JOB, f, b"", b"")
    worker.send(CAN_DO, f)
    worker.ask(GRAB_JOB)
    worker.send(WORK_COMPLETE, handle, b"")
    assert [seen(reader)["event"] for _ in range(3)] == ["submitted", "assigned", "done"]
    assert client.expect(WORK_COMPLETE)[0] == handle


def test_other_functions_and_states_are_left_out(client: Wire, worker: Wire, f: bytes, follow: Follow) -> None:
    reader = follow(function=f.decode() + "[ab]", state="running")
    run(client, worker, f, WORK_COMPLETE, b"")
    run(client, worker, f + b"c", WORK_COMPLETE, b"")
    handle = run(client, worker, f + b"b", WORK_COMPLETE, b"")
    assert seen(reader)["handle"] == handle.decode()
    reader.expect_nothing()


# History


def test_the_last_endings_without_following(client: Wire, worker: Wire, f: bytes) -> None:
    handles = [run(client, worker, f, kind, *more).decode() for kind, *more in ENDS]
    waiting = client.submit(SUBMIT_JOB_BG, f, b"", b"")
    client.text(b"cancel job " + waiting)
    lines = client.manage("tail", function=f.decode(), history=3, follow=False)
    assert [line["handle"] for line in lines] == [*handles[-2:], waiting.decode()]
    assert [line["event"] for line in lines] == ["done", "failed", "cancelled"]
    assert lines[1]["error"] == "no" and lines[1]["took"] >= 0 and lines[2]["took"] is None
    failed = client.manage("tail", function=f.decode(), state=["failed", "queued"], history=1000, follow=False)
    assert [line["handle"] for line in failed] == [handles[0], handles[2]]
    assert client.manage("tail", follow=False) == []
    assert len(client.manage("tail", history=2, follow=False)) == 2


ENDS = ((WORK_FAIL,), (WORK_COMPLETE, b""), (WORK_EXCEPTION, b"no"))


def test_history_is_in_the_order_of_the_endings(connect: Connect, f: bytes) -> None:
    client, first, second = connect(), connect(), connect()
    handles = [client.submit(SUBMIT_JOB_BG, f, b"", b"") for _ in range(2)]
    for worker in (first, second):
        worker.send(CAN_DO, f)
        worker.ask(GRAB_JOB)
    second.send(WORK_COMPLETE, handles[1], b"")
    second.expect_nothing()
    first.send(WORK_COMPLETE, handles[0], b"")
    first.expect_nothing()
    lines = client.manage("tail", function=f.decode(), history=10, follow=False)
    assert [line["handle"].encode() for line in lines] == handles[::-1]


def test_history_comes_first_and_no_end_comes_twice(client: Wire, worker: Wire, f: bytes, follow: Follow) -> None:
    before = run(client, worker, f, WORK_COMPLETE, b"")
    reader = follow(history=5, state="done")
    assert [seen(reader).get("handle") for _ in range(2)] == [before.decode(), None]
    after = run(client, worker, f, WORK_COMPLETE, b"")
    assert seen(reader)["handle"] == after.decode()
    reader.expect_nothing()


def test_what_ends_while_the_history_is_read_comes_once(connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    wish = b'gearstore tail {"history": 1, "state": "done", "function": "%s"}\n' % f
    worker.send(CAN_DO, f)
    for _ in range(20):
        reader, handle = connect(), client.submit(SUBMIT_JOB_BG, f, b"", b"")
        worker.ask(GRAB_JOB)
        reader.send_bytes(wish)
        worker.send(WORK_COMPLETE, handle, b"")
        worker.expect_nothing()
        handles: list[str] = []
        while handle.decode() not in handles or "following" not in handles:
            handles.append(seen(reader).get("handle", "following"))
        reader.leave()
        assert len(handles) <= 3  # with the end of the round before, if the wish was faster


def test_history_outlives_the_server(start_server: StartServer) -> None:
    server = start_server()
    client, worker = server.connect(), server.connect()
    handles = [run(client, worker, b"f", WORK_COMPLETE, b"").decode() for _ in range(3)]
    server.kill()
    server.restart()
    lines = server.connect().manage("tail", history=2, follow=False)
    assert [line["handle"] for line in lines] == handles[1:]


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"history": 1001}, "history is 0 to 1000"),
        ({"history": -1}, "history is 0 to 1000"),
        ({"state": "gone"}, "there is no state 'gone'"),
        ({"follow": 1}, "follow is bool"),
        ({"limit": 1}, "tail has no key 'limit'"),
    ],
)
def test_what_makes_no_sense(client: Wire, request_: Line, sentence: str) -> None:
    assert sentence in client.refused("tail", **request_)


# Readers


def test_readers_have_filters_of_their_own(client: Wire, worker: Wire, f: bytes, follow: Follow) -> None:
    everything, ends = follow(), follow(state="done")
    run(client, worker, f, WORK_COMPLETE, b"")
    assert [seen(everything)["event"] for _ in range(3)] == ["submitted", "assigned", "done"]
    everything.close()
    run(client, worker, f, WORK_COMPLETE, b"")
    assert [seen(ends)["event"] for _ in range(2)] == ["done", "done"]


def test_a_follower_may_ask_for_more(client: Wire, f: bytes, follow: Follow) -> None:
    reader = follow()
    client.submit(SUBMIT_JOB_BG, f, b"", b"")
    assert seen(reader)["event"] == "submitted"
    assert reader.manage("status", function=f.decode())[0]["queued"] == 1
    reader.send(SUBMIT_JOB_BG, f, b"", b"")
    line = seen(reader)
    assert reader.expect(JOB_CREATED)[0].decode() == line["handle"]


def test_who_leaves_is_forgotten(server: Server, connect: Connect, follow: Follow) -> None:
    client = connect()
    known = len(client.manage("workers"))
    readers = [follow() for _ in range(3)]
    readers[0].leave()
    readers[1].close()
    readers[2].reset()
    eventually(lambda: len(client.manage("workers")) == known, "the end of the readers")


def test_a_slow_reader_is_told_what_it_missed(connect: Connect, f: bytes, follow: Follow) -> None:
    """Lines of 3 KB, more of them than the buffers of all kernels take. Nobody else waits for the reader."""
    name = f + b"\x01" * (500 - len(f))
    client, reader = connect(), follow(function=f.decode() + "*")
    total = 6000
    for _ in range(0, total, 200):
        client.send_bytes(packet(SUBMIT_JOB_BG, name, b"", b"") * 200)
        for _ in range(200):
            client.expect(JOB_CREATED)
    got = skipped = 0
    while not skipped:
        line = seen(reader)
        skipped = line.get("skipped", 0)
        got += "handle" in line
    assert got + skipped == total
    client.submit(SUBMIT_JOB_BG, f, b"", b"")
    assert seen(reader)["event"] == "submitted"


def test_a_server_ends_though_it_is_followed(start_server: StartServer) -> None:
    server = start_server()
    reader = server.connect()
    reader.send_bytes(b"gearstore tail\n")
    assert seen(reader) == {"following": True}
    assert server.terminate() == 0
    reader.expect_closed()


# status


def test_rates_count_the_last_minute(client: Wire, worker: Wire, f: bytes) -> None:
    for _ in range(3):
        run(client, worker, f, WORK_COMPLETE, b"")
    run(client, worker, f, WORK_FAIL)
    (row,) = client.manage("status", function=f.decode())
    assert (row["done_per_minute"], row["failed_per_minute"]) == (3, 1)


def test_the_total(client: Wire, connect: Connect, f: bytes) -> None:
    worker = connect()
    for name in (f + b"1", f + b"2"):
        client.submit(SUBMIT_JOB_BG, name, b"", b"")
        worker.send(CAN_DO, name)
    worker.ask(GRAB_JOB)
    *rows, last = client.manage("status", function=f.decode() + "*", total=True)
    total = last["total"]
    assert len(rows) == total["functions"] == 2
    assert (total["queued"], total["running"], total["high"], total["normal"]) == (1, 1, 0, 1)
    assert total["oldest_at"] == next(row["oldest_at"] for row in rows if row["queued"])
    assert {"paused_at": None, "paused_until": None, "draining": False, "workers": 1}.items() <= total.items()
    assert total["started_at"] <= total["now"] <= time.time() * 1000
    (last,) = client.manage("status", function=f.decode() + "3", total=True)
    assert last["total"].keys() == total.keys()
    assert total["receipt"]["minute"]["submits"] >= 2
    assert (last["total"]["functions"], last["total"]["queued"], last["total"]["oldest_at"]) == (0, 0, None)


def test_many_functions(start_server: StartServer) -> None:
    client = start_server("--memory").connect()
    for number in range(1000):
        client.text(b"create function f%d" % number)
    assert len(client.manage("status", total=True)) == 1001


def test_the_oldest_of_a_queue_that_is_mostly_on_disk(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client = server.connect()
    first = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    oldest = client.show(first)["created_at"]
    for _ in range(100):
        client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    assert client.manage("status")[0]["oldest_at"] == oldest
    server.kill()
    server.restart()
    assert server.connect().manage("status")[0]["oldest_at"] == oldest


def test_a_job_that_was_put_back_waits_since_then(client: Wire, worker: Wire, f: bytes) -> None:
    handle = run(client, worker, f, WORK_FAIL)
    ended = client.show(handle)["ended_at"]
    client.manage("retry", handles=[handle.decode()])
    (row,) = client.manage("status", function=f.decode())
    assert row["queued"] == 1 and row["oldest_at"] >= ended
    worker.ask(GRAB_JOB)
    worker.leave()
    (lost,) = client.manage("status", function=f.decode())
    assert lost["queued"] == 1 and lost["oldest_at"] >= row["oldest_at"]


def test_pauses_are_shown(client: Wire, f: bytes) -> None:
    client.text(b"create function " + f)
    (answer,) = client.manage("pause", function=f.decode(), until=9_999_999_999_000)
    (row, last) = client.manage("status", function=f.decode(), total=True)
    assert (row["paused_at"], row["paused_until"]) == (answer["paused_at"], 9_999_999_999_000)
    assert last["total"]["paused_at"] is None
    (answer,) = client.manage("pause")
    assert client.manage("status", total=True)[-1]["total"]["paused_at"] == answer["paused_at"]
    client.manage("resume")
