"""Which ended jobs have to go, known from how many ended when."""

from collections.abc import Iterable

import pytest

from gearstore.queue.history import MOST_SPANS, Bounds, Ended, Group, History, Total, within
from gearstore.queue.job import CANCELLED, DONE, FAILED
from gearstore.queue.policy import FOREVER, NOTHING, Keep, Policies, Policy, Rule

NOW = 1_000_000


def group(keep: Keep, spans: Iterable[tuple[int, int, int]]) -> Group:
    """Return a group that knows these spans: until, jobs, bytes."""
    made = Group(keep)
    for span in spans:
        made.add(*span)
    return made


def spans(of: Group) -> list[tuple[int, int, int]]:
    return [(span.until, span.jobs, span.bytes) for span in of.spans]


def job(ended_at: int, size: int = 10, state: int = DONE, function_id: int = 1, id: int = 1) -> Ended:
    return Ended(id, function_id, state, ended_at, size)


TEN_EACH = [(100, 10, 100), (200, 10, 100), (300, 10, 100)]


@pytest.mark.parametrize(
    ("keep", "bound", "due"),
    [
        (FOREVER, 0, 0),
        (Keep(age=NOW), 0, 0),
        (Keep(age=NOW - 99), 0, 0),
        (Keep(age=NOW - 100), 100, 10),
        (Keep(age=NOW - 250), 200, 20),
        (Keep(age=0), 300, 30),
        (Keep(count=30), 0, 0),
        (Keep(count=29), 100, 1),
        (Keep(count=20), 100, 10),
        (Keep(count=19), 200, 11),
        (NOTHING, 300, 30),
        (Keep(bytes=300), 0, 0),
        (Keep(bytes=201), 100, 9),
        (Keep(bytes=0), 300, 30),
        (Keep(age=NOW - 100, count=15), 200, 15),
    ],
)
def test_the_oldest_spans_beyond_any_limit_have_to_go(keep: Keep, bound: int, due: int) -> None:
    found = group(keep, TEN_EACH)
    assert (found.bound(NOW), found.due) == (bound, due)
    assert found.wants(NOW) is (bound > 0)


def test_jobs_go_until_the_limits_are_met_and_no_younger_ones() -> None:
    found = group(Keep(count=19), TEN_EACH)
    assert found.bound(NOW) == 200
    assert not found.take(job(200), NOW)
    for _ in range(11):
        assert found.wants(NOW)
        assert found.take(job(150), NOW)
    assert not found.wants(NOW)
    assert not found.take(job(50), NOW)
    assert (found.jobs, found.bytes) == (19, 190)


def test_what_is_too_old_goes_although_the_count_is_met() -> None:
    found = group(Keep(age=NOW - 200, count=25), TEN_EACH)
    found.bound(NOW)
    gone = [found.take(job(ended_at), NOW) for ended_at in [*range(90, 100), *range(190, 200), *range(290, 300)]]
    assert gone == [True] * 20 + [False] * 10


def test_bytes_are_counted_by_what_went() -> None:
    found = group(Keep(bytes=150), [(100, 2, 150), (200, 1, 100)])
    found.bound(NOW)
    assert found.take(job(50, size=50), NOW)
    assert found.take(job(60, size=100), NOW)
    assert not found.wants(NOW)
    assert spans(found)[-1] == (200, 1, 100)


def test_spans_come_in_any_order_and_equal_ones_add_up() -> None:
    found = group(FOREVER, [(300, 1, 1), (100, 1, 1), (200, 1, 1), (100, 2, 5)])
    assert spans(found) == [(100, 3, 6), (200, 1, 1), (300, 1, 1)]
    assert (found.jobs, found.bytes) == (5, 8)


def test_many_spans_are_merged_and_nothing_is_lost() -> None:
    found = group(Keep(count=5), [(until, 1, 2) for until in range(1, 10 * MOST_SPANS)])
    assert len(found.spans) <= 2 * MOST_SPANS
    assert sum(span.jobs for span in found.spans) == found.jobs == 10 * MOST_SPANS - 1
    assert [span.until for span in found.spans] == sorted(span.until for span in found.spans)
    assert found.spans[-1].until == 10 * MOST_SPANS - 1


def test_new_totals_have_ended_just_now() -> None:
    found = group(FOREVER, TEN_EACH)
    found.correct(35, 360, NOW)
    assert spans(found) == [*TEN_EACH, (NOW + 1, 5, 60)]
    found.correct(35, 360, NOW + 5)
    assert spans(found) == [*TEN_EACH, (NOW + 1, 5, 60)]


def test_what_is_missing_is_taken_for_the_newest() -> None:
    found = group(FOREVER, TEN_EACH)
    found.correct(15, 150, NOW)
    assert [(until, jobs) for until, jobs, _ in spans(found)][:2] == [(100, 10), (200, 5)]
    assert (found.jobs, found.bytes) == (15, 150)
    found.correct(0, 0, NOW)
    assert (found.jobs, found.bytes, spans(found)) == (0, 0, [])


def test_what_was_not_found_is_thought_to_have_ended_later() -> None:
    found = group(Keep(age=NOW - 200), TEN_EACH)
    found.bound(NOW)
    for _ in range(15):
        assert found.take(job(50), NOW)
    assert found.wants(NOW)
    found.postpone(NOW)
    assert not found.wants(NOW)
    assert spans(found) == [(300, 10, 100), (NOW + 1, 5, 50)]


def test_a_job_that_was_counted_late_goes_all_the_same() -> None:
    found = group(Keep(age=NOW - 200), [(200, 2, 20)])
    found.bound(NOW)
    found.add(100, 0, 0)
    assert found.take(job(50), NOW)
    assert found.take(job(150), NOW)
    assert not found.take(job(150), NOW)  # there should be no third
    assert (found.jobs, found.bytes) == (0, 0)


def test_functions_with_limits_of_their_own_are_groups_of_their_own() -> None:
    rules = (Rule("a*", {"keep_done": Keep(count=1)}), Rule("b", {"timeout": 5}), Rule("c", {"keep_failed": NOTHING}))
    history = History(Policies(Policy(keep_done=Keep(count=2)), rules), FOREVER)
    for id, name in ((1, b"a1"), (2, b"a2"), (3, b"b"), (4, b"c"), (5, b"d")):
        history.meet(id, name)
        history.meet(id, name)
    assert history.limited
    for id in range(1, 6):
        history.add([Total(id, DONE, 100, 2, 0), Total(id, CANCELLED, 100, 1, 0), Total(id, FAILED, 100, 2, 0)])
    done, failed = history.bounds(NOW)
    assert (done.others, done.own) == (100, {1: 100, 2: 100})
    assert (failed.others, failed.own) == (0, {4: 100})
    gone = [id for id in range(1, 6) for state in (DONE, CANCELLED, DONE) if history.take(job(5, 0, state, id), NOW)]
    assert gone == [1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5]
    assert history.narrow((done, failed), NOW)
    assert (done.others, done.own, failed.own) == (0, {1: 0, 2: 0}, {4: 100})
    assert [history.take(job(5, 0, FAILED, id), NOW) for id in (1, 4, 4)] == [False, True, True]
    assert not history.narrow((done, failed), NOW)


def test_true_totals_reach_their_groups() -> None:
    history = History(Policies(Policy(keep_done=Keep(count=5)), (Rule("own", {"keep_done": Keep(count=1)}),)), FOREVER)
    history.meet(1, b"own")
    history.correct([Total(1, DONE, 0, 3, 30), Total(2, DONE, 0, 4, 40), Total(3, CANCELLED, 0, 4, 4)], NOW)
    history.correct([Total(1, DONE, 0, 3, 30), Total(2, DONE, 0, 4, 40), Total(3, CANCELLED, 0, 4, 4)], NOW + 9)
    assert history.bounds(NOW)[0] == Bounds(NOW + 1, {1: NOW + 1})
    assert history.excess == 3 + 2
    assert not history.take(job(5, function_id=2), NOW)  # it may have limits of its own: nobody has told yet
    history.meet(2, b"other")
    assert history.take(job(5, function_id=2), NOW)


def test_without_limits_there_is_nothing_to_do() -> None:
    assert not History(Policies(), FOREVER).limited
    assert History(Policies(), Keep(count=5)).limited


def test_the_stricter_limit_holds() -> None:
    assert within(Keep(age=5, count=7), Keep(count=6, bytes=3)) == Keep(5, 6, 3)
    assert within(FOREVER, FOREVER) == FOREVER
