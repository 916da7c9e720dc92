"""What `gearstore top` shows and asks, without a terminal: keys, the model, what is drawn."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from gearstore_cli.client import Row
from gearstore_cli.status import Picture
from gearstore_cli.top.changes import exactly
from gearstore_cli.top.keys import decode
from gearstore_cli.top.model import Ask, Change, Key, Look, Lost, Model, Page, Seen, Told
from gearstore_cli.top.update import update
from gearstore_cli.top.view import folded, screen

NOW = 1_800_000_000_000
NOTHING: Row = {
    "queued": 0, "running": 0, "workers": 0, "oldest_at": None, "delayed": 0, "held": 0, "failed": 0, "done": 0,
    "done_per_minute": 0, "failed_per_minute": 0, "paused_at": None, "paused_until": None,
}  # fmt: skip
MAIL = NOTHING | {"function": "mail", "queued": 5, "oldest_at": NOW - 90_000, "failed": 3, "held": 1}
IMPORT = NOTHING | {"function": "import", "running": 2, "workers": 2, "done": 9, "done_per_minute": 4}
TOTAL = NOTHING | {"queued": 5, "running": 2, "workers": 2, "oldest_at": NOW - 90_000, "draining": False}
JOB: Row = {
    "handle": "H:h:000000000007", "function": "mail", "unique": "", "state": "failed", "priority": "normal",
    "background": True, "attempts": 1, "interruptions": 0, "created_at": NOW - 90_000, "run_at": None, "worker": "w1",
    "started_at": NOW - 60_000, "ended_at": NOW - 57_500, "reason": "exception", "error": "no\x1b[2J\nmore", "size": 3,
    "preview": "abc", "result_size": 0, "numerator": 0, "denominator": 0, "replay_of": None, "client": "127.0.0.1",
    "cause": None, "replayed_as": None, "events": [],
}  # fmt: skip
WAITING = JOB | {"handle": "H:h:000000000008", "state": "queued", "reason": None, "error": None}


def seen(rows: Sequence[Row] = (MAIL, IMPORT), total: Row | None = TOTAL) -> Picture:
    return Picture(list(rows), total, NOW)


def start() -> Model:
    """Return the first page with its data."""
    return update(Model("here"), Seen(Look(), seen()))[0]


def press(model: Model, *keys: str) -> tuple[Model, list[Ask]]:
    """Return the model after some keys, and what the last one asks."""
    asks: list[Ask] = []
    for key in keys:
        model, asks = update(model, Key(key))
    return model, asks


def jobs_page(*jobs: Row) -> Model:
    """Return the page of the jobs of mail."""
    model, (look,) = press(start(), "enter")
    assert isinstance(look, Look)
    return update(model, Seen(look, seen(), jobs))[0]


def drawn(model: Model, width: int = 100, height: int = 24) -> list[str]:
    """Return the lines of the screen."""
    file = io.StringIO()
    Console(file=file, width=width, height=height).print(screen(model, width, height, NOW))
    return [line.rstrip() for line in file.getvalue().splitlines()]


# Keys


@pytest.mark.parametrize(
    ("data", "keys", "rest"),
    [
        (b"jq", ["j", "q"], b""),
        (b"\x1b[A\x1bOB\x1b[5~\r", ["up", "down", "page up", "enter"], b""),
        (b"\x1b[1;5Cx", ["x"], b""),  # has no meaning here
        (b"\x1b", [], b"\x1b"),
        (b"a\x1b[", ["a"], b"\x1b["),
        (b"\x1b\x1b[A", ["escape", "up"], b""),
        ("é€\U0001f600".encode(), ["é", "€", "\U0001f600"], b""),
        (b"\xc3", [], b"\xc3"),
        (b"\xff\x00\x01j", ["\ufffd", "j"], b""),
        (b"\x7f\x03\t", ["backspace", "ctrl-c", "tab"], b""),
    ],
)
def test_bytes_become_keys(data: bytes, keys: list[str], rest: bytes) -> None:
    assert decode(data) == (keys, rest)


def test_keys_that_come_in_pieces() -> None:
    data = "jé\x1b[A\x1bOBk".encode()
    keys, rest = [], b""
    for byte in data:
        found, rest = decode(rest + bytes([byte]))
        keys += found
    assert (keys, rest) == (["j", "é", "up", "down", "k"], b"")


# Looking around


def test_functions_come_in_the_order_that_was_chosen() -> None:
    model = start()
    assert [row["function"] for row in model.rows] == ["mail", "import"]
    model, asks = press(model, "s")
    assert ([row["function"] for row in model.rows], asks) == (["import", "mail"], [])  # by running
    for order, first in (("oldest", "mail"), ("failed", "mail"), ("done/min", "import"), ("name", "import")):
        model, _ = press(model, "s")
        assert f"Functions by {order}" in drawn(model)
        assert model.rows[0]["function"] == first


def test_the_cursor_stays_on_its_function() -> None:
    model, _ = press(start(), "down")
    assert model.row == IMPORT
    model, _ = update(model, Seen(Look(), seen([IMPORT | {"queued": 50}, MAIL, NOTHING | {"function": "a"}])))
    assert model.row is not None and model.row["function"] == "import"
    assert press(model, "k", "k", "k")[0].row == model.rows[0]
    assert press(model, "end")[0].row == model.rows[-1]


def test_a_filter_hides_what_does_not_hold_it() -> None:
    model, asks = press(start(), "/", "M", "P", "x", "backspace")
    assert ([row["function"] for row in model.rows], model.typing, asks) == (["import"], True, [])
    model, _ = press(model, "enter", "q")
    assert model.over
    model, _ = press(start(), "/", "z", "z", "enter")
    assert "nothing here holds zz" in drawn(model)
    assert press(model, "escape")[0].rows == start().rows


def test_from_a_function_to_its_jobs_to_one_and_back() -> None:
    model, asks = press(start(), "enter")
    assert asks == [Look("mail")]
    model, _ = update(model, Seen(Look("mail"), seen(), [WAITING, JOB]))
    model, asks = press(model, "j", "enter")
    assert (model.page, asks) == (Page.JOB, [Look("mail", handle=JOB["handle"])])
    model, _ = update(model, Seen(Look("mail"), seen(), [WAITING]))  # too late
    assert model.job is None
    model, _ = update(model, Seen(Look("mail", handle=JOB["handle"]), seen(), job=JOB))
    assert "state       failed (its worker reported an exception)" in drawn(model)
    model, asks = press(model, "escape")
    assert (model.page, model.row, asks) == (Page.JOBS, JOB, [Look("mail")])
    assert press(model, "escape")[0].page is Page.FUNCTIONS


def test_jobs_by_state_and_order() -> None:
    model, asks = press(jobs_page(JOB), "f")
    assert asks == [Look("mail", "queued")]
    model, asks = press(model, "s")
    assert asks == [Look("mail", "queued", oldest=True)]
    assert "Queued jobs of mail, oldest first" in drawn(model)
    for _ in range(7):
        model, asks = press(model, "f")
    assert asks == [Look("mail", oldest=True)]


def test_a_job_that_is_gone_says_so() -> None:
    model, (look,) = press(jobs_page(JOB), "enter")
    assert isinstance(look, Look)
    model, _ = update(model, Seen(look, seen(), gone="there is no job H:h:000000000007"))
    assert "there is no job H:h:000000000007" in drawn(model)


def test_a_plain_gearmand_shows_its_functions() -> None:
    row: Row = {"function": "mail", "queued": 3, "running": 0, "workers": 0}
    model, _ = update(Model("here"), Seen(Look(), seen([row], None)))
    assert [line.split() for line in drawn(model)[3:5]] == [
        ["FUNCTION", "QUEUED", "RUNNING", "WORKERS"],
        ["mail", "3", "0", "0", "no", "worker"],
    ]
    model, asks = press(model, "enter")
    assert (model.page, asks, model.message) == (Page.FUNCTIONS, [], "a plain gearmand does not tell its jobs")
    for key in "SFR":
        model, _ = press(model, key)
    assert model.message == "mail has no failed or held jobs"


def test_a_server_that_is_away() -> None:
    model, asks = update(start(), Lost("no server at here: Connection refused"))
    assert (asks, drawn(model)[1]) == ([], "No server: no server at here: Connection refused. Trying again.")
    assert drawn(model)[4].startswith("mail")  # the last that is known
    assert "No server" not in "".join(drawn(update(model, Seen(Look(), seen()))[0]))


# Changing things


@pytest.mark.parametrize(
    ("key", "question", "change"),
    [
        (
            "R",
            "Retry 3 failed and 1 held jobs of mail?",
            Change("retry", {"function": "mail", "state": ["failed", "held"]}, "put back"),
        ),
        (
            "C",
            "Cancel 5 queued jobs of mail?",
            Change("cancel", {"function": "mail", "state": ["queued", "delayed"]}, "cancelled"),
        ),
        ("P", "Pause mail (5 queued, 0 running)?", Change("pause", {"function": "mail"}, "mail is paused")),
    ],
)
def test_capital_letters_ask_before_they_change(key: str, question: str, change: Change) -> None:
    asked, asks = press(start(), key)
    assert asks == []
    assert f"{question}  y: yes, any other key: no" in drawn(asked)
    model, asks = press(asked, "y")
    assert (asks, model.message) == ([change], f"{question[:-1]}...")
    for other in ("n", "enter", "escape", "Y", key):
        model, asks = press(asked, other)
        assert (model.question, model.message, asks) == (None, "nothing was changed", [])


def test_a_paused_function_is_resumed() -> None:
    model, _ = update(Model("here"), Seen(Look(), seen([MAIL | {"paused_at": NOW - 7_200_000}])))
    assert "paused for 2h" in drawn(model)[4]
    assert press(model, "P", "y")[1] == [Change("resume", {"function": "mail"}, "mail is resumed")]


def test_one_job_is_changed_by_its_handle() -> None:
    model = jobs_page(JOB, WAITING)
    asked, _ = press(model, "R")
    assert asked.question is not None
    assert asked.question.text == "Retry 1 failed job, H:h:000000000007 of mail?"
    assert press(asked, "y")[1] == [Change("retry", {"handles": ["H:h:000000000007"]}, "put back")]
    assert press(model, "C")[0].message == "H:h:000000000007 is failed"
    assert press(model, "j", "C", "y")[1] == [Change("cancel", {"handles": ["H:h:000000000008"]}, "cancelled")]
    assert "gearstore replay" in press(jobs_page(JOB | {"state": "done"}), "R")[0].message


def test_what_came_of_it_is_told_and_looked_at() -> None:
    model, asks = update(start(), Told("4 jobs put back"))
    assert ("4 jobs put back" in drawn(model), asks) == (True, [Look()])
    assert press(model, "j")[0].message == ""


def test_who_leaves_in_the_middle_of_a_change_is_asked() -> None:
    model, _ = press(start(), "C", "y", "q")
    assert "Cancel 5 queued jobs of mail: under way. Stop it and quit?" in drawn(model)[-2]
    assert not press(model, "n")[0].over
    assert press(model, "y")[0].over
    assert press(model, "ctrl-c")[0].over
    model, _ = update(press(model, "n")[0], Told("5 jobs cancelled"))
    assert press(model, "q")[0].over


def test_nothing_is_there_to_be_changed() -> None:
    for key in "RCP":
        model, asks = press(Model("here"), key)
        assert (model.question, asks) == (None, [])


def test_globs_match_their_own_name_only() -> None:
    assert exactly("a*[b]?") == "a[*][[]b][?]"


# Drawing


@pytest.mark.parametrize("size", [(100, 24), (60, 12), (40, 7), (20, 6)])
def test_the_screen_is_as_high_as_the_terminal(size: tuple[int, int]) -> None:
    many = [NOTHING | {"function": f"f{number:03}"} for number in range(50)]
    functions, _ = update(Model("here"), Seen(Look(), seen(many)))
    job, (look,) = press(jobs_page(JOB), "enter")
    assert isinstance(look, Look)
    job, _ = update(job, Seen(look, seen(), job=JOB | {"error": "\n".join("x" * 300 for _ in range(50))}))
    for model in (functions, press(functions, "end")[0], jobs_page(), jobs_page(JOB), job, Model("here")):
        lines = drawn(model, *size)
        assert len(lines) == size[1]
        assert all(len(line) <= size[0] for line in lines)
    assert size[1] < 7 or drawn(press(functions, "end")[0], *size)[-3].startswith("f049")


def test_a_job_is_scrolled() -> None:
    model, (look,) = press(jobs_page(JOB), "enter")
    assert isinstance(look, Look)
    model, _ = update(model, Seen(look, seen(), job=JOB))
    assert drawn(model, height=8)[3].startswith("handle")
    assert drawn(press(model, "j", "j")[0], height=8)[3].startswith("state")


@pytest.mark.parametrize(
    ("line", "width", "lines"),
    [("", 4, [""]), ("abcdefghij", 4, ["abcd", "efgh", "ij"]), ("日本語x", 4, ["日本", "語x"]), ("abcd", 4, ["abcd"])],
)
def test_long_lines_are_folded(line: str, width: int, lines: list[str]) -> None:
    assert folded([line], width) == lines


def test_nothing_from_the_wire_moves_the_cursor() -> None:
    evil = "\x1b[2J[red]\n"
    models = [
        update(Model(evil), Seen(Look(), seen([MAIL | {"function": evil}])))[0],
        press(jobs_page(JOB | {"function": evil, "preview": evil, "handle": evil}), "R")[0],
        update(start(), Lost(evil))[0],
        update(start(), Told(evil))[0],
    ]
    for model in models:
        text = "\n".join(drawn(model))
        assert "\x1b" not in text
        assert "\\x1b[2J[red]\\n" in text


def test_help_shows_every_key_and_goes_with_any() -> None:
    model, _ = press(start(), "?")
    assert any("Capital letters change things" in line for line in drawn(model))
    assert press(model, "C")[0] == start()


@pytest.mark.parametrize(
    ("total", "text"),
    [
        ({"draining": True}, "The server is ending: it assigns no more jobs."),
        ({"paused_at": NOW - 60_000}, "All functions are paused for 1m."),
    ],
)
def test_what_holds_for_the_whole_server(total: Row, text: str) -> None:
    model, _ = update(Model("here"), Seen(Look(), seen(total=TOTAL | total)))
    assert drawn(model)[1] == text
