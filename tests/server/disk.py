"""A small disk that can be full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gearstore.protocol.packets import ERROR, JOB_CREATED, SUBMIT_JOB_BG
from tests.server.wire import Wire


class Disk:
    """A small file system that can be filled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.filling = path / "filling"

    def fill(self) -> None:
        """Leave no byte free."""
        with self.filling.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def free(self, size: int | None = None) -> None:
        """Give the space back, all or so many bytes of it."""
        os.truncate(self.filling, 0 if size is None else self.filling.stat().st_size - size)


def fill_with_jobs(client: Wire, function: bytes, kept: list[bytes]) -> None:
    """Submit until the store refuses; add the handles of what it took to `kept`."""
    for n in range(2000):
        kind, content = client.ask(SUBMIT_JOB_BG, function, b"", b"%d " % n + b"x" * 50_000)
        if kind is ERROR:
            assert content.startswith(b"QUEUE_ERROR\0")
            return
        assert kind is JOB_CREATED
        kept.append(content)
    pytest.fail("the disk is never full")
