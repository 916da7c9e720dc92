"""The documents say what the code does."""

import re
from pathlib import Path
from typing import Any

from gearstore.access import ROLES
from gearstore.config import load_config
from gearstore.kinds import as_text
from gearstore.options import OPTIONS, Option
from gearstore.policies import KEYS, write_value
from gearstore.protocol.packets import PacketType
from gearstore.queue.job import TRANSITIONS
from gearstore.settings import SAMPLE

ROOT = Path(__file__).parent.parent


def rows(text: str, start: str) -> set[tuple[str, ...]]:
    """Return the cells of the table behind a marker, without its head."""
    table = text.partition(f"<!-- {start} -->")[2].partition("<!-- end -->")[0].strip().splitlines()[2:]
    return {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table}


def test_architecture_shows_the_state_table() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    table = {(state.name.lower(), event.name.lower(), to.name.lower()) for (state, event), to in TRANSITIONS.items()}
    assert rows(text, "transitions") == table


def default_of(option: Option) -> str:
    """Return an option's default as the document tells it."""
    if callable(option.default):
        return "depends on the machine"
    values = option.default if option.repeated else [option.default]
    return code(*(as_text(option.kind.write(value)) for value in values if option.kind.write(value) is not None))


def code(*texts: Any) -> str:
    """Return texts as code."""
    return " ".join(f"`{text}`" for text in texts)


def test_configuration_names_every_option() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    assert rows(text, "options") == {
        (code(each.name), code(*each.flags), default_of(each), "yes" if each.reloadable else "", each.help)
        for each in OPTIONS
    }


def test_configuration_names_every_key_of_a_policy() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    assert rows(text, "policy keys") == {
        (code(key.name), code(key.option or as_text(write_value(key, SAMPLE))), key.help) for key in KEYS
    }


def test_security_shows_the_roles() -> None:
    text = (ROOT / "docs/security.md").read_text()
    assert rows(text, "roles") == {
        (
            code(name),
            *("yes" if may else "" for may in (rights.submit.all, rights.work.all, True, rights.read, rights.manage)),
        )
        for name, (rights, _) in ROLES.items()
    }


def test_the_example_of_policies_is_right(tmp_path: Path) -> None:
    file = tmp_path / "gearstore.toml"
    file.write_text((ROOT / "docs/configuration.md").read_text().partition("```toml\n")[2].partition("```")[0])
    invoices = load_config({}, {}, file)[0].policies.of(b"import_invoices")
    assert (invoices.max_attempts, invoices.on_restart, invoices.keep_done.count) == (10, "hold", 100_000)


def test_compatibility_names_every_packet_type() -> None:
    text = (ROOT / "docs/compatibility.md").read_text()
    missing = [kind.name for kind in PacketType if not re.search(rf"\b{kind.name}\b", text)]
    assert not missing


def test_links_between_documents_lead_somewhere() -> None:
    for document in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("benchmarks/*.md"),
    ]:
        for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
