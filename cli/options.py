"""How options are declared, and those that several commands have in common."""

from typing import Any

import typer

DEFAULT_SERVER = "127.0.0.1:4730"


def option(default: Any, *flags: str, **settings: Any) -> Any:
    """Return a Typer option whose help names its default only if there is one to name."""
    return typer.Option(default, *flags, show_default=bool(default), **settings)


def argument(default: Any, **settings: Any) -> Any:
    """Return a Typer argument whose help names no default."""
    return typer.Argument(default, show_default=False, **settings)


SERVER = option(
    DEFAULT_SERVER,
    "--server",
    "-s",
    envvar="GEARSTORE_SERVER",
    metavar="ADDR",
    help="Server to talk to: HOST, HOST:PORT, [IPV6]:PORT, tls:HOST:PORT or unix:PATH.",
)
JSON = option(False, "--json", envvar="GEARSTORE_JSON", help="Print JSON, one object a line.")
