"""What gets installed: the list of packages in pyproject.toml is written by hand, and this is its guard."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("gearstore", "cli", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in a wheel that is built from a copy: a build folder in the checkout would add what is no more."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not run from a checkout")
    pytest.importorskip("build")
    pytest.importorskip("wheel")
    directory = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check", "."]
    built = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = directory.glob("dist/*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_the_top_level_is_two_packages_and_the_metadata(names: list[str]) -> None:
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"gearstore", "gearstore_cli"}
    assert len(top) == 3


@pytest.mark.slow
def test_every_file_of_the_packages_is_inside(names: list[str]) -> None:
    for folder, package in (("gearstore", "gearstore"), ("cli", "gearstore_cli")):
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in (".py", ".sql", ".typed"):
                assert f"{package}/{file.relative_to(ROOT / folder)}" in names


@pytest.mark.slow
def test_the_schema_and_the_marker_of_types_are_inside(names: list[str]) -> None:
    assert "gearstore/py.typed" in names
    assert any(name.startswith("gearstore/store/sql/sqlite/") and name.endswith(".sql") for name in names)
