"""The completion for bash: one function, and tables of the options."""

from collections.abc import Iterable, Iterator
from shlex import join, quote
from textwrap import wrap

from .commands import Command
from .values import Value, first_words, flags_of, members, value_of

TEMPLATE = r"""# bash completion for gearstore; made by `make docs`

# Ask the server for the first column of a list; silent, and not for long, if there is none.
_gearstore_ask() {
    local server=() i
    for ((i = 2; i < ${#words[@]} - 1; i++)); do
        case ${words[i]} in
            -s | --server) server=(--server "${words[i + 1]}") ;;
            --server=*) server=("${words[i]}") ;;
        esac
    done
    timeout 5 "$program" "$@" "${server[@]}" 2>/dev/null </dev/null | cut -f 1 | grep -vx '\.'
}

# Offer those of the words that begin like the current one. No compgen -W: it would expand what a server says.
_gearstore_offer() {
    local word behind= quote=
    [[ $current == [\'\"]* ]] && quote=${current:0:1} && current=${current:1}
    # Readline completes what stands behind the last colon.
    [[ $COMP_WORDBREAKS == *:* && ! $quote ]] && behind=${current%"${current##*:}"}
    for word; do
        [[ $word == "$current"* ]] || continue
        case $quote in
            \') [[ $word == *\'* ]] && continue ;;
            \") [[ $word == *[\"\$\`\\!]* ]] && continue ;;
            *) printf -v word %q "${word#"$behind"}" ;;
        esac
        COMPREPLY+=("$word")
    done
}

# Offer files, or what else bash finds by itself.
_gearstore_generate() {
    [[ $1 == -f ]] && compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
}

# Offer values of a kind.
_gearstore_values() {
    local found=() kind=$1
    shift
    case $kind in
        words) found=("$@") ;;
        file) _gearstore_generate -f ;;
        function) mapfile -t found < <(_gearstore_ask status) ;;
        handle) mapfile -t found < <(_gearstore_ask jobs --limit 100 "${@/#/--state=}") ;;
    esac
    _gearstore_offer "${found[@]}"
}

# Set `takes` to what a flag of a command wants to be followed by; fail if that is nothing.
_gearstore_takes() {
    case $1:$2 in
@TAKES@
        *) return 1 ;;
    esac
}

_gearstore() {
    local program=$1 words=() members=() word current command takes want=() place=0 border=0 first=2 i
    COMPREPLY=()
    # Bash takes : and = for ends of words; handles, addresses and --option=value hold them.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i > 1)) && [[ $word == [:=]* || ${COMP_WORDS[i - 1]} == *[:=] && $COMP_WORDBREAKS == *:* ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    local last=$((${#words[@]} - 1))
    current=${words[last]}
    command=${words[1]}
    if ((last == 1)); then
        _gearstore_offer @COMMANDS@
        return
    fi
    case $command in
@MEMBERS@
    esac
    if ((${#members[@]})); then
        if ((last == 2)); then
            _gearstore_offer "${members[@]}" --help
            return
        fi
        command+=" ${words[2]}"
        first=3
    fi
    for ((i = first; i < last && !border; i++)); do
        case ${words[i]} in
            --) border=$i ;;
            --*=*) ;;
            -*) _gearstore_takes "$command" "${words[i]}" && ((++i == last)) && want=("${takes[@]}") ;;
            *) ((++place)) ;;
        esac
    done
    if ((${#want[@]} == 0 && !border)) && [[ $current == --*=* ]]; then
        _gearstore_takes "$command" "${current%%=*}" || return
        want=("${takes[@]}")
        current=${current#*=}
    fi
    if ((${#want[@]})); then
        _gearstore_values "${want[@]}"
    elif [[ $current == -* ]] && ((!border)); then
        case $command in
@FLAGS@
        esac
    else
        case $command in
@ARGUMENTS@
        esac
    fi
}

complete -F _gearstore gearstore
"""
COMMAND = """            {name})
                if ((!border)); then
                    _gearstore_values function
                elif ((last == border + 1)); then
                    _gearstore_generate -c
                else
                    _gearstore_generate -f
                fi
                ;;"""


def completion(commands: list[Command]) -> str:
    """Return the script."""
    parts: dict[str, Iterable[str]] = {
        "@COMMANDS@": [folded("        " + join([*first_words(commands), "--help", "--version"])).strip()],
        "@MEMBERS@": (f"        {group}) members=({join(words)}) ;;" for group, words in member_words(commands)),
        "@TAKES@": (line for command in commands for line in takes(command)),
        "@FLAGS@": (
            folded(f"            {quote(each.name)}) _gearstore_offer {' '.join(flags_of(each))} ;;")
            for each in commands
        ),
        "@ARGUMENTS@": (line for command in commands for line in arguments(command)),
    }
    script = TEMPLATE
    for marker, lines in parts.items():
        script = script.replace(marker, "\n".join(lines))
    return script


def member_words(commands: list[Command]) -> Iterator[tuple[str, list[str]]]:
    """Yield each first word that a second one follows, and all of these."""
    for group, found in members(commands).items():
        yield group, [each.name.removeprefix(f"{group} ") for each in found]


def takes(command: Command) -> Iterator[str]:
    """Yield the cases of the options that want a value, those that want the same in one line."""
    cases: dict[Value, list[str]] = {}
    for option in command.options:
        if option.metavar:
            patterns = cases.setdefault(value_of(command, option), [])
            patterns += [quote(f"{command.name}:{flag}") for flag in option.flags]
    for value, patterns in cases.items():
        yield folded(f"        {' | '.join(patterns)}) takes=({joined(value)}) ;;")


def folded(line: str) -> str:
    """Return a line as several that bash takes for one."""
    indent = " " * (len(line) - len(line.lstrip()))
    return " \\\n".join(
        wrap(line, 120, subsequent_indent=indent + "    ", break_long_words=False, break_on_hyphens=False)
    )


def arguments(command: Command) -> Iterator[str]:
    """Yield the case of a command's arguments; the last of them may be repeated."""
    values = [value_of(command, each) for each in command.arguments]
    if values and values[0].kind == "command":
        yield COMMAND.format(name=quote(command.name))
        return
    for place, (argument, value) in enumerate(zip(command.arguments, values, strict=True)):
        if value.kind != "any":
            test = "" if argument.repeated else f"((place == {place})) && "
            yield f"            {quote(command.name)}) {test}_gearstore_values {joined(value)} ;;"


def joined(value: Value) -> str:
    """Return a kind and its words for bash."""
    return join([value.kind, *value.words])
