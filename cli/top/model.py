"""What `gearstore top` shows, what it asks of the server, and what can happen to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Optional

from ..client import Row
from ..status import Picture


class Page(Enum):
    """What fills the screen."""

    FUNCTIONS = "functions"
    JOBS = "jobs"
    JOB = "job"


class Order(NamedTuple):
    """An order of the functions: its name, and the key by which they are sorted."""

    name: str
    key: Callable[[Row], Any]


ORDERS = (
    Order("name", lambda row: row["function"]),
    Order("queued", lambda row: -row["queued"]),
    Order("running", lambda row: -row["running"]),
    Order("oldest", lambda row: row.get("oldest_at") or 1 << 62),
    Order("failed", lambda row: -row.get("failed", 0)),
    Order("done/min", lambda row: -row.get("done_per_minute", 0)),
)
STATES = ("", "queued", "running", "delayed", "held", "failed", "done", "cancelled")


# What is asked of the server


class Look(NamedTuple):
    """Show the page as it is now: the jobs of a function, or one job; without either the functions alone."""

    function: str = ""
    state: str = ""
    oldest: bool = False
    handle: str = ""


class Change(NamedTuple):
    """Change something: a verb, its request, and how its success is told."""

    verb: str
    request: Row
    done: str


Ask = Look | Change


# What happens


class Seen(NamedTuple):
    """The answer to a Look."""

    look: Look
    picture: Picture
    jobs: Sequence[Row] = ()
    job: Optional[Row] = None
    gone: str = ""  # why there is no such job (any more)


class Told(NamedTuple):
    """What came of a Change."""

    text: str


class Lost(NamedTuple):
    """There is no server, for this reason."""

    text: str


class Key(NamedTuple):
    """A key was pressed."""

    name: str


Event = Seen | Told | Lost | Key


class Question(NamedTuple):
    """What is asked before something is changed; without a change: before we end."""

    text: str
    change: Optional[Change] = None


@dataclass(frozen=True, slots=True)
class Model:
    """All that the screen shows."""

    server: str
    page: Page = Page.FUNCTIONS
    picture: Optional[Picture] = None
    lost: str = ""  # why there is no server
    order: int = 1
    chosen: str = ""  # function
    function: str = ""  # whose jobs are listed
    state: str = ""  # of jobs that are listed, "" for all
    oldest: bool = False
    jobs: Optional[Sequence[Row]] = None
    handle: str = ""  # chosen among the jobs
    job: Optional[Row] = None
    gone: str = ""
    scroll: int = 0  # lines of the job above the screen
    filter: str = ""
    typing: bool = False
    question: Optional[Question] = None
    message: str = ""
    busy: str = ""  # the change that is under way
    help: bool = False
    over: bool = False

    @property
    def look(self) -> Look:
        """What has to be asked to show this page."""
        if self.page is Page.FUNCTIONS:
            return Look()
        return Look(self.function, self.state, self.oldest, self.handle if self.page is Page.JOB else "")

    @property
    def key(self) -> str:
        """The key of the rows' identity."""
        return "function" if self.page is Page.FUNCTIONS else "handle"

    @property
    def rows(self) -> list[Row]:
        """The rows of the page in their order: functions, or jobs."""
        if self.page is Page.FUNCTIONS:
            found = list(self.picture.rows) if self.picture else []
            return sorted((row for row in found if self.passes(row)), key=ORDERS[self.order].key)
        return [row for row in self.jobs or () if self.passes(row)]

    def passes(self, row: Row) -> bool:
        """Whether a row holds the text of the filter."""
        texts = (row.get(key) for key in ("function", "handle", "unique", "error", "preview"))
        return any(self.filter.lower() in text.lower() for text in texts if text)

    @property
    def row(self) -> Optional[Row]:
        """The function or job that is meant now."""
        if self.page is Page.JOB:
            return self.job
        rows = self.rows
        return rows[self.index(rows)] if rows else None

    def index(self, rows: Sequence[Row]) -> int:
        """The place of the chosen row; the first if it isn't there (any more)."""
        chosen = self.chosen if self.page is Page.FUNCTIONS else self.handle
        return next((place for place, row in enumerate(rows) if row[self.key] == chosen), 0)

    def function_row(self) -> Optional[Row]:
        """The row of the function that is meant on this page."""
        if self.page is Page.FUNCTIONS:
            return self.row
        rows = self.picture.rows if self.picture else []
        return next((row for row in rows if row["function"] == self.function), None)
