"""The one table of what can be set for functions; the file's tables `[functions."GLOB"]` are read by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gearstore.errors import ConfigError
from gearstore.kinds import BACKOFF, BIG, DURATION, KEEP, RESULT, Kind, check, choice, integer, meant, size
from gearstore.queue.policy import REASONS, Keep, Policies, Policy, Rule

__all__ = ["KEYS", "TABLE", "Keep", "Policies", "Policy", "PolicyKey", "read_policies", "write_value"]

TABLE = "functions"
HOW = f'write [{TABLE}."GLOB"], with the keys for the functions that the glob matches below it'


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """One key of a policy. Its name is also its field in Policy; if `option` is set, an option of that name is its
    default, for all functions."""

    name: str
    kind: Kind
    help: str
    option: str = ""
    repeated: bool = False


KEYS: tuple[PolicyKey, ...] = (
    PolicyKey(
        "max_attempts", integer(0, BIG),
        "Attempts in all before a job is failed; 0 is no limit. Ends of the server don't count.",
        option="job_retries",
    ),
    PolicyKey(
        "backoff", BACKOFF,
        "How long a job waits before it is tried again: first, then each time factor longer, limit at most; "
        "jitter is the part of it that chance may take off. A duration alone is first; none is no wait.",
    ),
    PolicyKey(
        "retry_on", choice(*(reason.decode() for reason in REASONS)),
        "What a job is tried again after: fail and exception as its worker says, timeout, lost (its worker went "
        "away). Anything else is final at once.",
        repeated=True,
    ),
    PolicyKey(
        "timeout", DURATION,
        "How long an attempt may take; 0 is no limit. A worker that announces a shorter time is held to that.",
    ),
    PolicyKey(
        "on_restart", choice("requeue", "hold"),
        "What becomes of a job that was running when the server ended: queued again in its place, or held for the "
        "operator, where running it twice would do harm.",
    ),
    PolicyKey(
        "max_queue", integer(0, BIG),
        "Jobs of the function, waiting and running, beyond which submits are refused; 0 is no limit.",
    ),
    PolicyKey(
        "max_queue_bytes", size(0, 1 << 60),
        "Bytes of the workloads of these jobs beyond which submits are refused; 0 is no limit.",
    ),
    PolicyKey(
        "concurrency", integer(0, BIG),
        "Jobs of the function that may run at the same time, however many workers there are; 0 is no limit.",
    ),
    PolicyKey(
        "keep_done", KEEP,
        "How long done and cancelled jobs are kept. Given here, the limits are for each function alone; the option's "
        "are for all the other functions together.",
        option="keep_done",
    ),
    PolicyKey(
        "keep_failed", KEEP,
        "How long failed jobs are kept; as keep_done.",
        option="keep_failed",
    ),
    PolicyKey(
        "store_result", RESULT,
        "Whether results are kept with done jobs: true, false, or the size of the largest one that is.",
        option="store_result",
    ),
)  # fmt: skip

KEY_OF = {key.name: key for key in KEYS}


def read_policies(file: object, tables: Any, options: Mapping[str, Any]) -> Policies:
    """Return the policies of the file's tables over the values of options; raise ConfigError for what is wrong."""
    if not isinstance(tables, dict):
        raise ConfigError(f"{file}: {TABLE} is not a table; {HOW}")
    defaults = Policy(**{key.name: options[key.option] for key in KEYS if key.option})
    return Policies(defaults, tuple(read_rule(file, glob, table) for glob, table in tables.items()))


def read_rule(file: object, glob: str, table: Any) -> Rule:
    """Return the rule that one table describes."""
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: [{TABLE}]: {glob} = {table!r} is set for no function; {HOW}")
    where = f'{file}: [{TABLE}."{glob}"]'
    values = {}
    for name, raw in table.items():
        key = KEY_OF.get(name)
        if key is None and isinstance(raw, dict):
            raise ConfigError(f'{where}: {name} is a table; quote a function with dots: [{TABLE}."{glob}.{name}"]')
        if key is None:
            raise ConfigError(f"{where}: {name} is not a key of a policy; {meant(name, KEY_OF)}")
        value = check(key.kind, raw, f"{where}: {name}", key.kind.toml, key.repeated)
        values[name] = frozenset(word.encode() for word in value) if key.repeated else value
    return Rule(glob, values)


def write_value(key: PolicyKey, policy: Policy) -> Any:
    """Return a value of the policy as the file may hold it."""
    value = getattr(policy, key.name)
    return [word.decode() for word in REASONS if word in value] if key.repeated else key.kind.write(value)
