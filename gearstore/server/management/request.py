"""What a line of the management protocol asks for, how it is refused, and how bytes travel in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gearstore.server.connection import Connection

MAX_INTEGER = (1 << 63) - 1  # that the store takes

Object = dict[str, Any]


class Verb(NamedTuple):
    """One verb: the work, the types of its keys, and whether it changes anything."""

    work: Callable[[Connection, Object], Coroutine[Any, Any, None]]
    keys: Mapping[str, tuple[type, ...]] = {}
    changes: bool = False


class Refusal(Exception):
    """An `ERR code text` line."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def text(data: bytes) -> str:
    """Return bytes as JSON carries them."""
    return data.decode("utf-8", "surrogateescape")


def data(value: str) -> bytes:
    """Return the bytes that JSON carried."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Refusal("usage", f"{value!r} holds a surrogate that stands for no byte") from None


def parse(line: bytes, verbs: Mapping[str, Verb]) -> tuple[str, Object]:
    """Return verb and request of a line; raise Refusal for anything that is not one."""
    _, _, rest = line.partition(b" ")
    word, _, body = rest.strip().partition(b" ")
    name = text(word)
    if name not in verbs:
        raise Refusal("usage", f"unknown verb {name!r}; there are {', '.join(verbs)}")
    try:
        request = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refusal("usage", f"the request is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise Refusal("usage", "the request is not a JSON object")
    for key, value in request.items():
        _check(name, verbs[name].keys, key, value)
    return name, {key: value for key, value in request.items() if value is not None}


def _check(verb: str, keys: Mapping[str, tuple[type, ...]], key: str, value: Any) -> None:
    if key not in keys:
        raise Refusal("usage", f"{verb} has no key {key!r}; there are {', '.join(sorted(keys)) or 'none'}")
    if value is not None and type(value) not in keys[key]:
        raise Refusal("usage", f"{key} is {keys[key][0].__name__}, not {type(value).__name__}")
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise Refusal("usage", f"{key} has too many digits")


def strings(value: Any) -> list[str]:
    """Return a list of texts, also for a single one."""
    values = [value] if isinstance(value, str) else value
    if not all(isinstance(item, str) for item in values):
        raise Refusal("usage", "a list of texts is wanted")
    return list(values)


def send(conn: Connection, *objects: Object) -> None:
    """Answer with one line an object."""
    conn.reply(b"".join([json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in objects]))
