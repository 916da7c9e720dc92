"""What a run of the benchmark leaves: a JSON file, a text, and the table and the picture for the tree."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import picture
import report
import targets
from generator import Load
from machine import Syncs
from scenarios import Measurement

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PICTURE = "RESULTS.md", "benchmark.svg"
PEERS = ("gearmand", "redis-server", "beanstalkd")
OWN = ("scenario", "server", "round", "server_cpu_s", "foreign_cores")  # of a measurement, beside its load


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is known of a run: the machine, the measurements, what the count of instructions says."""

    facts: dict[str, str]
    results: report.Results
    instructions: str


def save(path: Path, found: Outcome) -> None:
    """Write everything that was measured, so that others can take other medians."""
    runs = [report.as_record(one) for one in found.results.all]
    syncs = [asdict(sync) for sync in found.results.syncs]
    content = {"machine": found.facts, "syncs": syncs, "instructions": found.instructions, "runs": runs}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def load(path: Path) -> Outcome:
    """Return what was saved; raise ValueError for anything else."""
    content = json.loads(path.read_text())
    try:
        runs = [
            Measurement(load=Load(**{name: row[name] for name in Load.__slots__}), **{name: row[name] for name in OWN})
            for row in content["runs"]
        ]
        results = report.Results(runs, [Syncs(**sync) for sync in content["syncs"]])
        return Outcome(content["machine"], results, content["instructions"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no result of this benchmark: {error!r}") from None


def text(found: Outcome) -> str:
    """Return everything as text."""
    facts = [f"{name}: {fact}" for name, fact in found.facts.items()]
    floors, wanted = targets.verdicts(found.results)
    verdicts = []
    for title, part in (("Floors", floors), ("Targets", wanted)):
        verdicts += ["", title, *map(str, part)] if part else []
    counted = ["", "Instructions of the hot path", found.instructions] if found.instructions else []
    return "\n".join([*facts, "", *report.whole(found.results), *verdicts, *counted])


def remark(found: Outcome) -> str:
    """Return the line below the picture: where and how it was measured."""
    facts = found.facts
    versions = [f"{name} {facts[name]}" for name in PEERS if facts.get(name, "not found") != "not found"]
    rounds = max(one.round for one in found.results.all)
    disk = facts["fdatasync, 4 KiB overwritten"].partition(" median")[0]
    return (
        f"{facts['processors']}, {facts['file system']}, fdatasync {disk}; medians of {rounds} interleaved runs; "
        f"{', '.join(versions)}"
    )


def in_tree() -> tuple[Path, Path]:
    """Return where the table and the picture stand that the documents show."""
    return ROOT / "benchmarks" / RESULTS, ROOT / "docs" / "images" / PICTURE


def beside(path: Path) -> tuple[Path, Path]:
    """Return where the table and the picture of a result go that is not to be shown."""
    return path.with_name(RESULTS), path.with_name(PICTURE)


def publish(found: Outcome, table: Path, drawing: Path) -> None:
    """Write the text and the picture."""
    table.write_text(
        "# A run of the benchmark\n\n`make bench` wrote this; [README.md](README.md) says how to read it.\n\n"
        f"```\n{text(found)}\n```\n"
    )
    drawing.parent.mkdir(parents=True, exist_ok=True)
    drawing.write_text(picture.draw(found.results, remark(found)))
