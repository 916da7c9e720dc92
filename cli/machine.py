"""What this machine says about a directory, its disk, its clock and a process: for `gearstore doctor`. Linux only."""

import contextlib
import ctypes
import os
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Optional

BLOCK = 8192  # bytes: a page of the database
ROUNDS, LONGEST = 50, 1.0  # syncs, and seconds after which no other one is begun
UNSYNCHRONISED = 5  # what adjtimex() returns then


class Mount(NamedTuple):
    """A file system: its type and mount options."""

    kind: str
    options: set[str]


class Device(NamedTuple):
    """A disk: its name, whether it turns, and whether the kernel tells it to flush its cache (None: unknown)."""

    name: str
    rotates: bool
    flushes: Optional[bool]


class Syncs(NamedTuple):
    """How long syncs took, in seconds."""

    median: float
    worst: float
    p99: float = 0.0


class Thread(NamedTuple):
    """How many seconds a process's first thread has run, and waited for a processor though it could have run."""

    ran: float
    waited: float


def mount_of(path: Path) -> Mount:
    """Return the file system that a path lies on."""
    found, longest = Mount("unknown", set()), -1
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(" "), right.split(" ", 2)
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[4])
        if path.is_relative_to(point) and len(point) >= longest:  # of two on one point the later one is seen
            longest = len(point)
            found = Mount(kind, {*fields[5].split(","), *options.split(",")})
    return found


def device_of(path: Path) -> Optional[Device]:
    """Return the disk that a path lies on, None if there is no single one to be seen."""
    number = path.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    for disk in (block, block.parent):  # a partition has no queue of its own
        if (disk / "queue").is_dir():
            cache = text_of(disk / "queue/write_cache")
            return Device(
                disk.name, text_of(disk / "queue/rotational") == "1", cache == "write back" if cache else None
            )
    return None


def text_of(path: Path) -> str:
    """Return what a small file holds, nothing if it can't be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def measure_syncs(directory: Path, rounds: int = ROUNDS) -> Syncs:
    """Return how long some syncs took; raise OSError if the directory may not be written to."""
    times = sync_times(directory, rounds, LONGEST)
    return Syncs(statistics.median(times), max(times), sorted(times)[int(len(times) * 0.99)])


def sync_times(directory: Path, rounds: int, longest: float) -> list[float]:
    """Write to a nameless file as the server writes to its log, and return the seconds that each sync took."""
    with tempfile.TemporaryFile(dir=directory) as file:
        fd = file.fileno()
        os.write(fd, bytes(BLOCK * rounds))
        os.fsync(fd)
        times: list[float] = []
        began = time.perf_counter()
        while len(times) < rounds and time.perf_counter() - began < longest:
            os.pwrite(fd, os.urandom(BLOCK), BLOCK * len(times))
            start = time.perf_counter()
            os.fdatasync(fd)
            times.append(time.perf_counter() - start)
    return times


def is_virtual() -> bool:
    """Whether this is a virtual machine, whose disk is what its host makes of it."""
    return "hypervisor" in re.findall(r"\w+", text_of(Path("/proc/cpuinfo"))[:10_000])


def clock_is_synchronised() -> Optional[bool]:
    """Whether the kernel's clock follows a time server, None if that can't be told."""
    with contextlib.suppress(OSError, AttributeError):
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))  # all zero: only asks
        return None if state < 0 else state != UNSYNCHRONISED
    return None


def open_files(pid: int) -> tuple[Optional[int], Optional[int]]:
    """Return how many files a process has open, and how many it may have; None for what we may not know."""
    limit = re.search(r"^Max open files\s+(\d+)", text_of(Path(f"/proc/{pid}/limits")), re.MULTILINE)
    used = None
    with contextlib.suppress(OSError):
        used = len(os.listdir(f"/proc/{pid}/fd"))
    return used, int(limit[1]) if limit else None


def thread_of(pid: int) -> Thread:
    """Return what the scheduler knows of a process's first thread; OSError when there is no such process."""
    ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return Thread(int(ran) / 1e9, int(waited) / 1e9)


def loads(pid: int, library: str) -> bool:
    """Whether a process has a library loaded, as far as we may see."""
    return library in text_of(Path(f"/proc/{pid}/maps"))
