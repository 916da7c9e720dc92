"""The layers of docs/architecture.md, held by reading every import in the tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What the pure layers may import. No clock, no chance, no input or output: what they need is an argument.
PURE = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "operator",
    "re",
    "struct",
    "typing",
    "zlib",
}
ALLOWED = {
    "gearstore/protocol": PURE | {"gearstore.errors", "gearstore.protocol"},
    "gearstore/queue": PURE | {"gearstore.errors", "gearstore.queue"},
    "gearstore/durations.py": PURE,
    "gearstore/kinds.py": PURE | {"difflib", "gearstore.durations", "gearstore.errors", "gearstore.queue.policy"},
    "gearstore/policies.py": PURE | {"gearstore.errors", "gearstore.kinds", "gearstore.queue.policy"},
    "gearstore/client/core.py": PURE | {"gearstore.client.errors", "gearstore.errors", "gearstore.protocol"},
    "gearstore/client/errors.py": {"gearstore.errors"},
    "gearstore/errors.py": set(),
    "gearstore/__init__.py": set(),
}
FORBIDDEN = {
    "gearstore": {"cli", "gearstore_cli", "typer", "rich", "click"},
    "gearstore/store": {"gearstore.server", "gearstore.protocol", "gearstore.config", "gearstore.client"},
    "gearstore/server": {"aiosqlite", "sqlite3", "gearstore.client"},
    "gearstore/client": {
        "gearstore.queue",
        "gearstore.store",
        "gearstore.server",
        "gearstore.config",
        "gearstore.options",
    },
    # What the command line starts with can't wait for asyncio.
    "gearstore/client/__init__.py": {"asyncio"},
    "gearstore/client/sockets.py": {"asyncio", "gearstore.client.stream"},
    "gearstore/address.py": {"gearstore", "asyncio"},
    "gearstore/options.py": {"gearstore.protocol", "gearstore.queue", "gearstore.store", "gearstore.server"},
    "gearstore/config.py": {"gearstore.protocol", "gearstore.queue", "gearstore.store", "gearstore.server"},
    # Newer Typers carry a click of their own.
    "cli": {"cli", "gearstore_cli", "click"},
}


def files_below(place: str) -> list[Path]:
    """Return the Python files of a folder, or the file itself."""
    path = ROOT / place
    return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


def imports_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of everything imported; relative imports stay in their own layer and are left out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from gearstore import store` imports gearstore.store.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name) for name in names)


def within(name: str, modules: set[str]) -> bool:
    """Return whether the name is one of the modules or lies below one."""
    return any(name == module or name.startswith(module + ".") for module in modules)


def faults(source: str, allowed: set[str] | None = None, forbidden: set[str] | None = None) -> list[str]:
    """Return what the source imports against the rules."""
    return [
        f"line {line} imports {name}"
        for line, name in imports_of(source)
        if (allowed is not None and not within(name, allowed)) or (forbidden is not None and within(name, forbidden))
    ]


@pytest.mark.parametrize("place", sorted({*ALLOWED, *FORBIDDEN}))
def test_a_layer_imports_only_what_it_may(place: str) -> None:
    files = files_below(place)
    assert files
    found = {
        str(file.relative_to(ROOT)): wrong
        for file in files
        if (wrong := faults(file.read_text("utf-8"), ALLOWED.get(place), FORBIDDEN.get(place)))
    }
    assert not found


@pytest.mark.parametrize("file", files_below("gearstore"), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_server_uses_no_relative_imports(file: Path) -> None:
    nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    assert not [node.lineno for node in nodes if isinstance(node, ast.ImportFrom) and node.level]


def test_the_rules_find_planted_faults() -> None:
    pure = ALLOWED["gearstore/queue"]
    assert faults("import time", pure)
    assert faults("def f():\n    from asyncio import sleep", pure)
    assert faults("from gearstore import store", pure)
    assert faults("from gearstore.protocol.packets import PACKETS", pure)
    assert not faults("from collections.abc import Callable\nfrom gearstore.queue.job import Job", pure)
    assert faults("import click.core", None, FORBIDDEN["cli"])
    assert not faults("from . import client\nimport clickable", None, FORBIDDEN["cli"])
    assert faults("from rich.table import Table", None, FORBIDDEN["gearstore"])
