"""A client of each language with a worker of each language: bytes in the foreground, and in the background."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance import languages
from tests.acceptance.conftest import Spawn
from tests.acceptance.languages import Library
from tests.acceptance.servers import Kind, Running, Server, eventually, printed

LANGUAGES: dict[str, Callable[[str], Library]] = {
    "php": languages.php,
    "perl": languages.perl,
    "gearman-tool": languages.gearman_tool,
    "c": languages.c,
    "gear": languages.python,
    "gearman": languages.node,
}
WORKLOADS = {"nul": b"a\0b\0", "utf-8": "été".encode(), "any byte": bytes(range(256)), "empty": b""}


@pytest.fixture(scope="module")
def library(c_programs: Path) -> Callable[[str], Library]:
    """Find the scripts of a language; the test is skipped when the language is missing."""

    def find(name: str) -> Library:
        return LANGUAGES[name](str(c_programs) if name == "c" else name)

    return find


@pytest.fixture(scope="module", params=LANGUAGES)
def worker(
    request: pytest.FixtureRequest,
    library: Callable[[str], Library],
    shared_server: Server,
    spawn_for_module: Spawn,
) -> Iterator[tuple[str, Running]]:
    """A worker of each language in turn, that registers `twice in LANGUAGE`."""
    scripts = library(request.param)
    function = f"twice_{request.param}"
    arguments = [*scripts.worker, str(shared_server.port), function, "twice"]
    running = spawn_for_module(*arguments, environment=scripts.environment)
    shared_server.expect_workers(function)
    yield request.param, running
    running.kill()


@pytest.mark.parametrize("client", LANGUAGES)
def test_pair(
    client: str, worker: tuple[str, Running], library: Callable[[str], Library], shared_server: Server, kind: Kind
) -> None:
    language, running = worker
    function = f"twice_{language}"
    scripts = library(client)

    def call(mode: str, workload: bytes) -> bytes:
        arguments = [*scripts.client, str(shared_server.port), function, mode]
        return printed(arguments, workload, environment=scripts.environment)

    workloads = dict(WORKLOADS)
    if client == "php":
        del workloads["empty"]  # libgearman refuses it before anything is sent
    if kind == "gearmand" and language == "perl":
        workloads.pop("empty", None)  # runs for ever there, see test_perl
    for name, workload in workloads.items():
        assert call("fg", workload) == workload * 2, name

    for mode in ("bg", "bg-high", "bg-low"):
        workload = f"{mode} from {client}".encode()
        handle = call(mode, workload).decode().strip()
        assert handle.startswith("H:")
        if language == "gearman-tool":
            handle = "-"  # the command that runs for a job is not told its handle
        expect_row(running, handle, workload)
    shared_server.expect_status(function, 0, 0, 1)


def expect_row(running: Running, handle: str, workload: bytes) -> None:
    """Wait until the worker has printed the handle and the workload of a job (and its unique, where it knows it)."""

    def printed_row() -> bool:
        rows = (line.split(" ") for line in running.lines)
        return any((row[0], row[-1]) == (handle, workload.hex()) for row in rows)

    eventually(printed_row, what=lambda: f"{handle} {workload!r} in {running.lines}")
