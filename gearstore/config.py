"""The server's configuration: read from flags, environment and a TOML file, checked once, then frozen.

Flags win over the environment, the environment over the file, the file over the defaults. What the
options are called and mean stands in options.py.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gearstore.access import TABLE as CERTIFICATES
from gearstore.access import Grants, parse_listen, read_grants, write_listen
from gearstore.address import Address
from gearstore.errors import ConfigError
from gearstore.kinds import check, meant
from gearstore.options import FOREIGN, OPTIONS, Option
from gearstore.policies import TABLE, Keep, Policies, read_policies

__all__ = ["FOREIGN", "OPTIONS", "Address", "Config", "load_config", "reload_config"]

Loaded = tuple["Config", list[str]]


@dataclass(frozen=True, slots=True)
class Config:
    """Everything an operator can choose. Sizes are bytes; durations are seconds unless the name says otherwise."""

    listen: tuple[Address, ...]
    port: int
    backlog: int
    keepalive: bool
    keepalive_idle: int
    keepalive_interval: int
    keepalive_count: int
    tls: bool
    tls_cert: Path | None
    tls_key: Path | None  # None: in the same file
    tls_ca: Path | None  # None: clients need no certificate
    db: Path
    memory: bool
    sync: str  # "full" or "interval:MS"
    window: int
    job_retries: int  # attempts in all; 0: no limit
    max_interruptions: int  # 0: no limit
    round_robin: bool
    worker_wakeup: int  # 0: all; -1: as many as there are jobs
    priority_scope: str  # "function" or "global"
    exceptions: bool
    job_handle_prefix: bytes
    keep_done: Keep
    keep_failed: Keep
    store_result: int  # bytes of the largest one, 0: none
    max_packet: int
    max_output: int
    max_buffered: int
    max_line: int
    packet_timeout: float  # 0: no limit
    reader_timeout: float  # 0: no limit
    max_connections: int  # 0: as many as there are files for
    max_per_address: int  # 0: half of them, but on this machine
    max_jobs: int  # 0: no limit
    max_jobs_bytes: int  # 0: no limit
    max_foreground: int
    max_functions: int
    file_descriptors: int  # 0: leave the limit alone
    drain_timeout: float
    loop: str  # "auto", "uvloop" or "asyncio"
    log_level: int  # as in logging
    log_file: str  # "stderr", "none" or a path
    pid_file: Path | None
    policies: Policies  # of functions; job_retries and the three above are their defaults
    grants: Grants  # to names in certificates
    # Where it came from, so that SIGHUP can read it again.
    flags: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    file: Path | None = field(default=None, compare=False)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)  # of options that are given

    @property
    def sync_interval_ms(self) -> int | None:
        """Milliseconds between two syncs of the disk, or None if every commit is synced."""
        return None if self.sync == "full" else int(self.sync.partition(":")[2])


def load_config(flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Loaded:
    """Return the configuration and the warnings to print; raise ConfigError if anything in it is wrong.

    `flags` holds values by option name, as text; None and an empty sequence mean "not given".
    """
    given = {name: value for name, value in flags.items() if value is not None and value != [] and value != ()}
    warnings = foreign_warnings(given)
    table = read_file(file) if file is not None else {}
    found = {option.name: find_value(option, given, environ, table, file) for option in OPTIONS}
    values = {name: value for name, (value, _) in found.items()}
    listen_given = values["listen"] is not None
    for option in OPTIONS:
        if values[option.name] is None:
            values[option.name] = option.default(environ) if callable(option.default) else option.default
    values["listen"] = listen_addresses(values["listen"], values["port"], listen_given, values["tls"])
    values["db"] = Path(values["db"])
    values["pid_file"] = Path(values["pid_file"]) if values["pid_file"] else None
    for name in ("tls_cert", "tls_key", "tls_ca"):  # `gearstore doctor` looks at them from elsewhere
        values[name] = Path(values[name]).absolute() if values[name] else None
    grants = read_grants(file, table.get(CERTIFICATES, {}))
    check_tls(values, grants)
    if values["memory"]:
        warnings.append("--memory: nothing is stored, every job is lost when the server ends")
    policies = read_policies(file, table.get(TABLE, {}), values)
    sources = {name: source for name, (_, source) in found.items() if source}
    return Config(**values, policies=policies, grants=grants, flags=given, file=file, sources=sources), warnings


def reload_config(config: Config, environ: Mapping[str, str]) -> Loaded:
    """Return the configuration read anew, with the old value (and a warning) where a new one needs a restart."""
    new, warnings = load_config(config.flags, environ, config.file)
    kept: dict[str, Any] = {}
    for option in OPTIONS:
        old_value = getattr(config, option.name)
        if not option.reloadable and getattr(new, option.name) != old_value:
            kept[option.name] = old_value
            warnings.append(f"{option.name}: the new value takes effect when the server is restarted")
    sources = dict(new.sources)
    for name in kept:
        sources.pop(name, None)
        sources |= {name: config.sources[name]} if name in config.sources else {}
    return replace(new, **kept, sources=sources), warnings


def find_value(
    option: Option, flags: Mapping[str, Any], environ: Mapping[str, str], table: Mapping[str, Any], file: Path | None
) -> tuple[Any, str]:
    """Return the option's checked value from the strongest source that has one, and that source; or None and ""."""
    kind, repeated = option.kind, option.repeated
    if option.name in flags:
        flag = option.flags[0].partition("/")[0]
        return check(kind, flags[option.name], flag, (str, bool), repeated), flag
    for name in (option.env, *option.other_env):
        if text := environ.get(name):
            return check(kind, split_list(text) if repeated else text, name, (str,), repeated), name
    if option.name in table:
        where = f"{place(file, option.name)}: {option.name}"
        return check(kind, table[option.name], where, kind.toml, repeated), str(file)
    return None, ""


def split_list(text: str) -> list[str]:
    """Return the items of a list in a variable; a comma before `role=` belongs to the item."""
    return re.sub(r",(?!role=)", " ", text).split()


def listen_addresses(texts: Sequence[str], port: int, given: bool, tls: bool) -> tuple[Address, ...]:
    """Return each address once, with the port where it names none."""
    addresses: dict[str, Address] = {}
    for text in texts:
        address = parse_listen(text, port)
        address = replace(address, tls=address.tls or (tls and not address.path))
        place = address.place if address.port or address.path else write_listen(address)  # (port 0 is a new one)
        if addresses.setdefault(place, address) != address:
            raise ConfigError(f"listen: {address.place} is named twice, with different roles or with and without TLS")
    if not addresses:
        raise ConfigError("listen: the list is empty; name at least one address, or leave it out for loopback")
    if given:
        return tuple(addresses.values())
    # The default ::1 must not keep a machine without IPv6 from starting.
    return tuple(replace(address, optional=":" in address.host) for address in addresses.values())


def check_tls(values: Mapping[str, Any], grants: Grants) -> None:
    """Raise ConfigError if TLS is asked for without what it needs."""
    spoken = [address for address in values["listen"] if address.tls]
    if spoken and values["tls_cert"] is None:
        raise ConfigError(f"listen: {spoken[0]} needs a certificate; name its file with tls_cert (and tls_key)")
    if grants and values["tls_ca"] is None:
        raise ConfigError(f"[{CERTIFICATES}]: nobody is asked for a certificate; name the file of their CA with tls_ca")


def foreign_warnings(flags: Mapping[str, Any]) -> list[str]:
    """Return a warning for each option of gearmand that has no meaning here."""
    warnings = []
    for foreign in FOREIGN:
        if flags.get(foreign.name, False) is False:
            continue
        warnings.append(f"{foreign.flags[0]} is gearmand's and is ignored: {foreign.advice}")
    return warnings


def read_file(file: Path) -> Mapping[str, Any]:
    """Return the table in the file; raise ConfigError if it can't be read or holds a key that doesn't exist."""
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {os.strerror(error.errno or 0)}; correct the path given with --config") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: not a text in UTF-8; write it as TOML, with lines like port = 4730") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}; it is TOML, with lines like port = 4730") from None
    names = [*(option.name for option in OPTIONS), TABLE, CERTIFICATES]
    for key in table:
        if key not in names:
            raise ConfigError(f"{place(file, key)}: {key} is not an option of gearstore; {meant(key, names)}")
    return table


def place(file: Path | None, key: str) -> str:
    """Return file and line of a key, for an error; the file alone if the key is written in a way that hides it."""
    lines = file.read_text("utf-8").splitlines() if file else []
    pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(key)}["']?\s*[\]=.]""")
    return next((f"{file}, line {number}" for number, line in enumerate(lines, 1) if pattern.match(line)), str(file))
