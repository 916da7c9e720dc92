"""What a connection may do: settled when it comes or has shown its certificate, and again at a reload.

A connection without limits has the plain table of commands and pays nothing for those of others. One with limits has
a table in which the packets that name a function to submit to or to work on ask its rights first.

A function that it may not work on is not refused with an ERROR: CAN_DO has no answer, and an ERROR that nobody waits
for puts libgearman's workers out of step and ends Perl's. It is logged, and takes effect if it is granted later.
"""

from __future__ import annotations

from collections.abc import Sequence

from gearstore.access import ROLES, Rights
from gearstore.errors import QueueError
from gearstore.protocol import packets as p
from gearstore.server.commands import COMMANDS, HANDLERS, cant_do, milliseconds, reset_abilities
from gearstore.server.connection import NO_RIGHTS, Connection, Handler

MOST_DENIED = 1000  # functions of a connection that are remembered

NOT_ALLOWED = b"NOT_ALLOWED"


def admit(conn: Connection) -> bool:
    """Give a connection its rights; one that has none is closed, and False returned."""
    rights = rights_of(conn)
    if rights is None:
        reason = f"its certificate ({shown(conn.names)}) grants nothing" if conn.names else "it has no certificate"
        conn.hub.turn_away(conn, reason)
        return False
    conn.rights = rights
    conn.handlers = LIMITED if rights.limited else HANDLERS
    return True


def identify(conn: Connection, names: Sequence[str]) -> None:
    """Note the names in the certificate of a connection; its jobs are said to be of the first."""
    conn.names = tuple(names)
    if names:
        conn.peer.address = shown(names).encode() + b"@" + conn.address


def shown(names: Sequence[str]) -> str:
    """Return the first name as people may see it: a CA that is not ours may have signed anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in names[0])


def rights_of(conn: Connection) -> Rights | None:
    """Return what a connection may do: what is granted to its certificate, else what its listener gives."""
    config = conn.hub.config
    if conn.names is not None and config.tls_ca is not None:
        if not conn.names:
            return None
        if config.grants:
            return config.grants.of(conn.names)
    return ROLES[conn.role or ("admin" if conn.near else "user")].rights


def readmit(conn: Connection) -> None:
    """Give a connection its rights anew: functions that it may not work on any more are taken away, with the jobs that
    it runs of them; those that it asked for in vain, and now may, it gets. One that shakes hands still has time."""
    if conn.rights is NO_RIGHTS or not admit(conn):
        return
    engine, peer = conn.engine, conn.peer
    for function, timeout in list(peer.abilities.items()):
        if function.name not in conn.rights.work:
            engine.cant_do(peer, function)
            deny(conn, function.name, timeout)
    for name, timeout in list((conn.denied or {}).items()):
        if name in conn.rights.work and conn.denied is not None:
            del conn.denied[name]
            engine.can_do(peer, name, timeout)


def deny(conn: Connection, name: bytes, timeout: int) -> None:
    """Note that a connection may not work on a function."""
    if conn.denied is None:
        conn.denied = {}
    if len(conn.denied) < MOST_DENIED:
        conn.denied[name] = timeout
    who, function = conn.peer.address.decode(), name.decode("utf-8", "backslashreplace")
    kind = f"{who} {function}"
    conn.hub.seldom.warn(kind, "%s asks to work on %r, which it may not: it gets no jobs of it", who, function)


def submitting(handler: Handler) -> Handler:
    """Return the command for a submit that asks the connection's rights first."""

    def submit(conn: Connection, args: list[bytes]) -> None:
        if args[0] not in conn.rights.submit:
            raise QueueError(NOT_ALLOWED, b"You may not submit jobs to this function")
        handler(conn, args)

    return submit


def registering(handler: Handler) -> Handler:
    """Return the command for CAN_DO or CAN_DO_TIMEOUT that asks the connection's rights first."""

    def register(conn: Connection, args: list[bytes]) -> None:
        if args[0] in conn.rights.work:
            handler(conn, args)
        else:
            deny(conn, args[0], milliseconds(args[1]) if len(args) > 1 else 0)

    return register


def unregister(conn: Connection, args: list[bytes]) -> None:
    """CANT_DO."""
    if conn.denied:
        conn.denied.pop(args[0], None)
    cant_do(conn, args)


def unregister_all(conn: Connection, args: list[bytes]) -> None:
    """RESET_ABILITIES."""
    conn.denied = None
    reset_abilities(conn, args)


SUBMITS = (
    p.SUBMIT_JOB, p.SUBMIT_JOB_HIGH, p.SUBMIT_JOB_LOW, p.SUBMIT_JOB_BG, p.SUBMIT_JOB_HIGH_BG, p.SUBMIT_JOB_LOW_BG,
    p.SUBMIT_JOB_SCHED, p.SUBMIT_JOB_EPOCH, p.SUBMIT_REDUCE_JOB, p.SUBMIT_REDUCE_JOB_BACKGROUND,
)  # fmt: skip
CHANGED: dict[int, Handler] = {
    **{kind: submitting(COMMANDS[kind]) for kind in SUBMITS},
    **{kind: registering(COMMANDS[kind]) for kind in (p.CAN_DO, p.CAN_DO_TIMEOUT)},
    p.CANT_DO: unregister,
    p.RESET_ABILITIES: unregister_all,
}
LIMITED: tuple[Handler, ...] = tuple(CHANGED.get(kind, handler) for kind, handler in enumerate(HANDLERS))
