"""Policies of functions as workers, clients and operators see them; what is set and what happened outlives restarts."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    ERROR,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    OPTION_REQ,
    OPTION_RES,
    PRE_SLEEP,
    SET_CLIENT_ID,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
    WORK_EXCEPTION,
    WORK_FAIL,
    WORK_STATUS,
)
from tests.rows import faults
from tests.server.process import Server, StartServer, eventually
from tests.server.wire import Wire

Policy = dict[str, Any]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration file that all servers here read."""
    path = tmp_path / "gearstore.toml"
    path.write_text("")
    return path


def start(start_server: StartServer, config: Path, text: str, *options: str) -> Server:
    """Start a server whose file holds this text."""
    config.write_text(text)
    return start_server(f"--config={config}", *options)


def take(worker: Wire, handle: bytes, f: bytes = b"f") -> None:
    """Sleep until there is a job, which must be this one."""
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    worker.expect(NOOP)
    worker.send(GRAB_JOB)
    assert worker.expect(JOB_ASSIGN)[0] == handle


def kinds(job: dict[str, Any]) -> list[str]:
    """Return what happened to a job, in one word each."""
    return [event["kind"] for event in job["events"]]


# Automatic attempts


@pytest.mark.parametrize("how", [WORK_FAIL, WORK_EXCEPTION])
@pytest.mark.parametrize("exceptions", [False, True])
def test_failures_are_tried_again_and_the_client_is_told_at_the_end(
    start_server: StartServer, config: Path, how: int, exceptions: bool
) -> None:
    text = (
        '[functions.f]\nretry_on = ["fail", "exception"]\nmax_attempts = 3\nbackoff = {first = "20ms", jitter = 0.0}\n'
    )
    server = start(start_server, config, text)
    client, waiting, worker = server.connect(), server.connect(), server.connect()
    if exceptions:
        waiting.send(OPTION_REQ, b"exceptions")
        waiting.expect(OPTION_RES, b"exceptions")
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"u", b"w")
    assert waiting.submit(SUBMIT_JOB, b"f", b"u", b"w") == handle
    data = [b"order 7 is wrong"] if how == WORK_EXCEPTION else []
    for attempt in range(1, 4):
        take(worker, handle)
        worker.send(how, handle, *data)
        worker.expect_nothing()
        job = client.show(handle)
        assert (job["attempts"], job["state"] in ("delayed", "queued")) == (attempt, attempt < 3)
        if attempt < 3:
            waiting.expect_nothing()
    if how == WORK_EXCEPTION and exceptions:
        waiting.expect(WORK_EXCEPTION, handle, *data)
    else:
        waiting.expect(WORK_FAIL, handle)
    waiting.expect_nothing()
    word = "fail" if how == WORK_FAIL else "exception"
    assert (job["state"], job["reason"], kinds(job)) == ("failed", word, [word] * 3)
    waits = [event["next_at"] and event["next_at"] - event["at"] for event in job["events"]]
    assert waits == [20, 40, None]
    assert [event["error"] for event in job["events"]] == [data[0].decode() if data else None] * 3
    (cause,) = client.manage("failures")
    assert (cause["cause"], cause["jobs"], cause["functions"]) == (job["cause"], 1, {"f": 1})
    assert cause["text"] == ("order # is wrong" if data else "")
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)


def test_without_a_policy_a_failure_is_final(start_server: StartServer, config: Path) -> None:
    text = '[functions."g*"]\nretry_on = ["fail"]\n'
    server = start(start_server, config, text)
    client, worker = server.connect(), server.connect()
    for f, state in ((b"f", "failed"), (b"g1", "queued")):
        handle = client.submit(SUBMIT_JOB_BG, f, b"", b"")
        take(worker, handle, f)
        worker.send(WORK_FAIL, handle)
        worker.expect_nothing()
        assert client.show(handle)["state"] == state


def test_a_backoff_outlives_a_crash(start_server: StartServer, config: Path) -> None:
    text = '[functions.f]\nretry_on = ["fail"]\nbackoff = "300ms"\n'
    server = start(start_server, config, text)
    worker = server.connect()
    handle = server.connect().submit(SUBMIT_JOB_BG, b"f", b"u", b"w")
    take(worker, handle)
    worker.send(WORK_FAIL, handle)
    worker.expect_nothing()
    run_at = server.connect().show(handle)["run_at"]
    server.kill()
    server.restart()
    client = server.connect()
    assert client.submit(SUBMIT_JOB_BG, b"f", b"u", b"twin") == handle
    take(server.connect(), handle)
    assert time.time() * 1000 >= run_at == client.show(handle)["run_at"]
    assert faults(server.db) == []


def test_sighup_changes_what_holds(start_server: StartServer, config: Path) -> None:
    server = start(start_server, config, "[functions.f]\nconcurrency = 1\nmax_queue = 3\n")
    client, first, second = server.connect(), server.connect(), server.connect()
    handles = [client.submit(SUBMIT_JOB_BG, b"f", b"", b"") for _ in range(3)]
    assert client.ask(SUBMIT_JOB_BG, b"f", b"", b"")[0] is ERROR
    take(first, handles[0])
    second.send(CAN_DO, b"f")
    second.send(GRAB_JOB)
    second.expect(NO_JOB)
    second.send(PRE_SLEEP)
    second.expect_nothing()
    config.write_text('[functions."?"]\nconcurrency = 2\nretry_on = ["fail"]\n')
    server.signal(signal.SIGHUP)
    second.expect(NOOP)  # one more may run now
    second.send(GRAB_JOB)
    assert second.expect(JOB_ASSIGN)[0] == handles[1]
    first.send(GRAB_JOB)
    first.expect(NO_JOB)
    client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    first.send(WORK_FAIL, handles[0])
    first.expect_nothing()
    assert client.show(handles[0])["state"] == "queued"
    policy = {row["name"]: row for row in client.manage("config", function="f")}
    assert policy["concurrency"]["value"] == 2 and policy["concurrency"]["source"].endswith('[functions."?"]')
    config.write_text("[functions.f]\nconcurrency = -1\n")
    server.signal(signal.SIGHUP)
    server.expect_log("concurrency")
    assert {row["name"]: row["value"] for row in client.manage("config", function="f")}["concurrency"] == 2


def test_a_slot_that_is_free_again_wakes_a_worker(start_server: StartServer, config: Path) -> None:
    server = start(start_server, config, "[functions.f]\nconcurrency = 1\n")
    client, first, second = server.connect(), server.connect(), server.connect()
    handles = [client.submit(SUBMIT_JOB_BG, b"f", b"", b"") for _ in range(2)]
    take(first, handles[0])
    second.send(CAN_DO, b"f")
    second.send(PRE_SLEEP)
    second.expect_nothing()
    first.send(WORK_COMPLETE, handles[0], b"")
    second.expect(NOOP)


def test_a_timeout_of_the_policy(start_server: StartServer, config: Path) -> None:
    server = start(start_server, config, '[functions.f]\ntimeout = "50ms"\nmax_attempts = 2\n')
    client, worker = server.connect(), server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    for _ in range(2):
        take(worker, handle)
    eventually(lambda: client.show(handle)["state"] == "failed", "the second timeout")
    worker.send(WORK_COMPLETE, handle, b"too late")
    worker.expect_nothing()
    job = client.show(handle)
    assert (job["reason"], kinds(job), job["result_size"]) == ("timeout", ["timeout", "timeout"], 0)


def test_late_reports_after_a_cancel_are_taken_silently(start_server: StartServer, config: Path) -> None:
    server = start(start_server, config, '[functions.f]\nretry_on = ["fail", "lost"]\n')
    client, waiting, worker = server.connect(), server.connect(), server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"u", b"w")
    assert waiting.submit(SUBMIT_JOB, b"f", b"u", b"w") == handle
    take(worker, handle)
    assert client.manage("cancel", handles=[handle.decode()])[0]["was"] == "running"
    waiting.expect(WORK_FAIL, handle)
    for kind, more in ((WORK_STATUS, [b"1", b"2"]), (WORK_EXCEPTION, [b"e"]), (WORK_FAIL, []), (WORK_COMPLETE, [b"r"])):
        worker.send(kind, handle, *more)
    worker.expect_nothing()
    waiting.expect_nothing()
    worker.leave()
    job = client.show(handle)
    assert (job["state"], job["reason"], kinds(job), job["attempts"]) == ("cancelled", "cancelled", ["cancel"], 0)


# What the server's own end does


def test_jobs_that_ran_when_the_server_ended(start_server: StartServer, config: Path) -> None:
    text = '[functions.once]\non_restart = "hold"\n'
    server = start(start_server, config, text, "--max-interruptions=2")
    client, worker = server.connect(), server.connect()
    worker.send(SET_CLIENT_ID, b"me")
    once = client.submit(SUBMIT_JOB_BG, b"once", b"", b"")
    often = client.submit(SUBMIT_JOB_BG, b"often", b"", b"")
    take(worker, once, b"once")
    take(worker, often, b"often")
    client.show(once), client.show(often)  # the assignments are stored
    for interruptions in (1, 2, 3):
        server.kill()
        server.restart()
        client, worker = server.connect(), server.connect()
        job = client.show(often)
        assert (job["interruptions"], job["attempts"]) == (interruptions, 0)
        assert kinds(job) == ["interrupted"] * interruptions
        assert job["state"] == ("held" if interruptions > 2 else "queued")
        if interruptions <= 2:
            take(worker, often, b"often")
            client.show(often)
    job = client.show(once)
    assert (job["state"], job["reason"], job["interruptions"], kinds(job)) == (
        "held", "interrupted", 1, ["interrupted"]
    )  # fmt: skip
    assert job["events"][0]["worker"] == "me" and job["events"][0]["started_at"]
    client.manage("release", handles=[once.decode(), often.decode()])
    take(worker, once, b"once")
    worker.send(WORK_COMPLETE, once, b"")
    worker.expect_nothing()
    job = client.show(once)
    assert (job["state"], job["attempts"], job["interruptions"], kinds(job)) == (
        "done",
        1,
        1,
        ["interrupted", "release"],
    )
    assert faults(server.db) == []


def test_what_happened_is_told_over_restarts(start_server: StartServer, config: Path) -> None:
    server = start(start_server, config, '[functions.f]\nretry_on = ["fail", "lost"]\nmax_attempts = 2\n')
    client, worker = server.connect(), server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"", b"w")
    take(worker, handle)
    worker.leave()
    worker = server.connect()
    take(worker, handle)
    client.show(handle)
    server.kill()
    server.restart()
    client, worker = server.connect(), server.connect()
    take(worker, handle)
    worker.send(WORK_FAIL, handle)
    worker.expect_nothing()
    client.manage("retry", handles=[handle.decode()], delay=3_600_000)
    client.manage("hold", handles=[handle.decode()])
    client.manage("cancel", handles=[handle.decode()])
    copy = client.manage("replay", handles=[handle.decode()])[0]["replay"]
    server.kill()
    server.restart()
    client = server.connect()
    job = client.show(handle)
    assert kinds(job) == ["lost", "interrupted", "fail", "retry", "hold", "cancel", "replay"]
    assert (job["attempts"], job["interruptions"], job["client"]) == (2, 1, "127.0.0.1")
    assert [event["at"] for event in job["events"]] == sorted(event["at"] for event in job["events"])
    assert job["events"][-1]["replay"] == job["replayed_as"] == copy
    assert client.show(copy.encode())["replay_of"] == handle.decode()
    assert faults(server.db) == []


# What operators set


@pytest.mark.parametrize("everything", [False, True])
def test_a_pause_outlives_a_crash(start_server: StartServer, everything: bool) -> None:
    server = start_server()
    client = server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    among = {} if everything else {"function": "f"}
    (before,) = client.manage("pause", **among)
    assert before["function"] == (None if everything else "f") and before["paused_until"] is None
    server.kill()
    server.restart()
    client, worker = server.connect(), server.connect()
    (hello,) = client.manage("hello")
    assert hello["paused_at"] == (before["paused_at"] if everything else None)
    worker.send(CAN_DO, b"f")
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    (after,) = client.manage("resume", **among)
    assert after == {**before, "paused_at": None}
    worker.expect(NOOP)
    worker.send(GRAB_JOB)
    assert worker.expect(JOB_ASSIGN)[0] == handle
    server.kill()
    server.restart()
    assert server.connect().manage("hello")[0]["paused_at"] is None
    take(server.connect(), handle)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("everything", [False, True])
def test_a_pause_ends_by_itself(start_server: StartServer, everything: bool, killed: bool) -> None:
    server = start_server()
    client = server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    until = int(time.time() * 1000) + 500
    (row,) = client.manage("pause", until=until, **({} if everything else {"function": "f"}))
    assert row["paused_until"] == until
    if killed:
        server.kill()
        server.restart()
    worker = server.connect()
    worker.send(CAN_DO, b"f")
    worker.send(PRE_SLEEP)
    worker.expect(NOOP)
    assert time.time() * 1000 >= until
    worker.send(GRAB_JOB)
    assert worker.expect(JOB_ASSIGN)[0] == handle


def test_pauses_by_glob(start_server: StartServer) -> None:
    server = start_server()
    client = server.connect()
    for f in (b"mail1", b"mail2", b"other"):
        client.submit(SUBMIT_JOB_BG, f, b"", b"")
    assert [row["function"] for row in client.manage("pause", function="mail*")] == ["mail1", "mail2"]
    assert [row["function"] for row in client.manage("resume", function="*[0-9]")] == ["mail1", "mail2"]
    assert client.refused("pause", function="no*") == "ERR not_found no function matches no*"
    assert [row["function"] for row in client.manage("pause", function="not yet")] == ["not yet"]
    handle = client.submit(SUBMIT_JOB_BG, b"not yet", b"", b"")
    worker = server.connect()
    worker.send(CAN_DO, b"not yet")
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    client.manage("resume", function="not yet")
    worker.send(GRAB_JOB)
    assert worker.expect(JOB_ASSIGN)[0] == handle
    assert client.manage("pause")[0]["running"] == 1
    assert client.refused("pause", until=1).startswith("ERR usage until")
    assert client.refused("pause", function="x" * 513).startswith("ERR usage Function name too large")


def test_maxqueue_outlives_a_restart_and_wins_over_the_policy(start_server: StartServer, config: Path) -> None:
    server = start(start_server, config, "[functions.f]\nmax_queue = 1\n")
    client = server.connect()
    client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    assert client.ask(SUBMIT_JOB_BG, b"f", b"", b"")[0] is ERROR
    assert client.text(b"maxqueue f 2") == b"OK\r\n"
    client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    for end in ("kill", "terminate"):
        getattr(server, end)()
        server.restart()
        client = server.connect()
        assert client.ask(SUBMIT_JOB_BG, b"f", b"", b"")[0] is ERROR
    assert client.text(b"maxqueue f") == b"OK\r\n"  # no limit, also not that of the policy
    client.send(SUBMIT_JOB_BG, b"f", b"", b"")
    client.expect(JOB_CREATED)


# Causes


def test_failures_by_cause(start_server: StartServer) -> None:
    server = start_server()
    client, worker = server.connect(), server.connect()
    errors = [(b"f", b"order 1 is wrong"), (b"f", b"order 22 is wrong\nat 0x7f"), (b"g", b"order 333 is wrong")]
    errors += [(b"g", b"no such host"), (b"g", b"\xff\x1b[2J")]
    handles = []
    for f, error in errors:
        handles.append(client.submit(SUBMIT_JOB_BG, f, b"", b""))
        take(worker, handles[-1], f)
        worker.send(WORK_EXCEPTION, handles[-1], error)
        worker.expect_nothing()
    causes = client.manage("failures")
    assert [(row["jobs"], row["text"]) for row in causes][0] == (3, "order # is wrong")
    assert sorted(row["text"] for row in causes[1:]) == sorted(["no such host", "\udcff\x1b[#J"])
    first = causes[0]
    assert first["functions"] == {"f": 2, "g": 1} and first["reason"] == "exception"
    assert first["first_at"] == client.show(handles[0])["ended_at"] <= first["last_at"]
    assert [row["jobs"] for row in client.manage("failures", function="f")] == [2]
    assert client.manage("failures", function="none") == []
    found = client.manage("jobs", cause=first["cause"], order="oldest")
    assert [job["handle"].encode() for job in found] == handles[:3]
    both = client.manage("jobs", cause=[row["cause"] for row in causes[:2]])
    assert len(both) == 4
    assert client.refused("jobs", cause="zz").startswith("ERR usage")
    assert client.refused("jobs", cause="12").startswith("ERR usage")
    free = next(
        digits for digits in ("000", "fff", "abc", "123") if not any(c["cause"].startswith(digits) for c in causes)
    )
    assert client.refused("retry", cause=free).startswith("ERR not_found no cause begins with")
    assert client.manage("retry", cause=first["cause"])[-1]["changed"] == 3
    assert [row["jobs"] for row in client.manage("failures")] == [1, 1]
    assert client.manage("jobs", cause=first["cause"]) == []
    server.kill()
    assert faults(server.db) == []
