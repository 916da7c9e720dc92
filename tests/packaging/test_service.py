"""The service while systemd runs it: crashes, restarts, hangs, and what makes a start impossible."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.packaging.box import Box
from tests.packaging.test_install import handles

SOCKET = "systemctl stop gearstore && systemctl enable --now gearstore.socket && systemctl start gearstore"
LOAD = "python3 /opt/load.py"


@contextmanager
def running_job(box: Box) -> Iterator[str]:
    """A job that a worker has in hand: its handle. It ends when the block does."""
    handle = box.sh("gearstore submit long workload")
    box.sh(
        "systemd-run -q -u worker gearstore work long -- sh -c 'until test -e /run/go; do sleep 0.1; done; echo result'"
    )
    box.until("gearstore status | grep -P '^long\\t1\\t1\\t1'")
    yield handle
    box.sh("touch /run/go")
    box.until(f"gearstore show {handle} | grep -w done")


def test_kill_9_loses_nothing_queued_or_running(box: Box) -> None:
    box.sh("gearstore submit --count 100 queued workload")
    with running_job(box) as running:
        before, pid = handles(box), box.show("MainPID")
        box.sh("systemctl kill -s KILL gearstore")
        box.started()
        assert box.show("MainPID") != pid
        assert box.show("NRestarts") == {"NRestarts": "1"}
        assert handles(box) == before and running in before
    assert "queued\t100\t0\t0" in box.status()


def test_a_power_cut(box: Box) -> None:
    """Of the container only: the kernel goes on, so this shows the order of things at the next boot, not the syncs."""
    box.sh("gearstore submit --count 10 f workload")
    before = handles(box)
    box.cut_power()
    box.started()
    assert handles(box) == before


@pytest.mark.parametrize("holder", ["the service", "the socket unit"])
def test_restarts_during_load(box: Box, holder: str) -> None:
    if holder == "the socket unit":
        box.sh(SOCKET)
    load = subprocess.Popen(box.command(LOAD), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert load.stdout and load.stdout.readline()
    for _ in range(3):
        pid = box.show("MainPID")["MainPID"]
        box.sh("systemctl restart gearstore")
        assert box.show("MainPID")["MainPID"] != pid
        box.started()
    box.sh("touch /run/stop-load")
    output, errors = load.communicate(timeout=60)
    assert load.returncode == 0, errors
    acknowledged = set(output.split())
    assert len(acknowledged) > 100
    assert acknowledged <= set(handles(box))
    refused = int(errors.split()[-1])
    assert (refused == 0) == (holder == "the socket unit"), refused


def test_the_socket_unit_starts_the_service_for_the_first_client(box: Box) -> None:
    box.sh("systemctl stop gearstore; systemctl disable gearstore; systemctl enable --now gearstore.socket")
    assert box.fails("systemctl is-active gearstore") == "inactive"
    assert box.sh("gearstore submit f workload")
    assert box.sh("systemctl is-active gearstore") == "active"
    assert "listening on 127.0.0.1:4730 (from systemd)" in box.journal()
    assert "listening on [::1]:4730 (from systemd)" in box.journal()


def test_a_server_that_hangs_is_replaced(box: Box) -> None:
    box.configure("WatchdogSec=2")
    box.sh("systemctl restart gearstore")
    box.started()
    handle = box.sh("gearstore submit f workload")
    pid = box.show("MainPID")["MainPID"]
    box.sh(f"kill -STOP {pid}")
    box.until(f"[ $(systemctl show -P MainPID gearstore) != {pid} ] && gearstore status")
    assert "Watchdog timeout" in box.journal()
    assert handles(box) == [handle]


def test_a_busy_server_is_not_taken_for_one_that_hangs(box: Box) -> None:
    box.configure("WatchdogSec=2")
    box.sh("systemctl restart gearstore")
    box.started()
    box.sh("for i in 1 2 3 4; do gearstore submit --count 20000 f workload >/dev/null & done; wait")
    assert box.show("NRestarts") == {"NRestarts": "0"}
    assert box.status() == ["f\t80000\t0\t0"]


def test_a_drain_may_take_longer_than_the_unit_allows(box: Box) -> None:
    box.configure("TimeoutStopSec=1\\nEnvironment=GEARSTORE_DRAIN_TIMEOUT=60")
    box.sh("systemctl restart gearstore")
    box.started()
    with running_job(box):
        box.sh("systemctl stop --no-block gearstore")
        box.expect_journal("stopping; 1 jobs run")
        # Longer than TimeoutStopSec=, and there is nothing else to wait for.
        box.sh("sleep 2; [ $(systemctl show -P ActiveState gearstore) = deactivating ]; touch /run/go")
        box.until("[ $(systemctl show -P ActiveState gearstore) = inactive ]")
        assert box.show("Result") == {"Result": "success"}
        box.sh("systemctl start gearstore")
        box.started()


def test_a_reload_takes_over_the_configuration_or_says_what_is_wrong_with_it(box: Box) -> None:
    box.sh("echo 'log_level = \"DEBUG\"' >>/etc/gearstore/gearstore.toml; systemctl reload gearstore")
    box.expect_journal("the configuration is reloaded")
    box.sh("echo 'log_levle = 1' >>/etc/gearstore/gearstore.toml")
    box.fails("systemctl reload gearstore")
    assert "log_levle is not an option of gearstore; did you mean log_level?" in box.journal()
    assert box.sh("systemctl is-active gearstore") == "active"


def test_the_journal_has_priorities_and_no_second_time(box: Box) -> None:
    lines = box.sh("journalctl -q --no-pager -u gearstore -o cat -p info..info _COMM=gearstore").splitlines()
    assert "listening on 127.0.0.1:4730" in lines
    box.sh("systemctl stop gearstore; echo x >/var/lib/gearstore/gearstore.db")
    box.fails("systemctl start gearstore")
    assert "not a gearstore database" in box.sh("journalctl -q --no-pager -u gearstore -o cat -p err..err")


def refusal(box: Box) -> str:
    """Start a service that can't; it must fail once and for good, with one sentence: return it."""
    box.sh("journalctl -q --rotate; journalctl -q --vacuum-time=1ms")
    box.fails("systemctl start gearstore")
    assert box.show("ActiveState,NRestarts") == {"ActiveState": "failed", "NRestarts": "0"}
    (sentence,) = box.sh("journalctl -q --no-pager -u gearstore -o cat -p err..err _COMM=gearstore").splitlines()
    assert "Traceback" not in box.journal()
    # It is over: nothing is waited for that would start it again.
    assert box.show("SubState") == {"SubState": "failed"}
    assert box.sh("systemctl list-jobs --no-legend") == ""
    return sentence


def test_a_port_that_is_taken(box: Box) -> None:
    box.sh("systemctl stop gearstore; systemd-run -q -u holder python3 /opt/take_port.py")
    box.until("ss -Hltn | grep 4730")
    assert refusal(box) == (
        "cannot listen on 127.0.0.1:4730: it is in use by another process (ss -ltnp shows root which one); "
        "stop that server or choose another address with --listen"
    )
    assert "python3" in box.sh("ss -ltnp")
    box.sh("systemctl stop holder; systemctl start gearstore")
    box.started()


def test_a_typo_in_the_configuration(box: Box) -> None:
    box.sh("systemctl stop gearstore; echo 'drain_timeuot = 5' >>/etc/gearstore/gearstore.toml")
    lines = len(box.sh("cat /etc/gearstore/gearstore.toml").splitlines())
    assert refusal(box) == (
        f"/etc/gearstore/gearstore.toml, line {lines}: drain_timeuot is not an option of gearstore; "
        "did you mean drain_timeout?"
    )


def test_a_directory_that_cannot_be_written(box: Box) -> None:
    box.sh("systemctl stop gearstore; cd /var/lib/gearstore; mount --bind . .; mount -o remount,ro,bind .")
    assert refusal(box) == (
        "cannot write to /var/lib/gearstore (Read-only file system): give this user the right to, "
        "or choose another file with --db"
    )


def test_a_directory_that_systemd_itself_cannot_prepare(box: Box) -> None:
    box.sh("systemctl stop gearstore; mount -t tmpfs -o ro none /var/lib/gearstore")
    box.fails("systemctl start gearstore")
    assert box.show("ActiveState,NRestarts") == {"ActiveState": "failed", "NRestarts": "0"}
    box.until("journalctl -q --no-pager | grep 'STATE_DIRECTORY spawning /usr/bin/gearstore: Read-only file system'")


def test_a_database_of_a_newer_version(box: Box) -> None:
    handle = box.sh("gearstore submit f workload")
    box.sh("systemctl stop gearstore")
    schema = box.sh("python3 /opt/schema.py 999")
    assert re.fullmatch(
        r"/var/lib/gearstore/gearstore.db was written by a newer gearstore \(schema 999, this program knows \d+\): "
        "install that version or choose another file with --db",
        refusal(box),
    )
    # It has been left alone.
    assert box.sh(f"python3 /opt/schema.py {schema}") == "999"
    box.sh("systemctl start gearstore")
    box.started()
    assert handles(box) == [handle]


@pytest.mark.parametrize("content", ["x", ""])
def test_a_file_that_is_no_database(box: Box, content: str) -> None:
    box.sh(f"systemctl stop gearstore; rm /var/lib/gearstore/*; printf '{content}' >/var/lib/gearstore/gearstore.db")
    assert "/var/lib/gearstore/gearstore.db" in refusal(box)


def test_clients_that_wait_at_the_socket_unit_do_not_make_a_broken_service_start_for_ever(box: Box) -> None:
    box.sh("systemctl stop gearstore; systemctl enable --now gearstore.socket")
    box.sh("echo 'port = 0x' >>/etc/gearstore/gearstore.toml")
    box.try_("gearstore status")
    box.until("[ $(systemctl show -P ActiveState gearstore.socket) = failed ]")
    assert box.show("ActiveState") == {"ActiveState": "failed"}
    assert 1 <= box.journal().count("it is TOML") <= 10


def test_a_reader_that_holds_the_database_delays_the_start_only(box: Box) -> None:
    box.sh("gearstore submit f workload")
    box.sh("systemd-run -q -u reader python3 /opt/read_for_long.py")
    box.until("test -e /run/reads")
    box.sh("gearstore submit f workload; systemctl kill -s KILL gearstore")
    box.expect_journal("is read by another program that must end first")
    box.sh("systemctl stop reader")
    box.started()
    assert box.status() == ["f\t2\t0\t0"]
