"""Seeds to run, in a test, in a process of their own, or by hand."""

from __future__ import annotations

import logging

from tests.simulation.world import World

OPERATIONS = 2500  # of one seed


class Failed(AssertionError):
    """A seed found a fault."""


def run_seed(seed: int) -> int:
    """Run one seed and return how many operations it made. Raises Failed, which names it."""
    logging.getLogger("gearstore").setLevel(logging.CRITICAL + 1)  # a bad disk is logged at every try
    try:
        return World(seed).run(OPERATIONS)
    except Exception as error:
        raise Failed(f"seed {seed}: {type(error).__name__}: {error}") from error


def run_seeds(first: int, operations: int) -> int:
    """Run seeds from the first on until so many operations are made."""
    done = 0
    while done < operations:
        done += run_seed(first)
        first += 1
    return done
