"""The history is kept within its limits: one task, small steps, and after each a rest that is longer than the step.

A *look* asks the store for its totals, a few rows. Only if something has to go, a *pass* walks over the jobs in the
order of their numbers, page by page, and prunes what it finds batch by batch. How many jobs ended when is learnt by a
*survey* of all jobs at the start (and after a change of policies), later from the totals.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from gearstore.errors import StoreError
from gearstore.queue.history import Bounds, Ended, History
from gearstore.queue.policy import FOREVER, Keep
from gearstore.server.hub import Durable, Hub

logger = logging.getLogger("gearstore")

LOOK = 1.0  # seconds between two looks
RETRY = 30.0  # seconds until the next look after an error
BATCH, BATCH_BYTES = 100, 4 << 20  # jobs pruned by one commit, and their bytes; the job that goes beyond it included
PAGE, SLOW = 4096, 0.02  # jobs that one question to the store walks over at most; seconds after which they are fewer
REST = 4.0  # a step that took a millisecond is followed by a rest of so many
HURRY = 0.5  # the same while more ends than is pruned
MEMORY = Keep(count=100_000)  # limits each group further where the store lives in memory


class Retention:
    """Prunes the history of one server."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.cap = FOREVER if hub.store.path else MEMORY
        self.policies = hub.engine.policies
        self.history = History(self.policies, self.cap)
        self.surveyed = False
        self.floor = 0  # no job up to this number had to go at the last pass, so the next one begins behind it
        self.page = BATCH  # jobs that the next question walks over
        self.excess = 1 << 62  # jobs that had to go at the last pass
        self.commits = -1  # of the journal when the totals were asked for
        self.rest = REST

    async def run(self) -> None:
        """Look again and again."""
        while True:
            try:
                await self.look()
                await asyncio.sleep(LOOK)
            except StoreError as error:
                logger.warning("the history is not pruned for now: %s", error)
                await asyncio.sleep(RETRY)

    async def look(self) -> None:
        """Bring everything within its limits."""
        self.policies = self.hub.engine.policies
        if self.policies != self.history.policies:
            self.history = History(self.policies, self.cap)
            self.surveyed = False
        self.meet()
        if not self.history.limited:
            return
        if not self.surveyed:
            await self.survey()
        pruned = postponed = False
        while not self.outdated and any(bounds := await self.bounds()):
            pruned = True
            if await self.walk(bounds):
                continue
            if self.floor == 0:
                if postponed:
                    break
                self.history.postpone(self.hub.engine.now)
                postponed = True
            self.floor = 0
        if pruned:
            await self.shrink()

    @property
    def outdated(self) -> bool:
        """Whether other policies were set since the look began: it ends as soon as it can."""
        return self.hub.engine.policies is not self.policies

    def meet(self) -> None:
        """Have the history know every function, before it hears of a job of it."""
        for function in self.hub.engine.functions.values():
            self.history.meet(function.id, function.name)

    async def survey(self) -> None:
        """Learn how many jobs ended when."""
        after: int | None = 0
        self.floor, self.commits = 0, -1
        left = sum(total.jobs for total in await self.hub.store.totals())
        while after is not None and left > 0:
            started = self.hub.loop.time()
            found, after = await self.hub.store.survey(after, self.page)
            self.pace(started, room=True)
            self.meet()
            self.history.add(found)
            left -= sum(total.jobs for total in found)
            await self.pause(started, REST)
        self.surveyed = True

    async def bounds(self) -> tuple[Bounds, Bounds]:
        """Return which jobs have to go now, and set the pace of the pass."""
        started, commits = self.hub.loop.time(), self.hub.journal.commits
        if commits != self.commits:
            totals = await self.hub.store.totals()
            self.commits = commits
            self.hub.set_time()
            self.meet()
            self.history.correct(totals, self.hub.engine.now)
            await self.pause(started, REST)
        self.hub.set_time()
        bounds = self.history.bounds(self.hub.engine.now)
        excess = self.history.excess
        self.rest = HURRY if excess > max(self.excess, BATCH) else REST
        self.excess = excess
        return bounds

    async def walk(self, bounds: tuple[Bounds, Bounds]) -> bool:
        """Prune what ended before the bounds; return False if the last job was passed and more should have gone."""
        after: int | None = self.floor
        met, seen = False, None
        while not self.outdated and self.history.narrow(bounds, self.hub.engine.now):
            if after is None:
                return False
            started = self.hub.loop.time()
            async with self.hub.history:
                jobs, last = await self.hub.store.prunable(bounds, after, self.page)
                gone, cut = self.choose(jobs)
                self.pace(started, room=not cut)
                if gone:
                    await self.prune(gone)
            if gone and not met:
                self.floor, met = gone[0] - 1, True
            if not gone and jobs and seen == (seen := jobs[0]):
                return False  # a store without numbers to go on from shows the same ones again
            after = cut or last
            await self.pause(started, self.rest)
        return True

    def choose(self, jobs: Iterable[Ended]) -> tuple[list[int], int]:
        """Return the numbers of those that go with one commit, and the last one looked at if that was not the last."""
        gone: list[int] = []
        size = 0
        for job in jobs:
            if self.is_at_rest(job) and self.history.take(job, self.hub.engine.now):
                gone.append(job.id)
                size += job.size
                if len(gone) == BATCH or size >= BATCH_BYTES:
                    return gone, job.id
        return gone, 0

    def is_at_rest(self, job: Ended) -> bool:
        """Whether a job is in no other hands than the store's."""
        engine = self.hub.engine
        return engine.handle(job.id) not in engine.jobs

    async def prune(self, ids: list[int]) -> None:
        """Forget jobs; return when that is durable."""
        self.hub.journal.prune(ids)
        await Durable(self.hub, True).future

    async def shrink(self) -> None:
        """Give the space that became free back to the system, as far as it will not be needed again soon."""
        started = self.hub.loop.time()
        while await self.hub.journal.aside(self.hub.store.shrink):
            await self.pause(started, REST)
            started = self.hub.loop.time()

    def pace(self, asked: float, room: bool) -> None:
        """Let the next question walk over more jobs if there is room for more, over fewer if it was slow."""
        slow = self.hub.loop.time() - asked > SLOW
        self.page = max(BATCH, self.page // 2) if slow or not room else min(PAGE, self.page * 2)

    async def pause(self, started: float, rest: float) -> None:
        """Leave the rest of the time to others after a step that began at `started`."""
        await asyncio.sleep(rest * (self.hub.loop.time() - started))
