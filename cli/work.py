"""`gearstore work`: a worker (gearstore.client's) whose handler runs a command for each job."""

import os
import shutil
from collections.abc import Sequence
from typing import Any, List, Optional

from typer.core import TyperCommand

from .client import address_of
from .errors import UsageError
from .options import SERVER, argument, option


class WorkCommand(TyperCommand):
    """Keeps the `--` between functions and command, which would be dropped as the end of options."""

    def parse_args(self, ctx: Any, args: List[str]) -> List[str]:
        """Double the first `--`, so that one is left."""
        if "--" in args:
            args.insert(args.index("--"), "--")
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> List[str]:
        """Return what the usage line says after the name."""
        return ["[OPTIONS]", "FUNCTION... -- COMMAND [ARG...]"]


def split_arguments(arguments: Sequence[str]) -> tuple[list[bytes], list[str]]:
    """Return the functions and the command, which stand before and after the `--`."""
    if "--" not in arguments:
        raise UsageError("write -- before the command: gearstore work FUNCTION -- COMMAND [ARG...]")
    border = arguments.index("--")
    functions, command = arguments[:border], list(arguments[border + 1 :])
    if not functions or not command:
        raise UsageError("a worker needs a function and a command: gearstore work FUNCTION -- COMMAND [ARG...]")
    if shutil.which(command[0]) is None:
        raise UsageError(f"{command[0]}: no such command")
    return [os.fsencode(function) for function in functions], command


def work(
    arguments: List[str] = argument(
        ..., metavar="FUNCTION... -- COMMAND [ARG...]", help="Functions, --, and the command to run for each job."
    ),
    parallel: int = option(
        1, "--parallel", "-j", min=1, metavar="N", envvar="GEARSTORE_PARALLEL", help="Jobs at a time."
    ),
    count: Optional[int] = option(None, "--count", "-c", min=1, metavar="N", help="End after so many jobs."),
    timeout: Optional[float] = option(
        None, min=0.001, metavar="SECONDS", envvar="GEARSTORE_WORK_TIMEOUT", help="Kill a command that takes longer."
    ),
    server: str = SERVER,
) -> None:
    """Run a command for each job: the workload is its input, what it prints is the result.

    Exit code 0 completes the job; any other fails it, with the last 2,000 bytes of error output as the reason. The
    command finds GEARSTORE_HANDLE, GEARSTORE_FUNCTION and GEARSTORE_UNIQUE in its environment. SIGTERM and Ctrl-C let
    the jobs at hand finish; a server that goes away is waited for.

    Example: gearstore work -j 4 fonctionJob -- php job.php
    """
    functions, command = split_arguments(arguments)
    address_of(server)
    # Loaded here, so that the other commands don't wait for asyncio.
    from .runner import run_commands

    run_commands(server, functions, command, parallel, timeout, count)
