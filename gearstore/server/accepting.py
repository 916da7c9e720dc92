"""Takes connections from a listening socket, as many as there may be, and none while the system has no files for them.

The loops' own servers know no limits, and not what to do without files: uvloop's may stop to listen, for good and
without a word.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gearstore.server.limits import Limits

AT_ONCE = 16  # connections
PAUSE = 1.0  # seconds until the next try when a connection could not be accepted


class Acceptor:
    """One listening socket; where it is `secret` nothing is said in clear to whom it refuses."""

    def __init__(
        self, sock: socket.socket, factory: Callable[[], asyncio.Protocol], limits: Limits, secret: bool = False
    ) -> None:
        self.sock = sock
        self._factory = factory
        self._secret = secret
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        sock.setblocking(False)
        self._begin()

    def close(self) -> None:
        """Listen no more."""
        if self.sock.fileno() >= 0:
            self._stop()
            self.sock.close()

    def _begin(self) -> None:
        self._timer = None
        self._loop.add_reader(self.sock.fileno(), self._accept)

    def _stop(self) -> None:
        self._loop.remove_reader(self.sock.fileno())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _accept(self) -> None:
        """Take what waits; of many the rest comes with the next turn of the loop, beside what others send."""
        for _ in range(AT_ONCE):
            try:
                sock, address = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no more files, mostly; the socket stays readable, so look away for a while
                self._stop()
                self._timer = self._loop.call_later(PAUSE, self._begin)
                what = f"no connections are accepted for {PAUSE:g} s: {error.strerror}"
                self._limits.met("file_descriptors", b"-", what)
                return
            self._take(sock, address)

    def _take(self, sock: socket.socket, address: Any) -> None:
        """Serve a connection, or refuse it."""
        host = str(address[0]) if sock.family != socket.AF_UNIX else ""
        refusal = self._limits.admit(sock.fileno(), host)
        if refusal:
            with suppress(OSError):
                sock.send(b"" if self._secret else refusal, socket.MSG_DONTWAIT)
            sock.close()
        else:
            task = self._loop.create_task(self._serve(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket) -> None:
        fd = sock.fileno()
        sock.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._factory, sock)
        except OSError:  # it has gone already
            self._limits.release(fd)
            sock.close()
