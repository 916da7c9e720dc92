"""Where the configuration comes from, what wins, and what is refused with which sentence."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearstore.address import Address
from gearstore.config import FOREIGN, OPTIONS, Config, load_config, reload_config
from gearstore.errors import ConfigError

WriteFile = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Write a configuration file and return its path."""

    def write_file(text: str) -> Path:
        file = tmp_path / "gearstore.toml"
        file.write_text(text, "utf-8")
        return file

    return write_file


def load(
    flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None, file: Path | None = None
) -> Config:
    """Return the configuration, which must load without a warning."""
    config, warnings = load_config(flags or {}, environ or {}, file)
    assert warnings == []
    return config


def refusal(
    flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None, file: Path | None = None
) -> str:
    """Return the sentence with which the configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load_config(flags or {}, environ or {}, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_table_and_the_configuration_name_the_same_options() -> None:
    fields = [field.name for field in dataclasses.fields(Config)]
    assert [*(option.name for option in OPTIONS), "policies", "grants", "flags", "file", "sources"] == fields


def test_no_flag_is_given_twice() -> None:
    groups = [*(option.flags for option in OPTIONS), *(foreign.flags for foreign in FOREIGN)]
    flags = [part for group in groups for flag in group for part in flag.split("/")]
    assert len(flags) == len(set(flags))
    assert all(option.help.endswith(".") for option in OPTIONS)


def test_defaults() -> None:
    config = load()
    assert config.listen == (Address("127.0.0.1", 4730), Address("::1", 4730, optional=True))
    assert (config.sync, config.sync_interval_ms) == ("full", None)
    assert (config.job_retries, config.max_interruptions) == (6, 5)
    assert (config.max_packet, config.max_output, config.window) == (64 << 20, 64 << 20, 65536)
    assert (config.log_level, config.log_file, config.pid_file) == (logging.INFO, "stderr", None)
    assert not config.memory
    assert config.keepalive


def test_flags_win_over_environment_over_file_over_default(write: WriteFile) -> None:
    file = write("port = 3\nbacklog = 30\nwindow = 300\n")
    config = load({"port": "1"}, {"GEARSTORE_PORT": "2", "GEARSTORE_BACKLOG": "20"}, file)
    assert (config.port, config.backlog, config.window, config.worker_wakeup) == (1, 20, 300, -1)


def test_gearmands_port_variable_counts_after_our_own() -> None:
    assert load(environ={"GEARMAND_PORT": "5"}).port == 5
    assert load(environ={"GEARMAND_PORT": "5", "GEARSTORE_PORT": "6"}).port == 6


def test_what_is_not_given_is_no_value() -> None:
    assert load({"port": None, "listen": []}, {"GEARSTORE_PORT": ""}).port == 4730


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/one:/var/lib/two", "XDG_DATA_HOME": "/data"}, "/var/lib/one/gearstore.db"),
        ({"XDG_DATA_HOME": "/data"}, "/data/gearstore/gearstore.db"),
        ({"HOME": "/home/u"}, "/home/u/.local/share/gearstore/gearstore.db"),
    ],
)
def test_the_database_of_a_user(environ: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", environ.get("HOME", "/root"))
    assert load(environ=environ).db == Path(expected)


def test_the_database_of_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert load(environ={"XDG_DATA_HOME": "/data"}).db == Path("/var/lib/gearstore/gearstore.db")


def test_the_port_goes_to_addresses_that_name_none() -> None:
    config = load({"listen": ["localhost", "10.0.0.1:5", "[::1]", "unix:/tmp/s", "localhost"], "port": "99"})
    assert [str(address) for address in config.listen] == ["localhost:99", "10.0.0.1:5", "[::1]:99", "unix:/tmp/s"]
    assert not any(address.optional for address in config.listen)
    assert [address.port for address in load({"port": "7"}).listen] == [7, 7]


def test_lists_in_environment_and_file(write: WriteFile) -> None:
    assert [a.port for a in load(environ={"GEARSTORE_LISTEN": "a:1, b:2 c:3"}).listen] == [1, 2, 3]
    assert [a.host for a in load(file=write('listen = ["a", "b"]')).listen] == ["a", "b"]
    assert [a.host for a in load(file=write('listen = "a"')).listen] == ["a"]


def test_an_empty_list_is_refused(write: WriteFile) -> None:
    assert "at least one address" in refusal(file=write("listen = []"))


@pytest.mark.parametrize(("text", "expected"), [("1M", 1 << 20), ("64k", 1 << 16), ("100000", 100000)])
def test_sizes(text: str, expected: int) -> None:
    assert load({"max_packet": text}).max_packet == expected


def test_sync() -> None:
    config = load({"sync": "interval:50"})
    assert (config.sync, config.sync_interval_ms) == ("interval:50", 50)


@pytest.mark.parametrize(
    ("word", "level"), [("FATAL", 50), ("Alert", 50), ("error", 40), ("notice", 20), ("INFO", 20), ("debug", 10)]
)
def test_log_levels_are_gearmands_words_and_pythons(word: str, level: int) -> None:
    assert load({"log_level": word}).log_level == level


def test_a_long_host_name_is_cut_so_that_handles_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("Linux", "h" * 64, "", "", "")
    monkeypatch.setattr("os.uname", lambda: __import__("os").uname_result(names))
    prefix = load().job_handle_prefix
    assert prefix.startswith(b"H:hhh")
    assert len(prefix + b":" + b"0" * 12) == 63


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "x"),
        ("port", "65536"),
        ("port", "-1"),
        ("listen", ["4730"]),
        ("listen", ["tls:"]),
        ("listen", ["localhost,role=boss"]),
        ("listen", ["localhost,roles=admin"]),
        ("sync", "none"),
        ("sync", "interval:"),
        ("sync", "interval:0"),
        ("max_packet", "1"),
        ("max_packet", "5G"),
        ("max_packet", "K"),
        ("max_output", "1T"),
        ("job_retries", "-1"),
        ("drain_timeout", "nan"),
        ("drain_timeout", "-1"),
        ("log_level", "loud"),
        ("loop", "trio"),
        ("db", ""),
        ("priority_scope", "both"),
        ("job_handle_prefix", "H:" + "x" * 49),
        ("job_handle_prefix", "a b"),
        ("job_handle_prefix", ""),
    ],
)
def test_a_bad_flag_is_named_with_what_is_expected(name: str, text: Any) -> None:
    sentence = refusal({name: text})
    assert sentence.startswith("--" + name.replace("_", "-") + ": ")
    assert " is not " in sentence


def test_a_bad_variable_is_named() -> None:
    assert refusal(environ={"GEARSTORE_PORT": "x"}).startswith("GEARSTORE_PORT: 'x' is not a whole number from 0")
    assert refusal(environ={"GEARMAND_PORT": "x"}).startswith("GEARMAND_PORT: ")
    assert refusal(environ={"GEARSTORE_MEMORY": "maybe"}) == "GEARSTORE_MEMORY: 'maybe' is not true or false"


@pytest.mark.parametrize(
    "text",
    ["port = true", "port = 'x'", "port = 1.5", "memory = 1", "db = 5", "listen = 5", "listen = [5]"]
    + ["max_packet = '1Q'", "drain_timeout = []", "port = 1979-05-27"],
)
def test_a_bad_value_in_the_file_is_named_with_file_line_and_key(write: WriteFile, text: str) -> None:
    file = write(f"# a comment\n\n{text}\n")
    assert refusal(file=file).startswith(f"{file}, line 3: {text.split()[0]}: ")


def test_numbers_and_texts_of_the_file(write: WriteFile) -> None:
    config = load(file=write("drain_timeout = 5\nmax_packet = '1M'\nround_robin = true\nlog_level = 'debug'\n"))
    assert (config.drain_timeout, config.max_packet, config.round_robin, config.log_level) == (5.0, 1 << 20, True, 10)


def test_an_unknown_key_is_refused_with_the_one_that_was_meant(write: WriteFile) -> None:
    file = write("drain-timeout = 5")
    assert refusal(file=file) == (
        f"{file}, line 1: drain-timeout is not an option of gearstore; did you mean drain_timeout?"
    )
    assert "the keys are listen, port" in refusal(file=write("colour = 1"))


@pytest.mark.parametrize("text", ["prot = 1", "  'prot' = 1", '"prot"=1', "[prot]", "[[prot]]", "prot.x = 1"])
def test_the_line_of_a_key_is_found_however_it_is_written(write: WriteFile, text: str) -> None:
    file = write(f"#prot = 1\nport = 1  # prot\n{text}\n")
    assert refusal(file=file).startswith(f"{file}, line 3: prot is not an option")


def test_files_that_cannot_be_read(write: WriteFile, tmp_path: Path) -> None:
    assert "No such file" in refusal(file=tmp_path / "none.toml")
    assert "Is a directory" in refusal(file=tmp_path)
    assert "it is TOML" in refusal(file=write("--port 4730\n--listen localhost\n"))  # gearmand's form
    binary = write("")
    binary.write_bytes(b"\xff\xfe")
    assert "UTF-8" in refusal(file=binary)


def test_the_command_line_of_debians_gearmand_is_taken_with_a_warning() -> None:
    flags = {"pid_file": "/run/g.pid", "listen": ["localhost"], "daemon": True, "log_file": "/tmp/g.log"}
    config, warnings = load_config(flags, {})
    assert (config.pid_file, config.listen) == (Path("/run/g.pid"), (Address("localhost", 4730),))
    assert len(warnings) == 1
    assert warnings[0].startswith("--daemon is gearmand's and is ignored: ")


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda foreign: foreign.name)
def test_gearmands_other_options_are_warned_of(foreign: Any) -> None:
    given = {foreign.name: "text" if foreign.takes_value else True}
    (warning,) = load_config(given, {})[1]
    assert foreign.advice in warning
    assert load_config({foreign.name: None if foreign.takes_value else False}, {})[1] == []


def test_memory_says_what_is_lost() -> None:
    config, (warning,) = load_config({"memory": True}, {})
    assert config.memory
    assert "lost" in warning


def test_a_reload_takes_what_can_change_and_names_what_cannot(write: WriteFile) -> None:
    config = load({"backlog": "5"}, file=write("job_retries = 1\nport = 1\n"))
    write("job_retries = 2\nport = 2\n")
    new, warnings = reload_config(config, {})
    assert (new.job_retries, new.port, new.backlog) == (2, 1, 5)
    assert [address.port for address in new.listen] == [1, 1]
    assert {warning.partition(":")[0] for warning in warnings} == {"port", "listen"}


def test_a_reload_of_a_broken_file_is_refused(write: WriteFile) -> None:
    config = load(file=write("port = 1"))
    write("port = ")
    with pytest.raises(ConfigError):
        reload_config(config, {})


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().port = 5  # type: ignore[misc]
