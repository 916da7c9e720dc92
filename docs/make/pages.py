"""The man pages: which there are, and how each is woven from its text and the commands.

A text is Markdown; a line like `{commands}` in it stands for what DIRECTIVES makes.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from gearstore import __version__
from gearstore.access import KEYS as GRANT_KEYS
from gearstore.access import ROLES
from gearstore.kinds import as_text
from gearstore.options import FOREIGN, OPTIONS, Option
from gearstore.policies import KEYS, PolicyKey, write_value
from gearstore.settings import SAMPLE
from gearstore_cli.serve import default_text

from . import roff
from .commands import Command, Parameter, commands, global_options

DATE = "2026-11-25"  # of the last release, or of the last change that readers should know of
TEXTS = Path(__file__).parent / "text"


class Group(NamedTuple):
    """Commands that share a page; it is named after the first, the others lead to it."""

    purpose: str
    commands: tuple[str, ...]

    @property
    def page(self) -> str:
        """The name of the page, which is also how `man` finds it."""
        return f"gearstore-{self.commands[0]}"


GROUPS = (
    Group("run the job server", ("serve",)),
    Group("show and check the configuration of a server", ("config",)),
    Group("submit jobs", ("submit",)),
    Group("run a command for each job", ("work",)),
    Group("see how the queues are doing", ("status", "workers", "limits", "top", "tail")),
    Group(
        "find jobs, and retry, replay, cancel, hold or forget them",
        ("jobs", "show", "failures", "retry", "replay", "cancel", "hold", "release", "purge"),
    ),
    Group("stop and start the flow of jobs", ("pause", "resume", "drain")),
    Group("copy, check, move and take over queues", ("backup", "check", "doctor", "selftest", "export", "import")),
    Group("measure what this machine and its disk give", ("bench",)),
)


def pages() -> dict[str, str]:
    """Return the contents of all man pages by file name."""
    source = f"gearstore {__version__}"
    overall = weave("gearstore", "gearstore(1): a Gearman job server that loses nothing")
    file = weave("toml", "gearstore.toml(5): configuration of the job server")
    made = {"gearstore.1": roff.page(overall, DATE, source), "gearstore.toml.5": roff.page(file, DATE, source)}
    for group in GROUPS:
        made[f"{group.page}.1"] = roff.page(group_page(group), DATE, source)
        links = {command.name.split()[0] for command in commands_of(group)} - {group.commands[0]}
        made |= {f"gearstore-{name}.1": f".so man1/{group.page}.1\n" for name in links}
    return made


def commands_of(group: Group) -> list[Command]:
    """Return the commands of a group, in its order."""
    return [each for name in group.commands for each in commands() if each.name.split()[0] == name]


def group_page(group: Group) -> str:
    """Return the page of a group in Markdown."""
    synopsis = "\\\n".join(f"`gearstore {each.name}` {usage(each)}".strip() for each in commands_of(group))
    return weave(group.commands[0], f"{group.page}(1): {group.purpose}", f"## Synopsis\n\n{synopsis}\n\n## Description")


def weave(text: str, title: str, head: str = "") -> str:
    """Return a page: title, head, and the text with its directives carried out."""
    name = title.partition(":")[0]
    body = (TEXTS / f"{text}.md").read_text()
    made = re.sub(r"^\{(\w+)\}$", lambda found: DIRECTIVES[found[1]](name), body, flags=re.MULTILINE)
    return f"# {title}\n\n{head}\n\n{made}"


def usage(command: Command) -> str:
    """Return what may follow the command's name."""
    return " ".join(["[*options*]" if command.options else "", *map(placeholder, command.arguments)]).strip()


def placeholder(argument: Parameter) -> str:
    """Return how an argument stands in the usage."""
    name = variables(argument.metavar) + ("..." if argument.repeated and "..." not in argument.metavar else "")
    return name if argument.required else f"[{name}]"


def variables(text: str) -> str:
    """Return a text whose words in capitals are what the user puts in their place."""
    return re.sub(r"[A-Z][A-Z0-9_]*", r"*\g<0>*", text).replace("--", "`--`")


def literal(text: str) -> str:
    """Return a help text in which stars are stars."""
    return re.sub(r"([\\*])", r"\\\1", text)


def short(parameter: Parameter) -> str:
    """Return how a parameter is called in a sentence."""
    return f"`{parameter.flags[0]}`" if parameter.flags else variables(parameter.metavar)


def definition(parameter: Parameter) -> str:
    """Return an option with its explanation."""
    flags = ", ".join(f"`{flag}`" for flag in (*sorted(parameter.flags, key=len), *parameter.off_flags))
    value = "|".join(f"`{word}`" for word in parameter.metavar.split("|") if "|" in parameter.metavar)
    facts = {"Default": parameter.default, "Variable": parameter.env}
    notes = "".join(f" {name}: `{value}`." for name, value in facts.items() if value)
    return f"{flags} {value or variables(parameter.metavar)}".strip() + f"\n: {literal(parameter.help)}{notes}"


def shared_parameters(group: list[Command]) -> list[Parameter]:
    """Return the arguments and options that several commands of a page have in common, each once."""
    every = [each for command in group for each in command.shown]
    return [each for each in dict.fromkeys(every) if every.count(each) > 1]


def explained(group: list[Command]) -> Iterator[str]:
    """Yield the explanation of each command, and at the end of what they share."""
    shared = shared_parameters(group)
    for command in group:
        yield f"### `gearstore {command.name}` {usage(command)}".strip()
        yield from map(literal, command.paragraphs)
        yield from own_parameters(command, shared)
        if below := [short(each) for each in command.shown if each in shared]:
            yield f"Explained below: {', '.join(below)}."
        yield "Example:\n\n```\n{}\n```".format("\n".join(command.examples))
    if shared:
        yield "## Common arguments and options"
        yield from map(definition, shared)


def own_parameters(command: Command, shared: list[Parameter]) -> Iterator[str]:
    """Yield the arguments and options that only this command has, panel by panel."""
    panel = ""
    for parameter in sorted((each for each in command.shown if each not in shared), key=panel_order(command)):
        if parameter.panel != panel:
            panel = parameter.panel
            yield f"**{panel}**"
        yield definition(parameter)


def panel_order(command: Command) -> Callable[[Parameter], int]:
    """Return a key that keeps the options of a panel together, in the order of the panels."""
    panels = list(dict.fromkeys(["", *(each.panel for each in command.shown)]))
    return lambda parameter: panels.index(parameter.panel)


def overview(_: str) -> str:
    """Return all commands in one line each, group by group."""
    lines = []
    for group in GROUPS:
        lines.append(f"### {group.purpose.capitalize()}: {group.page}(1)")
        lines += [
            f"`{each.name}` {usage(each)}".strip() + f"\n: {literal(each.summary)}." for each in commands_of(group)
        ]
    return "\n\n".join(lines)


def group_commands(page: str) -> str:
    """Return the commands of a page in full."""
    (group,) = [each for each in GROUPS if f"{each.page}(1)" == page]
    return "## Commands\n\n" + "\n\n".join(explained(commands_of(group)))


def foreign_options(_: str) -> str:
    """Return gearmand's options that mean nothing here, with what to do instead."""
    by_advice: dict[str, list[str]] = {}
    for foreign in FOREIGN:
        by_advice.setdefault(foreign.advice, []).extend(f"`{flag}`" for flag in foreign.flags)
    return "\n\n".join(f"{', '.join(flags)}\n: {literal(advice)}." for advice, flags in by_advice.items())


def keys(_: str) -> str:
    """Return the keys of the configuration file, group by group."""
    lines = []
    for group in dict.fromkeys(option.group for option in OPTIONS):
        lines.append(f"### {group}")
        lines += [key(option) for option in OPTIONS if option.group == group]
    return "\n\n".join(lines)


def key(option: Option) -> str:
    """Return one key of the file with its explanation."""
    value = f"[*{option.kind.metavar}*, ...]" if option.repeated else f"*{option.kind.metavar or 'true or false'}*"
    help_text = " ".join([literal(option.help), literal(default_text(option))]).strip()
    reload = " Read again at SIGHUP." if option.reloadable else ""
    flags = " or ".join(f"`{flag}`" for flag in option.flags[0].split("/"))
    return f"`{option.name}` = {value}\n: {help_text}{reload}\\\n{flags}; `{option.env}`"


def exit_status(_: str) -> str:
    """Return what the exit codes mean, which is the same for all commands."""
    return (TEXTS / "exit.md").read_text()


def policies(_: str) -> str:
    """Return the keys of the tables that are about functions."""
    return "\n\n".join(map(policy_key, KEYS))


def policy_key(key: PolicyKey) -> str:
    """Return one key of a function's table with its explanation."""
    default = f"`{key.option}`, for all functions" if key.option else literal(as_text(write_value(key, SAMPLE)))
    value = f"[*{key.kind.metavar}*, ...]" if key.repeated else f"*{key.kind.metavar}*"
    return f"`{key.name}` = {value}\n: {literal(key.help)} (default: {default})"


def roles(_: str) -> str:
    """Return the roles."""
    return "\n\n".join(f"`{name}`\n: {role.help.capitalize()}." for name, role in ROLES.items())


def grants(_: str) -> str:
    """Return the keys of the tables that are about certificates."""
    return "\n\n".join(
        f"`{key.name}` = {'[*GLOB*, ...]' if key.repeated else '*ROLE*'}\n: {literal(key.help)}" for key in GRANT_KEYS
    )


def see_also(page: str) -> str:
    """Return the other pages."""
    others = ["gearstore(1)", *(f"{group.page}(1)" for group in GROUPS), "gearstore.toml(5)"]
    return (
        "## See also\n\n"
        + ", ".join(f"`{other[:-3]}`{other[-3:]}" for other in others if other != page)
        + ", `gearman`(1), `gearadmin`(1)"
    )


def options_before_command(_: str) -> str:
    """Return the options that stand before a command."""
    return "\n\n".join(map(definition, global_options()))


DIRECTIVES: dict[str, Callable[[str], str]] = {
    "overview": overview,
    "commands": group_commands,
    "options": options_before_command,
    "foreign": foreign_options,
    "keys": keys,
    "policies": policies,
    "roles": roles,
    "grants": grants,
    "exit": exit_status,
    "see_also": see_also,
}
