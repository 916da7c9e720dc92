"""Cuts the power at many moments of a record and starts the store on what is left."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import NamedTuple

from gearstore.errors import StoreError
from gearstore.queue.job import DELAYED, QUEUED, coalescing_key
from gearstore.queue.names import handle_of
from gearstore.queue.record import Record as Row
from gearstore.store.base import Changes, Filter, unique_hash
from gearstore.store.sqlite import SqliteStore
from tests.powercut.judge import Known
from tests.powercut.medium import Chance, Choice, Everything, Medium, Prefix
from tests.powercut.recording import Event, Kind, Recorder, events
from tests.powercut.serve import ROOT, WINDOW, shortened
from tests.powercut.workload import Plan

NAME = "gearstore.db"
MEMORY = Path("/dev/shm")  # the images are written there if there is one: nobody cuts our own power
PREFIX = b"H:test:"
SYNCS = (Kind.SYNC, Kind.SYNCED, Kind.NOT_SYNCED)
LAST = 60  # events of a life that are its end


class Record(NamedTuple):
    """A record of a server, and what its peers meant."""

    log: Path
    directory: str
    plan: Plan


class Image(NamedTuple):
    """The files after a power cut, and what was known then."""

    event: int  # after which the power was cut
    kind: str
    files: dict[str, bytes]
    known: Known


@dataclass
class Verdict:
    """What was found."""

    images: Counter[str] = field(default_factory=Counter)  # by kind
    different: int = 0  # images that no other one of the same part equals
    faults: Counter[str] = field(default_factory=Counter)  # by what is wrong
    examples: list[str] = field(default_factory=list)
    acknowledged: int = 0  # jobs, over all images
    ended: int = 0  # the same of those whose end was told

    def add(self, other: Verdict) -> None:
        """Take over what another one found."""
        self.images += other.images
        self.different += other.different
        self.faults += other.faults
        self.examples += other.examples[:10]
        self.acknowledged += other.acknowledged
        self.ended += other.ended

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.images.items()))
        found = ", ".join(f"{count} {fault}" for fault, count in self.faults.most_common()) or "none"
        return (
            f"{self.images.total()} images ({kinds}; {self.different} different), "
            f"{self.acknowledged} times an acknowledged job was looked for, {self.ended} times one whose end was told; "
            f"faults: {found}"
        )


# Images


def images(record: Record, wanted: int, seed: int, part: int = 0, parts: int = 1) -> Iterator[Image]:
    """Yield about so many images of all moments of a record, or a part of them."""
    recorded, known, random = list(events(record.log)), Known(record.plan), Random(seed)
    return cuts(recorded, Medium(record.directory), known, moments(recorded, wanted, random), random, part, parts)


def cuts(
    recorded: list[Event],
    medium: Medium,
    known: Known,
    pending: Counter[int],
    random: Random,
    part: int = 0,
    parts: int = 1,
) -> Iterator[Image]:
    """Follow the events; cut the power right before each sync returns, when most has been acknowledged since the last
    one, and so often before other events."""
    made, last_sync = 0, 0
    for number, event in enumerate(recorded):
        choices: list[Choice] = [Choice()] if event.kind is Kind.SYNCED or number == len(recorded) - 1 else []
        for _ in range(pending[number]):
            choices.append(chosen(random, last_sync, medium.now))
        for choice in choices:
            made += 1
            if made % parts == part:
                yield Image(number, type(choice).__name__, medium.image(choice), known)
        if event.kind is Kind.SEND:
            known.take(event)
        medium.take(event)
        if event.kind is Kind.SYNCED:
            last_sync = number


def moments(recorded: list[Event], wanted: int, random: Random) -> Counter[int]:
    """Return before which events to cut: any, one that has to do with a sync, one of a start or of an end."""
    syncs = [number for number, event in enumerate(recorded) if event.kind in SYNCS]
    pools = [pool for pool in (range(len(recorded)), syncs, turns(recorded)) if pool]
    return Counter(random.choice(random.choice(pools)) for _ in range(wanted))


def turns(recorded: list[Event]) -> list[int]:
    """Return the events with which a life of the server ends, and those before the next one answers anybody."""
    found: list[int] = []
    starting = False
    for number, event in enumerate(recorded):
        if event.kind is Kind.START:
            found += range(max(0, number - LAST), number)
        starting = event.kind is Kind.START or (starting and event.kind is not Kind.SEND)
        if starting:
            found.append(number)
    return found


def chosen(random: Random, since: int, now: int) -> Choice:
    """Return what a cut leaves."""
    kind = random.random()
    if kind < 0.05:
        return Everything()
    if kind < 0.2:
        return Prefix(random.randint(since, now))
    return Chance(Random(random.random()))


# Judging


def judge(record: Record, wanted: int, seed: int, part: int, parts: int) -> Verdict:
    """Start the store on each image of a part and compare it with what was known."""
    return judged(images(record, wanted, seed, part, parts))


def judged(cut: Iterable[Image], first: bool = False) -> Verdict:
    """Start the store on each image and compare it with what was known; perhaps only until something is wrong."""
    folder = Path(mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    try:
        with shortened():
            return asyncio.run(_judged(folder, cut, first))
    finally:
        shutil.rmtree(folder)


async def _judged(folder: Path, cut: Iterable[Image], first: bool) -> Verdict:
    verdict = Verdict()
    seen: set[int] = set()
    for image in cut:
        known = image.known
        verdict.images[image.kind] += 1
        verdict.acknowledged += len(known.acknowledged)
        verdict.ended += len(known.ended)
        content = hash((tuple(image.files.items()), len(known.acknowledged), len(known.ended), len(known.refused)))
        if content not in seen:
            seen.add(content)
            for fault in await start(folder, image):
                verdict.faults[fault.rpartition("' ")[2]] += 1
                verdict.examples.append(f"event {image.event}, {image.kind}: {fault}")
        if first and verdict.faults:
            break
    verdict.different = len(seen)
    return verdict


async def start(folder: Path, image: Image) -> list[str]:
    """Start the store on an image and return what is wrong."""
    write(folder, image.files)
    store = SqliteStore(str(folder / NAME))
    try:
        recovered = await store.open(PREFIX, 1000, WINDOW)
    except StoreError as error:
        return [f"cannot be started: {str(error).replace(str(folder), '')}"]
    try:
        try:
            records = await store.find(Filter(), False, None, 1 << 30)
        except StoreError as error:
            return [f"cannot be read: {str(error).replace(str(folder), '')}"]
        jobs = {handle_of(recovered.prefixes, record.id): record for record in records}
        return image.known.faults_of(jobs, recovered.next_id) + await unfound(store, records)
    finally:
        await store.close()


async def unfound(store: SqliteStore, records: list[Row]) -> list[str]:
    """Return which jobs a submit of the same unique would not join."""
    keys = {
        record.id: (record.function_id, coalescing_key(record.unique, record.workload))
        for record in records
        if record.state in (QUEUED, DELAYED) and record.unique
    }
    look_ups = [(id, function_id, key, unique_hash(key)) for id, (function_id, key) in keys.items()]
    found = (await store.apply(Changes(look_ups=look_ups))).found
    missed = [f"number '{id}' is not found by its unique" for id in keys if id not in found]
    return missed + [f"number '{id}' has a twin" for id in keys if id in found and found[id].id != id]


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Have these files in a folder, and no others."""
    for name in os.listdir(folder):
        os.unlink(folder / name)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def judge_all(records: list[Record], wanted: int, seed: int = 0) -> Verdict:
    """Judge about `wanted` images of each record, on all processors."""
    parts = os.cpu_count() or 1
    verdict = Verdict()
    with ProcessPoolExecutor(parts) as pool:
        jobs = [
            pool.submit(judge, record, wanted, seed + number, part, parts)
            for number, record in enumerate(records)
            for part in range(parts)
        ]
        for job in jobs:
            verdict.add(job.result())
    return verdict


# A power cut while a start recovers from a power cut

RECOVER = """
import asyncio, sys
sys.path.insert(0, {root!r})
from tests.powercut.cuts import recover
recover(sys.argv[1:])
"""


def recover(directories: list[str]) -> None:
    """Open the databases of some directories and close them."""

    async def recover_all() -> None:
        for directory in directories:
            store = SqliteStore(f"{directory}/{NAME}")
            await store.open(PREFIX, 1000, WINDOW)
            await store.close()

    with shortened():
        asyncio.run(recover_all())


def cut_again(folder: Path, record: Record, number: int, wanted: int, seed: int = 0) -> Verdict:
    """Let the store start on `number` images while it is recorded, and cut the power again, `wanted` times each."""
    folder.mkdir()
    first = [image._replace(known=deepcopy(image.known)) for image in images(record, number, seed, 0, 3)]
    random = Random(seed)
    chosen_images = random.sample(first, min(number, len(first)))
    recorder = Recorder(folder, folder)
    directories = []
    for index, image in enumerate(chosen_images):
        directories.append(str(folder / str(index)))
        os.mkdir(directories[-1])
        write(Path(directories[-1]), image.files)
    subprocess.run(
        [sys.executable, "-c", RECOVER.format(root=str(ROOT)), *directories],
        env=os.environ | recorder.variables,
        check=True,
        timeout=120,
    )
    recorded = list(events(recorder.log))

    def second() -> Iterator[Image]:
        for directory, image in zip(directories, chosen_images, strict=True):
            medium = Medium(directory, image.files)
            mine = [event for event in recorded if medium.concerns(event)]
            yield from cuts(mine, medium, image.known, moments(mine, wanted, random), random)

    return judged(second())
