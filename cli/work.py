"""`gearstore work`: a worker that runs a command for each job.

Each slot is a thread with a connection of its own, which runs one job at a time; the main thread waits for signals.
"""

import itertools
import math
import os
import select
import shutil
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, List, Optional

from typer.core import TyperCommand

from gearstore.protocol.packets import (
    CAN_DO,
    CAN_DO_TIMEOUT,
    ECHO_REQ,
    ECHO_RES,
    ERROR,
    GRAB_JOB_UNIQ,
    JOB_ASSIGN_UNIQ,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    SET_CLIENT_ID,
    WORK_COMPLETE,
    WORK_EXCEPTION,
    WORK_FAIL,
    request,
)

from . import output
from .child import Child, Job
from .client import Connection, address_of, text_of
from .errors import CommandError, Unreachable, UsageError
from .options import SERVER, argument, option

ERROR_TAIL = 2000
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0


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


class Stop:
    """Says that the worker shall end, to threads that look and to threads that sleep in select()."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self.requested = False

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable, for good, with the request."""
        return self._reader.fileno()

    def request(self) -> None:
        """Ask all threads to end after the job at hand."""
        self.requested = True
        self._writer.send(b"!")

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the request."""
        select.select([self], [], [], seconds)


@dataclass(slots=True)
class Plan:
    """What all slots have in common."""

    server: str
    functions: list[bytes]
    command: list[str]
    timeout: float | None
    # One ticket a job; shared by the slots, so that together they run as many jobs as there are tickets.
    tickets: Iterator[int]
    stop: Stop = field(default_factory=Stop)


class Slot(threading.Thread):
    """One thread, one connection, one job at a time."""

    def __init__(self, plan: Plan, number: int) -> None:
        super().__init__(name=f"slot {number}")
        self.plan = plan
        self.number = number
        self.pause = FIRST_PAUSE
        self.connection: Connection | None = None
        self.child = Child(plan.command, plan.timeout, {"GEARSTORE_SERVER": plan.server})

    def run(self) -> None:
        """Run jobs until there are no tickets left or the end is asked for."""
        for _ in self.plan.tickets:
            if not self.run_a_job():
                break
        self.leave()

    def run_a_job(self) -> bool:
        """Wait for a job and run it, reconnecting as often as it takes; return False when the end is asked for."""
        while not self.plan.stop.requested:
            try:
                if self.connection is None:
                    self.connection = self.connect()
                job = self.grab(self.connection)
                if job is not None:
                    self.connection.send(self.execute(job))
                    self.pause = FIRST_PAUSE
                return job is not None
            except CommandError as error:
                self.start_over(error)
        return False

    def start_over(self, error: CommandError) -> None:
        """Drop the connection, by which a job whose command can't be started goes back into its queue, and pause."""
        if self.connection:
            self.connection.close()
        self.connection = None
        output.say(f"{error}; trying again in {self.pause:g} s")
        self.plan.stop.wait(self.pause)
        self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def connect(self) -> Connection:
        """Return a connection that has registered the functions; the first one last, as servers prefer the last."""
        connection = Connection(self.plan.server)
        name = f"{socket.gethostname()}-{os.getpid()}-{self.number}"
        packets = [request(SET_CLIENT_ID, name.encode())]
        for function in reversed(self.plan.functions):
            if self.plan.timeout is None:
                packets.append(request(CAN_DO, function))
            else:
                packets.append(request(CAN_DO_TIMEOUT, function, b"%d" % math.ceil(self.plan.timeout * 1000)))
        connection.send(b"".join(packets))
        return connection

    def grab(self, connection: Connection) -> Job | None:
        """Return the next job that the server assigns, None if the end is asked for while there is none."""
        connection.send(request(GRAB_JOB_UNIQ))
        asleep = False
        while True:
            if asleep and not connection.wait(self.plan.stop.fileno()):
                return None
            kind, arguments = connection.receive()
            if kind == JOB_ASSIGN_UNIQ:
                return Job(*arguments)
            if kind == NO_JOB:
                connection.send(request(PRE_SLEEP))
                asleep = True
                self.pause = FIRST_PAUSE
            elif kind == NOOP and asleep:
                connection.send(request(GRAB_JOB_UNIQ))
                asleep = False
            elif kind == ERROR:  # of an earlier report: the job has been taken from us meanwhile
                output.say(": ".join(map(text_of, arguments)))

    def execute(self, job: Job) -> bytes:
        """Run the command for a job and return the packet that reports its end."""
        result, error, reason = self.child.run(job)
        output.relay(text_of(error))
        if not reason:
            return request(WORK_COMPLETE, job.handle, result)
        output.say(f"{text_of(job.handle)} {text_of(job.function)} failed: {reason}")
        if not error:
            return request(WORK_FAIL, job.handle)
        return request(WORK_EXCEPTION, job.handle, error[-ERROR_TAIL:])

    def leave(self) -> None:
        """Close the connection once the last report has arrived."""
        if self.connection is None:
            return
        try:
            # The answer comes after the last result has been stored.
            self.connection.send(request(ECHO_REQ))
            while self.connection.receive()[0] != ECHO_RES:
                pass
        except Unreachable as error:
            output.say(f"{error}; its last job may run again")
        self.connection.close()


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


def end_by_signals(stop: Stop, slots: Sequence[Slot]) -> None:
    """Let the first SIGTERM or SIGINT end the worker after the jobs at hand, the second one at once."""

    def handle(number: int, _: object) -> None:
        if stop.requested:
            for slot in slots:
                slot.child.kill()
            os._exit(128 + number)
        stop.request()
        output.say("finishing the jobs at hand; the same signal again ends them at once")

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def work(
    arguments: List[str] = argument(..., help="Functions, --, and the command to run for each job."),
    parallel: int = option(1, "--parallel", "-j", min=1, envvar="GEARSTORE_PARALLEL", help="Jobs at a time."),
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
    plan = Plan(server, functions, command, timeout, iter(range(count)) if count else itertools.count())
    slots = [Slot(plan, number) for number in range(1, parallel + 1)]
    end_by_signals(plan.stop, slots)
    for slot in slots:
        slot.start()
    for slot in slots:
        slot.join()
