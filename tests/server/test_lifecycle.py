"""Starting, draining, reloading and ending a server; and what it does when its disk is full or its file locked."""

import base64
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from gearstore.protocol.packets import (
    CAN_DO,
    ECHO_REQ,
    ECHO_RES,
    ERROR,
    GET_STATUS,
    GRAB_JOB,
    JOB_ASSIGN,
    JOB_CREATED,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    STATUS_RES,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    SUBMIT_JOB_EPOCH,
    WORK_COMPLETE,
    WORK_EXCEPTION,
    WORK_FAIL,
)
from tests.server.disk import Disk, fill_with_jobs
from tests.server.process import HOST, Server, StartServer, eventually, free_port, pass_sockets, run_serve
from tests.server.wire import Wire, packet


@pytest.fixture
def start_server(start_server: StartServer) -> StartServer:
    """Start servers as users do."""
    return partial(start_server, cli=True)


def start_job(server: Server, workload: bytes = b"") -> tuple[Wire, bytes]:
    """Submit a job of function f in the background and take it; return the worker and the handle."""
    worker = server.connect()
    worker.send(CAN_DO, b"f")
    handle = worker.submit(SUBMIT_JOB_BG, b"f", b"", workload)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"f", workload)
    return worker, handle


def job_of(server: Server, handle: bytes) -> dict[str, object]:
    """Return what a started server knows of a job, its result included."""
    return server.connect().show(handle, result=True)


# The end


def test_an_idle_server_ends_at_once(start_server: StartServer) -> None:
    server = start_server()
    client = server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    assert server.terminate() == 0
    client.expect_closed()
    server.restart()
    assert job_of(server, handle)["state"] == "queued"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_running_jobs_may_end_and_their_results_are_stored(start_server: StartServer, number: int) -> None:
    server = start_server()
    worker, handle = start_job(server)
    other, client = server.connect(), server.connect()
    waiting = other.submit(SUBMIT_JOB_BG, b"f", b"", b"waits")
    server.signal(number)
    server.expect_log("stopping; 1 jobs run")
    with pytest.raises(ConnectionRefusedError):
        server.connect()
    other.send(CAN_DO, b"f")
    other.send(GRAB_JOB)
    other.expect(NO_JOB)  # nothing is assigned any more
    other.send(PRE_SLEEP)
    other.expect_nothing()
    client.send(SUBMIT_JOB, b"f", b"", b"nobody would serve it")
    assert client.expect(ERROR)[0] == b"QUEUE_ERROR"
    kept = client.submit(SUBMIT_JOB_BG, b"f", b"", b"for the next start")
    assert client.manage("hello")[0]["draining"] is True
    worker.send(WORK_COMPLETE, handle, b"the result")
    assert server.wait() == 0
    worker.expect_closed()
    server.restart()
    assert job_of(server, handle) | {"state": "done", "result": base64.b64encode(b"the result").decode()} == job_of(
        server, handle
    )
    assert [row[0] for row in server.connect().rows(b"show jobs")] == [waiting, kept]


def test_a_foreground_job_may_end_too(start_server: StartServer) -> None:
    server = start_server()
    client, worker = server.connect(), server.connect()
    handle = client.submit(SUBMIT_JOB, b"f", b"", b"w")
    worker.send(CAN_DO, b"f")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"f", b"w")
    server.signal(signal.SIGTERM)
    server.expect_log("stopping; 1 jobs run")
    worker.send(WORK_COMPLETE, handle, b"result")
    client.expect(WORK_COMPLETE, handle, b"result")
    assert server.wait() == 0


def test_22_a_second_sigterm_ends_at_once_and_costs_no_attempt(start_server: StartServer) -> None:
    server = start_server("--job-retries=1")
    worker, handle = start_job(server)
    server.signal(signal.SIGTERM)
    server.expect_log("stopping; 1 jobs run")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    worker.expect_closed()
    server.restart()
    job = job_of(server, handle)
    assert (job["state"], job["reason"], job["attempts"], job["interruptions"]) == ("queued", "interrupted", 0, 1)
    client = server.connect()
    client.send(CAN_DO, b"f")
    client.send(PRE_SLEEP)
    client.expect(NOOP)
    client.send(GRAB_JOB)
    client.expect(JOB_ASSIGN, handle, b"f", b"")


def test_the_drain_timeout_ends_the_wait(start_server: StartServer) -> None:
    server = start_server("--drain-timeout=0.2")
    _, handle = start_job(server)
    assert server.terminate() == 0
    server.restart()
    assert job_of(server, handle)["reason"] == "interrupted"


def test_sighup_does_not_cut_a_drain_short(start_server: StartServer) -> None:
    server = start_server()
    worker, handle = start_job(server)
    server.signal(signal.SIGTERM)
    server.expect_log("stopping; 1 jobs run")
    server.signal(signal.SIGHUP)
    server.expect_log("reloaded")
    worker.expect_nothing()
    worker.send(WORK_COMPLETE, handle, b"")
    assert server.wait() == 0
    server.restart()
    assert job_of(server, handle)["state"] == "done"


def test_answers_of_submits_arrive_before_the_end(start_server: StartServer) -> None:
    server = start_server()
    client = server.connect()
    client.send_bytes(b"".join(packet(SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(1000)))
    client.expect(JOB_CREATED)
    server.signal(signal.SIGTERM)
    acknowledged = 1
    try:
        while True:
            client.expect(JOB_CREATED)
            acknowledged += 1
    except ConnectionError:
        pass
    assert server.wait() == 0
    server.restart()
    status = server.connect().status(b"f")
    assert status is not None and status[0] >= acknowledged


def test_an_end_under_load_is_quick(start_server: StartServer) -> None:
    """It waits for no job, and does little: by its own clock, for the machine may be busy with other things."""
    server = start_server("--drain-timeout=1000")
    clients = [server.connect() for _ in range(8)]
    load = b"".join(packet(SUBMIT_JOB_BG, b"f", b"", b"x" * 100) for _ in range(2000))
    for client in clients:
        client.send_bytes(load)
    before = os.times()
    assert server.terminate() == 0
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 5


# SIGHUP and files


def test_sighup_reloads_policies_and_keeps_them_if_the_new_ones_are_wrong(
    start_server: StartServer, tmp_path: Path
) -> None:
    config = tmp_path / "gearstore.toml"
    config.write_text("[functions.f]\ntimeout = '1m'\n")
    server = start_server(f"--config={config}")
    client = server.connect()

    def timeout() -> tuple[str, str]:
        (row,) = [row for row in client.manage("config", function="f") if row["name"] == "timeout"]
        return row["value"], row["source"]

    assert timeout() == ("1m", f'{config} [functions."f"]')
    config.write_text("[functions.'*']\ntimeout = '2m'\n")
    server.signal(signal.SIGHUP)
    server.expect_log("the configuration is reloaded")
    assert timeout() == ("2m", f'{config} [functions."*"]')
    config.write_text("[functions.'*']\ntimeout = 'soon'\n")
    server.signal(signal.SIGHUP)
    server.expect_log(f"""not reloaded: {config}: [functions."*"]: timeout: 'soon' is not a duration""")
    assert timeout() == ("2m", f'{config} [functions."*"]')


def test_sighup_reloads_what_can_be_reloaded(start_server: StartServer, tmp_path: Path) -> None:
    config = tmp_path / "gearstore.toml"
    config.write_text('exceptions = false\nlog_level = "INFO"\n')
    server = start_server(f"--config={config}")
    client = server.connect()
    assert client.text(b"verbose") == b"OK INFO\n"
    config.write_text('exceptions = true\nlog_level = "DEBUG"\nwindow = 1000\njob_retries = 1\n')
    server.signal(signal.SIGHUP)
    server.expect_log("the configuration is reloaded")
    assert "window: the new value takes effect when the server is restarted" in server.log
    assert client.text(b"verbose") == b"OK DEBUG\n"
    # exceptions: of connections that come now
    listener, worker = server.connect(), server.connect()
    handle = listener.submit(SUBMIT_JOB, b"f", b"", b"")
    worker.send(CAN_DO, b"f")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"f", b"")
    worker.send(WORK_EXCEPTION, handle, b"oops")
    listener.expect(WORK_EXCEPTION, handle, b"oops")
    # job_retries: of all jobs
    handle = listener.submit(SUBMIT_JOB, b"f", b"", b"")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"f", b"")
    worker.leave()
    listener.expect(WORK_FAIL, handle)


def test_a_log_level_from_sighup_is_obeyed(start_server: StartServer, tmp_path: Path) -> None:
    config = tmp_path / "gearstore.toml"
    config.write_text('log_level = "INFO"\n')
    server = start_server(f"--config={config}")
    config.write_text('log_level = "ERROR"\n')
    server.signal(signal.SIGHUP)
    client = server.connect()
    eventually(lambda: client.text(b"verbose") == b"OK ERROR\n", "the reload")
    assert server.terminate() == 0
    assert "stopping" not in server.log


def test_a_wrong_configuration_is_not_reloaded(start_server: StartServer, tmp_path: Path) -> None:
    config = tmp_path / "gearstore.toml"
    config.write_text("job_retries = 3\n")
    server = start_server(f"--config={config}")
    config.write_text("job_retrys = 3\n")
    server.signal(signal.SIGHUP)
    server.expect_log("the configuration was not reloaded")
    assert "did you mean job_retries?" in server.log
    server.connect().expect_nothing()


def test_sighup_lets_logrotate_move_the_log(start_server: StartServer, tmp_path: Path) -> None:
    log = tmp_path / "gearstore.log"
    server = start_server(f"--log-file={log}", listen=[f"{HOST}:{free_port()}"])
    log.rename(tmp_path / "old.log")
    server.signal(signal.SIGHUP)
    eventually(lambda: log.exists() and "reloaded" in log.read_text(), "a new log")
    assert "serves" in (tmp_path / "old.log").read_text()
    assert server.log == ""


def test_the_pid_file(start_server: StartServer, tmp_path: Path) -> None:
    pid_file = tmp_path / "gearstore.pid"
    pid_file.write_text("999999999\n")
    server = start_server(f"--pid-file={pid_file}")
    assert pid_file.read_text() == f"{server.pid}\n"
    # A second server that can't start leaves it alone.
    failed = run_serve(f"--pid-file={pid_file}", f"--db={server.db}", f"--listen={HOST}:0", cwd=tmp_path)
    assert failed.returncode == 4
    assert pid_file.read_text() == f"{server.pid}\n"
    assert server.terminate() == 0
    assert not pid_file.exists()


def test_a_pid_file_that_cannot_be_written(tmp_path: Path) -> None:
    failed = run_serve(
        f"--pid-file={tmp_path}/nowhere/pid", f"--db={tmp_path}/x.db", f"--listen={HOST}:0", cwd=tmp_path
    )
    assert failed.returncode == 2
    assert failed.stderr.endswith(f"gearstore: --pid-file {tmp_path}/nowhere/pid: No such file or directory\n")
    assert "Traceback" not in failed.stderr


# systemd


def test_systemd_is_told(start_server: StartServer) -> None:
    server = start_server()
    states = server.manager.states
    assert states == ["READY=1"]
    _, handle = start_job(server)
    server.signal(signal.SIGTERM)
    assert server.manager.wait("STOPPING=1", server.process, 5.0)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    ready, status, stopping = server.manager.rest()
    assert (ready, status) == ("READY=1", f"STATUS=serving, database {server.db}")
    # With drain_timeout, 30 s, what systemd has to grant: a longer one must not meet its SIGKILL.
    assert stopping == "STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000"


def test_the_watchdog_is_fed_also_during_a_drain(start_server: StartServer) -> None:
    server = start_server(variables={"WATCHDOG_USEC": "200000"})
    start_job(server)
    for _ in range(3):
        assert server.manager.wait("WATCHDOG=1", server.process, 2.0)
    server.signal(signal.SIGTERM)
    assert server.manager.wait("STOPPING=1", server.process, 2.0)
    for _ in range(3):
        assert server.manager.wait("WATCHDOG=1", server.process, 2.0)


def test_the_watchdog_of_another_process_is_not_fed(start_server: StartServer) -> None:
    server = start_server(variables={"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"})
    server.connect().expect_nothing()
    assert "WATCHDOG=1" not in server.manager.rest()


# Sockets that systemd passes


def listening(address: tuple[str, int] | str) -> socket.socket:
    """Return a listening socket, as a .socket unit opens it."""
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.bind(address)
    sock.listen()
    return sock


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_passed_socket_takes_the_place_of_the_configured_one(start_server: StartServer, loop: str) -> None:
    with listening((HOST, 0)) as sock:
        port = sock.getsockname()[1]
        server = start_server(f"--loop={loop}", listen=[f"{HOST}:{port}", f"{HOST}:0"], passed=[sock])
        assert f"listening on {HOST}:{port} (from systemd)" in server.log
        assert server.log.count("listening on") == 2
        server.connect((HOST, port)).expect_nothing()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nobody_is_refused_while_a_server_with_a_passed_socket_restarts(start_server: StartServer, loop: str) -> None:
    with listening((HOST, 0)) as sock:
        address = sock.getsockname()
        server = start_server(f"--loop={loop}", listen=[f"{HOST}:{address[1]}"], passed=[sock])
        handle = server.connect(address).submit(SUBMIT_JOB_BG, b"f", b"", b"")
        assert server.terminate() == 0
        client = Wire(address)  # not refused, though nobody serves
        client.send(GET_STATUS, handle)
        server.restart()
        client.expect(STATUS_RES, handle, b"1", b"0", b"0", b"0")
        client.close()


def test_a_passed_unix_socket_stays_when_the_server_ends(start_server: StartServer, tmp_path: Path) -> None:
    path = str(tmp_path / "gearstore.sock")
    with listening(path) as sock:
        server = start_server(listen=[f"unix:{path}"], passed=[sock])
        server.connect(path).expect_nothing()
        assert server.terminate() == 0
        assert os.path.exists(path)


def test_what_is_passed_has_to_be_a_listening_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        command = [*pass_sockets([sock]), sys.executable, "-m", "gearstore_cli", "serve", f"--db={tmp_path}/x.db"]
        failed = subprocess.run(command, capture_output=True, text=True, pass_fds=[sock.fileno()], timeout=20)
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1] == (
        "gearstore: systemd passes something else than a listening socket: use ListenStream= and Accept=no"
    )


# Where it listens


def test_several_addresses_and_a_unix_socket(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "gearstore.sock"
    port = free_port()
    server = start_server(listen=[f"{HOST}:0", f"{HOST}:{port}", f"unix:{path}"])
    assert server.log.count("listening on") == 3
    wires = [server.connect((HOST, server.find_port())), server.connect((HOST, port)), server.connect(str(path))]
    for wire in wires:
        wire.expect_nothing()
    assert sorted(row[0].split()[1] for row in wires[2].rows(b"workers")) == [b"127.0.0.1", b"127.0.0.1", b"unix"]
    assert server.terminate() == 0
    assert not path.exists()


def test_a_unix_socket_left_by_a_killed_server(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "gearstore.sock"
    server = start_server(listen=[f"unix:{path}"])
    server.kill()
    assert path.is_socket()
    server.restart()
    server.connect(str(path)).expect_nothing()


def test_a_unix_socket_of_a_living_server_is_not_taken(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "gearstore.sock"
    server = start_server(listen=[f"unix:{path}"])
    failed = run_serve(f"--listen=unix:{path}", f"--db={tmp_path}/other.db", cwd=tmp_path)
    assert failed.returncode == 2
    assert f"cannot listen on unix:{path}: it is in use" in failed.stderr
    server.connect(str(path)).expect_nothing()


def test_a_file_in_the_place_of_the_unix_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    failed = run_serve(f"--listen=unix:{path}", f"--db={tmp_path}/x.db", cwd=tmp_path)
    assert failed.returncode == 2
    assert f"cannot listen on unix:{path}" in failed.stderr
    assert path.read_text() == "precious"


def test_a_busy_port_names_the_process_that_has_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed = run_serve(f"--listen={HOST}:{port}", f"--db={tmp_path}/x.db", cwd=tmp_path)
    assert failed.returncode == 2
    last = failed.stderr.splitlines()[-1]
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert last == (
        f"gearstore: cannot listen on {HOST}:{port}: it is in use by {name} (process {os.getpid()}); "
        "stop that server or choose another address with --listen"
    )


def test_a_foreign_address(tmp_path: Path) -> None:
    failed = run_serve("--listen=192.0.2.1:4730", f"--db={tmp_path}/x.db", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[-1].startswith("gearstore: cannot listen on 192.0.2.1:4730: ")


# What it refuses to start on


def refusal(tmp_path: Path, db: object, *options: str) -> str:
    """Return the sentence with which a server refuses to start on a database."""
    failed = run_serve(f"--listen={HOST}:0", f"--db={db}", *options, cwd=tmp_path)
    assert failed.returncode == 4, failed.stderr
    assert "Traceback" not in failed.stderr
    (line,) = failed.stderr.splitlines()
    return line


def test_a_second_server_on_the_file_is_told_the_first_ones_pid(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    sentence = refusal(tmp_path, server.db)
    assert str(server.db) in sentence and re.search(rf"\b{server.pid}\b", sentence)
    assert server.connect().submit(SUBMIT_JOB_BG, b"f", b"", b"")


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert refusal(tmp_path, file / "x.db") == (
        f"gearstore: cannot write to {file} (Not a directory): give this user the right to, "
        "or choose another file with --db"
    )


@pytest.mark.parametrize("content", [b"just some notes\n" * 100, b"x", b"\0" * 4096])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    assert refusal(tmp_path, file) == f"gearstore: {file} is not a gearstore database: choose another file with --db"
    assert file.read_bytes() == content


def test_an_emptied_database(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    server.connect().submit(SUBMIT_JOB_BG, b"f", b"", b"")
    assert server.terminate() == 0
    server.db.write_bytes(b"")
    assert "is empty: restore it from a backup" in refusal(tmp_path, server.db)


def test_the_database_of_another_program(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE gearman_queue (unique_key TEXT)")
    assert refusal(tmp_path, file) == (
        f"gearstore: {file} is the database of another program: choose another file with --db"
    )


def test_a_database_of_a_newer_gearstore(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    assert server.terminate() == 0
    with closing(sqlite3.connect(server.db)) as database:
        database.execute("PRAGMA user_version = 99")
    sentence = refusal(tmp_path, server.db)
    assert "was written by a newer gearstore (schema 99, this program knows" in sentence


def test_a_directory_as_database(tmp_path: Path) -> None:
    assert refusal(tmp_path, tmp_path) == f"gearstore: {tmp_path} is a directory: name a file with --db"


def test_a_missing_directory_is_made(start_server: StartServer, tmp_path: Path) -> None:
    db = tmp_path / "a" / "b" / "gearstore.db"
    server = start_server(db=db)
    server.connect().submit(SUBMIT_JOB_BG, b"f", b"", b"")
    assert db.exists()


# gearmand's options


def test_gearmands_options_are_accepted(start_server: StartServer, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "gearmand.log"
    pid_file = tmp_path / "gearmand.pid"
    options = f"""-p {port} -L {HOST} -l {log} -P {pid_file} -q builtin -j 3 -R -w 2 -b 64 -t 4 -d -f 1024
        --verbose DEBUG --keepalive --keepalive-idle 30 --keepalive-interval 10 --keepalive-count 3 --exceptions
        --syslog --hashtable-buckets 991 --job-handle-prefix X:y --libsqlite3-db {tmp_path}/q.db --coredump -u nobody"""
    server = start_server(*options.split(), listen=[])
    client = server.connect((HOST, port))
    assert client.submit(SUBMIT_JOB_BG, b"f", b"", b"").startswith(b"X:y:")
    assert client.text(b"verbose") == b"OK DEBUG\n"
    assert pid_file.read_text() == f"{server.pid}\n"
    ignored = ("--queue-type", "--threads", "--daemon", "--syslog", "--hashtable-buckets", "--coredump", "--user")
    for option in (*ignored, "--libsqlite3-db"):
        assert f"gearstore: {option} is gearmand's and is ignored" in server.log
    assert "listening on" in log.read_text()
    assert server.terminate() == 0


def test_gearmands_port_variable(start_server: StartServer) -> None:
    port = free_port()
    server = start_server(listen=[HOST], variables={"GEARMAND_PORT": str(port)})
    server.connect((HOST, port)).expect_nothing()


def test_tls_without_a_certificate_is_refused_rather_than_pretended(tmp_path: Path) -> None:
    failed = run_serve("--ssl", f"--listen={HOST}:0", f"--db={tmp_path}/x.db", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith(f"gearstore: listen: tls:{HOST}:0 needs a certificate")


# A full disk


def test_20_a_full_disk_refuses_submits_and_loses_nothing(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    client, other, worker = server.connect(), server.connect(), server.connect()
    worker.send(CAN_DO, b"f")
    kept = [client.submit(SUBMIT_JOB_BG, b"f", b"u", b"before")]
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, kept[0], b"f", b"before")
    foreground = other.submit(SUBMIT_JOB, b"fg", b"fg", b"foreground")
    disk.fill()
    fill_with_jobs(client, b"f", kept)
    for n in range(20):  # small ones are refused too, or else stored: never in between
        kind, content = client.ask(SUBMIT_JOB_BG, b"f", b"small%d" % n, b"")
        assert kind in (ERROR, JOB_CREATED)
        if kind is JOB_CREATED:
            kept.append(content)
    # Others go on
    other.expect_nothing()
    volatile = other.submit(SUBMIT_JOB, b"fg", b"", b"needs no disk")
    other.send(GET_STATUS, volatile)
    other.expect(STATUS_RES, volatile, b"1", b"0", b"0", b"0")
    assert client.submit(SUBMIT_JOB_BG, b"f", b"u", b"joins what is stored") == kept[0]
    # A background submit that joins a foreground job must be stored too
    client.send(SUBMIT_JOB_BG, b"fg", b"fg", b"x" * 50_000)
    kind, content = client.receive()
    assert kind is ERROR, content
    assert content.startswith(b"QUEUE_ERROR\0")
    # A completion is kept
    worker.send(WORK_COMPLETE, kept[0], b"result")
    disk.free()
    worker.expect_nothing()
    # Service resumes by itself
    kept.append(client.submit(SUBMIT_JOB_BG, b"f", b"after", b"after"))
    assert client.show(kept[0], result=True)["result"] == base64.b64encode(b"result").decode()
    waiting = sorted(kept[1:])
    assert sorted(row[0] for row in client.rows(b"show jobs")) == sorted([*waiting, foreground, volatile])
    server.kill()
    server.restart()
    client = server.connect()
    assert sorted(row[0] for row in client.rows(b"show jobs")) == waiting
    assert client.show(kept[0])["state"] == "done"


def test_20_a_kill_while_the_disk_is_full(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    client = server.connect()
    kept: list[bytes] = []
    disk.fill()
    fill_with_jobs(client, b"f", kept)
    server.kill()
    disk.free()
    server.restart()
    assert sorted(row[0] for row in server.connect().rows(b"show jobs")) == sorted(kept)


def test_20_a_start_with_little_space(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    kept = server.connect().submit(SUBMIT_JOB_BG, b"f", b"", b"x" * 2_000_000)
    server.kill()
    disk.fill()
    disk.free(5 << 19)
    server.restart()
    worker = server.connect()
    worker.send(CAN_DO, b"f")
    worker.send(PRE_SLEEP)
    worker.expect(NOOP)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, kept, b"f", b"x" * 2_000_000)
    worker.send(WORK_COMPLETE, kept, b"")
    worker.expect_nothing()


def test_20_the_disk_fills_and_empties_again_and_again(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    client, worker = server.connect(), server.connect()
    worker.send(CAN_DO, b"f")
    for _ in range(3):
        kept: list[bytes] = []
        disk.fill()
        fill_with_jobs(client, b"f", kept)
        disk.free()
        kept.append(client.submit(SUBMIT_JOB_BG, b"f", b"", b""))
        for handle in kept:
            worker.send(GRAB_JOB)
            assert worker.expect(JOB_ASSIGN)[0] == handle
            worker.send(WORK_COMPLETE, handle, b"")
        worker.send(GRAB_JOB)
        worker.expect(NO_JOB)
    assert server.terminate() == 0


def test_20_the_operator_can_look_while_the_disk_is_full(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    client, worker = server.connect(), server.connect()
    worker.send(CAN_DO, b"g")
    handle = client.submit(SUBMIT_JOB_BG, b"g", b"", b"")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"g", b"")
    disk.fill()
    fill_with_jobs(client, b"f", [])
    worker.send(WORK_COMPLETE, handle, b"x" * 60_000)
    client.manage("hello")
    client.manage("status")
    client.text(b"show jobs")
    assert client.show(handle)["handle"] == handle.decode()
    assert client.manage("jobs", function="g")[0]["handle"] == handle.decode()


def test_20_what_is_not_stored_is_not_imported(start_server: StartServer, disk: Disk) -> None:
    server = start_server(db=disk.path / "gearstore.db")
    client = server.connect()
    disk.fill()
    fill_with_jobs(client, b"f", [])
    job = {"handle": "H:there:1", "function": "g", "workload": "eHh4" * 1000}
    first, totals = client.manage("import", jobs=[job])
    assert first["refused"] == "the job could not be stored"
    assert totals["refused"] == 1
    disk.free()
    eventually(lambda: "imported" in client.manage("import", jobs=[job])[0], "the import that has space again")
    assert "known" in client.manage("import", jobs=[job])[0]
    assert client.status(b"g") == (1, 0, 0)


# A locked database


def test_20_a_writer_that_locks_the_database_holds_up_nobody_else(start_server: StartServer) -> None:
    server = start_server()
    client, other, worker = server.connect(), server.connect(), server.connect()
    first = client.submit(SUBMIT_JOB_BG, b"f", b"", b"first")
    worker.send(CAN_DO, b"f")
    worker.send(CAN_DO, b"fg")
    with closing(sqlite3.connect(server.db, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        client.send(SUBMIT_JOB_BG, b"f", b"", b"second")
        client.send(ECHO_REQ, b"behind it")
        for _ in range(3):
            other.expect_nothing()
            handle = other.submit(SUBMIT_JOB, b"fg", b"", b"fg")
            worker.send(GRAB_JOB)
            worker.expect(JOB_ASSIGN, handle, b"fg", b"fg")
            worker.send(WORK_COMPLETE, handle, b"ok")
            other.expect(WORK_COMPLETE, handle, b"ok")
        worker.send(GRAB_JOB)
        worker.expect(JOB_ASSIGN, first, b"f", b"first")
        assert len(other.rows(b"show jobs")) >= 1
        writer.execute("ROLLBACK")
    second = client.expect(JOB_CREATED)[0]
    client.expect(ECHO_RES, b"behind it")
    server.kill()
    server.restart()
    assert [row[0] for row in server.connect().rows(b"show jobs")] == [first, second]


def test_20_a_reader_holds_up_nobody(start_server: StartServer) -> None:
    server = start_server()
    client = server.connect()
    first = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    with closing(sqlite3.connect(server.db, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        second = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
        reader.execute("COMMIT")
    server.kill()
    server.restart()
    assert [row[0] for row in server.connect().rows(b"show jobs")] == [first, second]


def test_20_a_writer_that_never_ends_makes_submits_fail(start_server: StartServer) -> None:
    server = start_server()
    client, other = server.connect(), server.connect()
    with closing(sqlite3.connect(server.db, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        client.send(SUBMIT_JOB_BG, b"f", b"", b"refused")
        code, text = client.expect(ERROR)
        assert code == b"QUEUE_ERROR"
        assert b"space" not in text  # it isn't the disk that is full
        other.expect_nothing()
        writer.execute("ROLLBACK")
    kept = client.submit(SUBMIT_JOB_BG, b"f", b"", b"kept")
    server.kill()
    server.restart()
    assert [row[0] for row in server.connect().rows(b"show jobs")] == [kept]


def test_memory_stores_nothing(start_server: StartServer) -> None:
    server = start_server("--memory")
    client, worker = server.connect(), server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"u", b"w")
    assert client.submit(SUBMIT_JOB_BG, b"f", b"u", b"w") == handle
    client.submit(SUBMIT_JOB_EPOCH, b"f", b"", b"9999999999", b"")
    worker.send(CAN_DO, b"f")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"f", b"w")
    worker.send(WORK_COMPLETE, handle, b"")
    worker.expect_nothing()
    assert client.manage("hello")[0]["database"] is None
    assert client.show(handle)["state"] == "done"
    assert "--memory: nothing is stored" in server.log
    assert server.terminate() == 0
    assert not server.db.exists()
