"""How many jobs ended in the last minute, second by second."""

from gearstore.queue.functions import Function
from gearstore.queue.job import DONE, FAILED
from gearstore.server.rates import SECONDS, Ended, Rates


def watched() -> tuple[Rates, Function, Function]:
    f, g = Function(1, b"f", 10), Function(2, b"g", 10)
    return Rates({b"f": f, b"g": g}), f, g


def test_what_has_just_ended_counts_before_the_next_sample() -> None:
    rates, f, g = watched()
    f.ended[DONE] += 2
    g.ended[FAILED] += 1
    assert (rates.of(f), rates.of(g)) == (Ended(2, 0), Ended(0, 1))


def test_a_minute_later_it_is_forgotten() -> None:
    rates, f, g = watched()
    for second in range(SECONDS):
        f.ended[DONE] += 1
        rates.sample(second)
        assert rates.of(f).done == second + 1
    rates.sample(SECONDS)
    assert rates.of(f).done == SECONDS - 1
    for second in range(SECONDS - 1):
        rates.sample(SECONDS + 1 + second)
    assert (rates.of(f), rates.minute) == (Ended(0, 0), {})


def test_seconds_without_a_sample_count_as_well() -> None:
    rates, f, g = watched()
    f.ended[DONE] += 1
    rates.sample(0.0)
    rates.sample(SECONDS - 1.0)
    assert rates.of(f).done == 1
    rates.sample(SECONDS)
    assert rates.of(f).done == 0
    f.ended[DONE] += 1
    rates.sample(SECONDS * 100)  # a machine that was asleep
    rates.sample(SECONDS * 100 + 1)
    assert rates.of(f).done == 1  # when it ended nobody can say


def test_only_functions_with_endings_take_room() -> None:
    rates, f, g = watched()
    f.ended[DONE] += 1
    rates.sample(0.0)
    assert list(rates.minute) == [f]
    assert rates.seconds[-1] == {f: Ended(1, 0)}
