"""What is fuzzed: functions that take any bytes and raise if something that must never be is.

The documented protocol errors are caught here, where they are allowed; whatever else escapes is a fault.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from zlib import crc32

from gearstore.address import parse_address
from gearstore.client import core
from gearstore.client.errors import ClientError
from gearstore.durations import format_duration, parse_duration
from gearstore.errors import ConfigError, ProtocolError
from gearstore.kinds import as_text, check
from gearstore.options import OPTIONS
from gearstore.policies import KEYS
from gearstore.protocol import packets as p
from gearstore.protocol.parser import MANAGEMENT, MAX_LINE, PacketParser
from gearstore.protocol.responses import Packet, ResponseParser
from tests.fuzz.verbs import lines_of
from tests.fuzz.world import MAX_PACKET, Violation, World, run

SLOWEST = 2.0  # seconds that any input may take; they take some milliseconds
NO_TEXT = bytes([0, p.TLS_HELLO])  # what begins with these is a packet, or TLS, which ends a connection without it
ERRORS = re.compile(rb"ERR (not_found|usage|refused|store) [^\n]+\n")


def insist(condition: object, sentence: str) -> None:
    """Raise Violation unless the condition holds (an assert might be left out)."""
    if not condition:
        raise Violation(sentence)


# Parsers


def parser(data: bytes) -> None:
    """The server's parser: whole or in pieces is the same, nothing is raised, nothing is kept that did not come."""
    whole = PacketParser(MAX_PACKET)
    whole.feed(data)
    packets = whole.take(1 << 30)
    cut = PacketParser(MAX_PACKET)
    found = []
    size = 1 + crc32(data) % 300
    for start in range(0, len(data), size):
        cut.feed(data[start : start + size])
        while taken := cut.take(1 + size % 9):
            found += taken
    insist(found == packets, "the pieces make other packets")
    insist(str(cut.error) == str(whole.error), "the pieces make another error")
    insist(whole.unfinished <= len(data), "more is kept than came")
    insist(whole.error is not None or cut.unfinished == whole.unfinished, "the pieces leave another rest")
    for kind, args in packets:
        insist(0 <= kind < p.KINDS, "a type without a command")
        layout = p.LAYOUTS.get(kind)
        insist(layout is None or len(args) == layout.parts, "a command gets too few arguments")


class Waiter:
    """Takes an answer, whatever it is."""

    def done(self) -> bool:
        """Nobody gives up."""
        return False

    def set_result(self, result: list[bytes], /) -> None:
        """Understand what can be understood."""
        if len(result) >= 5:
            core.status_of(result)

    def set_exception(self, exception: BaseException, /) -> None:
        """It may only be one that callers expect."""
        insist(isinstance(exception, ClientError), f"{exception!r} is not told by the library")


class Listener:
    """Takes a job's reports, whatever they are."""

    def report(self, kind: int, pieces: list[bytes]) -> None:
        """Each has its pieces."""
        insist(len(pieces) == {p.WORK_FAIL: 1, p.WORK_STATUS: 3}.get(kind, 2), "a report without its pieces")

    def lose(self, error: ClientError) -> None:
        """The connection is gone."""


def client(data: bytes) -> None:
    """The client's side: any bytes of a server are packets, lines, or one of the errors that callers expect."""
    parser = ResponseParser()
    exchange = core.Exchange(lambda refusal: None)
    for kind in (p.JOB_CREATED, p.STATUS_RES, p.STATUS_RES_UNIQUE, p.ECHO_RES, p.OPTION_RES, p.JOB_CREATED) * 2:
        exchange.expect(kind, Waiter(), Listener() if kind == p.JOB_CREATED else None)
    size = 1 + crc32(data) % 60
    with suppress(ProtocolError):
        for start in range(0, len(data), size):
            parser.feed(data[start : start + size])
            while (packet := parser.take()) is not None:
                kind, pieces = packet
                if kind != p.TEXT:
                    exchange.receive(kind, pieces)
                    continue
                with suppress(ClientError):
                    line = core.checked_line(pieces[0], "a server")
                    if line is not None:
                        insist(isinstance(core.row_of(line, "a server"), dict), "a row that is none")
    exchange.lose(ClientError("gone"))


# A whole server


def connection(data: bytes) -> None:
    """Whatever one connection sends, be it slow to read or not, the server goes on and answers others."""

    async def scenario(world: World) -> None:
        manner = crc32(data)
        peer = world.connect(slow=bool(manner & 1))
        await world.pieces(peer, data)
        await asyncio.sleep(0.1)
        peer.received()
        if manner & 2:
            await world.half_closes(peer)
        await world.leaves(peer)

    run(scenario)


def text(data: bytes) -> None:
    """Each line gets exactly one whole answer: one line, or a table with its end."""

    async def scenario(world: World) -> None:
        peer = world.connect()
        for line in data.split(b"\n"):
            line = line.lstrip(NO_TEXT)[: MAX_LINE - 1]
            if line.startswith(MANAGEMENT.rstrip()):
                continue
            peer.send(line + b"\n")
            check_text(await world.answered(peer))
        await world.leaves(peer)

    run(scenario)


def check_text(packets: list[Packet]) -> None:
    """Look at the answer to one line."""
    insist(all(kind == p.TEXT for kind, _ in packets), "an answer to a line that is no text")
    lines = [pieces[0] for _, pieces in packets]
    single = len(lines) == 1 and lines[0].startswith((b"OK", b"ERR"))
    insist(single or lines[-1:] == [b".\n"], f"not one whole answer: {lines!r}")


def manage(data: bytes) -> None:
    """Lines behind `gearstore `, as they come: objects, then a dot or an error of the four kinds."""
    ask([line.removeprefix(MANAGEMENT) for line in data.split(b"\n")])


def verbs(data: bytes) -> None:
    """Requests that are nearly right: verbs with their own keys, and values of all kinds."""
    ask(lines_of(data))


def ask(lines: list[bytes]) -> None:
    """Ask for these verbs, one after the other on one connection."""

    async def scenario(world: World) -> None:
        peer = world.connect()
        for line in lines:
            peer.send(MANAGEMENT + line[:60000] + b"\n")
            check_management(await world.answered(peer))
        await world.leaves(peer)

    run(scenario)


def check_management(packets: list[Packet]) -> None:
    """Look at the answer of one verb; a `tail` that follows has no end."""
    insist(all(kind == p.TEXT for kind, _ in packets), "an answer to a verb that is no text")
    lines = [pieces[0] for _, pieces in packets]
    ended = bool(lines) and (lines[-1] == b".\n" or ERRORS.fullmatch(lines[-1]))
    for line in lines[:-1] if ended else lines:
        insist(isinstance(json.loads(line), dict), f"a line that is no object: {line!r}")
    insist(ended or b'{"following":true}\n' in lines or not lines or b'"event"' in lines[-1], f"no end: {lines!r}")


# Settings

SETTINGS: dict[bytes, Any] = {setting.name.encode(): setting for setting in (*OPTIONS, *KEYS)}


def settings(data: bytes) -> None:
    """Texts of options, of a function's policy, of durations and addresses: a value that can be written again as it
    was read, or the error that tells the operator."""
    name, _, raw = data.partition(b"=")
    value = raw.decode("utf-8", "surrogateescape")
    option = SETTINGS.get(name) or list(SETTINGS.values())[sum(name) % len(SETTINGS)]
    with suppress(ConfigError):
        read = check(option.kind, value, option.name, (str,))
        written = option.kind.write(read)
        if written is not None:
            again = check(option.kind, as_text(written), option.name, (str,))
            insist(again == read, f"{option.name}: {value!r} is {read!r}, written {written!r}, read again {again!r}")
    with suppress(ValueError):
        milliseconds = parse_duration(value)
        insist(parse_duration(format_duration(milliseconds)) == milliseconds, "a duration changes")
    with suppress(ValueError):
        address = parse_address(value)
        insist(parse_address(str(address)) == address, f"the address {address!r} changes")


def in_time(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return the target with a limit of time, that of this process: the machine may be busy with other things."""

    def run_in_time(data: bytes) -> None:
        began = time.process_time()
        target(data)
        took = time.process_time() - began
        insist(took < SLOWEST, f"it took {took:.1f} s")

    return run_in_time


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: in_time(function) for function in (parser, client, connection, text, manage, verbs, settings)
}
