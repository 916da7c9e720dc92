"""What a server did to its files and told its peers, written down by recorder.c; and the faults it is told to meet."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import subprocess
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import NamedTuple

SOURCE = Path(__file__).with_name("recorder.c")
HEADER = Struct("=IIQQ")
COMPILE = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]


class Kind(IntEnum):
    """What happened; the numbers are those of recorder.c."""

    START = 0
    OPEN = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    SYNCED = 5
    NOT_SYNCED = 6
    UNLINK = 7
    RENAME = 8
    SEND = 9


class Event(NamedTuple):
    """One line of the record. `id` is that of an opened file or the port of a peer."""

    kind: Kind
    id: int
    offset: int
    data: bytes


class Faults(ctypes.Structure):
    """How many calls have to fail from now on (-1: all), and how; see recorder.c."""

    _fields_ = [
        ("room", ctypes.c_int64),
        ("syncs", ctypes.c_int32),
        ("writes", ctypes.c_int32),
        ("reads", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("failed", ctypes.c_int32),
        ("young", ctypes.c_int32),
        ("dies", ctypes.c_int32),
    ]

    def heal(self) -> None:
        """Let nothing fail any more."""
        self.syncs = self.writes = self.reads = self.young = self.dies = 0
        self.room = -1


def compiler_is_there() -> bool:
    """Tell whether the recorder can be made."""
    return shutil.which("cc") is not None


class Recorder:
    """Makes the library, and the environment in which a process is recorded."""

    def __init__(self, folder: Path, directory: Path) -> None:
        library = folder / "recorder.so"
        if not library.exists():
            subprocess.run([*COMPILE, "-o", str(library), str(SOURCE), "-ldl", "-lpthread"], check=True)
        self.directory = directory.resolve()
        self.log = folder / f"{directory.name}.events"
        control = folder / f"{directory.name}.faults"
        control.write_bytes(bytes(ctypes.sizeof(Faults)))
        with control.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.faults = Faults.from_buffer(self._memory)
        self.faults.error = errno.EIO
        self.faults.heal()
        self.variables = {
            "LD_PRELOAD": str(library),
            "POWERCUT_DIRECTORY": str(self.directory),
            "POWERCUT_LOG": str(self.log),
            "POWERCUT_FAULTS": str(control),
        }

    def mend(self) -> None:
        """Cut off the event that a kill may have left in half, before others follow it."""
        if self.log.exists():
            os.truncate(self.log, sum(HEADER.size + len(event.data) for event in events(self.log)))


def events(log: Path) -> Iterator[Event]:
    """Yield what was written down, but for half an event at the end."""
    with log.open("rb") as file:
        while len(header := file.read(HEADER.size)) == HEADER.size:
            kind, id, offset, length = HEADER.unpack(header)
            data = file.read(length)
            if len(data) == length:
                yield Event(Kind(kind), id, offset, data)
