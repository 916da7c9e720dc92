"""The half of `gearstore top` that talks to the server: in a thread, so that the keyboard never waits for it."""

import os
import time
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Optional

from ..client import Connection, Row
from ..errors import CommandError, Unreachable
from ..status import picture
from .changes import exactly
from .model import Ask, Change, Event, Look, Lost, Seen, Told

LISTED = 200  # jobs of a function


class Asker(Thread):
    """Asks one thing after the other over one connection, made again when it is lost."""

    def __init__(self, server: str) -> None:
        super().__init__(daemon=True)  # a server that hangs doesn't keep us from ending
        self.server = server
        self.asks: SimpleQueue[Ask] = SimpleQueue()
        self.events: deque[Event] = deque()
        self.reader, self.writer = os.pipe()  # readable when there is something to look at
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        self.looking = 0  # Looks that aren't answered yet
        self.took = 0.0  # seconds, the last answer
        self.connection: Optional[Connection] = None

    def ask(self, ask: Ask) -> None:
        """Have something asked; the answer is among the events some time later."""
        self.looking += isinstance(ask, Look)
        self.asks.put(ask)

    def answers(self) -> list[Event]:
        """Return the events since the last call."""
        with suppress(BlockingIOError):
            os.read(self.reader, 4096)
        found = [self.events.popleft() for _ in range(len(self.events))]
        self.looking -= sum(isinstance(event, Seen | Lost) for event in found)
        return found

    def run(self) -> None:
        """Ask until the process ends."""
        while True:
            ask = self.asks.get()
            started = time.monotonic()
            self.events.append(self.answer(ask))
            self.took = time.monotonic() - started
            self.wake()

    def wake(self) -> None:
        """Have the other thread look up."""
        with suppress(BlockingIOError):
            os.write(self.writer, b".")

    def answer(self, ask: Ask) -> Event:
        """Return what came of something."""
        try:
            if self.connection is None:
                self.connection = Connection(self.server)
            return look(self.connection, ask) if isinstance(ask, Look) else change(self.connection, ask)
        except CommandError as error:
            if self.connection is not None:
                self.connection.close()
            self.connection = None
            if isinstance(error, Unreachable) or isinstance(ask, Look):
                return Lost(str(error))
            return Told(f"{ask.verb} was refused: {error}")


def look(connection: Connection, ask: Look) -> Seen:
    """Ask for what a page shows."""
    seen = picture(connection, None)
    if not ask.function:
        return Seen(ask, seen)
    if ask.handle:
        try:
            (job,) = connection.manage("show", {"handles": [ask.handle]})
            return Seen(ask, seen, job=job)
        except Unreachable:
            raise
        except CommandError as error:
            return Seen(ask, seen, gone=str(error))
    request: Row = {"function": exactly(ask.function), "limit": LISTED, "order": "oldest" if ask.oldest else "newest"}
    if ask.state:
        request["state"] = [ask.state]
    return Seen(ask, seen, list(connection.manage("jobs", request)))


def change(connection: Connection, ask: Change) -> Told:
    """Ask for a change and sum up what came of it."""
    totals, refusal = None, ""
    for row in connection.manage(ask.verb, ask.request):
        totals = row if "matched" in row else totals
        refusal = refusal or row.get("refused", "") if "handle" in row else refusal
    if totals is None:
        return Told(ask.done)
    jobs = "1 job" if totals["changed"] == 1 else f"{totals['changed']} jobs"
    refused = f", {totals['refused']} refused ({refusal})" if totals["refused"] else ""
    return Told(f"{jobs} {ask.done}{refused}")
