"""The completion for fish: one line an option."""

from collections.abc import Iterator

from .commands import Command, Parameter, first_sentence
from .values import members, value_of

HEAD = r"""# fish completion for gearstore; made by `make docs`

# Whether the command line is about this command.
function __gearstore_is
    set -l words (commandline -opc)
    set -l last (math 1 + (count $argv))
    test "$words[2..$last]" = "$argv"
end

# Whether these words were the last ones before the current.
function __gearstore_after
    set -l words (commandline -opc)
    test "$words[2..-1]" = "$argv"
end

# Ask the server for the first column of a list; silent, and not for long, if there is none.
function __gearstore_ask
    set -l words (commandline -opc)
    set -l server
    for i in (seq 2 (count $words))
        switch $words[$i]
            case -s --server
                set server --server $words[(math $i + 1)]
            case '--server=*'
                set server $words[$i]
        end
    end
    timeout 5 $words[1] $argv $server 2>/dev/null </dev/null | string replace -r '\t.*' '' | string match -v .
end

# Functions up to the --, then a command as if it stood alone.
function __gearstore_work
    set -l words (commandline -opc)
    if set -l border (contains -i -- -- $words)
        complete -C (string join ' ' -- (string escape -- $words[(math $border + 1)..-1]) (commandline -ct))
    else
        __gearstore_ask status
    end
end

complete -c gearstore -f
complete -c gearstore -n __gearstore_after -l version -s V -d 'Print the version'
complete -c gearstore -l help -s h -d 'Show the help'
"""


def completion(commands: list[Command]) -> str:
    """Return the script."""
    lines = list(map(name_line, commands))
    lines += [f"complete -c gearstore -n __gearstore_after -a {group}" for group in members(commands)]
    for command in commands:
        lines.append("")
        lines += [argument_line(command, each) for each in command.arguments if source(command, each)]
        lines += [line for option in command.options for line in option_lines(command, option)]
    return HEAD + "\n".join(lines) + "\n"


def name_line(command: Command) -> str:
    """Return the line of a command's name, of the second word where there are two."""
    place = quoted(f"__gearstore_after {command.group}".strip())
    return f"complete -c gearstore -n {place} -a {command.name.split()[-1]} -d {quoted(command.summary)}"


def of(command: Command) -> str:
    """Return the beginning of a line about a command."""
    return f"complete -c gearstore -n '__gearstore_is {command.name}'"


def argument_line(command: Command, argument: Parameter) -> str:
    """Return the line of an argument."""
    return f"{of(command)} {source(command, argument)}"


def option_lines(command: Command, option: Parameter) -> Iterator[str]:
    """Yield the line of an option, and that of what turns it off."""
    names = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    value = f"-r {source(command, option)}".rstrip() + " " if option.metavar else ""
    yield f"{of(command)} {names} {value}-d {quoted(first_sentence(option.help))}"
    for flag in option.off_flags:
        yield f"{of(command)} -l {flag[2:]} -d {quoted('Not: ' + first_sentence(option.help))}"


def source(command: Command, parameter: Parameter) -> str:
    """Return where the values come from, nothing if nothing is known."""
    kind, words = value_of(command, parameter)
    states = "".join(f" --state={word}" for word in words)
    return {
        "words": f"-a {quoted(' '.join(words))}",
        "file": "-F",
        "function": "-a '(__gearstore_ask status)'",
        "command": "-a '(__gearstore_work)'",
        "handle": f"-a '(__gearstore_ask jobs --limit 100{states})'",
    }.get(kind, "")


def quoted(text: str) -> str:
    """Return a text for fish."""
    return "'" + text.replace("\\", r"\\").replace("'", r"\'") + "'"
