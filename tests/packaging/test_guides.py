"""The guides, command by command."""

import pytest

from tests.packaging.box import ROOT, Box
from tests.packaging.transcript import play

# What a usual Debian has, and the small one of the tests has not; and the answers that a reader gives by hand.
USUAL = """
apt-get install -y -q bsdextrautils procps
echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/yes
cp /mnt/gearstore_*.deb /root
"""


@pytest.mark.parametrize("document", ["guide-fr.md", "migrating-from-gearmand.md"])
def test_what_the_guide_shows_is_what_happens(empty_box: Box, document: str) -> None:
    empty_box.sh(USUAL)
    play(empty_box, ROOT / "docs" / document)
