"""Addresses as people write them: HOST, HOST:PORT, [IPV6]:PORT, tls:HOST:PORT, unix:PATH."""

import ipaddress
import os
from dataclasses import dataclass, replace

DEFAULT_PORT = 4730
UNIX, TLS = "unix:", "tls:"
UNIX_LIMIT = 107  # bytes: sun_path of Linux is 108 with its NUL


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen on or to connect to: a Unix socket if `path` is set, else TCP.

    An empty `host` means every address of the machine. An `optional` one is passed over where the
    machine doesn't have it (the default ::1 on a machine without IPv6). `role` is what is given to those who connect
    where it is listened on; empty, it depends on where they are (access.py).
    """

    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    optional: bool = False
    tls: bool = False
    role: str = ""

    def __str__(self) -> str:
        return f"{TLS if self.tls else ''}{self.place}"

    @property
    def place(self) -> str:
        """The address without what is spoken there."""
        if self.path:
            return UNIX + self.path
        host = self.host or "*"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def near(self) -> bool:
        """Whether only this machine reaches it."""
        return bool(self.path) or self.host == "localhost" or is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether this is a number of the machine itself; a name is not."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """Return the address that the text names; raise ValueError if it names none."""
    if text.startswith(TLS):
        address = parse_address(text[len(TLS) :], default_port)
        if address.tls or address.path:
            raise ValueError(f"{text} is not tls:HOST, tls:HOST:PORT or tls:[IPV6]:PORT")
        return replace(address, tls=True)
    if text.startswith(UNIX):
        path = os.path.expanduser(text[len(UNIX) :])
        if not 1 <= len(os.fsencode(path)) <= UNIX_LIMIT or "\0" in path:
            raise ValueError(f"{text} is not a path of 1 to {UNIX_LIMIT} bytes")
        return Address(port=0, path=path)
    host, port = split_port(text)
    number = default_port if port is None else int(port) if port.isdecimal() and port.isascii() else -1
    odd = host.isdecimal() or f"{host}:" in (UNIX, TLS) or any(sign in host for sign in "/[], \t\0")
    if odd or not 0 <= number <= 65535:
        raise ValueError(f"{text} is not HOST, HOST:PORT, [IPV6]:PORT, tls:HOST:PORT or unix:PATH")
    return Address("" if host == "*" else host, number)


def split_port(text: str) -> tuple[str, str | None]:
    """Return host and port, which is None if the text names only a host; IPv6 may stand without brackets."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        ipaddress.IPv6Address(host.partition("%")[0])
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text} is not [IPV6]:PORT")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        ipaddress.IPv6Address(text.partition("%")[0])
        return text, None
    host, colon, port = text.partition(":")
    if not host and not colon:
        raise ValueError("an empty text is not an address")
    return host, port if colon else None
