"""Roles, what is granted to certificates, and how both are written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearstore.access import (
    EVERY,
    KEYS,
    NONE,
    REMEMBERED,
    ROLES,
    Functions,
    Grants,
    parse_listen,
    read_grants,
    write_listen,
)
from gearstore.address import Address
from gearstore.config import Config, load_config, reload_config
from gearstore.errors import ConfigError

WriteFile = Callable[[str], Path]

TABLES: dict[str, Any] = {
    "web*": {"submit": ["mail*", "resize"]},
    "web-9": {"submit": []},
    "worker*": {"work": ["*"]},
    "*.ops": {"role": "admin"},
    "dev*": {"role": "user", "work": ["test*"]},
    "all": {"role": "user", "submit": ["*"]},
}


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Write a configuration file and return its path."""

    def write_file(text: str) -> Path:
        file = tmp_path / "gearstore.toml"
        file.write_text(text)
        return file

    return write_file


def refusal(file: Path | None, **flags: Any) -> str:
    """Return the sentence with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load_config(flags, {}, file)
    return str(caught.value)


# Functions


def test_globs_of_functions() -> None:
    functions = Functions(("mail*", "a[bc]", "é?"))
    for _ in range(2):
        assert b"mail" in functions and b"mailer" in functions and b"ab" in functions and "éx".encode() in functions
        assert (
            b"Mail" not in functions and b"xmail" not in functions and b"" not in functions and b"ad" not in functions
        )
    assert b"\xff\n" in Functions(("*",)) and b"\xffx" in Functions(("?x",))
    assert b"" not in NONE and b"" in EVERY
    assert EVERY.all and not NONE.all and not functions.all


def test_what_is_remembered_of_names_is_bounded() -> None:
    functions = Functions(("a*",))
    for number in range(REMEMBERED + 10):
        assert b"a%d" % number in functions
    assert len(functions._met) <= REMEMBERED


# Certificates


@pytest.mark.parametrize(
    "names, submit, work, read, manage",
    [
        (["web-1"], ("mail*", "resize"), (), False, False),
        (["web-9"], (), (), False, False),
        (["worker-1"], (), ("*",), False, False),
        (["a.ops"], ("*",), ("*",), True, True),
        (["dev-1"], ("*",), ("test*",), False, False),
        (["all"], ("*",), ("*",), True, False),
        (["web-1", "worker-1"], ("mail*", "resize"), ("*",), False, False),
        (["worker", "x.ops"], ("*",), ("*",), True, True),
    ],
)
def test_what_is_granted(names: list[str], submit: Any, work: Any, read: bool, manage: bool) -> None:
    rights = read_grants("file", TABLES).of(tuple(names))
    assert rights is not None
    assert (rights.submit.globs, rights.work.globs, rights.read, rights.manage) == (submit, work, read, manage)
    assert rights.limited == (submit != ("*",) or work != ("*",))


def test_to_whom_nothing_is_granted() -> None:
    grants = read_grants("file", TABLES)
    assert grants.of(("Web-1",)) is None and grants.of(("stranger", "10.0.0.1")) is None and grants.of(()) is None
    assert not Grants() and Grants().of(("web",)) is None


def test_a_table_that_says_nothing_grants_counts() -> None:
    assert read_grants("file", {"*": {}}).of(("x",)) == ROLES["monitor"].rights


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("certificates = 5", "certificates is not a table; write [certificates."),
        ('[certificates]\nweb = "mail"', "[certificates]: web = 'mail' is granted to nobody; write [certificates."),
        ('[certificates."w"]\nrol = "user"', '[certificates."w"]: rol is not a key of it; did you mean role?'),
        ('[certificates."w"]\nrole = "root"', "[certificates.\"w\"]: role: 'root' is not one of admin, user, client"),
        ('[certificates."w"]\nsubmit = [5]', '[certificates."w"]: submit: 5 is not a glob of functions such as mail*'),
        ('[certificates."w"]\nwork = [""]', "[certificates.\"w\"]: work: '' is not a glob of functions"),
        ('[certificates.web.example.org]\nwork = ["a"]', 'is a table; quote a name with dots: [certificates."web.'),
        ('[certificates."w"]\nwork = ["a"]', "[certificates]: nobody is asked for a certificate; name the file"),
    ],
)
def test_what_is_wrong_with_a_table(write: WriteFile, text: str, sentence: str) -> None:
    assert sentence in refusal(write(text))


def test_a_single_glob_needs_no_list(write: WriteFile) -> None:
    config, _ = load_config({}, {}, write('tls_ca = "ca"\n[certificates."w"]\nwork = "mail*"\n'))
    rights = config.grants.of(("w",))
    assert rights is not None and rights.work == Functions(("mail*",))


def test_grants_and_files_are_reloaded(write: WriteFile) -> None:
    config, _ = load_config({}, {}, write('tls_ca = "ca"\n[certificates."w"]\n'))
    write('tls_ca = "other"\n[certificates."v"]\n')
    new, warnings = reload_config(config, {})
    assert (new.tls_ca, warnings) == (Path("other").absolute(), [])
    assert new.grants.of(("w",)) is None and new.grants.of(("v",)) is not None


def test_every_key_and_role_is_explained() -> None:
    assert [key.name for key in KEYS] == ["role", "submit", "work"]
    assert all(role.help in KEYS[0].help for role in ROLES.values())


# Listeners


def load(*listen: str, **flags: Any) -> Config:
    """Return a configuration that listens on these addresses."""
    return load_config({"listen": list(listen), **flags}, {})[0]


@pytest.mark.parametrize(
    "text, address",
    [
        ("localhost,role=user", Address("localhost", 4730, role="user")),
        ("tls:[::1]:5,role=worker", Address("::1", 5, tls=True, role="worker")),
        ("unix:/s,role=client", Address(port=0, path="/s", role="client")),
        ("*", Address("", 4730)),
    ],
)
def test_addresses_with_roles(text: str, address: Address) -> None:
    assert parse_listen(text) == address
    assert parse_listen(write_listen(address)) == address


def test_roles_in_variables_and_files(write: WriteFile) -> None:
    wanted = ["127.0.0.1:4730", "tls:*:4731,role=user", "unix:/s,role=admin"]
    text = "127.0.0.1, tls:*:4731,role=user unix:/s,role=admin"
    config = load_config({"tls_cert": "c"}, {"GEARSTORE_LISTEN": text})[0]
    assert list(map(write_listen, config.listen)) == wanted
    config = load_config({}, {}, write(f"tls_cert = 'c'\nlisten = {wanted}"))[0]
    assert list(map(write_listen, config.listen)) == wanted


def test_tls_on_every_address() -> None:
    config = load("a", "tls:b", "unix:/s", tls=True, tls_cert="c")
    assert list(map(str, config.listen)) == ["tls:a:4730", "tls:b:4730", "unix:/s"]


def test_a_place_is_named_once() -> None:
    assert len(load("a:1", "a:1", "a:2,role=user").listen) == 2
    assert len(load(*["127.0.0.1:0,role=user", "127.0.0.1:0"]).listen) == 2  # two ports
    sentence = "listen: a:1 is named twice, with different roles or with and without TLS"
    assert refusal(None, listen=["a:1", "a:1,role=user"]) == sentence
    assert refusal(None, listen=["a:1", "tls:a:1"], tls_cert="c") == sentence


def test_tls_needs_a_certificate() -> None:
    assert "listen: tls:a:4730 needs a certificate" in refusal(None, listen=["tls:a"])
    assert "listen: tls:127.0.0.1:4730 needs a certificate" in refusal(None, tls=True)
