"""`gearstore bench`: what this machine and its disk give, and what limits it."""

import os
from pathlib import Path
from typing import Optional

from gearstore.config import load_config
from gearstore.errors import ConfigError

from .errors import UsageError
from .options import JSON, option


def usual_directory() -> Path:
    """Return where the database of the configuration is; raise UsageError if this user may not write there."""
    try:
        named = os.environ.get("GEARSTORE_CONFIG")
        config, _ = load_config({}, os.environ, Path(named) if named else None)
    except ConfigError as error:
        raise UsageError(f"{error}; or name a directory with --dir") from None
    directory = config.db.parent
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"{directory}, where the database would be, can't be written to: name a directory with --dir")
    return directory


def bench(
    directory: Optional[Path] = option(
        None, "--dir", metavar="DIR", help="Directory on the disk to measure (default: where the database is)."
    ),
    seconds: float = option(2.0, "--seconds", min=0.1, max=60.0, metavar="N", help="For each of the four steps."),
    size: int = option(100, "--size", min=1, max=1_000_000, metavar="BYTES", help="Of a workload."),
    as_json: bool = JSON,
) -> None:
    """Measure what this machine and its disk give: submits by 1, 8 and 64 clients, and 64 workers that drain them.

    A server of its own runs for it, with all defaults, in a temporary directory below DIR, which is removed at the end,
    by Ctrl-C too. Shown are jobs a second; how long answers took (p50, p99); commits a second, each of which is one
    sync of the disk, and jobs in each; how much of the time the disk was busy with them, the server's thread with its
    work, and the busiest process of this command with the load. What else uses disk and processors meanwhile is slowed
    down, and slows this down.

    Through a pipe: tab-separated, with the sentence as the last line.

    Example: gearstore bench --dir /var/lib/gearstore
    """
    # Loaded here, so that the other commands don't wait for it.
    from .measuring import measure_all, show

    show(*measure_all(directory or usual_directory(), seconds, size), as_json)
