"""What a disk may hold after a power cut, by the rules of medium.py."""

from __future__ import annotations

from random import Random

import pytest

from tests.powercut.medium import SECTOR, Chance, Choice, Everything, Medium, Prefix
from tests.powercut.recording import Event, Kind

OLD, NEW = b"o" * SECTOR, b"n" * SECTOR
FOLDER = 9  # what the directory is opened as


@pytest.fixture
def medium() -> Medium:
    """A directory with one file of two sectors, open as 1."""
    medium = Medium("/d", {"file": OLD * 2})
    tell(medium, (Kind.OPEN, 1, 0, b"/d/file"), (Kind.OPEN, FOLDER, 0, b"/d"))
    return medium


def tell(medium: Medium, *events: tuple[Kind, int, int, bytes]) -> None:
    for event in events:
        medium.take(Event(*event))


def synced(id: int) -> list[tuple[Kind, int, int, bytes]]:
    return [(Kind.SYNC, id, 0, b""), (Kind.SYNCED, id, 0, b"")]


def possible(medium: Medium) -> set[bytes | None]:
    """Return what the file may hold, None for no file."""
    return {medium.image(Chance(Random(seed))).get("file") for seed in range(300)}


def test_a_write_is_there_in_any_part_until_it_is_synced(medium: Medium) -> None:
    tell(medium, (Kind.WRITE, 1, 0, NEW * 2))
    assert medium.image(Choice()) == {"file": OLD * 2}
    assert medium.image(Everything()) == {"file": NEW * 2}
    assert possible(medium) == {OLD + OLD, OLD + NEW, NEW + OLD, NEW + NEW}
    tell(medium, *synced(1))
    assert possible(medium) == {NEW * 2}


def test_a_sync_is_for_what_was_written_before_it_began(medium: Medium) -> None:
    tell(
        medium, (Kind.WRITE, 1, 0, NEW), (Kind.SYNC, 1, 0, b""), (Kind.WRITE, 1, SECTOR, NEW), (Kind.SYNCED, 1, 0, b"")
    )
    assert medium.image(Choice()) == {"file": NEW + OLD}
    assert possible(medium) == {NEW + OLD, NEW + NEW}


def test_a_sector_may_be_what_it_was_at_any_time(medium: Medium) -> None:
    tell(medium, (Kind.WRITE, 1, 0, NEW), (Kind.WRITE, 1, 0, b"x" * SECTOR))
    assert possible(medium) == {OLD + OLD, NEW + OLD, b"x" * SECTOR + OLD}
    assert medium.image(Prefix(medium.now)) == {"file": NEW + OLD}


def test_what_a_failed_sync_gave_up_is_not_written_by_the_next_one(medium: Medium) -> None:
    tell(medium, (Kind.WRITE, 1, 0, NEW), (Kind.SYNC, 1, 0, b""), (Kind.NOT_SYNCED, 1, 0, b""))
    tell(medium, (Kind.WRITE, 1, SECTOR, NEW), *synced(1))
    assert medium.image(Choice()) == {"file": OLD + NEW}
    assert possible(medium) == {OLD + NEW, NEW + NEW}
    tell(medium, (Kind.WRITE, 1, 0, NEW), *synced(1))  # as it reads, once more
    assert possible(medium) == {NEW + NEW}


def test_lengths_are_kept_until_they_are_synced(medium: Medium) -> None:
    tell(medium, (Kind.TRUNCATE, 1, 0, b""), (Kind.WRITE, 1, 0, NEW))
    assert possible(medium) == {OLD * 2, b"", NEW, bytes(SECTOR)}
    tell(medium, *synced(1))
    assert possible(medium) == {NEW}


def test_names_belong_to_their_directory(medium: Medium) -> None:
    tell(medium, (Kind.UNLINK, 0, 0, b"/d/file"), (Kind.OPEN, 2, 1, b"/d/file"), (Kind.WRITE, 2, 0, NEW), *synced(2))
    assert medium.image(Choice()) == {"file": OLD * 2}
    assert possible(medium) == {OLD * 2, None, NEW}
    tell(medium, *synced(FOLDER))
    assert possible(medium) == {NEW}


def test_a_file_takes_the_place_of_another_in_one_step(medium: Medium) -> None:
    tell(medium, (Kind.OPEN, 2, 1, b"/d/other"), (Kind.WRITE, 2, 0, NEW), *synced(2), *synced(FOLDER))
    tell(medium, (Kind.RENAME, 0, 0, b"/d/other\0/d/file"))
    assert {tuple(medium.image(Chance(Random(seed))).items()) for seed in range(50)} == {
        (("file", OLD * 2), ("other", NEW)),
        (("file", NEW),),
    }


def test_a_new_process_has_no_sync_under_way(medium: Medium) -> None:
    tell(medium, (Kind.SYNC, 1, 0, b""), (Kind.START, 0, 0, b""), (Kind.OPEN, 1, 0, b"/d/file"))
    tell(medium, (Kind.WRITE, 1, 0, NEW), *synced(1))
    assert medium.image(Choice()) == {"file": NEW + OLD}
