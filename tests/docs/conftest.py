"""The fixtures of the command line's tests serve here, too."""

from tests.cli.conftest import function, gearstore, server, worker

__all__ = ["function", "gearstore", "server", "worker"]
