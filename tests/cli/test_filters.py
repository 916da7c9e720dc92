"""The shared filter options, and the requests that they become."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gearstore_cli.client import encode_request
from gearstore_cli.errors import UsageError
from gearstore_cli.filters import LINE_LIMIT, Selection, State, read_handles, select

NOTHING: dict[str, Any] = {
    "handles": [], "function": None, "state": [], "since": None, "until": None, "error": None, "unique": None,
    "unique_is": None, "payload_match": None, "cause": [], "limit": None,
}  # fmt: skip


def selected(**options: object) -> Selection:
    """Return the selection of some options, the others left out."""
    return select(**(NOTHING | options))


def test_nothing_said_is_an_empty_selection() -> None:
    assert selected().is_empty
    assert selected(limit=5).is_empty
    assert not selected(function="*").is_empty
    assert not selected(handles=["H:a:1"]).is_empty


def test_a_blank_handle_is_no_job_rather_than_all() -> None:
    selection = selected(handles=[""])
    assert not selection.is_empty
    assert list(selection.requests()) == []


@pytest.mark.parametrize("name", ["function", "error", "unique", "payload_match"])
def test_a_filter_without_text_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        selected(**{name: ""})


def test_filters_become_one_request() -> None:
    selection = selected(function="mail*", state=[State.FAILED, State.HELD], error="timeout", limit=3)
    assert list(selection.requests(order="oldest")) == [
        {"function": "mail*", "error": "timeout", "state": ["failed", "held"], "limit": 3, "order": "oldest"}
    ]


def test_times_become_milliseconds() -> None:
    (request,) = selected(since="2026-11-24T00:00Z", until="2026-11-25T00:00Z").requests()
    assert request["until"] - request["since"] == 86_400_000


def test_undecodable_bytes_reach_the_request() -> None:
    (request,) = selected(payload_match="caf\udce9").requests()
    assert request["payload_match"].encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_a_limit_does_not_go_with_handles() -> None:
    with pytest.raises(UsageError, match="--limit"):
        selected(handles=["H:a:1"], limit=1)


def test_handles_and_filters_must_both_hold() -> None:
    (request,) = selected(handles=["H:a:1"], function="mail").requests()
    assert request == {"function": "mail", "handles": ["H:a:1"]}


def test_many_handles_are_split_into_lines_that_fit() -> None:
    handles = [f"H:{'x' * 50}:{number:09}" for number in range(5000)]
    requests = list(selected(handles=handles, function="f" * 1000).requests())
    assert [handle for request in requests for handle in request["handles"]] == handles
    assert all(len(encode_request(request)) <= LINE_LIMIT for request in requests)
    assert len(requests) < 10


def test_states_are_those_of_the_verb_unless_said_otherwise() -> None:
    states = ("failed", "held")
    assert selected(function="*").among(states).filters["state"] == ["failed", "held"]
    assert selected(function="*", state=[State.CANCELLED]).among(states).filters["state"] == ["cancelled"]
    assert "state" not in selected(handles=["H:a:1"]).among(states).filters


def test_a_dash_reads_the_first_word_of_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    given = b"H:a:2\tfonctionJob\tfailed\n\nH:a:3\nH:a:2\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given)))
    assert read_handles(["H:a:1", "-", "H:a:3"]) == ["H:a:1", "H:a:2", "H:a:3"]
