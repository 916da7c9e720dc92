"""Runs the transcripts of a document: what it says is typed, what it says is seen.

A block between fences that is called `console` holds commands, each behind `$ `, and their output, standard error
included. In the output `...` stands for anything within a line, and a line of its own for any lines. A command must end
well unless the next one is `echo $?`. A block that is called by a language and a path is a file: it is written before
what follows. All blocks below one heading `##` are one story, with a server and an empty folder of its own.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^```(\S*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(slots=True)
class Command:
    """One command, and the lines that it shall print."""

    text: str
    expected: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class File:
    """A file that the reader is asked to write."""

    path: str
    content: str


@dataclass(frozen=True, slots=True)
class Story:
    """What stands below one heading."""

    title: str
    steps: list[Command | File]


def stories(document: Path) -> list[Story]:
    """Return the stories of a document that have something to run."""
    parts = re.split(r"^## (.+)$", document.read_text(), flags=re.MULTILINE)
    found = [Story(title, list(steps(text))) for title, text in zip(parts[1::2], parts[2::2], strict=True)]
    return [story for story in found if any(isinstance(step, Command) for step in story.steps)]


def steps(text: str) -> Iterator[Command | File]:
    """Yield commands and files in their order."""
    for language, path, body in FENCE.findall(text):
        if path:
            yield File(path, body)
        elif language == "console":
            yield from commands(body)


def commands(body: str) -> Iterator[Command]:
    """Yield the commands of a block. A comment behind one, as two blanks and a #, is for the reader."""
    command: Command | None = None
    for line in body.splitlines():
        if line.startswith("$ "):
            if command:
                yield command
            command = Command(re.sub(r"\s{2,}# .*", "", line[2:]))
        elif command is None:
            raise ValueError(f"{line!r} stands before any command")
        elif command.text.endswith("\\"):
            command.text = f"{command.text}\n{line}"
        else:
            command.expected.append(line.rstrip())
    if command:
        yield command


# Each command leaves its output and its exit code in files; what goes on in the background may write later.
SCRIPT = """
cd "$1"
last=0
for step in "$2"/*.sh; do
    text=$(<"$step")
    (exit $last)
    eval "$text" >"${step%.sh}.log" 2>&1 </dev/null
    last=$?
    echo $last >"${step%.sh}.code"
    cp "${step%.sh}.log" "${step%.sh}.out"
done
kill $(jobs -p) 2>/dev/null
exit 0
"""


class Stage:
    """Where stories are run: a folder, an environment, and what the document calls by other names than it has here."""

    def __init__(self, folder: Path, environment: Mapping[str, str], names: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.names = names

    def here(self, text: str) -> str:
        """Return a text of the document as it is on this stage."""
        for name, ours in self.names.items():
            text = text.replace(name, ours)
        return text

    def there(self, text: str) -> str:
        """Return what was printed here as the document would show it."""
        for name, ours in self.names.items():
            text = text.replace(ours, name)
        return text

    def run(self, story: Story) -> list[str]:
        """Run a story and return what went otherwise than told."""
        work, notes = self.folder / "work", self.folder / "notes"
        work.mkdir()
        notes.mkdir()
        lines = {}
        for number, step in enumerate(story.steps):
            lines[number] = self.write(step) if isinstance(step, File) else self.here(step.text)
            (notes / f"{number:03}.sh").write_text(lines[number])
        subprocess.run(["bash", "-c", SCRIPT, "bash", work, notes], env=self.environment, check=True, timeout=600)
        return [fault for number in range(len(story.steps)) for fault in self.faults(story.steps, number, notes)]

    def write(self, file: File) -> str:
        """Return the command that writes a file; scripts can be run."""
        path, content = self.here(file.path), self.here(file.content)
        mode = f"chmod +x {path}" if content.startswith("#!") else ":"
        return f"mkdir -p $(dirname {path}) && cat >{path} <<'End of file' && {mode}\n{content}End of file\n"

    def faults(self, steps: list[Command | File], number: int, notes: Path) -> Iterator[str]:
        """Yield what went otherwise in one step."""
        step, after = steps[number], steps[number + 1] if number + 1 < len(steps) else None
        code = (notes / f"{number:03}.code").read_text().strip()
        printed = self.there((notes / f"{number:03}.out").read_text())
        name = f"$ {step.text}" if isinstance(step, Command) else step.path
        if code != "0" and not (isinstance(after, Command) and after.text == "echo $?"):
            yield f"{name}\nended with {code}:\n{printed}"
        elif isinstance(step, Command) and not matches(step.expected, printed):
            yield f"{name}\nshall print:\n{chr(10).join(step.expected)}\nprinted:\n{printed}"


def matches(expected: list[str], printed: str) -> bool:
    """Return whether this was printed."""
    lines = [r"(?:.*\n)*" if line == "..." else one_line(line) for line in expected]
    seen = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    return re.fullmatch("".join(lines), seen) is not None


def one_line(line: str) -> str:
    """Return the pattern of a line: `...` is anything, blanks are any number of blanks."""
    pieces = [r"[ \t]+".join(map(re.escape, re.split(r"[ \t]+", piece))) for piece in line.split("...")]
    return ".*".join(pieces) + "\n"
