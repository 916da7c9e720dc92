"""The receipt: how many commits there were, how many jobs each carried, and how long acknowledgements took.

Nothing is measured for a single packet. A batch knows when the first request of it was read; once the answers that
waited for it are with the kernel, every new job in it counts with the time since then. So a job counts with the longest
wait of its batch, never with less than its own. What waited unread in a socket's buffer can't be seen from here.

Times are counted in steps of 9 % (8 for each doubling), by the second for the last minute, and all together since the
start: memory and cost don't grow with the number of jobs.
"""

from __future__ import annotations

from collections import deque
from math import log2
from time import perf_counter

SECONDS = 60
STEPS = 8  # in which a time doubles
LAST_STEP = 40 * STEPS  # microseconds: some days


class Tally:
    """What happened in some span of time."""

    __slots__ = ("commits", "jobs", "seconds", "waits")

    def __init__(self) -> None:
        self.commits = 0
        self.jobs = 0  # whose state a commit wrote
        self.seconds = 0.0  # that the disk took for commits
        self.waits: dict[int, int] = {}  # step -> new jobs that were acknowledged after so long

    def add(self, other: Tally, sign: int = 1) -> None:
        """Take another span in, or with sign -1 out."""
        self.commits += sign * other.commits
        self.jobs += sign * other.jobs
        self.seconds += sign * other.seconds
        for step, jobs in other.waits.items():
            self.waits[step] = self.waits.get(step, 0) + sign * jobs
            if not self.waits[step]:
                del self.waits[step]

    def percentile(self, share: float) -> float | None:
        """Return the milliseconds within which this share of the new jobs was acknowledged, None without any."""
        rest = share * sum(self.waits.values())
        for step, jobs in sorted(self.waits.items()):
            rest -= jobs
            if rest <= 0:
                return round(2 ** ((step + 1) / STEPS) / 1000, 3)
        return None

    def summary(self, seconds: float) -> dict[str, float | None]:
        """Return the figures of a span of so many seconds."""
        return {
            "seconds": round(seconds, 1),
            "commits": self.commits,
            "commits_per_second": round(self.commits / max(seconds, 1e-3), 1),
            "commit_seconds": round(abs(self.seconds), 3),
            "jobs": self.jobs,
            "jobs_per_commit": round(self.jobs / self.commits, 1) if self.commits else None,
            "submits": sum(self.waits.values()),
            "p50_ms": self.percentile(0.5),
            "p99_ms": self.percentile(0.99),
        }


class Receipt:
    """The tallies of the last minute and since the start."""

    def __init__(self) -> None:
        self.second = Tally()  # that has begun
        self.seconds: deque[Tally] = deque(Tally() for _ in range(SECONDS))
        self.minute = Tally()  # the sum of the seconds
        self.total = Tally()  # up to the second that has begun
        self.started_at = self.sampled_at = perf_counter()

    def committed(self, jobs: int, seconds: float) -> None:
        """Take note of a commit that wrote the state of so many jobs, and of how long the disk took."""
        second = self.second
        second.commits += 1
        second.jobs += jobs
        second.seconds += seconds

    def acknowledged(self, began: float, jobs: int) -> None:
        """Take note that so many new jobs of a batch that began then are answered now."""
        step = min(int(log2(max((perf_counter() - began) * 1e6, 1.0)) * STEPS), LAST_STEP)
        waits = self.second.waits
        waits[step] = waits.get(step, 0) + jobs

    def sample(self) -> None:
        """Close the second that has begun, and those that passed since the last sample."""
        now = perf_counter()
        passed, self.sampled_at = round(now - self.sampled_at), now
        for _ in range(min(passed, SECONDS) - 1):
            self._push(Tally())
        self._push(self.second)
        self.second = Tally()

    def _push(self, second: Tally) -> None:
        self.seconds.append(second)
        self.minute.add(second)
        self.total.add(second)
        self.minute.add(self.seconds.popleft(), -1)

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return what there is to say of the last minute and since the start, the second that has begun included."""
        now = perf_counter()
        up, figures = now - self.started_at, {}
        minute = min(up, SECONDS + now - self.sampled_at)
        for name, tally, seconds in (("minute", self.minute, minute), ("start", self.total, up)):
            whole = Tally()
            whole.add(tally)
            whole.add(self.second)
            figures[name] = whole.summary(seconds)
        return figures
