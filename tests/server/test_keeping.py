"""The verbs export and import: what they take, refuse and join, and that every job comes in once."""

from __future__ import annotations

import json
import time
from typing import Any

from gearstore.protocol.packets import (
    CAN_DO,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN_UNIQ,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
)
from tests.server.process import StartServer, eventually
from tests.server.wire import Connect, Wire


def job(f: bytes, number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return a job of another server."""
    return {"handle": f"H:there:{number:012}", "function": f.decode(), **fields}


def bring(client: Wire, *jobs: Any) -> list[str]:
    """Import jobs and return in one word each what became of them."""
    *lines, totals = client.manage("import", jobs=list(jobs))
    words = [next(word for word in totals if word in line) for line in lines]
    assert {word: words.count(word) for word in totals} == totals
    return words


def test_a_worker_gets_what_was_imported(client: Wire, worker: Wire, f: bytes) -> None:
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    (line, _) = client.manage("import", jobs=[job(f, unique="u", workload="AAE=", priority="high")])
    worker.expect(NOOP)
    worker.send(GRAB_JOB_UNIQ)
    assert worker.expect(JOB_ASSIGN_UNIQ) == [line["imported"].encode(), f, b"u", b"\0\1"]


def test_what_is_due_later_is_run_later(client: Wire, worker: Wire, f: bytes) -> None:
    due = round(time.time() * 1000) + 300
    assert bring(client, job(f, state="delayed", run_at=due), job(f, 2, state="delayed", run_at=1)) == ["imported"] * 2
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB_UNIQ)
    assert worker.expect(JOB_ASSIGN_UNIQ)[1] == f  # the one whose time is over
    worker.send(GRAB_JOB_UNIQ)
    worker.expect(NO_JOB)
    worker.send(PRE_SLEEP)
    worker.expect(NOOP)
    assert time.time() * 1000 >= due - 20


def test_once(client: Wire, f: bytes) -> None:
    one, same, other = job(f, workload="eA=="), job(f, workload="eA=="), job(f, workload="eQ==")
    assert bring(client, one, same, other) == ["imported", "known", "imported"]
    assert bring(client, one, same, other) == ["known"] * 3
    assert client.status(f) == (2, 0, 0)


def test_history_comes_along(client: Wire, f: bytes) -> None:
    event = {"at": 5, "kind": "timeout", "started_at": 4, "worker": "w", "error": "slow", "next_at": 6}
    failed = job(
        f, state="failed", attempts=3, interruptions=1, created_at=3, started_at=7, ended_at=8, reason="exception",
        error="boom 17", worker="w", client="10.0.0.1", events=[event],
    )  # fmt: skip
    (line, _) = client.manage("import", jobs=[failed])
    shown = client.show(line["imported"].encode())
    for key in (
        "state",
        "attempts",
        "interruptions",
        "created_at",
        "started_at",
        "ended_at",
        "reason",
        "error",
        "client",
    ):
        assert shown[key] == failed[key]
    assert [{key: found[key] for key in event} for found in shown["events"]] == [event]
    assert shown["origin"] == failed["handle"]
    (cause,) = client.manage("failures", function=f.decode())
    assert (cause["text"], cause["jobs"]) == ("boom #", 1)
    client.manage("retry", handles=[line["imported"]])
    assert client.status(f) == (1, 0, 0)
    (exported,) = client.manage("export", function=f.decode())
    assert [found["kind"] for found in exported["events"]] == ["timeout", "retry"]


def test_a_foreground_job_that_is_joined_is_stored(client: Wire, connect: Connect, f: bytes) -> None:
    waiting = connect()
    waiting.send(SUBMIT_JOB, f, b"u", b"w")
    (handle,) = waiting.expect(JOB_CREATED)
    (line, _) = client.manage("import", jobs=[job(f, unique="u")])
    assert line["joined"] == handle.decode()
    assert client.show(handle)["background"] is True


def next_job(worker: Wire) -> bytes:
    """Return the handle of the next job, asleep while it is read back from disk."""
    while (answer := worker.ask(GRAB_JOB_UNIQ))[0] is NO_JOB:
        worker.send(PRE_SLEEP)
        worker.expect(NOOP)
    assert answer[0] is JOB_ASSIGN_UNIQ
    return answer[1].split(b"\0", 1)[0]


def test_a_job_on_disk_that_is_joined(start_server: StartServer) -> None:
    """Its unique is only in a row: the submit is looked up in the batch's own transaction."""
    server = start_server("--window=16")
    client, worker = server.connect(), server.connect()
    handles = [client.submit(SUBMIT_JOB_BG, b"f", b"u%d" % n, b"w") for n in range(60)]
    there = {"handle": "H:there:1", "function": "f", "unique": "u50"}
    (line, _) = client.manage("import", jobs=[there])
    assert line["joined"] == handles[50].decode()
    worker.send(CAN_DO, b"f")
    for handle in handles:
        assert next_job(worker) == handle
        worker.send(WORK_COMPLETE, handle, b"")
    worker.expect_nothing()
    (line, _) = client.manage("import", jobs=[there])
    assert line["known"] == handles[50].decode()
    server.kill()
    server.restart()
    (line, _) = server.connect().manage("import", jobs=[there])
    assert line["known"] == handles[50].decode()


def test_a_full_queue(client: Wire, f: bytes) -> None:
    assert client.text(b"create function %s" % f) and client.text(b"maxqueue %s 1" % f) == b"OK\r\n"
    assert bring(client, job(f, 1), job(f, 2), job(f, 3, state="failed")) == ["imported", "refused", "imported"]
    client.text(b"maxqueue %s 0" % f)
    assert bring(client, job(f, 2)) == ["imported"]


def test_what_is_no_job(client: Wire, f: bytes) -> None:
    wrong = [
        7, [], {}, job(f, function=3), job(b"x" * 513), job(f, unique="u" * 65), job(f, unique="u" * 65, state="done"),
        job(f, workload="!"), job(f, workload=5), job(f, state="lost"), job(f, priority=3), job(f, created_at=-1),
        job(f, created_at=True), job(f, attempts=1 << 63), job(f, events=3), job(f, events=[3]),
        job(f, events=[{"at": 1}]), job(f, unique="\ud800"), job(f, intact=False), job(f, handle="\ud800"),
    ]  # fmt: skip
    assert bring(client, *wrong) == ["refused"] * len(wrong)
    assert client.manage("jobs", function=f.decode()) == []


def test_requests_that_make_no_sense(client: Wire) -> None:
    assert "jobs is list" in client.refused("import", jobs=7)
    assert "more than 1000" in client.refused("import", jobs=[1] * 1001)
    assert "no key 'job'" in client.refused("import", job={})
    assert client.manage("import", jobs=[])[-1] == {"imported": 0, "joined": 0, "known": 0, "refused": 0}


def in_pieces(client: Wire, text: str, size: int) -> list[dict[str, Any]]:
    """Import a job by its JSON text, so many characters at a time."""
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    for piece in pieces[:-1]:
        assert client.manage("import", piece=piece) == []
    return client.manage("import", piece=pieces[-1], end=True)


def test_pieces_of_two_connections_do_not_mix(client: Wire, connect: Connect, f: bytes) -> None:
    other, third = connect(), connect()
    client.manage("import", piece='{"function": "')
    other.manage("import", piece='{"function": "')
    third.manage("import", piece="never ended")
    third.leave()
    client.manage("import", piece=f'{f.decode()}"}}', end=True)
    other.manage("import", piece=f'{f.decode()}", "unique": "u"}}', end=True)
    assert [found["unique"] for found in client.manage("jobs", function=f.decode(), order="oldest")] == ["", "u"]
    assert "the pieces are not JSON" in client.manage_raw(b'gearstore import {"piece":"{","end":true}')[1]
    assert in_pieces(client, json.dumps(job(f, 9)), 7)[0]["origin"] == "H:there:000000000009"


def test_a_job_larger_than_any_packet(start_server: StartServer) -> None:
    client = start_server("--max-packet=64K").connect()
    for _ in range(5):
        ended = [client.manage_raw(b'gearstore import {"piece":"%s"}' % (b"x" * 30_000))[1] for _ in range(5)]
        assert [end == "." for end in ended] == [True] * 4 + [False]
        assert "larger than --max-packet" in ended[-1]
    assert client.manage("hello")


def test_an_import_while_the_client_goes_away(client: Wire, connect: Connect, f: bytes) -> None:
    other = connect()
    other.send_bytes(b"gearstore import %s\n" % json.dumps({"jobs": [job(f, n) for n in range(500)]}).encode())
    other.reset()
    jobs = [job(f, n) for n in range(500)]
    eventually(lambda: set(bring(client, *jobs)) == {"known"}, "that all are known")
    assert client.status(f) == (500, 0, 0)
