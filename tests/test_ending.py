"""When the process leaves although something in it hangs."""

from __future__ import annotations

import os
from functools import partial

import pytest
import trio
import trio.testing

from netfsfuse.ending import END_SECONDS, HANG_SECONDS, Ending

Clock = trio.testing.MockClock


class Left(BaseException):
    """The process is gone."""


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Ending:
    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(os, "_exit", leave)
    return Ending()


async def seconds_to_leave(ending: Ending) -> float:
    unmounted: list[None] = []
    ending.unmount = lambda: unmounted.append(None)
    ending.begun.set()
    begun = trio.current_time()
    with pytest.raises(Left):
        await ending.leave_in_time()
    assert unmounted == [None]
    return trio.current_time() - begun


async def test_an_orderly_end_is_given_its_time(ending: Ending, autojump_clock: Clock) -> None:
    assert END_SECONDS <= await seconds_to_leave(ending) < 30


async def test_a_disk_that_is_known_to_hang_is_not_waited_for(
    ending: Ending, autojump_clock: Clock
) -> None:
    ending.hangs = lambda: True
    assert await seconds_to_leave(ending) == pytest.approx(HANG_SECONDS, abs=0.5)


async def test_a_disk_that_answers_now_and_then_is(ending: Ending, autojump_clock: Clock) -> None:
    ending.hangs = lambda: int(trio.current_time()) % 3 != 0
    assert await seconds_to_leave(ending) >= END_SECONDS


async def test_an_end_is_put_off_while_something_moves(
    ending: Ending, autojump_clock: Clock
) -> None:
    begun = trio.current_time()
    ending.progress = lambda: int(min(trio.current_time() - begun, 100) / 20)
    assert await seconds_to_leave(ending) == pytest.approx(100 + END_SECONDS, abs=1)


async def test_what_moves_is_waited_for(ending: Ending, autojump_clock: Clock) -> None:
    """Also by a task that is being cancelled."""
    ending.progress = lambda: int(trio.current_time() / 10)
    with trio.CancelScope() as scope:
        scope.cancel()
        assert await ending.wait_moving(partial(trio.sleep, 300), 15)
    assert trio.current_time() >= 300
    assert await ending.wait_moving(trio.lowlevel.checkpoint, 0.1)


async def test_what_stands_still_is_given_up(ending: Ending, autojump_clock: Clock) -> None:
    begun = trio.current_time()
    ending.progress = lambda: int(min(trio.current_time() - begun, 50) / 10)
    assert not await ending.wait_moving(trio.sleep_forever, 20)
    assert trio.current_time() == pytest.approx(begun + 70, abs=1)


async def test_what_fails_meanwhile_fails(ending: Ending) -> None:
    async def fail() -> None:
        raise ValueError("told to")

    with pytest.raises(ValueError, match="told to"):
        await ending.wait_moving(fail, 20)


async def test_nobody_leaves_before_it_ends(ending: Ending, autojump_clock: Clock) -> None:
    ending.hangs = lambda: True
    with trio.move_on_after(1000) as scope:
        await ending.leave_in_time()
    assert scope.cancelled_caught
