"""How a command can end other than well; each class is one exit code.

    CommandError             1  nothing matched, or the job failed (JobFailed)
    ├── UsageError           2  the command line is wrong
    ├── Unreachable          3  no server there, or it went away
    ├── Refused              4  the server understood and said no
    │   └── NotGearstore     4  a Gearman server, but not gearstore: it knows no management verbs
    └── PipeClosed         141  whoever read our output has enough (`| head`), as if killed by SIGPIPE

Most are those of gearstore.client. The message is one sentence for standard error; an empty one is not printed.
"""

from gearstore.client.errors import ClientError as CommandError
from gearstore.client.errors import JobFailed, NotGearstore, Refused, Unreachable

__all__ = ["CommandError", "JobFailed", "NotGearstore", "PipeClosed", "Refused", "Unreachable", "UsageError"]


class UsageError(CommandError):
    """The command line is wrong; the message says what to write instead."""

    exit_code = 2


class PipeClosed(CommandError):
    """The reader of our standard output has gone away, which is its good right."""

    exit_code = 141
