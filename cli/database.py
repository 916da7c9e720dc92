"""`--db FILE`: the database without its server, and where the database of a server is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from gearstore.errors import ConfigError, GearstoreError

from . import output
from .client import Connection, address_of
from .errors import CommandError, Refused, UsageError
from .options import option

DB = option(None, "--db", metavar="FILE", help="Read this database, or backup, instead of asking a server.")


@contextmanager
def answering(server: str, db: Optional[Path]) -> Iterator[str]:
    """Yield the address of who answers questions: the server, or with --db this process, which reads the file."""
    if db is None:
        yield server
        return
    # Imported late, as in serve.py: who asks a server needs none of it.
    from gearstore.server.shelf import shelf

    with storing():
        with shelf(str(existing(db))) as opened:
            if opened.owner:
                output.say(f"{db} is in use by {opened.owner}: this is what of it is on disk")
            yield f"unix:{opened.address}"


@contextmanager
def storing() -> Iterator[None]:
    """Turn what a store has to say into the end of a command."""
    try:
        yield
    except (CommandError, ConfigError):
        raise
    except GearstoreError as error:
        raise Refused(str(error)) from None


def existing(db: Path) -> Path:
    """Return the path if there is something that this user may see."""
    try:
        db.stat()
    except OSError as error:
        raise UsageError(f"--db: {db}: {error.strerror}") from None
    return db


def database_of(server: str, db: Optional[Path]) -> Path:
    """Return the file that --db names or that the server keeps its jobs in; raise CommandError if it isn't here."""
    if db is not None:
        return existing(db)
    address_of(server)
    with Connection(server) as connection:
        (hello,) = connection.manage("hello")
    if hello["database"] is None:
        raise Refused(f"the server at {server} keeps its jobs in memory only")
    path = Path(hello["database"])
    try:
        owner = Path(f"{path}.lock").read_text().strip()
    except PermissionError:
        raise Refused(f"{path} is not readable for this user: do it as the server's, or as root") from None
    except OSError:
        owner = ""
    if owner != str(hello["pid"]):
        raise Refused(f"{path} of the server at {server} is not on this machine: do it there")
    return path
