"""Bytes of a keyboard to names of keys. No input, no output."""

import re

NAMED = {
    b"\r": "enter", b"\n": "enter", b"\x7f": "backspace", b"\x08": "backspace", b"\x03": "ctrl-c", b"\t": "tab",
    b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down", b"\x1b[C": "right", b"\x1bOC": "right",
    b"\x1b[D": "left", b"\x1bOD": "left", b"\x1b[5~": "page up", b"\x1b[6~": "page down", b"\x1b[H": "home",
    b"\x1bOH": "home", b"\x1b[1~": "home", b"\x1b[F": "end", b"\x1bOF": "end", b"\x1b[4~": "end",
}  # fmt: skip
SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)", re.DOTALL)
SIGN = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")  # in UTF-8
UNFINISHED_SIGN = re.compile(rb"[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2}")
UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?")


def decode(data: bytes) -> tuple[list[str], bytes]:
    """Return the keys that were pressed, and the bytes of one that is not complete yet.

    Printable keys are themselves; those without a meaning are left out. A rest of one escape is the key of that name,
    if nothing follows.
    """
    keys: list[str] = []
    while data:
        if UNFINISHED.fullmatch(data):
            break
        sequence = SEQUENCE.match(data)
        sign = SIGN.match(data)
        if UNFINISHED_SIGN.fullmatch(data):
            break
        taken = sequence.end() if sequence else sign.end() if sign else 1
        key, data = data[:taken], data[taken:]
        name = "escape" if key == b"\x1b" else NAMED.get(key) or key.decode("utf-8", "replace")
        if key in NAMED or name == "escape" or name.isprintable():
            keys.append(name)
    return keys, data
