"""The completion for zsh: _arguments, with a specification for each option."""

import re
from collections.abc import Iterator

from .commands import Command, Parameter, first_sentence
from .values import value_of

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
    typeset -A opt_args
    local -a commands=(
@COMMANDS@
    )
    _arguments -C \
        '(- *)'{-h,--help}'[Show the help]' \
        '(- *)'{-V,--version}'[Print the version]' \
        '1:command:->command' \
        '*::argument:->argument'
    case $state in
        command) _describe command commands ;;
        argument)
            case $words[1] in
@CASES@
            esac
            ;;
    esac
}

_gearstore "$@"
"""


def completion(commands: list[Command]) -> str:
    """Return the script."""
    names = "\n".join(f"        {quoted(f'{each.name}:{each.summary}')}" for each in commands)
    return TEMPLATE.replace("@COMMANDS@", names).replace("@CASES@", "\n".join(map(case, commands)))


def case(command: Command) -> str:
    """Return the case of a command."""
    specifications = [r"'(- *)'{-h,--help}'[Show the help]'"]
    specifications += [each for option in command.options for each in option_specifications(command, option)]
    specifications += [argument_specification(command, each) for each in command.arguments]
    lines = " \\\n".join(f"                        {each}" for each in specifications)
    return f"                {command.name})\n                    _arguments -s \\\n{lines}\n                    ;;"


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
