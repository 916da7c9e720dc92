"""Files of the package that repeat what stands elsewhere."""

import re

from tests.packaging.box import ROOT


def test_the_versions_agree() -> None:
    (declared,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    changelog = (ROOT / "packaging/debian/changelog").read_text()
    assert changelog.startswith(f"gearstore ({declared}) ")


def test_what_is_built_with_is_prepared() -> None:
    control = (ROOT / "packaging/debian/control").read_text().partition("Standards-Version")[0]
    needed = set(re.findall(r"^ ([a-z0-9-]+)", control, re.MULTILINE))
    # These are names that other packages provide.
    needed -= {"dh-sequence-bash-completion", "dh-sequence-installsysusers", "dh-sequence-python3", "debhelper-compat"}
    prepared = set((ROOT / "packaging/prepare").read_text().replace("'", " ").split())
    assert needed <= prepared | {"python3-aiosqlite", "python3-uvloop"}
