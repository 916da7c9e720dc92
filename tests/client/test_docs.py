"""The examples of docs/client.md do what it says."""

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gearstore.client
from gearstore.client.blocking import Client
from tests.acceptance.servers import Running, Server, printed
from tests.client.conftest import address

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"```python\n# ([\w.]+)\n(.*?)```", TEXT, re.DOTALL))
OUTPUTS = dict(re.findall(r"```python\n# ([\w.]+)\n[^`]*```\n\n```text\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture(scope="module")
def run(gearstore: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The examples as files that talk to the test's server, with the worker of the first running."""
    directory = tmp_path_factory.mktemp("examples")
    files = {}
    for name, source in EXAMPLES.items():
        files[name] = directory / name
        files[name].write_text(source.replace("127.0.0.1:4730", address(gearstore)))
    worker = Running([sys.executable, files["worker.py"]], directory, "worker")
    gearstore.expect_workers("reverse", 4)
    yield files
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.log


def test_all_examples_are_known() -> None:
    assert set(EXAMPLES) == {"worker.py", "script.py", "client.py", "failed.py", "service.py"}
    assert TEXT.count("```python") == len(EXAMPLES)
    assert set(OUTPUTS) == {"script.py", "client.py"}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_example_prints_what_the_document_says(run: dict[str, Path], name: str) -> None:
    output = printed([sys.executable, run[name]]).decode()
    assert re.sub(r"H:[\w.-]+:\d+", "HANDLE", output) == OUTPUTS[name]


def test_failed_jobs_are_listed(run: dict[str, Path], gearstore: Server) -> None:
    with Client(address(gearstore)) as client:
        handle = client.submit_background("resize", "")
        while client.status(handle).known:
            pass
    assert "resize an empty picture" in printed([sys.executable, run["failed.py"]]).decode()


def test_a_service_ends_by_a_signal(run: dict[str, Path], gearstore: Server, tmp_path: Path) -> None:
    service = Running([sys.executable, run["service.py"]], tmp_path, "service")
    gearstore.expect_workers("greet", 10)
    with Client(address(gearstore)) as client:
        assert client.run("greet", "adA") == b"Good morning, Ada"
    service.process.send_signal(signal.SIGTERM)
    assert service.wait() == 0
    assert service.log == ""


def test_every_public_name_is_explained() -> None:
    missing = [name for name in gearstore.client.__all__ if not re.search(rf"\b{name}\b", TEXT)]
    assert missing == []


def test_every_public_name_can_be_loaded() -> None:
    for name in gearstore.client.__all__:
        assert getattr(gearstore.client, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        gearstore.client.nonsense  # noqa: B018
