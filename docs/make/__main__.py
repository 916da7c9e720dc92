"""Writes the man pages and the completions below a folder, that of the project unless told otherwise."""

import sys
from pathlib import Path

from . import bash, fish, zsh
from .commands import commands
from .pages import pages


def files() -> dict[str, str]:
    """Return everything that is made, by its path below the project."""
    made = {f"docs/man/{name}": text for name, text in pages().items()}
    found = commands()
    made["completions/gearstore.bash"] = bash.completion(found)
    made["completions/_gearstore"] = zsh.completion(found)
    made["completions/gearstore.fish"] = fish.completion(found)
    return made


def write(root: Path) -> None:
    """Write all files, and take away man pages that are no longer made."""
    made = files()
    for path in root.glob("docs/man/*"):
        if str(path.relative_to(root)) not in made:
            path.unlink()
    for name, text in made.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[2])
