"""The text protocol: words of a line, and the exact bytes of the answers. Pure formatting, no meaning.

Follows gearmand 1.1.20 byte for byte (`libgearman-server/text.cc`): lists end with `.` and a bare newline, `OK` and
`ERR` lines with CR LF, except `OK <value>`.
"""

from __future__ import annotations

from collections.abc import Iterable

OK = b"OK\r\n"
UNKNOWN_JOB = b"ERR UNKNOWN_JOB\r\n"
UNKNOWN_ERROR = b"ERR UNKNOWN_ERROR\r\n"
UNKNOWN_SHOW_ARGUMENTS = b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"
TOO_MANY_ARGUMENTS = b"ERR INVALID_ARGUMENTS Too+many+arguments\r\n"
FUNCTION_NOT_FOUND = b"ERR function not found\r\n"
FUNCTION_IN_USE = b"ERR there are still connected workers or executing clients\r\n"
MAX_WORDS = 5

# Bytes that would break a row of `workers` or a line of `status`: control bytes, and for ids the space as well.
_CONTROL = bytes(range(0x20)) + b"\x7f"
_CLEAN_NAME = bytes.maketrans(_CONTROL, b"?" * len(_CONTROL))
_CLEAN_ID = bytes.maketrans(_CONTROL + b" ", b"_" * (len(_CONTROL) + 1))


def words(line: bytes) -> list[bytes]:
    """Return the words of a line: separated by spaces (not tabs), a NUL ends a word, the first may be empty."""
    found = [word.split(b"\0", 1)[0] for word in line.split(b" ")]
    return found[:1] + [word for word in found[1:] if word]


def unknown_command(word: bytes) -> bytes:
    """Return the answer to a word that is no command."""
    return b"ERR UNKNOWN_COMMAND Unknown+server+command%s\r\n" % word


def incomplete(command: bytes) -> bytes:
    """Return the answer to a command whose arguments are missing."""
    return b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+%s\r\n" % command


def refused(code: bytes, text: bytes) -> bytes:
    """Return the answer to a command that was understood and is refused."""
    return b"ERR %s %s\r\n" % (code, text.replace(b" ", b"+"))


def value(text: str) -> bytes:
    """Return `OK text`."""
    return b"OK %s\n" % text.encode()


def table(rows: Iterable[Iterable[bytes | int]]) -> bytes:
    """Return rows of tab-separated columns, ended by a dot."""
    return b"".join([b"%s\n" % b"\t".join(map(_cell, row)) for row in rows]) + b".\n"


def _cell(content: bytes | int) -> bytes:
    return b"%d" % content if isinstance(content, int) else content


def status(rows: Iterable[tuple[bytes, int, int, int]]) -> bytes:
    """Return the table of `status`: name, jobs, running, workers. Each row by one format: there may be thousands of
    functions, and monitors ask every second (docs/performance.md, "Scale")."""
    lines = [b"%s\t%d\t%d\t%d\n" % (clean_name(name), jobs, running, workers) for name, jobs, running, workers in rows]
    return b"".join(lines) + b".\n"


def clean_name(name: bytes) -> bytes:
    """Return a function name that can't break a line. A tab stays out too: monitoring splits rows at tabs."""
    return name.translate(_CLEAN_NAME)


def clean_id(client_id: bytes) -> bytes:
    """Return a worker's id without white space and control bytes, which would break the row of `workers`."""
    return client_id.translate(_CLEAN_ID)


def worker_row(fd: int, address: bytes, client_id: bytes, functions: Iterable[bytes]) -> bytes:
    """Return one line of `workers`: `FD ADDRESS ID : FUNCTION...`."""
    names = b"".join([b" %s" % clean_name(name) for name in functions])
    return b"%d %s %s :%s\n" % (fd, address, clean_id(client_id), names)
