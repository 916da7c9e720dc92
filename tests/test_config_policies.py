"""The tables of functions in the configuration file, and what is set for all of them by options."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gearstore.access import KEYS as GRANT_KEYS
from gearstore.access import ROLES
from gearstore.config import Config, load_config, reload_config
from gearstore.errors import ConfigError
from gearstore.kinds import LARGEST_RESULT
from gearstore.policies import KEYS
from gearstore.queue.policy import FOREVER, NOTHING, Backoff, Keep, Policy
from gearstore.settings import as_file, options_of, policy_of, sample, table_name

DAY = 86_400_000
WriteFile = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    """Write a configuration file."""

    def write_file(text: str) -> Path:
        file = tmp_path / "gearstore.toml"
        file.write_text(text, "utf-8")
        return file

    return write_file


@pytest.fixture
def read(write: WriteFile) -> Callable[[str], Config]:
    """Return the configuration that a file describes."""
    return lambda text: load_config({}, {}, write(text))[0]


@pytest.fixture
def policy(read: Callable[[str], Config]) -> Callable[[str], Policy]:
    """Return the policy of the function f with these lines in its table."""
    return lambda lines: read(f'[functions."f"]\n{lines}\n').policies.of(b"f")


@pytest.fixture
def refusal(write: WriteFile) -> Callable[[str], str]:
    """Return what is said about a file, without the file's name."""

    def refuse(text: str) -> str:
        file = write(text)
        with pytest.raises(ConfigError) as caught:
            load_config({}, {}, file)
        name, sentence = str(caught.value).split(": ", 1)
        assert name.partition(", line ")[0] == str(file)
        return sentence

    return refuse


def test_the_table_and_the_policy_name_the_same_keys() -> None:
    assert [key.name for key in KEYS] == list(Policy.__dataclass_fields__)


def test_without_a_file_the_options_decide() -> None:
    found = load_config({"job_retries": "3", "keep_failed": "90d"}, {"GEARSTORE_STORE_RESULT": "1K"})[0].policies.of(
        b"f"
    )
    assert (found.max_attempts, found.keep_failed, found.store_result) == (3, Keep(age=90 * DAY), 1024)
    assert found.keep_done == Keep(age=7 * DAY, count=1_000_000, bytes=1 << 30)
    assert found.retry_on == {b"timeout", b"lost"}


def test_a_whole_table(policy: Callable[[str], Policy]) -> None:
    found = policy(
        """
        max_attempts = 10
        backoff = { first = "10s", factor = 3, limit = "30m", jitter = 0 }
        retry_on = ["fail", "exception", "timeout", "lost"]
        timeout = "1h30m"
        on_restart = "hold"
        max_queue = 1000
        concurrency = 2
        keep_done = { age = "1d", count = 5, bytes = "1T" }
        keep_failed = "30d"
        store_result = "1M"
        """
    )
    assert found == Policy(
        max_attempts=10,
        backoff=Backoff(10_000, 3, 1_800_000, 0),
        retry_on=frozenset((b"fail", b"exception", b"timeout", b"lost")),
        timeout=5_400_000,
        on_restart="hold",
        max_queue=1000,
        concurrency=2,
        keep_done=Keep(DAY, 5, 1 << 40),
        keep_failed=Keep(age=30 * DAY),
        store_result=1 << 20,
    )


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("backoff = '10s'", Backoff(10_000)),
        ("backoff = 10", Backoff(10_000)),
        ("backoff = 'first=10s, factor=1.5'", Backoff(10_000, 1.5)),
        ("backoff = '2h'", Backoff(7_200_000, limit=7_200_000)),
        ("backoff = { first = 90 }", Backoff(90_000)),
        ("backoff = 'none'", None),
        ("backoff = 0", None),
        ("keep_done = 'forever'", FOREVER),
        ("keep_done = 'none'", NOTHING),
        ("keep_done = 0", NOTHING),
        ("keep_done = '0'", NOTHING),
        ("keep_done = '7d'", Keep(age=7 * DAY)),
        ("keep_done = 'age=7d,bytes=1G'", Keep(age=7 * DAY, bytes=1 << 30)),
        ("keep_done = { count = 0 }", NOTHING),
        ("keep_failed = { bytes = 1024 }", Keep(bytes=1024)),
        ("store_result = true", LARGEST_RESULT),
        ("store_result = false", 0),
        ("store_result = 1", 1),
        ("store_result = 'no'", 0),
        ("retry_on = []", frozenset()),
        ("retry_on = 'Fail'", frozenset((b"fail",))),
        ("timeout = 90", 90_000),
        ("timeout = 1.5", 1500),
    ],
)
def test_forms_of_values(policy: Callable[[str], Policy], line: str, value: Any) -> None:
    assert getattr(policy(line), line.split()[0]) == value


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("max_attempt = 3", '[functions."f"]: max_attempt is not a key of a policy; did you mean max_attempts?'),
        ("colour = 3", "colour is not a key of a policy; the keys are max_attempts, backoff, retry_on, timeout, "),
        ("max_attempts = -1", '[functions."f"]: max_attempts: -1 is not a whole number from 0 to '),
        ("max_attempts = true", "max_attempts: True is not a whole number"),
        ("concurrency = 'many'", "concurrency: 'many' is not a whole number"),
        ("retry_on = ['crash']", "retry_on: 'crash' is not one of fail, exception, timeout, lost"),
        ("retry_on = [1]", "retry_on: 1 is not one of fail"),
        ("retry_on = 5", "retry_on: 5 is not a list of one of fail"),
        ("timeout = 'soon'", "timeout: 'soon' is not a duration such as 90s, 10m, 1h30m or 7d"),
        ("timeout = -1", "timeout: -1 is not a duration"),
        ("on_restart = 'drop'", "on_restart: 'drop' is not one of requeue, hold"),
        ("backoff = 'x'", "backoff: 'x' is not a duration such as 10s, a table such as { first = '10s', "),
        ("backoff = { first = 'x' }", "backoff.first: 'x' is not a duration"),
        ("backoff = { factor = 2 }", "backoff: first is missing; write { first = '10s' }"),
        ("backoff = { first = '1h', limit = '1m' }", "backoff: limit is shorter than first"),
        ("backoff = { first = '1s', factor = 0.5 }", "backoff.factor: 0.5 is not a number from 1 to 1000"),
        ("backoff = { first = '1s', jitter = 2 }", "backoff.jitter: 2 is not a number from 0 to 1"),
        ("backoff = { first = '1s', jitter = nan }", "backoff.jitter: nan is not a number from 0 to 1"),
        ("backoff = { first = '1s', limits = '1m' }", "backoff: limits is not a key of it; did you mean limit?"),
        ("keep_done = 7", "keep_done: 7 is not a duration such as 7d, a table such as { age = '7d', "),
        ("keep_done = '7'", "keep_done: '7' is not a duration"),
        ("keep_done = true", "keep_done: True is not a duration"),
        ("keep_done = {}", "keep_done: the table is empty; give it age, count or bytes"),
        ("keep_done = { days = 7 }", "keep_done: days is not a key of it; the keys are age, count, bytes"),
        ("keep_done = { age = 'x' }", "keep_done.age: 'x' is not a duration"),
        ("keep_done = 'age=7d,bytes'", "keep_done.bytes: '' is not a number of bytes"),
        ("keep_done = { age = { days = 1 } }", "keep_done.age: {'days': 1} is not a duration"),
        ("store_result = '1G'", "'1G' is not true, false, or the size of the largest result to keep, up to 32M"),
        ("g.timeout = 5", '[functions."f"]: g is a table; quote a function with dots: [functions."f.g"]'),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_table_key_and_what_is_right(
    refusal: Callable[[str], str], lines: str, sentence: str
) -> None:
    found = refusal(f'[functions."f"]\n{lines}\n')
    assert found.startswith('[functions."f"]: ')
    assert sentence in found


def test_tables_that_name_no_function(refusal: Callable[[str], str]) -> None:
    assert refusal("functions = 5") == (
        'functions is not a table; write [functions."GLOB"], '
        "with the keys for the functions that the glob matches below it"
    )
    assert refusal("[functions]\ntimeout = '5s'").startswith(
        "[functions]: timeout = '5s' is set for no function; write "
    )
    assert refusal("[function.f]") == "function is not an option of gearstore; did you mean functions?"


def test_later_tables_win_key_by_key(read: Callable[[str], Config]) -> None:
    policies = read(
        """
        job_retries = 2
        [functions."*"]
        timeout = "1m"
        [functions."import*"]
        timeout = "2m"
        concurrency = 3
        [functions."import_big"]
        concurrency = 1
        max_attempts = 9
        """
    ).policies
    big, small, other = (policies.of(name) for name in (b"import_big", b"import_small", b"other"))
    assert (big.timeout, big.concurrency, big.max_attempts) == (120_000, 1, 9)
    assert (small.timeout, small.concurrency, small.max_attempts) == (120_000, 3, 2)
    assert (other.timeout, other.concurrency, other.max_attempts) == (60_000, 0, 2)


def test_a_reload_takes_new_policies_and_refuses_wrong_ones(write: WriteFile) -> None:
    config = load_config({}, {}, write('[functions."f"]\ntimeout = "1s"\n'))[0]
    write('keep_done = "1d"\n[functions."f"]\ntimeout = "2s"\n')
    new, warnings = reload_config(config, {})
    assert (new.policies.of(b"f").timeout, new.policies.of(b"f").keep_done, warnings) == (2000, Keep(age=DAY), [])
    write('[functions."f"]\ntimeout = "x"\n')
    with pytest.raises(ConfigError):
        reload_config(new, {})


def test_each_value_tells_where_it_came_from(write: WriteFile) -> None:
    file = write("port = 1\nkeep_done = '1d'\n[functions.'a*']\ntimeout = '5s'\n[functions.'ab']\nmax_queue = 3\n")
    config = load_config({"backlog": "5"}, {"GEARSTORE_JOB_RETRIES": "4", "GEARMAND_PORT": "9"}, file)[0]
    sources = {setting.name: setting.source for setting in options_of(config)}
    assert [sources[name] for name in ("backlog", "job_retries", "port", "keep_done", "window")] == [
        "--backlog", "GEARSTORE_JOB_RETRIES", "GEARMAND_PORT", str(file), "default",
    ]  # fmt: skip
    sources = {setting.name: setting.source for setting in policy_of(config, b"ab")}
    assert [sources[name] for name in ("timeout", "max_queue", "max_attempts", "keep_done", "backoff")] == [
        f'{file} [functions."a*"]',
        f'{file} [functions."ab"]',
        "job_retries, GEARSTORE_JOB_RETRIES",
        str(file),
        "default",
    ]


def test_a_value_that_a_reload_could_not_change_keeps_its_source(write: WriteFile) -> None:
    config = load_config({}, {"GEARSTORE_PORT": "1"}, write("window = 100\n"))[0]
    write("port = 2\nwindow = 200\n")
    new, _ = reload_config(config, {})
    sources = {setting.name: (setting.value, setting.source) for setting in options_of(new)}
    assert sources["port"] == (1, "GEARSTORE_PORT")
    assert sources["window"] == (100, str(config.file))


FULL = """
listen = ["127.0.0.1:5", "unix:/tmp/é"]
keep_done = { age = "1h30m", count = 5 }
keep_failed = "none"
store_result = true
drain_timeout = 1.5
pid_file = "/tmp/pid"
log_level = "debug"
job_handle_prefix = "H:x"
[functions."f"]
backoff = { first = "1m", factor = 1.5 }
retry_on = ["lost", "fail"]
timeout = "500ms"
keep_done = "forever"
store_result = false
"""


def test_what_is_shown_can_be_read_again(read: Callable[[str], Config]) -> None:
    config = read(FULL)
    shown = as_file(options_of(config)) + table_name("f") + "\n" + as_file(policy_of(config, b"f"))
    again = read(shown)
    assert again == Config(**{name: getattr(config, name) for name in Config.__dataclass_fields__} | {
        "policies": again.policies,  # which names more keys than FULL does
    })  # fmt: skip
    assert again.policies.of(b"f") == config.policies.of(b"f")


def test_the_table_of_a_function_matches_it_alone(read: Callable[[str], Config]) -> None:
    for name in ("f", "a*", "[x]", "?", 'quo"te', "back\\slash", "été", "tab\t"):
        policies = read(table_name(name) + "\ntimeout = 5").policies
        assert policies.of(name.encode()).timeout == 5000
        assert policies.of(b"axb").timeout == 0


def test_the_sample_sets_nothing_and_holds_every_default(read: Callable[[str], Config]) -> None:
    assert read(sample()) == load_config({}, {})[0]
    lines = [line.removeprefix("#") for line in sample().splitlines() if line.startswith("#") and line[1:2] != " "]
    of_machines = ['tls_ca = "x"', *(line for line in lines if '"FILE"' not in line and '"TEXT"' not in line)]
    config = read("\n".join(of_machines))
    assert config.policies.of(b"f") == load_config({}, {})[0].policies.of(b"f")
    assert config.grants.of(("GLOB",)) == ROLES["user"].rights
    names = {line.split(" ")[0] for line in lines}
    assert names >= {setting.name for setting in options_of(config)} | {key.name for key in (*KEYS, *GRANT_KEYS)}
