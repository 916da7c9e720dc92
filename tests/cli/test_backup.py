"""`gearstore backup` as users type it: beside a server under load, without one, on a full disk."""

import json
import resource
import subprocess
from pathlib import Path

from gearstore.protocol.packets import SUBMIT_JOB_BG, request
from gearstore_cli.client import Connection
from tests.acceptance.servers import Server, clean_environment
from tests.cli.conftest import COMMAND, Cli, run_here


def handles(*arguments: str) -> set[str]:
    """Return the handles that a listing of jobs names."""
    return {line.split("\t")[0] for line in run_here(["jobs", "--limit", "1000000", *arguments]).lines}


def test_every_job_that_was_acknowledged_before_is_in_it(tmp_path: Path) -> None:
    """While other jobs come in, the backup takes them or not; a server on it knows the handles."""
    server = Server(tmp_path, "gearstore")
    cli = Cli(server, tmp_path)
    acknowledged = set(cli.printed("submit", "f", "w", "--count", "2000"))
    with Connection(cli.address) as busy:
        busy.send(request(SUBMIT_JOB_BG, b"g", b"", b"w" * 1000) * 5000)
        result = cli("backup", str(tmp_path / "backup.db"), "--json")
    assert result.code == 0, result
    made = json.loads(result.output)
    assert made["jobs"] >= 2000
    server.kill9()
    copied = handles("--db", made["file"])
    assert len(copied) == made["jobs"]
    assert acknowledged <= copied
    (tmp_path / "restored").mkdir()
    restored = Server(tmp_path / "restored", "gearstore", ["--db", made["file"]])
    try:
        assert Cli(restored, tmp_path).printed("show", *sorted(acknowledged)[:20])
        assert Cli(restored, tmp_path).printed("submit", "f", "w")[0] not in copied
    finally:
        restored.process.kill()


def test_without_a_server(tmp_path: Path) -> None:
    server = Server(tmp_path, "gearstore")
    (handle,) = Cli(server, tmp_path).printed("submit", "f", "w")
    server.kill9()
    target = tmp_path / "backup.db"
    result = run_here(["backup", str(target), "--db", str(server.db)])
    assert (result.code, result.output) == (0, "")
    assert result.errors.startswith(f"gearstore: {target}: 1 job, ")
    assert handles("--db", str(target)) == {handle}
    again = run_here(["backup", str(target), "--db", str(server.db)])
    assert again.code == 4
    assert "is there already" in again.errors
    assert run_here(["backup", str(target), "--db", str(tmp_path / "none")]).code == 2


def test_a_full_disk(gearstore: Cli, tmp_path: Path, function: str) -> None:
    gearstore("submit", function, "w" * 1000, "--count", "1000")
    done = subprocess.run(
        [*COMMAND, "backup", "backup.db"], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env=clean_environment() | gearstore.environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)),
    )  # fmt: skip
    assert done.returncode == 4
    assert "cannot write backup.db" in done.stderr
    assert not [name for name in tmp_path.iterdir() if "backup" in name.name]


def test_a_server_in_memory(tmp_path: Path) -> None:
    server = Server(tmp_path, "gearstore", ["--memory"])
    try:
        result = Cli(server, tmp_path)("backup", str(tmp_path / "backup.db"))
        assert (result.code, "in memory only" in result.errors) == (4, True)
    finally:
        server.process.kill()


def test_a_plain_gearmand(gearmand: Cli, tmp_path: Path) -> None:
    result = gearmand("backup", str(tmp_path / "backup.db"))
    assert (result.code, "not gearstore" in result.errors) == (4, True)


def test_a_bar_on_a_terminal(gearstore: Cli, tmp_path: Path, function: str) -> None:
    gearstore("submit", function, "w")
    result = gearstore.on_terminal("backup", str(tmp_path / "backup.db"))
    assert result.code == 0
    assert "backup of gearstore.db" in result.output
