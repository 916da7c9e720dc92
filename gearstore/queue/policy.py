"""What may be set for a function: how often its jobs are tried and when, how long they run, what is kept of them.

Values only: who reads them from a file is policies.py, who obeys them is the engine. On the wire the defaults mean
what gearmand does: failures and exceptions are final, a job whose worker is lost or too slow is queued again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

HOUR = 3_600_000  # milliseconds
REASONS = (b"fail", b"exception", b"timeout", b"lost")  # how an attempt can end badly


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a job waits before its next attempt; times are milliseconds."""

    first: int
    factor: float = 2.0
    limit: int = HOUR
    jitter: float = 0.1

    def delay(self, attempts: int, chance: float) -> int:
        """Return the wait after so many attempts (from 1). Chance, from 0 to below 1, shortens it by `jitter` at most,
        so that jobs which failed together don't come back together; no wait is longer than `limit`."""
        try:
            wait = min(self.first * float(self.factor) ** max(attempts - 1, 0), self.limit)
        except OverflowError:
            wait = self.limit
        return round(wait * (1 - self.jitter * chance))


@dataclass(frozen=True, slots=True)
class Keep:
    """How long ended jobs stay in the history: the oldest go when any limit is passed; None is no limit."""

    age: int | None = None  # milliseconds since the end
    count: int | None = None
    bytes: int | None = None  # of workloads and results

    @property
    def forever(self) -> bool:
        """Whether nothing ever goes."""
        return self.age is self.count is self.bytes is None


FOREVER = Keep()
NOTHING = Keep(count=0)


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for the jobs of a function; 0 is no limit where the comment says nothing else."""

    max_attempts: int = 0
    backoff: Backoff | None = None  # None: tried again at once
    retry_on: frozenset[bytes] = frozenset((b"timeout", b"lost"))  # of REASONS; the others are final
    timeout: int = 0  # milliseconds that an attempt may take
    on_restart: str = "requeue"  # or "hold": what becomes of a job that ran when the server ended
    max_queue: int = 0
    max_queue_bytes: int = 0
    concurrency: int = 0
    keep_done: Keep = FOREVER  # also cancelled ones
    keep_failed: Keep = FOREVER
    store_result: int = 65536  # bytes of the largest result that is stored; 0: none is


@dataclass(frozen=True, slots=True)
class Rule:
    """Some keys of the policy, for the functions that the glob matches."""

    glob: str
    values: Mapping[str, Any]

    def matches(self, name: bytes) -> bool:
        """Whether it is about this function."""
        return fnmatchcase(name.decode("utf-8", "surrogateescape"), self.glob)


@dataclass(frozen=True, slots=True)
class Policies:
    """The policy of each function: the defaults, changed by every rule that matches, the last one last."""

    defaults: Policy = Policy()
    rules: tuple[Rule, ...] = ()
    _found: dict[bytes, Policy] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, name: bytes) -> Policy:
        """Return the policy of a function."""
        policy = self._found.get(name)
        if policy is None:
            values: dict[str, Any] = {}
            for rule in self.matching(name):
                values |= rule.values
            policy = self._found[name] = replace(self.defaults, **values) if values else self.defaults
        return policy

    def matching(self, name: bytes) -> list[Rule]:
        """Return the rules about a function, in their order."""
        return [rule for rule in self.rules if rule.matches(name)]

    def rule_of(self, name: bytes, key: str) -> Rule | None:
        """Return the rule that decides this key for a function; None: the default holds."""
        return next((rule for rule in reversed(self.matching(name)) if key in rule.values), None)
