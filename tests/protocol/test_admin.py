"""The words of a text line and the exact bytes of the answers, as gearmand 1.1.20 sends them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearstore.protocol import admin


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"status", [b"status"]),
        (b"maxqueue f 1 2 3", [b"maxqueue", b"f", b"1", b"2", b"3"]),
        (b"show   unique  jobs", [b"show", b"unique", b"jobs"]),
        (b"status  ", [b"status"]),
        (b"", [b""]),
        (b" ", [b""]),
        (b" status", [b"", b"status"]),  # as in gearmand: an unknown, empty command
        (b"status\0rest more", [b"status", b"more"]),
        (b"drop function a\tb", [b"drop", b"function", b"a\tb"]),
        (b"create function \xff\xfe", [b"create", b"function", b"\xff\xfe"]),
        (b"a b c d e f", [b"a", b"b", b"c", b"d", b"e", b"f"]),
    ],
)
def test_words(line: bytes, words: list[bytes]) -> None:
    assert admin.words(line) == words


@given(st.binary())
def test_any_line_has_a_first_word(line: bytes) -> None:
    first, *others = admin.words(line)
    assert all(others)
    assert not any(b" " in word or b"\0" in word for word in (first, *others))


def test_answers() -> None:
    assert admin.OK == b"OK\r\n"
    assert admin.UNKNOWN_JOB == b"ERR UNKNOWN_JOB\r\n"
    assert admin.UNKNOWN_ERROR == b"ERR UNKNOWN_ERROR\r\n"
    assert admin.UNKNOWN_SHOW_ARGUMENTS == b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"
    assert admin.FUNCTION_NOT_FOUND == b"ERR function not found\r\n"
    assert admin.FUNCTION_IN_USE == b"ERR there are still connected workers or executing clients\r\n"
    assert admin.unknown_command(b"shutdown") == b"ERR UNKNOWN_COMMAND Unknown+server+commandshutdown\r\n"
    assert admin.unknown_command(b"") == b"ERR UNKNOWN_COMMAND Unknown+server+command\r\n"
    assert admin.incomplete(b"drop") == (
        b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+drop\r\n"
    )
    assert admin.value("1.1.20+ds") == b"OK 1.1.20+ds\n"


def test_tables() -> None:
    assert admin.table([]) == b".\n"
    assert admin.table([(b"fonctionJob", 2, 0, 1), (b"", 0, 0, 0)]) == b"fonctionJob\t2\t0\t1\n\t0\t0\t0\n.\n"
    assert admin.table([(b"unique",), (b"",)]) == b"unique\n\n.\n"
    assert admin.table([(b"H:h:1", True, False)]) == b"H:h:1\t1\t0\n.\n"


def test_rows_of_workers() -> None:
    assert admin.worker_row(30, b"127.0.0.1", b"-", []) == b"30 127.0.0.1 - :\n"
    assert admin.worker_row(7, b"::1", b"id", [b"b", b"a"]) == b"7 ::1 id : b a\n"


@given(st.binary(), st.binary())
def test_names_and_ids_cannot_break_a_row(name: bytes, client_id: bytes) -> None:
    row = admin.worker_row(1, b"-", client_id, [name])
    assert row.count(b"\n") == 1 and row.endswith(b"\n")
    assert b"\t" not in row and b"\r" not in row and b"\0" not in row
    assert row.split(b" ", 3)[3].startswith(b": ")
    assert len(admin.clean_name(name)) == len(name)
    assert admin.clean_name(b"UTF-8 \xc3\xa9, spaces") == b"UTF-8 \xc3\xa9, spaces"
