"""`gearstore doctor`: what keeps a server from doing what it promises, each with a sentence and what to do."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Optional

from gearstore.config import load_config
from gearstore.errors import ConfigError

from . import output
from .client import Connection
from .database import DB, answering, existing
from .errors import CommandError, NotGearstore, Refused, Unreachable
from .examination import CHECKS, Finding, Patient
from .options import JSON, SERVER, option
from .render import escaped

USUAL_CONFIG = Path("/etc/gearstore/gearstore.toml")


def admit(address: str, db: Optional[Path], file: Optional[Path]) -> Patient:
    """Ask the server, if there is one, and find the database."""
    patient = Patient(address, file, now=round(time.time() * 1000))
    if db is not None:
        patient.database = existing(db).resolve()
        with suppress(Refused), answering(address, db) as shelf, Connection(shelf) as connection:
            patient.functions = list(connection.manage("status"))  # else the check of the database says why not
        return patient
    try:
        with Connection(address) as connection:
            (patient.hello,) = connection.manage("hello")
            *patient.functions, last = connection.manage("status", {"total": True})
            patient.total = last["total"]
            patient.connections = list(connection.manage("workers"))
            patient.settings = {row["name"]: row["value"] for row in connection.manage("config")}
            patient.limits = list(connection.manage("limits"))
    except (Unreachable, NotGearstore) as error:
        patient.trouble = error
    if patient.hello is not None:
        patient.database = Path(patient.hello["database"]) if patient.hello["database"] else None
    else:
        with suppress(ConfigError):
            patient.database = load_config({}, os.environ, file)[0].db
    return patient


def doctor(
    config: Optional[Path] = option(
        None,
        "--config",
        "--config-file",
        metavar="FILE",
        help=f"Configuration (default: {USUAL_CONFIG}, if it is there).",
    ),
    as_json: bool = JSON,
    db: Optional[Path] = DB,
    server: str = SERVER,
) -> None:
    """Look at everything that keeps a server from doing what it promises, and say what to do.

    Looked at are the server, its configuration, the database and who may read it, the disk (space, file system, and
    whether its syncs are real and how slow), how long submits waited for it, the clock, open files, limits that were
    met, paused functions and jobs without workers. Nothing is changed. As the server's user, or as root, it sees more.

    Through a pipe: tab-separated `ok` or `do`, check, sentence, advice. Exit code 0 if there is nothing to do, else 1.

    Example: gearstore doctor
    """
    named = config or Path(os.environ.get("GEARSTORE_CONFIG") or USUAL_CONFIG)
    patient = admit(server, db, named if config or named.exists() else None)
    to_do = 0
    for name, check in CHECKS.items():
        for finding in check(patient):
            to_do += bool(finding.advice)
            print_finding(name, finding, as_json)
    if to_do:
        raise CommandError(f"{to_do} to do" if output.to_terminal() else "")


def print_finding(name: str, finding: Finding, as_json: bool) -> None:
    """Print a finding in the form that its reader wants."""
    sentence, advice = escaped(finding.sentence), escaped(finding.advice)
    if as_json:
        row = {"check": name, "ok": not advice, "sentence": finding.sentence, "advice": finding.advice or None}
        output.write(json.dumps(row) + "\n")
    elif output.to_terminal():
        output.write(f"{'!' if advice else '✓'} {name:<10} {sentence}\n" + (f"{'':13}→ {advice}\n" if advice else ""))
    else:
        output.write(f"{'do' if advice else 'ok'}\t{name}\t{sentence}\t{advice}\n")
