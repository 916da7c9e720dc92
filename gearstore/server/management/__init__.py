"""gearstore's own verbs on the Gearman port: `gearstore VERB {json}`, see docs/management.md.

Everything here may take its time: it awaits the store page by page and never holds up other connections. Each module
ends in the table of its verbs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearstore.errors import StoreError
from gearstore.server.management import changing, counting, keeping, limiting, looking, steering, watching
from gearstore.server.management.request import Refusal, Verb, parse

if TYPE_CHECKING:
    from gearstore.server.connection import Connection

MODULES = (looking, counting, limiting, watching, changing, steering, keeping)
COUNTS = ("hello", "status", "workers", "limits")  # the verbs that show no job
VERBS: dict[str, Verb] = {name: verb for module in MODULES for name, verb in module.VERBS.items()}


async def manage(conn: Connection, line: bytes) -> None:
    """Answer one line."""
    try:
        name, request = parse(line, VERBS)
        verb = VERBS[name]
        if verb.changes and not conn.rights.manage:
            raise Refusal("refused", f"{name} is for administrators, which you are not here")
        if not (conn.rights.read or name in COUNTS):
            raise Refusal("refused", f"{name} shows jobs or settings, and you may only look at counts here")
        await verb.work(conn, request)
        conn.reply(b".\n")
    except Refusal as refusal:
        sentence = " ".join(str(refusal).split("\n"))  # it may quote a handle, and that may hold anything
        conn.reply(f"ERR {refusal.code} {sentence}\n".encode("utf-8", "surrogateescape"))
    except StoreError as error:
        conn.reply(f"ERR store {error}\n".encode())
