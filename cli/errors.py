"""How a command can end other than well; each class is one exit code.

    CommandError             1  nothing matched, or the job failed
    ├── UsageError           2  the command line is wrong
    ├── Unreachable          3  no server there, or it went away
    ├── Refused              4  the server understood and said no
    │   └── NotGearstore     4  a Gearman server, but not gearstore: it knows no management verbs
    └── PipeClosed         141  whoever read our output has enough (`| head`), as if killed by SIGPIPE

The message is one sentence for standard error; an empty one is not printed.
"""

from gearstore.errors import GearstoreError


class CommandError(GearstoreError):
    """Nothing matched, or the job failed."""

    exit_code = 1


class UsageError(CommandError):
    """The command line is wrong; the message says what to write instead."""

    exit_code = 2


class Unreachable(CommandError):
    """There is no Gearman server at the address, or it went away."""

    exit_code = 3


class Refused(CommandError):
    """The server understood the request and refuses it."""

    exit_code = 4


class NotGearstore(Refused):
    """The server is a Gearman server that doesn't know gearstore's verbs."""


class PipeClosed(CommandError):
    """The reader of our standard output has gone away, which is its good right."""

    exit_code = 141
