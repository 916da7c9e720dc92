"""Cut the power of new records of the server, until so many images have been judged.

python -m tests.powercut [IMAGES]
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from time import monotonic

from tests.powercut.cuts import Verdict, cut_again, judge_all
from tests.powercut.lives import USUAL, WORST, record_lives

ROUND = 2000  # images


def main(wanted: int) -> None:
    """Record and judge, round after round."""
    total, started = Verdict(), monotonic()
    while total.images.total() < wanted:
        seed = SystemRandom().randrange(1 << 32)
        total.add(one_round(seed))
        print(f"seed {seed}, after {monotonic() - started:.0f} s: {total}", flush=True)
        if total.faults:
            sys.exit("\n".join(total.examples))


def one_round(seed: int) -> Verdict:
    """Record two servers and judge what power cuts leave of them. (A seed decides what clients do, not when.)"""
    with TemporaryDirectory() as folder:
        records = [record_lives(Path(folder), name, lives, seed=seed) for name, lives in LIVES.items()]
        verdict = judge_all(records, ROUND // len(records), seed)
        for record in records:
            verdict.add(cut_again(Path(folder, f"again-{Path(record.directory).name}"), record, 6, 20, seed))
        return verdict


LIVES = {"usual": USUAL, "worst": WORST}

if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUND)
