"""The socket client: addresses, answers in pieces, and servers that are not what they seem."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearstore.protocol.packets import ECHO_RES, JOB_ASSIGN_UNIQ, WORK_FAIL, response
from gearstore_cli.client import Connection, address_of, encode_request
from gearstore_cli.errors import CommandError, NotGearstore, Refused, Unreachable, UsageError
from tests.acceptance.servers import HOST, free_port

Speak = Callable[..., Connection]


@pytest.fixture
def speak() -> Iterator[Speak]:
    """Return a connection to a peer that says these bytes, one send each, and closes."""
    open_ones: list[Connection] = []

    def start(*pieces: bytes) -> Connection:
        listener = socket.create_server((HOST, 0))

        def serve() -> None:
            with listener, listener.accept()[0] as peer:
                for piece in pieces:
                    peer.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        open_ones.append(Connection(f"{HOST}:{listener.getsockname()[1]}"))
        thread.join()
        return open_ones[-1]

    yield start
    for each in open_ones:
        each.close()


def test_packets_are_cut_at_their_own_ends(speak: Speak) -> None:
    packet = response(JOB_ASSIGN_UNIQ, b"H:h:1", b"f", b"", b"a\0b\0")
    following = response(WORK_FAIL, b"H:h:1") + response(ECHO_RES, b"x\0y")
    connection = speak(*(bytes([byte]) for byte in packet), following)
    assert connection.receive() == (JOB_ASSIGN_UNIQ, [b"H:h:1", b"f", b"", b"a\0b\0"])
    assert connection.receive() == (WORK_FAIL, [b"H:h:1"])
    assert connection.receive() == (ECHO_RES, [b"x\0y"])
    with pytest.raises(Unreachable, match="closed the connection"):
        connection.receive()


def test_text_is_kept_as_it_came(speak: Speak) -> None:
    text = b"f\xff\t1\t0\t0\nERR x\t2\t0\t0\n.\n"
    assert speak(text[:5], text[5:]).text(b"status") == text


def test_rows_of_a_verb(speak: Speak) -> None:
    rows = speak(b'{"handle": "H:h:1"}\n{"function": "\\udcff"}\n.\n').manage("jobs")
    assert list(rows) == [{"handle": "H:h:1"}, {"function": "\udcff"}]


@pytest.mark.parametrize(
    ("line", "failure", "code", "text"),
    [
        (b"ERR not_found there is no job H:h:1\n", CommandError, 1, "there is no job H:h:1"),
        (b"ERR usage jobs has no key 'x'\r\n", UsageError, 2, "jobs has no key 'x'"),
        (b"ERR refused not from here\n", Refused, 4, "not from here"),
        (b"ERR store disk full\n", Refused, 4, "disk full"),
        (b"ERR whatever\n", Refused, 4, "whatever"),
        (b"ERR UNKNOWN_COMMAND Unknown+server+commandgearstore\r\n", NotGearstore, 4, "is not gearstore"),
    ],
)
def test_errors_of_a_verb(speak: Speak, line: bytes, failure: type[CommandError], code: int, text: str) -> None:
    rows = speak(b'{"handle": "H:h:1"}\n' + line).manage("jobs")
    assert next(rows) == {"handle": "H:h:1"}
    with pytest.raises(failure, match=text) as caught:
        next(rows)
    assert caught.value.exit_code == code


@pytest.mark.parametrize("ask", [lambda c: c.receive(), lambda c: list(c.manage("status"))])
def test_a_server_of_something_else(speak: Speak, ask: Callable[[Connection], object]) -> None:
    with pytest.raises(Unreachable, match="does not speak Gearman"):
        ask(speak(b"HTTP/1.1 400 Bad Request\r\n\r\n"))


def test_a_request_is_one_word() -> None:
    line = encode_request({"error": "no such file or directory\n", "unique": "\udcff"})
    assert b" " not in line
    assert b"\n" not in line
    assert line == b'{"error":"no\\u0020such\\u0020file\\u0020or\\u0020directory\\n","unique":"\\udcff"}'


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        Connection(f"{HOST}:{free_port()}")
    with pytest.raises(Unreachable, match="No such file"):
        Connection("unix:/nonexistent/socket")


@pytest.mark.parametrize("text", ["", "a b", "host:port", "[::1", "host:99999", "unix:"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="--server"):
        address_of(text)


def test_commands_do_not_wait_for_asyncio() -> None:
    """To load it would be a tenth of the time that `gearstore status` takes."""
    script = "import sys, gearstore_cli.main; print('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"False\n"


def test_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with Connection(f"unix:{tmp_path}/s") as connection, listener.accept()[0] as peer:
            peer.sendall(b".\n")
            assert connection.text(b"status") == b".\n"
