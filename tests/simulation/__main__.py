"""`python -m tests.simulation SEED`: run one seed again. `python -m tests.simulation --soak SECONDS`: run new ones."""

from __future__ import annotations

import sys
import time

from tests.simulation.runs import OPERATIONS, run_seed
from tests.simulation.world import World


def soak(seconds: float) -> None:
    """Run seeds that nobody has run before."""
    end = time.monotonic() + seconds
    seed = time.time_ns() // 1_000_000
    done = seeds = 0
    while time.monotonic() < end:
        done += run_seed(seed + seeds)
        seeds += 1
    print(f"{seeds} seeds from {seed} on, {done} operations: no fault")


def again(seed: int, trace: bool) -> None:
    """Run one seed, and say what it came to."""
    world = World(seed)
    operations = world.run(OPERATIONS)
    print(f"{seed}: {operations} operations, {world.numbers} submits, {world.loop.time():.6f} s, no fault")
    if trace:
        for job in world.ledger.jobs.values():
            print(job.handle, job.workload, job.runs, job.sealed, job.cancelled)


if __name__ == "__main__":
    if sys.argv[1] == "--soak":
        soak(float(sys.argv[2]))
    else:
        again(int(sys.argv[1]), "--trace" in sys.argv)
