"""Options that several commands have in common, written once."""

from typing import Any

import typer

DEFAULT_SERVER = "127.0.0.1:4730"

SERVER: Any = typer.Option(
    DEFAULT_SERVER,
    "--server",
    "-s",
    envvar="GEARSTORE_SERVER",
    metavar="ADDR",
    help="Server to talk to: HOST, HOST:PORT, [IPV6]:PORT or unix:PATH.",
)
JSON: Any = typer.Option(False, "--json", envvar="GEARSTORE_JSON", help="Print JSON, one object a line.")
