"""Which event loop runs the server: uvloop where it is installed and wanted, else asyncio's own."""

import asyncio
from collections.abc import Callable

from gearstore.errors import ConfigError

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(choice: str = "auto") -> LoopFactory:
    """Return what asyncio.Runner needs to make the loop named `auto`, `uvloop` or `asyncio`.

    Raise ConfigError if uvloop was asked for by name and is missing.
    """
    if choice == "asyncio":
        return asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        if choice == "uvloop":
            raise ConfigError(
                "--loop uvloop: uvloop is not installed; install it (python3-uvloop on Debian), or use --loop auto"
            ) from None
        return asyncio.new_event_loop
    factory: LoopFactory = uvloop.new_event_loop
    return factory
