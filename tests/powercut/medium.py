"""What a disk holds after a power cut: files and names that were synced, and any part of what was not.

The rules are POSIX's, not those of a file system. Until a sync has returned, each sector of 512 bytes is what it was or
what it became by any of the writes since; a file may be as long as it was, or as it became; names appear and go in
their order or in any other until their directory is synced. After a sync that failed, what was to be synced is readable
as long as the machine runs, and no later sync writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.powercut.recording import Event, Kind

NO_CONTENT = ("-shm", ".reserve", ".probe")  # made anew by a start, and only room
SECTOR = 512  # bytes that a disk writes whole or not at all


class Epoch:
    """What was written to a file between two changes of its length by truncation."""

    def __init__(self, at: int, size: int | None) -> None:
        self.at = at
        self.size = size  # that it was truncated to then, None once that is on the medium
        self.sectors: dict[int, list[tuple[int, bytes]]] = {}  # sector -> its contents, and when
        self.length = 0  # of the file, by its writes


class File:
    """The contents of one file: as a program reads them, and as they may be on the medium."""

    def __init__(self) -> None:
        self.live = bytearray()
        self.durable = bytearray()
        self.epochs = [Epoch(0, None)]
        self.given_up: dict[int, list[tuple[int, bytes]]] = {}  # sectors that no later sync will write

    def write(self, now: int, offset: int, data: bytes) -> None:
        """Take a write."""
        live, end = self.live, offset + len(data)
        if offset > len(live):
            live += bytes(offset - len(live))
        live[offset:end] = data
        epoch = self.epochs[-1]
        epoch.length = max(epoch.length, end)
        for sector in range(offset // SECTOR, (end - 1) // SECTOR + 1):
            content = bytes(live[sector * SECTOR : (sector + 1) * SECTOR])
            epoch.sectors.setdefault(sector, []).append((now, content))

    def truncate(self, now: int, size: int) -> None:
        """Take a change of length."""
        _resize(self.live, size)
        self.epochs.append(Epoch(now, size))

    def synced(self, begin: int) -> None:
        """Everything written before `begin` is on the medium."""
        for number, epoch in enumerate(self.epochs):
            if epoch.at > begin:
                self.epochs = self.epochs[number:]
                return
            if epoch.size is not None:
                _resize(self.durable, epoch.size)
                self.given_up = {sector: each for sector, each in self.given_up.items() if sector * SECTOR < epoch.size}
                epoch.size = None
            for sector, contents in list(epoch.sectors.items()):
                before = [content for at, content in contents if at < begin]
                if before:
                    _put(self.durable, sector, before[-1])
                    self.given_up.pop(sector, None)
                    epoch.sectors[sector] = contents[len(before) :]
                    if not epoch.sectors[sector]:
                        del epoch.sectors[sector]
            if epoch.sectors:
                self.epochs = self.epochs[number:]
                return
        self.epochs = self.epochs[-1:]
        self.epochs[0].length = 0

    def not_synced(self, begin: int) -> None:
        """The kernel gives up what was written before `begin`, and calls it clean."""
        for epoch in self.epochs:
            for sector, contents in list(epoch.sectors.items()):
                self.given_up.setdefault(sector, []).extend(each for each in contents if each[0] < begin)
                epoch.sectors[sector] = [each for each in contents if each[0] >= begin]
                if not epoch.sectors[sector]:
                    del epoch.sectors[sector]

    def image(self, choice: Choice) -> bytes:
        """Return what may be on the medium."""
        data = bytearray(self.durable)
        for sector, contents in self.given_up.items():
            _choose(data, sector, contents, choice)
        for epoch in self.epochs:
            if epoch.size is not None:
                if not choice.truncated(epoch.at):
                    break  # what was written behind it went into blocks that nobody finds
                _resize(data, epoch.size)
            for sector, contents in epoch.sectors.items():
                _choose(data, sector, contents, choice)
            if epoch.length > len(data) and choice.lengthened(epoch.at):
                _resize(data, epoch.length)
        return bytes(data)


Name = tuple[int, str, File | None]
"""When a name changed, and what it means since. With a NUL in it: the second name took the place of the first."""


class Choice:
    """What a power cut leaves of what was not synced: nothing."""

    def content(self, contents: list[tuple[int, bytes]]) -> bytes | None:
        """Return what a sector became, None for what it was."""
        return None

    def truncated(self, at: int) -> bool:
        """Whether a change of length happened."""
        return False

    lengthened = truncated

    def names(self, pending: list[Name]) -> list[Name]:
        """Return the changes of names that happened."""
        return []


class Everything(Choice):
    """All of it: the machine went on for long enough; only the process ended."""

    def content(self, contents: list[tuple[int, bytes]]) -> bytes | None:
        """See `Choice`."""
        return contents[-1][1]

    def truncated(self, at: int) -> bool:
        """See `Choice`."""
        return True

    lengthened = truncated

    def names(self, pending: list[Name]) -> list[Name]:
        """See `Choice`."""
        return pending


class Prefix(Everything):
    """All that was done before a time, and nothing after: a disk that keeps the order."""

    def __init__(self, until: int) -> None:
        self.until = until

    def content(self, contents: list[tuple[int, bytes]]) -> bytes | None:
        """See `Choice`."""
        before = [content for at, content in contents if at < self.until]
        return before[-1] if before else None

    def truncated(self, at: int) -> bool:
        """See `Choice`."""
        return at < self.until

    lengthened = truncated

    def names(self, pending: list[Name]) -> list[Name]:
        """See `Choice`."""
        return [each for each in pending if each[0] < self.until]


class Chance(Choice):
    """Any part of it: each sector, each length and each name by itself."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.share = random.choice((0.03, 0.3, 0.5, 0.7, 0.97))  # of the sectors that were written

    def content(self, contents: list[tuple[int, bytes]]) -> bytes | None:
        """See `Choice`."""
        random = self.random
        if random.random() >= self.share:
            return None
        return contents[-1][1] if random.random() < 0.7 else random.choice(contents)[1]

    def truncated(self, at: int) -> bool:
        """See `Choice`."""
        return self.random.random() < 0.5

    lengthened = truncated

    def names(self, pending: list[Name]) -> list[Name]:
        """See `Choice`."""
        if self.random.random() < 0.5:
            return pending[: self.random.randint(0, len(pending))]
        return [each for each in pending if self.random.random() < 0.5]


class Medium:
    """The files below one directory, followed event by event."""

    def __init__(self, directory: str, contents: dict[str, bytes] | None = None) -> None:
        self.directory = directory
        self.names: dict[str, File] = {}
        self.durable_names: dict[str, File] = {}
        self.pending: list[Name] = []
        self.now = 0
        self._concerned: set[int] = set()
        self._opened: dict[int, File | None] = {}  # None: the directory
        self._begun: dict[int, list[int]] = {}  # syncs under way: since when
        for name, content in (contents or {}).items():
            file = self.names[f"{directory}/{name}"] = self.durable_names[f"{directory}/{name}"] = File()
            file.live, file.durable = bytearray(content), bytearray(content)

    def concerns(self, event: Event) -> bool:
        """Whether an event has to do with this directory; asked of each event of a record, in order."""
        if event.kind in (Kind.OPEN, Kind.UNLINK, Kind.RENAME):
            path = event.data.decode().partition("\0")[0]
            mine = path == self.directory or path.startswith(f"{self.directory}/")
            if event.kind is Kind.OPEN:
                self._concerned = self._concerned - {event.id} | ({event.id} if mine else set())
            return mine
        return event.kind is not Kind.SEND and event.id in self._concerned

    def take(self, event: Event) -> None:
        """Follow one event."""
        self.now += 1
        if handler := HANDLERS.get(event.kind):
            handler(self, event)

    def _start(self, event: Event) -> None:
        """Follow a new process: nothing of the last one is under way any more."""
        self._opened.clear()
        self._begun.clear()

    def _open(self, event: Event) -> None:
        path = event.data.decode()
        if path.endswith(NO_CONTENT):
            self._opened.pop(event.id, None)
            return
        if path == self.directory:
            self._opened[event.id] = None
            return
        if path not in self.names:
            self.names[path] = File()
            self.pending.append((self.now, path, self.names[path]))
        self._opened[event.id] = self.names[path]

    def _write(self, event: Event) -> None:
        if file := self._opened.get(event.id):
            file.write(self.now, event.offset, event.data)

    def _truncate(self, event: Event) -> None:
        if file := self._opened.get(event.id):
            file.truncate(self.now, event.offset)

    def _sync(self, event: Event) -> None:
        self._begun.setdefault(event.id, []).append(self.now)

    def _synced(self, event: Event) -> None:
        begin = self._begun[event.id].pop(0)
        if event.id not in self._opened:
            return
        if file := self._opened[event.id]:
            file.synced(begin)
            return
        for at, path, meant in self.pending:
            if at < begin:
                _rename(self.durable_names, path, meant)
        self.pending = [each for each in self.pending if each[0] >= begin]

    def _not_synced(self, event: Event) -> None:
        begin = self._begun[event.id].pop(0)
        if file := self._opened.get(event.id):
            file.not_synced(begin)

    def _unlink(self, event: Event) -> None:
        path = event.data.decode()
        if self.names.pop(path, None):
            self.pending.append((self.now, path, None))

    def _rename(self, event: Event) -> None:
        old, new = event.data.decode().split("\0")
        file = self.names[new] = self.names.pop(old)
        # In one step, whatever comes between: both names or neither.
        self.pending.append((self.now, f"{old}\0{new}", file))

    def image(self, choice: Choice) -> dict[str, bytes]:
        """Return the files that a power cut may leave now, by name."""
        names = dict(self.durable_names)
        for _, path, file in choice.names(self.pending):
            _rename(names, path, file)
        return {path.rpartition("/")[2]: file.image(choice) for path, file in sorted(names.items())}


HANDLERS: dict[Kind, Callable[[Medium, Event], None]] = {
    Kind.START: Medium._start,
    Kind.OPEN: Medium._open,
    Kind.WRITE: Medium._write,
    Kind.TRUNCATE: Medium._truncate,
    Kind.SYNC: Medium._sync,
    Kind.SYNCED: Medium._synced,
    Kind.NOT_SYNCED: Medium._not_synced,
    Kind.UNLINK: Medium._unlink,
    Kind.RENAME: Medium._rename,
}


def _rename(names: dict[str, File], path: str, file: File | None) -> None:
    """Let a name mean a file or nothing; with a NUL in it, the second name instead of the first."""
    old, _, new = path.rpartition("\0")
    if old:
        names.pop(old, None)
    if file is None:
        names.pop(new, None)
    else:
        names[new] = file


def _choose(data: bytearray, sector: int, contents: list[tuple[int, bytes]], choice: Choice) -> None:
    content = choice.content(contents)
    if content is not None:
        _put(data, sector, content)


def _put(data: bytearray, sector: int, content: bytes) -> None:
    start = sector * SECTOR
    if start > len(data):
        data += bytes(start - len(data))
    data[start : start + len(content)] = content


def _resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data += bytes(size - len(data))
