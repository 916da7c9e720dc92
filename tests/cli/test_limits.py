"""`gearstore limits`: what is there, and what was met."""

import json

from tests.cli.conftest import Cli, run_here
from tests.server.conftest import start_server
from tests.server.process import HOST, StartServer

__all__ = ["start_server"]  # a fixture


def test_limits_through_a_pipe(gearstore: Cli) -> None:
    rows = [line.split("\t") for line in gearstore.printed("limits")]
    assert all(len(row) == 6 for row in rows)
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["max_packet"][0] == str(64 << 20)
    assert by_name["max_jobs"][0] == "-"
    assert int(by_name["max_connections"][1]) >= 1


def test_limits_on_a_terminal(gearstore: Cli) -> None:
    shown = gearstore.on_terminal("limits")
    assert shown.code == 0
    assert all(title in shown.lines[0] for title in ("LIMIT", "MOST", "USED", "MET", "LAST", "BY"))
    assert any(line.split()[:2] == ["max_packet", "64M"] for line in shown.lines)
    assert any(line.split()[:2] == ["packet_timeout", "60s"] for line in shown.lines)


def test_limits_as_json(gearstore: Cli) -> None:
    rows = [json.loads(line) for line in gearstore.printed("limits", "--json")]
    (row,) = [row for row in rows if row["limit"] == "max_foreground"]
    assert (row["most"], row["unit"]) == (256 << 20, "bytes")
    assert row.keys() == {"limit", "unit", "most", "used", "met", "last_at", "last_by"}


def test_a_server_that_takes_no_more_connections(start_server: StartServer) -> None:  # noqa: F811
    server = start_server("--max-connections=1")
    server.connect().expect_nothing()
    for command in (["status"], ["status", "--json"], ["limits"], ["submit", "f", "w"]):
        refused = run_here(command, b"", {"GEARSTORE_SERVER": f"{HOST}:{server.port}"})
        assert (refused.code, refused.output) == (4, "")
        assert refused.errors == "gearstore: TOO_MANY_CONNECTIONS: The server has as many connections as it may have\n"
