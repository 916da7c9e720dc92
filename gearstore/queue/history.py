"""The history in outline: how many jobs ended when, and so which of them may go, without reading a single one.

The functions that have no `keep_*` of their own form one group, each of the others is one by itself; done and
cancelled jobs are apart from failed ones. Totals are exact whenever the store is asked; when the jobs ended is known
by spans of time, so that the oldest go first, to within a span.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from gearstore.queue.job import FAILED
from gearstore.queue.policy import Keep, Policies

MOST_SPANS = 1024  # of a group; twice as many are merged in pairs
MOST_WANTED = 500  # functions of their own that one pass looks for

_until = attrgetter("until")


class Ended(NamedTuple):
    """A job that has ended, as far as it matters here."""

    id: int
    function_id: int
    state: int
    ended_at: int
    size: int  # bytes of workload and result


class Total(NamedTuple):
    """How many jobs of a function are in an ended state; in a survey only those that ended before `until`."""

    function_id: int
    state: int
    until: int
    jobs: int
    bytes: int


@dataclass(slots=True)
class Bounds:
    """Before when jobs must have ended to be looked at, by function; 0 for none of its jobs."""

    others: int = 0
    own: dict[int, int] = field(default_factory=dict)

    def of(self, function_id: int) -> int:
        """Return the bound of a function."""
        return self.own.get(function_id, self.others)

    def __bool__(self) -> bool:
        return self.others > 0 or any(self.own.values())


@dataclass(slots=True)
class Span:
    """Jobs that ended before a moment and not before that of the span in front of it."""

    until: int
    jobs: int
    bytes: int


class Group:
    """The ended jobs that share limits."""

    __slots__ = ("before", "bytes", "due", "jobs", "keep", "spans")

    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.spans: list[Span] = []
        self.jobs = 0
        self.bytes = 0
        self.before = 0  # what `bound` returned last
        self.due = 0

    def add(self, until: int, jobs: int, bytes: int) -> None:
        """Take note of jobs that ended before a moment."""
        self.jobs += jobs
        self.bytes += bytes
        spans = self.spans
        place = bisect_left(spans, until, key=_until)
        if place < len(spans) and spans[place].until == until:
            spans[place].jobs += jobs
            spans[place].bytes += bytes
            return
        spans.insert(place, Span(until, jobs, bytes))
        if len(spans) > 2 * MOST_SPANS:
            self.spans = [
                Span(later.until, earlier.jobs + later.jobs, earlier.bytes + later.bytes)
                for earlier, later in zip(spans[:-1:2], spans[1::2], strict=True)
            ] + spans[len(spans) // 2 * 2 :]

    def correct(self, jobs: int, bytes: int, now: int) -> None:
        """Take over the true totals. What is new ended by now; what is missing came back or was purged: which jobs
        that were is not known, so they are taken for the newest. (A pass that misses them leads to a new survey.)"""
        new = jobs - self.jobs
        while new < 0 and self.spans:
            last = self.spans[-1]
            gone = min(last.jobs, -new)
            last.jobs -= gone
            self.jobs -= gone
            new += gone
            if last.jobs == 0:
                self.bytes -= last.bytes
                self.spans.pop()
        if new or bytes != self.bytes:
            self.add(now + 1, new, bytes - self.bytes)

    def bound(self, now: int) -> int:
        """Return before when jobs must have ended to go now, 0 if none has to; `due` is then about how many."""
        aged = self._aged(now)
        jobs, bytes = self._excess()
        self.before, self.due = 0, max(jobs, self.jobs * bytes // self.bytes if bytes > 0 else 0, 0)
        old = 0
        for span in self.spans:
            if span.until > aged and jobs <= 0 and bytes <= 0:
                break
            if span.jobs > 0:
                self.before = span.until
            if span.until <= aged:
                old += span.jobs
            jobs -= span.jobs
            bytes -= span.bytes
        self.due = max(self.due, old)
        return self.before

    def _aged(self, now: int) -> int:
        """Return the moment before which jobs must have ended to be too old."""
        return -1 if self.keep.age is None else now - self.keep.age

    def _excess(self) -> tuple[int, int]:
        """Return how many jobs and bytes are too many; nothing above 0 if none are."""
        keep = self.keep
        jobs = 0 if keep.count is None else self.jobs - keep.count
        return jobs, 0 if keep.bytes is None else self.bytes - keep.bytes

    def wants(self, now: int) -> bool:
        """Whether a job of those that ended before `before` still has to go."""
        spans = self.spans
        while len(spans) > 1 and spans[0].jobs <= 0:
            empty = spans.pop(0)
            spans[0].jobs += empty.jobs
            spans[0].bytes += empty.bytes
        if self.jobs <= 0 or spans[0].until > self.before:
            return False
        jobs, bytes = self._excess()
        return spans[0].until <= self._aged(now) or jobs > 0 or bytes > 0

    def postpone(self, now: int) -> None:
        """Believe of what should have gone, but was not to be found, that it ended later than was thought."""
        jobs = bytes = 0
        while self.spans and self.spans[0].until <= self.before:
            span = self.spans.pop(0)
            jobs += span.jobs
            bytes += span.bytes
        self.jobs -= jobs
        self.bytes -= bytes
        self.add(now + 1, jobs, bytes)

    def take(self, job: Ended, now: int) -> bool:
        """Return whether a job has to go, and if so count it as gone."""
        jobs, bytes = self._excess()
        if (
            self.jobs <= 0
            or job.ended_at >= self.before
            or not (job.ended_at <= self._aged(now) or jobs > 0 or bytes > 0)
        ):
            return False
        spans = self.spans
        place = min(bisect_right(spans, job.ended_at, key=_until), len(spans) - 1)
        while place < len(spans) - 1 and spans[place].jobs <= 0:  # it was counted late
            place += 1
        spans[place].jobs -= 1
        spans[place].bytes -= job.size
        self.jobs -= 1
        self.bytes -= job.size
        return True


class History:
    """All groups under the given policies. `cap` limits each group further, for a store that lives in memory."""

    def __init__(self, policies: Policies, cap: Keep) -> None:
        self.policies = policies
        self.cap = cap
        defaults = policies.defaults
        self.others = (Group(within(defaults.keep_done, cap)), Group(within(defaults.keep_failed, cap)))
        self.own: tuple[dict[int, Group], dict[int, Group]] = ({}, {})
        self.known: set[int] = set()

    def meet(self, function_id: int, name: bytes) -> None:
        """Give a function groups of its own, if the policies have limits for it alone."""
        if function_id in self.known:
            return
        self.known.add(function_id)
        policy = self.policies.of(name)
        for own, key in zip(self.own, ("keep_done", "keep_failed"), strict=True):
            if self.policies.rule_of(name, key) is not None:
                own[function_id] = Group(within(getattr(policy, key), self.cap))

    def group(self, function_id: int, state: int) -> Group:
        """Return the group of a function's done and cancelled, or of its failed jobs."""
        failed = state == FAILED
        return self.own[failed].get(function_id, self.others[failed])

    def groups(self) -> Iterable[Group]:
        """Yield all groups."""
        for others, own in zip(self.others, self.own, strict=True):
            yield others
            yield from own.values()

    @property
    def limited(self) -> bool:
        """Whether any job ever has to go."""
        return any(not group.keep.forever for group in self.groups())

    def add(self, found: Iterable[Total]) -> None:
        """Take note of jobs that a survey found."""
        for total in found:
            group = self.group(total.function_id, total.state)
            if not group.keep.forever:
                group.add(total.until, total.jobs, total.bytes)

    def correct(self, totals: Iterable[Total], now: int) -> None:
        """Take over the true totals."""
        sums = {group: [0, 0] for group in self.groups() if not group.keep.forever}
        for total in totals:
            if (found := sums.get(self.group(total.function_id, total.state))) is not None:
                found[0] += total.jobs
                found[1] += total.bytes
        for group, (jobs, bytes) in sums.items():
            group.correct(jobs, bytes, now)

    def bounds(self, now: int) -> tuple[Bounds, Bounds]:
        """Return which jobs have to go now: done and cancelled ones, failed ones."""
        return self._bounds(False, now), self._bounds(True, now)

    def _bounds(self, failed: bool, now: int) -> Bounds:
        bounds = Bounds(self.others[failed].bound(now))
        wanted = 0
        for function_id, group in self.own[failed].items():
            before = group.bound(now) if wanted < MOST_WANTED else 0
            wanted += before > 0
            bounds.own[function_id] = before
        return bounds

    @property
    def excess(self) -> int:
        """About how many jobs had to go when `bounds` was asked."""
        return sum(group.due for group in self.groups())

    def narrow(self, bounds: tuple[Bounds, Bounds], now: int) -> bool:
        """Take the groups of which no more jobs have to go out of the bounds; return whether any is left."""
        for side, others, own in zip(bounds, self.others, self.own, strict=True):
            if side.others and not others.wants(now):
                side.others = 0
            for function_id, before in side.own.items():
                if before and not own[function_id].wants(now):
                    side.own[function_id] = 0
        return any(bounds)

    def postpone(self, now: int) -> None:
        """See `Group.postpone`."""
        for group in self.groups():
            if group.before and group.wants(now):
                group.postpone(now)

    def take(self, job: Ended, now: int) -> bool:
        """Return whether a job has to go, and if so count it as gone."""
        return job.function_id in self.known and self.group(job.function_id, job.state).take(job, now)


def within(keep: Keep, cap: Keep) -> Keep:
    """Return the stricter of each two limits."""
    limits: Mapping[str, list[int]] = {
        name: [limit for limit in (getattr(keep, name), getattr(cap, name)) if limit is not None]
        for name in ("age", "count", "bytes")
    }
    return Keep(**{name: min(found) for name, found in limits.items() if found})
