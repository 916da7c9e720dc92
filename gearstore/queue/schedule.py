"""When a job of SUBMIT_JOB_SCHED runs: the next moment that matches its five fields.

The protocol document (client requests, SUBMIT_JOB_SCHED) gives minute, hour, day of month, month and
day of week, each one number. An empty field or `*` means any. All fields must match; 0 is Monday.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 6))
# 29 February on a given day of the week comes within 40 years, also across a year like 2100.
YEARS = 40


def next_match(fields: Sequence[bytes], after: datetime) -> datetime:
    """Return the first whole minute later than that of `after` which matches the five fields.

    `after` keeps its time zone. Raise ValueError for a field that is out of range and for fields that
    never match, such as 31 February.
    """
    minute, hour, day, month, weekday = parse_fields(fields)
    moment = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    last = moment.year + YEARS
    while moment.year <= last:
        # Each step goes to the start of the next month, day, hour or minute, so that few are needed.
        if month not in (None, moment.month):
            moment = next_month(moment)
        elif day not in (None, moment.day) or weekday not in (None, moment.weekday()):
            moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
        elif hour not in (None, moment.hour):
            moment = moment.replace(minute=0) + timedelta(hours=1)
        elif minute not in (None, moment.minute):
            moment += timedelta(minutes=1)
        else:
            return moment
    raise ValueError("the schedule never matches: there is no such day in that month")


def parse_fields(fields: Sequence[bytes]) -> list[int | None]:
    """Return the five numbers, with None for any."""
    if len(fields) != len(FIELDS):
        raise ValueError(f"a schedule has {len(FIELDS)} fields: minute, hour, day of month, month, day of week")
    return [parse_field(field, *limits) for field, limits in zip(fields, FIELDS, strict=True)]


def parse_field(field: bytes, name: str, low: int, high: int) -> int | None:
    """Return the field's number, or None for any."""
    if field in (b"", b"*"):
        return None
    if not (field.isdigit() and len(field) <= 2 and low <= int(field) <= high):
        raise ValueError(f"the {name} of a schedule is a number from {low} to {high}, or empty for any")
    return int(field)


def next_month(moment: datetime) -> datetime:
    """Return the first minute of the month after."""
    first = moment.replace(day=1, hour=0, minute=0)
    return first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1)
