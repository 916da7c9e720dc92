"""The server's configuration: read from flags, environment and a TOML file, checked once, then frozen.

Flags win over the environment, the environment over the file, the file over the defaults. What the
options are called and mean stands in options.py.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gearstore.address import Address, parse_address
from gearstore.errors import ConfigError
from gearstore.options import FOREIGN, OPTIONS, Option

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
    manage_from: str  # "loopback" or "any"
    db: Path
    memory: bool
    sync: str  # "full" or "interval:MS"
    window: int
    job_retries: int  # attempts in all; 0: no limit
    max_interruptions: int  # 0: no limit
    round_robin: bool
    worker_wakeup: int  # 0: all
    priority_scope: str  # "function" or "global"
    exceptions: bool
    job_handle_prefix: bytes
    max_packet: int
    max_output: int
    file_descriptors: int  # 0: leave the limit alone
    drain_timeout: float
    loop: str  # "auto", "uvloop" or "asyncio"
    log_level: int  # as in logging
    log_file: str  # "stderr", "none" or a path
    pid_file: Path | None
    # Where it came from, so that SIGHUP can read it again.
    flags: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    file: Path | None = field(default=None, compare=False)

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
    values = {option.name: find_value(option, given, environ, table, file) for option in OPTIONS}
    listen_given = values["listen"] is not None
    for option in OPTIONS:
        if values[option.name] is None:
            values[option.name] = option.default(environ) if callable(option.default) else option.default
    values["listen"] = listen_addresses(values["listen"], values["port"], listen_given)
    values["db"] = Path(values["db"])
    values["pid_file"] = Path(values["pid_file"]) if values["pid_file"] else None
    if values["memory"]:
        warnings.append("--memory: nothing is stored, every job is lost when the server ends")
    return Config(**values, flags=given, file=file), warnings


def reload_config(config: Config, environ: Mapping[str, str]) -> Loaded:
    """Return the configuration read anew, with the old value (and a warning) where a new one needs a restart."""
    new, warnings = load_config(config.flags, environ, config.file)
    kept: dict[str, Any] = {}
    for option in OPTIONS:
        old_value = getattr(config, option.name)
        if not option.reloadable and getattr(new, option.name) != old_value:
            kept[option.name] = old_value
            warnings.append(f"{option.name}: the new value takes effect when the server is restarted")
    return replace(new, **kept), warnings


def find_value(
    option: Option, flags: Mapping[str, Any], environ: Mapping[str, str], table: Mapping[str, Any], file: Path | None
) -> Any:
    """Return the option's checked value from the strongest source that has one, or None."""
    if option.name in flags:
        return check(option, flags[option.name], option.flags[0].partition("/")[0], (str, bool))
    for name in (option.env, *option.other_env):
        if text := environ.get(name):
            return check(option, text.replace(",", " ").split() if option.repeated else text, name, (str,))
    if option.name in table:
        return check(option, table[option.name], f"{file}: {option.name}", option.kind.toml)
    return None


def check(option: Option, raw: Any, where: str, types: tuple[type, ...]) -> Any:
    """Return the value that raw stands for; `where` names its place in the error."""
    if option.repeated:
        items = [raw] if isinstance(raw, str) else raw
        if not isinstance(items, Sequence):
            raise ConfigError(f"{where}: {raw!r} is not a list of {option.kind.expect}")
        return tuple(check_one(option, item, where, types) for item in items)
    return check_one(option, raw, where, types)


def check_one(option: Option, raw: Any, where: str, types: tuple[type, ...]) -> Any:
    # type() and not isinstance(): true is no number, though Python says so.
    if type(raw) not in types:
        raise ConfigError(f"{where}: {raw!r} is not {option.kind.expect}")
    try:
        return option.kind.parse(str(raw))
    except (ValueError, KeyError):
        raise ConfigError(f"{where}: {raw!r} is not {option.kind.expect}") from None


def listen_addresses(texts: Sequence[str], port: int, given: bool) -> tuple[Address, ...]:
    """Return each address once, with the port where it names none."""
    addresses = dict.fromkeys(parse_address(text, port) for text in texts)
    if not addresses:
        raise ConfigError("listen: the list is empty; name at least one address, or leave it out for loopback")
    if given:
        return tuple(addresses)
    # The default ::1 must not keep a machine without IPv6 from starting.
    return tuple(replace(address, optional=":" in address.host) for address in addresses)


def foreign_warnings(flags: Mapping[str, Any]) -> list[str]:
    """Return a warning for each option of gearmand that has no meaning here; refuse those that must not be ignored."""
    warnings = []
    for foreign in FOREIGN:
        if flags.get(foreign.name, False) is False:
            continue
        if foreign.refused:
            raise ConfigError(f"{foreign.flags[0]}: {foreign.advice}")
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
    names = [option.name for option in OPTIONS]
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key.replace("-", "_"), names, 1)
            hint = f"did you mean {near[0]}?" if near else "the keys are " + ", ".join(names)
            raise ConfigError(f"{file}: {key} is not an option of gearstore; {hint}")
    return table
