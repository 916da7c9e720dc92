"""Data to text: what a person sees, and what a script reads."""

import io
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from gearstore_cli import render
from gearstore_cli.client import Row

NOW = 1_800_000_000_000
JOB: Row = {
    "handle": "H:host:000000000042", "function": "mail", "unique": "", "state": "failed", "priority": "high",
    "background": True, "attempts": 2, "interruptions": 0, "created_at": NOW - 7_200_000, "run_at": None,
    "started_at": NOW - 60_000, "ended_at": NOW - 57_500, "worker": "w1", "reason": "exception",
    "error": "first\nsecond\x1b[31m", "size": 12, "preview": "hello\tworld\x00", "result_size": 0, "numerator": 0,
    "denominator": 0, "replay_of": None,
}  # fmt: skip


def shown(columns: Any, rows: list[Row], width: int = 120, **more: Any) -> str:
    """Return a table as a terminal of this width shows it, without colours."""
    console = Console(file=io.StringIO(), width=width)
    console.print(render.table(columns, rows, NOW, **more))
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


@pytest.mark.parametrize(
    ("text", "escape"),
    [
        ("plain Déjà vu 日本", "plain Déjà vu 日本"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("caf\udce9", "caf\\xe9"),  # a byte that is no UTF-8
        ("\u202eabc", "\\u202eabc"),  # would turn the line around
        ("\U000e0041", "\\U000e0041"),
        ("App\\Job", "App\\Job"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, escape: str) -> None:
    assert render.escaped(text) == escape


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0ms"), (999, "999ms"), (1000, "1s"), (59_999, "59s"), (60_000, "1m"), (7_200_000, "2h"), (172_800_000, "2d")],
)
def test_durations_take_their_largest_unit(milliseconds: int, text: str) -> None:
    assert render.duration(milliseconds) == text


def test_ages_look_back_and_ahead() -> None:
    assert render.age(NOW - 5000, NOW) == "5s"
    assert render.age(NOW + 5000, NOW) == "in 5s"
    assert render.age(None, NOW) == "-"


def test_a_moment_beyond_the_calendar_is_a_number() -> None:
    assert render.iso(10**18) == str(10**18)


def test_a_table_of_functions() -> None:
    row = {"function": "mail", "queued": 3, "running": 1, "workers": 2, "delayed": 0, "held": 0, "failed": 7, "done": 9}
    assert shown(render.STATUS, [row | {"oldest_at": NOW - 90_000}]).splitlines() == [
        "FUNCTION  QUEUED  RUNNING  WORKERS  OLDEST  DELAYED  HELD  FAILED  DONE",
        "mail           3        1        2      1m        0     0       7     9",
    ]


def test_a_table_with_a_total() -> None:
    rows = [{"function": name, "queued": 3, "running": 1, "workers": 2} for name in "ab"]
    total = {"function": "2 functions", "queued": 6, "running": 2, "workers": 2}
    assert shown(render.STATUS, rows, total=total).splitlines()[-1] == "2 functions       6        2        2"


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (97, "FUNCTION QUEUED RUNNING WORKERS OLDEST DELAYED HELD FAILED DONE DONE/MIN FAIL/MIN"),
        (80, "FUNCTION QUEUED RUNNING WORKERS OLDEST DELAYED FAILED DONE/MIN FAIL/MIN"),  # HELD tells nothing
        (60, "FUNCTION QUEUED RUNNING WORKERS OLDEST FAILED DONE/MIN"),
        (30, "FUNCTION QUEUED RUNNING"),
    ],
)
def test_a_narrow_terminal_gets_what_counts(width: int, titles: str) -> None:
    row: Row = {"function": "mail", "queued": 3, "running": 1, "workers": 2, "oldest_at": None, "delayed": 2}
    row |= {"held": 0, "failed": 7, "done": 9, "done_per_minute": 1, "failed_per_minute": 1, "note": ""}
    columns = render.fitting(render.STATUS, [row], NOW, width)
    assert " ".join(column.title for column in columns).strip() == titles


def test_what_an_operator_should_know() -> None:
    idle = {"function": "mail", "queued": 0, "running": 0, "workers": 0}
    assert render.note(idle, NOW) == ""
    assert render.note(idle | {"queued": 1}, NOW) == "no worker"
    paused = idle | {"queued": 1, "paused_at": NOW - 7_200_000, "paused_until": None}
    assert render.note(paused, NOW) == "paused for 2h"
    until = render.note(paused | {"paused_until": NOW + 60_000}, NOW)
    assert until == f"paused for 2h, until {render.clock(NOW + 60_000, NOW)}"


def test_columns_that_a_server_does_not_tell_are_left_out() -> None:
    row = {"function": "mail", "queued": 3, "running": 1, "workers": 2}
    assert shown(render.STATUS, [row]).splitlines()[0] == "FUNCTION  QUEUED  RUNNING  WORKERS"


def test_names_cannot_break_a_table_or_be_markup() -> None:
    row = {"function": "[red]x[/red]\x1b[2J\n", "queued": 0, "running": 0, "workers": 0}
    assert "[red]x[/red]\\x1b[2J\\n" in shown(render.STATUS, [row])


def test_a_narrow_table_keeps_the_handle_and_cuts_the_workload() -> None:
    text = shown(render.JOBS, [JOB | {"preview": "x" * 60}], width=80)
    assert len(text.splitlines()) == 2
    assert JOB["handle"] in text
    assert "…" in text


def test_a_line_has_one_field_a_tab() -> None:
    fields = render.line(render.JOB_LINES, JOB, NOW).rstrip("\n").split("\t")
    assert fields[:4] == ["H:host:000000000042", "mail", "failed", "high"]
    assert fields[5:] == ["2", "exception", "-", "hello\\tworld\\x00"]


def test_a_job_in_plain_words() -> None:
    text = render.job_text(JOB, NOW)
    assert "state       failed (its worker reported an exception)\n" in text
    assert "priority    high, background\n" in text
    assert "(2h ago)\n" in text
    assert "took        2s\n" in text
    assert "error       first\n            second\\x1b[31m\n" in text
    assert "workload    12 bytes: hello\\tworld\\x00\n" in text
    assert "unique" not in text


def test_a_job_that_waits_in_plain_words() -> None:
    waiting = JOB | {"state": "delayed", "reason": None, "run_at": NOW + 600_000, "ended_at": None, "error": None}
    text = render.job_text(waiting | {"size": 0, "preview": "", "interruptions": 1, "replay_of": "H:host:1"}, NOW)
    assert "state       delayed\n" in text
    assert "(in 10m)\n" in text
    assert "workload    empty\n" in text
    assert "attempts    2, and 1 interrupted by the server's own end\n" in text
    assert "replay of   H:host:1\n" in text
    assert "took" not in text


def test_the_size_of_a_result() -> None:
    assert "result      empty\n" in render.job_text(JOB | {"state": "done"}, NOW)
    assert "result      1 byte\n" in render.job_text(JOB | {"state": "done", "result_size": 1}, NOW)
    assert "result" not in render.job_text(JOB, NOW)


def test_what_a_worker_does() -> None:
    row = {"fd": 9, "address": "10.0.0.1", "client_id": "w", "functions": ["a", "b"], "asleep": False}
    busy = row | {"jobs": [{"handle": "H:h:1", "function": "a", "started_at": NOW - 3000}]}
    since = render.clock(NOW - 3000, NOW)
    assert f"a b        no      H:h:1 a since {since} (3s)" in shown(render.WORKERS, [busy])


def test_a_time_of_day_has_a_date_unless_it_is_today() -> None:
    morning = round(datetime(2026, 11, 25, 9, 5).timestamp() * 1000)
    assert render.clock(morning, morning + 3_600_000) == "09:05:00"
    assert render.clock(morning, morning + 86_400_000) == "2026-11-25 09:05:00"
    assert (render.clock(None, morning), render.clock(10**18, morning)) == ("-", str(10**18))
