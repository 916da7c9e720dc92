"""Install the Gearman clients of other languages' registries for the acceptance tests.

They go into `build/clients` below the checkout, each language apart from the project's own packages, and stay
there until the list changes. Run it as `python -m tests.acceptance.install_clients`; the tests call it as well.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "clients"
PYTHON = ("gear==0.16.0", "aiogear==0.2.6", "python3-gearman==0.1.0")
NODE = ("gearman@2.1.0", "node-gearman@0.2.2", "gearmanode@0.9.2", "abraxas@2.1.10")


class InstallError(Exception):
    """A client could not be installed; the text says which and why."""


def python_clients() -> Path:
    """Return the interpreter of the environment that has the Python clients."""
    folder = FOLDER / "python"
    python = folder / "bin" / "python"
    with one_at_a_time():
        if not installed(folder, PYTHON):
            shutil.rmtree(folder, ignore_errors=True)
            command(sys.executable, "-m", "venv", str(folder))
            command(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PYTHON)
            remember(folder, PYTHON)
    return python


def node_clients() -> Path:
    """Return the `node_modules` that has the Node clients."""
    folder = FOLDER / "node"
    with one_at_a_time():
        if not installed(folder, NODE):
            npm = shutil.which("npm")
            if npm is None:
                raise InstallError("npm is missing: apt-get install nodejs npm")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "package.json").write_text('{"private": true}\n')
            command(npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), *NODE)
            remember(folder, NODE)
    return folder / "node_modules"


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let no other process install meanwhile: tests run in several, and each installs what it does not find."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def installed(folder: Path, packages: Sequence[str]) -> bool:
    """Tell whether exactly these packages were installed here, to the end."""
    stamp = folder / "installed"
    return stamp.exists() and stamp.read_text().split() == list(packages)


def remember(folder: Path, packages: Sequence[str]) -> None:
    """Note that the installation of these packages came to its end."""
    (folder / "installed").write_text("\n".join(packages) + "\n")


def command(*arguments: str) -> None:
    """Run an installer; raise InstallError with the end of its output when it fails."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{arguments[0]} did not end within 300 s") from error
    if done.returncode != 0:
        raise InstallError(f"{' '.join(arguments)} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")


def main() -> int:
    """Install everything; print where it is, or what could not be installed."""
    failures = 0
    for install in (python_clients, node_clients):
        try:
            print(install())
        except InstallError as error:
            failures += 1
            print(f"{install.__name__}: {error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
