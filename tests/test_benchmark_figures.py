"""What the benchmark makes of its runs: medians of neighbours' ratios, the better gearmand, verdicts, the picture."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
MODULES = ("generator", "machine", "scenarios", "report", "targets", "picture")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The modules of the benchmark, which are scripts beside each other and no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in set(sys.modules) - before:
        del sys.modules[name]


def results(bench: Any, *cells: tuple[str, str, list[float]], errors: int = 0, syncs: Any = ()) -> Any:
    """Return the results of runs: scenario, server, and the rate in each round."""
    return bench.report.Results(
        [
            bench.scenarios.Measurement(
                scenario,
                server,
                number,
                bench.generator.Load(rate, 100, 1.0, 200, 300, 400, 450, 500, 0.1, False, errors, ""),
            )
            for scenario, server, rates in cells
            for number, rate in enumerate(rates, 1)
        ],
        syncs,
    )


def test_a_ratio_is_the_median_of_those_of_neighbouring_runs(bench: Any) -> None:
    found = results(
        bench, ("submit 64x1", "gearstore", [10, 40, 90]), ("submit 64x1", "redis", [10, 20, 30])
    )  # fmt: skip
    assert found.ratio("submit 64x1", bench.targets.REDIS) == 2.0


def test_the_better_gearmand_stands_for_both(bench: Any) -> None:
    found = results(
        bench,
        ("submit 8x1", "gearstore", [50.0]),
        ("submit 8x1", "gearmand-1", [100.0]),
        ("submit 8x1", "gearmand-4", [80.0]),
        ("drain 8", "gearmand-1", [80.0]),
        ("drain 8", "gearmand-4", [100.0]),
    )
    assert [found.best(name, bench.report.MEMORY) for name in ("submit 8x1", "drain 8")] == ["gearmand-1", "gearmand-4"]
    assert found.ratio("submit 8x1", bench.report.MEMORY) == 0.5
    assert "100 (-t 1)" in "\n".join(bench.report.rates("submit", found))


def test_runs_with_errors_are_in_no_median(bench: Any) -> None:
    found = results(bench, ("echo 64x1", "gearstore", [1.0]), errors=1)
    assert found.median("echo 64x1", "gearstore", bench.report.rate) is None
    assert bench.report.complaints(found) == ["ERROR: echo 64x1 on gearstore, round 1: "]


def test_floors_and_targets_of_what_was_measured(bench: Any) -> None:
    cells = [("submit 64x1", "gearstore", [60.0]), ("submit 64x1", "gearmand-4", [100.0])]
    floors, targets = bench.targets.verdicts(results(bench, *cells))
    assert [str(verdict) for verdict in floors] == ["ok     submit 64x1 / gearmand memory: 0.6x, at least 0.5x"]
    assert [str(verdict) for verdict in targets] == [
        "MISSED submit 64x1 / gearmand memory: 0.6x, at least 1x",
        "ok     submit 64x1: p99 2x of p50, at most 5x",
    ]


@pytest.mark.parametrize(("sync", "kept"), [(60.0, True), (40.0, False)])
def test_one_client_is_measured_against_the_disk(bench: Any, sync: float, kept: bool) -> None:
    found = results(bench, ("submit 1x1", "gearstore", [1.0]), syncs=[bench.machine.Syncs(sync, 2 * sync)])
    (verdict,) = bench.targets.verdicts(found)[1]
    assert (verdict.kept, "p50 200 us" in verdict.text) == (kept, True)


def test_every_scenario_of_a_floor_target_or_panel_exists(bench: Any) -> None:
    names = {scenario.name for scenario in bench.scenarios.SCENARIOS}
    wanted = {ratio.scenario for ratio in (*bench.targets.FLOORS, *bench.targets.TARGETS)}
    assert wanted | set(bench.picture.PANELS) <= names


def test_the_picture_has_bars_only_for_what_was_measured(bench: Any) -> None:
    found = results(bench, ("submit 1x1", "gearstore", [50.0]), ("drain 8", "redis", [50.0]))
    drawn = bench.picture.draw(found, "a <remark>")
    assert "Submit: 1 client" in drawn and "a &lt;remark&gt;" in drawn
    assert "Drain" not in drawn and "redis, synced" not in drawn
