"""Failures that are alike but for numbers and ids have one cause: what `gearstore failures` groups by."""

from __future__ import annotations

import re
from hashlib import blake2b

LONGEST = 200  # bytes of a cause's text
DIGITS = 12  # of a cause's id, hexadecimal; people type the first few

_UUID = rb"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_HEX = rb"\b(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{6,}\b"  # digits and letters: not a word, not a number
_VARYING = re.compile(rb"%s|\b0[xX][0-9a-fA-F]+|%s|\d+" % (_UUID, _HEX))
_SPACES = re.compile(rb"\s+")


def squeezed(error: bytes) -> bytes:
    """Return the first line of an error with numbers and ids written as `#`."""
    line = error.strip()[: 4 * LONGEST].split(b"\n", 1)[0]
    return _SPACES.sub(b" ", _VARYING.sub(b"#", line)).strip()[:LONGEST]


def cause_of(reason: bytes, error: bytes) -> tuple[int, bytes]:
    """Return the id of a failure's cause, never 0, and its text."""
    text = squeezed(error)
    digest = blake2b(reason + b"\0" + text, digest_size=DIGITS // 2).digest()
    return int.from_bytes(digest, "big") or 1, text
