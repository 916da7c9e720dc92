"""The two ways out: data to standard output, everything else to standard error."""

import os
import sys
from typing import TYPE_CHECKING, Any

from .errors import CommandError, PipeClosed
from .render import escaped

if TYPE_CHECKING:
    from rich.console import Console


def to_terminal() -> bool:
    """Return whether a person reads standard output."""
    return sys.stdout.isatty()


def can_ask() -> bool:
    """Return whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def write(data: bytes | str) -> None:
    """Write data to standard output at once; text may hold undecodable bytes as surrogates."""
    try:
        sys.stdout.buffer.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is left in the buffer must have somewhere to go at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise PipeClosed from None
        raise CommandError(f"can't write to standard output: {error.strerror}") from None


def say(text: str) -> None:
    """Print one line for the user on standard error; what came from elsewhere in it can't move the cursor."""
    print(f"gearstore: {escaped(text)}", file=sys.stderr, flush=True)


def relay(text: str) -> None:
    """Print on standard error what a worker has to say, line by line."""
    for line in text.splitlines():
        print(escaped(line), file=sys.stderr, flush=True)


def console() -> "Console":
    """Return the terminal as Rich sees it. Rich is loaded here, so that scripts don't wait for it."""
    from rich.console import Console

    return Console(highlight=False)


def show(renderable: Any) -> None:
    """Show a table on the terminal."""
    console().print(renderable)
