"""What is generated is up to date, complete, and good roff."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.main

from docs.make import roff
from docs.make.__main__ import files
from docs.make.commands import Command, commands, global_options
from docs.make.pages import GROUPS, commands_of
from gearstore.options import FOREIGN, OPTIONS
from gearstore_cli.main import app
from tests.acceptance.servers import tool

ROOT = Path(__file__).parents[2]
MAN = ROOT / "docs/man"
PAGES = sorted(path.name for path in MAN.glob("*.[15]"))
MADE = files()
COMMANDS = commands()


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_committed_file_is_what_is_made_today(name: str) -> None:
    path = ROOT / name
    assert path.is_file(), "run make docs"
    assert path.read_text() == MADE[name], "run make docs"


def test_no_page_is_left_over() -> None:
    assert {f"docs/man/{name}" for name in PAGES} == {name for name in MADE if name.startswith("docs/man/")}


def test_each_command_stands_in_one_group() -> None:
    listed = [name for group in GROUPS for name in group.commands]
    assert sorted(listed) == sorted({command.name.split()[0] for command in COMMANDS})


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_has_help_and_an_example(command: Command) -> None:
    assert command.summary
    assert command.examples, "its help has no Example: line"
    assert all(re.search(rf"(^|\| )gearstore {command.name}\b", example) for example in command.examples)
    unexplained = [each.name for each in command.options if not each.help]
    assert not unexplained


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_flags_are_those_that_typer_takes(command: Command) -> None:
    found = typer.main.get_command(app)
    for word in command.name.split():
        found = found.commands[word]  # type: ignore[attr-defined]
    taken = {flag for each in found.params for flag in [*each.opts, *each.secondary_opts] if flag.startswith("-")}
    ours = {flag for each in command.parameters for flag in [*each.flags, *each.off_flags]}
    assert ours == taken - {"--help", "-h"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_page_explains_each_option(command: Command) -> None:
    (group,) = [each for each in GROUPS if command in commands_of(each)]
    text = plain(MADE[f"docs/man/{group.page}.1"])
    flags = [flag for each in command.options for flag in each.flags]
    assert [flag for flag in flags if not re.search(rf"(^|, ){re.escape(flag)}\b", text, re.MULTILINE)] == []


def test_the_overview_names_each_command() -> None:
    text = plain(MADE["docs/man/gearstore.1"])
    assert [each.name for each in COMMANDS if not re.search(rf"^{each.name}\b", text, re.MULTILINE)] == []
    assert [each.flags for each in global_options() if each.flags[0] not in text] == []


def test_the_page_of_the_file_names_each_key() -> None:
    text = plain(MADE["docs/man/gearstore.toml.5"])
    assert [each.name for each in OPTIONS if f"\n{each.name} = " not in text or each.env not in text] == []


def test_the_page_of_the_server_names_each_option_of_gearmand() -> None:
    text = plain(MADE["docs/man/gearstore-serve.1"])
    assert [flag for each in FOREIGN for flag in each.flags if not re.search(rf"{flag}\b", text)] == []


def plain(page: str) -> str:
    """Return the words of a page without its fonts."""
    return re.sub(r"\\f[BIR]", "", page).replace(r"\-", "-")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the pages lie as on a system."""
    folder = tmp_path_factory.mktemp("man")
    for name in PAGES:
        target = folder / f"man{name[-1]}" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(MAN / name, target)
    return folder


def shown(installed: Path, *arguments: str) -> str:
    """Return what `man` shows, which must not warn."""
    done = subprocess.run(
        [tool("man", "man-db"), "--warnings", "-M", str(installed), *arguments],
        capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_man_shows_a_page_without_a_warning(installed: Path, page: str) -> None:
    name, _, section = page.rpartition(".")
    text = shown(installed, section, name)
    assert text.startswith("GEARSTORE")
    assert re.search(rf"\b{name.removeprefix('gearstore-')}\b", text)
    assert not re.search(r"`|\{\w+\}", text), "Markdown that was not understood"


def test_no_page_is_wider_than_a_terminal(installed: Path) -> None:
    text = shown(installed, "1", "gearstore")
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("page", [name for name in PAGES if not MADE[f"docs/man/{name}"].startswith(".so")])
def test_mandoc_has_nothing_to_say(page: str) -> None:
    done = subprocess.run([tool("mandoc", "mandoc"), "-T", "lint", str(MAN / page)], capture_output=True, text=True)
    assert done.stdout == ""


def test_a_page_that_shares_another_leads_to_it() -> None:
    links = {name: text for name, text in MADE.items() if text.startswith(".so ")}
    assert links
    assert {f"docs/man/{text.removeprefix('.so man1/').strip()}" for text in links.values()} <= set(MADE)


@pytest.mark.parametrize(
    "markdown, expected",
    [
        ("`retry --all` it", r"\fBretry \-\-all\fR it"),
        ("an *option*, **strong**", r"an \fIoption\fR, \fBstrong\fR"),
        (r"\* is all, a\\b", r"* is all, a\eb"),
        ("with * ? or *", "with * ? or *"),
        ("[text](file.md)", "text"),
        ("`'~^`", r"\fB\(aq\(ti\(ha\fR"),
    ],
)
def test_spans_of_markdown(markdown: str, expected: str) -> None:
    assert roff.inline(markdown) == expected


def test_blocks_of_markdown() -> None:
    text = "## Part one\n\nFirst. Second\nline.\n\n.dot\n\n`-x`\n: What\nit does.\n\n- one\n- two\n\n```\n$ a -b\n```\n"
    assert list(roff.blocks(text)) == [
        ".SH PART ONE", "First.\nSecond line.", ".PP", r"\&.dot", ".TP", r"\fB\-x\fR", "What it does.",
        r".IP \(bu 2", "one", r".IP \(bu 2", "two", ".RS 4", ".EX", r"$ a \-b", ".EE", ".RE",
    ]  # fmt: skip


def test_a_page_wants_a_title() -> None:
    with pytest.raises(ValueError, match="is not like"):
        roff.page("gearstore\n", "2026-01-01", "")
