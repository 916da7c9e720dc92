"""`gearstore work`: a command per job, its ends, signals, and servers that go away."""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from tests.acceptance.servers import HOST, Running, Server, eventually
from tests.cli.conftest import Cli


def start(cli: Cli, *arguments: str, slots: int = 1) -> Running:
    """Start a worker of the function named first among the arguments, and return once it is registered."""
    worker = cli.spawn("work", *arguments)
    function = next(argument for argument in arguments if argument.startswith("test_"))
    cli.server.expect_workers(function, slots)
    return worker


def test_the_workload_is_the_input_and_the_output_is_the_result(either: Cli, function: str) -> None:
    worker = start(either, function, "--count", "1", "--", "tr", "a-z", "A-Z")
    every_byte = bytes(range(256)) * 1000
    result = either("submit", function, "-", "--wait", given=every_byte)
    assert (result.code, result.bytes) == (0, every_byte.upper())
    assert worker.wait() == 0


def test_what_the_command_knows(either: Cli, function: str) -> None:
    start(either, function, "--", "sh", "-c", 'echo "$GEARSTORE_HANDLE $GEARSTORE_FUNCTION $GEARSTORE_UNIQUE"')
    words = either.printed("submit", function, "--wait", "--unique", "u 1")[0].split(" ", 2)
    assert words[0].startswith("H:")
    assert words[1:] == [function, "u 1"]


def test_a_command_can_submit_to_the_same_server(gearstore: Cli, function: str) -> None:
    start(gearstore, "--server", gearstore.address, function, "--", "sh", "-c", "echo $GEARSTORE_SERVER")
    assert gearstore.printed("submit", function, "--wait") == [gearstore.address]


def test_a_command_that_fails_silently(either: Cli, function: str) -> None:
    worker = start(either, function, "--", "sh", "-c", "exit 3")
    result = either("submit", function, "--wait")
    assert (result.code, result.errors) == (1, "gearstore: the job failed\n")
    eventually(lambda: "failed: exit code 3\n" in worker.log)


def test_the_tail_of_the_error_output_is_the_reason(either: Cli, function: str) -> None:
    start(either, function, "--", "sh", "-c", "seq 1000 1999 >&2; echo ignored; exit 1")
    result = either("submit", function, "--wait")
    assert (result.code, result.output) == (1, "")
    assert result.errors.endswith("1998\n1999\ngearstore: the job failed\n")
    assert "1599" not in result.errors  # 2,000 bytes are 400 lines


def test_the_reason_is_kept(gearstore: Cli, function: str) -> None:
    worker = start(gearstore, function, "--count", "1", "--", "sh", "-c", "echo no disk >&2; exit 1")
    (handle,) = gearstore.printed("submit", function)
    assert worker.wait() == 0
    assert "error       no disk\n" in gearstore("show", handle).output


def test_error_output_of_a_success_is_passed_on(gearstore: Cli, function: str) -> None:
    worker = start(gearstore, function, "--count", "1", "--", "sh", "-c", "echo 'by the\033way' >&2")
    assert gearstore("submit", function, "--wait").code == 0
    assert worker.wait() == 0
    assert worker.log == "by the\\x1bway\n"


def test_a_command_that_is_killed(gearstore: Cli, function: str) -> None:
    worker = start(gearstore, function, "--count", "1", "--", "sh", "-c", "kill -9 $$")
    assert gearstore("submit", function, "--wait").code == 1
    assert worker.wait() == 0
    assert "killed by SIGKILL" in worker.log


def test_the_first_function_named_is_served_first(either: Cli, function: str) -> None:
    names = [f"{function}_{letter}" for letter in "bac"]
    for name in reversed(names):
        either.printed("submit", name)
    worker = either.spawn("work", *names, "--count", "3", "--", "sh", "-c", "echo $GEARSTORE_FUNCTION >&2")
    assert worker.wait() == 0
    assert worker.log.splitlines() == names


def test_jobs_run_in_parallel(gearstore: Cli, function: str, tmp_path: Path) -> None:
    """Two commands that wait for each other, through a named pipe."""
    os.mkfifo(tmp_path / "meet")
    script = f"cd {tmp_path}; read side; case $side in left) echo x > meet;; right) cat meet; esac"
    worker = start(gearstore, "-j", "2", "--count", "2", function, "--", "sh", "-c", script, slots=2)
    left = gearstore.spawn("submit", function, "left\n", "--wait")
    right = gearstore.spawn("submit", function, "right\n", "--wait")
    assert (left.wait(), right.wait(), worker.wait()) == (0, 0, 0)


def test_a_count_is_shared_by_the_slots(gearstore: Cli, function: str) -> None:
    gearstore.printed("submit", function, "--count", "10")
    assert gearstore.spawn("work", "-j", "3", "--count", "7", function, "--", "true").wait() == 0
    assert gearstore.server.status()[function] == (3, 0, 0)
    assert len(gearstore.printed("jobs", "--function", function, "--state", "done")) == 7


def test_a_command_that_takes_too_long_is_killed(gearstore: Cli, function: str, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; sleep 1000 & sleep 1000"
    worker = start(gearstore, "--timeout", "0.5", "--count", "1", function, "--", "sh", "-c", script)
    (handle,) = gearstore.printed("submit", function)
    assert worker.wait() == 0
    assert worker.log.count("killed after 0.5 s") == 1
    group = int((tmp_path / "pid").read_text())
    eventually(lambda: not alive(group), what="the end of the command and its children")
    assert gearstore("show", handle).lines[2].startswith(("state       queued", "state       failed"))


def alive(group: int) -> bool:
    """Return whether a process group has processes that still run."""
    listed = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return any(is_member(entry, group) for entry in listed)


def is_member(entry: Path, group: int) -> bool:
    """Return whether the process of this folder belongs to the group and is no zombie."""
    try:
        state, _, found = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:3]
    except OSError:
        return False
    return state != "Z" and int(found) == group


def busy_worker(cli: Cli, function: str, directory: Path, slots: int = 1) -> tuple[Running, Running]:
    """Return a worker in the middle of a job, which ends when something is written to `go`, and the waiting client."""
    os.mkfifo(directory / "go")
    worker = start(cli, "-j", str(slots), function, "--", "sh", "-c", f"cat {directory}/go", slots=slots)
    client = cli.spawn("submit", function, "--wait")
    cli.server.expect_status(function, 1, 1, slots)
    return worker, client


def test_a_signal_lets_the_job_at_hand_finish(either: Cli, function: str, tmp_path: Path) -> None:
    worker, client = busy_worker(either, function, tmp_path, slots=3)
    os.kill(worker.pid, signal.SIGTERM)
    either.server.expect_workers(function, 1)  # the idle slots leave at once
    (tmp_path / "go").write_text("finished")
    assert (worker.wait(), client.wait(), client.output) == (0, 0, b"finished")


def test_ctrl_c_on_the_terminal_does_not_reach_the_command(gearstore: Cli, function: str) -> None:
    client = gearstore.spawn("submit", function, "--wait")
    gearstore.server.expect_status(function, 1, 0, 0)
    script = "echo started >&2; trap 'echo interrupted' INT; cat >&2; read x < /dev/tty || echo no terminal"
    result = gearstore.on_terminal("work", function, "--count", "1", "--", "sh", "-c", script)
    assert result.code == 0
    assert (client.wait(), client.output) == (0, b"no terminal\n")


def test_a_second_signal_kills(gearstore: Cli, function: str, tmp_path: Path) -> None:
    worker, client = busy_worker(gearstore, function, tmp_path)
    os.kill(worker.pid, signal.SIGINT)
    eventually(lambda: "finishing" in worker.log)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait() == 128 + signal.SIGTERM
    gearstore.server.expect_status(function, 1, 0, 0)  # back in the queue
    assert client.alive
    eventually(lambda: not users_of(tmp_path / "go"))  # the command is gone with it, also one just being started


def users_of(path: Path) -> list[str]:
    """Return the processes that have a path on their command line."""
    commands = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            commands.append(file.read_text())
    return [command for command in commands if str(path) in command]


def test_an_idle_worker_ends_at_once(either: Cli, function: str) -> None:
    worker = start(either, function, "--", "true")
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait() == 0


def test_a_command_that_cannot_be_started_is_no_fault_of_the_job(either: Cli, function: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\ncat\n")
    script.chmod(0o755)
    worker = start(either, function, "--", str(script))
    script.rename(tmp_path / "away")
    client = either.spawn("submit", function, "back again", "--wait")
    eventually(lambda: "can't be started: No such file" in worker.log)
    (tmp_path / "away").rename(script)
    assert (client.wait(), client.output) == (0, b"back again")


def test_a_server_that_goes_away_is_waited_for(tmp_path: Path, function: str) -> None:
    server = Server(tmp_path, "gearstore")
    cli = Cli(server, tmp_path)
    worker = start(cli, function, "--count", "2", "--", "cat")
    assert cli.printed("submit", function, "--wait", "one") == ["one"]
    server.kill9()
    eventually(lambda: "trying again" in worker.log)
    server.restart()
    assert cli.printed("submit", function, "--wait", "two") == ["two"]
    assert worker.wait() == 0
    server.process.kill()


def test_a_worker_starts_before_its_server(gearstore: Cli, function: str) -> None:
    with socket.socket() as reserved:
        reserved.bind((HOST, 0))
        worker = gearstore.spawn("work", "--server", f"{HOST}:{reserved.getsockname()[1]}", function, "--", "cat")
        eventually(lambda: "trying again in 1 s" in worker.log)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait() == 0
