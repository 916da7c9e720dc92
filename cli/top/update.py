"""How keys and answers change what `gearstore top` shows. No input, no output, no clock.

`update` takes the model and what has happened; it returns the new model and what is to be asked of the server.
"""

from collections.abc import Callable
from dataclasses import replace

from .changes import CHANGES
from .model import ORDERS, STATES, Ask, Event, Key, Lost, Model, Page, Question, Seen, Told


def update(model: Model, event: Event) -> tuple[Model, list[Ask]]:
    """Return the model after an event, and what is to be asked."""
    if isinstance(event, Key):
        return pressed(replace(model, message=""), event.name)
    if isinstance(event, Lost):
        return replace(model, lost=event.text, busy=""), []
    if isinstance(event, Told):
        return replace(model, message=event.text, busy=""), [model.look]
    return seen(model, event), []


def seen(model: Model, event: Seen) -> Model:
    """Take over what the server has told, as far as it is about this page."""
    model = replace(model, picture=event.picture, lost="")
    if event.look == model.look and model.page is Page.JOBS:
        model = replace(model, jobs=event.jobs)
    elif event.look == model.look and model.page is Page.JOB:
        model = replace(model, job=event.job or model.job, gone=event.gone)
    return moved(0)(model) if model.page is not Page.JOB else model  # the cursor stays on its row when others come


def pressed(model: Model, key: str) -> tuple[Model, list[Ask]]:
    """Return the model after a key."""
    if key == "ctrl-c":
        return replace(model, over=True), []
    if model.question is not None:
        return answered(replace(model, question=None), model.question, key == "y")
    if model.typing:
        return typed(model, key), []
    if model.help:
        return replace(model, help=False), []
    if key in CHANGES:
        return replace(model, **CHANGES[key](model)), []
    before = model.look
    model = ACTIONS[key](model) if key in ACTIONS else model
    return model, [model.look] if model.look != before or key == "r" else []


def answered(model: Model, question: Question, yes: bool) -> tuple[Model, list[Ask]]:
    """Return the model after the answer to a question."""
    if question.change is None:
        return replace(model, over=yes), []
    if not yes:
        return replace(model, message="nothing was changed"), []
    text = question.text.rstrip("?")
    return replace(model, message=f"{text}...", busy=text), [question.change]


def ended(model: Model) -> Model:
    """End, if the server has done what it was asked for: it stops when we leave."""
    if model.busy:
        return replace(model, question=Question(f"{model.busy}: under way. Stop it and quit?"))
    return replace(model, over=True)


def typed(model: Model, key: str) -> Model:
    """Change the text of the filter."""
    if key == "enter":
        return replace(model, typing=False)
    if key == "escape":
        return replace(model, typing=False, filter="")
    if key == "backspace":
        return replace(model, filter=model.filter[:-1])
    return replace(model, filter=model.filter + key) if len(key) == 1 else model


# Looking around


def moved(distance: int) -> Callable[[Model], Model]:
    """Return the action that chooses the row so far away, or scrolls a job."""

    def move(model: Model) -> Model:
        if model.page is Page.JOB:
            return replace(model, scroll=max(0, model.scroll + distance))
        rows = model.rows
        if not rows:
            return model
        name = rows[min(max(model.index(rows) + distance, 0), len(rows) - 1)][model.key]
        return replace(model, chosen=name) if model.page is Page.FUNCTIONS else replace(model, handle=name)

    return move


def opened(model: Model) -> Model:
    """Go from a function to its jobs, from these to one of them."""
    row = model.row
    if row is None or model.page is Page.JOB:
        return model
    if model.picture is not None and model.picture.total is None:
        return replace(model, message="a plain gearmand does not tell its jobs")
    if model.page is Page.FUNCTIONS:
        name = row["function"]
        return replace(model, page=Page.JOBS, chosen=name, function=name, jobs=None, handle="", filter="")
    return replace(model, page=Page.JOB, handle=row["handle"], job=None, gone="", scroll=0)


def left(model: Model) -> Model:
    """Go back to where we came from; a filter goes first."""
    if model.page is Page.JOB:
        return replace(model, page=Page.JOBS, job=None)
    if model.filter:
        return replace(model, filter="")
    return replace(model, page=Page.FUNCTIONS, state="") if model.page is Page.JOBS else model


def sorted_next(model: Model) -> Model:
    """Take the next order, and look at what comes first in it."""
    if model.page is Page.FUNCTIONS:
        return replace(model, order=(model.order + 1) % len(ORDERS), chosen="")
    return replace(model, oldest=not model.oldest, jobs=None, handle="") if model.page is Page.JOBS else model


def next_state(model: Model) -> Model:
    """List jobs of the next state."""
    if model.page is not Page.JOBS:
        return model
    return replace(model, state=STATES[(STATES.index(model.state) + 1) % len(STATES)], jobs=None, handle="")


ACTIONS: dict[str, Callable[[Model], Model]] = {
    "down": moved(1), "j": moved(1), "up": moved(-1), "k": moved(-1), "page down": moved(20), "page up": moved(-20),
    "home": moved(-1 << 30), "g": moved(-1 << 30), "end": moved(1 << 30),
    "enter": opened, "right": opened, "l": opened, "escape": left, "left": left, "backspace": left,
    "s": sorted_next, "f": next_state, "/": lambda model: replace(model, typing=model.page is not Page.JOB, filter=""),
    "?": lambda model: replace(model, help=True), "h": lambda model: replace(model, help=True),
    "q": ended, "r": lambda model: model,
}  # fmt: skip
