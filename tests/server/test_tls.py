"""TLS: what is spoken and what is refused, what certificates grant, and what becomes of both at a reload."""

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from gearstore.config import load_config
from gearstore.errors import ConfigError
from gearstore.protocol.packets import (
    CAN_DO,
    CAN_DO_TIMEOUT,
    ECHO_REQ,
    ECHO_RES,
    ERROR,
    GRAB_JOB,
    JOB_ASSIGN,
    NO_JOB,
    NOOP,
    PRE_SLEEP,
    SUBMIT_JOB,
    SUBMIT_JOB_BG,
    WORK_COMPLETE,
    response,
)
from gearstore.server import tls as server_tls
from gearstore.server.commands import HANDLERS
from gearstore.server.connection import Connection
from gearstore.server.hub import Hub
from gearstore.store.journal import Journal
from gearstore.store.memory import MemoryStore
from gearstore.tls import Files, of_server, server_context
from tests.authority import EC, Authority
from tests.server.conftest import StartServer
from tests.server.process import HOST, Server, eventually, run_serve
from tests.server.wire import TIMEOUT, Wire, packet

MIB = 1 << 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of servers and clients, with a certificate for the server."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.server()
    return authority


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Server]:
    """A server with a plain listener and one that speaks TLS, on either loop."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    options = (f"--tls-cert={authority.directory}/server.pem", f"--loop={request.param}")
    server = Server(tmp_path_factory.mktemp("server"), *options, listen=[f"{HOST}:0", f"tls:{HOST}:0"])
    yield server
    server.end()
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator["Grants"]:
    """A server that asks for certificates."""
    grants = Grants(tmp_path_factory.mktemp("server"), authority)
    yield grants
    grants.server.end()
    assert "Traceback" not in grants.server.log, grants.server.log


@pytest.fixture
def grants(asking: "Grants") -> Iterator["Grants"]:
    """The same with the tables below."""
    asking.reload(TABLES)
    yield asking
    for verb in ("cancel", "purge"):
        asking.server.connect().manage(verb, function="*")
    asking.server.disconnect()


class Grants:
    """A server that asks for certificates, and its configuration file."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.authority = authority
        self.file = directory / "gearstore.toml"
        self.write("")
        self.server = Server(directory, f"--config={self.file}", listen=[f"{HOST}:0", f"tls:{HOST}:0"])

    def write(self, tables: str, cert: str = "server.pem", ca: str = "ca.pem") -> None:
        """Write the configuration."""
        where = self.authority.directory
        asked = f'tls_ca = "{where}/{ca}"\n' if ca else ""
        self.file.write_text(f'tls_cert = "{where}/{cert}"\n{asked}{tables}')

    def reload(self, tables: str, cert: str = "server.pem", ca: str = "ca.pem") -> None:
        """Write the configuration and have it read."""
        self.write(tables, cert, ca)
        sentence, log = "the configuration is reloaded", self.server.log
        self.server.signal(signal.SIGHUP)
        eventually(lambda: self.server.log.count(sentence) > log.count(sentence), "a reload")

    def connect(self, name: str) -> Wire:
        """Return the connection of somebody with a certificate of this name."""
        file = self.authority.directory / f"{name}.pem"
        if not file.exists():
            self.authority.issue(name, use="clientAuth")
        return secure(self.server, trusting(self.authority, file))


def trusting(authority: Authority, certificate: Path | None = None) -> ssl.SSLContext:
    """Return what a client needs that trusts an authority, perhaps with a certificate to show."""
    context = ssl.create_default_context(cafile=authority.ca)
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def secure(server: Server, context: ssl.SSLContext) -> Wire:
    """Return a connection that speaks TLS."""
    return server.connect((HOST, server.find_port("tls:")), context)


# What is spoken


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_job_from_submit_to_result(server: Server, authority: Authority, f: bytes, version: ssl.TLSVersion) -> None:
    context = trusting(authority)
    context.minimum_version = context.maximum_version = version
    client, worker = secure(server, context), secure(server, context)
    workload, result = bytes(range(256)) * 20_000, b"\0" * 3 * MIB
    worker.send(CAN_DO, f)
    worker.send(PRE_SLEEP)
    handle = client.submit(SUBMIT_JOB, f, b"", workload)
    worker.expect(NOOP)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, f, workload)
    worker.send(WORK_COMPLETE, handle, result)
    client.expect(WORK_COMPLETE, handle, result)
    stored = client.submit(SUBMIT_JOB_BG, f, b"", b"")
    assert client.show(stored)["state"] == "queued"
    assert client.text(b"version").startswith(b"OK ")


def test_an_older_version_is_refused(server: Server, authority: Authority) -> None:
    context = trusting(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        secure(server, context)
    server.expect_log(f"closed the connection of {HOST}: TLS handshake failed: it speaks only TLS older than 1.2")


def test_answers_of_one_who_has_closed_its_half(server: Server, authority: Authority, f: bytes) -> None:
    with Hands(server, authority) as hands:
        hands.tls.write(packet(SUBMIT_JOB_BG, f, b"", b"w") + packet(ECHO_REQ, b"behind"))
        with pytest.raises(ssl.SSLWantReadError):
            hands.tls.unwrap()
        hands.send()
        hands.receive(2 * 12 + len("behind") + len(b"H:%s:" % os.uname().nodename.encode()) + 12)
        with pytest.raises(ssl.SSLZeroReturnError):
            hands.receive(1)


async def test_a_peer_that_does_not_read(server: Server, authority: Authority) -> None:
    """It is not read from any more, and gets everything when it has made up its mind."""
    data, echoes = b"e" * 100_000, 300
    reader, writer = await asyncio.open_connection(  # which stops reading at twice its limit of 64 KiB
        HOST, server.find_port("tls:"), ssl=trusting(authority), server_hostname="localhost"
    )
    writer.write(packet(ECHO_REQ, data) * echoes)
    await asyncio.to_thread(server.connect().expect_nothing)
    for _ in range(echoes):
        assert await reader.readexactly(12 + len(data)) == response(ECHO_RES, data)
    writer.close()
    await writer.wait_closed()


class Hands:
    """A client that does by hand what an SSLSocket does."""

    def __init__(self, server: Server, authority: Authority) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trusting(authority).wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.socket = socket.create_connection((HOST, server.find_port("tls:")), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        while True:
            try:
                self.tls.do_handshake()
                self.send()
                return self
            except ssl.SSLWantReadError:
                self.send()
                self.incoming.write(self.socket.recv(65536))

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self) -> None:
        """Send what there is, byte by byte."""
        for byte in self.outgoing.read():
            self.socket.send(bytes([byte]))

    def receive(self, size: int) -> bytes:
        """Return so many bytes."""
        received = b""
        while len(received) < size:
            try:
                received += self.tls.read(size - len(received))
            except ssl.SSLWantReadError:
                self.incoming.write(self.socket.recv(65536))
        return received


def test_everything_byte_by_byte(server: Server, authority: Authority) -> None:
    with Hands(server, authority) as hands:
        hands.tls.write(b"version\n")
        hands.send()
        assert hands.receive(3) == b"OK "


def test_who_leaves_in_the_middle_of_a_handshake_is_forgotten(server: Server, authority: Authority) -> None:
    with socket.create_connection((HOST, server.find_port("tls:"))) as wire:
        wire.send(b"\x16\x03\x01")
        other = server.connect()
        assert len([row for row in other.manage("workers") if row["certificate"] is None]) >= 2
    eventually(lambda: len(other.manage("workers")) <= len(server.wires), "it is forgotten")


async def test_who_does_not_begin_is_closed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_tls, "HANDSHAKE_TIMEOUT", 0.05)
    caplog.set_level(logging.WARNING, "gearstore")
    store, loop = MemoryStore(), asyncio.get_running_loop()
    hub = Hub(load_config({"memory": True}, {})[0], store, Journal(store, lambda error: None), loop)
    context = server_context(Files(authority.directory / "server.pem")).context
    listening = await loop.create_server(lambda: server_tls.TlsTransport(Connection(hub, HANDLERS), context), HOST, 0)
    async with listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        writer.write(b"\x16\x03")
        assert await reader.read() == b""
        writer.close()
    assert f"closed the connection of {HOST}: there was no TLS handshake within 0.05 s" in caplog.text
    while hub.connections:
        await asyncio.sleep(0)


# One speaks, the other doesn't


def test_plain_text_where_tls_is_spoken(server: Server) -> None:
    port = server.find_port("tls:")
    for _ in range(5):
        binary, text = server.connect((HOST, port)), server.connect((HOST, port))
        binary.send(ECHO_REQ, b"x")
        binary.expect(ERROR, b"TLS_REQUIRED", b"This address speaks TLS")
        binary.expect_closed()
        text.send_bytes(b"status\n")
        assert text.line() == b"ERR TLS_REQUIRED This address speaks TLS\r\n"
        text.expect_closed()
    sentence = f"closed the connection of {HOST}: it speaks plain text, and here only TLS is spoken"
    assert server.log.count(sentence) == 1


def test_tls_where_plain_text_is_spoken(server: Server, authority: Authority) -> None:
    for _ in range(5):
        with pytest.raises(ssl.SSLError, match="UNEXPECTED_MESSAGE"):
            server.connect(tls=trusting(authority))
    sentence = f"closed the connection of {HOST}: it speaks TLS, and here nobody does"
    assert server.log.count(sentence) == 1


def test_a_connection_too_many_is_told_nothing_in_clear(start_server: StartServer, authority: Authority) -> None:
    options = (f"--tls-cert={authority.directory}/server.pem", "--max-connections=1")
    server = start_server(*options, listen=[f"{HOST}:0", f"tls:{HOST}:0"])
    server.connect().expect_nothing()
    with pytest.raises((ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError)):  # as the version of Python calls it
        secure(server, trusting(authority))
    assert server.connect().expect(ERROR)[0] == b"TOO_MANY_CONNECTIONS"


def test_garbage_in_the_middle(server: Server, authority: Authority) -> None:
    wire = secure(server, trusting(authority))
    wire.expect_nothing()
    raw = socket.socket(fileno=socket.dup(wire.socket.fileno()))
    raw.sendall(b"\x17\x03\x03\x00\x10" + b"x" * 16)
    server.expect_log(f"closed the connection of {HOST}: TLS is broken")
    raw.close()


# Who is let in


def test_without_a_certificate_nobody_is_let_in(grants: Grants, authority: Authority, tmp_path: Path) -> None:
    grants.reload("")
    stranger = Authority(tmp_path / "stranger").issue("worker-1")
    expired = authority.issue("late", days=-1)
    for certificate, reason in (
        (None, "it sent no certificate"),
        (stranger, "the certificate is of a CA that is not known here; tls_ca names one"),
        (expired, "the certificate is not good: certificate has expired"),
    ):
        with pytest.raises(ssl.SSLError):  # TLS 1.3 tells it with the first answer
            secure(grants.server, trusting(authority, certificate)).expect_nothing()
        grants.server.expect_log(f"closed the connection of {HOST}: TLS handshake failed: {reason}")
    wire = grants.connect("anybody")
    wire.expect_nothing()
    (row,) = [row for row in wire.manage("workers") if row["certificate"]]
    assert row["certificate"] == ["anybody"]


TABLES = """
[certificates."web*"]
submit = ["mail*", "resize"]

[certificates."worker*"]
work = ["mail*"]

[certificates."ops"]
role = "admin"

[certificates."localhost"]
role = "user"
"""


def test_certificates_grant_functions(grants: Grants) -> None:
    web, worker, ops = grants.connect("web-1"), grants.connect("worker-1"), grants.connect("ops")
    handle = web.submit(SUBMIT_JOB_BG, b"mail_out", b"", b"w")
    web.submit(SUBMIT_JOB_BG, b"resize", b"", b"w")
    for function in (b"resize_all", b"Mail", b"shell", b""):
        web.send(SUBMIT_JOB_BG, function, b"", b"w")
        web.expect(ERROR, b"NOT_ALLOWED", b"You may not submit jobs to this function")
    worker.send(SUBMIT_JOB, b"mail_out", b"", b"w")
    worker.expect(ERROR, b"NOT_ALLOWED", b"You may not submit jobs to this function")
    worker.send(CAN_DO, b"resize")
    worker.send(CAN_DO, b"mail_out")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"mail_out", b"w")
    worker.send(WORK_COMPLETE, handle, b"")
    assert worker.ask(GRAB_JOB) == (NO_JOB, b"")
    assert f"worker-1@{HOST} asks to work on 'resize'" in grants.server.log
    assert "only look at counts" in web.refused("jobs")
    jobs = ops.manage("jobs", order="oldest")
    assert [(row["state"], row["client"]) for row in jobs] == [("done", f"web-1@{HOST}"), ("queued", f"web-1@{HOST}")]
    assert ops.text(b"create function x") == b"OK\r\n"


def test_what_a_certificate_may_do_is_told(grants: Grants) -> None:
    boss = grants.server.connect()
    source = f'{grants.file} [certificates."web*"]'
    assert boss.manage("config", certificate="web-7") == [
        {"name": "role", "value": "monitor", "source": "default"},
        {"name": "submit", "value": ["mail*", "resize"], "source": source},
        {"name": "work", "value": [], "source": "role, default"},
    ]
    assert boss.refused("config", certificate="x") == "ERR not_found nothing is granted to x: it is turned away"


def test_a_certificate_that_no_table_names_is_turned_away(grants: Grants) -> None:
    for _ in range(3):
        grants.connect("nobody").expect_closed()
    sentence = f"closed the connection of {HOST}: its certificate (nobody) grants nothing"
    assert grants.server.log.count(sentence) == 1


def test_alternative_names_count(grants: Grants, authority: Authority) -> None:
    file = authority.issue("a machine", ["DNS:web.example.org", "email:ops@example.org"], use="clientAuth")
    wire = secure(grants.server, trusting(authority, file))
    wire.submit(SUBMIT_JOB_BG, b"mail", b"", b"")
    wire.send(SUBMIT_JOB_BG, b"other", b"", b"")
    wire.expect(ERROR, b"NOT_ALLOWED", b"You may not submit jobs to this function")


def test_the_plain_listener_keeps_its_role(grants: Grants) -> None:
    assert grants.server.connect().text(b"create function x") == b"OK\r\n"


# Reload


def test_a_right_that_is_taken_away(grants: Grants) -> None:
    """The worker loses the function and the job that it runs of it; what it reports of that later is not asked for."""
    web, worker, other = grants.connect("web-1"), grants.connect("worker-1"), grants.connect("ops")
    handle = web.submit(SUBMIT_JOB_BG, b"mail", b"", b"w")
    worker.send(CAN_DO, b"mail")
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"mail", b"w")
    grants.reload(TABLES.replace('work = ["mail*"]', 'work = ["post*"]'))
    worker.send(WORK_COMPLETE, handle, b"stolen")
    worker.expect_nothing()
    assert other.show(handle)["state"] == "queued"
    other.send(CAN_DO, b"mail")
    other.send(GRAB_JOB)
    other.expect(JOB_ASSIGN, handle, b"mail", b"w")
    assert worker.ask(GRAB_JOB) == (NO_JOB, b"")
    web.expect_nothing()


def test_a_right_that_is_given(grants: Grants) -> None:
    """A worker that has asked in vain, and sleeps, is woken."""
    web, worker = grants.connect("web-1"), grants.connect("worker-1")
    handle = web.submit(SUBMIT_JOB_BG, b"resize", b"", b"w")
    worker.send(CAN_DO_TIMEOUT, b"resize", b"7000")
    worker.send(PRE_SLEEP)
    worker.expect_nothing()
    grants.reload(TABLES.replace('work = ["mail*"]', 'work = ["mail*", "resize"]'))
    worker.expect(NOOP)
    worker.send(GRAB_JOB)
    worker.expect(JOB_ASSIGN, handle, b"resize", b"w")
    (row,) = [row for row in grants.connect("ops").manage("workers") if row["functions"]]
    assert (row["timeouts"], row["denied"]) == ({"resize": 7000}, [])


def test_the_right_to_submit_is_taken_and_given(grants: Grants) -> None:
    web = grants.connect("web-1")
    web.submit(SUBMIT_JOB_BG, b"mail", b"", b"")
    grants.reload(TABLES.replace('submit = ["mail*", "resize"]', 'submit = ["resize", "sh*"]'))
    web.send(SUBMIT_JOB_BG, b"mail", b"", b"")
    web.expect(ERROR, b"NOT_ALLOWED", b"You may not submit jobs to this function")
    web.submit(SUBMIT_JOB_BG, b"shell", b"", b"")
    grants.reload('[certificates."*"]\nrole = "user"\n')
    web.submit(SUBMIT_JOB_BG, b"anything", b"", b"")
    grants.reload('[certificates."worker*"]\nrole = "worker"\n')
    web.expect_closed()


def test_a_new_certificate_is_for_new_connections(grants: Grants, authority: Authority) -> None:
    grants.reload("")
    before = grants.connect("web-1")
    authority.issue("renewed", ["DNS:localhost"])
    grants.reload("", cert="renewed.pem")
    wire = grants.connect("web-1")
    assert isinstance(wire.socket, ssl.SSLSocket) and isinstance(before.socket, ssl.SSLSocket)
    assert ((("commonName", "renewed"),),) == (wire.socket.getpeercert() or {})["subject"]
    assert ((("commonName", "server"),),) == (before.socket.getpeercert() or {})["subject"]
    before.expect_nothing()


def test_a_handshake_goes_on(grants: Grants, authority: Authority) -> None:
    context = trusting(authority, authority.directory / "web-1.pem")
    with socket.create_connection((HOST, grants.server.find_port("tls:")), TIMEOUT) as wire:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        wire.sendall(outgoing.read())
        incoming.write(wire.recv(65536))
        grants.reload(TABLES + "\n")
        tls.do_handshake()
        tls.write(b"version\n")
        wire.sendall(outgoing.read())
        incoming.write(wire.recv(65536))
        assert tls.read().startswith(b"OK ")


def test_certificates_that_are_asked_for_from_now_on(grants: Grants, authority: Authority) -> None:
    grants.reload("", ca="")
    stranger, known = secure(grants.server, trusting(authority)), grants.connect("web-1")
    stranger.expect_nothing()
    known.expect_nothing()
    grants.reload(TABLES)
    stranger.expect_closed()
    known.expect_closed()  # it was not asked for its certificate
    assert f"closed the connection of {HOST}: it has no certificate" in grants.server.log


def test_a_socket_that_systemd_passes(start_server: StartServer, authority: Authority) -> None:
    with socket.create_server((HOST, 0)) as sock:
        place = f"{HOST}:{sock.getsockname()[1]}"
        options = (f"--tls-cert={authority.directory}/server.pem",)
        server = start_server(*options, listen=[f"tls:{place},role=client"], passed=[sock])
    assert f"listening on tls:{place}, role client (from systemd)" in server.log
    wire = server.connect((HOST, int(place.partition(":")[2])), trusting(authority))
    wire.submit(SUBMIT_JOB_BG, b"f", b"", b"")
    assert "for administrators" in wire.refused("pause")


def test_a_reload_of_bad_files_changes_nothing(grants: Grants, authority: Authority) -> None:
    web = grants.connect("web-1")
    authority.issue("outdated", ["DNS:localhost"], days=-1)
    for tables, cert, sentence in (
        (TABLES, "outdated.pem", f"tls_cert: {authority.directory}/outdated.pem: the certificate is not good"),
        (TABLES, "none.pem", f"tls_cert: {authority.directory}/none.pem: No such file or directory"),
        ('[certificates."w"]\nrole = "boss"\n', "server.pem", f"{grants.file}: [certificates.\"w\"]: role: 'boss' is"),
    ):
        grants.write(tables, cert)
        grants.server.signal(signal.SIGHUP)
        grants.server.expect_log(f"the configuration was not reloaded: {sentence}")
        web.submit(SUBMIT_JOB_BG, b"mail", b"", b"")
        grants.connect("web-2").submit(SUBMIT_JOB_BG, b"mail", b"", b"")


# Files that are not fit for it


@pytest.fixture(scope="module")
def files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates and keys that are wrong in all the ways there are."""
    here = authority.directory
    authority.issue("old", days=-1)
    authority.issue("of a client", use="clientAuth")
    (here / "text").write_text("no certificate\n")
    (here / "damaged.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    authority.openssl("ec", "-in", "server.key", "-aes256", "-passout", "pass:secret", "-out", "locked.key")
    (here / "ca.ext").write_text("basicConstraints=critical,CA:TRUE\n")
    authority.openssl("req", *EC, "-subj", "/CN=old CA", "-keyout", "old-ca.key", "-out", "old-ca.csr")
    authority.openssl("x509", "-req", "-in", "old-ca.csr", "-signkey", "old-ca.key", "-days", "-1",
                      "-extfile", "ca.ext", "-out", "old-ca.pem")  # fmt: skip
    return here


@pytest.mark.parametrize(
    "options, sentence",
    [
        ([], f"listen: tls:{HOST}:4999 needs a certificate; name its file with tls_cert (and tls_key)"),
        (["cert=none"], "tls_cert: FILE: No such file or directory; this process has to be able to read it"),
        (["cert=."], "tls_cert: FILE: Is a directory; this process has to be able to read it"),
        (["cert=text"], "tls_cert: FILE: there is no certificate in PEM in it"),
        (["cert=server.crt"], "tls_cert: FILE: there is no private key in PEM in it; name its file with tls_key"),
        (["cert=server.crt", "key=text"], "tls_key: FILE: there is no private key in PEM in it; name its file with"),
        (["cert=server.crt", "key=old.key"], "tls_key: FILE: this is not the key of the certificate in "),
        (["cert=server.crt", "key=locked.key"], "tls_key: FILE: the key is locked; store it without a passphrase"),
        (["key=server.key", "cert=damaged.pem"], "tls_cert: FILE: this file or "),
        (["cert=old.pem"], "tls_cert: FILE: the certificate is not good: certificate has expired; make a new one"),
        (["cert=of a client.pem"], "tls_cert: FILE: the certificate is not good: unsuitable certificate purpose; "),
        (["cert=server.pem", "ca=none"], "tls_ca: FILE: No such file or directory; this process has to be able to"),
        (["cert=server.pem", "ca=text"], "tls_ca: FILE: there is no certificate in PEM in it"),
        (["cert=server.pem", "ca=damaged.pem"], "tls_ca: FILE: it is damaged"),
        (["cert=server.pem", "ca=server.crt"], "tls_ca: FILE: there is no certificate of a CA in it"),
        (["cert=server.pem", "ca=old-ca.pem"], "tls_ca: FILE: the certificate of the CA has expired; make a new one"),
    ],
)  # fmt: skip
def test_what_keeps_a_server_from_starting(files: Path, options: list[str], sentence: str) -> None:
    given = dict(option.split("=") for option in options)
    flags = {f"tls_{name}": str(files / value) for name, value in given.items()}
    last = list(flags.values())[-1] if flags else ""
    with pytest.raises(ConfigError) as caught:
        of_server(load_config({"listen": [f"tls:{HOST}:4999"], **flags}, {})[0])
    assert str(caught.value).startswith(sentence.replace("FILE", last)), caught.value


def test_a_server_with_bad_files_ends_before_it_opens_its_database(files: Path, tmp_path: Path) -> None:
    options = (f"--listen=tls:{HOST}:0", f"--tls-cert={files}/old.pem", f"--db={tmp_path}/x.db")
    sentence = f"gearstore: tls_cert: {files}/old.pem: the certificate is not good: certificate has expired"
    for more in ((), ("--check-config",)):
        failed = run_serve(*options, *more, cwd=tmp_path)
        assert (failed.returncode, failed.stdout) == (2, "")
        assert failed.stderr == f"{sentence}; make a new one\n"
    assert not (tmp_path / "x.db").exists()


def test_a_certificate_that_is_to_expire_and_one_that_is_not_used_are_told_of(
    start_server: StartServer, authority: Authority
) -> None:
    certificate = f"--tls-cert={authority.directory}/server.pem"
    server = start_server(certificate, "--tls", listen=[f"{HOST}:0"])
    assert f"the certificate in {authority.directory}/server.pem expires on 20" in server.log
    assert server.find_port("tls:")
    server = start_server(certificate)
    assert "there is a certificate, but no address speaks TLS: write tls: before those that shall" in server.log
