"""Waiting for credits: never an exception, in order of arrival, demand before readahead."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from netfsfuse.errors import Disconnected
from netfsfuse.netfs.demand import Demand
from netfsfuse.smb.connection.credit_gate import (
    OVERTAKEN,
    QUESTIONS,
    RESERVE,
    CreditGate,
    Unaffordable,
)
from netfsfuse.smb.connection.credits import CreditWindow


class Bench:
    """A gate, and the ids it gave away or wasted, in order."""

    def __init__(self, available: int, *, busy: bool = True) -> None:
        self.window = CreditWindow(available=available, next_message_id=100, ceiling=512)
        self.gate = CreditGate(self.window, lambda first, n: self.unused.append((first, n)))
        self.unused: list[tuple[int, int]] = []
        self._served: list[tuple[int, str]] = []
        if busy:  # something under way, so that the reserve counts
            self.window.grant(1)
            self.window.take(1)

    async def take(self, name: str, charge: int, *, urgent: bool) -> None:
        await self.read(name, charge, Demand(urgent=urgent))

    async def read(self, name: str, charge: int, demand: Demand) -> None:
        self._served.append((await self.gate.take(charge, demand), name))

    async def ask(self, name: str) -> None:
        self._served.append((await self.gate.take(1), name))

    @property
    def served(self) -> list[str]:
        """Who got ids, in the order of the ids: tasks wake up in any order."""
        return [name for _, name in sorted(self._served)]

    def grant(self, credits: int) -> None:
        self.window.grant(credits)
        self.gate.serve()


async def test_urgent_before_patient_and_each_in_order() -> None:
    bench = Bench(0)
    async with trio.open_nursery() as nursery:
        for name, urgent in (("p1", False), ("u1", True), ("p2", False), ("u2", True)):
            nursery.start_soon(lambda n=name, u=urgent: bench.take(n, 2, urgent=u))
            await trio.testing.wait_all_tasks_blocked()
        assert bench.served == []
        bench.grant(2 + QUESTIONS)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.served == ["u1"]
        bench.grant(6 + RESERVE - QUESTIONS)
        await trio.testing.wait_all_tasks_blocked()
    assert bench.served == ["u1", "u2", "p1", "p2"]


async def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    bench = Bench(3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: bench.take("large", 16, urgent=True))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lambda: bench.take("small", 1, urgent=True))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.served == []
        bench.grant(13 + QUESTIONS)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.served == ["large"]
        bench.grant(1)
    assert bench.served == ["large", "small"]


async def test_readahead_leaves_a_reserve_but_not_for_ever() -> None:
    bench = Bench(RESERVE + 1)
    async with trio.open_nursery() as nursery:
        await bench.take("one over the reserve", 1, urgent=False)
        nursery.start_soon(lambda: bench.take("readahead", 1, urgent=False))
        await trio.testing.wait_all_tasks_blocked()
        assert len(bench.served) == 1
        await bench.take("demand", 1, urgent=True)
        bench.window.settle(3)  # all answered, and the server gave nothing back
        bench.gate.serve()
    assert bench.served[-1] == "readahead"


async def test_a_read_that_somebody_begins_to_wait_for_goes_behind_the_urgent_ones() -> None:
    bench = Bench(0)
    demands = {name: Demand(urgent=name.startswith("u")) for name in ("p1", "p2", "u1", "p3")}
    async with trio.open_nursery() as nursery:
        for name, demand in demands.items():
            nursery.start_soon(bench.read, name, 2, demand)
            await trio.testing.wait_all_tasks_blocked()
        demands["p3"].raise_()
        demands["p2"].raise_()
        assert bench.served == []
        bench.grant(6 + QUESTIONS)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.served == ["u1", "p3", "p2"]
        bench.grant(2 + RESERVE - QUESTIONS)
    assert bench.served == ["u1", "p3", "p2", "p1"]
    assert all(demand.on_raise is None for demand in demands.values())


async def test_a_raised_read_need_not_leave_what_readahead_leaves() -> None:
    bench = Bench(2 + QUESTIONS)
    demand = Demand(urgent=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.read, "raised", 2, demand)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.served == []
        demand.raise_()
    assert bench.served == ["raised"]


async def test_a_raised_read_can_be_cancelled() -> None:
    bench = Bench(0)
    demand = Demand(urgent=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.read, "gone", 2, demand)
        await trio.testing.wait_all_tasks_blocked()
        demand.raise_()
        nursery.cancel_scope.cancel()
    bench.grant(10)
    assert (bench.served, bench.unused, bench.window.available) == ([], [], 10)
    assert demand.on_raise is None


@pytest.mark.parametrize("urgent", [True, False])
async def test_questions_never_starve_behind_reads(urgent: bool) -> None:
    """However many reads queue, credits for a look-up are left, and it goes first."""
    bench = Bench(3 * 16 + RESERVE + QUESTIONS)
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(lambda n=number: bench.take(f"r{n}", 16, urgent=urgent))
        await trio.testing.wait_all_tasks_blocked()
        assert len(bench.served) == 3
        assert bench.window.available >= QUESTIONS
        for number in range(QUESTIONS):
            await bench.ask(f"q{number}")  # at once: nothing was given back
        assert bench.window.available < 16
        while bench.window.available:
            await bench.ask("more")
        nursery.start_soon(bench.ask, "late")
        await trio.testing.wait_all_tasks_blocked()
        bench.grant(1)
        await trio.testing.wait_all_tasks_blocked()
        assert bench.served[-1] == "late"
        nursery.cancel_scope.cancel()


async def test_reads_never_starve_behind_questions() -> None:
    bench = Bench(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: bench.take("read", 4, urgent=True))
        await trio.testing.wait_all_tasks_blocked()
        for number in range(3 * OVERTAKEN):
            nursery.start_soon(bench.ask, f"q{number}")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5 * OVERTAKEN):
            bench.grant(1)
            await trio.testing.wait_all_tasks_blocked()
    assert bench.served.index("read") == OVERTAKEN


async def test_reads_leave_room_below_the_ceiling() -> None:
    """Samba gives more credits than it is asked for: those beyond the ceiling are no reserve."""
    bench = Bench(1000)
    async with trio.open_nursery() as nursery:
        for number in range(64):
            nursery.start_soon(lambda n=number: bench.take(f"r{n}", 16, urgent=True))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.window.spent <= bench.window.ceiling - QUESTIONS
        await bench.ask("look-up")
        nursery.cancel_scope.cancel()


async def test_a_cancelled_waiter_lets_those_behind_it_go() -> None:
    bench = Bench(2 + QUESTIONS)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def impatient() -> None:
            with scope:
                await bench.take("large", 16, urgent=True)

        nursery.start_soon(impatient)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lambda: bench.take("small", 2, urgent=True))
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert bench.served == ["small"]
        nursery.cancel_scope.cancel()
    assert bench.unused == []


async def test_ids_given_to_a_cancelled_caller_are_handed_back() -> None:
    bench = Bench(0)
    scope = trio.CancelScope()

    async def waiter() -> None:
        with scope:
            await bench.take("never", 3, urgent=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()  # and in the same moment:
        bench.grant(3)
    if bench.served:  # trio may deliver either; an id is never lost
        assert bench.unused == []
    else:
        assert bench.unused in ([], [(101, 3)])
        assert bench.window.available + sum(n for _, n in bench.unused) == 3


async def test_failure_ends_waiters_now_and_later() -> None:
    bench = Bench(0)
    gone = Disconnected("gone")
    seen = []

    async def waiter(urgent: bool) -> None:
        with pytest.raises(Disconnected) as caught:
            await bench.gate.take(1, Demand(urgent=urgent))
        seen.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter, True)
        nursery.start_soon(waiter, False)
        await trio.testing.wait_all_tasks_blocked()
        bench.gate.fail(gone)
    await waiter(True)
    assert seen == [gone] * 3


@pytest.mark.parametrize("seed", range(20))
async def test_random_schedules_lose_no_credit(seed: int, autojump_clock: object) -> None:
    """Cancelled and served at random: afterwards every id was used once or handed back."""
    chance = random.Random(seed)
    bench = Bench(4, busy=False)
    used: list[int] = []

    async def reader(delay: float, patience: float, charge: int, urgent: bool) -> None:
        await trio.sleep(delay)
        with trio.move_on_after(patience):
            first = await bench.gate.take(charge, Demand(urgent=urgent))
            used.extend(range(first, first + charge))
            with trio.CancelScope(shield=True):
                await trio.sleep(chance.random())
            bench.window.settle(charge)
            bench.grant(charge)

    def wasted(first: int, charge: int) -> None:
        used.extend(range(first, first + charge))
        bench.window.settle(charge)
        bench.grant(charge)

    bench.gate._on_unused = wasted
    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(
                reader,
                chance.random() * 3,
                chance.choice([0.0, 0.3, 50.0]),
                chance.randint(1, 4),
                chance.random() < 0.5,
            )
    assert sorted(used) == list(range(100, bench.window.next_message_id))
    assert (bench.window.available, bench.window.spent) == (4, 0)


async def test_what_costs_more_than_there_is_waits_while_something_is_under_way() -> None:
    """Its answer may bring more; once nothing is, who asks is told, and smaller ones go."""
    bench = Bench(1)
    async with trio.open_nursery() as nursery:

        async def refused() -> None:
            with pytest.raises(Unaffordable):
                await bench.take("large", 3, urgent=True)

        nursery.start_soon(refused)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lambda: bench.take("small", 1, urgent=True))
        await trio.testing.wait_all_tasks_blocked()
        assert bench.served == []
        bench.window.settle(1)
        bench.grant(1)
    assert bench.served == ["small"]
    with pytest.raises(Unaffordable):
        await Bench(2, busy=False).gate.take(3)
