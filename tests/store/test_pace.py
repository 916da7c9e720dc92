"""When the loop itself waits for the disk, and when the log is checkpointed."""

from __future__ import annotations

from gearstore.store.pace import CHECKPOINT_PAGES, COMMIT_WORK, FAST, LEAST_WORK, MOST_GROWTH, SLOW, TRUSTED, Log, Pace

QUICK, MIDDLING, LONG = FAST / 2, (FAST + SLOW) / 2, 4 * SLOW


def after(*seconds: float) -> bool:
    """Return whether commits run on the loop after some of these durations."""
    pace = Pace()
    for each in seconds:
        pace.took(each)
    return pace.on_loop


TRUST = [QUICK] * TRUSTED


def test_the_first_commits_run_in_the_thread() -> None:
    assert not after()
    assert not after(*TRUST[1:])
    assert after(*TRUST)


def test_a_slow_disk_never_holds_the_loop_up() -> None:
    assert not after(*[MIDDLING] * 1000)
    assert not after(*[LONG] * 1000)
    assert not after(*([QUICK] * 5 + [SLOW * 1.5]) * 100)


def test_one_long_wait_is_enough() -> None:
    assert not after(*TRUST, LONG)
    assert not after(*TRUST, 10.0)
    assert not after(*TRUST, LONG, *TRUST[1:])
    assert after(*TRUST, LONG, *TRUST)


def test_a_hiccup_is_forgiven() -> None:
    assert after(*TRUST, SLOW * 1.5)
    assert after(*TRUST, *[MIDDLING] * 1000)
    assert not after(*TRUST, *[SLOW * 1.5] * 4)
    assert after(*TRUST, *([SLOW * 1.5] + [QUICK] * 9) * 100)


def test_checkpoints_come_at_about_the_same_length_of_the_log() -> None:
    for pages_of_a_commit in (3, 5, 50):
        log, pages, found = Log(), 0, []
        for _ in range(20_000):
            pages += pages_of_a_commit
            if log.grew(64, 0):
                found.append(pages)
                log.checkpointed(pages)
                pages = 0
        assert max(found[1:]) <= CHECKPOINT_PAGES * 1.1
        assert min(found[1:]) >= min(CHECKPOINT_PAGES * 0.9, LEAST_WORK // (64 + COMMIT_WORK) * pages_of_a_commit)


def test_a_log_that_is_not_cut_is_not_checkpointed_all_the_time() -> None:
    log = Log()
    log.checkpointed(1_000_000)  # a reader that does not end
    commits = 0
    while not log.grew(1, 0):
        commits += 1
    assert commits > 50


def test_a_log_that_grows_more_than_was_estimated_is_checkpointed() -> None:
    log = Log()
    assert not log.grew(1, 1000)
    assert not log.grew(1, 1000 + MOST_GROWTH)
    assert log.grew(1, 1001 + MOST_GROWTH)
    log.checkpointed(100)
    assert not log.grew(1, 1001 + MOST_GROWTH)  # (it isn't cut while somebody reads it)
