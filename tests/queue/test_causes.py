"""Which failures are one cause."""

import pytest

from gearstore.queue.causes import DIGITS, LONGEST, cause_of, squeezed


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (b"", b""),
        (b"timeout", b"timeout"),
        (b"order 4711 not found", b"order # not found"),
        (b"took 3.5 s", b"took #.# s"),
        (b"id=550e8400-e29b-41d4-a716-446655440000!", b"id=#!"),
        (b"ID 550E8400-E29B-41D4-A716-446655440000", b"ID #"),
        (b"at 0x7ffe01Ab in f", b"at # in f"),
        (b"commit 9fceb02d0ae598e95dc970b74767f19372d61af8", b"commit #"),
        (b"deadbeef and facade are words", b"deadbeef and facade are words"),
        (b"utf8 and md5 keep their letters", b"utf# and md# keep their letters"),
        (b"10.0.0.1:4730 refused", b"#.#.#.#:# refused"),
        (b"  two \t words \r", b"two words"),
        (b"\n\nfirst\nsecond\nthird", b"first"),
        (b"\xff\xfe 12 \x00", b"\xff\xfe # \x00"),
        (b"x" * 500, b"x" * LONGEST),
        (b"1" * 100_000, b"#"),
    ],
)
def test_what_varies_is_squeezed_out(error: bytes, text: bytes) -> None:
    assert squeezed(error) == text


def test_alike_errors_have_one_cause() -> None:
    first, text = cause_of(b"exception", b"order 1 not found")
    assert cause_of(b"exception", b"order 22 not found\nTraceback 3") == (first, text) == (first, b"order # not found")
    assert cause_of(b"fail", b"order 1 not found")[0] != first
    assert cause_of(b"exception", b"order 1 not there")[0] != first


@pytest.mark.parametrize("reason", [b"fail", b"exception", b"timeout", b"lost"])
@pytest.mark.parametrize("error", [b"", b"x", b"\0" * 300])
def test_ids_are_never_zero_and_fit_their_digits(reason: bytes, error: bytes) -> None:
    cause, _ = cause_of(reason, error)
    assert 0 < cause < 16**DIGITS
