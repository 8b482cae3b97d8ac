"""Transfers that share a hop: who goes when, and who may leave."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.fscache.batch import PIECES_MAX, Batch

MEMORY = memoryview(b"")


class Thread:
    """A carrier whose hops begin and end when told. ``began``: the starts that each one took."""

    def __init__(self):
        self.began = []
        self.gates = []
        self.admit = trio.Event()
        self.admit.set()

    async def carry(self, take):
        await self.admit.wait()
        pieces = take()
        gate = trio.Event()
        self.began.append([piece.start for piece in pieces])
        self.gates.append(gate)
        with trio.CancelScope(shield=True):
            await gate.wait()
        for piece in pieces:
            piece.done = piece.start >= 0

    async def end(self, number):
        self.gates[number].set()
        await trio.testing.wait_all_tasks_blocked()


class Callers:
    """Transfers begun one after the other, their scopes and results by start."""

    def __init__(self, batch, nursery):
        self.batch, self.nursery = batch, nursery
        self.scopes, self.results = {}, {}

    async def begin(self, *starts):
        for start in starts:
            self.nursery.start_soon(self.call, start)
            await trio.testing.wait_all_tasks_blocked()

    async def call(self, start):
        with trio.CancelScope() as self.scopes[start]:
            done = await self.batch.transfer(start, MEMORY)
            await trio.lowlevel.checkpoint_if_cancelled()
            self.results[start] = done
            return
        self.results[start] = "cancelled"

    async def cancel(self, start):
        self.scopes[start].cancel()
        await trio.testing.wait_all_tasks_blocked()


@pytest.fixture
async def thread():
    return Thread()


def callers(thread, nursery, hops=1):
    return Callers(Batch(thread.carry, hops), nursery)


async def test_what_queues_up_goes_together(thread):
    async with trio.open_nursery() as nursery:
        calls = callers(thread, nursery)
        await calls.begin(1, 2, 3)
        assert thread.began == [[1]]
        await thread.end(0)
        assert calls.results == {1: True}
        assert thread.began == [[1], [2, 3]]
        await calls.begin(-4)
        await thread.end(1)
        await thread.end(2)
    assert thread.began == [[1], [2, 3], [-4]]
    assert calls.results == {1: True, 2: True, 3: True, -4: False}


async def test_one_hop_takes_so_many_and_no_more(thread):
    async with trio.open_nursery() as nursery:
        calls = callers(thread, nursery)
        await calls.begin(*range(PIECES_MAX + 3))
        for number in range(3):
            await thread.end(number)
    assert [len(starts) for starts in thread.began] == [1, PIECES_MAX, 2]
    assert all(calls.results.values())


async def test_so_many_hops_at_once_and_no_more(thread):
    async with trio.open_nursery() as nursery:
        calls = callers(thread, nursery, hops=2)
        await calls.begin(1, 2, 3, 4)
        assert thread.began == [[1], [2]]
        await thread.end(1)
        assert thread.began == [[1], [2], [3, 4]]
        await thread.end(0)
        await calls.begin(5)
        assert thread.began[3:] == [[5]]  # the hop that came back is used again
        await thread.end(2)
        await thread.end(3)


async def test_waiting_for_a_thread_more_may_come_along(thread):
    thread.admit = trio.Event()
    async with trio.open_nursery() as nursery:
        calls = callers(thread, nursery)
        await calls.begin(1, 2, 3)
        thread.admit.set()
        await trio.testing.wait_all_tasks_blocked()
        assert thread.began == [[1, 2, 3]]
        await thread.end(0)
    assert all(calls.results.values())


async def test_who_waits_leaves_at_once(thread):
    async with trio.open_nursery() as nursery:
        calls = callers(thread, nursery)
        await calls.begin(1, 2, 3)
        await calls.cancel(2)
        assert calls.results == {2: "cancelled"}
        await thread.end(0)
        assert thread.began == [[1], [3]]
        await thread.end(1)


async def test_who_was_taken_along_leaves_when_the_thread_is_done(thread):
    async with trio.open_nursery() as nursery:
        calls = callers(thread, nursery)
        await calls.begin(1, 2, 3)
        await thread.end(0)
        await calls.cancel(3)
        assert 3 not in calls.results
        await calls.cancel(2)  # it leads
        assert 2 not in calls.results
        await thread.end(1)
        assert calls.results == {1: True, 2: "cancelled", 3: "cancelled"}
        await calls.begin(4)
        await thread.end(2)


async def test_a_leader_cancelled_before_it_has_a_thread_hands_on(thread):
    thread.admit = trio.Event()
    async with trio.open_nursery() as nursery:
        calls = callers(thread, nursery)
        await calls.begin(1, 2, 3)
        await calls.cancel(1)
        assert calls.results == {1: "cancelled"}
        thread.admit.set()
        await trio.testing.wait_all_tasks_blocked()
        assert thread.began == [[2, 3]]
        await thread.end(0)
    assert calls.results == {1: "cancelled", 2: True, 3: True}


async def test_a_turn_given_to_who_is_leaving_is_not_lost(thread):
    """Cancelled and woken in one step of the loop, in either order."""
    for cancel_first in (True, False):
        thread.began.clear()
        thread.gates.clear()
        async with trio.open_nursery() as nursery:
            calls = callers(thread, nursery)
            await calls.begin(1, 2, 3)
            if cancel_first:
                calls.scopes[2].cancel()
                calls.batch._next()
            else:
                calls.batch._next()
                calls.scopes[2].cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert calls.results == {2: "cancelled"}
            assert thread.began == [[1], [3]]  # handed on
            await thread.end(0)
            await thread.end(1)
        assert calls.results[1] is calls.results[3] is True
        assert calls.results[2] == "cancelled"
