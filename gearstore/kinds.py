"""Kinds of values that can be configured: how the text of a flag, a variable or a file becomes a value, and back.

options.py (the server's options) and policies.py (what is set for functions) are tables of names and kinds.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gearstore.durations import format_duration, parse_duration
from gearstore.errors import ConfigError
from gearstore.queue.policy import FOREVER, NOTHING, Backoff, Keep

BIG = 2**31 - 1
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}  # powers of 2
# SQLite holds no row of more than 1,000,000,000 bytes: the largest packet is one part of it, the result another.
LARGEST_PACKET = 900 * MIB
LARGEST_RESULT = 32 * MIB


def as_it_is(value: Any) -> Any:
    """Return the value."""
    return value


@dataclass(frozen=True, slots=True)
class Kind:
    """How the text of a setting becomes its value, and how the value is written again.

    `parse` raises ValueError; `expect` completes the sentence "... is not ..."; `toml` are the types that the
    configuration file may hold (text is what flags and environment variables hold); `write` returns what the file
    would hold. A kind with `parts` may also be a table of them, in text `first=10s,factor=2`, of which `build` makes
    the value; it raises ValueError with a sentence.
    """

    metavar: str
    expect: str
    parse: Callable[[str], Any]
    toml: tuple[type, ...] = (str,)
    write: Callable[[Any], Any] = as_it_is
    parts: Mapping[str, "Kind"] = field(default_factory=dict)
    build: Callable[[Mapping[str, Any]], Any] = as_it_is


# Checking


def check(kind: Kind, raw: Any, where: str, types: tuple[type, ...], repeated: bool = False) -> Any:
    """Return the value that raw stands for, a tuple if it is repeated; `where` names its place in the ConfigError."""
    if not repeated:
        return check_one(kind, raw, where, types)
    items = [raw] if isinstance(raw, str) else raw
    if not isinstance(items, Sequence):
        raise ConfigError(f"{where}: {raw!r} is not a list of {kind.expect}")
    return tuple(check_one(kind, item, where, types) for item in items)


def check_one(kind: Kind, raw: Any, where: str, types: tuple[type, ...]) -> Any:
    """Return the value that raw stands for."""
    if kind.parts and isinstance(raw, str) and "=" in raw:
        return check_parts(kind, read_parts(raw), where, (str,))
    if kind.parts and isinstance(raw, dict):
        return check_parts(kind, raw, where, None)
    # type() and not isinstance(): true is no number, though Python says so.
    if type(raw) not in types:
        raise ConfigError(f"{where}: {raw!r} is not {kind.expect}")
    try:
        return kind.parse(str(raw))
    except (ValueError, KeyError):
        raise ConfigError(f"{where}: {raw!r} is not {kind.expect}") from None


def check_parts(kind: Kind, table: Mapping[str, Any], where: str, types: tuple[type, ...] | None) -> Any:
    """Return the value made of a table's parts; `types` are those of the part's own kind if None."""
    values = {}
    for name, raw in table.items():
        if name not in kind.parts:
            raise ConfigError(f"{where}: {name} is not a key of it; {meant(name, kind.parts)}")
        part = kind.parts[name]
        values[name] = check_one(part, raw, f"{where}.{name}", types or part.toml)
    try:
        return kind.build(values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def read_parts(text: str) -> dict[str, str]:
    """Return the table that `first=10s,factor=2` means."""
    pairs = (piece.partition("=") for piece in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}


def meant(name: str, names: Iterable[str]) -> str:
    """Return what to say about a name that does not exist."""
    near = difflib.get_close_matches(name.replace("-", "_"), list(names), 1)
    return f"did you mean {near[0]}?" if near else "the keys are " + ", ".join(names)


def as_text(written: Any) -> str:
    """Return what a kind has written as the text that flags and environment variables hold."""
    if isinstance(written, dict):
        return ",".join(f"{name}={as_text(value)}" for name, value in written.items())
    if isinstance(written, list):
        return ",".join(map(as_text, written))
    if isinstance(written, bool):
        return "true" if written else "false"
    return str(written)


# Plain kinds


def integer(low: int, high: int) -> Kind:
    """Return the kind of a whole number from low to high."""

    def parse(text: str) -> int:
        if not low <= (number := int(text)) <= high:
            raise ValueError(text)
        return number

    return Kind("N", f"a whole number from {low} to {high}", parse, (int, str))


def number(low: float, high: float) -> Kind:
    """Return the kind of a number from low to high."""

    def parse(text: str) -> float:
        if not low <= (found := float(text)) <= high:
            raise ValueError(text)
        return found

    return Kind("N", f"a number from {low:g} to {high:g}", parse, (int, float, str), write_number)


def write_number(value: float) -> float:
    """Return a number without a fraction if it has none."""
    return int(value) if value == int(value) else value


def size(low: int, high: int) -> Kind:
    """Return the kind of a number of bytes, which may end in K, M, G or T (powers of 1024)."""

    def parse(text: str) -> int:
        digits, unit = (text[:-1], text[-1].upper()) if text and text[-1].upper() in UNITS else (text, "")
        if not low <= (found := int(digits) << UNITS[unit]) <= high:
            raise ValueError(text)
        return found

    expect = f"a number of bytes from {low} to {high} (K, M, G and T may follow)"
    return Kind("BYTES", expect, parse, (int, str), write_size)


def write_size(value: int) -> int | str:
    """Return a number of bytes with its largest unit, as the file may hold it."""
    unit = max((unit for unit, power in UNITS.items() if not value % (1 << power)), key=UNITS.__getitem__)
    return f"{value >> UNITS[unit]}{unit}" if value and unit else value


def choice(*words: str) -> Kind:
    """Return the kind of one of these words."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return text.lower()

    return Kind("WORD", "one of " + ", ".join(words), parse)


def parse_switch(text: str) -> bool:
    """Return whether the text means yes."""
    word = text.lower()
    if word not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise ValueError(text)
    return word in ("1", "true", "yes", "on")


SWITCH = Kind("", "true or false", parse_switch, (bool, str))
DURATION = Kind(
    "DURATION", "a duration such as 90s, 10m, 1h30m or 7d", parse_duration, (int, float, str), format_duration
)


# What is kept of ended jobs


def parse_keep(text: str) -> Keep:
    """Return what `7d`, `forever` or `none` means; a bare number could be an age or a count."""
    word = text.strip().lower()
    if word in ("forever", "none", "0"):
        return FOREVER if word == "forever" else NOTHING
    if word.replace(".", "").isdigit():
        raise ValueError(text)
    return Keep(age=parse_duration(text))


def build_keep(parts: Mapping[str, Any]) -> Keep:
    """Return what is kept by a table of limits."""
    if not parts:
        raise ValueError("the table is empty; give it age, count or bytes, or write 'forever'")
    return Keep(**parts)


def write_keep(keep: Keep) -> Any:
    """Return what is kept as the file may hold it."""
    if keep in (FOREVER, NOTHING):
        return "forever" if keep == FOREVER else "none"
    parts = {name: kind.write(value) for name, kind in KEEP_PARTS.items() if (value := getattr(keep, name)) is not None}
    return parts["age"] if list(parts) == ["age"] else parts


KEEP_PARTS = {"age": DURATION, "count": integer(0, 10**15), "bytes": size(0, 1 << 60)}
KEEP = Kind(
    "KEEP",
    "a duration such as 7d, a table such as { age = '7d', count = 1000000, bytes = '1G' } "
    "(age=7d,count=1000000,bytes=1G as text), forever, or none",
    parse_keep, (int, str), write_keep, KEEP_PARTS, build_keep,
)  # fmt: skip


# When a job is tried again


def parse_backoff(text: str) -> Backoff | None:
    """Return the waits that begin with this duration; none or 0 for no wait at all."""
    first = 0 if text.strip().lower() == "none" else parse_duration(text)
    return build_backoff({"first": first}) if first else None


def build_backoff(parts: Mapping[str, Any]) -> Backoff:
    """Return the waits that a table describes."""
    if not parts.get("first"):
        raise ValueError("first is missing; write { first = '10s' }, with factor, limit and jitter if you like")
    backoff = Backoff(**parts)
    if "limit" not in parts:
        return replace(backoff, limit=max(backoff.first, backoff.limit))
    if backoff.first > backoff.limit:
        raise ValueError("limit is shorter than first; make it as long at least")
    return backoff


def write_backoff(backoff: Backoff | None) -> Any:
    """Return the waits as the file may hold them."""
    if backoff is None:
        return "none"
    return {name: kind.write(getattr(backoff, name)) for name, kind in BACKOFF_PARTS.items()}


BACKOFF_PARTS = {"first": DURATION, "factor": number(1, 1000), "limit": DURATION, "jitter": number(0, 1)}
BACKOFF = Kind(
    "BACKOFF",
    "a duration such as 10s, a table such as { first = '10s', factor = 2, limit = '1h', jitter = 0.1 }, or none",
    parse_backoff, (int, float, str), write_backoff, BACKOFF_PARTS, build_backoff,
)  # fmt: skip


# Which results are kept


def parse_result(text: str) -> int:
    """Return the largest result that is stored, in bytes; 0: none is."""
    try:
        found: int = _RESULT_SIZE.parse(text)
        return found
    except ValueError:
        return LARGEST_RESULT if parse_switch(text) else 0


def write_result(limit: int) -> Any:
    """Return the limit as the file may hold it."""
    return {0: False, LARGEST_RESULT: True}.get(limit, write_size(limit))


_RESULT_SIZE = size(0, LARGEST_RESULT)
RESULT = Kind(
    "BYTES", f"true, false, or the size of the largest result to keep, up to {write_size(LARGEST_RESULT)}",
    parse_result, (bool, int, str), write_result,
)  # fmt: skip
