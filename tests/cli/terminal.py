"""A terminal for tests: keys go in, the screen is read."""

import os
import subprocess
from pathlib import Path

from tests.acceptance.servers import clean_environment, ends_with_us, eventually, tool


class Terminal:
    """A terminal of tmux in which a command runs."""

    def __init__(self, directory: Path, environment: dict[str, str], *command: str) -> None:
        self.tmux = [tool("tmux", "tmux"), "-S", str(directory / "tmux"), "-f", os.devnull]
        words = [*ends_with_us(), *command]
        shell = f"trap : INT; {' '.join(words)}; echo ended with $?; stty -a; exec cat"
        environment = clean_environment() | environment | {"TERM": "screen"}
        start = [*self.tmux, "new-session", "-d", "-x", "100", "-y", "24", shell]
        subprocess.run(start, env=environment, check=True, timeout=120)

    def __call__(self, *arguments: str) -> str:
        """Run a command of tmux."""
        done = subprocess.run([*self.tmux, *arguments], capture_output=True, check=True, timeout=120)
        return done.stdout.decode()

    @property
    def screen(self) -> str:
        """What the terminal shows."""
        return self("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys."""
        self("send-keys", *keys)

    def shows(self, *texts: str) -> None:
        """Wait until the terminal shows all of these texts."""
        eventually(lambda: all(text in self.screen for text in texts), what=lambda: f"{texts} in\n{self.screen}")

    def shows_no(self, text: str) -> None:
        """Wait until the terminal does not show this text any more."""
        eventually(lambda: text not in self.screen, what=lambda: f"no {text} in\n{self.screen}")

    def end(self) -> None:
        """End the terminal and what runs in it."""
        subprocess.run([*self.tmux, "kill-server"], capture_output=True, timeout=120)
