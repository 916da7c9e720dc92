"""Room that is kept for what has to be stored whatever happens: the ends of jobs that are stored already.

While there is enough of it, a file beside the database takes it up. When the disk is full, the file goes, and what has
to be stored gets its place; new jobs are refused until the file can be made again. Where files may not be longer than a
limit (`ulimit -f`), the last pages below it are kept in the same way.
"""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from contextlib import suppress

from gearstore.errors import StoreFull

SIZE = 16 << 20  # bytes; on a small file system a share of it
SHARE = 8
FREE_SHARE = 4  # of it become free pages of the database when it is needed
MOVED_IN = "DROP TABLE IF EXISTS room"  # its pages are free then; a start does it for a server that ended before
PROBE = 64 << 10  # bytes that must be to be had where a write failed for another reason
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LARGEST = 0xFFFFFFFE  # pages that SQLite allows


class NoRoom(StoreFull):
    """There is no room on the disk, and the reserve may be used."""


class Reserve:
    """The room that one database keeps."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.held = False
        self._file = f"{path}.reserve"
        (self._limit, _) = resource.getrlimit(resource.RLIMIT_FSIZE)

    @property
    def limited(self) -> bool:
        """Whether files may not be longer than a limit."""
        return self._limit != resource.RLIM_INFINITY

    def take(self, writer: sqlite3.Connection) -> None:
        """Keep the room, or raise NoRoom."""
        size = self._size()
        if (self.limited and self._used(writer) > self._limit - size) or not _allocate(self._file, size):
            self.release(writer)
            raise NoRoom(f"{self.path}: the disk is full")
        self._allow(writer, self._limit - size)
        self.held = True

    def release(self, writer: sqlite3.Connection | None = None) -> bool:
        """Give the room to the database; return whether there was any."""
        self.held = False
        if writer is not None:
            self._allow(writer, self._limit)
        with suppress(OSError):
            os.unlink(self._file)
            return True
        return False

    def move_in(self, writer: sqlite3.Connection) -> None:
        """Release the room and bring it into the database at once, before another program takes it: empty the log, for
        which the file may have to grow, then add free pages to it. Raises sqlite3.Error where there is less of it."""
        size = self._size() // FREE_SHARE
        self.release(writer)
        writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        writer.execute("CREATE TABLE IF NOT EXISTS room (data BLOB)")
        writer.execute("INSERT INTO room VALUES (zeroblob(?))", (size,))
        writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        writer.execute(MOVED_IN)

    def explains(self, error: sqlite3.Error) -> bool:
        """Whether it is for want of room that a write failed. SQLite itself only knows of a disk that is full, not of a
        quota, of a limit of files, or of the file that it shares with others."""
        code = getattr(error, "sqlite_errorcode", 0)
        if code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE):
            return self._at_limit() or not _allocate(f"{self.path}.probe", PROBE, keep=False)
        return code & 0xFF == sqlite3.SQLITE_FULL

    def _size(self) -> int:
        try:
            system = os.statvfs(os.path.dirname(self.path))
        except OSError:
            return SIZE
        return min(SIZE, system.f_blocks * system.f_frsize // SHARE, self._limit // SHARE if self.limited else SIZE)

    def _used(self, writer: sqlite3.Connection) -> int:
        """Return the bytes that the database needs."""
        names = ("page_count", "freelist_count", "page_size")
        pages, free, page_size = (int(writer.execute(f"PRAGMA {name}").fetchone()[0]) for name in names)
        return (pages - free) * page_size

    def _allow(self, writer: sqlite3.Connection, size: int) -> None:
        """Let the database have so many bytes, if files have a limit."""
        if self.limited:
            (page_size,) = writer.execute("PRAGMA page_size").fetchone()
            writer.execute(f"PRAGMA max_page_count = {min(size // page_size, LARGEST)}").fetchone()

    def _at_limit(self) -> bool:
        if not self.limited:
            return False
        sizes = [os.stat(name).st_size for name in (self.path, f"{self.path}-wal") if os.path.exists(name)]
        return max(sizes, default=0) + PROBE > self._limit


def _allocate(file: str, size: int, keep: bool = True) -> bool:
    """Have a file take up so many bytes; return whether there is room. Only want of room counts."""
    try:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)
            if not keep:
                os.unlink(file)
    except OSError as error:
        return error.errno not in NO_ROOM
    return True
