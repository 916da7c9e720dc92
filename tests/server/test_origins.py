"""What connections from an address are counted by."""

import pytest

from gearstore.server.limits import is_near, origin_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),  # by way of a socket that takes both
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),  # whoever has one of these has all of them
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "127.0.0.1", False),
    ],
)
def test_addresses_that_count_as_one(one: str, other: str, same: bool) -> None:
    assert (origin_of(one) == origin_of(other)) is same


@pytest.mark.parametrize(
    ("host", "near"), [("", True), ("127.0.0.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False),
                       ("::2", False), ("2001:db8::1", False)],
)  # fmt: skip
def test_addresses_of_this_machine(host: str, near: bool) -> None:
    assert is_near(origin_of(host)) is near
