"""Everything that the documents tell to type is typed, and does what they say."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.servers import HOST, clean_environment, free_port, tool
from tests.docs.transcript import Command, File, Stage, Story, commands, matches, steps, stories

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "docs/operations.md", ROOT / "docs/security.md"]
STORIES = [story for document in DOCUMENTS for story in stories(document)]

PROGRAM = f"""#!/bin/sh
exec {sys.executable} -m gearstore_cli "$@"
"""
# What systemd does for the reader.
SYSTEMCTL = """#!/bin/bash
start() {
    setsid gearstore serve --port $PORT --job-handle-prefix H:host --pid-file $STAGE/pid \\
        --config $STAGE/etc/gearstore.toml --db $STAGE/lib/gearstore.db >>$STAGE/log 2>&1 </dev/null &
    until gearstore status >/dev/null 2>&1; do kill -0 $! || exit 1; done
}
stop() {
    local pid=$(<$STAGE/pid)
    kill $pid
    tail -f -s 0.02 --pid=$pid /dev/null
}
case $1 in
    start | stop) $1 ;;
    restart) stop && start ;;
    reload) kill -HUP $(<$STAGE/pid) ;;
    *) exit 2 ;;
esac
"""
JOURNALCTL = """#!/bin/sh
cat $STAGE/log
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage with a server."""
    port = str(free_port())
    for name, text in (
        ("bin/gearstore", PROGRAM),
        ("bin/systemctl", SYSTEMCTL),
        ("bin/journalctl", JOURNALCTL),
        ("etc/gearstore.toml", ""),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "lib").mkdir()
    (tmp_path / "backups").mkdir()
    environment = clean_environment() | {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "STAGE": str(tmp_path), "PORT": port,
        "GEARSTORE_SERVER": f"{HOST}:{port}", "COLUMNS": "120", "LC_ALL": "C.UTF-8", "TZ": "UTC",
    }  # fmt: skip
    names = {
        "/etc/gearstore": f"{tmp_path}/etc", "/var/lib/gearstore": f"{tmp_path}/lib",
        "/var/backups": f"{tmp_path}/backups", f"{HOST}:4730": f"{HOST}:{port}", ":4731": f":{free_port()}",
    }  # fmt: skip
    systemctl = str(tmp_path / "bin/systemctl")
    subprocess.run([systemctl, "start"], env=environment, check=True, timeout=300)
    yield Stage(tmp_path, environment, names)
    subprocess.run([systemctl, "stop"], env=environment, check=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.title)
def test_a_story(stage: Stage, story: Story) -> None:
    for name, package in (("column", "bsdextrautils"), ("jq", "jq"), ("openssl", "openssl")):
        if any(isinstance(step, Command) and name in step.text for step in story.steps):
            tool(name, package)
    assert "\n\n".join(stage.run(story)) == ""


def test_the_table_of_operations_leads_to_every_story() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    links = re.findall(r"^\|.*\| \[(.+)\]\(#(.+)\) \|$", text, re.MULTILINE)
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [title for title, _ in links] == titles
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
    assert [anchor for _, anchor in links] == anchors


def test_the_parts_of_a_transcript() -> None:
    console, file = "$ a b   # why\n1\n...\n$ c \\\n    d\n", "k = 1\n"
    text = f"Say:\n\n```console\n{console}```\n\n```toml /etc/x.toml\n{file}```\n\n```\n$ no\n```\n"
    assert list(steps(text)) == [
        Command("a b", ["1", "..."]),
        Command("c \\\n    d", []),
        File("/etc/x.toml", "k = 1\n"),
    ]


def test_output_before_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="before any command"):
        list(commands("1\n$ a\n"))


@pytest.mark.parametrize(
    "expected, printed, right",
    [
        (["a"], "a\n", True),
        (["a"], "a\nb\n", False),
        (["a"], "", False),
        ([], "a\n", False),
        (["a...c"], "abbc\n", True),
        (["a...c"], "ab\nc\n", False),
        (["a", "...", "z"], "a\nb\nc\nz\n", True),
        (["a", "...", "z"], "a\nz\n", True),
        (["..."], "", True),
        (["a  b"], "a\tb\n", True),
        (["a b"], "ab\n", False),
        (["a.b"], "axb\n", False),
    ],
)
def test_what_matches(expected: list[str], printed: str, right: bool) -> None:
    assert matches(expected, printed) == right


@pytest.mark.parametrize(
    "text, fault",
    [
        ("$ echo a\nb\n", "shall print:\nb\nprinted:\na"),
        ("$ false\n", "ended with 1"),
        ("$ false\n$ echo $?\n1\n", ""),
        ("$ x=1\n$ echo $x\n1\n", ""),
    ],
)
def test_a_stage_finds_faults(tmp_path: Path, text: str, fault: str) -> None:
    found = Stage(tmp_path, os.environ, {}).run(Story("x", list(commands(text))))
    assert (fault in "".join(found)) if fault else not found
