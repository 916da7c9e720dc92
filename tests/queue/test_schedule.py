"""The next moment of a schedule, by examples and against a search minute by minute."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearstore.queue.schedule import next_match

FRIDAY = datetime(2026, 11, 27, 10, 30, 15, 999)


def fields(text: str) -> list[bytes]:
    """Return the five fields of `minute hour day month weekday`."""
    return [field.encode() for field in text.split()]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("* * * * *", datetime(2026, 11, 27, 10, 31)),
        ("30 * * * *", datetime(2026, 11, 27, 11, 30)),  # not again in the minute that runs
        ("31 10 * * *", datetime(2026, 11, 27, 10, 31)),
        ("0 3 * * *", datetime(2026, 11, 28, 3, 0)),
        ("0 0 1 * *", datetime(2026, 12, 1, 0, 0)),
        ("0 0 1 1 *", datetime(2027, 1, 1, 0, 0)),
        ("0 0 31 * *", datetime(2026, 12, 31, 0, 0)),
        ("0 12 * * 0", datetime(2026, 11, 30, 12, 0)),  # Monday
        ("0 12 * * 4", datetime(2026, 11, 27, 12, 0)),  # Friday
        ("0 12 * * 6", datetime(2026, 11, 29, 12, 0)),  # Sunday
        ("* 5 * * *", datetime(2026, 11, 28, 5, 0)),
        ("0 0 29 2 *", datetime(2028, 2, 29, 0, 0)),
        ("0 0 29 2 0", datetime(2044, 2, 29, 0, 0)),
        ("0 0 13 * 4", datetime(2027, 8, 13, 0, 0)),  # both the day of the month and that of the week
        ("07 09 * * *", datetime(2026, 11, 28, 9, 7)),
    ],
)
def test_the_next_moment(schedule: str, expected: datetime) -> None:
    assert next_match(fields(schedule), FRIDAY) == expected


def test_an_empty_field_is_any() -> None:
    assert next_match([b"15", b"", b"", b"", b""], FRIDAY) == datetime(2026, 11, 27, 11, 15)


def test_the_time_zone_is_kept() -> None:
    assert next_match([b""] * 5, FRIDAY.replace(tzinfo=UTC)) == datetime(2026, 11, 27, 10, 31, tzinfo=UTC)


def test_over_a_century_without_leap_day() -> None:
    assert next_match(fields("0 0 29 2 *"), datetime(2096, 3, 1)) == datetime(2104, 2, 29)


@pytest.mark.parametrize(
    "schedule",
    ["60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * * 7"]
    + ["-1 * * * *", "+1 * * * *", "1,2 * * * *", "*/5 * * * *", "x * * * *", "007 * * * *", "* * * *", "* * * * * *"],
)
def test_a_bad_field_is_refused_with_a_sentence(schedule: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        next_match(fields(schedule), FRIDAY)


@pytest.mark.parametrize("schedule", ["0 0 31 2 *", "* * 30 2 *", "0 0 31 4 *", "0 0 31 11 3"])
def test_a_day_that_never_comes_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match="never"):
        next_match(fields(schedule), FRIDAY)


def number(low: int, high: int) -> st.SearchStrategy[int | None]:
    """Return a number of the range, or None for any."""
    return st.none() | st.integers(low, high)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2150, 1, 1)), number(0, 59), number(0, 23), number(1, 31), number(0, 6)
)
def test_it_is_the_first_match(
    after: datetime, minute: int | None, hour: int | None, day: int | None, weekday: int | None
) -> None:
    wanted = (minute, hour, day, None, weekday)
    found = next_match([b"" if value is None else b"%d" % value for value in wanted], after)

    def matches(moment: datetime) -> bool:
        actual = (moment.minute, moment.hour, moment.day, moment.month, moment.weekday())
        return all(value is None or value == real for value, real in zip(wanted, actual, strict=True))

    assert found > after
    assert matches(found)
    # No earlier one: looked for in the last two days before it, minute by minute.
    moment = max(after.replace(second=0, microsecond=0) + timedelta(minutes=1), found - timedelta(days=2))
    while moment < found:
        assert not matches(moment)
        moment += timedelta(minutes=1)
