"""Every command speaks TLS, with a certificate if it is asked for one, and says what is wrong when it can't."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.servers import HOST, Running, Server, eventually, free_port
from tests.authority import Authority
from tests.cli.conftest import COMMAND, Cli, run_here


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of server and clients."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    authority.issue("client", use="clientAuth")
    return authority


@pytest.fixture(scope="module")
def tls_port() -> int:
    """The port on which the server speaks TLS."""
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority, tls_port: int) -> Iterator[Server]:
    """A server that speaks TLS with those who have a certificate, and plain text beside it."""
    options = ["--listen", f"tls:{HOST}:{tls_port}", "--tls-cert", authority.server(), "--tls-ca", authority.ca]
    running = Server(tmp_path_factory.mktemp("server"), "gearstore", list(map(str, options)))
    yield running
    running.process.kill()


@pytest.fixture
def secure(gearstore: Cli, authority: Authority, tls_port: int) -> Cli:
    """The command with a certificate, against the port that speaks TLS."""
    gearstore.address = f"tls:localhost:{tls_port}"
    gearstore.environment |= {
        "GEARSTORE_SERVER": gearstore.address,
        "GEARSTORE_TLS_CA": str(authority.ca),
        "GEARSTORE_TLS_CERT": str(authority.directory / "client.crt"),
        "GEARSTORE_TLS_KEY": str(authority.directory / "client.key"),
    }
    return gearstore


def test_a_job_and_everything_about_it(secure: Cli, function: str) -> None:
    (handle,) = secure.printed("submit", function, "a workload")
    assert secure.printed("status", "--function", function) == [f"{function}\t1\t0\t0", "."]
    assert secure.printed("jobs", "--function", function)[0].startswith(handle)
    assert "a workload" in "\n".join(secure.printed("show", handle))
    assert secure.printed("cancel", handle)[0].startswith(handle)
    assert secure.printed("tail", "--function", function)[0].endswith("cancelled")
    assert secure.printed("workers")
    assert "tls_ca" in "\n".join(secure.printed("config", "show"))
    assert secure.printed("export", "--function", function)


def test_a_worker_and_a_command_that_submits_to_the_same_server(secure: Cli, function: str) -> None:
    submit = f"{' '.join(COMMAND)} submit {function}_next $GEARSTORE_HANDLE"
    worker = secure.spawn("work", function, "--count", "1", "--", "sh", "-c", submit)
    secure.server.expect_workers(function)
    result = secure("submit", function, "--wait", given=b"")
    assert result.code == 0 and result.output.startswith("H:")
    assert worker.wait() == 0
    assert secure.printed("status", "--function", f"{function}_next")[0] == f"{function}_next\t1\t0\t0"


def test_what_happens_is_followed(secure: Cli, function: str) -> None:
    (before,) = secure.printed("submit", function)
    secure.printed("cancel", before)
    follower = secure.spawn("tail", "-f", "--function", function)
    eventually(lambda: follower.lines, what=lambda: follower.log)  # what has ended, and from then on all that happens
    (handle,) = secure.printed("submit", function)
    eventually(lambda: any(handle in line for line in follower.lines), what=lambda: follower.log)


def test_the_screen(secure: Cli, function: str) -> None:
    secure.printed("submit", function)
    result = secure.on_terminal("top", typed="q", when=function)
    assert result.code == 0
    assert "Functions by queued" in result.output


def test_flags_instead_of_variables(secure: Cli, authority: Authority) -> None:
    flags = [
        *("--server", secure.address, "--tls-ca", str(authority.ca)),
        *("--tls-cert", str(authority.directory / "client.pem")),
    ]
    assert run_here(["status", *flags]).code == 0


# What is wrong


@pytest.mark.parametrize(
    "changes, code, sentence",
    [
        ({"TLS_CA": None}, 3, "no server at SECURE: the certificate is of a CA that is not known here; tls_ca "),
        ({"SERVER": "tls:127.0.0.2:PORT"}, 3, "no server at tls:127.0.0.2:PORT: Connection refused; is it running?"),
        ({"SERVER": "tls:127.0.0.1:PLAIN"}, 3, "no server at tls:127.0.0.1:PLAIN: it does not speak TLS there"),
        ({"SERVER": "127.0.0.1:PORT"}, 3, "the server at 127.0.0.1:PORT speaks TLS: write tls:127.0.0.1:PORT"),
        ({"TLS_CERT": None, "TLS_KEY": None}, 3, "connection to SECURE lost: it wants a certificate, and we have sent"),
        ({"TLS_CERT": None}, 2, "--tls-key: HERE/client.key: a key without its certificate; name that with tls_cert"),
        ({"TLS_CA": "none"}, 2, "--tls-ca: none: No such file or directory; this process has to be able to read it"),
        ({"TLS_KEY": "HERE/server.key"}, 2, "--tls-key: HERE/server.key: this is not the key of the certificate in"),
        ({"SERVER": "queue.example.org:1"}, 2, "--tls-ca is given, but queue.example.org:1 means plain text: write "),
    ],
)  # fmt: skip
def test_what_is_wrong(
    secure: Cli, authority: Authority, tls_port: int, changes: dict[str, str | None], code: int, sentence: str
) -> None:
    def here(text: str) -> str:
        names = {
            "SECURE": secure.address,
            "PORT": tls_port,
            "PLAIN": secure.server.port,
            "HERE": authority.directory,
        }
        for name, ours in names.items():
            text = text.replace(name, str(ours))
        return text

    for name, value in changes.items():
        secure.environment[f"GEARSTORE_{name}"] = here(value or "")
    result = secure("status")
    assert (result.code, result.output) == (code, "")
    assert result.errors.startswith(f"gearstore: {here(sentence)}"), result.errors
    assert result.errors.count("\n") == 1


def test_another_name_than_in_the_certificate(secure: Cli, authority: Authority, tmp_path: Path) -> None:
    port = free_port()
    authority.issue("elsewhere", ["DNS:elsewhere.example.org"])
    options = ("--listen", f"tls:{HOST}:{port}", "--tls-cert", f"{authority.directory}/elsewhere.pem")
    other = Server(tmp_path, "gearstore", options)
    try:
        result = secure("status", "--server", f"tls:localhost:{port}")
    finally:
        other.process.kill()
    assert result.code == 3
    assert "the certificate is not good: Hostname mismatch, certificate is not valid for 'localhost'" in result.errors


def test_a_worker_without_a_certificate_says_why_and_goes_on(secure: Cli, function: str) -> None:
    del secure.environment["GEARSTORE_TLS_CERT"], secure.environment["GEARSTORE_TLS_KEY"]
    worker: Running = secure.spawn("work", function, "--", "true")
    eventually(lambda: "it wants a certificate, and we have sent none; trying again in" in worker.log, what=worker.log)
    assert worker.alive


def test_a_configuration_with_bad_certificates(gearstore: Cli, authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "gearstore.toml"
    file.write_text(f'listen = ["tls:*"]\ntls_cert = "{authority.directory}/client.pem"\n')
    result = gearstore("config", "check", "--config", str(file))
    assert (result.code, result.output) == (2, "")
    assert result.errors == (
        f"gearstore: tls_cert: {authority.directory}/client.pem: the certificate is not good: unsuitable certificate "
        "purpose; make a new one\n"
    )
    authority.server()
    file.write_text(file.read_text().replace("client.pem", "server.pem"))
    assert gearstore.printed("config", "check", "--config", str(file)) == ["ok"]
