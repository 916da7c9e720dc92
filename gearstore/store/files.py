"""What is checked about the database's files before SQLite opens them, the lock that keeps a second server out, and how
those who never write look at them.

SQLite itself takes an emptied file, a missing log or one with a broken header for "new" and says nothing.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from gearstore.errors import StoreBusy, StoreError, StoreUnusable

APPLICATION_ID = 0x67737472  # "gstr"
SQLITE_MAGIC = b"SQLite format 3\0"
LOOK = 0.1  # seconds; longer than somebody who looks whether there is an owner holds the lock
PIECE = 1 << 20  # bytes read at once
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
        if not _take(self._fd, fcntl.LOCK_EX):
            time.sleep(LOOK)  # perhaps somebody only looks whether there is an owner
            if not _take(self._fd, fcntl.LOCK_EX):
                owner = _owner_in(self._fd)
                os.close(self._fd)
                raise StoreBusy(f"{path} is in use by {owner}: stop that server or choose another file with --db")
        with suppress(OSError):  # (on a full disk nobody can be told who we are)
            os.pwrite(self._fd, b"%-19d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let another server have the database."""
        os.close(self._fd)


def _take(fd: int, kind: int) -> bool:
    """Whether the lock was to be had."""
    with suppress(OSError):
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
        return True
    return False


def _owner_in(fd: int) -> str:
    digits = os.pread(fd, 20, 0).strip()
    return f"process {int(digits)}" if digits.isdigit() else "another process"


def owner_of(path: str) -> str:
    """Return which process serves the database, an empty text if none does."""
    try:
        fd = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return "" if _take(fd, fcntl.LOCK_SH) else _owner_in(fd)
    finally:
        os.close(fd)


class View:
    """A database as it looks to those who never write: neither to it nor to its log, and no file is made beside it.

    The file of a server that runs is read as SQLite means it to be. Without one nobody else is asked: SQLite would want
    to write to its shared memory, which a medium may not allow and nobody may own. (With a log that means exclusive
    locking without locks, which keeps the index of the log in memory; without one, a file that cannot change.) So if
    a server starts meanwhile, what was read is worth nothing, and `verify` says so.

    Raises StoreUnusable for what is not a whole database of ours.
    """

    def __init__(self, path: str) -> None:
        self.file = str(Path(path).resolve())
        if not os.path.exists(self.file):
            raise StoreUnusable(
                f"{path} is not there, or not for this user to see: name a server's database, or a backup"
            )
        self.owner = owner_of(self.file)
        self._before = self._stamp()
        inspect(self.file, writable=False)
        has_log = bool(self._before[1] and self._before[1][1])
        flags = "" if self.owner else "&vfs=unix-none" if has_log else "&immutable=1"
        self.uri = f"{Path(self.file).as_uri()}?mode=ro{flags}"
        self.first = "PRAGMA locking_mode = EXCLUSIVE" if has_log and not self.owner else "PRAGMA query_only = ON"

    def outlived(self) -> bool:
        """Whether the server has ended since: its next start empties the log, and must not wait for a look."""
        return bool(self.owner) and not owner_of(self.file)

    def verify(self) -> None:
        """Raise StoreUnusable if somebody has written to a file that nobody owned."""
        if not self.owner and self._stamp() != self._before:
            raise StoreUnusable(f"{self.file} changed while it was read, perhaps a server has started: try again")

    def _stamp(self) -> list[tuple[int, int, int] | None]:
        """Return what tells a file from another, or from its later self: of the database and of its log."""
        found: list[tuple[int, int, int] | None] = []
        for name in (self.file, f"{self.file}-wal"):
            try:
                status = os.stat(name)
            except OSError:
                found.append(None)
            else:
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return found


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
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise StoreUnusable(f"{path} is the database of another program: choose another file with --db")
    if writable and not os.access(path, os.W_OK):
        raise StoreUnusable(f"{path} is not writable for this user: change its owner, or run as its owner")
    if log_header and log_header not in WAL_MAGICS and not _is_blank(log):
        raise StoreUnusable(f"{log} is damaged: restore it and {path} from a backup")
    return log_header is None


def _is_blank(log: Path) -> bool:
    """Whether a log is nothing but zeros: the power was cut when it had got its length and not yet its header, which is
    synced before anything follows it."""
    with log.open("rb") as file:
        return not any(any(piece) for piece in iter(lambda: file.read(PIECE), b""))


def renew_log(path: str) -> None:
    """Have the log on disk as it reads. Raises StoreError.

    After a failed sync a part of it may be known to the kernel only, which takes it for written and never writes it
    again. SQLite would take it for stored, and a power cut in the middle of the checkpoint that follows would leave
    half a transaction in the database. So it is written again, byte for byte, while no SQLite of this process has it.
    """
    log = f"{path}-wal"
    try:
        with open(log, "r+b", buffering=0) as file:
            while piece := file.read(PIECE):
                file.seek(-len(piece), os.SEEK_CUR)
                file.write(piece)
            os.fsync(file.fileno())
        sync(os.path.dirname(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError(f"cannot write {log} ({error.strerror}): look after the disk, then start again") from None


def sync(path: str | Path) -> None:
    """Have a file or directory on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
