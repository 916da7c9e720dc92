"""Roles of listeners: who may do what, what is refused, and that what is refused is not stored."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    CAN_DO_TIMEOUT,
    CANT_DO,
    ERROR,
    GET_STATUS,
    GRAB_JOB,
    GRAB_JOB_ALL,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    PRE_SLEEP,
    RESET_ABILITIES,
    STATUS_RES,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    SUBMIT_JOB_HIGH,
    SUBMIT_JOB_HIGH_BG,
    SUBMIT_JOB_LOW,
    SUBMIT_JOB_LOW_BG,
    SUBMIT_JOB_SCHED,
    SUBMIT_REDUCE_JOB,
    SUBMIT_REDUCE_JOB_BACKGROUND,
    PacketType,
)
from tests.server.conftest import StartServer
from tests.server.process import HOST, Server, run_serve
from tests.server.wire import Wire

# Every submit, behind its function.
SUBMITS: dict[PacketType, tuple[bytes, ...]] = {
    **dict.fromkeys(
        (SUBMIT_JOB, SUBMIT_JOB_HIGH, SUBMIT_JOB_LOW, SUBMIT_JOB_BG, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW_BG),
        (b"u", b"w"),
    ),
    SUBMIT_JOB_EPOCH: (b"u", b"0", b"w"),
    SUBMIT_JOB_SCHED: (b"u", b"*", b"*", b"*", b"*", b"*", b"w"),
    SUBMIT_REDUCE_JOB: (b"u", b"r", b"", b"w"),
    SUBMIT_REDUCE_JOB_BACKGROUND: (b"u", b"r", b"", b"w"),
}
MAY_NOT_SUBMIT = (b"NOT_ALLOWED", b"You may not submit jobs to this function")
MAY_NOT = b"ERR NOT_ALLOWED You+may+not+do+this+here\r\n"


def of_role(server: Server, role: str) -> Wire:
    """Return a connection to the listener that gives a role."""
    return server.connect((HOST, server.find_port(behind=f", role {role}")))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a listener for each role, and one that gives none."""
    roles = ("admin", "user", "client", "worker", "monitor")
    listen = [f"{HOST}:0", *(f"{HOST}:0,role={role}" for role in roles)]
    server = Server(tmp_path_factory.mktemp("server"), listen=listen)
    yield server
    server.end()
    assert "Traceback" not in server.log, server.log


def test_submit_or_not(server: Server, f: bytes) -> None:
    for role in ("admin", "user", "client"):
        of_role(server, role).submit(SUBMIT_JOB_BG, f, b"", b"w")
    for role in ("worker", "monitor"):
        wire = of_role(server, role)
        for kind, args in SUBMITS.items():
            wire.send(kind, f + b" refused", *args)
            wire.expect(ERROR, *MAY_NOT_SUBMIT)
        wire.expect_nothing()
    boss = of_role(server, "admin")
    assert boss.status(f) == (3, 0, 0)
    assert boss.status(f + b" refused") is None
    server.kill()
    server.restart()
    boss = of_role(server, "admin")
    assert boss.status(f) == (3, 0, 0)
    assert boss.manage("jobs", function=f"{f.decode()} refused") == []


def test_work_or_not(server: Server, f: bytes) -> None:
    handle = of_role(server, "client").submit(SUBMIT_JOB_BG, f, b"", b"w")
    for role in ("client", "monitor"):
        wire = of_role(server, role)
        wire.send(CAN_DO, f)
        wire.send(CAN_DO_TIMEOUT, f, b"5000")
        assert wire.ask(GRAB_JOB) == (NO_JOB, b"")
        assert wire.ask(GRAB_JOB_ALL) == (NO_JOB, b"")
        wire.send(PRE_SLEEP)
        wire.expect_nothing()
    assert of_role(server, "admin").status(f) == (1, 0, 0)
    for role in ("worker", "user", "admin"):
        wire = of_role(server, role)
        wire.send(CAN_DO, f)
        wire.send(GRAB_JOB)
        wire.expect(JOB_ASSIGN, handle, f, b"w")
        wire.leave()


def test_a_worker_that_may_not_is_told_of_once_in_the_log(server: Server, f: bytes) -> None:
    wire, boss = of_role(server, "client"), of_role(server, "admin")

    def denied() -> list[list[str]]:
        wire.expect_nothing()
        return [row["denied"] for row in boss.manage("workers") if f.decode() in row["denied"]]

    for _ in range(50):
        wire.send(CAN_DO, f)
    wire.send(CAN_DO, b"\xff" + f + b"\n")
    assert denied() == [[f.decode(), f"\udcff{f.decode()}\n"]]
    sentence = f"{HOST} asks to work on {f.decode()!r}, which it may not: it gets no jobs of it"
    assert server.log.count(sentence) == 1
    assert f"{HOST} asks to work on '\\\\xff{f.decode()}\\n', which it may not" in server.log
    wire.send(CANT_DO, b"\xff" + f + b"\n")
    assert denied() == [[f.decode()]]
    wire.send(RESET_ABILITIES)
    assert denied() == []


def test_counts_are_for_all(server: Server, f: bytes) -> None:
    handle = of_role(server, "client").submit(SUBMIT_JOB_BG, f, b"", b"secret")
    for role in ("admin", "user", "client", "worker", "monitor"):
        wire = of_role(server, role)
        assert wire.status(f) == (1, 0, 0)
        assert [f, b"0", b"1", b"0", b"0"] in wire.rows(b"prioritystatus")
        assert wire.text(b"workers").endswith(b".\n")
        assert wire.text(b"version").startswith(b"OK ")
        assert wire.manage("status", function=f.decode())[0]["queued"] == 1
        assert wire.manage("hello")[0]["name"] == "gearstore"
        wire.send(GET_STATUS, handle)
        wire.expect(STATUS_RES, handle, b"1", b"0", b"0", b"0")


def test_jobs_are_for_those_who_may_work_and_submit(server: Server, f: bytes) -> None:
    handle = of_role(server, "client").submit(SUBMIT_JOB_BG, f, b"", b"secret").decode()
    for role in ("admin", "user"):
        wire = of_role(server, role)
        assert wire.manage("jobs", function=f.decode())[0]["preview"] == "secret"
        assert handle.encode() in [row[0] for row in wire.rows(b"show jobs")]
    for role in ("client", "worker", "monitor"):
        wire = of_role(server, role)
        for verb in ("jobs", "failures", "export", "tail", "config"):
            end = "shows jobs or settings, and you may only look at counts here"
            assert wire.refused(verb) == f"ERR refused {verb} {end}"
        assert "only look at counts" in wire.refused("show", handles=[handle])
        assert wire.text(b"show jobs") == MAY_NOT
        assert wire.text(b"show unique jobs") == MAY_NOT


def test_changes_are_for_administrators(server: Server, f: bytes) -> None:
    handle = of_role(server, "client").submit(SUBMIT_JOB_BG, f, b"", b"w")
    changing = [b"cancel job " + handle, b"create function " + f + b"2", b"drop function " + f, b"maxqueue %s 5" % f]
    name = f.decode()
    for role in ("user", "client", "worker", "monitor"):
        wire = of_role(server, role)
        for command in changing:
            assert wire.text(command) == MAY_NOT
        for verb in ("cancel", "hold", "release", "retry", "replay", "purge"):
            assert wire.refused(verb, handles=[handle.decode()]) == refused(verb)
        for verb in ("pause", "resume"):
            assert wire.refused(verb, function=name) == refused(verb)
        assert wire.refused("import", jobs=[{"function": name}]) == refused("import")
    boss = of_role(server, "admin")
    assert boss.show(handle)["state"] == "queued"
    assert boss.text(changing[1]) == b"OK\r\n"
    assert boss.text(changing[0]) == b"OK\r\n"


def refused(verb: str) -> str:
    """Return the refusal of a verb."""
    return f"ERR refused {verb} is for administrators, which you are not here"


def test_a_foreground_job_that_is_refused_leaves_nothing(server: Server, f: bytes) -> None:
    wire = of_role(server, "worker")
    wire.send(SUBMIT_JOB, f, b"u", b"w")
    wire.expect(ERROR, *MAY_NOT_SUBMIT)
    client = of_role(server, "client")
    client.send(SUBMIT_JOB, f, b"u", b"w")
    client.expect(JOB_CREATED)
    assert client.status(f) == (1, 0, 0)


def test_without_a_role_who_is_on_this_machine_administers(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(listen=["*:0", f"unix:{tmp_path}/s", f"unix:{tmp_path}/u,role=user"])
    port = int(server.log.split("listening on 0.0.0.0:")[1].split("\n")[0].split(",")[0])
    for address in ((HOST, port), f"{tmp_path}/s"):
        assert server.connect(address).text(b"create function g") == b"OK\r\n"
    assert server.connect(f"{tmp_path}/u").text(b"create function g") == MAY_NOT


def test_an_address_of_the_network_is_warned_of(start_server: StartServer) -> None:
    server = start_server(listen=["*:0", f"{HOST}:0"])
    assert server.log.count("is open to the network and speaks no TLS") == 1
    assert "*:0 is open to the network" in server.log


def test_one_place_has_one_role(tmp_path: Path) -> None:
    failed = run_serve(f"--listen={HOST}:4999", f"--listen={HOST}:4999,role=user", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr == (
        f"gearstore: listen: {HOST}:4999 is named twice, with different roles or with and without TLS\n"
    )
