"""What a client says, and what an answer belongs to; bytes only."""

import asyncio
import json

import pytest

from gearstore.client.core import (
    Exchange,
    Handle,
    JobStatus,
    checked_line,
    encode_request,
    manage_request,
    number,
    row_of,
    status_of,
    submit_request,
)
from gearstore.client.errors import ClientError, JobException, NotGearstore, Refused, Unreachable
from gearstore.errors import ProtocolError
from gearstore.protocol.packets import (
    ECHO_RES,
    ERROR,
    JOB_CREATED,
    NOOP,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    SUBMIT_JOB_HIGH,
    SUBMIT_JOB_HIGH_BG,
    SUBMIT_JOB_LOW,
    SUBMIT_JOB_LOW_BG,
    SUBMIT_JOB_SCHED,
    SUBMIT_REDUCE_JOB,
    SUBMIT_REDUCE_JOB_BACKGROUND,
    WORK_COMPLETE,
    WORK_DATA,
    WORK_FAIL,
    request,
)


@pytest.mark.parametrize(
    ("settings", "packet"),
    [
        ({}, request(SUBMIT_JOB, b"f", b"", b"w")),
        ({"priority": "high"}, request(SUBMIT_JOB_HIGH, b"f", b"", b"w")),
        ({"priority": "low"}, request(SUBMIT_JOB_LOW, b"f", b"", b"w")),
        ({"background": True, "unique": b"u\xff"}, request(SUBMIT_JOB_BG, b"f", b"u\xff", b"w")),
        ({"background": True, "priority": "high"}, request(SUBMIT_JOB_HIGH_BG, b"f", b"", b"w")),
        ({"background": True, "priority": "low"}, request(SUBMIT_JOB_LOW_BG, b"f", b"", b"w")),
        ({"background": True, "at": 1_800_000_000}, request(SUBMIT_JOB_EPOCH, b"f", b"", b"1800000000", b"w")),
        (
            {"background": True, "schedule": "30 4 * * 0"},
            request(SUBMIT_JOB_SCHED, b"f", b"", b"30", b"4", b"", b"", b"0", b"w"),
        ),
        ({"reducer": "r"}, request(SUBMIT_REDUCE_JOB, b"f", b"", b"r", b"", b"w")),
        (
            {"background": True, "reducer": "r"},
            request(SUBMIT_REDUCE_JOB_BACKGROUND, b"f", b"", b"r", b"", b"w"),
        ),
    ],
)
def test_every_kind_of_submit_has_its_packet(settings: dict[str, object], packet: bytes) -> None:
    assert submit_request("f", b"w", **settings) == packet  # type: ignore[arg-type]


def test_names_are_text_or_bytes() -> None:
    assert submit_request("é", "ü\0", "\udcff") == request(SUBMIT_JOB, "é".encode(), b"\xff", "ü\0".encode())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"function": "a\0b"}, "function's name can't hold a NUL"),
        ({"unique": b"a\0"}, "unique can't hold a NUL"),
        ({"reducer": "a\0"}, "reducer's name can't hold a NUL"),
        ({"priority": "urgent"}, "urgent"),
        ({"at": 1, "priority": "high"}, "no priority"),
        ({"reducer": "r", "priority": "low"}, "no priority"),
        ({"at": 1, "schedule": "* * * * *"}, "exclude each other"),
        ({"schedule": "* * * *"}, "five numbers"),
        ({"schedule": "*/5 * * * *"}, "five numbers"),
    ],
)
def test_what_can_not_be_said(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        submit_request(**{"function": "f", "workload": b"", "background": True} | settings)  # type: ignore[arg-type]


def test_a_management_request_is_one_word_after_the_verb() -> None:
    line = manage_request("jobs", {"error": "no such\nfile", "unique": "\udcff"})
    assert line == b'gearstore jobs {"error":"no\\u0020such\\nfile","unique":"\\udcff"}'
    assert json.loads(encode_request({"a": "b c"})) == {"a": "b c"}


def test_a_status_is_read_leniently() -> None:
    assert status_of([b"H:h:1", b"1", b"0", b"5", b"x"]) == JobStatus(True, False, 5, 0)
    assert status_of([b"u", b"1", b"1", b"", b"10", b"3"]) == JobStatus(True, True, 0, 10, 3)
    assert number(b"-1") == 0


def test_a_line_of_a_list_is_a_row_an_error_or_the_end() -> None:
    assert checked_line(b".\n", "s") is None
    assert checked_line(b"ERR x\t1\t0\t0\n", "s") == b"ERR x\t1\t0\t0\n"
    with pytest.raises(NotGearstore, match="the server at s is not gearstore"):
        checked_line(b"ERR UNKNOWN_COMMAND Unknown+server+command\r\n", "s")
    with pytest.raises(Refused, match="^no such job$") as refused:
        checked_line(b"ERR not_found no such job\n", "s")
    assert refused.value.code == "not_found"


def test_a_handle_is_text_that_knows_its_server() -> None:
    handle = Handle("H:h:1", "127.0.0.1:4730")
    assert (handle, handle.server) == ("H:h:1", "127.0.0.1:4730")
    assert {handle: 1}["H:h:1"] == 1


def test_an_exception_is_text_if_it_can_be() -> None:
    error = JobException(b"caf\xc3\xa9 \xff")
    assert (error.data, error.text, str(error)) == (b"caf\xc3\xa9 \xff", "café \udcff", "café \udcff")
    assert str(JobException()) == "the job failed with an empty message"


# Which answer belongs to what


class Listener:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def report(self, kind: int, pieces: list[bytes]) -> None:
        self.heard.append((kind, pieces[-1]))

    def lose(self, error: ClientError) -> None:
        self.heard.append(error)


class Conversation:
    """An exchange, and what it complained about."""

    def __init__(self) -> None:
        self.complaints: list[Refused] = []
        self.exchange = Exchange(self.complaints.append)

    def ask(self, kind: int, listener: Listener | None = None) -> "asyncio.Future[list[bytes]]":
        waiter: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self.exchange.expect(kind, waiter, listener)
        return waiter


async def test_answers_come_in_the_order_of_the_requests() -> None:
    talk = Conversation()
    waiters = [talk.ask(JOB_CREATED), talk.ask(JOB_CREATED), talk.ask(ECHO_RES)]
    talk.exchange.receive(JOB_CREATED, [b"H:h:1"])
    talk.exchange.receive(NOOP, [b""])
    talk.exchange.receive(ERROR, [b"QUEUE_ERROR", b"full"])
    talk.exchange.receive(ECHO_RES, [b"x"])
    assert waiters[0].result() == [b"H:h:1"]
    assert str(waiters[1].exception()) == "QUEUE_ERROR: full"
    assert waiters[2].result() == [b"x"]
    assert talk.exchange.idle


async def test_an_answer_to_nothing() -> None:
    talk = Conversation()
    talk.exchange.receive(ERROR, [b"JOB_NOT_FOUND", b"text"])
    assert [error.code for error in talk.complaints] == ["JOB_NOT_FOUND"]
    with pytest.raises(ProtocolError, match="answers nothing"):
        talk.exchange.receive(ECHO_RES, [b""])
    talk.ask(ECHO_RES)
    with pytest.raises(ProtocolError, match="answers nothing"):
        talk.exchange.receive(JOB_CREATED, [b"H:h:1"])


async def test_who_gave_up_does_not_disturb_the_order() -> None:
    talk = Conversation()
    given_up, job = talk.ask(JOB_CREATED, Listener()), Listener()
    given_up.cancel()
    waiter = talk.ask(JOB_CREATED, job)
    for handle in (b"H:h:1", b"H:h:2"):
        talk.exchange.receive(JOB_CREATED, [handle])
        talk.exchange.receive(WORK_COMPLETE, [handle, handle])
    assert waiter.result() == [b"H:h:2"]
    assert job.heard == [(WORK_COMPLETE, b"H:h:2")]
    assert talk.exchange.idle


async def test_each_listener_of_a_job_gets_its_copy() -> None:
    talk = Conversation()
    first, second = Listener(), Listener()
    for listener in (first, second):
        talk.ask(JOB_CREATED, listener)
        talk.exchange.receive(JOB_CREATED, [b"H:h:1"])
    for data in (b"a", b"a", b"a", b"a"):  # the worker sent it twice
        talk.exchange.receive(WORK_DATA, [b"H:h:1", data])
    for _ in range(2):
        talk.exchange.receive(WORK_FAIL, [b"H:h:1\0"])
    assert first.heard == second.heard == [(WORK_DATA, b"a"), (WORK_DATA, b"a"), (WORK_FAIL, b"H:h:1\0")]
    assert talk.exchange.idle


async def test_a_lost_connection_is_told_to_all() -> None:
    talk = Conversation()
    job = Listener()
    talk.ask(JOB_CREATED, job)
    talk.exchange.receive(JOB_CREATED, [b"H:h:1"])
    waiter, error = talk.ask(ECHO_RES), Unreachable("gone")
    talk.exchange.lose(error)
    assert waiter.exception() is error
    assert job.heard == [error]
    assert talk.exchange.idle


@pytest.mark.parametrize("line", [b"not JSON\n", b"5\n", b"[]\n", b"null\n", b"[" * 100_000 + b"\n"])
def test_a_row_that_is_no_object(line: bytes) -> None:
    with pytest.raises(Unreachable, match="does not speak Gearman"):
        row_of(line, "s")
    assert row_of(b'{"a": 1}\n', "s") == {"a": 1}
