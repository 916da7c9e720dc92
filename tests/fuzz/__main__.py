"""`python -m tests.fuzz` fuzzes all targets, `python -m tests.fuzz TARGET` one, `... TARGET FILE` runs inputs again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.corpus import FOLDERS
from tests.fuzz.engine import MADE, fuzz
from tests.fuzz.party import fuzz_all


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="?", choices=list(FOLDERS))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--runs", type=int, default=0, help="of each target; 0: as many as there is time for")
    parser.add_argument("--processes", type=int, default=1, help="of each target")
    parser.add_argument("--folder", type=Path, default=MADE, help="for logs, findings, and what was learnt")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    given = parser.parse_args()
    if given.target is None:
        return fuzz_all(list(FOLDERS), given.processes, given.folder.resolve(), given.seconds, given.runs, given.seed)
    if not given.files:
        fuzz(given.target, given.folder.resolve(), given.seconds, given.runs, given.seed)
        return 0
    from tests.fuzz.targets import TARGETS

    for file in given.files:
        TARGETS[given.target](file.read_bytes())
        print(f"{file}: no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
