"""One line for a state, however often a program runs into it."""

from __future__ import annotations

import itertools
import logging

import pytest
import trio

from netfsfuse.cli.repeats import FEW, LONGEST, QUIET, STATES_MAX, Repeats
from netfsfuse.tasks import ServiceNursery


class Log:
    def __init__(self) -> None:
        self.now = 1000.0
        self.repeats = Repeats(lambda: self.now)

    def __call__(
        self, level: int = logging.WARNING, line: int = 7, state: object = None, what: str = "x"
    ) -> str | None:
        """What is logged."""
        record = logging.LogRecord("netfsfuse.a", level, "a.py", line, "no %s", (what,), None)
        if state is not None:
            record.state = state
        return record.getMessage() if self.repeats.filter(record) else None


@pytest.fixture
def log() -> Log:
    return Log()


def test_one_line_however_often(log: Log) -> None:
    assert log(what="a") == "no a"
    assert {log(what=f"{n}") for n in range(10_000)} == {None}
    log.now += QUIET
    assert log(what="b") == "no b (and 10000 like it before)"
    log.now += 1.5 * QUIET
    assert log(what="c") == "no c"  # it was over, and has begun again


def test_a_state_that_lasts_is_told_ever_more_rarely(log: Log) -> None:
    told = []
    for _ in range(24 * 60):
        log.now += 60.0
        if log():
            told.append(log.now)
    pauses = [later - earlier for earlier, later in itertools.pairwise(told)]
    assert pauses[:3] == [60.0, 120.0, 240.0]
    assert max(pauses) == LONGEST
    assert len(told) < 32


def test_other_lines_and_other_states_are_told(log: Log) -> None:
    assert log(state=("read", "Disconnected"))
    assert log(state=("read", "ServerError"))
    assert log(line=8)
    assert log(level=logging.ERROR, line=9)
    assert not log(state=("read", "ServerError"))
    assert not log(line=8)


def test_a_few_of_the_ordinary_ones_and_all_for_debugging(log: Log) -> None:
    assert [bool(log(logging.INFO)) for _ in range(FEW + 2)] == [True] * FEW + [False] * 2
    assert all(log(logging.DEBUG, line=3) for _ in range(100))


def test_it_does_not_grow(log: Log) -> None:
    assert all(log(state=n) for n in range(3 * STATES_MAX))
    assert len(log.repeats._states) == STATES_MAX


def test_lines_that_are_all_argument_are_states_of_their_own() -> None:
    """Several notices through one call of the log."""
    repeats = Repeats()

    def told(line: str) -> bool:
        record = logging.LogRecord("a", logging.WARNING, "a.py", 7, "%s", (line,), None)
        return repeats.filter(record) is not False

    assert [told(line) for line in ("one", "two", "one")] == [True, True, False]


async def test_each_kind_of_failure_of_each_task_is_logged(caplog) -> None:
    async def one() -> None:
        raise OSError

    async def other() -> None:
        raise ValueError

    with caplog.filtering(Repeats()):
        async with trio.open_nursery() as nursery:
            service = ServiceNursery(nursery)
            for task in (one, other, other):
                service.start_soon(task)
    kinds = sorted(r.exc_info[0].__name__ for r in caplog.records if r.levelno == logging.ERROR)
    assert kinds == ["OSError", "ValueError"]
