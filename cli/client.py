"""gearstore.client for commands: its blocking connection, with errors that name the option to mend.

What an answer means to the user, the commands decide.
"""

from collections.abc import Iterator
from typing import Optional

from gearstore.address import Address, parse_address
from gearstore.client.core import Row, encode_request
from gearstore.client.core import to_text as text_of
from gearstore.client.sockets import Connection as PlainConnection
from gearstore.client.sockets import is_of_tls

from .errors import CommandError, Refused, Unreachable, UsageError
from .tls import context_for

__all__ = ["Connection", "Row", "address_of", "encode_request", "text_of"]

# What the code in `ERR code text` becomes, where it is not just refused.
FAILURES: dict[str, type[CommandError]] = {"not_found": CommandError, "usage": UsageError}


class Connection(PlainConnection):
    """One connection to the server that the user named; use it in a `with`."""

    def __init__(self, server: str) -> None:
        address = address_of(server)
        try:
            super().__init__(address, context_for(address))
        except Unreachable as error:
            if is_of_tls(error.__cause__):
                raise
            raise Unreachable(f"{error}; is it running? (--server names another)") from None
        self.server = server

    def manage(self, verb: str, request: Optional[Row] = None) -> Iterator[Row]:
        """Ask for one of gearstore's own verbs and yield the objects of the answer."""
        try:
            yield from super().manage(verb, request)
        except Refused as error:
            if error.code in FAILURES:
                raise FAILURES[error.code](str(error)) from None
            raise


def address_of(server: str) -> Address:
    """Return the address that the user named; raise UsageError if it is none."""
    try:
        return parse_address(server)
    except ValueError as error:
        raise UsageError(f"--server: {error}") from None
