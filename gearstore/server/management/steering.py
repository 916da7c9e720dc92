"""The verbs that keep jobs from workers for a while: pause, resume. What they set is stored."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gearstore.errors import QueueError
from gearstore.queue.job import RUNNING
from gearstore.server.management.request import Object, Refusal, Verb, data, send, text

if TYPE_CHECKING:
    from gearstore.queue.functions import Function
    from gearstore.server.connection import Connection

SIGNS = frozenset("*?[")


def functions_of(conn: Connection, request: Object) -> list[Function | None]:
    """Return the functions that a request means, None for all there will ever be. A plain name need not exist yet."""
    glob = request.get("function")
    if glob is None:
        return [None]
    if not SIGNS & set(glob):
        try:
            return [conn.engine.function(data(glob))]
        except QueueError as refusal:
            raise Refusal("usage", text(refusal.text)) from None
    found: list[Function | None] = [
        function
        for function in sorted(conn.engine.functions.values(), key=lambda function: function.name)
        if function.listed and fnmatchcase(text(function.name), glob)
    ]
    if not found:
        raise Refusal("not_found", f"no function matches {glob}")
    return found


async def pause(conn: Connection, request: Object) -> None:
    """Assign no more jobs of some functions, or of all, for a while or until they are resumed."""
    until = request.get("until", 0)
    conn.hub.set_time()
    if until and until <= conn.engine.now:
        raise Refusal("usage", "until is over already")
    functions = functions_of(conn, request)
    for function in functions:
        conn.engine.pause(function, until)
    await answer(conn, functions)


async def resume(conn: Connection, request: Object) -> None:
    """End pauses."""
    conn.hub.set_time()
    functions = functions_of(conn, request)
    for function in functions:
        conn.engine.resume(function)
    await answer(conn, functions)


async def answer(conn: Connection, functions: list[Function | None]) -> None:
    """Say what holds now, and what still runs, once it is durable."""
    await conn.hub.durable()
    conn.hub.end_turn()
    everything = list(conn.engine.functions.values())
    for function in functions:
        of = [function] if function is not None else everything
        source = function if function is not None else conn.engine
        send(
            conn,
            {
                "function": None if function is None else text(function.name),
                "paused_at": source.paused_at or None,
                "paused_until": source.paused_until or None,
                "running": sum(each.states[RUNNING] for each in of),
            },
        )


VERBS = {
    "pause": Verb(pause, {"function": (str,), "until": (int,)}, changes=True),
    "resume": Verb(resume, {"function": (str,)}, changes=True),
}
