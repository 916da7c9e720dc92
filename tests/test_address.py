"""Addresses as people write them."""

import pytest

from gearstore.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("127.0.0.1", Address("127.0.0.1", 4730), "127.0.0.1:4730"),
        ("localhost:5000", Address("localhost", 5000), "localhost:5000"),
        ("[::1]", Address("::1", 4730), "[::1]:4730"),
        ("[::1]:0", Address("::1", 0), "[::1]:0"),
        ("::1", Address("::1", 4730), "[::1]:4730"),
        ("[fe80::1%eth0]:1", Address("fe80::1%eth0", 1), "[fe80::1%eth0]:1"),
        ("*", Address("", 4730), "*:4730"),
        (":5000", Address("", 5000), "*:5000"),
        ("tls:localhost", Address("localhost", 4730, tls=True), "tls:localhost:4730"),
        ("tls:[::1]:1", Address("::1", 1, tls=True), "tls:[::1]:1"),
        ("tls:*:4731", Address("", 4731, tls=True), "tls:*:4731"),
        ("unix:/run/gearstore.sock", Address(port=0, path="/run/gearstore.sock"), "unix:/run/gearstore.sock"),
    ],
)
def test_what_is_understood(text: str, expected: Address, shown: str) -> None:
    assert parse_address(text) == expected
    assert str(expected) == shown


def test_the_port_comes_from_outside_where_none_is_named() -> None:
    assert parse_address("localhost", 99).port == 99
    assert parse_address("localhost:5", 99).port == 5


@pytest.mark.parametrize(
    "text",
    ["", "4730", "host:", "host:x", "host:65536", "host:-1", "[::1", "[::1]x", "[host]:1", "a:b:c", "a b", "http://x"]
    + ["unix", "unix:", "unix:/" + "x" * 107, "tls", "tls:", "tls:4731", "tls:tls:host", "tls:unix:/s", "host:٣"],
)
def test_what_is_not(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)


@pytest.mark.parametrize(
    "text, near",
    [("unix:/s", True), ("localhost", True), ("[::1]:1", True), ("tls:127.0.0.2", True)]
    + [("*", False), ("10.0.0.1", False), ("tls:example.org:1", False), ("127.example.org", False), ("[::]", False)]
    + [("[::ffff:127.0.0.1]", True), ("[::ffff:10.0.0.1]", False)],
)
def test_which_are_near(text: str, near: bool) -> None:
    assert parse_address(text).near == near
