"""`gearstore serve`: its options are made from gearstore.config.OPTIONS, so that they are written once."""

import inspect
import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import Any, List, Optional

import typer

from gearstore.config import FOREIGN, OPTIONS, Config, load_config
from gearstore.errors import ConfigError, GearstoreError, StoreBusy, StoreUnusable
from gearstore.kinds import SWITCH, as_text
from gearstore.options import Foreign, Option

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
# syslog's numbers
PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


def serve(**flags: Any) -> None:
    """Run the job server in the foreground, until SIGTERM or Ctrl-C.

    Example: gearstore serve --listen 127.0.0.1:4730 --db /var/lib/gearstore/gearstore.db

    Each option can also be set by an environment variable (GEARSTORE_ and its long name, as in
    GEARSTORE_DRAIN_TIMEOUT) and in the file given with --config. gearmand's own options are accepted.
    """
    file = flags.pop("config") or os.environ.get("GEARSTORE_CONFIG")
    check_only = flags.pop("check_config")
    try:
        config, warnings = load_config(flags, os.environ, Path(file) if file else None)
        for warning in warnings:
            say(warning)
        if check_only:
            check_certificates(config)
            typer.echo("ok")
            return
        set_up_logging(config)
        # Imported late: --help and the other commands need neither asyncio nor the store.
        from gearstore.server.server import run

        code = run(config)
    except GearstoreError as error:
        say(str(error), logging.ERROR)
        raise typer.Exit(exit_code(error)) from None
    raise typer.Exit(code)


def check_certificates(config: Config) -> None:
    """Raise ConfigError if the server could not speak TLS as it should."""
    if config.tls_cert is not None:
        from gearstore.tls import of_server  # ssl takes a while to load

        of_server(config)


def exit_code(error: GearstoreError) -> int:
    """Return how `serve` ends by an error: 2 and 4 want an administrator, after a 1 a new start may help."""
    if isinstance(error, ConfigError):
        return 2
    return 4 if isinstance(error, (StoreBusy, StoreUnusable)) else 1


def say(text: str, level: int = logging.WARNING) -> None:
    """Print one line for the operator on standard error."""
    typer.echo(f"<{PRIORITIES[level]}>{text}" if in_journal() else f"gearstore: {text}", err=True)


def in_journal() -> bool:
    """Tell whether standard error is the journal, which sets the time itself and wants a priority (sd-daemon(3))."""
    try:
        stream = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


class JournalFormatter(logging.Formatter):
    """Sets the priority before each line; systemd takes it off again."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as the journal wants it."""
        start = f"<{PRIORITIES[record.levelno]}>"
        return start + super().format(record).replace("\n", f"\n{start}")


def set_up_logging(config: Config) -> None:
    """Send the log of gearstore where the configuration says; raise ConfigError if the file can't be opened."""
    handler: logging.Handler
    if config.log_file == "none":
        handler = logging.NullHandler()
    elif config.log_file == "stderr":
        handler = logging.StreamHandler()
    else:
        try:
            # Watched: it opens a new file by itself after logrotate has moved the old one away.
            handler = logging.handlers.WatchedFileHandler(config.log_file)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise ConfigError(f"--log-file: {config.log_file}: {reason}; name a file that can be written") from None
    journal = config.log_file == "stderr" and in_journal()
    handler.setFormatter(JournalFormatter() if journal else logging.Formatter(LOG_FORMAT))
    logger = logging.getLogger("gearstore")
    logger.handlers[:] = [handler]
    logger.setLevel(config.log_level)
    logger.propagate = False


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """Return a parameter in the form that Typer reads."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def option_parameter(option: Option) -> inspect.Parameter:
    """Return the parameter of one of our options. Its value stays text: config.py checks it, for all sources alike."""
    annotation: Any = Optional[str]
    settings: dict[str, Any] = {"metavar": option.kind.metavar}
    default: Any = None
    if option.kind is SWITCH:
        annotation, settings = Optional[bool], {}
    elif option.repeated:
        annotation, default = List[str], []
    text = f"{option.help} {default_text(option)}".rstrip()
    settings |= {"help": text, "show_default": False, "rich_help_panel": option.group}
    return parameter(option.name, annotation, typer.Option(default, *option.flags, **settings))


def default_text(option: Option) -> str:
    """Return how the help names the default, or nothing where the help itself or the machine tells it.

    Not in brackets: newer Typers take them for markup.
    """
    value = option.default
    if callable(value) or not value:
        return ""
    if value is True:
        return "(default: on)"
    values = value if option.repeated else [value]
    return f"(default: {', '.join(as_text(option.kind.write(each)) for each in values)})"


def foreign_parameter(foreign: Foreign) -> inspect.Parameter:
    """Return the hidden parameter of one of gearmand's options that mean nothing here."""
    if foreign.takes_value:
        return parameter(foreign.name, Optional[str], typer.Option(None, *foreign.flags, hidden=True))
    return parameter(foreign.name, bool, typer.Option(False, *foreign.flags, hidden=True))


def make_signature() -> inspect.Signature:
    """Return the signature that Typer sees instead of **flags."""
    config = typer.Option(
        None, "--config", "--config-file", metavar="FILE", help="Configuration file (TOML).", show_default=False
    )
    check = typer.Option(
        False, "--check-config", "--check-args", help="Check the configuration, print ok, and end.", show_default=False
    )
    return inspect.Signature(
        [
            parameter("config", Optional[str], config),
            parameter("check_config", bool, check),
            *map(option_parameter, OPTIONS),
            *map(foreign_parameter, FOREIGN),
        ]
    )


# Typer asks for the signature and for the annotations; both must tell the same.
serve.__signature__ = make_signature()  # type: ignore[attr-defined]
serve.__annotations__ = {name: item.annotation for name, item in make_signature().parameters.items()}
