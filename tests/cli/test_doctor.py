"""`gearstore doctor`: what it finds on sound servers, and each fault that can be planted here."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearstore.protocol.packets import ECHO_REQ
from gearstore_cli import machine
from gearstore_cli.examination import Finding, Patient, functions, judged, network
from gearstore_cli.machine import Device, Syncs
from tests.acceptance.servers import HOST, Server, free_port
from tests.authority import Authority
from tests.cli.conftest import Cli, Worker, run_here

HOUR = 3_600_000


def findings(cli: Cli, *arguments: str) -> dict[str, list[tuple[str, str]]]:
    """Return sentences and advices by check."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in cli("doctor", *arguments).lines:
        word, check, sentence, advice = line.split("\t")
        assert word == ("do" if advice else "ok")
        found.setdefault(check, []).append((sentence, advice))
    return found


def advices(found: dict[str, list[tuple[str, str]]]) -> dict[str, str]:
    """Return what there is to do, by sentence; the clock is this machine's affair."""
    return {
        sentence: advice for check, rows in found.items() if check != "clock" for sentence, advice in rows if advice
    }


def advice_about(found: dict[str, list[tuple[str, str]]], part: str) -> str:
    """Return the advice of the one finding whose sentence contains this."""
    (advice,) = [advice for sentence, advice in advices(found).items() if part in sentence]
    return advice


def now() -> int:
    return round(time.time() * 1000)


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Callable[..., Cli]]:
    """Start servers of one's own."""
    servers: list[Server] = []

    def start(*options: str) -> Cli:
        servers.append(Server(tmp_path, "gearstore", options))
        return Cli(servers[-1], tmp_path)

    yield start
    for server in servers:
        server.process.kill()


def test_a_sound_server(another: Callable[..., Cli], worker: Callable[[Cli, str], Worker]) -> None:
    cli = another()
    worker(cli, "f")
    found = findings(cli)
    assert list(found) == ["server", "config", "network", "database", "rights", "disk", "clock", "files", "functions"]
    assert advices(found) == {}
    assert found["functions"] == [("1 function, 1 worker", "")]
    assert any("a sync takes" in sentence for sentence, _ in found["disk"])
    rows = [json.loads(line) for line in cli("doctor", "--json").lines]
    assert all(row["ok"] for row in rows if row["check"] != "clock")


def test_limits_that_were_met(another: Callable[..., Cli]) -> None:
    cli = another("--max-functions=1")
    cli.printed("submit", "f")
    assert "limits" not in findings(cli)
    assert cli("submit", "g").code == 4
    ((sentence, advice),) = findings(cli)["limits"]
    assert re.fullmatch(r"limit max_functions was met 1 time, last \S+ ago by (127.0.0.1|::1)", sentence)
    assert advice.startswith("see gearstore limits")


def test_how_long_submits_waited(another: Callable[..., Cli]) -> None:
    cli = another()
    assert "commits" not in findings(cli)  # nothing was submitted
    cli.printed("submit", "f", "--count", "100")
    ((sentence, advice),) = findings(cli)["commits"]
    assert sentence.startswith("in the last minute ")
    assert "half of the submits were answered within" in sentence and not advice


def test_jobs_that_nobody_runs(another: Callable[..., Cli]) -> None:
    cli = another()
    jobs = [
        {"handle": "1", "function": "f", "created_at": now() - 3 * HOUR},
        {"handle": "2", "function": "g", "state": "held"},
        {"handle": "3", "function": "h", "created_at": now() + HOUR},
    ]
    cli("import", "-", given="".join(json.dumps(job) + "\n" for job in jobs).encode())
    cli("pause", "p")
    result = cli("doctor")
    assert result.code == 1
    found = findings(cli)
    assert "start a worker of f" in advice_about(found, "no worker can run 1 job of f, the oldest 3h old")
    assert "release" in advice_about(found, "1 job of g held")
    assert "set the clock right" in advice_about(found, "from now: the clock was set back")
    assert not [sentence for sentence in advices(found) if " of h" in sentence]  # it may yet find one


def test_pauses() -> None:
    row = {"function": "f\n", "queued": 1, "workers": 0, "oldest_at": 1, "held": 0}
    patient = Patient("", None, now=10 * HOUR, hello={"paused_at": 9 * HOUR, "paused_until": None})
    patient.functions = [{**row, "paused_at": 8 * HOUR, "paused_until": None}]
    assert list(functions(patient))[:2] == [
        Finding("all functions are paused for 1h", "gearstore resume"),
        Finding("f\\n is paused for 2h", "gearstore resume f\\n"),
    ]


def test_many_functions() -> None:
    patient = Patient("", None, now=10 * HOUR, hello={})
    patient.functions = [{"function": f"f{n}", "queued": 1, "workers": 0, "oldest_at": 1, "held": 0} for n in range(50)]
    found = list(functions(patient))
    assert len(found) == 12
    assert found[10].sentence == "and 40 more like these"


def test_what_a_configuration_gives_up(another: Callable[..., Cli], tmp_path: Path) -> None:
    cli = another("--sync", "interval:50")
    config = tmp_path / "gearstore.toml"
    config.write_text("prot = 1")
    found = findings(cli, "--config", str(config))
    assert "correct it" in advice_about(found, "prot is not an option")
    assert "full" in advice_about(found, "a power cut may lose jobs (sync interval:50)")


def test_a_server_in_memory(another: Callable[..., Cli]) -> None:
    found = findings(another("--memory"))
    assert "--memory" in advice_about(found, "in memory only")
    assert "database" not in found


@pytest.mark.parametrize(
    "listen, tls_ca, sentences",
    [
        ("127.0.0.1:4730", None, []),
        ("unix:/run/x,role=admin", None, []),
        ("tls:localhost:1", None, []),
        ("*:4730", None, ["it listens on *:4730 without TLS: whoever"]),
        ("[::]:4730,role=user", "ca", ["it listens on [::]:4730 without TLS: whoever"]),
        ("10.1.2.3:1,role=admin", "ca", ["it listens on 10.1.2.3:1 without", "everybody who reaches 10.1.2.3:1 may c"]),
        ("tls:*:1", None, ["it listens on tls:*:1 and asks for no certificate"]),
        ("tls:*:1,role=admin", None, ["it listens on tls:*:1 and asks for no", "everybody who reaches tls:*:1 may "]),
        ("tls:*:1,role=admin", "ca", []),
    ],
)
def test_who_can_reach_it(listen: str, tls_ca: str | None, sentences: list[str]) -> None:
    patient = Patient("", None, settings={"listen": [listen], "tls_ca": tls_ca})
    *found, last = network(patient)
    assert [finding.sentence[: len(begin)] for finding, begin in zip(found, sentences, strict=True)] == sentences
    assert all(finding.advice for finding in found)
    assert last == (f"it listens on {listen}", "")


def test_certificates(another: Callable[..., Cli], tmp_path: Path, worker: Callable[[Cli, str], Worker]) -> None:
    authority = Authority(tmp_path / "authority")
    authority.server()
    for name, days in (("soon", 29), ("later", 31)):
        authority.issue(name, ["DNS:localhost"], days=days)
    good = Path(authority.directory / "cert.pem")
    good.symlink_to(authority.directory / "later.pem")
    cli = another("--listen", f"tls:{HOST}:{free_port()},role=client", "--tls-cert", str(good))
    found = findings(cli)["network"]
    assert found[0][0].startswith(f"the certificate in {good} (later, localhost) is good until 20")
    assert found[0][1] == ""
    good.unlink()
    good.symlink_to(authority.directory / "soon.pem")
    assert "make a new one, then reload" in advice_about(findings(cli), f"{good} (soon, localhost) is good until")
    good.unlink()
    assert "which would fail" in advice_about(findings(cli), f"tls_cert: {good}: No such file or directory")


def test_a_worker_that_may_not(another: Callable[..., Cli], worker: Callable[[Cli, str], Worker]) -> None:
    port = free_port()
    cli = another("--listen", f"{HOST}:{port},role=client")
    boss = cli.address
    cli.address = f"{HOST}:{port}"
    worker(cli, "mail").report(ECHO_REQ)
    cli.address = boss
    assert "grant it" in advice_about(findings(cli), "127.0.0.1 (by-hand) asks to work on mail, which it may not")


def test_rights(another: Callable[..., Cli]) -> None:
    cli = another()
    assert cli.server.db.stat().st_mode & 0o777 == 0o640
    for parent in (cli.server.db.parent, *cli.server.db.parents):
        if parent.owner() == Path(f"/proc/{os.getpid()}").owner() and "pytest" in str(parent):
            parent.chmod(0o755)
    cli.server.db.chmod(0o644)
    assert f"chmod o-rw {cli.server.db}*" in advice_about(findings(cli), "everybody on this machine may read")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_log_of_another_user(another: Callable[..., Cli]) -> None:
    cli = another()
    os.chown(f"{cli.server.db}.lock", 65534, 65534)
    assert "chown --reference" in advice_about(findings(cli), "belongs to another user")


def test_without_a_server(tmp_path: Path, another: Callable[..., Cli]) -> None:
    cli = another()
    cli("submit", "f", "w")
    cli.server.kill9()
    os.truncate(f"{cli.server.db}-wal", 65 << 20)
    db = str(cli.server.db)
    found = findings(cli, "--db", db)
    assert "fuser" in advice_about(found, "its log has grown to 65 MiB")
    assert found["database"][0][0].endswith("holds 1 job of 1 byte")
    Path(f"{db}-wal").unlink()
    assert "put the log back" in advice_about(findings(cli, "--db", db), "its log gearstore.db-wal is gone")
    assert "start it" in advice_about(findings(cli), "no server at")
    (tmp_path / "other").write_bytes(b"x" * 200)
    assert advice_about(findings(cli, "--db", str(tmp_path / "other")), "not a gearstore database")
    assert run_here(["doctor", "--db", str(tmp_path / "none")]).code == 2


def test_a_plain_gearmand(gearmand: Cli) -> None:
    assert advice_about(findings(gearmand), "is not gearstore")


def test_a_database_in_memory(another: Callable[..., Cli], gearstore: Cli) -> None:
    if machine.mount_of(Path("/dev/shm")).kind != "tmpfs":
        pytest.skip("/dev/shm is not in memory here")
    directory = Path(f"/dev/shm/gearstore-test-{os.getpid()}")
    directory.mkdir()
    try:
        gearstore("backup", str(directory / "backup.db"))
        found = findings(gearstore, "--db", str(directory / "backup.db"))
        assert "on a disk" in advice_about(found, "is in memory (tmpfs)")
    finally:
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


@pytest.mark.parametrize(
    "median, device, virtual, part",
    [(5e-6, None, False, "faster than such a disk"),
     (5e-4, Device("sda", True, True), False, "faster than such a disk"),
     (5e-4, Device("vda", True, None), True, "can't be seen"), (5e-4, Device("nvme0n1", False, True), False, "0.5 ms"),
     (5e-2, Device("sda", True, True), False, "each answer to a submit waits")],
)  # fmt: skip
def test_syncs_are_judged(median: float, device: Device | None, virtual: bool, part: str) -> None:
    assert part in judged(Syncs(median, 2 * median), device, virtual).sentence


def test_the_machine(tmp_path: Path) -> None:
    assert machine.mount_of(Path("/proc/self")).kind == "proc"
    measured = machine.measure_syncs(tmp_path)
    assert 0 < measured.median <= measured.worst
    assert list(tmp_path.iterdir()) == []
    used, limit = machine.open_files(os.getpid())
    assert used and limit and used < limit
    assert machine.loads(os.getpid(), "libc") and not machine.loads(os.getpid(), "eatmydata")
    assert machine.clock_is_synchronised() in (True, False, None)


def test_on_a_terminal(another: Callable[..., Cli]) -> None:
    cli = another("--sync", "interval:50")
    result = cli.on_terminal("doctor")
    assert result.code == 1
    assert "! config     a power cut may lose jobs" in result.output
    assert "             → set sync" in result.output
    assert "✓ database" in result.output
