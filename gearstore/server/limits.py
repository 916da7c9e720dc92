"""What is said and counted where a limit is met, and how many connections there may be.

Whoever meets a limit may meet it a million times: each is counted, the log gets a line a minute.
"""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from collections.abc import Callable

from gearstore.config import Config
from gearstore.protocol.packets import error

logger = logging.getLogger("gearstore")

QUIET = 60.0  # seconds between two lines about the same limit
RESERVED = 16  # connections over the Unix socket that are let in beyond the limit: somebody has to look
NETWORK_BYTES = 8  # of an IPv6 address: who has one has all that begin alike

# By the name of the option, or of the key of a policy.
LIMITS = (
    "max_packet", "max_line", "packet_timeout", "max_output", "reader_timeout", "max_buffered", "max_connections",
    "max_per_address", "file_descriptors", "max_queue", "max_queue_bytes", "max_jobs", "max_jobs_bytes",
    "max_foreground", "max_functions",
)  # fmt: skip

FULL = error(b"TOO_MANY_CONNECTIONS", b"The server has as many connections as it may have")
FULL_FOR_ADDRESS = error(b"TOO_MANY_CONNECTIONS", b"The server has as many connections from this address as it may")


class Tally:
    """How often a limit was met."""

    __slots__ = ("last_at", "last_by", "met", "quiet_until", "told")

    def __init__(self) -> None:
        self.met = 0
        self.last_at = 0  # milliseconds since 1970
        self.last_by = b""  # an address
        self.told = 0  # how many of them the log knows
        self.quiet_until = float("-inf")


class Limits:
    """The tallies of all limits, and the connections by address."""

    def __init__(self, monotonic: Callable[[], float], now: Callable[[], int]) -> None:
        self.monotonic = monotonic  # seconds
        self.now = now  # milliseconds since 1970
        self.tallies = {name: Tally() for name in LIMITS}
        self.descriptors = 1 << 30  # connections for which there are open files
        self.max_connections = self.max_per_address = self.descriptors
        self.loopback_counts = False
        self.origins: dict[int, bytes] = {}  # by descriptor: what a connection counts for
        self.by_origin: Counter[bytes] = Counter()

    def configure(self, config: Config) -> None:
        """Take over what is configured."""
        self.max_connections = min(config.max_connections or self.descriptors, self.descriptors)
        self.max_per_address = config.max_per_address or max(1, self.max_connections // 2)
        self.loopback_counts = config.max_per_address > 0

    # Tallies

    def met(self, name: str, by: bytes, what: str) -> None:
        """Note that an address met a limit; `what` says in words what became of it."""
        tally = self.tallies[name]
        tally.met += 1
        tally.last_at = self.now()
        tally.last_by = by
        if self.monotonic() >= tally.quiet_until:
            self._told(tally)
            logger.warning("limit %s: %s, %s", name, by.decode(errors="replace"), what)

    def tell(self) -> None:
        """Log what was met since the last line about it, where that is long enough ago."""
        for name, tally in self.tallies.items():
            if tally.met > tally.told and self.monotonic() >= tally.quiet_until:
                more = tally.met - tally.told
                self._told(tally)
                logger.warning(
                    "limit %s: met %d more times, last by %s", name, more, tally.last_by.decode(errors="replace")
                )

    def _told(self, tally: Tally) -> None:
        tally.told = tally.met
        tally.quiet_until = self.monotonic() + QUIET

    # Connections

    def admit(self, fd: int, host: str) -> bytes:
        """Count a connection from an address ("" for the Unix socket) until its `release`; or return the packet that
        refuses it."""
        origin = origin_of(host)
        most = self.max_connections + (0 if host else RESERVED)
        if len(self.origins) >= most:
            self.met("max_connections", shown(host), f"refused, beyond {most} connections")
            return FULL
        if (self.loopback_counts or not is_near(origin)) and self.by_origin[origin] >= self.max_per_address:
            self.met("max_per_address", shown(host), f"refused, beyond {self.max_per_address} connections")
            return FULL_FOR_ADDRESS
        self.origins[fd] = origin
        self.by_origin[origin] += 1
        return b""

    def release(self, fd: int) -> None:
        """A connection has ended."""
        origin = self.origins.pop(fd, None)
        if origin is not None:
            self.by_origin[origin] -= 1
            if not self.by_origin[origin]:
                del self.by_origin[origin]

    def fullest(self) -> int:
        """Return the connections of that address which has most, of those that are limited."""
        limited = (number for origin, number in self.by_origin.items() if self.loopback_counts or not is_near(origin))
        return max(limited, default=0)


def is_near(origin: bytes) -> bool:
    """Whether an origin is this machine: the Unix socket, 127.0.0.0/8 or ::1, which is the only one in full length."""
    return len(origin) in (0, 16) or (len(origin) == 4 and origin[0] == 127)


def shown(host: str) -> bytes:
    """Return an address as it is logged."""
    return host.encode() or b"unix"


def origin_of(host: str) -> bytes:
    """Return what connections from an address are counted by: the address, or the network that one gets in IPv6."""
    if not host:
        return b""
    address = ipaddress.ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return address.packed if address.is_loopback else address.packed[:NETWORK_BYTES]
