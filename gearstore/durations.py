"""Durations as people write them: `90`, `10m`, `1h30m`, `7d`."""

import re

UNITS = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])", re.IGNORECASE | re.ASCII)
LONGEST = 100 * 365 * UNITS["d"]


def parse_duration(text: str) -> int:
    """Return the milliseconds that the text means, seconds where it names no unit; raise ValueError if it is none."""
    stripped = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", stripped):
        stripped += "s"
    total = sum(float(number) * UNITS[unit.lower()] for number, unit in PIECE.findall(stripped))
    if not stripped or PIECE.sub("", stripped).strip() or total > LONGEST:
        raise ValueError(text)
    return round(total)


def format_duration(milliseconds: int) -> str:
    """Return exactly this duration, as `parse_duration` reads it; weeks are told in days."""
    pieces = []
    for unit in ("d", "h", "m", "s", "ms"):
        number, milliseconds = divmod(milliseconds, UNITS[unit])
        if number:
            pieces.append(f"{number}{unit}")
    return "".join(pieces) or "0s"
