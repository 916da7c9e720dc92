"""Fuzzing without coverage, for a Python that atheris does not support: inputs of the corpus, changed at random."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.fuzz.corpus import LONGEST, inputs, words
from tests.fuzz.targets import TARGETS

TOO_LONG = 60  # seconds of one input, by the clock


class Hang(Exception):
    """One input took too long."""


def fuzz(target: str, seconds: float, runs: int, seed: int, artifact: Callable[[bytes], Path]) -> int:
    """Run changed inputs until the time is over or so many are done; return how many. What fails is saved."""
    chance = Random(seed)
    kept = [path.read_bytes() for path in inputs(target)]
    end = time.monotonic() + seconds
    done = 0
    signal.signal(signal.SIGALRM, hang)
    while time.monotonic() < end and (not runs or done < runs):
        data = changed(chance.choice(kept), chance, kept)[: LONGEST[target]]
        signal.alarm(TOO_LONG)
        try:
            TARGETS[target](data)
        except BaseException:
            artifact(data)
            raise
        finally:
            signal.alarm(0)
        done += 1
    return done


def hang(number: int, frame: object) -> None:
    """Time is up for this input."""
    raise Hang(f"one input took more than {TOO_LONG} s")


def changed(data: bytes, chance: Random, kept: list[bytes]) -> bytes:
    """Return the input with a few changes."""
    for _ in range(chance.randint(1, 5)):
        place, length = chance.randint(0, len(data)), chance.choice((0, 0, 1, 4, 20))
        other = chance.choice(kept)
        start = chance.randint(0, len(other))
        new = chance.choice((b"", chance.randbytes(1), chance.choice(words()), other[start : start + 50]))
        data = data[:place] + new + data[place + length :]
    return data
