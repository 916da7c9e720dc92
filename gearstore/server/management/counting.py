"""The verb `status`: counts, ages and rates of each function, and of all together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING

from gearstore.queue.functions import Function
from gearstore.queue.job import JobState
from gearstore.server.management.request import Object, Verb, send, text
from gearstore.server.rates import Ended

if TYPE_CHECKING:
    from gearstore.server.connection import Connection
    from gearstore.server.hub import Hub

SUMMED = ("high", "normal", "low", *(state.name.lower() for state in JobState), "done_per_minute", "failed_per_minute")
BUNCH = 200  # functions answered between two looks at other connections


async def status(conn: Connection, request: Object) -> None:
    """Counts of each function; with `total` their sums in a last line, and what holds for the whole server."""
    glob = request.get("function")
    total = Totals()
    listed = [function for function in conn.engine.functions.values() if function.listed]
    chosen = [function for function in listed if glob is None or fnmatchcase(text(function.name), glob)]
    functions = iter(sorted(chosen, key=lambda function: function.name))
    while bunch := list(islice(functions, BUNCH)):
        rows = [
            counts(function, await waiting_since(conn.hub, function), conn.hub.rates.of(function)) for function in bunch
        ]
        total.add(rows)
        send(conn, *rows)
        await conn.drain()
        await asyncio.sleep(0)
    if request.get("total"):
        send(conn, {"total": {**total.row, **about(conn.hub)}})


def counts(function: Function, oldest_at: int | None, ended: Ended) -> Object:
    """Return the line of a function."""
    high, normal, low = function.queued
    return {
        "function": text(function.name),
        "high": high,
        "normal": normal,
        "low": low,
        **{state.name.lower(): function.states[state] for state in JobState},
        "workers": len(function.workers),
        "oldest_at": oldest_at,
        "done_per_minute": ended.done,
        "failed_per_minute": ended.failed,
        "paused_at": function.paused_at or None,
        "paused_until": function.paused_until or None,
    }


class Totals:
    """The sums of all lines of a status. Workers aren't among them: one may serve many functions."""

    def __init__(self) -> None:
        self.row: Object = {"functions": 0, "oldest_at": None, **dict.fromkeys(SUMMED, 0)}

    def add(self, rows: Iterable[Object]) -> None:
        """Take more lines in."""
        total = self.row
        for row in rows:
            total["functions"] += 1
            for key in SUMMED:
                total[key] += row[key]
            total["oldest_at"] = min(filter(None, (total["oldest_at"], row["oldest_at"])), default=None)


def about(hub: Hub) -> Object:
    """Return what holds for the whole server."""
    engine = hub.engine
    return {
        "workers": sum(1 for connection in hub.connections if connection.peer.order),
        "connections": len(hub.connections),
        "paused_at": engine.paused_at or None,
        "paused_until": engine.paused_until or None,
        "draining": engine.draining,
        "limits_met": {name: tally.met for name, tally in hub.limits.tallies.items() if tally.met},
        "started_at": hub.started_at,
        "now": engine.now,
        "receipt": {"sync": sync_of(hub), **hub.journal.receipt.figures()},
    }


def sync_of(hub: Hub) -> str:
    """Return when the disk is told to keep what was committed: at each commit (full), by a timer, or never."""
    if hub.store.path is None:
        return "memory"
    return "full" if hub.config.sync_interval_ms is None else f"interval:{hub.config.sync_interval_ms}"


async def waiting_since(hub: Hub, function: Function) -> int | None:
    """Return since when that queued job waits which has waited longest, None without any.

    It is the first of one of the queues, and those are in memory, but for moments in which a window is being filled.
    """
    found = [job.waiting_since for job in function.heads()]
    for priority in function.unread():
        after = function.windows[priority].after
        found += [each.run_at or each.created_at for each in await hub.store.claim(function.id, priority, after, 1)]
    return min(found, default=None)


VERBS = {"status": Verb(status, {"function": (str,), "total": (bool,)})}
