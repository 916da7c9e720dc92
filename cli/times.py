"""Points in time and durations as people write them. The present is an argument."""

import re
from datetime import datetime, time, timedelta

from gearstore import durations
from gearstore.durations import PIECE

from .errors import UsageError

CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
DAY = timedelta(days=1)


def parse_duration(text: str) -> float:
    """Return the seconds that `90`, `10m` or `1h30m` means; raise UsageError if it means nothing."""
    try:
        return durations.parse_duration(text) / 1000
    except ValueError:
        raise UsageError(f"{text!r} is not a duration such as 90s, 10m, 1h30m or 2d") from None


def parse_moment(text: str, now: datetime) -> datetime:
    """Return the moment that a date and time (local, or ISO with an offset) or a time of today means."""
    stripped = text.strip()
    try:
        if CLOCK.fullmatch(stripped):
            clock = time.fromisoformat(stripped.zfill(8) if stripped.count(":") == 2 else stripped.zfill(5))
            return datetime.combine(now.astimezone().date(), clock).astimezone()
        return datetime.fromisoformat(stripped).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a time such as 14:00, '2026-11-24 14:00' or 2026-11-24T14:00+01:00"
        ) from None


def parse_past(text: str, now: datetime) -> datetime:
    """Return the moment for --since and --until: also an age such as 2h. A time of day is the last one there was."""
    if PIECE.match(text.strip()):
        return now - timedelta(seconds=parse_duration(text))
    moment = parse_moment(text, now)
    return moment - DAY if CLOCK.fullmatch(text.strip()) and moment > now else moment


def parse_future(text: str, now: datetime) -> datetime:
    """Return the moment for --at. A time of day is the next one there will be; what is over is an error."""
    moment = parse_moment(text, now)
    if CLOCK.fullmatch(text.strip()) and moment <= now:
        moment += DAY
    if moment < now:
        raise UsageError(f"{text!r} is over; name a time that is still to come")
    return moment


def milliseconds(moment: datetime) -> int:
    """Return a moment as gearstore counts time: milliseconds since 1970."""
    return round(moment.timestamp() * 1000)
