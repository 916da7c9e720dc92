"""The completion for zsh: _arguments, with a specification for each option."""

import re
from collections.abc import Iterator
from textwrap import indent

from .commands import Command, Parameter, first_sentence
from .values import members, value_of

TEMPLATE = r"""#compdef gearstore
# zsh completion for gearstore; made by `make docs`

# Offer the first column of a list that the server is asked for; silent, and not for long, if there is none.
_gearstore_ask() {
    local -a found server
    local address=${opt_args[--server]:-${opt_args[-s]}}
    [[ -n $address ]] && server=(--server "${address//\\:/:}")
    found=(${(f)"$(timeout 5 $gearstore_program "$@" $server 2>/dev/null </dev/null | cut -f 1 | grep -vx '\.')"})
    compadd -a found
}

_gearstore_functions() { _gearstore_ask status }
_gearstore_handles() { _gearstore_ask jobs --limit 100 --state=$^@ }

# Functions up to the --, then a command as if it stood alone.
_gearstore_work() {
    local border=${words[(i)--]}
    if ((border < CURRENT)); then
        shift $border words
        ((CURRENT -= border))
        _normal
    else
        _gearstore_functions
    fi
}

_gearstore() {
    local curcontext=$curcontext gearstore_program=$words[1] state line
    local -a commands
    typeset -A opt_args
    _arguments -C \
        '(- *)'{-h,--help}'[Show the help]' \
        '(- *)'{-V,--version}'[Print the version]' \
        '1:command:->command' \
        '*::argument:->argument'
@CHOICE@
}

_gearstore "$@"
"""

CHOICE = """\
case $state in
    command)
        commands=(
@NAMES@
        )
        _describe command commands
        ;;
    argument)
        case $words[1] in
@CASES@
        esac
        ;;
esac"""
GROUP = """\
_arguments -C '(- *)'{-h,--help}'[Show the help]' '1:command:->command' '*::argument:->argument'
"""


def completion(commands: list[Command]) -> str:
    """Return the script."""
    return TEMPLATE.replace("@CHOICE@", indented(choice(commands, ""), 4))


def choice(commands: list[Command], group: str) -> str:
    """Return what goes on with the state of _arguments: the name of a command, or one case for each."""
    within = [each for each in commands if each.group == group]
    described = [f"{each.name.split()[-1]}:{each.summary}" for each in within]
    cases = [case(each) for each in within]
    if not group:
        described += members(commands)
        cases += [group_case(found, name) for name, found in members(commands).items()]
    names = "\n".join(map(quoted, described))
    return CHOICE.replace("@NAMES@", indented(names, 12)).replace("@CASES@", indented("\n".join(cases), 12))


def group_case(commands: list[Command], group: str) -> str:
    """Return the case of a first word that a second one follows."""
    return f"{group})\n{indented(GROUP + choice(commands, group), 4)}\n    ;;"


def case(command: Command) -> str:
    """Return the case of a command."""
    specifications = [r"'(- *)'{-h,--help}'[Show the help]'"]
    specifications += [each for option in command.options for each in option_specifications(command, option)]
    specifications += [argument_specification(command, each) for each in command.arguments]
    lines = " \\\n".join(specifications)
    return f"{command.name.split()[-1]})\n    _arguments -s \\\n{indented(lines, 8)}\n    ;;"


def option_specifications(command: Command, option: Parameter) -> Iterator[str]:
    """Yield the specification of an option, and that of what turns it off."""
    explained = "[" + re.sub(r"([]:\\[])", r"\\\1", first_sentence(option.help)) + "]"
    value = f":{option.metavar.replace('|', ' or ')}:{action(command, option)}" if option.metavar else ""
    flags = [f"{flag}=" if value and flag.startswith("--") else flag for flag in (*option.flags, *option.off_flags)]
    # An option excludes itself in its other spellings, unless it may be repeated.
    excluded = "*" if option.repeated else "(" + " ".join((*option.flags, *option.off_flags)) + ")"
    for flag in flags:
        yield quoted(f"{excluded}{flag}{explained}{value}")


def argument_specification(command: Command, argument: Parameter) -> str:
    """Return the specification of an argument."""
    number = "*" if argument.repeated else "" if argument.required else ":"
    name = argument.name.replace("_", " ")
    return quoted(f"{number}:{name}:{action(command, argument)}")


def action(command: Command, parameter: Parameter) -> str:
    """Return where the values come from; a blank if nothing is known."""
    kind, words = value_of(command, parameter)
    return {
        "words": f"({' '.join(words)})",
        "file": "_files",
        "function": "{_gearstore_functions}",
        "command": "{_gearstore_work}",
        "handle": "{" + " ".join(["_gearstore_handles", *words]) + "}",
    }.get(kind, " ")


def quoted(text: str) -> str:
    """Return a text for zsh."""
    return "'" + text.replace("'", r"'\''") + "'"


def indented(text: str, width: int) -> str:
    """Return lines with so many blanks before them."""
    return indent(text, " " * width)
