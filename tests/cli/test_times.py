"""Times and durations as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gearstore_cli.errors import UsageError
from gearstore_cli.times import milliseconds, parse_duration, parse_future, parse_past

NOW = datetime(2026, 11, 24, 15, 30).astimezone()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("10m", 600), ("10min", 600), ("1h30m", 5400), ("1h 30m", 5400)]
    + [("2d", 172800), ("1w", 604800), ("500ms", 0.5), (" 2 h ", 7200), ("1.5H", 5400), ("0", 0)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "m", "10x", "1ſ", "٣s", "-5s", "1h-3m", "10 10", "ten", "1.2.3", "99999999w"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("14:00", datetime(2026, 11, 24, 14, 0)),
        ("9:05", datetime(2026, 11, 24, 9, 5)),
        ("14:00:30", datetime(2026, 11, 24, 14, 0, 30)),
        ("23:00", datetime(2026, 11, 23, 23, 0)),  # the last one there was
        ("2026-11-23", datetime(2026, 11, 23)),
        ("2026-11-23 08:00", datetime(2026, 11, 23, 8)),
        ("2026-11-23T08:00:01", datetime(2026, 11, 23, 8, 0, 1)),
    ],
)
def test_times_of_the_past_are_local(text: str, moment: datetime) -> None:
    assert parse_past(text, NOW) == moment.astimezone()


def test_an_offset_is_honoured() -> None:
    wanted = datetime(2026, 11, 23, 8, tzinfo=timezone(timedelta(hours=1)))
    assert parse_past("2026-11-23T08:00+01:00", NOW) == wanted
    assert parse_past("2026-11-23T07:00Z", NOW) == wanted


def test_an_age_is_a_time_of_the_past() -> None:
    assert parse_past("2h", NOW) == NOW - timedelta(hours=2)


def test_a_time_of_day_to_come_may_be_tomorrow() -> None:
    assert parse_future("16:00", NOW) == datetime(2026, 11, 24, 16).astimezone()
    assert parse_future("08:00", NOW) == datetime(2026, 11, 25, 8).astimezone()
    assert parse_future("2026-12-01 08:00", NOW) == datetime(2026, 12, 1, 8).astimezone()


def test_a_date_that_is_over_is_refused() -> None:
    with pytest.raises(UsageError, match="is over"):
        parse_future("2026-11-24 15:00", NOW)


@pytest.mark.parametrize("text", ["", "yesterday", "25:00", "2026-13-01", "14.00", "2026-11-24 1400x"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_past(text, NOW)


def test_milliseconds_count_from_1970() -> None:
    assert milliseconds(datetime(1970, 1, 2, tzinfo=UTC)) == 86_400_000
