"""The documents say what the code does."""

import re
from pathlib import Path

from gearstore.protocol.packets import PacketType
from gearstore.queue.job import TRANSITIONS

ROOT = Path(__file__).parent.parent


def rows(text: str, start: str) -> set[tuple[str, ...]]:
    """Return the cells of the table behind a marker, without its head."""
    table = text.partition(f"<!-- {start} -->")[2].partition("<!-- end -->")[0].strip().splitlines()[2:]
    return {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table}


def test_architecture_shows_the_state_table() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    table = {(state.name.lower(), event.name.lower(), to.name.lower()) for (state, event), to in TRANSITIONS.items()}
    assert rows(text, "transitions") == table


def test_compatibility_names_every_packet_type() -> None:
    text = (ROOT / "docs/compatibility.md").read_text()
    missing = [kind.name for kind in PacketType if not re.search(rf"\b{kind.name}\b", text)]
    assert not missing


def test_links_between_documents_lead_somewhere() -> None:
    for document in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("benchmarks/*.md"),
    ]:
        for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
