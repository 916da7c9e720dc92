"""What happened to a job, in plain words."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from gearstore.protocol.packets import WORK_COMPLETE, WORK_EXCEPTION
from gearstore_cli.render import iso
from gearstore_cli.timeline import timeline
from tests.cli.conftest import Cli, Worker

Connect = Callable[[Cli, str], Worker]
NOW = 1_800_000_000_000


def job(**known: Any) -> dict[str, Any]:
    """Return a job as `show` tells it."""
    return {
        "created_at": NOW, "client": "10.1.2.3", "replay_of": None, "started_at": None, "ended_at": None,
        "state": "queued", "worker": None, "events": [],
    } | known  # fmt: skip


def event(at: int, kind: str, **known: Any) -> dict[str, Any]:
    """Return an event as `show` tells it."""
    return {
        "at": at, "kind": kind, "started_at": None, "worker": None, "error": None, "replay": None, "next_at": None
    } | known  # fmt: skip


def test_a_job_that_waits() -> None:
    assert timeline(job()) == [f"{iso(NOW)}  submitted by 10.1.2.3"]
    assert timeline(job(client=None, replay_of="H:h:1")) == [f"{iso(NOW)}  submitted, a copy of H:h:1"]


def test_a_job_that_went_well() -> None:
    done = job(state="done", started_at=NOW + 1000, ended_at=NOW + 3500, worker="w1")
    assert timeline(done) == [
        f"{iso(NOW)}  submitted by 10.1.2.3",
        f"{iso(NOW + 1000)}  assigned to w1",
        f"{iso(NOW + 3500)}  done after 2s",
    ]


def test_a_job_with_a_past() -> None:
    events = [
        event(NOW + 2000, "lost", started_at=NOW + 1000, worker="w1", next_at=NOW + 12_000),
        event(NOW + 14_000, "interrupted", started_at=NOW + 13_000, worker="w1"),
        event(NOW + 16_000, "exception", started_at=NOW + 15_000, worker=None, error="first\nsecond"),
        event(NOW + 20_000, "retry"),
        event(NOW + 21_000, "hold"),
        event(NOW + 22_000, "release", next_at=NOW + 60_000),
        event(NOW + 23_000, "cancel"),
        event(NOW + 24_000, "replay", replay="H:h:9"),
    ]
    told = timeline(job(state="cancelled", started_at=NOW + 15_000, events=events))
    assert [line.split("  ", 1)[1] for line in told] == [
        "submitted by 10.1.2.3",
        "assigned to w1",
        f"its worker went away after 1s; waits until {iso(NOW + 12_000)}",
        "assigned to w1",
        "the server ended while it ran after 1s",
        "assigned to a worker without a name",
        "its worker reported an exception after 1s: first",
        "put back by an operator",
        "held by an operator",
        f"released by an operator; waits until {iso(NOW + 60_000)}",
        "cancelled by an operator",
        "submitted again by an operator as H:h:9",
    ]
    assert told == sorted(told)


@pytest.mark.parametrize("text", ["\x1b[2J", "a\x07b", "\udcff"])
def test_no_byte_moves_the_cursor(text: str) -> None:
    events = [event(NOW + 1, text), event(NOW + 2, "fail", started_at=NOW, worker=text, error=text)]
    told = "".join(timeline(job(client=text, replay_of=text, worker=text, started_at=NOW + 3, events=events)))
    assert told.isprintable() and told.isascii()


def test_an_endless_error_is_cut() -> None:
    (_, *_, last) = timeline(job(events=[event(NOW, "exception", error="x" * 100_000)]))
    assert len(last) < 400 and last.endswith("...")


def test_show_tells_it(gearstore: Cli, function: str, worker: Connect) -> None:
    (handle,) = gearstore.printed("submit", function)
    by_hand = worker(gearstore, function)
    by_hand.grab()
    by_hand.report(WORK_EXCEPTION, handle.encode(), b"no luck")
    gearstore.printed("retry", handle)
    by_hand.grab()
    by_hand.report(WORK_COMPLETE, handle.encode(), b"")
    (line,) = gearstore.printed("replay", handle)
    lines = gearstore.printed("show", handle)
    history = [line.strip() for line in lines[lines.index("history") + 1 :] if line.strip()]
    times = [line.split("  ", 1)[0] for line in history]
    assert times == sorted(times)
    words = [re.sub(r"\d[\d.]*m?s", "N", line.split("  ", 1)[1]) for line in history]
    assert words == [
        "submitted by 127.0.0.1",
        "assigned to by-hand",
        "its worker reported an exception after N: no luck",
        "put back by an operator",
        "assigned to by-hand",
        "done after N",
        f"submitted again by an operator as {line.split()[-1]}",
    ]
