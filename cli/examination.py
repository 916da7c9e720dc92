"""The checks of `gearstore doctor`: functions in the table CHECKS, each of which yields findings.

A finding with an advice is something to do.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

from gearstore import __version__
from gearstore.access import parse_listen
from gearstore.address import Address
from gearstore.config import load_config
from gearstore.errors import ConfigError, GearstoreError

from . import machine
from .client import Row
from .errors import CommandError, Unreachable
from .render import age, amount, duration, escaped, iso

GRACE = 60_000  # milliseconds that a job may wait before its function is said to have no worker
LOG_LIMIT = 64 << 20
SPACE_LIMIT, SPACE_SHARE = 256 << 20, 0.05
FILES_SHARE = 0.8
MOST_FUNCTIONS = 10  # of which something is told
TOO_FAST, TOO_FAST_TURNING, SLOW = 20e-6, 1e-3, 20e-3  # seconds of a sync
EXPIRY = 30 * 86_400_000  # milliseconds before a certificate expires
LATELY = 86_400_000  # milliseconds since a limit was met
CLOCK_LIMIT = 60_000  # milliseconds that a job may lie ahead
FLEETING = {"tmpfs", "ramfs", "devtmpfs"}
DISTANT = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "glusterfs", "fuse.sshfs", "fuse.glusterfs"}
LAYERED = {"overlay", "aufs"}


class Finding(NamedTuple):
    """What was seen, and what to do about it (nothing, if all is well)."""

    sentence: str
    advice: str = ""


@dataclass(slots=True)
class Patient:
    """All that the checks look at."""

    address: str
    file: Optional[Path]  # configuration
    database: Optional[Path] = None
    hello: Optional[Row] = None
    trouble: Optional[CommandError] = None  # why there is no hello
    functions: list[Row] = field(default_factory=list)
    total: Row = field(default_factory=dict)
    connections: list[Row] = field(default_factory=list)
    settings: Row = field(default_factory=dict)
    limits: list[Row] = field(default_factory=list)
    now: int = 0


def server(patient: Patient) -> Iterator[Finding]:
    """Who answers."""
    hello = patient.hello
    if hello is None:
        if patient.trouble is not None:
            start = "start it: gearstore serve, or systemctl start gearstore"
            yield Finding(
                str(patient.trouble), start if isinstance(patient.trouble, Unreachable) else "name its --server"
            )
        return
    yield Finding(f"gearstore {hello['version']} answers, up since {iso(hello['started_at'])}")
    if hello["version"] != __version__:
        yield Finding(f"this command is of version {__version__}", "restart the server to have it run the newer one")
    if hello["draining"]:
        yield Finding("it is ending and gives out no jobs", "wait for its end, or end the jobs that still run")


def configuration(patient: Patient) -> Iterator[Finding]:
    """Is the file right, and what does it give up."""
    try:
        _, warnings = load_config({}, os.environ, patient.file)
        for warning in warnings:
            yield Finding(warning, "correct the configuration")
        yield Finding(f"{patient.file or 'no file'}: right")
    except ConfigError as error:
        yield Finding(str(error), "correct it before the next start or reload, which would fail")
    settings = patient.settings
    if settings.get("memory"):
        yield Finding("jobs are kept in memory only: all are lost when the server ends", "take --memory away")
    if str(settings.get("sync", "full")) != "full":
        yield Finding(f"a power cut may lose jobs (sync {settings['sync']})", 'set sync = "full" if none may be lost')


def network(patient: Patient) -> Iterator[Finding]:
    """Who can reach it and what may they do there; are certificates good; who is kept from working."""
    settings = patient.settings
    for address in map(parse_listen, settings.get("listen") or []):
        if not address.near:
            yield from about_address(address, bool(settings.get("tls_ca")))
    if settings.get("tls_cert"):
        yield about_certificate(settings, patient.now)
    for row in patient.connections:
        if row.get("denied"):
            who = f"{row['address']} ({', '.join(row['certificate'] or [row['client_id']])})"
            yield Finding(
                f"{who} asks to work on {', '.join(row['denied'][:MOST_FUNCTIONS])}, which it may not",
                "grant it to its certificate ([certificates] in the configuration), or stop it",
            )
    if settings.get("listen"):
        yield Finding(f"it listens on {', '.join(settings['listen'])}")


def about_address(address: Address, certificates: bool) -> Iterator[Finding]:
    """Look at an address that other machines reach."""
    if not address.tls:
        yield Finding(
            f"it listens on {address} without TLS: whoever reaches that can have workers run jobs, and anybody between "
            "can read them",
            "write tls: before it (docs/security.md), or listen on loopback",
        )
    elif not certificates:
        yield Finding(
            f"it listens on {address} and asks for no certificate: whoever reaches that can have workers run jobs",
            "name the CA of your clients with tls_ca, or let a firewall allow only machines that you trust",
        )
    if address.role == "admin" and not (address.tls and certificates):
        yield Finding(
            f"everybody who reaches {address} may cancel and purge jobs",
            "take role=admin away from it; give it to certificates ([certificates]), or use the Unix socket",
        )


def about_certificate(settings: Row, now: int) -> Finding:
    """Look at the server's certificate."""
    from gearstore.tls import Files, server_context

    cert, key, ca = (settings.get(f"tls_{name}") for name in ("cert", "key", "ca"))
    try:
        own = server_context(Files(Path(str(cert)), Path(key) if key else None, Path(ca) if ca else None))
    except ConfigError as error:
        return Finding(str(error), "correct it before the next start or reload, which would fail")
    expires = round(own.expires * 1000)
    sentence = f"the certificate in {cert} ({', '.join(own.names)}) is good until {iso(expires)}"
    return Finding(sentence, "make a new one, then reload" if expires - now < EXPIRY else "")


def database(patient: Patient) -> Iterator[Finding]:
    """Is it there, ours, and closed in order."""
    path = patient.database
    if path is None:
        return
    if not os.path.exists(path):
        advice = "run gearstore doctor as the server's user, or as root"
        yield Finding(f"there is no {path} that this user may see", advice if patient.hello else "")
        return
    from gearstore.store.view import snapshot

    try:
        with snapshot(str(path)) as (connection, view):
            jobs, size = connection.execute(
                "SELECT coalesce(sum(jobs), 0), coalesce(sum(bytes), 0) FROM counts"
            ).fetchone()
            (clean,) = connection.execute("SELECT value FROM meta WHERE name = 'clean'").fetchone()
            newest = connection.execute("SELECT created_at FROM jobs ORDER BY id DESC LIMIT 1").fetchone()
    except GearstoreError as error:
        yield Finding(str(error), "see what it says; gearstore check tells more of a damaged one")
        return
    yield Finding(f"{path} holds {amount(jobs, 'job')} of {amount(size, 'byte')}")
    log = Path(f"{path}-wal")
    if not view.owner and not clean and not os.path.exists(log):
        yield Finding(
            f"it was not closed and its log {log.name} is gone: the last jobs may be lost with it",
            "put the log back if somebody has moved it, before a server starts",
        )
    if os.path.exists(log) and log.stat().st_size > LOG_LIMIT:
        yield Finding(
            f"its log has grown to {log.stat().st_size >> 20} MiB: something reads the database without end",
            f"find it (fuser {path}) and end it; a restart of the server empties the log",
        )
    if newest and newest[0] > patient.now + CLOCK_LIMIT:
        yield Finding(
            f"its newest job was submitted {duration(newest[0] - patient.now)} from now: the clock was set back",
            "set the clock right: delayed jobs and times of the history depend on it",
        )


def rights(patient: Patient) -> Iterator[Finding]:
    """Who may read and write."""
    path = patient.database
    if path is None or not os.path.exists(path):
        return
    owner = path.stat()
    if owner.st_mode & (stat.S_IROTH | stat.S_IWOTH) and can_be_entered(path.parent):
        yield Finding(f"everybody on this machine may read the jobs in {path}", f"chmod o-rw {path}*")
    for suffix in ("-wal", "-shm", ".lock"):
        beside = Path(f"{path}{suffix}")
        if os.path.exists(beside) and beside.stat().st_uid != owner.st_uid:
            yield Finding(f"{beside} belongs to another user than the database", f"chown --reference={path} {beside}")
    directory = path.parent.stat()
    if owner.st_uid not in (0, directory.st_uid) and not directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding(
            f"the owner of the database may not write to {path.parent}", f"chown {owner.st_uid} {path.parent}"
        )
    if not os.access(path, os.R_OK):
        yield Finding(
            f"this user may not read {path}", "run gearstore doctor as the server's user, or as root, to see more"
        )
    yield Finding(f"{path} is {stat.filemode(owner.st_mode)}, user {owner.st_uid}, group {owner.st_gid}")


def can_be_entered(directory: Path) -> bool:
    """Whether everybody may go into a directory."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (directory, *directory.parents))


def disk(patient: Patient) -> Iterator[Finding]:
    """Is there space, and does the disk keep what it is told to."""
    if patient.database is None or not os.path.isdir(patient.database.parent):
        return
    directory = patient.database.parent.resolve()
    space = shutil.disk_usage(directory)
    sentence = f"{space.free >> 20} MiB are free on {directory}"
    scarce = space.free < max(SPACE_LIMIT, SPACE_SHARE * space.total)
    yield Finding(sentence, "make space, or shorten what is kept (keep_done, gearstore purge)" if scarce else "")
    mount = machine.mount_of(directory)
    if mount.kind in FLEETING:
        yield Finding(
            f"{directory} is in memory ({mount.kind}): it is empty after a reboot", "put the database on a disk"
        )
        return
    if mount.kind in DISTANT:
        yield Finding(
            f"{directory} is on a network ({mount.kind}), where SQLite's locks and log can't be relied on",
            "put the database on a disk of this machine",
        )
    if mount.kind in LAYERED:
        yield Finding(f"{directory} is a layer of a container: it goes with the container", "mount a volume there")
    if {"nobarrier", "barrier=0"} & mount.options:
        yield Finding(f"{directory} is mounted without barriers: a power cut may undo syncs", "mount it with barriers")
    yield from syncs(directory)


def syncs(directory: Path) -> Iterator[Finding]:
    """Measure the disk's syncs and judge whether they can be true."""
    try:
        measured = machine.measure_syncs(directory)
    except OSError as error:
        yield Finding(
            f"syncs of the disk were not measured: {directory}: {error.strerror}", "run gearstore doctor as root"
        )
        return
    yield judged(measured, machine.device_of(directory), machine.is_virtual())


def judged(measured: machine.Syncs, device: Optional[machine.Device], virtual: bool) -> Finding:
    """Say whether the time that syncs take can be true, and whether it is too long."""
    name = f"{device.name}, " if device else ""
    took = f"a sync takes {milliseconds(measured.median)} ({name}the worst of them {milliseconds(measured.worst)})"
    turning = device is not None and device.rotates and not virtual  # virtual disks say so whatever they are
    if measured.median < (TOO_FAST_TURNING if turning else TOO_FAST):
        return Finding(
            f"{took}: faster than such a disk can be, so what is synced may be in a cache only",
            "look for a write cache without battery, a virtual disk with cache=unsafe, or eatmydata",
        )
    if measured.median > SLOW:
        return Finding(
            f"{took}: each answer to a submit waits so long", "use a faster disk; many clients at a time share a sync"
        )
    hidden = "; whether the host of this virtual machine keeps it can't be seen from here" if virtual else ""
    return Finding(took + hidden)


def milliseconds(seconds: float) -> str:
    """Return a short time."""
    return f"{seconds * 1000:.3g} ms"


def commits(patient: Patient) -> Iterator[Finding]:
    """What the disk did for clients: the last minute, or if there was nothing in it, since the start."""
    receipt = patient.total.get("receipt") or {}
    for name, span in (("minute", "in the last minute"), ("start", "since its start")):
        figures = receipt.get(name) or {}
        if figures.get("submits"):
            yield Finding(
                f"{span} {figures['commits_per_second']:g} commits a second, of {figures['jobs_per_commit']:g} jobs "
                f"each; half of the submits were answered within {figures['p50_ms']:.3g} ms, 99 % within "
                f"{figures['p99_ms']:.3g} ms"
            )
            return


def process(patient: Patient) -> Iterator[Finding]:
    """Open files, and what is loaded."""
    if patient.hello is None or not patient.database or not os.path.exists(patient.database):
        return
    pid = patient.hello["pid"]
    if machine.loads(pid, "eatmydata"):
        yield Finding("the server runs under eatmydata, which makes syncs do nothing", "start it without")
    used, limit = machine.open_files(pid)
    used = len(patient.connections) if used is None else used
    if limit is not None:
        scarce = used > FILES_SHARE * limit
        yield Finding(f"{used} of {limit} files are open", "raise LimitNOFILE or --file-descriptors" if scarce else "")


def clock(patient: Patient) -> Iterator[Finding]:
    """Does it follow a time server, and has it been set back."""
    synchronised = machine.clock_is_synchronised()
    if synchronised is not None:
        yield Finding(
            f"the clock {'follows' if synchronised else 'does not follow'} a time server",
            "" if synchronised else "run a time service such as systemd-timesyncd: delayed jobs go by the clock",
        )
    if patient.hello is not None and patient.hello["started_at"] > patient.now + CLOCK_LIMIT:
        yield Finding("the server's start lies ahead: its clock and this one differ", "set both by a time server")


def limits(patient: Patient) -> Iterator[Finding]:
    """Who was refused or dropped, lately."""
    for row in patient.limits:
        if row["met"] and patient.now - row["last_at"] < LATELY:
            since = age(min(row["last_at"], patient.now), patient.now)
            yield Finding(
                f"limit {row['limit']} was met {amount(row['met'], 'time')}, last {since} ago by {row['last_by']}",
                "see gearstore limits and the log: stop who does it, or raise the limit",
            )


def functions(patient: Patient) -> Iterator[Finding]:
    """Pauses that were forgotten, jobs that nobody can run, jobs that wait for an operator."""
    if patient.hello is not None and patient.hello.get("paused_at"):
        yield Finding(f"all functions are paused {pause_words(patient.hello, patient.now)}", "gearstore resume")
    found = [finding for row in patient.functions for finding in about_function(row, patient)]
    yield from found[:MOST_FUNCTIONS]
    if len(found) > MOST_FUNCTIONS:
        yield Finding(f"and {len(found) - MOST_FUNCTIONS} more like these", "see all of them: gearstore status")
    if patient.hello is not None:
        workers = sum(map(is_worker, patient.connections))
        yield Finding(f"{amount(len(patient.functions), 'function')}, {amount(workers, 'worker')}")


def about_function(row: Row, patient: Patient) -> Iterator[Finding]:
    """Look at one function."""
    name = escaped(row["function"])
    if row.get("paused_at"):
        yield Finding(f"{name} is paused {pause_words(row, patient.now)}", f"gearstore resume {name}")
    elif patient.hello is not None and stuck(row, patient.now):
        since = f", the oldest {age(row['oldest_at'], patient.now)} old" if row["oldest_at"] else ""
        yield Finding(
            f"no worker can run {amount(row['queued'], 'job')} of {name}{since}",
            f"start a worker of {name}, or see why it does not connect",
        )
    if row["held"]:
        yield Finding(
            f"{amount(row['held'], 'job')} of {name} held for an operator",
            f"look at them: gearstore jobs --state held -f '{name}'; then release or cancel them",
        )


def is_worker(row: Row) -> bool:
    """Whether a connection has registered functions."""
    return bool(row["functions"])


def stuck(row: Row, now: int) -> bool:
    """Whether jobs have waited for a while and there is no worker for them."""
    return bool(row["queued"] and not row["workers"] and now - (row["oldest_at"] or 0) > GRACE)


def pause_words(row: Row, now: int) -> str:
    """Return how long something has been paused and until when."""
    until = row.get("paused_until")
    return f"for {age(row['paused_at'], now)}" + (f", until {iso(until)}" if until else "")


CHECKS: dict[str, Callable[[Patient], Iterator[Finding]]] = {
    "server": server,
    "config": configuration,
    "network": network,
    "database": database,
    "rights": rights,
    "disk": disk,
    "commits": commits,
    "clock": clock,
    "files": process,
    "limits": limits,
    "functions": functions,
}
