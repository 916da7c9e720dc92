"""`gearstore top`: the server on a full screen, live, with a keyboard.

`model` is what is shown, `update` how keys and answers change it, `changes` the keys that change jobs, `view` how it is
drawn: all pure. `asking` talks to the server, `live` to the terminal.
"""

import os
import sys

from .. import output
from ..errors import UsageError
from ..options import SERVER, option

DUMB = ("dumb", "unknown", "")


def top(
    interval: float = option(1.0, "--interval", "-i", min=0.1, metavar="SECONDS", help="How often to look."),
    server: str = SERVER,
) -> None:
    """Watch functions, jobs and single jobs on a full screen, and retry, cancel or pause from there.

    Small letters look around, capital letters change things; ? lists them.

    Example: gearstore top
    """
    if not (sys.stdin.isatty() and output.to_terminal()) or os.environ.get("TERM", "") in DUMB:
        raise UsageError("top needs a terminal; `gearstore status --watch` goes through a pipe")
    from .live import run  # brings Rich, which no other command should wait for

    run(server, interval)
