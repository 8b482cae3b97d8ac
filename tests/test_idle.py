"""Waiting until nothing is under way."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.idle import Idle


async def test_what_is_idle_is_not_waited_for() -> None:
    with trio.testing.assert_no_checkpoints():
        await Idle().wait(lambda: False)
    Idle().wake()


@pytest.mark.parametrize("waiters", [1, 3])
async def test_all_who_wait_go_on_once_it_is_empty(waiters: int) -> None:
    idle, busy, gone = Idle(), {1, 2}, []

    async def wait() -> None:
        await idle.wait(lambda: busy)
        gone.append(len(busy))

    async with trio.open_nursery() as nursery:
        for _ in range(waiters):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        busy.discard(1)
        await trio.testing.wait_all_tasks_blocked()
        assert gone == []
        busy.discard(2)
        idle.wake()
    assert gone == [0] * waiters


async def test_what_begins_before_the_waiter_has_its_turn_is_waited_for_too() -> None:
    idle, busy, gone = Idle(), {1}, trio.Event()

    async def wait() -> None:
        await idle.wait(lambda: busy)
        gone.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        busy.clear()
        idle.wake()
        busy.add(2)
        await trio.testing.wait_all_tasks_blocked()
        assert not gone.is_set()
        busy.clear()
        idle.wake()
    assert gone.is_set()


async def test_a_cancelled_waiter_takes_no_wake_from_the_others() -> None:
    idle, busy, gone = Idle(), [1], []

    async def wait() -> None:
        await idle.wait(lambda: busy)
        gone.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with trio.move_on_after(0.01):
            await idle.wait(lambda: busy)
        busy.clear()
        idle.wake()
    assert gone == [1]
