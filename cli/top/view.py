"""The model of `gearstore top` as a screen full of text. No input, no output.

Whatever came over the wire is escaped by `render`; each row takes one line, so that the lines can be counted.
"""

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .. import render
from ..client import Row
from ..status import server_remarks, with_note
from ..timeline import story
from .model import ORDERS, Model, Page

KEYS = {
    Page.FUNCTIONS: "Enter jobs  s sort  / filter  R retry failed  C cancel queued  P pause  ? help  q quit",
    Page.JOBS: "Enter job  f state  s order  / filter  R retry  C cancel  P pause  Esc back  ? help  q quit",
    Page.JOB: "R retry  C cancel  P pause  Esc back  ? help  q quit",
}
HELP = """
    Up Down j k       choose, or scroll a job           Page Up, Page Down, Home, End as well
    Enter             open: a function, then a job      Esc goes back
    s                 next order: of functions by name, queued, running, oldest, failed or done a minute;
                      of jobs newest or oldest first
    f                 list jobs of the next state only
    /                 show only what holds a text; Esc ends that
    r                 ask the server now
    q                 quit

  Capital letters change things. Each asks first; y does it, every other key does not.

    R                 retry: failed and held jobs go back into their queue
    C                 cancel: queued and delayed jobs; one job also while it runs
    P                 pause a function, or resume it
"""
AROUND = 5  # lines above and below the page


def screen(model: Model, width: int, height: int, now: int) -> RenderableType:
    """Return the screen, `height` lines of it."""
    room = max(height - AROUND, 1)
    body: RenderableType
    if model.help:
        body, used = Text(HELP.strip("\n"), no_wrap=True), HELP.strip("\n").count("\n") + 1
    elif model.page is Page.JOB:
        body, used = job_lines(model, width, room, now)
    else:
        return filled(model, width, room, now, *table_lines(model, width, room, now))
    return filled(model, width, room, now, body, used)


def filled(model: Model, width: int, room: int, now: int, body: RenderableType, used: int) -> RenderableType:
    """Return the parts of the screen, the last two lines at its lower edge."""
    blank = [Text("\n" * (room - used - 1))] if used < room else []
    return Group(headline(model, width, now), remark(model), title(model), body, *blank, *footer(model))


def headline(model: Model, width: int, now: int) -> Text:
    """Return the first line: what the server does as a whole."""
    left = f"gearstore {render.escaped(model.server)}"
    total = model.picture.total if model.picture else None
    if total is not None:
        oldest = f", oldest {render.age(total['oldest_at'], now)}" if total["oldest_at"] is not None else ""
        left += (
            f"  {total['queued']} queued{oldest}  {total['running']} running  {total['workers']} workers"
            f"  {total['done_per_minute']} done/min  {total['failed_per_minute']} fail/min"
        )
    time = render.clock(now, now)
    line = Text(left, "bold", no_wrap=True, overflow="ellipsis")
    line.truncate(max(width - len(time) - 2, 0), overflow="ellipsis", pad=True)
    return Text.assemble(line, "  ", time, no_wrap=True, overflow="crop")


def remark(model: Model) -> Text:
    """Return the second line: that there is no server, or that it is not as usual."""
    if model.lost:
        return Text(f"No server: {render.escaped(model.lost)}. Trying again.", "bold red", no_wrap=True)
    remarks = " ".join(server_remarks(model.picture)) if model.picture else "Asking the server..."
    return Text(remarks, "yellow", no_wrap=True)


def title(model: Model) -> Text:
    """Return what the page is."""
    if model.page is Page.FUNCTIONS:
        text = f"Functions by {ORDERS[model.order].name}"
    elif model.page is Page.JOBS:
        order = "oldest" if model.oldest else "newest"
        text = f"{model.state.title() or 'All'} jobs of {render.escaped(model.function)}, {order} first"
    else:
        text = f"Job {render.escaped(model.handle)}"
    shown = f"  /{render.escaped(model.filter)}{'_' if model.typing else ''}" if model.filter or model.typing else ""
    return Text.assemble((text, "bold"), shown, no_wrap=True, overflow="ellipsis")


def footer(model: Model) -> tuple[Text, Text]:
    """Return the last two lines: a question or message, and the keys."""
    text = f"{model.question.text}  y: yes, any other key: no" if model.question else model.message
    style = "bold yellow" if model.question else "green"
    keys = "any key: back" if model.help else "Enter keep  Esc none" if model.typing else KEYS[model.page]
    message = Text(render.escaped(text), style, no_wrap=True, overflow="ellipsis")
    return message, Text(keys, "dim", no_wrap=True, overflow="ellipsis", end="")


def table_lines(model: Model, width: int, room: int, now: int) -> tuple[RenderableType, int]:
    """Return the part of the table that holds the chosen row, and how many lines it takes."""
    rows = model.rows
    if not rows:
        return Text(nothing(model), "dim"), 1
    chosen, seen = model.index(rows), room - 1  # (the titles take a line)
    first = max(0, min(chosen - seen // 2, len(rows) - seen))
    part = rows[first : first + seen]
    of_page: Sequence[render.Column] = render.STATUS if model.page is Page.FUNCTIONS else render.JOBS
    columns = [column._replace(overflow=column.overflow and "ellipsis") for column in of_page]
    shown = [marked(row, place == chosen, now) for place, row in enumerate(part, first)]
    table: Table = render.table(columns, shown, now, width)
    return table, len(part) + 1


def marked(row: Row, chosen: bool, now: int) -> Row:
    """Return a row as it is drawn: with notes, the chosen one in reverse."""
    row = with_note(row, now) if "queued" in row else dict(row)
    if chosen:
        row["style"] = f"{row.get('style') or render.STYLES.get(str(row.get('state')), '')} reverse".strip()
    return row


def nothing(model: Model) -> str:
    """Return why there are no rows."""
    if model.page is Page.JOBS and model.jobs is None or model.picture is None:
        return ""
    if model.filter:
        return f"nothing here holds {render.escaped(model.filter)}"
    return "no functions yet" if model.page is Page.FUNCTIONS else "no such jobs"


def job_lines(model: Model, width: int, room: int, now: int) -> tuple[RenderableType, int]:
    """Return the part of a job's story that fits, and how many lines it takes."""
    if model.job is None:
        return Text(render.escaped(model.gone), "dim"), 1
    lines = folded(story(model.job, now).splitlines(), width)
    first = min(model.scroll, max(len(lines) - room, 0))
    part = lines[first : first + room]
    return Text("\n".join(part), no_wrap=True), len(part)


def folded(lines: Iterable[str], width: int) -> list[str]:
    """Return lines that are no longer than the screen is wide."""
    return [piece for line in lines for piece in pieces(line, width)]


def pieces(line: str, width: int) -> Iterator[str]:
    """Yield the pieces of a line. (Rich's own `chop_cells` turns them around in the version that Debian 12 has.)"""
    start = size = 0
    for place, sign in enumerate(line):
        cells = cell_len(sign)
        if size + cells > width:
            yield line[start:place]
            start, size = place, 0
        size += cells
    yield line[start:]
