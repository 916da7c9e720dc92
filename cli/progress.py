"""A progress bar on a terminal, nothing through a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int], None]
"""Takes how much is done, and how much there is in all (0: nobody knows)."""


@contextmanager
def bar(title: str, unit: str = "bytes", beside_data: bool = False) -> Iterator[Report]:
    """Show how far something is on standard error, in bytes or in jobs: if that is a terminal, and not the one that
    data is written to."""
    if not sys.stderr.isatty() or (beside_data and sys.stdout.isatty()):
        yield lambda done, total: None
        return
    # Loaded here, so that scripts don't wait for it.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    amount = DownloadColumn(binary_units=True) if unit == "bytes" else MofNCompleteColumn()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        yield report
