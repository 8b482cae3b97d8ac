"""The server's clock comes from its answers, and is counted with a clock that nobody can set."""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.smb.connection.clock import DRIFT, NEVER, Reading, ServerClock, boottime
from tests.smb.peer import echo, established
from tests.smb.server import Handshake, Server, serving

ROOT = Path(__file__).parent.parent.parent


def test_nothing_is_known_before_the_server_has_told() -> None:
    assert ServerClock().at(5.0) == (-math.inf, math.inf, math.inf)


def test_it_goes_on_from_the_answer_and_grows_less_sure() -> None:
    clock = ServerClock()
    clock.read(Reading(1000.0, 10.0, 10.5))
    assert clock.at(10.5) == (1000.0, pytest.approx(1000.5, abs=0.001), 0.0)
    earliest, latest, measured = clock.at(86_410.5)
    assert measured == 86_400
    assert earliest == pytest.approx(1000 + 86_400 * (1 - DRIFT))
    assert latest == pytest.approx(1000 + 86_400.5 * (1 + DRIFT))


def test_the_last_answer_counts() -> None:
    """Also where the server's clock was set back meanwhile, and not what comes late from a thread
    that was given up."""
    clock = ServerClock()
    clock.read(Reading(1000.0, 10.0, 10.5))
    clock.read(Reading(500.0, 20.0, 20.5))
    clock.read(Reading(1003.0, 12.0, 13.0))
    assert clock.at(20.5).earliest == 500.0


def test_a_server_that_states_no_time_tells_nothing() -> None:
    clock = ServerClock()
    clock.read(Reading(NEVER, 10.0, 10.5))
    assert clock.at(11.0).measured == math.inf


async def test_each_connection_reads_the_clock_and_the_wall_has_no_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stated = [5000.0, 9000.0]

    def shake(self: Handshake, reached: Callable[[], None]) -> object:
        done = run(self, reached)
        return established(done.sock, clock=Reading(stated.pop(0), boottime(), boottime()))

    run = Handshake.run
    monkeypatch.setattr(Handshake, "run", shake)
    server = Server()
    async with serving(server) as session:
        monkeypatch.setattr(time, "time", lambda: 1e9)
        assert 5000.0 <= session.clock.now().earliest < 5060.0
        server.drop()
        await session.exchange(lambda _: [echo()])
        assert 9000.0 <= session.clock.now().earliest < 9060.0


WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}
SHOWN_ONLY = {"netfsfuse/vfs/feed/feeds.py", "netfsfuse/vfs/files/written.py"}
"""What ``netfsfuse watch`` prints says when, by our clock; and what is written is shown as of now,
until a server that does not state its time has said when it was."""


def test_no_decision_of_the_mount_looks_at_the_wall_clock() -> None:
    found = set()
    for package in ("fscache", "fuse", "netfs", "smb", "vfs"):
        for path in (ROOT / "netfsfuse" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in WALL_CLOCKS:
                    found.add(str(path.relative_to(ROOT)))
    assert found == SHOWN_ONLY
