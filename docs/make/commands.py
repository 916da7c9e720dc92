"""The commands and their parameters as plain data, read from the functions that Typer is given.

Neither Typer's help nor its own view of the parameters is asked: both change with its version.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin

from typer.models import OptionInfo

from gearstore_cli.main import app, gearstore

METAVARS = {str: "TEXT", int: "N", float: "NUMBER"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One option or argument. A switch has no metavar, an argument no flags."""

    name: str
    flags: tuple[str, ...]
    off_flags: tuple[str, ...]  # what turns a switch off
    metavar: str
    help: str
    default: str
    env: str
    words: tuple[str, ...]  # the values that there are, if they can be counted
    repeated: bool
    required: bool
    hidden: bool
    panel: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command; its name may be two words."""

    name: str
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def group(self) -> str:
        """The first word of a name of two, nothing otherwise."""
        return self.name.partition(" ")[0] if " " in self.name else ""

    @property
    def shown(self) -> list[Parameter]:
        """The arguments and options that the help shows."""
        return [each for each in self.parameters if not each.hidden]

    @property
    def options(self) -> list[Parameter]:
        """The options that the help shows."""
        return [each for each in self.shown if each.flags]

    @property
    def arguments(self) -> list[Parameter]:
        """What comes without a flag."""
        return [each for each in self.parameters if not each.flags]

    @property
    def summary(self) -> str:
        """The first sentence of the help, without its full stop."""
        return first_sentence(self.paragraphs[0])


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop, without it."""
    return re.split(r"\.(?:\s|$)", text, maxsplit=1)[0]


def commands() -> list[Command]:
    """Return all commands in the order of the help."""
    return list(walk(app, ""))


def global_options() -> list[Parameter]:
    """Return the options that stand before a command."""
    return [read_parameter(each) for each in inspect.signature(gearstore).parameters.values()]


def walk(typer_app: Any, prefix: str) -> Iterator[Command]:
    """Yield the commands of a Typer, those of the Typers within it last."""
    for info in typer_app.registered_commands:
        name = info.name or info.callback.__name__.replace("_", "-")
        yield read_command(f"{prefix}{name}", info.help or info.callback.__doc__, info.callback)
    for group in typer_app.registered_groups:
        yield from walk(group.typer_instance, f"{prefix}{group.name} ")


def read_command(name: str, text: str, function: Any) -> Command:
    """Return a command; its help is paragraphs, some of which begin with `Example:`."""
    paragraphs = [" ".join(each.split()) for each in inspect.cleandoc(text or "").split("\n\n")]
    examples = [each.removeprefix("Example: ") for each in paragraphs if each.startswith("Example: ")]
    prose = tuple(each for each in paragraphs if not each.startswith("Example: "))
    parameters = tuple(map(read_parameter, inspect.signature(function).parameters.values()))
    return Command(name, prose, tuple(examples), parameters)


def read_parameter(declared: inspect.Parameter) -> Parameter:
    """Return a parameter as it is declared by its annotation and its typer.Option or typer.Argument."""
    info, kind = declared.default, bare_type(declared.annotation)
    flags, off_flags = flags_of(declared.name, info, kind) if isinstance(info, OptionInfo) else ((), ())
    words = tuple(str(each.value) for each in kind) if issubclass(kind, Enum) else ()
    metavar = info.metavar or ("|".join(words) if words else METAVARS.get(kind, kind.__name__.upper()))
    if not flags:
        metavar = re.sub(r"^\[(.*)\]$", r"\1", info.metavar or declared.name.upper())
    return Parameter(
        declared.name,
        flags,
        off_flags,
        "" if kind is bool else metavar,
        info.help or "",
        default_text(info),
        info.envvar or "",
        words,
        get_origin(declared.annotation) is list,
        info.default is ...,
        info.hidden,
        info.rich_help_panel or "",
    )


def flags_of(name: str, info: Any, kind: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the flags of an option and those that turn it off, as Typer makes them up where none are declared."""
    plain = "--" + name.replace("_", "-")
    declared = info.param_decls or ((f"{plain}/--no-{plain[2:]}",) if kind is bool else (plain,))
    on = tuple(each.partition("/")[0].strip() for each in declared)
    off = tuple(each.partition("/")[2].strip() for each in declared if "/" in each)
    return on, off


def bare_type(annotation: Any) -> type:
    """Return X of X, Optional[X] and List[X]."""
    if get_origin(annotation) in (Union, list):
        (annotation,) = [each for each in get_args(annotation) if each is not type(None)]
    if not isinstance(annotation, type):
        raise TypeError(f"an option of type {annotation} can't be described yet")
    return annotation


def default_text(info: Any) -> str:
    """Return the default as the help names it, nothing where it doesn't."""
    if not info.show_default or info.default in (..., None, False, "", []):
        return ""
    return str(info.default.value if isinstance(info.default, Enum) else info.default)
