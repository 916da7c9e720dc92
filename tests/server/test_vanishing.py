"""A worker's host that vanishes without a word: in a network of its own, whose address is taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from gearstore.protocol.packets import CAN_DO, GRAB_JOB, JOB_ASSIGN, NOOP, PRE_SLEEP, SUBMIT_JOB_BG
from tests.server.process import StartServer, eventually, free_port

HERE, THERE = "10.213.71.1", "10.213.71.2"
MAC = "02:00:00:21:37:01"
SILENCE = ("--keepalive-idle=1", "--keepalive-interval=1", "--keepalive-count=2")

# The worker: it takes a job and keeps it, and writes a line after each step.
WORKER = f"""
import sys
sys.stdin.readline()
from tests.server.wire import Wire
from gearstore.protocol.packets import CAN_DO, GRAB_JOB, JOB_ASSIGN
wire = Wire(("{HERE}", int(sys.argv[1])))
wire.send(CAN_DO, b"f")
wire.send(GRAB_JOB)
print(wire.expect(JOB_ASSIGN)[0].decode(), flush=True)
sys.stdin.readline()
"""


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


class Host:
    """Another host: a network namespace that lives as long as the worker in it."""

    def __init__(self, interface: str) -> None:
        command = ["unshare", "--net", sys.executable, "-c", WORKER]
        self.interface = interface
        self.command = command
        self.process: subprocess.Popen[str]

    def start(self, port: int) -> None:
        """Start the worker and connect its network with ours."""
        self.process = subprocess.Popen(
            [*self.command, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        eventually(self._apart, "the worker's own network")
        inside = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net", "ip"]
        there = f"{self.interface}t"
        run("ip", "link", "add", self.interface, "type", "veth", "peer", "name", there, "address", MAC,
            "netns", str(self.process.pid))  # fmt: skip
        run("ip", "address", "add", f"{HERE}/30", "dev", self.interface)
        run("ip", "link", "set", self.interface, "up")
        # Known for ever, so that packets to a host that is gone get lost, as on a long way, rather than refused here.
        run("ip", "neighbour", "replace", THERE, "lladdr", MAC, "dev", self.interface, "nud", "permanent")
        run(*inside, "address", "add", f"{THERE}/30", "dev", there)
        run(*inside, "link", "set", there, "up")
        self._say()

    def _apart(self) -> bool:
        own = os.readlink("/proc/self/ns/net")
        return os.readlink(f"/proc/{self.process.pid}/ns/net") != own

    def _say(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def heard(self) -> str:
        """Return the next line that the worker writes."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def vanish(self) -> None:
        """From now on what is sent there is lost, and nothing comes back: no FIN, no RST."""
        run("nsenter", f"--net=/proc/{self.process.pid}/ns/net", "ip", "address", "flush", "dev", f"{self.interface}t")

    def end(self) -> None:
        """Take everything away. (The interface would go with its namespace, some time.)"""
        subprocess.run(["ip", "link", "delete", self.interface], capture_output=True)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def host() -> Iterator[Host]:
    """Another host, for root on a system that can make network namespaces."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nsenter", "unshare"))):
        pytest.skip("another host can only be made by root, with iproute2")
    if subprocess.run(["unshare", "--net", "ip", "link", "add", "type", "veth"], capture_output=True).returncode:
        pytest.skip("this system makes no network namespaces, or no virtual interfaces")
    host = Host(f"gs{os.getpid()}")
    yield host
    host.end()


def test_the_job_of_a_host_that_vanishes_goes_to_another(start_server: StartServer, host: Host) -> None:
    port = free_port()
    server = start_server(*SILENCE, listen=("127.0.0.1:0", f"0.0.0.0:{port}"))
    client = server.connect()
    handle = client.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    host.start(port)
    assert host.heard().encode() == handle
    other = server.connect()
    other.send(CAN_DO, b"f")
    other.send(PRE_SLEEP)
    other.expect_nothing()
    assert client.status(b"f") == (1, 1, 2)
    host.vanish()
    other.expect(NOOP)  # some three seconds later
    other.send(GRAB_JOB)
    assert other.expect(JOB_ASSIGN)[0] == handle
    assert client.status(b"f") == (1, 1, 1)
    assert client.show(handle)["reason"] == "lost"
