"""What `make deb` makes."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.packaging.box import ROOT
from tests.packaging.conftest import CACHE, build


def test_builds_with_the_fast_tests_have_the_same_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    """The tests run on each release's own libraries: aiosqlite 0.17, Typer 0.7, Rich 13.3 on bookworm."""
    again = build({release: tmp_path / release for release in packages})
    assert packages
    for release, package in packages.items():
        log = (tmp_path / release / "build.log").read_text()
        assert re.search(r"^\d+ passed", log, re.MULTILINE)
        assert again[release].read_bytes() == package.read_bytes()


def test_lintian_has_nothing_to_say(release: str, package: Path) -> None:
    command = [ROOT / "packaging/lint-deb", CACHE / f"{release}-build", package.parent]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_it_needs_nothing_but_debians_own_packages(package: Path) -> None:
    fields = subprocess.run(["dpkg-deb", "-f", package], capture_output=True, text=True, check=True).stdout
    assert "Architecture: all" in fields
    depends = next(line for line in fields.splitlines() if line.startswith("Depends: "))
    names = {term.split()[0] for term in depends.removeprefix("Depends: ").split(", ")}
    assert names <= {
        "python3-aiosqlite", "python3-rich", "python3-typer", "python3:any", "python3", "systemd", "init-system-helpers"
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["usr/bin/gearstore", "etc/gearstore/gearstore.toml", "etc/gearstore/workers/", "man1/gearstore.1.gz"]
    + ["man5/gearstore.toml.5.gz", "bash-completion/completions/gearstore", "vendor-completions/_gearstore"]
    + ["vendor_completions.d/gearstore.fish", "sysusers.d/gearstore.conf", "gearstore/README.Debian"]
    + ["examples/mails.env", "examples/monworker.service", "system/gearstore.service", "system/gearstore.socket"]
    + ["system/gearstore-worker@.service", "system/gearman-job-server.service -> gearstore.service"],
)
def test_the_file_is_in_the_package(package: Path, name: str) -> None:
    listing = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True).stdout
    assert any(line.endswith(name) for line in listing.splitlines())
