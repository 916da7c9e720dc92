"""What the shells may offer for a value."""

from typing import NamedTuple

from gearstore.options import OPTIONS
from gearstore_cli.verbs import VERBS

from .commands import Command, Parameter

# Which states of jobs a command is for, so that only handles of such are offered; of the others, all.
STATES = {verb.name: verb.states for verb in VERBS}
BY_METAVAR = {"FILE": "file", "FOLDER": "file", "GLOB": "function"}
BY_NAME = {"function": "function", "functions": "function", "handle": "handle", "handles": "handle"}
SERVE_WORDS = {
    option.name: tuple(option.kind.expect.removeprefix("one of ").split(", "))
    for option in OPTIONS
    if option.kind.expect.startswith("one of ")
}


class Value(NamedTuple):
    """What can be offered: kind is file, function, handle, command, words, or any if nothing is known."""

    kind: str
    words: tuple[str, ...] = ()


def value_of(command: Command, parameter: Parameter) -> Value:
    """Return what can be offered for an option or argument that takes a value."""
    words = parameter.words or (SERVE_WORDS.get(parameter.name, ()) if command.name == "serve" else ())
    if words:
        return Value("words", words)
    if " -- " in parameter.metavar:
        return Value("command")
    kind = BY_METAVAR.get(parameter.metavar) or BY_NAME.get(parameter.name, "any")
    return Value(kind, STATES.get(command.name, ()) if kind == "handle" else ())


def members(commands: list[Command]) -> dict[str, list[Command]]:
    """Return the commands of two words, by the first of them."""
    groups = dict.fromkeys(each.group for each in commands if each.group)
    return {group: [each for each in commands if each.group == group] for group in groups}


def first_words(commands: list[Command]) -> list[str]:
    """Return what can follow `gearstore`, each once."""
    return list(dict.fromkeys(each.name.split()[0] for each in commands))


def flags_of(command: Command) -> list[str]:
    """Return the flags to offer: the first long one of each option, and what turns it off."""
    return [flag for option in command.options for flag in (long_flag(option), *option.off_flags)] + ["--help"]


def long_flag(option: Parameter) -> str:
    """Return the first long flag of an option, its only one if that is short."""
    return next((flag for flag in option.flags if flag.startswith("--")), option.flags[0])
