"""Verbs that change many jobs at a time, beside clients, workers and each other."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    WORK_COMPLETE,
    WORK_EXCEPTION,
    WORK_FAIL,
)
from tests.rows import faults
from tests.server.disk import Disk, fill_with_jobs
from tests.server.process import Server, StartServer, eventually
from tests.server.wire import Connect, Wire, packet


def fill(client: Wire, f: bytes, number: int, unique: bytes = b"") -> list[bytes]:
    """Submit jobs and return their handles; their workloads, and uniques if there are to be any, are numbered."""
    uniques = [unique + b"%d" % each if unique else b"" for each in range(number)]
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, f, each, b"w%d" % i) for i, each in enumerate(uniques)))
    return [client.expect(JOB_CREATED)[0] for _ in range(number)]


def end_all(worker: Wire, f: bytes, number: int, *how: Any) -> None:
    """Have a worker end so many jobs in this way, with one packet more of arguments if there are any."""
    kind, *more = how
    worker.send(CAN_DO, f)
    for start in range(0, number, 100):
        some = min(100, number - start)
        worker.send_bytes(packet(GRAB_JOB) * some)
        handles = [worker.expect(JOB_ASSIGN)[0] for _ in range(some)]
        worker.send_bytes(b"".join(packet(kind, handle, *more) for handle in handles))
    worker.expect_nothing()


def failed(connect: Connect, f: bytes, number: int, unique: bytes = b"") -> list[bytes]:
    """Return the handles of so many jobs that have failed."""
    handles = fill(connect(), f, number, unique)
    end_all(connect(), f, number, WORK_FAIL)
    return handles


def counts(client: Wire, f: bytes) -> dict[str, int]:
    """Return a function's jobs by state, without the zeros."""
    (row,) = client.manage("status", function=f.decode())
    names = ("queued", "delayed", "running", "held", "done", "failed", "cancelled")
    return {name: row[name] for name in names if row[name]}


def work_until_none(worker: Wire, f: bytes, done: list[bytes]) -> None:
    """Grab and complete, many at a time, until there is no job; note the handles."""
    worker.send(CAN_DO, f)
    while True:
        worker.send_bytes(packet(GRAB_JOB) * 50)
        answers = [worker.receive() for _ in range(50)]
        handles = [body.split(b"\0", 1)[0] for kind, body in answers if kind is JOB_ASSIGN]
        worker.send_bytes(b"".join(packet(WORK_COMPLETE, handle, b"") for handle in handles))
        done += handles
        if any(kind is NO_JOB for kind, _ in answers):
            worker.expect_nothing()
            return


@pytest.mark.parametrize("verb", ["cancel", "hold"])
def test_workers_take_the_very_jobs_that_are_being_changed(start_server: StartServer, verb: str) -> None:
    """What was read of a job is out of date when it has ended since: nothing may come of it."""
    server = start_server("--window=500")
    f, number = b"f", 8000
    handles = fill(server.connect(), f, number)
    done: list[list[bytes]] = [[], []]
    threads = [threading.Thread(target=work_until_none, args=(server.connect(), f, each)) for each in done]
    operator = server.connect()
    for thread in threads:
        thread.start()
    lines = operator.manage(verb, function="f", state=["queued"])[:-1]
    for thread in threads:
        thread.join()
    changed = [line["handle"].encode() for line in lines if "refused" not in line]
    completed = [handle for each in done for handle in each]
    assert changed, "the workers were too fast"
    assert len(completed) == len(set(completed)) and not set(changed) & set(completed)
    assert sorted([*changed, *completed]) == handles
    client = server.connect()
    state = "cancelled" if verb == "cancel" else "held"
    assert counts(client, f) == {"done": len(completed), state: len(changed)}
    server.kill()
    assert faults(server.db) == []


@pytest.mark.parametrize("verb", ["retry", "replay", "purge"])
def test_the_same_asked_for_twice_at_once(server: Server, connect: Connect, f: bytes, verb: str) -> None:
    handles = failed(connect, f, 1500)
    answers: list[list[dict[str, Any]]] = [[], []]
    wires = [connect(), connect()]

    def ask(wire: Wire, answer: list[dict[str, Any]]) -> None:
        answer += wire.manage(verb, function=f.decode(), state=["failed"])

    threads = [threading.Thread(target=ask, args=each) for each in zip(wires, answers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for answer in answers for line in answer[:-1]]
    changed = [line["handle"].encode() for line in lines if "refused" not in line]
    assert sorted(changed) == handles, "each once"
    assert all("replayed already" in line["refused"] for line in lines if "refused" in line)
    expected = {"retry": {"queued": 1500}, "replay": {"queued": 1500, "failed": 1500}, "purge": {}}
    assert counts(connect(), f) == expected[verb]
    assert faults(server.db) == []


@pytest.mark.parametrize("verb", ["retry", "replay"])
def test_a_purge_races_with_those_that_want_the_jobs_back(
    server: Server, connect: Connect, f: bytes, verb: str
) -> None:
    handles = failed(connect, f, 1500)
    lines: dict[str, list[dict[str, Any]]] = {}
    wires = {verb: connect(), "purge": connect()}

    def ask(name: str, newest: bool) -> None:
        order = "newest" if newest else "oldest"
        lines[name] = wires[name].manage(name, function=f.decode(), state=["failed"], order=order)[:-1]

    threads = [threading.Thread(target=ask, args=(name, name == "purge")) for name in wires]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changed = {name: {line["handle"].encode() for line in lines[name] if "refused" not in line} for name in lines}
    if verb == "retry":
        assert not changed["retry"] & changed["purge"]
    assert changed[verb] | changed["purge"] == set(handles)
    found = counts(connect(), f)
    assert found == {"queued": len(changed[verb])} and faults(server.db) == []


def test_whoever_goes_away_stops_the_work_between_two_batches(server: Server, connect: Connect, f: bytes) -> None:
    failed(connect, f, 1000)
    failed(connect, b"other" + f, 200)
    client, observer = connect(), connect()
    client.send_bytes(b'gearstore replay {"function": "%s", "rate": 200}\n' % f)
    assert "replay" in json.loads(client.line())
    client.reset()

    def copies_after_a_while() -> int:
        """Half a second passes, in which the work would have gone on."""
        observer.manage("retry", function="other" + f.decode(), rate=200, limit=100)
        return counts(observer, f)["queued"]

    first = copies_after_a_while()
    assert 20 <= first < 200
    assert copies_after_a_while() == first
    lines = observer.manage("replay", function=f.decode(), state=["failed"])
    assert lines[-1] == {"matched": 1000, "changed": 1000 - first, "refused": first}
    assert counts(observer, f) == {"queued": 1000, "failed": 1000}
    assert faults(server.db) == []


def test_a_reader_that_is_slow_holds_up_nobody_else(connect: Connect, f: bytes) -> None:
    failed(connect, f, 3000)
    slow, other = connect(), connect()
    slow.send_bytes(b'gearstore retry {"function": "%s"}\n' % f)  # and nothing is read of the answer
    assert other.manage("retry", function=f.decode(), limit=5)[-1]["changed"] in (0, 5)
    handle = other.submit(SUBMIT_JOB_BG, f, b"", b"")
    assert other.show(handle)["state"] == "queued"
    lines = [json.loads(slow.line())]
    while "matched" not in lines[-1]:
        lines.append(json.loads(slow.line()))
    assert lines[-1]["changed"] in (2995, 3000)


def test_no_more_than_so_many_jobs_a_second(connect: Connect, f: bytes) -> None:
    failed(connect, f, 30)
    client = connect()
    began = time.monotonic()
    assert client.manage("retry", function=f.decode(), rate=100)[-1]["changed"] == 30
    assert time.monotonic() - began >= 0.29


# Their own keys


def test_a_delay(connect: Connect, f: bytes) -> None:
    handles = failed(connect, f, 2)
    client = connect()
    before = time.time() * 1000
    (line, _) = client.manage("retry", handles=[handles[0].decode()], delay=3_600_000)
    assert (line["was"], line["state"]) == ("failed", "delayed")
    (line, _) = client.manage("replay", handles=[handles[1].decode()], delay=3_600_000)
    copy = line["replay"].encode()
    for handle in (handles[0], copy):
        job = client.show(handle)
        assert job["state"] == "delayed" and job["ended_at"] is None
        assert 3_590_000 < job["run_at"] - before < 3_660_000
    assert client.show(handles[0])["events"][-1]["next_at"] == client.show(handles[0])["run_at"]
    assert counts(client, f) == {"delayed": 2, "failed": 1}
    client.manage("hold", handles=[handles[0].decode()])
    (line, _) = client.manage("release", handles=[handles[0].decode()], delay=1)
    assert (line["was"], line["state"]) == ("held", "delayed")
    eventually(lambda: counts(client, f).get("queued") == 1, "due after a millisecond")


def test_copies_for_another_function(server: Server, connect: Connect, f: bytes) -> None:
    handles = failed(connect, f, 3, unique=b"u")
    client, worker, other = connect(), connect(), (b"other" + f).decode()
    lines = client.manage("replay", handles=[handle.decode() for handle in handles], as_function=other)
    assert [line["function"] for line in lines[:-1]] == [f.decode()] * 3
    copy = client.show(lines[0]["replay"].encode())
    assert (copy["function"], copy["unique"], copy["replay_of"]) == (other, "u0", handles[0].decode())
    assert client.show(handles[0])["replayed_as"] == copy["handle"]
    done: list[bytes] = []
    work_until_none(worker, other.encode(), done)
    assert done == [line["replay"].encode() for line in lines[:-1]]
    too_long = client.manage("replay", handles=[handles[0].decode()], as_function="x" * 513, again=True)
    assert too_long[0]["refused"] == "Function name too large"
    assert faults(server.db) == []


def test_uniques_of_copies(server: Server, connect: Connect, f: bytes) -> None:
    (old,) = failed(connect, f, 1, unique=b"u")
    client = connect()
    live = client.submit(SUBMIT_JOB_BG, f, b"u0", b"")
    (line, _) = client.manage("replay", handles=[old.decode()])
    assert line == {"handle": old.decode(), "refused": f"its unique is queued as {live.decode()}"}
    (line, _) = client.manage("replay", handles=[old.decode()], unique_policy="drop")
    assert client.show(line["replay"].encode())["unique"] == ""
    assert client.show(old)["replayed_as"] == line["replay"]
    (refused, _) = client.manage("replay", handles=[old.decode()], unique_policy="drop")
    assert refused["refused"] == f"it was replayed already, as {line['replay']}"
    (again, _) = client.manage("replay", handles=[old.decode()], unique_policy="drop", again=True)
    assert again["replay"] > line["replay"]
    job = client.show(old)
    assert job["replayed_as"] == again["replay"]
    assert [event["replay"] for event in job["events"] if event["kind"] == "replay"] == [
        line["replay"],
        again["replay"],
    ]
    assert client.refused("replay", handles=[old.decode()], unique_policy="maybe").startswith("ERR usage unique_policy")
    assert faults(server.db) == []


def test_a_window_of_time_is_replayed_in_its_order(server: Server, connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    before = fill(client, f, 1)
    eventually(lambda: time.time() * 1000 > client.show(before[0])["created_at"] + 1, "the next millisecond")
    since = int(time.time() * 1000)
    inside = fill(client, f, 250)
    eventually(lambda: time.time() * 1000 > client.show(inside[-1])["created_at"] + 1, "the next millisecond")
    until = int(time.time() * 1000)
    after = fill(client, f, 1)
    end_all(worker, f, 252, WORK_COMPLETE, b"")
    lines = client.manage("replay", function=f.decode(), since=since, until=until)
    assert [line["handle"].encode() for line in lines[:-1]] == inside
    done: list[bytes] = []
    work_until_none(worker, f, done)
    assert done == [line["replay"].encode() for line in lines[:-1]]
    assert [client.show(handle)["replayed_as"] for handle in before + after] == [None, None]


# Refusals and what is left alone


@pytest.mark.parametrize(
    ("verb", "allowed"),
    [
        ("cancel", {"queued", "delayed", "running", "held"}),
        ("hold", {"queued", "delayed"}),
        ("release", {"held"}),
        ("retry", {"held", "failed", "cancelled"}),
        ("replay", {"done", "failed", "cancelled"}),
        ("purge", {"done", "failed", "cancelled"}),
    ],
)
def test_which_states_a_verb_takes(server: Server, connect: Connect, f: bytes, verb: str, allowed: set[str]) -> None:
    client = connect()
    handles = in_all_states(connect, f)
    before = counts(client, f)
    would = {line["handle"] for line in client.manage(verb, function=f.decode(), dry_run=True)[:-1] if "was" in line}
    assert would == {handles[state].decode() for state in allowed}
    assert counts(client, f) == before
    lines = {line["handle"].encode(): line for line in client.manage(verb, function=f.decode())[:-1]}
    assert set(lines) == set(handles.values())
    for state, handle in handles.items():
        assert ("refused" not in lines[handle]) == (state in allowed)
        if state in allowed:
            assert lines[handle]["was"] == state
        else:
            assert lines[handle]["refused"].startswith(f"it is {state}")
    assert faults(server.db) == []


def in_all_states(connect: Connect, f: bytes) -> dict[str, bytes]:
    """Return the handle of a background job in every state."""
    client, worker = connect(), connect()
    handles = {}
    for state, *how in (("done", WORK_COMPLETE, b"r"), ("failed", WORK_FAIL), ("running",)):
        (handles[state],) = fill(client, f, 1)
        worker.send(CAN_DO, f)
        worker.send(GRAB_JOB)
        assert worker.expect(JOB_ASSIGN)[0] == handles[state]
        if how:
            worker.send(how[0], handles[state], *how[1:])
            worker.expect_nothing()
    handles["queued"], handles["held"], handles["cancelled"] = fill(client, f, 3)
    handles["delayed"] = client.submit(SUBMIT_JOB_EPOCH, f, b"", b"9999999999", b"")
    client.manage("hold", handles=[handles["held"].decode()])
    client.manage("cancel", handles=[handles["cancelled"].decode()])
    return handles


def test_jobs_that_a_client_waits_for_are_not_held(connect: Connect, f: bytes) -> None:
    client, waiting = connect(), connect()
    foreground = waiting.submit(SUBMIT_JOB, f, b"", b"")
    (joined,) = fill(client, f, 1, unique=b"u")
    assert waiting.submit(SUBMIT_JOB, f, b"u0", b"w0") == joined
    lines = client.manage("hold", function=f.decode())
    assert {line["handle"].encode(): line["refused"] for line in lines[:-1]} == {
        foreground: "a client waits for it",
        joined: "a client waits for it",
    }


def test_many_foreground_jobs_are_cancelled_and_their_client_told_once_of_each(connect: Connect, f: bytes) -> None:
    waiting, client = connect(), connect()
    waiting.send_bytes(packet(SUBMIT_JOB, f, b"", b"") * 1000)
    handles = [waiting.expect(JOB_CREATED)[0] for _ in range(1000)]
    assert client.manage("cancel", function=f.decode())[-1] == {"matched": 1000, "changed": 1000, "refused": 0}
    assert [waiting.expect(WORK_FAIL)[0] for _ in range(1000)] == handles
    waiting.expect_nothing()


@pytest.mark.parametrize("verb", ["retry", "release", "replay", "purge"])
def test_a_foreground_job_has_no_history(connect: Connect, f: bytes, verb: str) -> None:
    client, waiting = connect(), connect()
    handle = waiting.submit(SUBMIT_JOB, f, b"", b"")
    (line, totals) = client.manage(verb, handles=[handle.decode()])
    assert line["refused"].startswith("it is queued") and totals == {"matched": 1, "changed": 0, "refused": 1}


def test_a_handle_beside_other_filters(connect: Connect, f: bytes) -> None:
    client = connect()
    (handle,) = fill(client, f, 1)
    answer = client.refused("cancel", handles=[handle.decode()], state=["failed"])
    assert answer == f"ERR not_found there is no job {handle.decode()} that matches"
    answer = client.refused("cancel", handles=["H:nobody:000000000001"])
    assert answer == "ERR not_found there is no job H:nobody:000000000001"


def test_a_limit_beside_handles_makes_none_of_them_unknown(connect: Connect, f: bytes) -> None:
    client = connect()
    handles = fill(client, f, 2)
    lines = client.manage("cancel", handles=[handle.decode() for handle in handles], limit=1)
    assert [line.get("handle") for line in lines] == [handles[0].decode(), None]


def test_jobs_that_are_on_disk_only(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client = server.connect()
    handles = fill(client, b"f", 300, unique=b"u")
    assert client.manage("hold", function="f")[-1]["changed"] == 300
    assert counts(client, b"f") == {"held": 300}
    assert client.submit(SUBMIT_JOB_BG, b"f", b"u200", b"twin") not in handles, "a held job keeps its unique"
    lines = client.manage("release", function="f", state=["held"])
    twins = [line["handle"].encode() for line in lines[:-1] if "refused" in line]
    assert twins == [handles[200]]
    assert client.manage("cancel", function="f", state=["held"])[-1]["changed"] == 1
    done: list[bytes] = []
    work_until_none_of_many(server.connect(), b"f", done, 300)
    assert Counter(done) == Counter(set(done)) and len(done) == 300
    server.kill()
    assert faults(server.db) == []


def work_until_none_of_many(worker: Wire, f: bytes, done: list[bytes], number: int) -> None:
    """Complete jobs, many of which are still on disk: NO_JOB is not yet the end."""
    eventually(lambda: work_until_none(worker, f, done) or len(done) >= number, lambda: len(done))


# A disk that is full


def test_copies_that_a_full_disk_refuses_are_told(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    client = server.connect()
    big = b"x" * 50_000
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"f", b"", big) for _ in range(100)))
    handles = [client.expect(JOB_CREATED)[0] for _ in range(100)]
    end_all(server.connect(), b"f", 100, WORK_FAIL)
    disk.fill()
    fill_with_jobs(client, b"g", [])
    lines, end = client.manage_raw(b'gearstore replay {"function": "f"}')
    assert end == "ERR store the store takes nothing new at the moment; what is left was not changed"
    assert lines and all(line["refused"] == "the store does not take the copy" for line in lines)
    assert counts(client, b"f") == {"failed": 100}
    assert client.manage("cancel", function="nothing")[-1]["matched"] == 0, "others are not held up"
    disk.free()
    lines = client.manage("replay", function="f")
    assert [line["handle"].encode() for line in lines[:-1]] == handles and lines[-1]["changed"] == 100
    assert counts(client, b"f") == {"failed": 100, "queued": 100}
    server.kill()
    assert faults(server.db) == []


@pytest.mark.parametrize("verb", ["retry", "purge"])
def test_changes_wait_for_space(start_server: StartServer, disk: Disk, verb: str) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    client, other = server.connect(), server.connect()
    handles = fill(client, b"f", 2000)
    end_all(server.connect(), b"f", 2000, WORK_EXCEPTION, b"e" * 2000)
    disk.fill()
    fill_with_jobs(client, b"g", [])
    client.send_bytes(b'gearstore %s {"function": "f"}\n' % verb.encode())
    other.manage("status")
    disk.free()
    lines = [json.loads(client.line())]
    while "matched" not in lines[-1]:
        lines.append(json.loads(client.line()))
    assert client.line() == b".\n"
    assert [line["handle"].encode() for line in lines[:-1]] == handles
    assert lines[-1] == {"matched": 2000, "changed": 2000, "refused": 0}
    server.kill()
    assert faults(server.db) == []
    server.restart()
    assert counts(server.connect(), b"f") == ({"queued": 2000} if verb == "retry" else {})


# The end of the server


@pytest.mark.parametrize("verb", ["retry", "replay", "purge"])
def test_an_orderly_end_in_the_middle(start_server: StartServer, verb: str) -> None:
    server = start_server()
    handles = failed(server.connect, b"f", 2000)
    client = server.connect()
    client.send_bytes(b'gearstore %s {"function": "f", "state": ["failed"], "rate": 2000}\n' % verb.encode())
    told = [json.loads(client.line())["handle"].encode()]
    assert server.terminate() == 0
    with suppress(ConnectionError):
        while line := client.line():
            told.append(json.loads(line)["handle"].encode())
    assert len(told) < 2000 and told == handles[: len(told)]
    assert faults(server.db) == []
    server.restart()
    lines = server.connect().manage(verb, function="f", state=["failed"])
    left = [line["handle"].encode() for line in lines[:-1] if "refused" not in line]
    assert left == handles[2000 - len(left) :] and 0 <= 2000 - len(left) - len(told) <= 100
    server.kill()
    assert faults(server.db) == []
