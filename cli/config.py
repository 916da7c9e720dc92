"""`gearstore config`: what a server is configured to do, and whether a configuration is right."""

import json
import os
from pathlib import Path
from typing import List, Optional, Tuple

from gearstore.config import Config, load_config
from gearstore.errors import ConfigError
from gearstore.settings import Setting, as_file, options_of, policy_of, sample, table_name

from . import output
from .client import Connection, text_of
from .errors import Unreachable, UsageError
from .options import JSON, SERVER, option
from .serve import check_certificates

FILE = option(None, "--config", "--config-file", metavar="FILE", help="Configuration file (TOML).")


def load(file: Optional[str]) -> Config:
    """Return what `gearstore serve` would use here, and print its warnings."""
    named = file or os.environ.get("GEARSTORE_CONFIG")
    try:
        config, warnings = load_config({}, os.environ, Path(named) if named else None)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    for warning in warnings:
        output.say(warning)
    return config


def settings_here(file: Optional[str], function: Optional[str]) -> List[Setting]:
    """Return the settings that a server would start with here."""
    config = load(file)
    return options_of(config) if function is None else policy_of(config, os.fsencode(function))


def settings_of(server: str, function: Optional[str]) -> List[Setting]:
    """Return the settings that a running server uses."""
    request = {} if function is None else {"function": text_of(os.fsencode(function))}
    with Connection(server) as connection:
        return [Setting(**row) for row in connection.manage("config", request)]


def find_settings(file: Optional[str], function: Optional[str], server: str) -> Tuple[str, List[Setting]]:
    """Return whose settings these are, and the settings."""
    if file is None:
        try:
            return f"in use by the server at {server}", settings_of(server, function)
        except Unreachable as error:
            output.say(f"{error}; this is what a server started here would use")
    return "for a server that is started here", settings_here(file, function)


def show(
    function: Optional[str] = option(None, "--function", "-f", metavar="NAME", help="Show the policy of a function."),
    file: Optional[str] = FILE,
    as_json: bool = JSON,
    server: str = SERVER,
) -> None:
    """Show each setting and where it comes from: a flag, a variable, the file, or the default.

    The server at --server is asked what it uses: only it knows its own flags and environment. With --config, or if no
    server is there, it is what `gearstore serve` would use with that file (or GEARSTORE_CONFIG) and this environment.
    The output can serve as a configuration file.

    Example: gearstore config show --function fonctionJob
    """
    whose, settings = find_settings(file, function, server)
    if as_json:
        output.write("".join(json.dumps(setting._asdict()) + "\n" for setting in settings))
        return
    table = "" if function is None else table_name(text_of(os.fsencode(function))) + "\n"
    output.write(f"# {whose}\n{table}{as_file(settings)}")


def check(file: Optional[str] = FILE) -> None:
    """Check the configuration file and the environment as `gearstore serve` would; print ok, or what is wrong.

    Example: gearstore config check --config /etc/gearstore/gearstore.toml
    """
    try:
        check_certificates(load(file))
    except ConfigError as error:
        raise UsageError(str(error)) from None
    output.write("ok\n")


def print_sample() -> None:
    """Print a configuration file that explains every setting and, being all comments, sets none.

    Example: gearstore config sample > gearstore.toml
    """
    output.write(sample())
