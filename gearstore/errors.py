"""Every exception that gearstore raises on purpose, sorted by whose fault it is.

    GearstoreError
    ├── ProtocolError        the peer's: its bytes are not Gearman
    ├── QueueError           the peer's: understood and refused (an ERROR packet)
    ├── StoreError           ours: the store cannot do what it must (exit code 1)
    │   ├── StoreFull        no space left; passes when there is space again
    │   ├── StoreBusy        another server owns the file (exit code 4)
    │   └── StoreUnusable    not a gearstore database, newer than the program, or damaged (exit code 4)
    └── ConfigError          the operator's: an option or the configuration file (exit code 2)

A message is one sentence that ends in what to do next. The exit codes are those of `gearstore serve`: after a 1 a new
start may help, after a 2 or a 4 somebody has to do something first (systemd/gearstore.service relies on it).
"""


class GearstoreError(Exception):
    """Anything that gearstore raises on purpose."""


class ProtocolError(GearstoreError):
    """The peer sent bytes that are not Gearman; its connection ends, nobody else notices.

    With a `code` the peer is told by an ERROR packet before the end; without, it only sees the end (as in gearmand).
    `limit` is the option whose limit it ran into, if it is one.
    """

    def __init__(self, message: str, code: bytes | None = None, limit: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.limit = limit


class QueueError(GearstoreError):
    """The request was understood and is refused; it becomes an ERROR packet.

    `code` and `text` are the two arguments of that packet, as they go over the wire; `limit` is the option or key of a
    policy whose limit it ran into, if it is one.
    """

    def __init__(self, code: bytes, text: bytes, limit: str = "") -> None:
        super().__init__(f"{code.decode('ascii', 'replace')}: {text.decode('utf-8', 'replace')}")
        self.code = code
        self.text = text
        self.limit = limit


class StoreError(GearstoreError):
    """The store cannot do what it must; unless it is a subclass that passes, the server stops."""


class StoreFull(StoreError):
    """No space is left: nothing of this batch was written, and a later batch may succeed."""


class StoreBusy(StoreError):
    """Another server owns the database; the message names its PID."""


class StoreUnusable(StoreError):
    """The file is not a gearstore database, was written by a newer gearstore, or is damaged."""


class ConfigError(GearstoreError):
    """An option, an environment variable or the configuration file is wrong; exit code 2."""
