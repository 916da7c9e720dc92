"""`gearstore config`: what a server is configured to do, and whether a configuration is right."""

import json
import os
from pathlib import Path
from typing import List, Optional, Tuple

from gearstore.access import TABLE as CERTIFICATES
from gearstore.config import Config, load_config
from gearstore.errors import ConfigError
from gearstore.settings import Setting, as_file, options_of, policy_of, rights_of, sample, table_name

from . import output
from .client import Connection, Row, text_of
from .errors import CommandError, Unreachable, UsageError
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


def settings_here(file: Optional[str], request: Row) -> List[Setting]:
    """Return the settings that a server would start with here."""
    config = load(file)
    if "certificate" in request:
        if settings := rights_of(config, request["certificate"]):
            return settings
        raise CommandError(f"nothing is granted to {request['certificate']}: it is turned away")
    return policy_of(config, os.fsencode(request["function"])) if "function" in request else options_of(config)


def settings_of(server: str, request: Row) -> List[Setting]:
    """Return the settings that a running server uses."""
    with Connection(server) as connection:
        return [Setting(**row) for row in connection.manage("config", request)]


def find_settings(file: Optional[str], request: Row, server: str) -> Tuple[str, List[Setting]]:
    """Return whose settings these are, and the settings."""
    if file is None:
        try:
            return f"in use by the server at {server}", settings_of(server, request)
        except Unreachable as error:
            output.say(f"{error}; this is what a server started here would use")
    return "for a server that is started here", settings_here(file, request)


def show(
    function: Optional[str] = option(None, "--function", "-f", metavar="NAME", help="Show the policy of a function."),
    certificate: Optional[str] = option(
        None, "--certificate", metavar="NAME", help="Show what those may do whose certificate has this name."
    ),
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
    if function is not None and certificate is not None:
        raise UsageError("--function and --certificate exclude each other")
    request: Row = {"function": text_of(os.fsencode(function))} if function is not None else {}
    if certificate is not None:
        request["certificate"] = certificate
    whose, settings = find_settings(file, request, server)
    if as_json:
        output.write("".join(json.dumps(setting._asdict()) + "\n" for setting in settings))
        return
    table = "" if certificate is None else table_name(certificate, CERTIFICATES) + "\n"
    table = table if function is None else table_name(text_of(os.fsencode(function))) + "\n"
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
