"""What is configured, told in the words of the configuration file, and where each value came from."""

import json
import re
from collections.abc import Iterable
from textwrap import wrap
from typing import Any, NamedTuple

from gearstore.access import KEYS as GRANT_KEYS
from gearstore.access import NO_ROLE
from gearstore.access import TABLE as CERTIFICATES
from gearstore.config import Config
from gearstore.options import OPTIONS
from gearstore.policies import KEYS, TABLE, Policy, PolicyKey, write_value

DEFAULT = "default"
WIDTH = 110
SPECIAL = re.compile(r"[*?[]")  # what is more than itself in a glob


class Setting(NamedTuple):
    """One value as the file would hold it (None: not set), and who set it: a flag, a variable, a file, the default."""

    name: str
    value: Any
    source: str


def options_of(config: Config) -> list[Setting]:
    """Return every option."""
    return [
        Setting(option.name, written(option.kind.write, option.repeated, getattr(config, option.name)), source)
        for option in OPTIONS
        for source in [config.sources.get(option.name, DEFAULT)]
    ]


def policy_of(config: Config, function: bytes) -> list[Setting]:
    """Return the policy of a function."""
    policy = config.policies.of(function)
    return [Setting(key.name, write_value(key, policy), policy_source(config, function, key)) for key in KEYS]


def policy_source(config: Config, function: bytes, key: PolicyKey) -> str:
    """Return the table that decides a key for a function, or the option that stands behind it."""
    rule = config.policies.rule_of(function, key.name)
    if rule is not None:
        return f"{config.file} [{TABLE}.{toml(rule.glob)}]"
    if not key.option:
        return DEFAULT
    source = config.sources.get(key.option, DEFAULT)
    return source if key.option == key.name else f"{key.option}, {source}"


def rights_of(config: Config, name: str) -> list[Setting]:
    """Return what a certificate with this name may do, nothing if it is turned away."""
    if not config.grants:
        return [Setting(key.name, None, "the role of the address") for key in GRANT_KEYS]
    rights = config.grants.of((name,))
    if rights is None:
        return []
    grants = config.grants.about((name,))
    sources = {key: f"{config.file} [{CERTIFICATES}.{toml(grant.glob)}]" for grant in grants for key in grant.values}
    role = next((grant.values["role"] for grant in reversed(grants) if "role" in grant.values), NO_ROLE)
    behind = sources.get("role", DEFAULT)
    return [
        Setting("role", role, behind),
        Setting("submit", list(rights.submit.globs), sources.get("submit", f"role, {behind}")),
        Setting("work", list(rights.work.globs), sources.get("work", f"role, {behind}")),
    ]


def written(write: Any, repeated: bool, value: Any) -> Any:
    """Return a value, or each of several, as the file would hold it."""
    return [write(each) for each in value] if repeated else write(value)


def toml(value: Any) -> str:
    """Return a value in TOML, whose texts, lists and numbers are written as in JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml(each)}" for name, each in value.items()) + " }"
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def table_name(name: str, table: str = TABLE) -> str:
    """Return the head of the table that is about exactly this function, or certificate: signs that match others are in
    brackets."""
    glob = SPECIAL.sub(r"[\g<0>]", name)
    return f"[{table}.{toml(glob)}]"


def as_file(settings: Iterable[Setting]) -> str:
    """Return settings as lines of a configuration file, with their sources as comments in a column."""
    lines = [
        (f"{name} = {toml(value)}" if value is not None else f'# {name} = ""', source)
        for name, value, source in settings
    ]
    width = max((len(line) for line, _ in lines if len(line) <= 60), default=0)
    return "".join(f"{line:<{width}}  # {source}\n" for line, source in lines)


HEAD = """\
# The configuration of `gearstore serve`: this file is named with --config or GEARSTORE_CONFIG.
# Flags win over variables of the environment (GEARSTORE_ and the name in capitals), those win over this file.
# SIGHUP reads it again. Commented lines show the defaults; FILE and TEXT stand for none, or for one that depends on
# the machine. `gearstore config check --config FILE` tells whether a file is right.
"""
SAMPLE = Policy(**{key.name: option.default for key in KEYS for option in OPTIONS if option.name == key.option})
POLICIES = f"""
# Functions: any number of tables, each for the functions whose name its glob (* ? [...]) matches. Where several
# match, what a later one says wins, key by key.

#[{TABLE}."GLOB"]
"""
GRANTS = f"""
# Certificates: any number of tables, each about those who show a certificate with a name that the glob matches (where
# TLS is spoken, and tls_ca asks for one). Without a role it is monitor. With no table at all, every certificate of the
# CA may do what the role of the address allows.

#[{CERTIFICATES}."GLOB"]
"""


def sample() -> str:
    """Return a configuration file that explains everything and sets nothing."""
    text, group = HEAD, ""
    for option in OPTIONS:
        if option.group != group:
            group = option.group
            text += f"\n# {group}\n"
        default = option.default
        value = None if callable(default) else written(option.kind.write, option.repeated, default)
        text += explained(option.name, option.kind.metavar if value is None else value, option.help)
    text += POLICIES
    for key in KEYS:
        default = f" (default: {key.option}, for all functions)" if key.option else ""
        text += explained(key.name, write_value(key, SAMPLE), key.help + default)
    text += GRANTS
    for grant in GRANT_KEYS:
        text += explained(grant.name, ["*"] if grant.repeated else "user", grant.help)
    return text


def explained(name: str, value: Any, help: str) -> str:
    """Return a commented line, with what it means above it."""
    return "\n" + "".join(f"# {line}\n" for line in wrap(help, WIDTH)) + f"#{name} = {toml(value)}\n"
