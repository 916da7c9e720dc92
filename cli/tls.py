"""`--tls-ca`, `--tls-cert` and `--tls-key`: what every command that has a --server takes beside it."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional

from gearstore.address import Address
from gearstore.errors import ConfigError

from .errors import UsageError
from .options import option

if TYPE_CHECKING:
    import ssl

HELP = {
    "tls_ca": "The CAs of a tls: server's certificate, instead of the system's.",
    "tls_cert": "The certificate to show to a tls: server that asks for one.",
    "tls_key": "Its key, if it isn't in the same file.",
}
OPTIONS = {
    name: option(
        None, f"--{name.replace('_', '-')}", envvar=f"GEARSTORE_{name.upper()}", metavar="FILE", help=text,
        rich_help_panel="TLS",
    )
    for name, text in HELP.items()
}  # fmt: skip

given: Dict[str, Path] = {}  # by the command that runs: there is one in a process


def with_tls(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options of TLS, if it talks to a server."""
    signature = inspect.signature(command)
    if "server" not in signature.parameters:
        return command

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        given.clear()
        for name in HELP:
            if (file := arguments.pop(name)) is not None:
                given[name] = file
        command(**arguments)

    kind = inspect.Parameter.KEYWORD_ONLY
    own = [
        inspect.Parameter(name, kind, default=default, annotation=Optional[Path]) for name, default in OPTIONS.items()
    ]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *own])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, **dict.fromkeys(HELP, Optional[Path])}
    return run


def context_for(address: Address) -> "Optional[ssl.SSLContext]":
    """Return what is needed to speak TLS with a server, None if it is spoken to in plain text.

    Who has certificates at hand and names a server elsewhere without tls: has forgotten it: that is refused.
    """
    if not address.tls:
        if given and not address.near:
            name = next(iter(given)).replace("_", "-")
            raise UsageError(f"--{name} is given, but {address} means plain text: write tls:{address}")
        return None
    from gearstore.tls import Files, client_context  # (the other commands don't need ssl, which takes a while)

    try:
        return client_context(Files(given.get("tls_cert"), given.get("tls_key"), given.get("tls_ca")))
    except ConfigError as error:
        raise UsageError(f"--{str(error).replace('_', '-', 1)}") from None


def environment() -> Dict[str, str]:
    """Return the variables with which a command that is started here would speak to the same server."""
    return {f"GEARSTORE_{name.upper()}": os.path.abspath(file) for name, file in given.items()}
