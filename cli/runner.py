"""What `gearstore work` runs: a worker of gearstore.client with a command as its handler."""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from typing import Optional

from gearstore.client import GiveBack, ThreadJob, Worker

from . import output
from .child import Child
from .client import address_of, text_of
from .errors import CommandError
from .tls import context_for, environment

ERROR_TAIL = 2000


class Runner:
    """Runs the command for jobs, each in a thread, and knows which commands run."""

    def __init__(self, server: str, command: Sequence[str], timeout: Optional[float]) -> None:
        self._command = command
        self._timeout = timeout
        self._environment = {"GEARSTORE_SERVER": server, **environment()}
        self._running: set[Child] = set()

    def run(self, job: ThreadJob) -> bytes:
        """Run the command for a job and return what it printed; a command that can't be started is not the job's fault.

        Its error output is the reason of a failure, as far as there is room for it.
        """
        child = Child(self._command, self._timeout, self._environment)
        self._running.add(child)
        try:
            result, error, reason = child.run(job)
        except CommandError as failure:
            raise GiveBack(str(failure)) from None
        finally:
            self._running.discard(child)
        output.relay(text_of(error.removesuffix(reason.encode())))  # the reason is told below
        if reason:
            output.say(f"{job.handle} {job.function} failed: {reason}")
            job.fail(error[-ERROR_TAIL:])
        return result

    def kill(self) -> None:
        """Kill the commands that run."""
        for child in list(self._running):
            child.kill()


class Narrator(logging.Handler):
    """Says on standard error what the worker has to tell."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        output.say(record.getMessage())


async def run_worker(worker: Worker, runner: Runner, count: Optional[int]) -> None:
    """Run the worker. The first SIGTERM or SIGINT ends it after the jobs at hand, the second one at once."""
    loop = asyncio.get_running_loop()
    signals: list[int] = []

    def handle(number: int) -> None:
        signals.append(number)
        if len(signals) > 1:
            runner.kill()
            os._exit(128 + number)
        worker.stop()
        output.say("finishing the jobs at hand; the same signal again ends them at once")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle, number)
    await worker.run(count)


def run_commands(
    server: str,
    functions: Sequence[bytes],
    command: Sequence[str],
    parallel: int,
    timeout: Optional[float],
    count: Optional[int],
) -> None:
    """Run the command for the jobs of these functions, until the end is asked for or so many jobs have run."""
    logging.getLogger("gearstore.client").addHandler(Narrator())
    runner = Runner(server, command, timeout)
    worker = Worker(server, concurrency=parallel, tls=context_for(address_of(server)))
    for function in functions:
        worker.register(function, runner.run, timeout=timeout)
    asyncio.run(run_worker(worker, runner, count))
