"""Examples in help, man pages and documents use commands and options that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.make.commands import commands, global_options

ROOT = Path(__file__).parents[2]
FILES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/make/text/*.md")])
FLAGS = {
    command.name: {flag for each in command.parameters for flag in (*each.flags, *each.off_flags)} | {"--help", "-h"}
    for command in commands()
}
ALONE = {flag for each in global_options() for flag in each.flags} | {"--help", "-h"}


def uses(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the words behind each `gearstore` that stands as a command in code, up to the end of its options."""
    fenced = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    code = [body for language, body in fenced.findall(text) if language in ("", "console", "sh")]
    code += re.findall(r"`([^`\n]+)`", fenced.sub("", text))
    for line in "\n".join(code).replace("\\\n", " ").splitlines():
        for piece in re.split(r"\|\|?|&&|;|\$\(|\s#", line):
            found = re.fullmatch(r"\s*(?:\$ )?(?:\w+=\S+ )*gearstore ((?:[a-z]+|-\S+)(?:\s.*)?)", piece.rstrip())
            if found:
                yield piece.strip(), found[1].partition(" -- ")[0].split()


def wrong(words: list[str]) -> str:
    """Return what does not exist of a command's words."""
    if words[0].startswith("-"):
        return "" if words[0] in ALONE else words[0]
    name = next((name for name in (" ".join(words[:2]), words[0]) if name in FLAGS), None)
    if name is None:
        return words[0]
    flags = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    return " ".join(flag for flag in flags if flag not in FLAGS[name])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_document(file: Path) -> None:
    found = [(piece, fault) for piece, words in uses(file.read_text()) if (fault := wrong(words))]
    assert found == []


def test_the_help() -> None:
    examples = [f"`{example}`" for command in commands() for example in command.examples]
    assert [(piece, fault) for piece, words in uses("\n".join(examples)) if (fault := wrong(words))] == []


def test_planted_faults_are_found() -> None:
    text = (
        "```\n$ gearstore retry --nonsense\n$ x | gearstore nonsense\n```\n`gearstore jobs -Z`, `gearstore jobs -f x`\n"
    )
    assert [wrong(words) for _, words in uses(text)] == ["--nonsense", "nonsense", "-Z", ""]
