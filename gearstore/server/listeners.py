"""Sockets to listen on: those that systemd passes, and those we open; and who has the port if it is taken."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gearstore.address import TLS, UNIX, Address, parse_address
from gearstore.config import Config
from gearstore.errors import ConfigError
from gearstore.server.accepting import Acceptor
from gearstore.server.limits import Limits

Factory = Callable[[], asyncio.Protocol]

MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # this machine doesn't have that address
FIRST_PASSED = 3  # sd_listen_fds(3): the sockets that systemd passes are the descriptors from this one on


class Listener:
    """One address that clients connect to; `path` is the socket's file that has to go with it."""

    def __init__(self, name: str, acceptors: Sequence[Acceptor], path: str = "") -> None:
        self.name = name
        self.acceptors = acceptors
        self.path = path

    def close(self) -> None:
        """Accept no more."""
        for acceptor in self.acceptors:
            acceptor.close()
        if self.path:
            with suppress(OSError):
                os.unlink(self.path)
            self.path = ""


async def listen(config: Config, factory_for: Callable[[Address], Factory], limits: Limits) -> list[Listener]:
    """Listen on what systemd passes and on every configured address that is not among it.

    Raises ConfigError that says which one is not to be had, and why.
    """
    passed = {_name(sock): sock for sock in passed_sockets(os.environ)}
    configured = {address.place: address for address in config.listen}
    listeners: list[Listener] = []
    try:
        for name, sock in passed.items():
            address = configured.get(name) or replace(parse_address(name), tls=config.tls and not name.startswith(UNIX))
            sock.listen(config.backlog)
            acceptor = Acceptor(sock, factory_for(address), limits, address.tls)
            listeners.append(Listener(f"{_spoken(address, name)} (from systemd)", [acceptor]))
        for address in config.listen:
            if address.place in passed:
                continue
            try:
                sockets = await open_sockets(address, config.backlog)
                names = [str(address)] if address.path else [_shown(sock.getsockname()) for sock in sockets]
                acceptors = [Acceptor(sock, factory_for(address), limits, address.tls) for sock in sockets]
                spoken = ", ".join(_spoken(address, name) for name in names)
                listeners.append(Listener(spoken, acceptors, address.path))
            except OSError as error:
                if not (address.optional and error.errno in MISSING):
                    raise ConfigError(f"cannot listen on {address}: {_reason(address, error)}") from None
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    if not listeners:
        raise ConfigError("none of the addresses to listen on is to be had on this machine")
    return listeners


def passed_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd has opened for this process, and take them out of the environment.

    They stay open in systemd while we restart: clients that connect meanwhile wait instead of being refused.
    """
    pid, number = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not number.isdecimal():
        return []
    return [_adopt(fd) for fd in range(FIRST_PASSED, FIRST_PASSED + int(number))]


def _adopt(fd: int) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        fits = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        fits = False
    if not fits:
        raise ConfigError("systemd passes something else than a listening socket: use ListenStream= and Accept=no")
    sock.setblocking(False)
    return sock


async def open_sockets(address: Address, backlog: int) -> list[socket.socket]:
    """Return the sockets that listen on an address: several for a name that has several addresses, and for `*`."""
    if address.path:
        _clear_stale(address.path)
        return [_open(socket.AF_UNIX, address.path, backlog)]
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, name in dict.fromkeys((family, name) for family, _, _, _, name in found):
        try:
            sockets.append(_open(family, name, backlog))
        except OSError as error:
            failure = error
            if error.errno not in MISSING:
                break
    if failure is not None and (not sockets or failure.errno not in MISSING):
        for sock in sockets:
            sock.close()
        raise failure
    return sockets


def _open(family: int, name: Any, backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _clear_stale(path: str) -> None:
    """Remove a socket that a killed server left behind; one that answers stays and makes us fail."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise OSError(errno.EADDRINUSE, "another server answers there")


def _reason(address: Address, error: OSError) -> str:
    taken = error.errno == errno.EADDRINUSE or "address already in use" in str(error).lower()
    if not taken:
        return f"{error.strerror or error}; choose another address with --listen"
    owner = _owner(address.port) if not address.path else None
    # The service may not look into the processes of other users, an administrator may.
    who = f"by {owner}" if owner else "by another process (ss -ltnp shows root which one)"
    return f"it is in use {who}; stop that server or choose another address with --listen"


def _owner(port: int) -> str | None:
    """Return name and number of the process that listens on a port, as far as we may see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for fd in (process / "fd").iterdir():
                if os.readlink(fd) in inodes:
                    name = (process / "comm").read_text().strip()
                    return f"{name} (process {process.name})"
    return None


def _spoken(address: Address, name: str) -> str:
    """Return the name of a place with what is spoken and given there."""
    return f"{TLS if address.tls else ''}{name}{f', role {address.role}' if address.role else ''}"


def _name(sock: socket.socket) -> str:
    """Return the address of a socket as the configuration writes it."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"*:{port}" if host in ("::", "0.0.0.0") else _shown((host, port))


def _shown(name: tuple[str, int]) -> str:
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
