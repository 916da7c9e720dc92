"""The half of `gearstore top` that talks to the terminal: keys one by one, the screen drawn after each event."""

import os
import select
import signal
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.live import Live

from .. import output
from ..client import address_of
from .asking import Asker
from .keys import decode
from .model import Event, Key, Look, Model
from .update import update
from .view import screen

RESPITE = 10  # times as long as the last answer took, before the server is asked again
ESCAPE_TIME = 50  # milliseconds within which the rest of a key's bytes come


def run(server: str, interval: float) -> None:
    """Show the server until the user has enough; then the terminal is as it was."""
    address_of(server)  # what is no address can't become one later
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    asker = Asker(server)
    asker.start()
    signal.signal(signal.SIGWINCH, lambda *_: asker.wake())
    terminal = sys.stdin.fileno()
    with keyboard(terminal), Live(console=output.console(), screen=True, auto_refresh=False) as live:
        events = Events(asker, terminal, interval)
        model = Model(server)
        asker.ask(Look())
        while not model.over:
            live.update(screen(model, *live.console.size, round(time.time() * 1000)), refresh=True)
            for event in events.wait(model.look):
                model, asks = update(model, event)
                for ask in asks:
                    asker.ask(ask)


def stop(number: int, frame: Any) -> None:
    """End as the signal says."""
    raise typer.Exit(128 + number)


@contextmanager
def keyboard(terminal: int) -> Iterator[None]:
    """Have each key at once, unseen, and without a meaning to the terminal."""
    before = termios.tcgetattr(terminal)
    raw = termios.tcgetattr(terminal)
    raw[0] &= ~(termios.ICRNL | termios.IXON)
    raw[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    termios.tcsetattr(terminal, termios.TCSADRAIN, raw)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)


class Events:
    """Keys and answers as they come; and a look at the server in each interval, if the last one was answered."""

    def __init__(self, asker: Asker, terminal: int, interval: float) -> None:
        self.asker = asker
        self.terminal = terminal
        self.interval = interval
        self.due = time.monotonic() + interval
        self.rest = b""  # of a key whose bytes are not all there
        self.poll = select.poll()
        self.poll.register(terminal, select.POLLIN)
        self.poll.register(asker.reader, select.POLLIN)

    def wait(self, look: Look) -> list[Event]:
        """Return what has happened, nothing if it is only time to draw again."""
        left = max(self.due - time.monotonic(), 0) * 1000
        ready = dict(self.poll.poll(min(left, ESCAPE_TIME) if self.rest else left))
        events = self.asker.answers()
        if self.terminal in ready:
            events += self.keys()
        elif self.rest:
            events += [Key("escape")] if self.rest == b"\x1b" else []
            self.rest = b""
        if time.monotonic() >= self.due:
            # A server with thousands of functions has better things to do than to list them all the time.
            self.due = time.monotonic() + max(self.interval, RESPITE * self.asker.took)
            if not self.asker.looking:
                self.asker.ask(look)
        return events

    def keys(self) -> list[Event]:
        """Return the keys that were pressed; a terminal that is gone is the end."""
        try:
            data = os.read(self.terminal, 1024)
        except OSError:
            data = b""
        names, self.rest = decode(self.rest + data) if data else (["ctrl-c"], b"")
        return [Key(name) for name in names]
