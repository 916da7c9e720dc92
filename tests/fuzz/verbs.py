"""Bytes to requests of the management protocol that are nearly right: each byte chooses among what makes sense.

Of random text hardly anything is JSON, and what libFuzzer learns ends there.
"""

from __future__ import annotations

import json
from typing import Any

from gearstore.server.management import VERBS

HANDLES = [f"H:fuzz:{number:012}" for number in range(1, 16)]
TEXTS = [
    "f", "g", "sleepy", "*", "[", "", "f*", "queued", "running", "failed", "done", "held", "delayed", "cancelled",
    "newest", "oldest", "keep", "drop", "one", "\udcff", "\ud800", "\0\n", "x" * 600, "c29tZQ==", "H:fuzz:99",
    "H:other:000000000001", "000", "fff", "workload",
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 60_000, 1_700_000_050_000, (1 << 63) - 1, 1 << 63, -(1 << 70), 10**9]
NAMES = list(VERBS)
JOB_KEYS = [
    "function", "unique", "workload", "result", "priority", "state", "reducer", "worker", "client", "reason", "error",
    "run_at", "attempts", "interruptions", "created_at", "started_at", "ended_at", "result_size", "events", "handle",
    "intact", "at", "kind", "next_at",
]  # fmt: skip
MOST_LINES = 8


class Choices:
    """Bytes that are used up one by one; behind their end all are 0."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)
        self.left = len(data)

    def next(self) -> int:
        """Return the next byte."""
        self.left -= 1
        return next(self._data, 0)

    def of(self, things: list[Any]) -> Any:
        """Return one of these."""
        return things[self.next() % len(things)]


def lines_of(data: bytes) -> list[bytes]:
    """Return the requests, each without the first word of its line."""
    choices = Choices(data)
    lines = []
    while choices.left > 0 and len(lines) < MOST_LINES:
        name = choices.of(NAMES)
        keys = [key for key in VERBS[name].keys if choices.next() & 3 == 1]
        request = {key: value_for(choices, VERBS[name].keys[key]) for key in keys}
        if choices.next() & 31 == 31:
            request[choices.of(TEXTS)] = value(choices, 1)
        if "piece" in request and choices.next() & 1:
            request["piece"] = json.dumps(job(choices))
        lines.append(b"%s %s" % (name.encode(), json.dumps(request).encode()))
    return lines


def value_for(choices: Choices, types: tuple[type, ...]) -> Any:
    """Return a value of one of these types, nearly always."""
    wanted = types[0] if choices.next() & 15 else None
    if wanted is bool:
        return bool(choices.next() & 1)
    if wanted is int:
        return choices.of(NUMBERS) if choices.next() & 1 else choices.next()
    if wanted is str:
        return choices.of(TEXTS)
    if wanted is list:
        kind = choices.next() % 4
        count = choices.next() % 5
        return [(job(choices) if kind == 3 else choices.of([HANDLES, TEXTS, HANDLES][kind])) for _ in range(count)]
    return value(choices, 2)


def job(choices: Choices) -> dict[str, Any]:
    """Return a job as it might be imported."""
    made: dict[str, Any] = {"function": choices.of(TEXTS)} if choices.next() & 7 else {}
    for _ in range(choices.next() % 8):
        made[choices.of(JOB_KEYS)] = (
            choices.of([HANDLES, TEXTS, NUMBERS, TEXTS, NUMBERS, [[], [{}], None]])
            if (choices.next() & 1)
            else choices.of([*TEXTS, *NUMBERS, *HANDLES])
        )
    for key, found in made.items():
        if isinstance(found, list):
            made[key] = choices.of(found) if found and key != "events" else found
    return made


def value(choices: Choices, depth: int) -> Any:
    """Return anything that JSON can hold."""
    kind = choices.next() % (7 if depth else 5)
    if kind == 0:
        return None
    if kind == 1:
        return bool(choices.next() & 1)
    if kind == 2:
        return choices.of(NUMBERS)
    if kind == 3:
        return choices.of([*TEXTS, *HANDLES])
    if kind == 4:
        return choices.next() / 7
    count = choices.next() % 4
    if kind == 5:
        return [value(choices, depth - 1) for _ in range(count)]
    return {choices.of(TEXTS): value(choices, depth - 1) for _ in range(count)}
