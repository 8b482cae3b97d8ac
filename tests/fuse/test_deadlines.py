"""How long a handler is given while bytes flow, and while none do."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from netfsfuse.fuse.deadlines import LONGEST, Deadlines

SECONDS = 30.0


async def overdue_after(deadlines: Deadlines, seconds: float = math.inf) -> float | None:
    """How long a handler was given; None if it ended by itself after ``seconds``."""
    begin = trio.current_time()
    try:
        with deadlines.limit():
            await trio.sleep(seconds)
    except trio.TooSlowError:
        return trio.current_time() - begin
    return None


@settings(max_examples=100, deadline=None)
@given(
    begins=st.lists(st.integers(0, 100), min_size=1, max_size=6),
    moves=st.lists(st.integers(0, 400), max_size=40),
)
def test_time_counts_while_nothing_moves(begins: list[int], moves: list[int]) -> None:
    """Against a model: 30 s behind the later of its beginning and the last move before that, up to
    a second more, and never longer than LONGEST."""
    moves = sorted(set(moves))
    assume(all(move + SECONDS not in moves for move in moves))  # at the very end: either is right

    def expected(begin: int) -> float:
        end = begin + SECONDS
        for move in moves:
            if begin <= move < end:
                end = move + SECONDS
        return min(end, begin + LONGEST) - begin

    async def run() -> None:
        moved = 0
        deadlines = Deadlines(SECONDS, lambda: moved)

        async def move() -> None:
            nonlocal moved
            for at in moves:
                await trio.sleep_until(origin + at + 0.01)
                moved += 1

        async def handler(begin: int) -> None:
            await trio.sleep_until(origin + begin)
            given = await overdue_after(deadlines)
            assert given is not None
            assert expected(begin) - 0.01 <= given <= min(expected(begin) + 1.1, LONGEST + 0.01)

        origin = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deadlines.run)
            nursery.start_soon(move)
            async with trio.open_nursery() as handlers:
                for begin in begins:
                    handlers.start_soon(handler, begin)
            nursery.cancel_scope.cancel()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("kept", [29.9, 200.0])
async def test_a_handler_that_ends_is_watched_no_more(
    kept: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Within its time; or later, as bytes flow."""
    deadlines = Deadlines(SECONDS, lambda: trio.current_time() // 5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        assert await overdue_after(deadlines, kept) is None
        assert not deadlines._begun_at
        nursery.cancel_scope.cancel()


async def test_a_mount_that_waits_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    deadlines = Deadlines(math.inf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        assert await overdue_after(deadlines, 10_000.0) is None
        nursery.cancel_scope.cancel()
