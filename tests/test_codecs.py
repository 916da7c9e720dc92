"""What is written can be read again, whatever it is: packets, lines, JSON, handles, rows of the store, settings."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gearstore.address import Address, parse_address
from gearstore.client import core
from gearstore.durations import LONGEST, format_duration, parse_duration
from gearstore.kinds import BACKOFF, KEEP, RESULT, Kind, as_text, check, choice, integer, number, size
from gearstore.protocol import admin
from gearstore.protocol import packets as p
from gearstore.protocol.packets import LAYOUTS, PacketType, request, response
from gearstore.protocol.parser import MANAGEMENT, PacketParser
from gearstore.protocol.responses import PARTS, ResponseParser
from gearstore.queue.causes import DIGITS
from gearstore.queue.job import DELAYED, DONE, FAILED, PRIORITIES, QUEUED, JobState
from gearstore.queue.names import Names
from gearstore.queue.policy import Backoff, Keep
from gearstore.queue.ports import Event
from gearstore.queue.schedule import next_match
from gearstore.server.management import VERBS
from gearstore.server.management.request import data, parse, text
from gearstore.store.base import Changes, Store, checksum
from gearstore.store.memory import MemoryStore
from gearstore.store.sqlite import SqliteStore
from tests.fuzz.world import Peer, World, run
from tests.store.conformance import Writer, everything

Result = TypeVar("Result")

anything = st.binary(max_size=200)
word = anything.map(lambda found: found.replace(b"\0", b""))
big = st.integers(0, (1 << 63) - 1)
NOT_YET = 1_000_000_000_000  # what a row has for a start or an end that hasn't been: a millisecond of 2001
times = st.integers(1, 4_000_000_000_000).filter(lambda at: at != NOT_YET)


# Packets and lines


def served(content: bytes) -> list[tuple[int, list[bytes]]]:
    """Return what a server understands."""
    parser = PacketParser(1 << 20)
    parser.feed(content)
    packets = parser.take(1000)
    assert parser.error is None and parser.unfinished == 0
    return packets


def understood(content: bytes) -> list[tuple[int, list[bytes]]]:
    """Return what a client understands."""
    parser = ResponseParser()
    parser.feed(content)
    packets = list(iter(parser.take, None))
    assert parser.empty
    return packets


def arguments(draw: st.DrawFn, parts: int) -> list[bytes]:
    """Return so many arguments, of which only the last may hold anything."""
    return [*(draw(word) for _ in range(parts - 1)), *([draw(anything)] if parts else [])]


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """Return a packet of a client or worker."""
    kind = draw(st.sampled_from(sorted(LAYOUTS)))
    return kind, arguments(draw, LAYOUTS[kind].parts)


@st.composite
def responses(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    """Return a packet of a server."""
    kind = draw(st.sampled_from(PacketType))
    return kind, arguments(draw, PARTS.get(kind, 1))


@given(st.lists(requests()))
def test_requests(packets: list[tuple[int, list[bytes]]]) -> None:
    assert served(b"".join(request(PacketType(kind), *args) for kind, args in packets)) == packets


@given(st.lists(responses()))
def test_responses(packets: list[tuple[int, list[bytes]]]) -> None:
    assert understood(b"".join(response(PacketType(kind), *args) for kind, args in packets)) == packets


@given(word, word, anything, st.sampled_from(core.Priority), st.booleans())
def test_submits(function: bytes, unique: bytes, workload: bytes, priority: core.Priority, background: bool) -> None:
    ((kind, args),) = served(core.submit_request(function, workload, unique, priority, background))
    assert args == [function, unique, workload]
    assert kind == (core.BACKGROUND if background else core.FOREGROUND)[priority]


@given(word, word, word, anything, st.booleans())
def test_submits_with_a_reducer(function: bytes, unique: bytes, reducer: bytes, workload: bytes, back: bool) -> None:
    ((_, args),) = served(core.submit_request(function, workload, unique, background=back, reducer=reducer))
    assert args == [function, unique, reducer, b"", workload]


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), st.tuples(*[st.booleans()] * 4))
def test_submits_with_a_schedule(moment: datetime, shown: Sequence[bool]) -> None:
    """A schedule made of a moment's own fields is met by that moment."""
    moment = moment.replace(second=0, microsecond=0)
    fields = [str(moment.minute), str(moment.hour), str(moment.day), str(moment.month)]
    schedule = " ".join([field if yes else "*" for field, yes in zip(fields, shown, strict=True)] + ["*"])
    ((kind, args),) = served(core.submit_request(b"f", b"w", schedule=schedule))
    assert kind == p.SUBMIT_JOB_SCHED
    assert next_match(args[2:7], datetime.fromtimestamp(moment.timestamp() - 60)) == moment


@given(st.lists(st.tuples(anything, st.integers(0, 1 << 40), st.integers(0, 1 << 40))))
def test_tables(rows: list[tuple[bytes, int, int]]) -> None:
    table = admin.table((admin.clean_name(name), *numbers) for name, *numbers in rows)
    assume(not any(name.startswith(b"\0") for name, *_ in rows))
    *lines, end = understood(table)
    assert end == (p.TEXT, [b".\n"])
    read = [line.rstrip(b"\n").split(b"\t") for _, (line,) in lines]
    assert read == [[admin.clean_name(name), b"%d" % first, b"%d" % second] for name, first, second in rows]


# JSON of the management protocol


@given(anything)
def test_bytes_in_json(content: bytes) -> None:
    assert data(json.loads(json.dumps(text(content)))) == content
    assert core.to_bytes(core.to_text(content)) == content


@given(st.sampled_from(sorted(VERBS)), st.data())
def test_requests_of_verbs(verb: str, draw: st.DataObject) -> None:
    values = {
        str: anything.map(text), int: st.integers(-(1 << 63) + 1, (1 << 63) - 1), bool: st.booleans(),
        list: st.lists(anything.map(text), max_size=4),
    }  # fmt: skip
    wanted = {key: draw.draw(values[types[0]]) for key, types in VERBS[verb].keys.items() if draw.draw(st.booleans())}
    ((kind, (line,)),) = served(core.manage_request(verb, wanted) + b"\n")
    assert kind == p.TEXT and line.startswith(MANAGEMENT) and b" " not in line[len(MANAGEMENT) + len(verb) + 1 :]
    assert parse(line, VERBS) == (verb, wanted)


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    """Return an ended job as `export` prints it."""
    result = draw(anything)
    job: dict[str, Any] = {
        "function": text(draw(anything)), "unique": text(draw(st.binary(max_size=64))),
        "workload": base64.b64encode(draw(anything)).decode(), "result": base64.b64encode(result).decode(),
        "result_size": len(result), "reducer": text(draw(st.binary(max_size=64))),
        "priority": draw(st.sampled_from(("high", "normal", "low"))),
        "state": draw(st.sampled_from(("done", "cancelled", "held"))), "created_at": draw(times),
    }  # fmt: skip
    job |= {key: text(draw(st.binary(min_size=1, max_size=40))) for key in ("client", "worker", "reason", "error")}
    job |= {key: draw(times) for key in ("started_at", "ended_at")}
    job |= {key: draw(st.integers(0, 1 << 31)) for key in ("attempts", "interruptions")}
    event = {key: text(draw(st.binary(min_size=1, max_size=40))) for key in ("worker", "error")}
    job["events"] = [event | {"at": draw(times), "kind": "fail", "started_at": draw(times), "next_at": draw(times)}]
    return job


async def rows_of(world: World, peer: Peer, verb: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of the answer to a verb."""
    peer.send(core.manage_request(verb, asked) + b"\n")
    *lines, end = [content for _, (content,) in await world.answered(peer)]
    assert end == b".\n", end
    return [json.loads(line) for line in lines]


@settings(deadline=None, max_examples=60)
@given(st.lists(jobs(), max_size=3, unique_by=lambda job: (job["function"], job["unique"], job["workload"])))
def test_jobs_that_are_imported_are_exported_as_they_were(given_jobs: list[dict[str, Any]]) -> None:
    async def scenario(world: World) -> None:
        peer = world.connect()
        *lines, total = await rows_of(world, peer, "import", {"jobs": given_jobs})
        assert total["imported"] == len(given_jobs), lines
        found = await rows_of(world, peer, "export", {"handles": [line["imported"] for line in lines]})
        for before, after in zip(given_jobs, found, strict=True):
            assert {key: after[key] for key in before} == before

    run(scenario)


# Handles and causes


prefixes = word.map(lambda found: found.replace(b":", b"") + b":")  # the last colon is before the number


@given(st.integers(1, (1 << 40) - 1), st.lists(st.tuples(st.integers(1, 1 << 30), prefixes), max_size=3))
def test_handles(id: int, later: list[tuple[int, bytes]]) -> None:
    names = Names(window=16)
    names.prefixes = [(0, b"H:first:"), *sorted(later)]
    names.next_id = 1 << 40
    assert names.number(names.handle(id)) == id


@given(anything)
@example(b"H:first:0000000000001")
@example(b"H:first:\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1\xd9\xa1")
def test_what_is_taken_for_a_handle_is_one(handle: bytes) -> None:
    names = Names(window=16)
    names.prefixes = [(0, b"H:first:")]
    names.next_id = 1 << 40
    found = names.number(handle)
    assert found is None or names.handle(found) == handle


@given(st.integers(1, (1 << 48) - 1))
def test_ids_of_causes(cause: int) -> None:
    digits = f"{cause:0{DIGITS}x}"
    assert len(digits) == DIGITS and int(digits, 16) == cause


# Rows of stores


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Return what a job is, and what it has become."""
    return {
        "unique": draw(anything), "workload": draw(anything), "priority": draw(st.sampled_from(PRIORITIES)),
        "created_at": draw(times), "position": draw(big), "reducer": draw(anything), "run_at": draw(times),
        "attempts": draw(big), "interruptions": draw(big), "started_at": draw(times), "ended_at": draw(times),
        "worker": draw(anything), "reason": draw(anything), "error": draw(anything), "result": draw(anything),
        "result_size": draw(big), "state": draw(st.sampled_from((QUEUED, DELAYED, FAILED, DONE))),
    }  # fmt: skip


class Opened:
    """A store that is open for a whole test."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.runner = asyncio.Runner()
        self.ids = iter(range(1, 1 << 20))
        self.run(store.open(b"H:test:", 5, 1000))

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something that awaits."""
        return self.runner.run(work)

    def close(self) -> None:
        """Close it."""
        self.run(self.store.close())
        self.runner.close()


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each store in turn."""
    path: Path = tmp_path_factory.mktemp("store") / "gearstore.db"
    store = Opened(MemoryStore() if request.param == "memory" else SqliteStore(str(path)))
    yield store
    store.close()


@settings(deadline=None, max_examples=30)
@given(st.lists(rows(), min_size=1, max_size=4))
def test_rows(opened: Opened, wanted: list[dict[str, Any]]) -> None:
    ids = [next(opened.ids) for _ in wanted]
    writer = Writer()
    writer.functions = set() if ids[0] == 1 else {1}
    for id, row in zip(ids, wanted, strict=True):
        writer.new(id, **row)
    opened.run(writer.to(opened.store))
    found = opened.run(everything(opened.store))
    for id, row in zip(ids, wanted, strict=True):
        record = found[id]
        assert {name: getattr(record, name) for name in row} == row
        assert record.intact and record.client == b"127.0.0.1"


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(times, word, times, anything, anything, times), max_size=5))
def test_rows_of_events(opened: Opened, wanted: list[tuple[int, bytes, int, bytes, bytes, int]]) -> None:
    id = next(opened.ids)
    writer = Writer()
    writer.functions = set() if id == 1 else {1}
    writer.new(id)
    events = [Event(id, at, b"x" + kind, *rest) for at, kind, *rest in wanted]
    writer.changes.events += events
    opened.run(writer.to(opened.store))
    assert opened.run(opened.store.events([id])).get(id, []) == events


@settings(deadline=None, max_examples=30)
@given(anything, big, big, st.lists(st.integers(-1, 1 << 40), min_size=3, max_size=3))
def test_rows_of_functions(opened: Opened, name: bytes, at: int, until: int, limits: list[int]) -> None:
    id = 10 + next(opened.ids)
    name += b" %d" % id  # names are told apart
    changes = Changes(functions=[(id, name)], steering=[(at, until, *limits, id)])  # type: ignore[list-item]
    opened.run(opened.store.apply(changes))
    recovered = functions_of(opened.store)
    if recovered is not None:
        assert tuple(recovered[id]) == (id, name, at, until, *limits)


def functions_of(store: Store) -> dict[int, Any] | None:
    """Return the functions that a memory store keeps; a file tells them when it is opened."""
    return store.functions if isinstance(store, MemoryStore) else None


@given(anything, anything, anything, st.integers(0, 599), st.integers(1, 255))
def test_the_checksum_sees_each_byte(unique: bytes, reducer: bytes, workload: bytes, place: int, change: int) -> None:
    whole = [unique, reducer, workload]
    assume(unique + reducer + workload)
    place %= len(unique + reducer + workload)
    before = checksum(*whole)
    for index, piece in enumerate(whole):
        if place < len(piece):
            whole[index] = piece[:place] + bytes([piece[place] ^ change]) + piece[place + 1 :]
            break
        place -= len(piece)
    assert checksum(*whole) != before


# Settings


@given(st.integers(0, LONGEST))
def test_durations(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds)) == milliseconds


ages = st.integers(1, LONGEST)
sizes = st.integers(0, 1 << 50)
keeps = st.builds(Keep, st.none() | ages, st.none() | st.integers(0, 10**15), st.none() | sizes)
backoffs = st.builds(Backoff, ages, st.floats(1, 1000), ages, st.floats(0, 1))
KINDS: list[tuple[Kind, st.SearchStrategy[Any]]] = [
    (integer(-5, 1 << 60), st.integers(-5, 1 << 60)),
    (number(0, 1000), st.floats(0, 1000)),
    (size(0, 1 << 60), st.integers(0, 1 << 60)),
    (choice("one", "two"), st.sampled_from(("one", "two"))),
    (KEEP, keeps),
    (BACKOFF, st.none() | backoffs.filter(lambda backoff: backoff.first <= backoff.limit)),
    (RESULT, st.integers(0, 32 << 20)),
]


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=lambda value: getattr(value, "metavar", ""))
def test_kinds_of_settings(kind: Kind, values: st.SearchStrategy[Any]) -> None:
    @given(values)
    def both_ways(value: Any) -> None:
        written = kind.write(value)
        assert check(kind, written, "the file", kind.toml) == value
        assert check(kind, as_text(written), "the flag", (str,)) == value

    both_ways()


names = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True).filter(lambda name: name != "unix")
hosts = st.one_of(names, st.ip_addresses().map(str), st.just(""))
tcp = st.builds(Address, hosts, st.integers(0, 65535))
paths = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=90).map(
    lambda path: f"/{path}"
)


@given(tcp | paths.map(lambda path: Address(port=0, path=path)))
def test_addresses(address: Address) -> None:
    assert parse_address(str(address)) == address


@given(st.sampled_from(JobState))
def test_names_of_states(state: JobState) -> None:
    assert JobState[state.name.lower().upper()] is state


@given(st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)))
def test_times_of_delayed_submits(moment: datetime) -> None:
    at = int(moment.timestamp())
    ((kind, args),) = served(core.submit_request(b"f", b"w", at=at))
    assert (kind, int(args[2])) == (p.SUBMIT_JOB_EPOCH, at)
