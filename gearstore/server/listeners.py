"""Sockets to listen on, and who has the port if it is taken."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gearstore.address import Address
from gearstore.config import Config
from gearstore.errors import ConfigError


class Listener:
    """One address that clients connect to."""

    def __init__(self, address: Address, server: asyncio.Server) -> None:
        self.server = server
        self.path = address.path
        names = [sock.getsockname() for sock in server.sockets]
        self.name = str(address) if address.path else ", ".join(_shown(name) for name in names)

    def close(self) -> None:
        """Accept no more."""
        self.server.close()
        if self.path:
            with suppress(OSError):
                os.unlink(self.path)
            self.path = ""


async def listen(config: Config, factory: Callable[[], asyncio.Protocol]) -> list[Listener]:
    """Listen on every configured address. Raises ConfigError that says which one is not to be had, and why."""
    listeners: list[Listener] = []
    try:
        for address in config.listen:
            try:
                listeners.append(await _listen(address, config.backlog, factory))
            except OSError as error:
                if not (address.optional and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)):
                    raise ConfigError(f"cannot listen on {address}: {_reason(address, error)}") from None
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    if not listeners:
        raise ConfigError("none of the addresses to listen on is to be had on this machine")
    return listeners


async def _listen(address: Address, backlog: int, factory: Callable[[], asyncio.Protocol]) -> Listener:
    loop = asyncio.get_running_loop()
    if not address.path:
        server = await loop.create_server(factory, address.host or None, address.port, backlog=backlog)
        return Listener(address, server)
    _clear_stale(address.path)
    return Listener(address, await loop.create_unix_server(factory, address.path, backlog=backlog))


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
    who = f"by {owner}" if owner else "by another process"
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


def _shown(name: tuple[str, int]) -> str:
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
