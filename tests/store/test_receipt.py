"""The receipt: what commits did in the last minute and since the start."""

from time import perf_counter

import pytest

from gearstore.store.receipt import LAST_STEP, SECONDS, Receipt, Tally


def pass_seconds(receipt: Receipt, seconds: float) -> None:
    """Sample as after so many seconds."""
    receipt.sampled_at -= seconds
    receipt.sample()


def test_nothing_happened() -> None:
    figures = Receipt().figures()
    for span in ("minute", "start"):
        assert (figures[span]["commits"], figures[span]["submits"]) == (0, 0)
        assert figures[span]["jobs_per_commit"] is figures[span]["p50_ms"] is figures[span]["p99_ms"] is None


def test_jobs_a_commit() -> None:
    receipt = Receipt()
    for jobs in (1, 4, 7):
        receipt.committed(jobs, 0.25)
    figures = receipt.figures()["minute"]
    assert (figures["jobs"], figures["jobs_per_commit"], figures["commit_seconds"]) == (12, 4.0, 0.75)


def test_percentiles_count_jobs_not_batches_and_are_never_too_low() -> None:
    receipt, now = Receipt(), perf_counter()
    receipt.acknowledged(now - 0.001, 98)
    receipt.acknowledged(now - 0.1, 2)
    figures = receipt.figures()["minute"]
    assert figures["submits"] == 100
    assert figures["p50_ms"] == pytest.approx(1.05, abs=0.2) and figures["p50_ms"] > 1.0
    assert figures["p99_ms"] == pytest.approx(105, abs=20) and figures["p99_ms"] > 100.0


@pytest.mark.parametrize("microseconds", [0.0, 0.5, 1.0, 3.0, 1e3, 1e7])
def test_a_step_is_at_most_a_tenth_too_high(microseconds: float) -> None:
    tally, receipt = Tally(), Receipt()
    receipt.acknowledged(perf_counter() - microseconds / 1e6, 1)
    tally.add(receipt.second)
    seen = tally.percentile(0.5)
    assert seen is not None and microseconds / 1000 <= seen
    assert seen <= max(microseconds + 20, 1.0) / 1000 * 1.1 + 0.0005  # the call itself takes a while


def test_a_minute_later_only_the_start_remembers() -> None:
    receipt = Receipt()
    receipt.committed(3, 0.1)
    receipt.acknowledged(perf_counter(), 3)
    pass_seconds(receipt, 1)
    for _ in range(SECONDS - 1):
        pass_seconds(receipt, 1)
    assert receipt.figures()["minute"]["submits"] == 3
    pass_seconds(receipt, 1)
    figures = receipt.figures()
    assert (figures["minute"]["submits"], figures["minute"]["commits"]) == (0, 0)
    assert (figures["start"]["submits"], figures["start"]["commits"]) == (3, 1)
    assert receipt.minute.waits == {}


def test_seconds_without_a_sample_count_as_well() -> None:
    receipt = Receipt()
    receipt.committed(3, 0.1)
    pass_seconds(receipt, 1)
    pass_seconds(receipt, SECONDS * 100)  # the loop was stopped
    assert receipt.figures()["minute"]["commits"] == 0
    assert receipt.figures()["start"]["commits"] == 1


def test_memory_does_not_grow_with_jobs_nor_with_their_waits() -> None:
    receipt, now = Receipt(), perf_counter()
    for exponent in range(200):
        receipt.acknowledged(now - 2.0**exponent, 1_000_000)
    assert max(receipt.second.waits) == LAST_STEP
    for _ in range(10 * SECONDS):
        pass_seconds(receipt, 1)
    assert len(receipt.seconds) == SECONDS
    assert len(receipt.total.waits) <= LAST_STEP + 1
