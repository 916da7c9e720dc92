"""The one table of the server's options: flags, environment variables and TOML keys are all made from it.

It knows nothing about where a value came from (see config.py), and nothing about Typer. Kinds of values: kinds.py.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gearstore.access import ROLES, parse_listen, write_listen
from gearstore.address import DEFAULT_PORT
from gearstore.kinds import (
    BIG,
    GIB,
    KEEP,
    KIB,
    LARGEST_PACKET,
    MIB,
    RESULT,
    SWITCH,
    Kind,
    choice,
    integer,
    size,
    write_number,
)

HANDLE_LIMIT = 63  # bytes: libgearman's GEARMAN_JOB_HANDLE_SIZE is 64 with its NUL
HANDLE_DIGITS = 12
PREFIX_LIMIT = HANDLE_LIMIT - HANDLE_DIGITS - 1

DAY = 86_400_000  # milliseconds
EACH_JOB_ONE = -1  # worker_wakeup: as many workers as there are jobs

# gearmand's words beside Python's; several of gearmand's fall on one of Python's levels.
LOG_LEVELS = {
    "FATAL": logging.CRITICAL,
    "ALERT": logging.CRITICAL,
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "NOTICE": logging.INFO,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option in all its spellings. The name is also its TOML key and its field in Config."""

    name: str
    kind: Kind
    default: Any  # a value, or a function of the environment
    group: str
    help: str
    flags: tuple[str, ...]
    repeated: bool = False
    reloadable: bool = False
    other_env: tuple[str, ...] = ()

    @property
    def env(self) -> str:
        """The environment variable that sets this option."""
        return "GEARSTORE_" + self.name.upper()


@dataclass(frozen=True, slots=True)
class Foreign:
    """An option of gearmand that gearstore takes, but doesn't obey; `advice` says what to do instead."""

    name: str
    flags: tuple[str, ...]
    advice: str
    takes_value: bool = True


def parse_seconds(text: str) -> float:
    """Return a finite number of seconds that is not negative."""
    number = float(text)
    if not 0 <= number <= 1e9:
        raise ValueError(text)
    return number


def check_listen(text: str) -> str:
    """Return the text if it is an address; its port may come later, from another option."""
    parse_listen(text, default_port=0)
    return text


def parse_sync(text: str) -> str:
    """Return `full` or `interval:MS`."""
    word, _, rest = text.lower().partition(":")
    if text.lower() == "full":
        return "full"
    if word != "interval" or not 1 <= int(rest) <= 60_000:
        raise ValueError(text)
    return f"interval:{int(rest)}"


def parse_prefix(text: str) -> bytes:
    """Return the bytes of a handle's prefix, which must leave room for its number."""
    prefix = os.fsencode(text)
    if not 1 <= len(prefix) <= PREFIX_LIMIT or any(byte <= 32 or byte == 127 for byte in prefix):
        raise ValueError(text)
    return prefix


def parse_wakeup(text: str) -> int:
    """Return how many workers a job wakes, EACH_JOB_ONE for `auto`."""
    number = EACH_JOB_ONE if text.lower() == "auto" else int(text)
    if text.startswith("-") or number > BIG:
        raise ValueError(text)
    return number


def parse_path(text: str) -> str:
    """Return the path with a leading ~ resolved."""
    if not text:
        raise ValueError(text)
    return os.path.expanduser(text)


def default_db(environ: Mapping[str, str]) -> str:
    """Return where the jobs are kept: systemd's state directory, the system's, or the user's own."""
    if state := environ.get("STATE_DIRECTORY", "").split(":")[0]:
        return os.path.join(state, "gearstore.db")
    if os.geteuid() == 0:
        return "/var/lib/gearstore/gearstore.db"
    data = environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "gearstore", "gearstore.db")


def default_prefix(environ: Mapping[str, str]) -> bytes:
    """Return `H:` and the host's name, as gearmand does, cut so that a handle fits its 63 bytes."""
    return f"H:{os.uname().nodename or 'localhost'}".encode()[:PREFIX_LIMIT]


def write_path(value: object) -> str | None:
    """Return a path as the file may hold it, None if it is not set."""
    return str(value) if value else None


LISTEN = Kind(
    "ADDRESS",
    "HOST, HOST:PORT, [IPV6]:PORT, tls:HOST:PORT or unix:PATH; behind it may stand ,role= and "
    f"one of {', '.join(ROLES)}",
    check_listen, write=write_listen,
)  # fmt: skip
WAKEUP = Kind(
    "N", f"auto or a whole number from 0 to {BIG}", parse_wakeup, (int, str),
    lambda number: "auto" if number == EACH_JOB_ONE else number,
)  # fmt: skip
PATH = Kind("FILE", "the path of a file", parse_path, write=write_path)
SECONDS = Kind("SECONDS", "a number of seconds", parse_seconds, (int, float, str), write_number)
SYNC = Kind("MODE", "full or interval:MS with 1 to 60000 milliseconds", parse_sync)
PREFIX = Kind("TEXT", f"1 to {PREFIX_LIMIT} bytes without blanks", parse_prefix, write=os.fsdecode)
LEVEL = Kind(
    "LEVEL", "one of " + ", ".join(LOG_LEVELS), lambda text: LOG_LEVELS[text.upper()], write=logging.getLevelName
)

NETWORK, STORE, JOBS, HISTORY, LIMITS, PROCESS = "Network", "Store", "Jobs", "History", "Limits", "Process"

OPTIONS: tuple[Option, ...] = (
    Option(
        "listen", LISTEN, ("127.0.0.1", "[::1]"), NETWORK,
        "Address to listen on: HOST[:PORT], [IPV6]:PORT, tls:HOST[:PORT] or unix:PATH, * is every address; behind it "
        f"may stand ,role= and what may be done there: {', '.join(ROLES)}. May be repeated.",
        ("--listen", "-L"), repeated=True,
    ),
    Option(
        "port", integer(0, 65535), DEFAULT_PORT, NETWORK,
        "Port of the addresses that name none.",
        ("--port", "-p"), other_env=("GEARMAND_PORT",),
    ),
    Option(
        "backlog", integer(1, 65535), 1024, NETWORK,
        "Connections that may wait to be accepted.",
        ("--backlog", "-b"),
    ),
    Option(
        "keepalive", SWITCH, True, NETWORK,
        "Notice peers that vanished without a word (TCP keepalive).",
        ("--keepalive/--no-keepalive",),
    ),
    Option(
        "keepalive_idle", integer(1, 32767), 60, NETWORK,
        "Seconds of silence before the first keepalive probe.",
        ("--keepalive-idle",),
    ),
    Option(
        "keepalive_interval", integer(1, 32767), 15, NETWORK,
        "Seconds between two keepalive probes.",
        ("--keepalive-interval",),
    ),
    Option(
        "keepalive_count", integer(1, 127), 4, NETWORK,
        "Unanswered keepalive probes after which a peer is lost.",
        ("--keepalive-count",),
    ),
    Option(
        "tls", SWITCH, False, NETWORK,
        "Speak TLS on every address but Unix sockets; else it is spoken on those that begin with tls:.",
        ("--tls/--no-tls", "--ssl"),
    ),
    Option(
        "tls_cert", PATH, "", NETWORK,
        "File with the server's certificate and those of the CAs between it and the root, in PEM.",
        ("--tls-cert", "--ssl-certificate"), reloadable=True,
    ),
    Option(
        "tls_key", PATH, "", NETWORK,
        "File with the key of the certificate, if it isn't in the same file.",
        ("--tls-key", "--ssl-key"), reloadable=True,
    ),
    Option(
        "tls_ca", PATH, "", NETWORK,
        "File with the CAs of clients: who has no certificate of theirs is refused where TLS is spoken.",
        ("--tls-ca", "--ssl-ca-file"), reloadable=True,
    ),
    Option(
        "db", PATH, default_db, STORE,
        "The database that holds the jobs.",
        ("--db",),
    ),
    Option(
        "memory", SWITCH, False, STORE,
        "Store nothing: every job is lost when the server ends.",
        ("--memory/--no-memory",),
    ),
    Option(
        "sync", SYNC, "full", STORE,
        "full: an acknowledged job survives a power cut; interval:MS: a power cut may lose the last MS milliseconds.",
        ("--sync",),
    ),
    Option(
        "window", integer(16, BIG), 65536, STORE,
        "Queued jobs of one function and priority that are held in memory; the others wait on disk.",
        ("--window",),
    ),
    Option(
        "job_retries", integer(0, BIG), 6, JOBS,
        "Attempts in all before a job whose workers were lost is failed; 0 is no limit.",
        ("--job-retries", "-j"), reloadable=True,
    ),
    Option(
        "max_interruptions", integer(0, BIG), 5, JOBS,
        "Ends of the server that a running job may see before it is held for the operator; 0 is no limit.",
        ("--max-interruptions",), reloadable=True,
    ),
    Option(
        "round_robin", SWITCH, False, JOBS,
        "Take a worker's functions in turn instead of emptying one after the other.",
        ("--round-robin/--no-round-robin", "-R"), reloadable=True,
    ),
    Option(
        "worker_wakeup", WAKEUP, EACH_JOB_ONE, JOBS,
        "Sleeping workers to wake for each new job; 0 is all of them; auto: one a job, and more when it doesn't come.",
        ("--worker-wakeup", "-w"), reloadable=True,
    ),
    Option(
        "priority_scope", choice("function", "global"), "function", JOBS,
        "function: priorities order the jobs of each function; global: those of all functions of a worker.",
        ("--priority-scope",), reloadable=True,
    ),
    Option(
        "exceptions", SWITCH, False, JOBS,
        "Send every client the exceptions of its jobs, also if it didn't ask for them.",
        ("--exceptions/--no-exceptions",), reloadable=True,
    ),
    Option(
        "job_handle_prefix", PREFIX, default_prefix, JOBS,
        "What handles begin with; by default H: and the host's name.",
        ("--job-handle-prefix",),
    ),
    Option(
        "keep_done", KEEP, KEEP.build({"age": 7 * DAY, "count": 1_000_000, "bytes": GIB}), HISTORY,
        "How long done and cancelled jobs are kept: 7d, age=7d,count=1000000,bytes=1G, forever, or none.",
        ("--keep-done",), reloadable=True,
    ),
    Option(
        "keep_failed", KEEP, KEEP.parse("forever"), HISTORY,
        "How long failed jobs are kept.",
        ("--keep-failed",), reloadable=True,
    ),
    Option(
        "store_result", RESULT, 64 * KIB, HISTORY,
        "Largest result that is kept with its job; also true or false.",
        ("--store-result",), reloadable=True,
    ),
    Option(
        "max_packet", size(64 * KIB, LARGEST_PACKET), 64 * MIB, LIMITS,
        "Largest packet that is taken.",
        ("--max-packet",), reloadable=True,
    ),
    Option(
        "max_output", size(64 * KIB, 64 * GIB), 64 * MIB, LIMITS,
        "Answers that a connection may leave unread before it is dropped.",
        ("--max-output",), reloadable=True,
    ),
    Option(
        "max_buffered", size(MIB, 1 << 50), 256 * MIB, LIMITS,
        "Bytes of packets that have begun and of answers left unread, of all connections; beyond it the one with most "
        "of them is dropped; one packet of the largest size always fits.",
        ("--max-buffered",), reloadable=True,
    ),
    Option(
        "max_line", size(KIB, 16 * MIB), 8 * KIB, LIMITS,
        "Longest line of the text protocol; the verbs of gearstore may have 64K in any case.",
        ("--max-line",), reloadable=True,
    ),
    Option(
        "packet_timeout", SECONDS, 60.0, LIMITS,
        "Seconds that a packet or line may take from its first byte to its last, and again for each MiB of it; 0 is "
        "no limit.",
        ("--packet-timeout",), reloadable=True,
    ),
    Option(
        "reader_timeout", SECONDS, 30.0, LIMITS,
        "Seconds that a peer which is far behind may read none of its answers before it is dropped; 0 is no limit.",
        ("--reader-timeout",), reloadable=True,
    ),
    Option(
        "max_connections", integer(0, BIG), 0, LIMITS,
        "Connections at the same time; 0 is as many as there are open files for.",
        ("--max-connections",), reloadable=True,
    ),
    Option(
        "max_per_address", integer(0, BIG), 0, LIMITS,
        "Connections from one address (of IPv6: from one /64); 0 is half of all, and no limit on this machine.",
        ("--max-per-address",), reloadable=True,
    ),
    Option(
        "max_jobs", integer(0, 10**15), 0, LIMITS,
        "Jobs of all functions, waiting and running, beyond which submits are refused; 0 is no limit.",
        ("--max-jobs",), reloadable=True,
    ),
    Option(
        "max_jobs_bytes", size(0, 1 << 60), 0, LIMITS,
        "Bytes of their workloads beyond which submits are refused; 0 is no limit.",
        ("--max-jobs-bytes",), reloadable=True,
    ),
    Option(
        "max_foreground", size(MIB, 1 << 50), 256 * MIB, LIMITS,
        "Memory for foreground jobs, which are nowhere else: their workloads and 1K each; beyond it they are refused.",
        ("--max-foreground",), reloadable=True,
    ),
    Option(
        "max_functions", integer(1, BIG), 10_000, LIMITS,
        "Functions, each of which takes 6K of memory: beyond it those that nobody uses go, else new names are refused.",
        ("--max-functions",), reloadable=True,
    ),
    Option(
        "file_descriptors", integer(0, BIG), 0, LIMITS,
        "Open files that the server may have, one a connection; 0 leaves the limit as it is.",
        ("--file-descriptors", "-f"),
    ),
    Option(
        "drain_timeout", SECONDS, 30.0, PROCESS,
        "Seconds that running jobs get to end when the server is told to stop.",
        ("--drain-timeout",), reloadable=True,
    ),
    Option(
        "loop", choice("auto", "uvloop", "asyncio"), "auto", PROCESS,
        "The event loop: uvloop, asyncio, or auto, which takes uvloop if it is installed.",
        ("--loop",),
    ),
    Option(
        "log_level", LEVEL, logging.INFO, PROCESS,
        "What is logged: " + ", ".join(LOG_LEVELS) + ".",
        ("--log-level", "--verbose"), reloadable=True,
    ),
    Option(
        "log_file", PATH, "stderr", PROCESS,
        "Where the log goes: a file, stderr, or none.",
        ("--log-file", "-l"),
    ),
    Option(
        "pid_file", PATH, "", PROCESS,
        "File that holds the server's process id while it runs.",
        ("--pid-file", "-P"),
    ),
)  # fmt: skip

ALWAYS_STORES = "gearstore always stores background jobs, in the file that --db names"
NO_HTTP = "gearstore speaks no HTTP; submit with any Gearman client or with `gearstore submit`"

FOREIGN: tuple[Foreign, ...] = (
    Foreign(
        "daemon", ("--daemon", "-d"),
        "gearstore stays in the foreground; let systemd run it, or use setsid", takes_value=False,
    ),
    Foreign("threads", ("--threads", "-t"), "gearstore needs no threads; nothing to do"),
    Foreign("user", ("--user", "-u"), "gearstore keeps the user it is started as; start it with User= or runuser"),
    Foreign("coredump", ("--coredump",), "set the limit of core files outside, with ulimit -c", takes_value=False),
    Foreign("hashtable_buckets", ("--hashtable-buckets",), "gearstore's tables grow by themselves; nothing to do"),
    Foreign(
        "syslog", ("--syslog",),
        "gearstore logs to standard error or to --log-file; under systemd that is the journal", takes_value=False,
    ),
    Foreign("queue_type", ("--queue-type", "-q"), ALWAYS_STORES + "; --memory stores nothing"),
    Foreign("store_queue_on_shutdown", ("--store-queue-on-shutdown",), ALWAYS_STORES, takes_value=False),
    *(
        Foreign(flag.replace("-", "_"), (f"--{flag}",), ALWAYS_STORES)
        for flag in (
            "libsqlite3-db", "libsqlite3-table", "libmemcached-servers", "libmemcached-prefix", "libpq-conninfo",
            "libpq-table", "redis-server", "redis-port", "redis-password", "redis-prefix", "mysql-host", "mysql-port",
            "mysql-user", "mysql-password", "mysql-db", "mysql-table",
        )
    ),
    Foreign("protocol", ("--protocol", "-r"), NO_HTTP),
    Foreign("http_port", ("--http-port",), NO_HTTP),
)  # fmt: skip
