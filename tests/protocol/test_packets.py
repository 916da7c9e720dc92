"""The packet table against the protocol document, and the bytes of packets."""

import pytest

from gearstore.protocol import packets
from gearstore.protocol.packets import HEADER_SIZE, LAST_TYPE, LAYOUTS, PacketType, error, request, response

# Names, numbers and arguments of `PROTOCOL`, "Binary Packet": who sends it (C client, W worker, J job server) and, of
# requests, the number of arguments with their data.
DOCUMENT = """
 1 CAN_DO W 1
 2 CANT_DO W 1
 3 RESET_ABILITIES W 0
 4 PRE_SLEEP W 0
 6 NOOP J -
 7 SUBMIT_JOB C 3
 8 JOB_CREATED J -
 9 GRAB_JOB W 0
10 NO_JOB J -
11 JOB_ASSIGN J -
12 WORK_STATUS W 3
13 WORK_COMPLETE W 2
14 WORK_FAIL W 1
15 GET_STATUS C 1
16 ECHO_REQ CW 1
17 ECHO_RES J -
18 SUBMIT_JOB_BG C 3
19 ERROR J -
20 STATUS_RES J -
21 SUBMIT_JOB_HIGH C 3
22 SET_CLIENT_ID W 1
23 CAN_DO_TIMEOUT W 2
24 ALL_YOURS W -
25 WORK_EXCEPTION W 2
26 OPTION_REQ C 1
27 OPTION_RES J -
28 WORK_DATA W 2
29 WORK_WARNING W 2
30 GRAB_JOB_UNIQ W 0
31 JOB_ASSIGN_UNIQ J -
32 SUBMIT_JOB_HIGH_BG C 3
33 SUBMIT_JOB_LOW C 3
34 SUBMIT_JOB_LOW_BG C 3
35 SUBMIT_JOB_SCHED C 8
36 SUBMIT_JOB_EPOCH C 4
37 SUBMIT_REDUCE_JOB C 5
38 SUBMIT_REDUCE_JOB_BACKGROUND C 5
39 GRAB_JOB_ALL W 0
40 JOB_ASSIGN_ALL J -
41 GET_STATUS_UNIQUE C 1
42 STATUS_RES_UNIQUE J -
"""
ROWS = [line.split() for line in DOCUMENT.strip().splitlines()]


def test_names_and_numbers() -> None:
    assert {int(number): name for number, name, _, _ in ROWS} == {kind.value: kind.name for kind in PacketType}


@pytest.mark.parametrize(("number", "name", "sender", "arguments"), ROWS, ids=[row[1] for row in ROWS])
def test_arguments(number: str, name: str, sender: str, arguments: str) -> None:
    layout = LAYOUTS.get(int(number))
    if arguments == "-":
        assert layout is None
    else:
        assert layout is not None and layout.parts == int(arguments) >= layout.at_least


def test_each_type_has_a_constant() -> None:
    for kind in PacketType:
        assert getattr(packets, kind.name) is kind


def test_what_the_parser_adds_is_no_packet() -> None:
    others = {packets.TEXT, packets.WRONG_MAGIC, packets.MALFORMED}
    assert len(others) == 3 and not others & set(PacketType)
    assert all(0 <= number < packets.KINDS for number in others | set(PacketType))
    assert LAST_TYPE == max(PacketType)


def test_bytes_of_packets() -> None:
    assert request(PacketType.ECHO_REQ) == b"\0REQ\0\0\0\x10\0\0\0\0"
    assert request(PacketType.SUBMIT_JOB, b"reverse", b"", b"test") == (
        b"\0REQ\0\0\0\x07\0\0\0\x0dreverse\0\0test"
    )  # fmt: skip
    assert response(PacketType.JOB_CREATED, b"H:lap:1") == b"\0RES\0\0\0\x08\0\0\0\x07H:lap:1"
    assert response(PacketType.NOOP) == b"\0RES\0\0\0\x06\0\0\0\0"
    assert error(b"CODE", b"Some text") == b"\0RES\0\0\0\x13\0\0\0\x0eCODE\0Some text"
    assert len(request(PacketType.ECHO_REQ, b"x" * 1000)) == HEADER_SIZE + 1000 == 1012
