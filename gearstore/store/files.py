"""What is checked about the database's files before SQLite opens them, and the lock that keeps a second server out.

SQLite itself takes an emptied file, a missing log or one with a broken header for "new" and says nothing.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gearstore.errors import StoreBusy, StoreUnusable

APPLICATION_ID = 0x67737472  # "gstr"
SQLITE_MAGIC = b"SQLite format 3\0"
WAL_MAGICS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


class Lock:
    """An exclusive lock on `FILE.lock`, held as long as the server owns the database. The kernel drops it at death."""

    def __init__(self, path: str) -> None:
        directory = os.path.dirname(path)
        try:
            os.makedirs(directory, mode=0o750, exist_ok=True)
            self._fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
            raise StoreUnusable(
                f"cannot write to {directory} ({reason}): give this user the right to, or choose another file with --db"
            ) from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            digits = os.read(self._fd, 20).strip()
            os.close(self._fd)
            owner = f"process {int(digits)}" if digits.isdigit() else "another process"
            raise StoreBusy(f"{path} is in use by {owner}: stop that server or choose another file with --db") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let another server have the database."""
        os.close(self._fd)


def inspect(path: str, writable: bool = True) -> bool:
    """Refuse a file that is not ours, or not whole, with StoreUnusable; return whether its log is missing."""
    database, log = Path(path), Path(f"{path}-wal")
    if database.is_dir():
        raise StoreUnusable(f"{path} is a directory: name a file with --db")
    if not database.exists():
        if log.exists():
            raise StoreUnusable(f"{path} is missing but its log {log} is there: restore both, or remove the log")
        return False
    try:
        with database.open("rb") as file:
            header = file.read(100)
        with log.open("rb") as file:
            log_header = file.read(4)
    except FileNotFoundError:
        log_header = None
    except OSError as error:
        raise StoreUnusable(f"cannot read {path} ({error.strerror}): check its owner and rights") from None
    if not header:
        raise StoreUnusable(f"{path} is empty: restore it from a backup, or remove it to start with an empty queue")
    if not header.startswith(SQLITE_MAGIC):
        raise StoreUnusable(f"{path} is not a gearstore database: choose another file with --db")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:  # (set before the first table is made)
        raise StoreUnusable(f"{path} is the database of another program: choose another file with --db")
    if writable and not os.access(path, os.W_OK):
        raise StoreUnusable(f"{path} is not writable for this user: change its owner, or run as its owner")
    if log_header and log_header not in WAL_MAGICS:
        raise StoreUnusable(f"{log} is damaged: restore it and {path} from a backup")
    return log_header is None
