"""What a client can meet, sorted by what the caller may do about it.

    ClientError
    ├── Unreachable        there is no Gearman server at the address, or it went away
    │   └── Uncertain      it went away between a submit and its acknowledgement: the job may exist or not
    ├── Refused            the server understood the request and said no; `code` says why
    │   └── NotGearstore   a Gearman server that does not know gearstore's own verbs
    └── JobFailed          the worker reported WORK_FAIL
        └── JobException   the worker reported WORK_EXCEPTION; `data` and `text` are what it said

Time limits raise the built-in TimeoutError. `exit_code` is what a program may end with that has nothing better to do;
gearstore's own commands do.
"""

from gearstore.errors import GearstoreError


class ClientError(GearstoreError):
    """Anything that a client or worker raises on purpose."""

    exit_code = 1


class Unreachable(ClientError):
    """There is no Gearman server at the address, or it went away; a submit that raises just this was not sent."""

    exit_code = 3


class Uncertain(Unreachable):
    """The server went away before it acknowledged a submit: the job may exist or not."""


class Refused(ClientError):
    """The server understood the request and refuses it; `code` is its one word for the reason, empty if it has none."""

    exit_code = 4

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NotGearstore(Refused):
    """The server is a Gearman server that doesn't know gearstore's verbs."""


class JobFailed(ClientError):
    """The job failed, and nothing more is known. A handler may raise it to report just that."""

    def __init__(self, message: str = "the job failed") -> None:
        super().__init__(message)


class JobException(JobFailed):
    """The job failed with a message from its worker, which is `data`. A handler may raise it to choose that message."""

    def __init__(self, data: bytes | str = b"") -> None:
        self.data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else bytes(data)
        super().__init__(self.text or "the job failed with an empty message")

    @property
    def text(self) -> str:
        """The message as text; bytes that are not UTF-8 are kept as surrogates."""
        return self.data.decode("utf-8", "surrogateescape")


class GiveBack(Exception):
    """Raised by a handler that can't do the job now: the job goes back into its queue.

    The protocol's only way to give a job back is to close the connection. So that happens; the slot that ran the job
    pauses and connects again. A server counts this as an attempt whose worker was lost.
    """
