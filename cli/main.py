"""The `gearstore` command: which commands there are, and how each of them ends.

Whatever goes wrong becomes one line on standard error and an exit code here, in one place (see errors.py).
"""

import inspect
import sys
from collections.abc import Callable

import typer

from gearstore import __version__

from . import config, output
from .backup import backup
from .bench import bench
from .change import make_command
from .doctor import doctor
from .errors import CommandError, UsageError
from .failures import failures
from .integrity import check
from .jobs import jobs, show
from .limits import limits
from .options import option
from .selftest import selftest
from .serve import serve
from .status import status, workers
from .steer import drain, pause, resume
from .submit import submit
from .tail import tail
from .tls import with_tls
from .top import top
from .transfer import export, import_
from .verbs import VERBS
from .work import WorkCommand, work

INTERRUPTED = 130  # as a shell reports a command that ended by Ctrl-C

# Errors are printed here, not by Typer, which draws boxes around them and shows local variables, thus payloads.
app = typer.Typer(
    name="gearstore",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: dict[str, Callable[..., None]] = {
    "serve": serve,
    "submit": submit,
    "status": status,
    "workers": workers,
    "limits": limits,
    "top": top,
    "tail": tail,
    "jobs": jobs,
    "show": show,
    "failures": failures,
    **{verb.name: make_command(verb) for verb in VERBS},
    "pause": pause,
    "resume": resume,
    "drain": drain,
    "work": work,
    "backup": backup,
    "check": check,
    "doctor": doctor,
    "selftest": selftest,
    "bench": bench,
    "export": export,
    "import": import_,
}
GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "config": (
        "Show and check the configuration of a server.",
        {"show": config.show, "check": config.check, "sample": config.print_sample},
    ),
}


def help_of(command: Callable[..., None]) -> str:
    """Return a command's docstring with each paragraph on one line: not every Typer fills paragraphs itself."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


for name, command in COMMANDS.items():
    app.command(name, help=help_of(command), cls=WorkCommand if command is work else None)(with_tls(command))

for group, (about, commands) in GROUPS.items():
    members = typer.Typer()
    for name, command in commands.items():
        members.command(name, help=help_of(command))(with_tls(command))
    app.add_typer(members, name=group, help=about)


def print_version(wanted: bool) -> None:
    """Print the version and end, if that is wanted."""
    if wanted:
        typer.echo(f"gearstore {__version__}")
        raise typer.Exit()


@app.callback()
def gearstore(
    version: bool = option(False, "--version", "-V", callback=print_version, is_eager=True, help="Print the version."),
) -> None:
    """A Gearman job server that loses nothing, and the tools to use it.

    Exit codes: 0 done, 1 nothing matched or the job failed, 2 wrong usage, 3 server unreachable, 4 refused.

    Example: gearstore submit fonctionJob 'params'
    """


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run())


def run() -> int:
    """Run the command line and return its exit code."""
    try:
        return app(prog_name="gearstore", standalone_mode=False) or 0
    except CommandError as error:
        if str(error):
            output.say(str(error))
        return error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        # Typer's own usage errors: their class has moved between its versions, what they can do hasn't.
        if not hasattr(error, "format_message"):
            raise
        context = getattr(error, "ctx", None)
        command_path = context.command_path if context else "gearstore"
        output.say(f"{error.format_message()} (see {command_path} --help)")
        return UsageError.exit_code
