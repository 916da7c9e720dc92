"""Real clients and workers that speak TLS, and those that can't."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance import languages
from tests.acceptance.conftest import Spawn
from tests.acceptance.servers import HOST, Server, eventually, free_port, printed, run, tool
from tests.authority import Authority

pytestmark = pytest.mark.gearstore_only

ROOT = Path(__file__).parents[2]
PERL = """
use strict; use warnings; use Gearman::Client; use Gearman::Worker; $| = 1;
my ($role, $port, $files, $name, $function) = @ARGV;
my %server = (host => 'localhost', port => $port, use_ssl => 1, ca_file => "$files/ca.pem",
    cert_file => "$files/$name.crt", key_file => "$files/$name.key");
if ($role eq 'client') {
    my $client = Gearman::Client->new(job_servers => [\\%server]);
    print $client->dispatch_background($function, 'later'), "\\n";
    my $result = $client->do_task($function, 'abc' x 50_000);
    print length($$result), ' ', substr($$result, 0, 6), "\\n";
} else {
    my $worker = Gearman::Worker->new(job_servers => [\\%server]);
    $worker->register_function($function, sub { scalar reverse $_[0]->arg });
    $worker->work while 1;
}
"""
GEAR = """
import sys, threading, gear
role, port, files, name, function = sys.argv[1:]
ended = threading.Event()
class Client(gear.Client):
    def handleWorkComplete(self, packet):
        super().handleWorkComplete(packet)
        ended.set()
peer = Client() if role == "client" else gear.Worker("gear")
peer.addServer("localhost", int(port), f"{files}/{name}.key", f"{files}/{name}.crt", f"{files}/ca.pem")
peer.waitForServer()
if role == "client":
    later, job = gear.Job(function.encode(), b"later"), gear.Job(function.encode(), b"abc" * 50_000)
    peer.submitJob(later, background=True)
    print(later.handle.decode())
    peer.submitJob(job)
    ended.wait(20)
    result = b"".join(job.data)
    print(len(result), result[:6].decode())
else:
    peer.registerFunction(function)
    while True:
        job = peer.getJob()
        job.sendWorkComplete(job.arguments[::-1])
"""


@dataclass
class Secure:
    """A server that speaks TLS on one port, with the certificates for it."""

    server: Server
    port: int
    files: Path

    def count(self, sentence: str) -> int:
        """Return how often the log says something."""
        return self.server.log.count(sentence)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server for those with a certificate: web-1 submits, worker-1 works."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    for name in ("web-1", "worker-1"):
        authority.issue(name, use="clientAuth")
    directory, port = tmp_path_factory.mktemp("server"), free_port()
    config = directory / "gearstore.toml"
    config.write_text(
        f'listen = ["{HOST}", "tls:{HOST}:{port}"]\ntls_cert = "{authority.server()}"\ntls_ca = "{authority.ca}"\n'
        '[certificates."web-*"]\nsubmit = ["*_f"]\n[certificates."worker-*"]\nwork = ["*_f"]\n'
    )
    options = ["--config", str(config), "--listen", f"tls:{HOST}:{port}"]
    server = Server(directory, "gearstore", options)
    yield Secure(server, port, authority.directory)
    server.process.kill()


@pytest.fixture(params=["perl", "gear"])
def peer(request: pytest.FixtureRequest) -> list[str]:
    """The command of a client and worker that speak TLS."""
    if request.param == "gear":
        return [str(languages.python("gear").client[0]), "-c", GEAR]
    perl = str(languages.perl().client[0])
    if run([perl, "-MIO::Socket::SSL", "-e", "1"]).returncode != 0:
        pytest.skip("IO::Socket::SSL is missing: apt-get install libio-socket-ssl-perl")
    return [perl, "-e", PERL]


def test_client_and_worker(secure: Secure, spawn: Spawn, peer: list[str], function: str) -> None:
    name, files = f"{function}_f", str(secure.files)
    worker = spawn(*peer, "worker", str(secure.port), files, "worker-1", name)
    secure.server.expect_workers(name)
    handle, result = printed([*peer, "client", str(secure.port), files, "web-1", name]).decode().splitlines()
    assert "H:" in handle
    assert result == f"150000 {'cba' * 2}"
    secure.server.expect_status(name, 0, 0, 1)
    assert worker.alive


def test_a_worker_that_may_not_stays_alive(secure: Secure, spawn: Spawn, peer: list[str], function: str) -> None:
    """It sleeps, and neither dies nor spins."""
    worker = spawn(*peer, "worker", str(secure.port), str(secure.files), "web-1", f"{function}_f")
    sentence = f"web-1@{HOST} asks to work on '{function}_f', which it may not"
    eventually(lambda: secure.count(sentence), what=lambda: secure.server.log)

    def asleep() -> bool:
        rows = map(json.loads, secure.server.text("gearstore workers").splitlines()[:-1])
        return any(row["asleep"] and row["denied"] == [f"{function}_f"] for row in rows)

    eventually(asleep)
    assert worker.alive


def test_debians_libgearman_sends_plain_text(secure: Secure) -> None:
    gearman = tool("gearman", "gearman-tools")
    if b"libssl" in printed(["ldd", gearman]):
        pytest.skip("this libgearman is built with TLS")
    sentence = f"closed the connection of {HOST}: it speaks plain text, and here only TLS is spoken"
    done = run([gearman, "-S", "-h", HOST, "-p", str(secure.port), "-f", "x_f", "-b", "data"])
    assert b"TLS_REQUIRED:This address speaks TLS" in done.stderr
    assert secure.count(sentence) == 1


def test_libgearman_by_way_of_stunnel(secure: Secure, spawn: Spawn, function: str, tmp_path: Path) -> None:
    """With the configuration that docs/security.md shows."""
    stunnel, gearman = tool("stunnel", "stunnel4"), tool("gearman", "gearman-tools")
    (text,) = re.findall(r"^```ini stunnel.conf\n(.*?)^```$", (ROOT / "docs/security.md").read_text(), re.M | re.S)
    ports = {}
    for name in ("web-1", "worker-1"):
        ports[name] = str(free_port())
        config = tmp_path / f"{name}.conf"
        changes = {
            "web-1.pem": f"{name}.crt",
            "web-1.key": f"{name}.key",
            "4732": ports[name],
            "4731": str(secure.port),
        }
        ours = text
        for theirs, here in changes.items():
            assert theirs in ours
            ours = ours.replace(theirs, here)
        config.write_text(re.sub(r"= (\S+\.(?:pem|crt|key))$", rf"= {secure.files}/\1", ours, flags=re.M))
        log = spawn(stunnel, config)
        eventually(lambda log=log: "Configuration successful" in log.log, what=lambda log=log: log.log)
    spawn(gearman, "-w", "-h", HOST, "-p", ports["worker-1"], "-f", f"{function}_f", "--", "tr", "a-z", "A-Z")
    secure.server.expect_workers(f"{function}_f")
    client = [gearman, "-h", HOST, "-p", ports["web-1"]]
    assert printed([*client, "-f", f"{function}_f"], b"shout") == b"SHOUT"
    refused = run([*client, "-f", "other", "-b"], b"data")
    assert b"NOT_ALLOWED:You may not submit jobs to this function" in refused.stderr
    assert "other" not in secure.server.status()
