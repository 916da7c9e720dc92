"""The life of a server: open the store, recover, listen, serve, drain, close. One method a phase."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import ssl
import time
from collections.abc import Callable
from contextlib import suppress

from gearstore import __version__
from gearstore.address import Address
from gearstore.config import Config, reload_config
from gearstore.errors import ConfigError, GearstoreError, StoreError
from gearstore.queue.job import RUNNING
from gearstore.queue.record import recover
from gearstore.server.commands import HANDLERS
from gearstore.server.connection import Connection
from gearstore.server.hub import Hub
from gearstore.server.listeners import Listener, listen
from gearstore.server.loop import loop_factory
from gearstore.server.notify import Notifier
from gearstore.server.retention import Retention
from gearstore.server.tls import TlsTransport
from gearstore.store.base import Store
from gearstore.store.journal import Journal
from gearstore.store.memory import MemoryStore
from gearstore.store.sqlite import SqliteStore
from gearstore.tls import of_server

logger = logging.getLogger("gearstore")

EXPIRY = 14 * 86_400  # seconds before its certificate expires that a server begins to warn
SPARE_FILES = 64  # descriptors kept for the database, logs and listeners
TELL_INTERVAL = 60.0  # seconds between two lines that say the same
CLOSE_TIMEOUT = 5.0  # seconds for peers to take their last answers
STOP_TIME = 30.0  # seconds within which a server ends once no job runs any more, on a slow disk too


def run(config: Config) -> int:
    """Serve until told to stop; return the exit code. Raises GearstoreError with a sentence for the operator."""
    with asyncio.Runner(loop_factory=loop_factory(config.loop)) as runner:
        return runner.run(Server(config).serve())


def create_store(config: Config) -> Store:
    """Return the store that the configuration asks for."""
    return MemoryStore() if config.memory else SqliteStore(str(config.db), config.sync_interval_ms or 0)


def load_tls(config: Config) -> ssl.SSLContext | None:
    """Return what listeners need to speak TLS, None if none does; raise ConfigError if the files are not fit for it."""
    own = of_server(config)
    if own is None:
        if config.tls_cert is not None:
            logger.warning("there is a certificate, but no address speaks TLS: write tls: before those that shall")
        return None
    if own.expires - time.time() < EXPIRY:
        day = time.strftime("%F", time.gmtime(own.expires))
        logger.warning("the certificate in %s expires on %s", config.tls_cert, day)
    return own.context


class Server:
    """One server process."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.notifier = Notifier()
        self.store = create_store(config)
        self.failure: StoreError | None = None
        self.refusal_told, self.refusal_told_at = False, -TELL_INTERVAL
        self.signals: asyncio.Queue[int] = asyncio.Queue()
        self.tls: ssl.SSLContext | None = None
        self.hub: Hub
        self.journal: Journal
        self.listeners: list[Listener] = []

    async def serve(self) -> int:
        """Run all phases."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            loop.add_signal_handler(number, self.signals.put_nowait, number)
        self.limit_files()
        self.tls = load_tls(self.config)
        await self.recover()
        try:
            await self.hub.fill()
            self.listeners = await listen(self.config, self.protocol_for, self.hub.limits)
            committing = asyncio.create_task(self.journal.run())
            try:
                self.hub.start()
                self.hub.spawn(Retention(self.hub).run())
                self.write_pid_file()
                self.announce()
                await self.wait_for_end()
            finally:
                await self.shut_down(committing)
        finally:
            await self.store.close()
            self.remove_pid_file()
        if self.failure is not None:
            raise self.failure
        logger.info("ended")
        return 0

    # Starting

    def limit_files(self) -> None:
        """Raise the limit of open files as far as asked for and allowed."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.config.file_descriptors or hard
        if wanted != soft:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            except (ValueError, OSError) as error:
                raise ConfigError(f"--file-descriptors {wanted}: the limit here is {hard} ({error})") from None

    def limit_connections(self) -> None:
        """Let in no more connections than there are open files for."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limits = self.hub.limits
        limits.descriptors = max(files - SPARE_FILES, files // 2)
        limits.configure(self.config)
        if self.config.max_connections > limits.descriptors:
            logger.warning(
                "max_connections: %d open files are enough for %d connections only", files, limits.descriptors
            )

    async def recover(self) -> None:
        """Open the store and rebuild the engine from it: counts and names, not the queue."""
        loop = asyncio.get_running_loop()
        config = self.config
        prefix = config.job_handle_prefix + b":"
        started = time.monotonic()
        recovered = await self.store.open(
            prefix,
            config.max_interruptions or 1 << 30,
            config.window,
            lambda name: config.policies.of(name).on_restart == "hold",
        )
        self.journal = Journal(self.store, self.on_store_failure)
        self.journal.on_refusal = self.on_refusal
        self.hub = Hub(config, self.store, self.journal, loop)
        self.hub.busy_poll.enable()
        self.limit_connections()
        engine = self.hub.engine
        engine.prefixes = recovered.prefixes
        engine.next_id = engine.ids_until = recovered.next_id
        engine.paused_at, engine.paused_until = recovered.paused
        recover(engine, recovered.functions, recovered.counts)
        await self.journal.commit()  # reserves job numbers
        if self.store.warning:
            logger.warning("%s", self.store.warning)
        waiting = sum(function.total for function in engine.functions.values())
        logger.info(
            "recovered %d jobs in %.0f ms; %d were interrupted, %d of them are held",
            waiting, (time.monotonic() - started) * 1000, recovered.interrupted + recovered.held, recovered.held,
        )  # fmt: skip
        # 100,000 live jobs make a full collection take 20-45 ms; nothing on the hot path makes cycles.
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)

    def protocol_for(self, address: Address) -> Callable[[], asyncio.Protocol]:
        """Return what makes the connections of a listener."""

        def connect() -> asyncio.Protocol:
            connection = Connection(self.hub, HANDLERS, address.role)
            if not address.tls:
                return connection
            assert self.tls is not None
            return TlsTransport(connection, self.tls)

        return connect

    def announce(self) -> None:
        """Say where we listen, to the log and to systemd."""
        for listener in self.listeners:
            logger.info("listening on %s", listener.name)
        for address in self.config.listen:
            if not (address.near or address.tls):
                logger.warning(
                    "%s is open to the network and speaks no TLS: who reaches it can have workers run jobs, and who is "
                    "on the way can read them (docs/security.md)", address,
                )  # fmt: skip
        where = self.store.path or "memory only"
        logger.info("gearstore %s serves, database %s", __version__, where)
        self.notifier.ready()
        self.notifier.status(f"serving, database {where}")
        self.beat()

    def beat(self) -> None:
        """Tell systemd's watchdog that the loop turns and the journal is not stuck."""
        interval = self.notifier.watchdog_interval
        if interval is not None:
            self.notifier.watchdog()
            asyncio.get_running_loop().call_later(interval, self.beat)

    def write_pid_file(self) -> None:
        """Write `--pid-file`."""
        path = self.config.pid_file
        if path is not None:
            try:
                path.write_text(f"{os.getpid()}\n")
            except OSError as error:
                raise ConfigError(f"--pid-file {path}: {error.strerror}") from None

    def remove_pid_file(self) -> None:
        """Remove `--pid-file` if it is ours."""
        path = self.config.pid_file
        if path is not None:
            with suppress(OSError, ValueError):
                if int(path.read_text()) == os.getpid():
                    path.unlink()

    # Serving

    async def wait_for_end(self) -> None:
        """Serve until a signal ends it, or the store fails; then drain."""
        number = await self.next_signal()
        if self.failure is None:
            await self.drain(None if number == signal.SIGUSR1 else self.config.drain_timeout)

    async def next_signal(self) -> int:
        """Return the next signal that means an end, 0 if the store failed; reload at each SIGHUP before it."""
        while (number := await self.signals.get()) == signal.SIGHUP:
            self.reload()
        return number

    def on_store_failure(self, error: StoreError) -> None:
        """After a failed sync nothing that is written can be trusted: stop; the restart recovers."""
        logger.critical("%s", error)
        self.failure = error
        self.signals.put_nowait(0)

    def on_refusal(self, why: str) -> None:
        """Say that new jobs are refused, once a minute at most, or that they are stored again."""
        now = time.monotonic()
        if why and now >= self.refusal_told_at + TELL_INTERVAL:
            self.refusal_told, self.refusal_told_at = True, now
            logger.error("%s: new background jobs are refused until that has passed", why)
            self.notifier.status(f"refuses new background jobs: {why}")
        elif not why and self.refusal_told:
            self.refusal_told = False
            logger.warning("new background jobs are stored again")
            self.notifier.status(f"serving, database {self.store.path}")

    def reload(self) -> None:
        """SIGHUP: read the configuration again and take over what can change while we run."""
        try:
            config, warnings = reload_config(self.config, os.environ)
            tls = load_tls(config)
        except GearstoreError as error:
            logger.error("the configuration was not reloaded: %s", error)
            return
        for warning in warnings:
            logger.warning("%s", warning)
        self.config, self.tls = config, tls
        self.hub.configure(config)
        self.hub.end_turn()
        logger.setLevel(config.log_level)
        logger.info("the configuration is reloaded")

    async def drain(self, timeout: float | None) -> None:
        """Assign nothing more and let running jobs end, for `timeout` seconds at most; a second signal ends it."""
        self.notifier.stopping((timeout or 0) + STOP_TIME)
        for listener in self.listeners:
            listener.close()
        engine = self.hub.engine
        engine.draining = True
        running = sum(function.states[RUNNING] for function in engine.functions.values())
        logger.info("stopping; %d jobs run, waiting for them up to %s seconds", running, timeout or "any number of")
        self.hub.end_turn()
        waits = [asyncio.ensure_future(self.hub.on_idle.wait()), asyncio.ensure_future(self.next_signal())]
        _, pending = await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()

    # Ending

    async def shut_down(self, committing: asyncio.Task[None]) -> None:
        """Store what is left, let the answers out, close. What still runs is found running by the next start."""
        for listener in self.listeners:
            listener.close()
        self.hub.closing = True
        self.hub.cancel_tasks()
        if self.failure is None:
            await self.journal.close()
        committing.cancel()
        with suppress(asyncio.CancelledError):
            await committing
        for connection in list(self.hub.connections):
            connection.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while self.hub.connections:
                    await asyncio.sleep(0.005)
        for connection in list(self.hub.connections):
            connection.abort("the server ends")
        if self.failure is None:
            with suppress(StoreError):
                await self.store.forget_numbers(self.hub.engine.next_id)
