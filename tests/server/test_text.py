"""The text protocol byte for byte: section 5 of the behaviour reference, item 16 of its checklist."""

import re

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    GRAB_JOB,
    JOB_ASSIGN,
    NO_JOB,
    SET_CLIENT_ID,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    SUBMIT_JOB_HIGH,
    SUBMIT_JOB_HIGH_BG,
    SUBMIT_JOB_LOW_BG,
    WORK_COMPLETE,
    WORK_FAIL,
    PacketType,
)
from tests.server.process import Server, StartServer
from tests.server.wire import Connect, Wire

INCOMPLETE = b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+%s\r\n"
UNKNOWN = b"ERR UNKNOWN_COMMAND Unknown+server+command%s\r\n"


# Lines


@pytest.mark.parametrize(
    "line",
    [
        b"verbose\n",
        b"verbose\r\n",
        b"VERBOSE\n",
        b"VerBose\r\n",
        b"verbose   \n",
        b"verbose a b c d\n",
        b"verbose\0x\n",
    ],
)
def test_16_ways_to_write_a_line(client: Wire, line: bytes) -> None:
    client.send_bytes(line)
    assert client.line() == b"OK INFO\n"
    client.expect_nothing()


@pytest.mark.parametrize("word", [b"shutdown", b"", b"STATUSES", b"status\t", b"\tstatus", b"\xff\xfe", b"x" * 8000])
def test_16_unknown_words(client: Wire, word: bytes) -> None:
    assert client.text(word) == UNKNOWN % word
    assert client.text(word + b" graceful") == UNKNOWN % word
    client.expect_nothing()


def test_16_a_leading_space_makes_the_first_word_empty(client: Wire) -> None:
    assert client.text(b" status") == UNKNOWN % b""


def test_16_more_than_five_words(client: Wire) -> None:
    """gearmand closes the connection."""
    for line in (b"status a b c d e", b"maxqueue f 1 2 3 4", b"x x x x x x"):
        assert client.text(line) == b"ERR INVALID_ARGUMENTS Too+many+arguments\r\n"
    client.expect_nothing()


def test_16_a_carriage_return_ends_no_line(client: Wire) -> None:
    client.send_bytes(b"verbose\r")
    client.send_bytes(b"\n")
    assert client.line() == b"OK INFO\n"
    client.send_bytes(b"ver\rbose\n")
    assert client.line() == UNKNOWN % b"ver\rbose"


def test_16_lines_may_be_pipelined(client: Wire) -> None:
    client.send_bytes(b"verbose\nnonsense\r\nshow\nversion\n" * 300)
    for _ in range(300):
        assert client.line() == b"OK INFO\n"
        assert client.line() == UNKNOWN % b"nonsense"
        assert client.line() == UNKNOWN % b"show"
        assert client.line().startswith(b"OK 1.1.20")


# Values


def test_16_version_verbose_getpid(server: Server, client: Wire) -> None:
    assert re.fullmatch(rb"OK 1\.1\.20\+gearstore[0-9.a-z]+\n", client.text(b"version"))
    assert client.text(b"verbose") == b"OK INFO\n"
    assert client.text(b"getpid") == b"OK %d\n" % server.pid


# Lists


def test_16_status_of_a_new_server(start_server: StartServer) -> None:
    client = start_server().connect()
    for command in (b"status", b"prioritystatus", b"show jobs", b"show unique jobs"):
        assert client.text(command) == b".\n"
    fd = re.fullmatch(rb"(\d+) 127\.0\.0\.1 - :\n\.\n", client.text(b"workers"))
    assert fd and int(fd[1]) > 2


def test_16_all_lists(start_server: StartServer) -> None:
    server = start_server()
    client, worker = server.connect(), server.connect()
    normal = client.submit(SUBMIT_JOB_BG, b"alpha", b"one", b"")
    high = client.submit(SUBMIT_JOB_HIGH, b"alpha", b"two", b"")
    low = client.submit(SUBMIT_JOB_LOW_BG, b"alpha", b"", b"")
    delayed = client.submit(SUBMIT_JOB_EPOCH, b"alpha", b"four", b"9999999999", b"")
    by_data = client.submit(SUBMIT_JOB_HIGH_BG, b"beta", b"-", b"data")
    client.text(b"create function gamma")
    worker.send(SET_CLIENT_ID, b"somebody")
    worker.send(CAN_DO, b"alpha")
    worker.send(CAN_DO, b"delta")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, high, b"alpha", b"")
    assert client.text(b"status") == b"alpha\t4\t1\t1\nbeta\t1\t0\t0\ndelta\t0\t0\t1\ngamma\t0\t0\t0\n.\n"
    assert client.text(b"prioritystatus") == (
        b"alpha\t0\t2\t1\t1\nbeta\t1\t0\t0\t0\ndelta\t0\t0\t0\t1\ngamma\t0\t0\t0\t0\n.\n"
    )
    rows = [b"%s\t0\t0\t%d\n" % (handle, handle != high) for handle in (normal, high, low, delayed, by_data)]
    assert client.text(b"show jobs") == b"".join(rows) + b".\n"
    assert client.text(b"SHOW JOBS") == client.text(b"show jobs")
    assert client.text(b"show unique jobs") == b"one\ntwo\n\nfour\n-\n.\n"
    assert re.fullmatch(
        rb"\d+ 127\.0\.0\.1 - :\n\d+ 127\.0\.0\.1 somebody : delta alpha\n\.\n", client.text(b"workers")
    )
    # A function never goes away by itself
    worker.send(WORK_COMPLETE, high, b"")
    worker.leave()
    assert client.expect(WORK_COMPLETE) == [high, b""]
    assert b"delta\t0\t0\t0\n" in client.text(b"status")


def test_16_names_that_would_break_a_line_are_cleaned(client: Wire, worker: Wire, f: bytes) -> None:
    worker.send(CAN_DO, f + b"\tb\nc\x7f")
    worker.expect_nothing()
    assert [row for row in client.rows(b"status") if row[0].startswith(f)] == [[f + b"?b?c?", b"0", b"0", b"1"]]


def test_16_show_otherwise(client: Wire) -> None:
    assert client.text(b"show") == UNKNOWN % b"show"
    for what in (b"job", b"unique", b"nothing", b"unique job", b"jobs unique"):
        assert client.text(b"show " + what) == b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"


def test_16_a_long_list_comes_in_one_write(client: Wire, f: bytes) -> None:
    """gearadmin reads until nothing comes for 5 ms."""
    for n in range(300):
        client.submit(SUBMIT_JOB, f, b"%d" % n, b"")
    client.send_bytes(b"show jobs\r\n")
    answer = client.table()
    assert answer.count(b"\n") >= 301
    assert not client.buffer


# cancel job


def test_16_cancel_a_queued_job(connect: Connect, worker: Wire, f: bytes) -> None:
    admin, client, other = connect(), connect(), connect()
    handle = client.submit(SUBMIT_JOB, f, b"u", b"")
    assert other.submit(SUBMIT_JOB, f, b"u", b"") == handle
    assert admin.text(b"cancel job " + handle) == b"OK\r\n"
    for listener in (client, other):
        listener.expect(WORK_FAIL, handle)
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    assert admin.text(b"cancel job " + handle) == b"ERR UNKNOWN_JOB\r\n"
    assert admin.status(f) == (0, 0, 1)


@pytest.mark.parametrize("kind", [SUBMIT_JOB, SUBMIT_JOB_BG], ids=lambda kind: kind.name)
def test_16_cancel_a_running_job(connect: Connect, worker: Wire, f: bytes, kind: PacketType) -> None:
    admin, client = connect(), connect()
    handle = client.submit(kind, f, b"", b"")
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"")
    assert admin.text(b"CANCEL JOB " + handle) == b"OK\r\n"
    if kind is SUBMIT_JOB:
        client.expect(WORK_FAIL, handle)
    worker.expect_nothing()
    worker.send(WORK_COMPLETE, handle, b"late")  # gearmand forwards it after the WORK_FAIL
    worker.expect_nothing()
    client.expect_nothing()
    if kind is SUBMIT_JOB_BG:
        job = admin.show(handle)
        assert (job["state"], job["reason"], job["result_size"]) == ("cancelled", "cancelled", 0)


def test_16_cancel_a_delayed_job(client: Wire, f: bytes) -> None:
    handle = client.submit(SUBMIT_JOB_EPOCH, f, b"", b"9999999999", b"")
    assert client.text(b"cancel job " + handle) == b"OK\r\n"
    assert client.status(f) == (0, 0, 0)
    assert client.show(handle)["state"] == "cancelled"


def test_16_cancel_otherwise(client: Wire) -> None:
    for words in (b"", b" job"):
        assert client.text(b"cancel" + words) == UNKNOWN % b"cancel"
    for words in (b" x y", b" job H:x:1 more", b" H:x:1", b" jobs H:x:1"):
        assert client.text(b"cancel" + words) == b"ERR UNKNOWN_ERROR\r\n"
    for handle in (b"H:x:1", b"x", b"H:vm:999999999999", b"\xff" * 100):
        assert client.text(b"cancel job " + handle) == b"ERR UNKNOWN_JOB\r\n"


# create and drop function


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_16_create_function(client: Wire, f: bytes, end: bytes) -> None:
    for _ in range(2):
        client.send_bytes(b"create function " + f + end)
        assert client.line() == b"OK\r\n"
    assert client.status(f) == (0, 0, 0)


def test_16_create_a_function_with_too_long_a_name(client: Wire) -> None:
    assert client.text(b"create function " + b"f" * 513) == b"ERR ARGUMENT_TOO_LARGE Function+name+too+large\r\n"
    client.expect_nothing()


@pytest.mark.parametrize("command", [b"create", b"drop"])
@pytest.mark.parametrize("words", [b"", b" function", b" x y", b" function a b", b" functions a"])
def test_16_create_and_drop_otherwise(client: Wire, command: bytes, words: bytes) -> None:
    assert client.text(command + words) == INCOMPLETE % command


def test_16_drop_function(connect: Connect, f: bytes) -> None:
    client, worker = connect(), connect()
    in_use = b"ERR there are still connected workers or executing clients\r\n"
    unknown = b"ERR function not found\r\n"
    drop = b"drop function " + f
    assert client.text(drop) == unknown
    worker.send(CAN_DO, f)
    worker.expect_nothing()
    assert client.text(drop) == in_use
    handle = client.submit(SUBMIT_JOB_BG, f, b"", b"w")
    worker.leave()
    assert client.text(drop) == in_use  # gearmand: orphans its jobs
    assert client.text(b"drop function " + f.upper()) == unknown
    worker = connect()
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"w")
    worker.send(PacketType.CANT_DO, f)
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"w")
    worker.send(WORK_COMPLETE, handle, b"")
    worker.leave()
    assert client.text(drop) == b"OK\r\n"
    assert client.status(f) is None
    assert client.text(drop) == unknown
    client.submit(SUBMIT_JOB_BG, f, b"", b"")
    assert client.status(f) == (1, 0, 0)


# maxqueue


@pytest.mark.parametrize(
    ("numbers", "limits"),
    [
        (b"", (0, 0, 0)),
        (b" 2", (2, 2, 2)),
        (b" 1 2", (1, 2, 0)),
        (b" 1 2 3", (1, 2, 3)),
        (b" 0", (0, 0, 0)),
        (b" -1", (0, 0, 0)),
        (b" x", (0, 0, 0)),
        (b" 99999999999999999999", (0, 0, 0)),
    ],
)
def test_16_maxqueue(client: Wire, f: bytes, numbers: bytes, limits: tuple[int, int, int]) -> None:
    kinds = (SUBMIT_JOB_HIGH, SUBMIT_JOB, PacketType.SUBMIT_JOB_LOW)
    for kind, limit in zip(kinds, limits, strict=True):
        name = f + kind.name.encode()
        client.text(b"create function " + name)
        assert client.text(b"maxqueue %s 1" % name) == b"OK\r\n"  # what is set here is replaced
        assert client.text(b"maxqueue " + name + numbers) == b"OK\r\n"
        for n in range(5):
            answer, content = client.ask(kind, name, b"", b"")
            if limit and n >= limit:
                assert (answer, content) == (PacketType.ERROR, b"QUEUE_ERROR\0Job queue is full")
            else:
                assert answer is PacketType.JOB_CREATED


def test_16_maxqueue_of_an_unknown_function(client: Wire, f: bytes) -> None:
    assert client.text(b"maxqueue %s 1" % f) == b"OK\r\n"
    assert client.status(f) is None
    for _ in range(3):
        client.submit(SUBMIT_JOB_BG, f, b"", b"")


def test_16_maxqueue_alone(client: Wire) -> None:
    assert client.text(b"maxqueue") == INCOMPLETE % b"maxqueue"
