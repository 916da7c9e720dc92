"""Every verb, filter, error and ending of docs/management.md."""

import base64
import json
import time
from typing import Any

import pytest

from gearstore import __version__
from gearstore.options import OPTIONS
from gearstore.policies import KEYS
from gearstore.protocol.packets import (
    CAN_DO,
    CAN_DO_TIMEOUT,
    GRAB_JOB,
    GRAB_JOB_ALL,
    JOB_ASSIGN,
    JOB_ASSIGN_ALL,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    SET_CLIENT_ID,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    SUBMIT_JOB_HIGH,
    SUBMIT_JOB_HIGH_BG,
    SUBMIT_JOB_LOW_BG,
    SUBMIT_REDUCE_JOB_BACKGROUND,
    WORK_COMPLETE,
    WORK_EXCEPTION,
    WORK_FAIL,
    WORK_STATUS,
)
from tests.server.process import HOST, Server, StartServer, eventually
from tests.server.wire import Connect, Wire, packet

Jobs = dict[str, bytes]

STATES = ("queued", "delayed", "running", "held", "done", "failed", "cancelled")


def take(worker: Wire, f: bytes, handle: bytes) -> None:
    """Take this job."""
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    assert worker.expect(JOB_ASSIGN)[0] == handle


@pytest.fixture
def jobs(connect: Connect, f: bytes) -> Jobs:
    """A background job of function f in every state but held, by state; their uniques say so too."""
    client, worker = connect(), connect()
    handles = {}
    for end, state in ((WORK_COMPLETE, "done"), (WORK_FAIL, "failed"), (WORK_EXCEPTION, "excepted")):
        handles[state] = client.submit(SUBMIT_JOB_BG, f, state.encode(), b"w " + state.encode())
        take(worker, f, handles[state])
        worker.send(end, handles[state], *([] if end is WORK_FAIL else [b"said " + state.encode()]))
        worker.expect_nothing()
    handles["running"] = client.submit(SUBMIT_JOB_BG, f, b"running", b"w running")
    take(worker, f, handles["running"])
    handles["queued"] = client.submit(SUBMIT_JOB_HIGH_BG, f, b"queued", b"w queued")
    handles["delayed"] = client.submit(SUBMIT_JOB_EPOCH, f, b"delayed", b"9999999999", b"w delayed")
    handles["cancelled"] = client.submit(SUBMIT_JOB_LOW_BG, f, b"cancelled", b"w cancelled")
    assert client.text(b"cancel job " + handles["cancelled"]) == b"OK\r\n"
    return handles


def names(jobs: Jobs, found: list[dict[str, Any]]) -> list[str]:
    """Return which of the jobs were found, in that order."""
    by_handle = {handle.decode(): name for name, handle in jobs.items()}
    return [by_handle[job["handle"]] for job in found]


# hello, status, workers


def test_config(server: Server, client: Wire) -> None:
    settings = {row.pop("name"): row for row in client.manage("config")}
    assert list(settings) == [option.name for option in OPTIONS]
    assert settings["db"] == {"value": str(server.db), "source": "--db"}
    assert settings["backlog"] == {"value": 1024, "source": "default"}
    assert settings["pid_file"] == {"value": None, "source": "default"}
    policy = {row.pop("name"): row for row in client.manage("config", function="f\udcff")}
    assert list(policy) == [key.name for key in KEYS]
    assert policy["timeout"] == {"value": "0s", "source": "default"}
    assert policy["max_attempts"] == {"value": 6, "source": "job_retries, default"}
    assert client.refused("config", function=5).startswith("ERR usage function is str")


def test_hello(server: Server, client: Wire) -> None:
    for line in (b"gearstore hello", b"gearstore hello {}", b"gearstore   hello   {}  ", b"gearstore hello {}\r"):
        ((answer,), end) = client.manage_raw(line)
        assert end == "."
        assert list(answer) == [
            "name",
            "version",
            "pid",
            "database",
            "started_at",
            "draining",
            "paused_at",
            "paused_until",
        ]
        assert answer["name"] == "gearstore" and answer["version"] == __version__
        assert answer["paused_at"] is answer["paused_until"] is None
        assert answer["pid"] == server.pid and answer["database"] == str(server.db) and answer["draining"] is False
        assert time.time() * 1000 - 60_000 < answer["started_at"] <= time.time() * 1000
    client.expect_nothing()


def test_status(client: Wire, f: bytes, jobs: Jobs) -> None:
    (counts,) = client.manage("status", function=f.decode())
    oldest = client.show(jobs["queued"])["created_at"]
    assert counts == {
        "function": f.decode(),
        "high": 1,
        "normal": 0,
        "low": 0,
        "queued": 1,
        "delayed": 1,
        "running": 1,
        "held": 0,
        "done": 1,
        "failed": 2,
        "cancelled": 1,
        "workers": 1,
        "oldest_at": oldest,
        "done_per_minute": 1,
        "failed_per_minute": 2,
        "paused_at": None,
        "paused_until": None,
    }


def test_status_by_glob(client: Wire, f: bytes) -> None:
    for suffix in (b"a1", b"a2", b"b1"):
        client.text(b"create function " + f + suffix)
    name = f.decode()
    for glob, wanted in ((name + "*", 3), (name + "a*", 2), (name + "?1", 2), (name + "[b]1", 1), (name, 0), ("A", 0)):
        found = [row["function"] for row in client.manage("status", function=glob)]
        assert len(found) == wanted and found == sorted(found)
    assert len(client.manage("status")) >= 3
    assert client.manage("status", function=name + "b1")[0]["oldest_at"] is None


def test_the_oldest_is_the_first_that_still_waits(client: Wire, f: bytes) -> None:
    first = client.submit(SUBMIT_JOB_BG, f, b"", b"")
    second = client.submit(SUBMIT_JOB_BG, f, b"", b"")
    client.text(b"cancel job " + first)
    (counts,) = client.manage("status", function=f.decode())
    assert counts["oldest_at"] == client.show(second)["created_at"]


def test_workers(connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    worker.send(SET_CLIENT_ID, b"w \xff1")
    worker.send(CAN_DO_TIMEOUT, f, b"2000")
    worker.send(CAN_DO, f + b"\xfe")
    handle = client.submit(SUBMIT_JOB, f, b"", b"")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"")
    (row,) = [row for row in client.manage("workers") if row["functions"]]
    assert list(row) == [
        "fd", "address", "client_id", "connected_at", "functions", "timeouts", "denied", "certificate",
        "asleep", "jobs",
    ]  # fmt: skip
    assert row["address"] == HOST and row["client_id"] == "w \udcff1" and row["asleep"] is False
    assert row["functions"] == [f.decode() + "\udcfe", f.decode()]
    assert row["timeouts"] == {f.decode(): 2000}
    assert time.time() * 1000 - 60_000 < row["connected_at"] <= time.time() * 1000
    ((job),) = row["jobs"]
    assert job.pop("started_at") <= time.time() * 1000
    assert job == {"handle": handle.decode(), "function": f.decode()}
    worker.send(WORK_COMPLETE, handle, b"")
    client.expect(WORK_COMPLETE, handle, b"")
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    (row,) = [row for row in client.manage("workers") if row["functions"]]
    assert row["asleep"] is True and row["jobs"] == []
    idle = [row for row in client.manage("workers") if not row["functions"]]
    assert {"client_id": "-", "functions": [], "asleep": False, "jobs": []}.items() <= idle[0].items()


# jobs and show


def test_show_tells_everything(client: Wire, f: bytes, jobs: Jobs) -> None:
    now = time.time() * 1000
    done = client.show(jobs["done"], workload=True, result=True)
    times = {name: done.pop(name) for name in ("created_at", "started_at", "ended_at")}
    assert now - 60_000 < times["created_at"] <= times["started_at"] <= times["ended_at"] <= now
    assert done == {
        "handle": jobs["done"].decode(),
        "function": f.decode(),
        "unique": "done",
        "state": "done",
        "priority": "normal",
        "background": True,
        "attempts": 1,
        "interruptions": 0,
        "run_at": None,
        "worker": None,  # it gave no name
        "client": "127.0.0.1",
        "reason": None,
        "error": None,
        "size": 6,
        "preview": "w done",
        "result_size": 9,
        "numerator": 0,
        "denominator": 0,
        "cause": None,
        "replay_of": None,
        "replayed_as": None,
        "events": [],
        "origin": None,
        "workload": base64.b64encode(b"w done").decode(),
        "result": base64.b64encode(b"said done").decode(),
    }
    states = {
        "failed": ("failed", "fail", None, 1),
        "excepted": ("failed", "exception", "said excepted", 1),
        "running": ("running", None, None, 0),
        "queued": ("queued", None, None, 0),
        "delayed": ("delayed", None, None, 0),
        "cancelled": ("cancelled", "cancelled", None, 0),
    }
    for name, wanted in states.items():
        job = client.show(jobs[name])
        assert (job["state"], job["reason"], job["error"], job["attempts"]) == wanted
        assert "workload" not in job and "result" not in job
        assert (job["ended_at"] is None) == (name in ("running", "queued", "delayed"))
        assert (job["started_at"] is None) == (name in ("queued", "delayed", "cancelled"))
    assert client.show(jobs["delayed"])["run_at"] == 9999999999000
    assert client.show(jobs["queued"])["priority"] == "high"
    assert client.show(jobs["cancelled"])["priority"] == "low"


def test_show_a_foreground_job(client: Wire, worker: Wire, f: bytes) -> None:
    handle = client.submit(SUBMIT_JOB_HIGH, f, b"u", b"w")
    worker.send(SET_CLIENT_ID, b"me")
    take(worker, f, handle)
    worker.send(WORK_STATUS, handle, b"3", b"10")
    client.expect(WORK_STATUS, handle, b"3", b"10")
    job = client.show(handle, workload=True)
    wanted = {
        "state": "running",
        "background": False,
        "priority": "high",
        "unique": "u",
        "numerator": 3,
        "denominator": 10,
        "workload": "dw==",
    }
    assert wanted.items() <= job.items()


def test_show_several_in_the_order_asked_for(client: Wire, jobs: Jobs) -> None:
    wanted = ["queued", "done", "failed", "queued"]
    found = client.manage("show", handles=[jobs[name].decode() for name in wanted])
    assert names(jobs, found) == wanted


def test_any_bytes_are_carried(client: Wire, worker: Wire, f: bytes) -> None:
    name = f + b"\xff"
    handle = client.submit(SUBMIT_JOB_BG, name, b"u\xfe\n", b"w\xfd\0\n" + b"x" * 100)
    worker.send(SET_CLIENT_ID, b"id\xfc")
    take(worker, name, handle)
    worker.send(WORK_EXCEPTION, handle, b"e\xfb\n")
    worker.expect_nothing()
    job = client.show(handle, workload=True)
    assert job["function"].encode("utf-8", "surrogateescape") == name
    assert (job["unique"], job["worker"], job["error"]) == ("u\udcfe\n", "id\udcfc", "e\udcfb\n")
    assert job["preview"].encode("utf-8", "surrogateescape") == b"w\xfd\0\n" + b"x" * 56
    assert base64.b64decode(job["workload"]) == b"w\xfd\0\n" + b"x" * 100
    for key, value in (("function", f.decode() + "\udcff"), ("unique", "u\udcfe\n"), ("error", "e\udcfb")):
        assert [found["handle"] for found in client.manage("jobs", **{key: value})] == [handle.decode()]


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["cancelled", "delayed", "queued", "running", "excepted", "failed", "done"]),
    ({"order": "oldest"}, ["done", "failed", "excepted", "running", "queued", "delayed", "cancelled"]),
    ({"state": ["done"]}, ["done"]),
    ({"state": "failed"}, ["excepted", "failed"]),
    ({"state": ["queued", "running", "delayed"]}, ["delayed", "queued", "running"]),
    ({"state": ["HELD"]}, []),
    ({"state": []}, []),
    ({"unique": "failed"}, ["failed"]),
    ({"unique": "fail"}, []),
    ({"unique": ""}, []),
    ({"error": "said"}, ["excepted"]),
    ({"error": "exception"}, ["excepted"]),
    ({"error": "fail"}, ["failed"]),
    ({"payload_match": "w d"}, ["delayed", "done"]),
    ({"payload_match": "w", "state": ["done"]}, ["done"]),
    ({"payload_match": "%"}, []),
    ({"limit": 2}, ["cancelled", "delayed"]),
    ({"limit": 2, "order": "oldest"}, ["done", "failed"]),
    ({"since": 0}, ["cancelled", "delayed", "queued", "running", "excepted", "failed", "done"]),
    ({"until": 0}, []),
    ({"since": 9999999999999}, []),
    ({"until": 9999999999999, "state": ["done"]}, ["done"]),
    ({"handles": []}, []),
    ({"state": None, "unique": "done", "limit": None}, ["done"]),
]


@pytest.mark.parametrize(("request_", "wanted"), FILTERS, ids=[json.dumps(request) for request, _ in FILTERS])
def test_filters(client: Wire, f: bytes, jobs: Jobs, request_: dict[str, Any], wanted: list[str]) -> None:
    assert names(jobs, client.manage("jobs", function=f.decode(), **request_)) == wanted


def test_a_filter_by_time_includes_since_and_not_until(client: Wire, f: bytes, jobs: Jobs) -> None:
    at = client.show(jobs["queued"])["created_at"]
    within = client.manage("jobs", function=f.decode(), since=at, until=at + 1)
    assert jobs["queued"].decode() in [job["handle"] for job in within]
    assert all(job["created_at"] == at for job in within)
    assert jobs["queued"].decode() not in [
        job["handle"] for job in client.manage("jobs", function=f.decode(), until=at)
    ]


def test_a_filter_by_handles(client: Wire, jobs: Jobs) -> None:
    handles = [jobs["done"].decode(), jobs["queued"].decode(), "H:nowhere:1", "x", ""]
    assert names(jobs, client.manage("jobs", handles=handles)) == ["queued", "done"]


def test_jobs_lists_50_unless_told_otherwise(client: Wire, f: bytes) -> None:
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, f, b"", b"") for _ in range(450)))
    handles = [client.receive()[1].decode() for _ in range(450)]
    assert [job["handle"] for job in client.manage("jobs", function=f.decode())] == handles[::-1][:50]
    everything = client.manage("jobs", function=f.decode(), limit=1000, order="oldest")
    assert [job["handle"] for job in everything] == handles


def test_jobs_lists_foreground_jobs_too(client: Wire, f: bytes) -> None:
    handle = client.submit(SUBMIT_JOB, f, b"u", b"w")
    named: list[dict[str, Any]] = [{"state": ["queued"]}, {"handles": [handle.decode()]}]
    for request in (*named, {}, {"unique": "u"}, {"payload_match": "w"}):
        found = client.manage("jobs", function=f.decode(), **request)
        assert [(job["handle"], job["background"]) for job in found] == [(handle.decode(), False)]
    others: list[dict[str, Any]] = [{"state": ["running"]}, {"until": 1}]
    for request in (*others, {"unique": "v"}, {"payload_match": "v"}, {"error": "x"}):
        assert client.manage("jobs", function=f.decode(), **request) == []


# cancel


def test_cancel(client: Wire, worker: Wire, f: bytes, jobs: Jobs) -> None:
    found = client.manage("cancel", function=f.decode())
    assert found.pop() == {"matched": 7, "changed": 3, "refused": 4}
    assert names(jobs, found) == ["done", "failed", "excepted", "running", "queued", "delayed", "cancelled"]
    changed = {job["was"]: job for job in found if "refused" not in job}
    assert list(changed) == ["running", "queued", "delayed"]
    for was, job in changed.items():
        assert job == {"handle": jobs[was].decode(), "function": f.decode(), "was": was, "state": "cancelled"}
    refused = [job for job in found if "refused" in job]
    assert all(set(job) == {"handle", "refused"} for job in refused)
    assert [job["refused"] for job in refused] == [
        f"it is {s} already" for s in ("done", "failed", "failed", "cancelled")
    ]
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    assert client.show(jobs["running"])["state"] == "cancelled"
    (counts,) = client.manage("status", function=f.decode())
    assert (counts["queued"], counts["delayed"], counts["running"], counts["cancelled"]) == (0, 0, 0, 4)


def test_cancel_a_foreground_job(connect: Connect, worker: Wire, f: bytes) -> None:
    admin, client = connect(), connect()
    first, second = [client.submit(SUBMIT_JOB, f, b"", b"%d" % n) for n in range(2)]
    assert admin.manage("cancel", handles=[first.decode()]) == [
        {"handle": first.decode(), "function": f.decode(), "was": "queued", "state": "cancelled"},
        {"matched": 1, "changed": 1, "refused": 0},
    ]
    client.expect(WORK_FAIL, first)
    for verb in ("retry", "replay"):
        assert admin.manage(verb, handles=[second.decode()]) == [
            {"handle": second.decode(), "refused": "it is queued"},
            {"matched": 1, "changed": 0, "refused": 1},
        ]
    assert admin.manage("cancel", function=f.decode(), dry_run=True)[-1]["changed"] == 1
    take(worker, f, second)
    assert admin.manage("cancel", function=f.decode())[-1] == {"matched": 1, "changed": 1, "refused": 0}
    client.expect(WORK_FAIL, second)


def test_cancel_has_no_limit_unless_told(client: Wire, f: bytes) -> None:
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, f, b"", b"") for _ in range(450)))
    handles = [client.receive()[1].decode() for _ in range(450)]
    found = client.manage("cancel", function=f.decode(), limit=3, order="newest")
    assert [job.get("handle") for job in found[:-1]] == handles[:-4:-1]
    found = client.manage("cancel", function=f.decode(), state=["queued"])
    assert found[-1] == {"matched": 447, "changed": 447, "refused": 0}
    assert client.status(f) == (0, 0, 0)


# retry


def test_retry(client: Wire, worker: Wire, f: bytes, jobs: Jobs) -> None:
    found = client.manage("retry", function=f.decode())
    assert found.pop() == {"matched": 7, "changed": 3, "refused": 4}
    reasons: list[str] = [job["refused"] if "refused" in job else job["was"] for job in found]
    assert names(jobs, found) == ["done", "failed", "excepted", "running", "queued", "delayed", "cancelled"]
    assert reasons[0].startswith("it is done: use replay")
    assert reasons[1:] == ["failed", "failed", "it is running", "it is queued", "it is delayed", "cancelled"]
    assert {job["state"] for job in found if "state" in job} == {"queued"}
    job = client.show(jobs["failed"])
    assert (job["state"], job["reason"], job["attempts"], job["ended_at"]) == ("queued", "retry", 1, None)
    # At the end of its queue: behind what waited
    late = client.submit(SUBMIT_JOB_BG, f, b"", b"late")
    worker.send(CAN_DO, f)
    order = []
    while (answer := worker.ask(GRAB_JOB))[0] is JOB_ASSIGN:
        order.append(answer[1].split(b"\0")[0])
    assert order == [jobs["queued"], jobs["failed"], jobs["excepted"], late, jobs["cancelled"]]
    worker.send(WORK_COMPLETE, jobs["failed"], b"at last")
    worker.expect_nothing()
    job = client.show(jobs["failed"])
    assert (job["state"], job["attempts"], job["result_size"]) == ("done", 2, 7)


def test_retry_wakes_a_worker(connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    handle = client.submit(SUBMIT_JOB_BG, f, b"", b"")
    take(worker, f, handle)
    worker.send(WORK_FAIL, handle)
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    client.manage("retry", handles=[handle.decode()])
    worker.expect(NOOP)
    take(worker, f, handle)


def test_retry_is_refused_while_its_unique_is_queued_again(client: Wire, f: bytes, jobs: Jobs) -> None:
    again = client.submit(SUBMIT_JOB_BG, f, b"failed", b"again")
    found = client.manage("retry", handles=[jobs["failed"].decode()])
    assert found[-1] == {"matched": 1, "changed": 0, "refused": 1}
    assert again.decode() in found[0]["refused"]
    assert client.show(jobs["failed"])["state"] == "failed"
    client.manage("cancel", handles=[again.decode()])
    assert client.manage("retry", handles=[jobs["failed"].decode()])[-1]["changed"] == 1
    assert client.submit(SUBMIT_JOB_BG, f, b"failed", b"") == jobs["failed"]


# replay


def test_replay(client: Wire, worker: Wire, f: bytes, jobs: Jobs) -> None:
    found = client.manage("replay", function=f.decode())
    assert found.pop() == {"matched": 7, "changed": 4, "refused": 3}
    copies = {job["was"]: job for job in found if "replay" in job}
    assert names(jobs, found) == ["done", "failed", "excepted", "running", "queued", "delayed", "cancelled"]
    assert copies["done"]["state"] == "done" and copies["done"]["handle"] == jobs["done"].decode()
    copy = client.show(copies["done"]["replay"].encode(), workload=True)
    assert copy["replay_of"] == jobs["done"].decode()
    assert (copy["state"], copy["unique"], copy["preview"], copy["attempts"]) == ("queued", "done", "w done", 0)
    assert client.show(jobs["done"])["state"] == "done"
    assert client.show(copies["cancelled"]["replay"].encode())["priority"] == "low"
    assert [job["refused"] for job in found if "refused" in job] == ["it is running", "it is queued", "it is delayed"]
    take(worker, f, jobs["queued"])
    take(worker, f, copies["done"]["replay"].encode())


def test_replay_keeps_the_reducer(client: Wire, worker: Wire, f: bytes) -> None:
    handle = client.submit(SUBMIT_REDUCE_JOB_BACKGROUND, f, b"", b"reducer", b"", b"w")
    take(worker, f, handle)
    worker.send(WORK_COMPLETE, handle, b"")
    worker.expect_nothing()
    (line, _) = client.manage("replay", handles=[handle.decode()])
    worker.send(GRAB_JOB_ALL)
    worker.expect(JOB_ASSIGN_ALL, line["replay"].encode(), f, b"", b"reducer", b"w")


def test_replay_is_refused_while_its_unique_is_queued(client: Wire, f: bytes, jobs: Jobs) -> None:
    again = client.submit(SUBMIT_JOB_BG, f, b"done", b"")
    found = client.manage("replay", handles=[jobs["done"].decode()])
    assert found[-1] == {"matched": 1, "changed": 0, "refused": 1}
    assert again.decode() in found[0]["refused"]


@pytest.mark.parametrize("verb", ["cancel", "retry", "replay"])
def test_a_dry_run_changes_nothing(client: Wire, f: bytes, jobs: Jobs, verb: str) -> None:
    before = client.manage("jobs", function=f.decode())
    dry = client.manage(verb, function=f.decode(), dry_run=True)
    assert client.manage("jobs", function=f.decode()) == before
    wet = client.manage(verb, function=f.decode(), dry_run=False)
    for line in wet:
        line.pop("replay", None)
    assert dry == wet
    assert client.manage("jobs", function=f.decode()) != before


# Errors


@pytest.mark.parametrize("verb", ["show", "cancel", "retry", "replay"])
def test_a_handle_that_does_not_exist(client: Wire, jobs: Jobs, verb: str) -> None:
    for handle in ("H:nowhere:1", "", "x\ny\r", "é", "\udcff", "x" * 5000):
        assert client.refused(verb, handles=[handle]).startswith("ERR not_found ")
    client.expect_nothing()
    # Objects may stand before the error
    line = json.dumps({"handles": [jobs["cancelled"].decode(), "H:nowhere:1"]}).encode()
    objects, end = client.manage_raw(b"gearstore %s %s" % (verb.encode(), line))
    assert [job["handle"] for job in objects] == [jobs["cancelled"].decode()]
    assert end == "ERR not_found there is no job H:nowhere:1"


USAGE = [
    b"gearstore",
    b"gearstore ",
    b"gearstore nonsense",
    b"gearstore HELLO",
    b"gearstore \xff\xfe",
    b"gearstore jobs {",
    b"gearstore jobs []",
    b'gearstore jobs "x"',
    b"gearstore jobs 1",
    b"gearstore jobs null",
    b"gearstore jobs \xff\xfe",
    b"gearstore jobs {} {}",
    b'gearstore jobs {"states": ["done"]}',
    b'gearstore hello {"function": "f"}',
    b'gearstore status {"state": ["done"]}',
    b'gearstore jobs {"dry_run": true}',
    b'gearstore show {"handles": ["x"], "limit": 1}',
    b'gearstore jobs {"function": 1}',
    b'gearstore jobs {"state": ["nonsense"]}',
    b'gearstore jobs {"state": [1]}',
    b'gearstore jobs {"state": [["done"]]}',
    b'gearstore jobs {"handles": "H:x:1"}',
    b'gearstore jobs {"handles": [1]}',
    b'gearstore show {"handles": [1]}',
    b'gearstore show {"handles": [null]}',
    b'gearstore show {"handles": ["x"], "workload": 1}',
    b'gearstore cancel {"handles": [{}]}',
    b'gearstore jobs {"since": "yesterday"}',
    b'gearstore jobs {"since": 1.5}',
    b'gearstore jobs {"since": true}',
    b'gearstore jobs {"since": 99999999999999999999}',
    b'gearstore jobs {"until": -99999999999999999999}',
    b'gearstore jobs {"limit": 99999999999999999999}',
    b'gearstore jobs {"since": %s}' % (b"9" * 5000),
    b'gearstore jobs {"limit": 0}',
    b'gearstore jobs {"limit": -1}',
    b'gearstore jobs {"limit": "5"}',
    b'gearstore jobs {"order": "random"}',
    b'gearstore cancel {"order": "random", "unique": "x"}',
    b'gearstore jobs {"unique": "\\ud800"}',
    b'gearstore jobs {"handles": ["\\ud800"]}',
    b'gearstore show {"handles": ["\\ud800"]}',
    b'gearstore cancel {"handles": ["\\ud800"]}',
    b"gearstore jobs " + b"[" * 60_000,
    b"gearstore jobs " + b'{"a":' * 12_000,
    b"gearstore cancel",
    b"gearstore cancel {}",
    b'gearstore cancel {"dry_run": true}',
    b'gearstore cancel {"limit": 1}',
    b'gearstore retry {"order": "newest"}',
    b"gearstore replay",
    b'gearstore cancel {"unique": null}',
]


@pytest.mark.parametrize("line", USAGE, ids=lambda line: line.decode("ascii", "replace")[:60])
def test_usage(client: Wire, line: bytes) -> None:
    objects, end = client.manage_raw(line)
    assert objects == []
    assert end.startswith("ERR usage "), end
    assert len(end) > len("ERR usage ") + 10
    client.expect_nothing()


def test_an_unknown_key_is_named(client: Wire) -> None:
    assert "'states'" in client.refused("jobs", states=["done"])
    assert "'nonsense'" in client.refused("nonsense")


def test_other_words_are_unknown_commands(client: Wire) -> None:
    assert client.text(b"gearstored hello") == b"ERR UNKNOWN_COMMAND Unknown+server+commandgearstored\r\n"


def test_packets_and_lines_behind_a_verb_wait_for_its_answer(client: Wire, f: bytes, jobs: Jobs) -> None:
    request = json.dumps({"function": f.decode()}).encode()
    client.send_bytes(
        b"gearstore jobs " + request + b"\n" + packet(SUBMIT_JOB_BG, f, b"", b"") + b"gearstore hello\nverbose\n"
    )
    for _ in jobs:
        client.line()
    assert client.line() == b".\n"
    client.expect(JOB_CREATED)
    assert json.loads(client.line())["name"] == "gearstore"
    assert client.line() == b".\n"
    assert client.line() == b"OK INFO\n"


def test_a_listing_whose_reader_goes_away(server: Server, connect: Connect, f: bytes) -> None:
    client = connect()
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, f, b"", b"x" * 1000) for _ in range(1000)))
    for _ in range(1000):
        client.receive()
    before = len(client.manage("workers"))
    for _ in range(5):
        gone = connect()
        request = json.dumps({"function": f.decode(), "limit": 100_000}).encode()
        gone.send_bytes((b"gearstore jobs " + request + b"\n") * 20)
        gone.line()
        gone.reset()
    eventually(lambda: len(client.manage("workers")) == before, "the end of the connections")
    assert "Traceback" not in server.log


# Who may change things


def test_changing_verbs_are_for_loopback_and_the_unix_socket(start_server: StartServer, tmp_path: object) -> None:
    path = f"{tmp_path}/s"
    server = start_server(listen=[f"{HOST}:0", f"unix:{path}"])
    handle = server.connect().submit(SUBMIT_JOB_BG, b"f", b"", b"")
    assert server.connect(path).manage("cancel", handles=[handle.decode()])[-1]["changed"] == 1


def test_verbs_know_jobs_that_are_on_disk_only(start_server: StartServer) -> None:
    server = start_server("--window=16")
    client, worker = server.connect(), server.connect()
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"f", b"u%d" % n, b"") for n in range(300)))
    handles = [client.receive()[1] for _ in range(300)]
    assert client.show(handles[250])["state"] == "queued"
    found = client.manage("jobs", function="f", state=["queued"], limit=1000, order="oldest")
    assert [job["handle"].encode() for job in found] == handles
    victims = [handle.decode() for handle in handles[100:200]]
    assert client.manage("cancel", handles=victims)[-1] == {"matched": 100, "changed": 100, "refused": 0}
    assert client.manage("retry", handles=victims[:10])[-1] == {"matched": 10, "changed": 10, "refused": 0}
    (counts,) = client.manage("status", function="f")
    assert (counts["queued"], counts["cancelled"]) == (210, 90)
    # Its twin waits on disk
    twin = client.submit(SUBMIT_JOB_BG, b"f", b"u150", b"")
    refused = client.manage("retry", handles=[handles[150].decode()])
    assert refused[-1]["refused"] == 1 and twin.decode() in refused[0]["refused"]
    worker.send(CAN_DO, b"f")
    expected = handles[:100] + handles[200:] + handles[100:110] + [twin]
    for handle in expected:
        while (answer := worker.ask(GRAB_JOB))[0] is NO_JOB:
            worker.send(PRE_SLEEP)
            worker.expect(NOOP)
        assert answer[1].split(b"\0")[0] == handle
        worker.send(WORK_COMPLETE, handle, b"")
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)


def test_a_change_is_durable_when_it_is_answered(start_server: StartServer) -> None:
    server = start_server()
    client, worker = server.connect(), server.connect()
    queued, failed, done = [client.submit(SUBMIT_JOB_BG, b"f", b"%d" % n, b"") for n in range(3)]
    worker.send(CAN_DO, b"f")
    for handle in (queued, failed, done):
        take(worker, b"f", handle)
    worker.send(WORK_FAIL, failed)
    worker.send(WORK_COMPLETE, done, b"")
    worker.expect_nothing()
    client.manage("cancel", handles=[queued.decode()])
    client.manage("retry", handles=[failed.decode()])
    copy = client.manage("replay", handles=[done.decode()])[0]["replay"].encode()
    server.kill()
    server.restart()
    client = server.connect()
    assert [client.show(handle)["state"] for handle in (queued, failed, done, copy)] == [
        "cancelled",
        "queued",
        "done",
        "queued",
    ]
