"""The inputs that every run begins with, and the words that make up the protocol."""

from __future__ import annotations

from functools import cache
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
FOLDERS = {
    "parser": "requests", "client": "answers", "connection": "requests", "text": "lines", "manage": "management",
    "verbs": "choices", "settings": "settings",
}  # fmt: skip
LONGEST = {"parser": 250, "connection": 1500, "client": 250, "text": 300, "manage": 600, "verbs": 200, "settings": 60}


def inputs(target: str) -> list[Path]:
    """Return the inputs of a target that are kept in the tree."""
    return sorted(path for path in (CORPUS / FOLDERS[target]).iterdir() if path.is_file())


@cache
def words() -> list[bytes]:
    """Return what libFuzzer may put together: headers, handles, commands, keys."""
    # Imported late: atheris looks into what is imported after it.
    from gearstore.protocol.packets import REQ, RES, PacketType
    from gearstore.server.management import VERBS
    from gearstore.server.text import COMMANDS

    found = [magic + kind.to_bytes(4, "big") + b"\0\0\0\x08" for kind in PacketType for magic in (REQ, RES)]
    found += [b"H:fuzz:%012d" % number for number in range(1, 12)] + [b"\0", b"\r\n", b"f\0", b"sleepy", b"exceptions"]
    found += [*COMMANDS, b"function ", b"job ", b"unique jobs"]
    found += [b"gearstore " + name.encode() for name in VERBS] + [name.encode() + b" {" for name in VERBS]
    found += [b'"%s":' % key.encode() for key in sorted({key for verb in VERBS.values() for key in verb.keys})]
    return list(dict.fromkeys(found))


def dictionary() -> str:
    """Return the words as libFuzzer reads them."""
    return "".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words())
