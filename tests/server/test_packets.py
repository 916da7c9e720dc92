"""Packets as they stand in sections 0, 1 and 6 of the behaviour reference; items 2-5, 13-15 and 18 of its checklist."""

import pytest

from gearstore.protocol.packets import (
    ALL_YOURS,
    CAN_DO,
    CAN_DO_TIMEOUT,
    CANT_DO,
    ECHO_REQ,
    ECHO_RES,
    ERROR,
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
    OPTION_REQ,
    OPTION_RES,
    PRE_SLEEP,
    RESET_ABILITIES,
    SET_CLIENT_ID,
    STATUS_RES,
    STATUS_RES_UNIQUE,
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
UNKNOWN = (b"0", b"0", b"0", b"0")


def running(client: Wire, worker: Wire, f: bytes, unique: bytes = b"") -> bytes:
    """Submit a foreground job, have it taken, return its handle."""
    worker.send(CAN_DO, f)
    handle = client.submit(SUBMIT_JOB, f, unique, b"w")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"w")
    return handle


# Framing


def test_02_a_response_to_the_server_is_an_error(client: Wire) -> None:
    client.send_bytes(packet(ECHO_REQ, b"x", magic=b"\0RES"))
    client.expect(ERROR, b"INVALID_MAGIC", b"Request magic expected")
    client.expect_nothing()


@pytest.mark.parametrize("kind", [5, 6, 8, 10, 11, 17, 19, 20, ALL_YOURS, 27, 31, 40, 42])
def test_03_what_only_a_server_sends_is_not_expected(client: Wire, kind: int) -> None:
    for args in ((), (b"x",), (b"x",) * 7):
        client.send(kind, *args)
        client.expect(ERROR, b"INVALID_COMMAND", b"Command not expected")
    client.expect_nothing()


@pytest.mark.parametrize("data", [b"", b"\0", b"a\0b\0", b"\0REQ\0\0\0\x10", bytes(range(256)) * 1000])
def test_04_an_echo_is_the_same_byte_for_byte(client: Wire, data: bytes) -> None:
    client.send(ECHO_REQ, data)
    client.expect(ECHO_RES, data)
    client.expect_nothing()


def test_04_text_and_packets_in_one_write_are_answered_in_order(client: Wire, f: bytes) -> None:
    client.send_bytes(
        b"create function %s\n" % f
        + packet(ECHO_REQ, b"one")
        + b"getpid x\r\nverbose\n"
        + packet(SUBMIT_JOB_BG, f, b"", b"")
        + b"version\r\n"
        + packet(GET_STATUS, b"H:no")
    )
    assert client.line() == b"OK\r\n"
    client.expect(ECHO_RES, b"one")
    assert client.line().startswith(b"OK ")
    assert client.line() == b"OK INFO\n"
    client.expect(JOB_CREATED)
    assert client.line().startswith(b"OK 1.1.20")
    client.expect(STATUS_RES, b"H:no", *UNKNOWN)
    client.expect_nothing()


def test_answers_come_in_the_order_of_the_requests(client: Wire, f: bytes) -> None:
    client.send_bytes(
        b"".join(packet(SUBMIT_JOB_BG, f, b"", b"%d" % n) for n in range(5))
        + packet(SUBMIT_JOB, f, b"", b"needs no disk")
        + packet(GET_STATUS, b"H:no")
        + packet(ECHO_REQ, b"last")
    )
    handles = [client.expect(JOB_CREATED)[0] for _ in range(6)]
    assert handles == sorted(set(handles))
    client.expect(STATUS_RES, b"H:no", *UNKNOWN)
    client.expect(ECHO_RES, b"last")


def test_a_payload_of_a_command_without_arguments_is_skipped(client: Wire) -> None:
    for kind in (RESET_ABILITIES, PRE_SLEEP):
        client.send(kind, b"pay\0load")
    for kind in (GRAB_JOB, GRAB_JOB_UNIQ, GRAB_JOB_ALL):
        client.send(kind, b"pay\0load")
        client.expect(NO_JOB)
    client.expect_nothing()


def test_a_client_that_closes_its_half_gets_its_answers(client: Wire, f: bytes) -> None:
    client.send_bytes(packet(SUBMIT_JOB_BG, f, b"", b"") + packet(ECHO_REQ, b"x"))
    client.socket.shutdown(1)
    client.expect(JOB_CREATED)
    client.expect(ECHO_RES, b"x")
    client.expect_closed()


# Submit, assign, complete


@pytest.mark.parametrize("kind", SUBMITS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("grab", [GRAB_JOB, GRAB_JOB_UNIQ, GRAB_JOB_ALL], ids=lambda kind: kind.name)
def test_05_a_job_there_and_back(client: Wire, worker: Wire, f: bytes, kind: PacketType, grab: PacketType) -> None:
    client.send(kind, f, b"uniq", b"work\0load\0")
    handle = client.expect(JOB_CREATED)[0]
    assert handle.startswith(b"H:") and handle.rpartition(b":")[2].isdigit() and b"\0" not in handle
    worker.send(CAN_DO, f)
    worker.send(grab)
    if grab is GRAB_JOB:
        worker.expect(JOB_ASSIGN, handle, f, b"work\0load\0")
    else:
        worker.expect(JOB_ASSIGN_UNIQ, handle, f, b"uniq", b"work\0load\0")
    worker.send(WORK_COMPLETE, handle, b"re\0sult\0")
    worker.expect_nothing()
    if kind in (SUBMIT_JOB, SUBMIT_JOB_HIGH, SUBMIT_JOB_LOW):
        client.expect(WORK_COMPLETE, handle, b"re\0sult\0")
    client.expect_nothing()
    worker.send(grab)
    worker.expect(NO_JOB)


@pytest.mark.parametrize("kind", [SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND], ids=lambda kind: kind.name)
@pytest.mark.parametrize("unused", [(b"",), (b"unused",), ()], ids=["four", "four_used", "three"])
def test_05_a_reduce_job_there_and_back(
    client: Wire, worker: Wire, f: bytes, kind: PacketType, unused: tuple[bytes, ...]
) -> None:
    worker.send(CAN_DO, f)
    for grab, wanted in (
        (GRAB_JOB, (JOB_ASSIGN, f, b"data")),
        (GRAB_JOB_UNIQ, (JOB_ASSIGN_UNIQ, f, b"u", b"data")),
        (GRAB_JOB_ALL, (JOB_ASSIGN_ALL, f, b"u", b"reducer", b"data")),
    ):
        handle = client.submit(kind, f, b"u", b"reducer", *unused, b"data")
        worker.send(grab)
        worker.expect(wanted[0], handle, *wanted[1:])
        worker.send(WORK_COMPLETE, handle, b"r")
        if kind is SUBMIT_REDUCE_JOB:
            client.expect(WORK_COMPLETE, handle, b"r")
    worker.expect_nothing()


def test_one_worker_may_hold_many_jobs_and_end_them_in_any_order(client: Wire, worker: Wire, f: bytes) -> None:
    worker.send(CAN_DO, f)
    handles = [client.submit(SUBMIT_JOB, f, b"", b"%d" % n) for n in range(5)]
    for n, handle in enumerate(handles):
        worker.send(GRAB_JOB)
        worker.expect(JOB_ASSIGN, handle, f, b"%d" % n)
    for handle in reversed(handles):
        worker.send(WORK_COMPLETE, handle, b"")
        client.expect(WORK_COMPLETE, handle, b"")


def test_reports_are_forwarded_as_they_came(client: Wire, worker: Wire, f: bytes) -> None:
    handle = running(client, worker, f)
    for kind, args in (
        (WORK_DATA, (b"da\0ta",)),
        (WORK_DATA, (b"",)),
        (WORK_WARNING, (b"care\0",)),
        (WORK_STATUS, (b"3", b"10")),
        (WORK_STATUS, (b"half", b"-1")),
    ):
        worker.send(kind, handle, *args)
        client.expect(kind, handle, *args)
    worker.send(WORK_FAIL, handle)
    client.expect(WORK_FAIL, handle)
    worker.expect_nothing()


def test_reports_of_a_background_job_go_nowhere(client: Wire, worker: Wire, f: bytes) -> None:
    worker.send(CAN_DO, f)
    handle = client.submit(SUBMIT_JOB_BG, f, b"", b"")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"")
    for kind, args in ((WORK_DATA, (b"d",)), (WORK_WARNING, (b"w",)), (WORK_STATUS, (b"1", b"2")), (WORK_FAIL, ())):
        worker.send(kind, handle, *args)
    worker.expect_nothing()
    client.expect_nothing()
    assert client.show(handle)["state"] == "failed"


def test_results_without_their_nul_are_understood(client: Wire, worker: Wire, f: bytes) -> None:
    """Perl workers send them; gearmand loses its framing and runs the job for ever."""
    handle = running(client, worker, f)
    worker.send(WORK_STATUS, handle, b"3")
    client.expect(WORK_STATUS, handle, b"3", b"")
    worker.send(WORK_DATA, handle)
    client.expect(WORK_DATA, handle, b"")
    worker.send(WORK_COMPLETE, handle)
    client.expect(WORK_COMPLETE, handle, b"")
    worker.expect_nothing()


def test_work_fail_goes_out_without_a_nul(client: Wire, worker: Wire, f: bytes) -> None:
    """libgearman waits for ever for a WORK_FAIL with one."""
    handle = running(client, worker, f)
    worker.send_bytes(packet(WORK_FAIL, handle + b"\0"))
    client.expect(WORK_FAIL, handle)
    worker.expect_nothing()


# Abilities


def test_can_do_makes_the_function_and_says_nothing(client: Wire, worker: Wire, f: bytes) -> None:
    worker.send(CAN_DO, f)
    worker.expect_nothing()
    assert client.status(f) == (0, 0, 1)
    worker.send(CANT_DO, f)
    worker.send(CANT_DO, b"never heard of")
    worker.expect_nothing()
    assert client.status(f) == (0, 0, 0)
    assert client.status(b"never heard of") is None


def test_can_do_again_counts_once_and_makes_it_the_newest(client: Wire, worker: Wire, f: bytes) -> None:
    """gearmand counts one worker for each."""
    for name in (f + b"1", f + b"2", f + b"1", f + b"1"):
        worker.send(CAN_DO, name)
    worker.expect_nothing()
    assert client.status(f + b"1") == (0, 0, 1)
    assert client.text(b"workers").count(f) == 2
    second = client.submit(SUBMIT_JOB, f + b"2", b"", b"")
    first = client.submit(SUBMIT_JOB, f + b"1", b"", b"")
    for handle in (first, second):
        worker.send(GRAB_JOB)
        assert worker.expect(JOB_ASSIGN)[0] == handle


def test_names_are_compared_byte_by_byte(client: Wire, worker: Wire, f: bytes) -> None:
    worker.send(CAN_DO, f)
    for other in (f.upper(), f + b" ", f + b"\t", f[:-1]):
        handle = client.submit(SUBMIT_JOB, other, b"", b"")
        worker.send(GRAB_JOB)
        worker.expect(NO_JOB)
        worker.send(CAN_DO, other)
        worker.send(GRAB_JOB)
        worker.expect(JOB_ASSIGN, handle, other, b"")


@pytest.mark.parametrize("name", [b"", b"with space", b"tab\tprefix", "épinard".encode(), b"\xff\xfe", b"x" * 512])
def test_any_bytes_are_a_function_name(client: Wire, worker: Wire, name: bytes) -> None:
    for kind in (SUBMIT_JOB, SUBMIT_JOB_BG):
        handle = client.submit(kind, name, b"", b"w")
        worker.send(CAN_DO, name)
        worker.send(GRAB_JOB)
        worker.expect(JOB_ASSIGN, handle, name, b"w")
        worker.send(WORK_COMPLETE, handle, b"")
        if kind is SUBMIT_JOB:
            client.expect(WORK_COMPLETE, handle, b"")


def test_cant_do_returns_running_jobs_of_that_function(client: Wire, worker: Wire, f: bytes) -> None:
    handle = running(client, worker, f)
    worker.send(CAN_DO, f + b"2")
    second = client.submit(SUBMIT_JOB, f + b"2", b"", b"stays")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, second, f + b"2", b"stays")
    worker.send(CANT_DO, f)
    worker.expect_nothing()
    assert client.status(f) == (1, 0, 0)
    assert [row[1] for row in client.rows(b"show jobs") if row[0] == handle] == [b"1"]
    worker.send(WORK_COMPLETE, handle, b"late")  # accepted without a word, and not believed
    worker.expect_nothing()
    client.expect_nothing()
    worker.send(WORK_COMPLETE, second, b"kept")
    client.expect(WORK_COMPLETE, second, b"kept")


def test_reset_abilities_returns_all_of_them(client: Wire, worker: Wire, f: bytes) -> None:
    running(client, worker, f)
    worker.send(CAN_DO, f + b"2")
    worker.send(RESET_ABILITIES)
    worker.send(GRAB_JOB)
    worker.expect(NO_JOB)
    assert client.status(f) == (1, 0, 0)
    assert client.status(f + b"2") == (0, 0, 0)


def test_a_timeout_without_its_number_is_an_error(worker: Wire, f: bytes) -> None:
    worker.send(CAN_DO_TIMEOUT, f)
    assert worker.expect(ERROR)[0] == b"INVALID_PACKET"
    worker.expect_nothing()


# Status


def test_13_get_status(client: Wire, worker: Wire, f: bytes) -> None:
    handle = client.submit(SUBMIT_JOB, f, b"", b"")
    for text in (handle, handle + b"\0"):
        client.send(GET_STATUS, text)
        client.expect(STATUS_RES, handle, b"1", b"0", b"0", b"0")
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"")
    client.send(GET_STATUS, handle)
    client.expect(STATUS_RES, handle, b"1", b"1", b"0", b"0")
    worker.send(WORK_STATUS, handle, b"3", b"10")
    client.expect(WORK_STATUS, handle, b"3", b"10")
    client.send(GET_STATUS, handle)
    client.expect(STATUS_RES, handle, b"1", b"1", b"3", b"10")
    worker.send(WORK_COMPLETE, handle, b"")
    client.expect(WORK_COMPLETE, handle, b"")
    for text in (handle, b"H:nowhere:1", b""):
        client.send(GET_STATUS, text)
        client.expect(STATUS_RES, text, *UNKNOWN)


def test_13_numbers_start_again_with_the_next_attempt(client: Wire, worker: Wire, f: bytes) -> None:
    handle = running(client, worker, f)
    worker.send(WORK_STATUS, handle, b"3", b"10")
    client.expect(WORK_STATUS, handle, b"3", b"10")
    worker.leave()
    client.send(GET_STATUS, handle)
    client.expect(STATUS_RES, handle, b"1", b"0", b"0", b"0")


@pytest.mark.parametrize(
    ("sent", "kept"), [(b"abc", b"0"), (b"", b"0"), (b"12x", b"12"), (b"-1", b"4294967295"), (b"4294967297", b"1")]
)
def test_13_numbers_are_kept_as_gearmand_does(client: Wire, worker: Wire, f: bytes, sent: bytes, kept: bytes) -> None:
    handle = running(client, worker, f)
    worker.send(WORK_STATUS, handle, sent, b"10")
    client.expect(WORK_STATUS, handle, sent, b"10")
    client.send(GET_STATUS, handle)
    client.expect(STATUS_RES, handle, b"1", b"1", kept, b"10")


def test_13_get_status_unique(connect: Connect, client: Wire, worker: Wire, f: bytes) -> None:
    unique = b"u" + f
    for text in (unique, unique + b"\0"):
        client.send(GET_STATUS_UNIQUE, text)
        client.expect(STATUS_RES_UNIQUE, unique, *UNKNOWN, b"0")
    handle = client.submit(SUBMIT_JOB_BG, f, unique, b"")
    client.send(GET_STATUS_UNIQUE, unique)
    client.expect(STATUS_RES_UNIQUE, unique, b"1", b"0", b"0", b"0", b"0")
    listeners = [connect() for _ in range(3)]
    for listener in listeners:
        assert listener.submit(SUBMIT_JOB, f, unique, b"") == handle
    assert listeners[0].submit(SUBMIT_JOB, f, unique, b"") == handle
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, b"")
    worker.send(WORK_STATUS, handle, b"3", b"10")
    listeners[1].expect(WORK_STATUS, handle, b"3", b"10")
    client.send(GET_STATUS_UNIQUE, unique)
    client.expect(STATUS_RES_UNIQUE, unique, b"1", b"1", b"3", b"10", b"4")
    listeners[2].expect(WORK_STATUS, handle, b"3", b"10")
    listeners[2].leave()
    client.send(GET_STATUS_UNIQUE, unique)
    client.expect(STATUS_RES_UNIQUE, unique, b"1", b"1", b"3", b"10", b"3")
    worker.send(WORK_COMPLETE, handle, b"")
    worker.expect_nothing()
    client.send(GET_STATUS_UNIQUE, unique)
    client.expect(STATUS_RES_UNIQUE, unique, *UNKNOWN, b"0")


def test_13_the_unique_of_two_functions(client: Wire, worker: Wire, f: bytes) -> None:
    """Not scoped in the protocol: the running one is told of, else the oldest."""
    unique = b"u" + f
    first = client.submit(SUBMIT_JOB, f + b"1", unique, b"")
    second = client.submit(SUBMIT_JOB, f + b"2", unique, b"")
    assert first != second
    client.send(GET_STATUS_UNIQUE, unique)
    client.expect(STATUS_RES_UNIQUE, unique, b"1", b"0", b"0", b"0", b"1")
    worker.send(CAN_DO, f + b"2")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, second, f + b"2", b"")
    client.send(GET_STATUS_UNIQUE, unique)
    client.expect(STATUS_RES_UNIQUE, unique, b"1", b"1", b"0", b"0", b"1")


def test_13_an_empty_unique_is_unknown(client: Wire, f: bytes) -> None:
    client.submit(SUBMIT_JOB, f, b"", b"")
    for unique in (b"", b"-"):
        client.send(GET_STATUS_UNIQUE, unique)
        client.expect(STATUS_RES_UNIQUE, unique, *UNKNOWN, b"0")


# Reports of the wrong worker


WRONG = {
    WORK_STATUS: b"Job given in work result not found",
    WORK_COMPLETE: b"Job given in work result not found",
    WORK_FAIL: b"Job given in work result not found",
    WORK_DATA: b"Job does not exist on server",
    WORK_WARNING: b"Job does not exist on server",
    WORK_EXCEPTION: b"An exception was received for a job that does not exist",
}


@pytest.mark.parametrize("kind", WRONG, ids=lambda kind: kind.name)
def test_14_a_report_of_the_wrong_worker(
    connect: Connect, client: Wire, worker: Wire, f: bytes, kind: PacketType
) -> None:
    other = connect()
    handle = running(client, worker, f)
    args = {WORK_STATUS: (b"1", b"2"), WORK_FAIL: ()}.get(kind, (b"data",))
    for wrong in (handle, b"H:nowhere:1", b"", b"x" * 200):
        other.send(kind, wrong, *args)
        other.expect(ERROR, b"JOB_NOT_FOUND", WRONG[kind])
    client.expect_nothing()
    worker.send(WORK_COMPLETE, handle, b"ok")
    client.expect(WORK_COMPLETE, handle, b"ok")


@pytest.mark.parametrize("kind", WRONG, ids=lambda kind: kind.name)
def test_14_a_late_report_is_passed_over(client: Wire, worker: Wire, f: bytes, kind: PacketType) -> None:
    """An ERROR that it doesn't expect kills a Perl worker and lets libgearman's spin."""
    handle = running(client, worker, f)
    worker.send(WORK_COMPLETE, handle, b"ok")
    client.expect(WORK_COMPLETE, handle, b"ok")
    worker.send(kind, handle, *{WORK_STATUS: (b"1", b"2"), WORK_FAIL: ()}.get(kind, (b"data",)))
    worker.expect_nothing()
    client.expect_nothing()


# Options and exceptions


@pytest.mark.parametrize("option", [b"exceptions", b"EXCEPTIONS", b"Exceptions", b"exceptions\0", b"exceptions\0x"])
def test_the_option_exceptions_is_echoed_as_it_came(client: Wire, option: bytes) -> None:
    client.send(OPTION_REQ, option)
    client.expect(OPTION_RES, option)


@pytest.mark.parametrize("option", [b"", b"exception", b"exceptions ", b"x" * 64, b"\0exceptions"])
def test_other_options_are_unknown(client: Wire, option: bytes) -> None:
    client.send(OPTION_REQ, option)
    client.expect(ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option")
    client.expect_nothing()


def test_15_exceptions_go_to_those_who_asked_for_them(connect: Connect, worker: Wire, f: bytes) -> None:
    asked, plain = connect(), connect()
    asked.send(OPTION_REQ, b"exceptions")
    asked.expect(OPTION_RES, b"exceptions")
    handle = running(asked, worker, f, b"u")
    assert plain.submit(SUBMIT_JOB, f, b"u", b"") == handle
    worker.send(WORK_EXCEPTION, handle, b"oo\0ps")
    asked.expect(WORK_EXCEPTION, handle, b"oo\0ps")
    plain.expect(WORK_FAIL, handle)
    # Perl workers send both
    worker.send(WORK_FAIL, handle)
    worker.send(WORK_COMPLETE, handle, b"")
    for wire in (worker, asked, plain):
        wire.expect_nothing()
    asked.send(GET_STATUS, handle)
    asked.expect(STATUS_RES, handle, *UNKNOWN)


# Limits


@pytest.mark.parametrize("length", [1, 63, 64])
def test_18_a_unique_of_up_to_64_bytes(connect: Connect, worker: Wire, f: bytes, length: int) -> None:
    client, other = connect(), connect()
    unique = (f + b"u" * 64)[-length:]
    handle = client.submit(SUBMIT_JOB_BG, f, unique, b"data")
    assert other.submit(SUBMIT_JOB, f, unique, b"") == handle
    client.send(GET_STATUS_UNIQUE, unique)
    client.expect(STATUS_RES_UNIQUE, unique, b"1", b"0", b"0", b"0", b"1")
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB_UNIQ)
    worker.expect(JOB_ASSIGN_UNIQ, handle, f, unique, b"data")
    worker.send(WORK_COMPLETE, handle, b"")


@pytest.mark.parametrize("length", [65, 100, 8192, 100_000])
def test_18_a_longer_unique_is_refused(client: Wire, f: bytes, length: int) -> None:
    unique = b"u" * length
    for kind in SUBMITS:
        client.send(kind, f, unique, b"data")
        client.expect(ERROR, b"ARGUMENT_TOO_LARGE", b"Unique value too large")
    client.send(SUBMIT_JOB_EPOCH, f, unique, b"0", b"")
    client.expect(ERROR, b"ARGUMENT_TOO_LARGE", b"Unique value too large")
    for kind in (SUBMIT_REDUCE_JOB, SUBMIT_REDUCE_JOB_BACKGROUND):
        client.send(kind, f, unique, b"r", b"", b"")
        client.expect(ERROR, b"ARGUMENT_TOO_LARGE", b"Unique value too large")
        client.send(kind, f, b"u", unique, b"", b"")
        client.expect(ERROR, b"ARGUMENT_TOO_LARGE", b"Unique value too large")
    assert client.manage("jobs", function=f.decode()) == []


def test_18_a_reducer_of_64_bytes(client: Wire, worker: Wire, f: bytes) -> None:
    handle = client.submit(SUBMIT_REDUCE_JOB, f, b"", b"r" * 64, b"", b"d")
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB_ALL)
    worker.expect(JOB_ASSIGN_ALL, handle, f, b"", b"r" * 64, b"d")


@pytest.mark.parametrize("length", [513, 8192, 100_000])
def test_18_a_function_name_that_no_worker_could_take_is_refused(client: Wire, length: int) -> None:
    for kind in SUBMITS:
        client.send(kind, b"f" * length, b"", b"")
        client.expect(ERROR, b"ARGUMENT_TOO_LARGE", b"Function name too large")
    client.send(CAN_DO, b"f" * length)
    client.expect(ERROR, b"ARGUMENT_TOO_LARGE", b"Function name too large")
    client.send(CANT_DO, b"f" * length)
    client.expect_nothing()
    assert client.status(b"f" * length) is None


@pytest.mark.parametrize("kind", [SUBMIT_JOB, SUBMIT_JOB_BG], ids=lambda kind: kind.name)
def test_18_a_workload_and_a_result_of_24_mib(client: Wire, worker: Wire, f: bytes, kind: PacketType) -> None:
    workload = bytes(range(256)) * (24 << 12)
    handle = client.submit(kind, f, b"", workload)
    worker.send(CAN_DO, f)
    worker.send(GRAB_JOB)
    assert worker.receive() == (JOB_ASSIGN, b"\0".join([handle, f, workload]))
    worker.send(WORK_COMPLETE, handle, workload)
    if kind is SUBMIT_JOB:
        assert client.receive() == (WORK_COMPLETE, b"\0".join([handle, workload]))
    worker.expect_nothing()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"x" * 127, b"x" * 127),
        (b"x" * 128, b"x" * 127),
        (b"", b""),
        (b"a b\tc\nd", b"a_b_c_d"),
        (b"before\0after", b"before"),
        (b"\xff", b"\xff"),
    ],
)
def test_18_client_ids(client: Wire, worker: Wire, f: bytes, sent: bytes, shown: bytes) -> None:
    worker.send(SET_CLIENT_ID, sent)
    worker.send(CAN_DO, f)
    worker.expect_nothing()
    rows = [row for row in client.text(b"workers").split(b"\n") if row.endswith(b" : " + f)]
    assert [row.split(b" ", 2)[2] for row in rows] == [shown + b" : " + f]


def test_a_client_that_sleeps_and_submits_is_woken_before_its_answer(client: Wire, f: bytes) -> None:
    client.send(CAN_DO, f)
    client.send(PRE_SLEEP)
    client.send(SUBMIT_JOB, f, b"", b"")
    client.expect(NOOP)
    handle = client.expect(JOB_CREATED)[0]
    client.send(GRAB_JOB)
    client.expect(JOB_ASSIGN, handle, f, b"")
    client.send(WORK_COMPLETE, handle, b"mine")
    client.expect(WORK_COMPLETE, handle, b"mine")
