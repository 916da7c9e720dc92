"""Packages that are built, and boxes that they are installed in; see packaging/prepare for what they need."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.packaging.box import ROOT, Box

RELEASES = os.environ.get("GEARSTORE_TEST_RELEASES", "bookworm trixie").split()
CACHE = Path(os.environ.get("GEARSTORE_CI_CACHE", "/var/cache/gearstore-ci"))

MakeBox = Callable[..., Box]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """None of this is for `make unit`."""
    for item in items:
        if Path(__file__).parent in item.path.parents and {"release", "packages"} & set(
            getattr(item, "fixturenames", ())
        ):
            item.add_marker(pytest.mark.slow)


def ready(release: str) -> bool:
    """Tell whether packaging/prepare could do its work."""
    return os.geteuid() == 0 and (CACHE / f"{release}-build/.make-rootfs").exists()


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """The Debian that the test runs on."""
    name: str = request.param
    if ready(name):
        return name
    sentence = f"the package is not tested on {name}: run  make test-deb  as root"
    if os.environ.get("GEARSTORE_REQUIRE_TOOLS"):
        pytest.fail(sentence)
    pytest.skip(sentence)


def build(outputs: dict[str, Path], *options: str) -> dict[str, Path]:
    """Build the package on several releases at the same time, into these folders; return it by release."""
    builds = {
        release: subprocess.Popen(
            [ROOT / "packaging/build-deb", *options, "-r", CACHE / f"{release}-build", output],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for release, output in outputs.items()
    }
    printed = {release: building.communicate()[0] for release, building in builds.items()}
    for release, building in builds.items():
        assert building.returncode == 0, f"on {release}: {printed[release]}"
    return {release: Path(text.strip()) for release, text in printed.items()}


def older(package: Path) -> None:
    """Put the package beside itself with a lower version: the build before this one."""
    work = package.parent / "older"
    subprocess.run(["dpkg-deb", "-R", package, work], check=True)
    control = work / "DEBIAN/control"
    version = next(line for line in control.read_text().splitlines() if line.startswith("Version: "))
    control.write_text(control.read_text().replace(version, f"{version}~older"))
    command = ["dpkg-deb", "--root-owner-group", "-b", work, package.parent / "older.deb"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package as each release builds it; beside it older.deb, for upgrades. Built once for all workers of a run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    outputs = {release: folder / "packages" / release for release in RELEASES if ready(release)}
    with (folder / "packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((output / "older.deb").exists() for output in outputs.values()):
            for package in build(outputs, "-n").values():
                older(package)
    return {release: next(output.glob("gearstore_*.deb")) for release, output in outputs.items()}


@pytest.fixture(scope="session")
def package(release: str, packages: dict[str, Path]) -> Path:
    """The package as this release builds it."""
    return packages[release]


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the boxes keep their files."""
    return tmp_path_factory.mktemp("boxes")


@contextmanager
def booted(tree: Path, folder: Path, shown: Path, *options: str) -> Iterator[Box]:
    """A box that leaves nothing, whatever happens in it."""
    box = Box(tree, folder, shown, *options)
    try:
        yield box
    finally:
        box.remove()


@pytest.fixture
def empty_box(release: str, package: Path, boxes: Path) -> Iterator[Box]:
    """A new Debian; the package is in /mnt."""
    with booted(CACHE / release, boxes, package.parent) as box:
        yield box


@pytest.fixture(scope="session")
def installed(release: str, package: Path, boxes: Path) -> Iterator[Box]:
    """A stopped box with the package, for other boxes to begin with."""
    with booted(CACHE / release, boxes, package.parent) as box:
        box.sh("apt-get install -y -q /mnt/gearstore_*.deb python3-uvloop bsdextrautils iproute2 procps")
        box.started()
        box.stop()
        yield box


@pytest.fixture
def box(installed: Box, package: Path) -> Iterator[Box]:
    """A Debian on which the package has been installed, just booted."""
    with booted(installed.tree, installed.folder, package.parent, f"--over={installed.name}") as box:
        box.started()
        yield box
