"""Runs one target in this process: by atheris (coverage-guided, libFuzzer) where there is one, else blindly."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
MADE = ROOT / "build/fuzz"  # findings, logs, and what was learnt in earlier runs, unless told otherwise
TOO_LONG = 60  # seconds of one input, by the clock: see `in_time`
MOST_MEMORY = 700  # MiB
WITHOUT = "atheris is not installed (no wheel for this Python?): fuzzing goes on without looking at coverage"


def has_atheris() -> bool:
    """Whether runs can be guided by coverage."""
    return importlib.util.find_spec("atheris") is not None


def artifact(made: Path, target: str, data: bytes) -> Path:
    """Save an input that failed."""
    path = made / f"{target}-crash-{hashlib.sha1(data).hexdigest()}"
    path.write_bytes(data)
    return path


def guided(target: str, made: Path, seconds: float, runs: int, seed: int) -> None:
    """Fuzz with atheris; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["gearstore"], enable_loader_override=False):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.corpus import CORPUS, FOLDERS, LONGEST, dictionary

    learnt = made / "corpus" / target
    learnt.mkdir(parents=True, exist_ok=True)
    (made / f"{target}.dict").write_text(dictionary())
    flags = {
        "max_total_time": round(seconds), "runs": runs or -1, "seed": seed, "timeout": TOO_LONG,
        "max_len": LONGEST[target], "rss_limit_mb": MOST_MEMORY, "dict": made / f"{target}.dict",
        "artifact_prefix": made / f"{target}-",
        "print_final_stats": 1, "verbosity": 1, "reload": 0, "len_control": 20,
    }  # fmt: skip
    options = [f"-{name}={value}" for name, value in flags.items()]
    atheris.Setup([sys.argv[0], *options, str(learnt), str(CORPUS / FOLDERS[target])], TARGETS[target])
    atheris.Fuzz()


def fuzz(target: str, made: Path, seconds: float, runs: int, seed: int) -> None:
    """Fuzz one target. Its log ends with how many inputs were run, as libFuzzer says it."""
    made.mkdir(parents=True, exist_ok=True)
    if has_atheris():
        guided(target, made, seconds, runs, seed)
        return
    print(WITHOUT)
    from tests.fuzz.blind import fuzz as blindly

    began = time.monotonic()
    done = blindly(target, seconds, runs, seed, lambda data: artifact(made, target, data))
    print(f"Done {done} runs in {time.monotonic() - began:.0f} second(s)\nstat::number_of_executed_units: {done}")
