"""What the numbers depend on besides the servers: the machine, its disk, and what else ran on it."""

import importlib.metadata
import os
import platform
import re
import resource
import sqlite3
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from servers import find

BLOCK = 4096
VERSIONS = {"gearmand": ["--version"], "redis-server": ["--version"], "beanstalkd": ["-v"]}
SYNCS = 200
SYNC_SECONDS = 3.0  # a slow disk needs fewer of them
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """A reading of the clocks that tell who used the processors; in seconds."""

    at: float
    everyone_user: float
    stolen: float
    server: float
    server_user: float
    own_user: float


@dataclass(frozen=True, slots=True)
class Share:
    """What happened between two readings."""

    server_cpu_s: float
    foreign_cores: float  # user time of processes that are no part of the benchmark, and what the host took away


@dataclass(frozen=True, slots=True)
class Syncs:
    """Microseconds that a write with fdatasync takes."""

    p50: float
    p99: float

    def __str__(self) -> str:
        return f"{self.p50:.0f} us median, {self.p99:.0f} us p99"


def usage(server_pid: int) -> Usage:
    """Read the clocks of the machine, of the server and of this process with its ended children."""
    total = [int(ticks) / TICKS for ticks in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]]
    server = Path(f"/proc/{server_pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(server[11]) / TICKS, int(server[12]) / TICKS
    own = resource.getrusage(resource.RUSAGE_SELF).ru_utime + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    return Usage(time.monotonic(), total[0] + total[1], total[7], user + system, user, own)


def share(before: Usage, after: Usage) -> Share:
    """Return the server's CPU time and the load that others put on the machine between two readings."""
    ours = after.server_user - before.server_user + after.own_user - before.own_user
    foreign = after.everyone_user - before.everyone_user - ours + after.stolen - before.stolen
    return Share(after.server - before.server, max(0.0, foreign / max(after.at - before.at, 1e-6)))


def facts(base: Path) -> dict[str, str]:
    """Describe the machine, the versions and the disk below `base`."""
    return {
        "processors": f"{len(os.sched_getaffinity(0))} x {processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": f"{sqlite3.sqlite_version} (of Python; gearmand brings its own)",
        "uvloop": uvloop_version(),
        **{program: version(program, options) for program, options in VERSIONS.items()},
        "file system": file_system(base),
        "fdatasync, 4 KiB appended": str(sync_latency(base, overwrite=False)),
        "fdatasync, 4 KiB overwritten": str(sync_latency(base, overwrite=True)),
        "load before": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    }


def processor() -> str:
    """Return the processor's name as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def version(program: str, options: list[str]) -> str:
    """Return the first version number that a program says of itself."""
    path = find(program)
    if path is None:
        return "not found"
    answer = subprocess.run([path, *options], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"\d+\.[\w.+~-]+", answer.stdout + answer.stderr)
    return found[0] if found else "unknown"


def uvloop_version() -> str:
    """Return the version of uvloop, if there is one."""
    try:
        return importlib.metadata.version("uvloop")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def file_system(base: Path) -> str:
    """Return the type of the file system of a folder: a memory one makes every durable figure worthless."""
    best, kind = "", "unknown"
    folder = str(base.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, mount, name, *_ = line.split()
        inside = folder == mount or folder.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, name
    return kind + (" (IN MEMORY: durable figures mean nothing)" if kind in ("tmpfs", "ramfs") else "")


def sync_latency(base: Path, overwrite: bool) -> Syncs:
    """Measure a write of one block with fdatasync, the floor of every durable answer on this disk."""
    times: list[float] = []
    block = os.urandom(BLOCK)
    with tempfile.TemporaryFile(dir=base, buffering=0) as file:
        if overwrite:
            file.write(block * SYNCS)
            os.fsync(file.fileno())
            file.seek(0)
        begin = time.monotonic()
        while len(times) < SYNCS and time.monotonic() - begin < SYNC_SECONDS:
            before = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - before) * 1e6)
    times.sort()
    return Syncs(statistics.median(times), times[int(len(times) * 0.99)])
