"""What holds for a function, and how long its jobs wait."""

import pytest

from gearstore.queue.policy import FOREVER, NOTHING, Backoff, Keep, Policies, Policy, Rule

SECOND = 1000


def test_waits_grow_up_to_the_limit() -> None:
    backoff = Backoff(10 * SECOND, factor=2, limit=60 * SECOND, jitter=0)
    assert [backoff.delay(attempts, 0.5) for attempts in (1, 2, 3, 4, 5)] == [10_000, 20_000, 40_000, 60_000, 60_000]
    assert backoff.delay(10**9, 0.5) == 60_000
    assert backoff.delay(0, 0.5) == 10_000


def test_chance_shortens_a_wait_by_the_jitter_at_most() -> None:
    backoff = Backoff(10 * SECOND, jitter=0.25)
    assert [backoff.delay(1, chance) for chance in (0.0, 0.5, 0.999999)] == [10_000, 8750, 7500]
    assert Backoff(10 * SECOND, jitter=1).delay(1, 0.75) == 2500


def test_a_factor_may_be_a_fraction_and_one() -> None:
    assert Backoff(1000, factor=1.5, jitter=0).delay(3, 0) == 2250
    assert Backoff(1000, factor=1, jitter=0).delay(99, 0) == 1000


def test_the_defaults_mean_what_gearmand_does() -> None:
    policy = Policies().of(b"f")
    assert policy == Policy()
    assert policy.retry_on == {b"timeout", b"lost"}
    assert (policy.backoff, policy.timeout, policy.on_restart) == (None, 0, "requeue")
    assert (policy.max_attempts, policy.max_queue, policy.concurrency) == (0, 0, 0)


def test_every_rule_that_matches_counts_and_the_last_wins_key_by_key() -> None:
    rules = (
        Rule("*", {"timeout": 1, "concurrency": 1}),
        Rule("import*", {"timeout": 2, "max_queue": 2}),
        Rule("import_big", {"max_queue": 3}),
        Rule("export*", {"timeout": 4}),
    )
    policies = Policies(Policy(max_attempts=7), rules)
    big = policies.of(b"import_big")
    assert (big.max_attempts, big.timeout, big.concurrency, big.max_queue) == (7, 2, 1, 3)
    assert policies.of(b"import").max_queue == 2
    assert policies.of(b"export").timeout == 4
    assert [rule.glob for rule in policies.matching(b"import_big")] == ["*", "import*", "import_big"]


def test_the_rule_that_decides_a_key_is_known() -> None:
    policies = Policies(rules=(Rule("*", {"timeout": 1}), Rule("a*", {"max_queue": 2})))
    deciding = {key: policies.rule_of(b"ab", key) for key in ("timeout", "max_queue", "concurrency")}
    assert {key: rule and rule.glob for key, rule in deciding.items()} == {
        "timeout": "*", "max_queue": "a*", "concurrency": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("glob", "name", "matches"),
    [
        ("import*", b"import_a", True),
        ("import*", b"Import_a", False),  # case counts
        ("import?", b"import", False),
        ("[ab]c", b"bc", True),
        ("a[*]", b"a*", True),
        ("a[*]", b"ab", False),
        ("été*", "été1".encode(), True),
        ("?", b"\xff", True),  # a byte that is no text is one sign
        ("a?b", b"a\nb", True),
        ("*", b"", True),
    ],
)
def test_globs(glob: str, name: bytes, matches: bool) -> None:
    assert Rule(glob, {}).matches(name) is matches


def test_a_policy_is_found_once() -> None:
    policies = Policies(rules=(Rule("a*", {"timeout": 1}),))
    assert policies.of(b"ab") is policies.of(b"ab")
    assert policies.of(b"b") is policies.defaults


def test_equal_policies_are_equal_whatever_was_asked_of_them() -> None:
    one, other = Policies(rules=(Rule("a", {"timeout": 1}),)), Policies(rules=(Rule("a", {"timeout": 1}),))
    one.of(b"a")
    assert one == other
    assert one != Policies(rules=(Rule("a", {"timeout": 2}),))


def test_keeping_forever_is_having_no_limit() -> None:
    assert FOREVER.forever
    assert not any(keep.forever for keep in (NOTHING, Keep(age=0), Keep(count=1), Keep(bytes=1)))
