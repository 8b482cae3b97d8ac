"""No more than the link's window under way, what is waited for first, and nothing lost."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.io.pace import Pace

K = 64 * 1024


class FakeLink:
    def __init__(self, window: int) -> None:
        self.window = window


async def start(nursery, pace, order, name, length, *, urgent=False, demand=None):
    demand = demand or Demand(urgent=urgent)
    scope = trio.CancelScope()

    async def run():
        with scope:
            await pace.enter(length, demand)
            order.append(name)

    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    return scope


async def test_what_fits_passes_at_once_and_something_always_does():
    pace = Pace(FakeLink(2 * K))
    with trio.testing.assert_no_checkpoints():
        await pace.enter(K, Demand(urgent=False))
        await pace.enter(K, Demand(urgent=True))
    pace.leave(K, 0)
    pace.leave(K, 0)
    with trio.testing.assert_no_checkpoints():
        await pace.enter(100 * K, Demand(urgent=False))  # wider than the window, but alone
    assert pace.under_way == 100 * K


async def test_who_is_waited_for_goes_first_and_a_raised_one_behind_those(nursery):
    pace, order = Pace(FakeLink(K)), []
    await pace.enter(K, Demand(urgent=True))
    raised = Demand(urgent=False)
    await start(nursery, pace, order, "ahead 1", K)
    await start(nursery, pace, order, "ahead 2", K, demand=raised)
    await start(nursery, pace, order, "read", K, urgent=True)
    raised.raise_()
    for _ in range(3):
        pace.leave(K, 0)
        await trio.testing.wait_all_tasks_blocked()
    assert order == ["read", "ahead 2", "ahead 1"]
    raised.raise_()


@pytest.mark.parametrize("urgent", [True, False])
async def test_who_is_cancelled_in_the_queue_lets_the_next_one_pass(nursery, urgent):
    pace, order = Pace(FakeLink(2 * K)), []
    await pace.enter(K, Demand(urgent=True))
    large = await start(nursery, pace, order, "large", 2 * K, urgent=urgent)
    await start(nursery, pace, order, "small", K, urgent=urgent)
    assert order == []
    large.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert order == ["small"]
    assert pace.under_way == 2 * K


async def test_who_is_cancelled_just_when_it_is_his_turn_gives_it_back(nursery):
    pace, order = Pace(FakeLink(K)), []
    await pace.enter(K, Demand(urgent=True))
    scope = await start(nursery, pace, order, "late", K)
    pace.leave(K, 0)
    scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    assert pace.under_way == (K if order else 0)


@settings(deadline=None, max_examples=100)
@given(
    window=st.integers(1, 20),
    requests=st.lists(
        st.tuples(st.integers(1, 30), st.booleans(), st.booleans(), st.integers(0, 3)),
        max_size=25,
    ),
)
def test_never_more_than_the_window_and_all_get_through(window, requests):
    pace = Pace(FakeLink(window))
    inside = []

    async def one(length, urgent, cancelled, raise_after):
        demand = Demand(urgent=urgent)
        with trio.move_on_after(0.5 if cancelled else 1e9):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(raise_later, demand, raise_after)
                await pace.enter(length, demand)
                inside.append(length)
                try:
                    assert sum(inside) <= window or len(inside) == 1
                    await trio.sleep(1)
                finally:
                    inside.remove(length)
                    pace.leave(length, 0)

    async def raise_later(demand, seconds):
        await trio.sleep(seconds)
        demand.raise_()

    async def main():
        async with trio.open_nursery() as nursery:
            for request in requests:
                nursery.start_soon(one, *request)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert pace.under_way == 0
    assert not inside


async def test_what_the_server_holds_up_stops_nobody_for_long(autojump_clock, nursery):
    pace, order = Pace(FakeLink(2 * K)), []
    for _ in range(2):
        await pace.enter(K, Demand(urgent=True))
    for name in ("third", "fourth", "fifth"):
        await start(nursery, pace, order, name, K, urgent=True)
    await trio.sleep(1.9)
    assert order == []
    await trio.sleep(0.2)
    assert sorted(order) == ["fourth", "third"]
    assert pace.under_way == 2 * K
    pace.leave(K, 0)  # it came back after all: it counts no more
    assert pace.under_way == 2 * K
    pace.leave(K, 1)
    await trio.testing.wait_all_tasks_blocked()
    assert order[2:] == ["fifth"]


async def test_a_slow_link_on_which_something_comes_back_is_not_stalled(autojump_clock, nursery):
    pace, order = Pace(FakeLink(2 * K)), []
    for _ in range(2):
        await pace.enter(K, Demand(urgent=True))
    for name in range(5):
        await start(nursery, pace, order, name, K)
    for back in range(4):
        await trio.sleep(1.5)
        assert order == list(range(back))
        pace.leave(K, 0)
        await trio.testing.wait_all_tasks_blocked()
    assert pace.era == 0
