"""What a server would answer about a database on which none runs: for commands with `--db FILE`.

It is the server's own code on a store that only reads, in a thread of the command that asks, so every verb that looks
works the same. Time stands still in it: nothing becomes due, nothing is handed out, nothing changes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gearstore.access import ROLES
from gearstore.config import load_config
from gearstore.errors import GearstoreError, StoreUnusable
from gearstore.queue.record import recover
from gearstore.server.commands import HANDLERS
from gearstore.server.connection import Connection
from gearstore.server.hub import Hub
from gearstore.store.journal import Journal
from gearstore.store.view import ViewStore

WINDOW = "1024"  # jobs of each queue that are looked at, for the oldest


class StillHub(Hub):
    """A hub in which nothing happens by itself, and to which nobody is near enough to change anything."""

    def enter(self, connection: Connection, family: int, peername: Any) -> None:
        """Take a connection in."""
        super().enter(connection, family, peername)
        connection.rights = ROLES["user"].rights

    def end_turn(self) -> None:
        """Leave everything as it is."""

    def leave(self, connection: Connection) -> None:
        """Let a connection go."""
        self.connections.pop(connection, None)


class Shelf:
    """One database, and a thread that answers questions about it on a Unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._directory = tempfile.mkdtemp(prefix="gearstore-")
        self.address = os.path.join(self._directory, "socket")
        self.owner = ""
        self.failure: GearstoreError | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="gearstore-shelf", daemon=True)
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """End the thread; what went wrong in it is in `failure`."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except GearstoreError as error:
            self.failure = error
        except OSError as error:
            self.failure = StoreUnusable(f"{self._path}: {error.strerror or error}")
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        store = ViewStore(self._path)
        self.owner = store.view.owner
        config, _ = load_config({"db": self._path, "window": WINDOW}, {})
        journal = Journal(store, lambda error: None)
        journal.full = True  # nothing will be stored: who looks must not wait for it
        hub = StillHub(config, store, journal, loop)
        recovered = await store.open(b"", 0, config.window)
        hub.engine.prefixes = recovered.prefixes
        hub.engine.next_id = hub.engine.ids_until = recovered.next_id
        hub.engine.paused_at, hub.engine.paused_until = recovered.paused
        recover(hub.engine, recovered.functions, recovered.counts)
        try:
            await hub.fill()
            server = await loop.create_unix_server(lambda: Connection(hub, HANDLERS), self.address)
            self._end, self._loop = asyncio.Event(), loop
            self._ready.set()
            await self._end.wait()
            server.close()
            for connection in list(hub.connections):
                connection.close()
        finally:
            hub.cancel_tasks()
            await store.close()


@contextmanager
def shelf(path: str) -> Iterator[Shelf]:
    """Answer questions about a database for a while. Raises GearstoreError if it can't be read, or changed."""
    opened = Shelf(path)
    try:
        if opened.failure is not None:
            raise opened.failure
        yield opened
    finally:
        opened.close()
    if opened.failure is not None:
        raise opened.failure
