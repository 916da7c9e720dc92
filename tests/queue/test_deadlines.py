"""Points in time, without a clock."""

from hypothesis import given
from hypothesis import strategies as st

from gearstore.queue.deadlines import Deadlines


def test_nothing_waits() -> None:
    deadlines: Deadlines[str] = Deadlines()
    assert len(deadlines) == 0 and deadlines.next_at is None and deadlines.due(1 << 60) == []


def test_due_hands_out_what_is_due_earliest_first() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for at, item in ((30, "c"), (10, "a"), (20, "b")):
        deadlines.add(at, item)
    assert deadlines.next_at == 10
    assert deadlines.due(9) == []
    assert deadlines.due(20) == ["a", "b"]
    assert (len(deadlines), deadlines.next_at) == (1, 30)
    assert deadlines.due(1000) == ["c"]
    assert len(deadlines) == 0 and deadlines.next_at is None


def test_equal_times_keep_the_order_of_entry() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for item in range(100):
        deadlines.add(5, item)
    assert deadlines.due(5) == list(range(100))


def test_equal_items_are_told_apart_by_their_number() -> None:
    deadlines: Deadlines[str] = Deadlines()
    first, second = deadlines.add(5, "same"), deadlines.add(6, "same")
    assert first != second and first and second
    deadlines.cancel(first)
    assert deadlines.due(5) == []
    assert deadlines.due(6) == ["same"]


def test_a_cancelled_item_is_never_due() -> None:
    deadlines: Deadlines[str] = Deadlines()
    number = deadlines.add(5, "a")
    deadlines.add(6, "b")
    deadlines.cancel(number)
    assert (len(deadlines), deadlines.next_at) == (1, 6)
    assert deadlines.due(10) == ["b"]


def test_unknown_numbers_are_ignored() -> None:
    deadlines: Deadlines[str] = Deadlines()
    number = deadlines.add(5, "a")
    deadlines.cancel(number + 1)
    deadlines.cancel(0)
    assert deadlines.due(5) == ["a"]
    deadlines.cancel(number)
    assert len(deadlines) == 0


def test_the_later_half_is_taken_out() -> None:
    deadlines: Deadlines[int] = Deadlines()
    numbers = {at: deadlines.add(at, at) for at in (5, 1, 4, 2, 3, 6)}
    deadlines.cancel(numbers[6])
    at, later = deadlines.later_half()
    assert (at, later) == (3, [3, 4, 5])
    assert (len(deadlines), deadlines.next_at) == (2, 1)
    assert deadlines.due(100) == [1, 2]
    deadlines.cancel(numbers[4])  # it is not there any more


def test_many_cancelled_items_do_not_pile_up() -> None:
    """A worker with a timeout of a day that does a thousand jobs a second."""
    deadlines: Deadlines[int] = Deadlines()
    deadlines.add(1 << 40, -1)
    for item in range(100_000):
        deadlines.cancel(deadlines.add(1 << 39, item))
    assert len(deadlines) == 1
    assert deadlines.next_at == 1 << 40


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans())), st.integers(0, 20))
def test_as_a_sorted_list_would_do(entries: list[tuple[int, bool]], now: int) -> None:
    deadlines: Deadlines[int] = Deadlines()
    numbers = [deadlines.add(at, item) for item, (at, _) in enumerate(entries)]
    for number, (_, cancelled) in zip(numbers, entries, strict=True):
        if cancelled:
            deadlines.cancel(number)
    left = sorted((at, item) for item, (at, cancelled) in enumerate(entries) if not cancelled)
    assert deadlines.next_at == (left[0][0] if left else None)
    assert deadlines.due(now) == [item for at, item in left if at <= now]
    assert len(deadlines) == sum(at > now for at, _ in left)
    assert deadlines.due(100) == [item for at, item in left if at > now]
