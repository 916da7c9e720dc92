"""The verb `limits`: what there may be, what there is, and how often each limit was met."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

from gearstore.server.limits import LIMITS
from gearstore.server.management.request import Object, Verb, send, text

if TYPE_CHECKING:
    from gearstore.server.connection import Connection
    from gearstore.server.hub import Hub

UNITS = {"packet_timeout": "seconds", "reader_timeout": "seconds"} | dict.fromkeys(
    ("max_packet", "max_line", "max_output", "max_buffered", "max_queue_bytes", "max_jobs_bytes", "max_foreground"),
    "bytes",
)


async def limits(conn: Connection, request: Object) -> None:
    """Every limit."""
    known = amounts(conn.hub)
    for name in LIMITS:
        tally = conn.hub.limits.tallies[name]
        most, used = known.get(name, (None, None))
        send(
            conn,
            {
                "limit": name,
                "unit": UNITS.get(name),
                "most": most or None,
                "used": used,
                "met": tally.met,
                "last_at": tally.last_at or None,
                "last_by": text(tally.last_by) or None,
            },
        )


def amounts(hub: Hub) -> dict[str, tuple[float, float | None]]:
    """Return what there may be and what there is, of what each connection has: that of the one which has most. Limits
    of functions are not among them: each function has its own."""
    config, engine, buffers = hub.config, hub.engine, hub.buffers
    connections, functions = buffers.known.values(), engine.functions.values()
    return {
        "max_packet": (config.max_packet, max((each.received for each in connections), default=0)),
        "max_line": (config.max_line, None),
        "packet_timeout": (config.packet_timeout, None),
        "max_output": (config.max_output, max((each.unread for each in connections), default=0)),
        "reader_timeout": (config.reader_timeout, None),
        "max_buffered": (buffers.limit, buffers.total),
        "max_connections": (hub.limits.max_connections, len(hub.connections)),
        "max_per_address": (hub.limits.max_per_address, hub.limits.fullest()),
        "file_descriptors": (resource.getrlimit(resource.RLIMIT_NOFILE)[0], open_files()),
        "max_jobs": (config.max_jobs, sum(function.total for function in functions)),
        "max_jobs_bytes": (config.max_jobs_bytes, sum(function.bytes for function in functions)),
        "max_foreground": (config.max_foreground, engine.foreground),
        "max_functions": (config.max_functions, len(functions)),
    }


def open_files() -> int | None:
    """Return how many files the process has open."""
    with suppress(OSError):
        return len(os.listdir("/proc/self/fd"))
    return None


VERBS = {"limits": Verb(limits)}
