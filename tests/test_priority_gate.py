"""A gate against a model: whose turn it is, that nothing free is left while a caller waits, and
that a caller which is cancelled at any point costs the others nothing."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.priority_gate import PriorityGate

STOCK = 6
RANKS = 3


class Model:
    """The same queue in the plainest form: a list of callers, searched anew for each grant."""

    def __init__(self, limit):
        self.left = STOCK
        self.limit = limit  # of rank 1
        self.queues = [[], [], []]
        self.overtaken = {}

    def next(self):
        limited = self.queues[1]
        if limited and self.overtaken.get(limited[0], 0) >= self.limit:
            return limited[0]
        return next((queue[0] for queue in self.queues if queue), None)

    def rank(self, caller):
        return next(rank for rank, queue in enumerate(self.queues) if caller in queue)

    def serve(self, amounts):
        """The callers that are granted now, in order."""
        served = []
        while (caller := self.next()) is not None and amounts[caller] <= self.left:
            rank = self.rank(caller)
            self.queues[rank].remove(caller)
            self.left -= amounts[caller]
            served.append(caller)
            if rank == 0 and self.queues[1]:
                first = self.queues[1][0]
                self.overtaken[first] = self.overtaken.get(first, 0) + 1
        return served


class Bench:
    """A stock behind a gate, and callers that keep what they are granted until told to return it.

    ``granted``: callers in the order in which ``grant`` let them through. ``holding``: those that
    know of it.
    """

    def __init__(self, limit, nursery):
        self.left = STOCK
        self.gate = PriorityGate(self.grant, self.give_back, ranks=RANKS, overtaken={1: limit})
        self.model = Model(limit)
        self.nursery = nursery
        self.amounts, self.scopes, self.places, self.holding = [], [], {}, set()
        self.granted, self.expected = [], []

    def grant(self, amount, rank):
        if amount > self.left:
            return None
        self.left -= amount
        self.gate.serve()  # what a grant frees may serve: no harm
        self.granted.append(amount)
        return "granted"

    def give_back(self, amount, grant):
        assert grant == "granted"
        self.left += amount
        self.gate.serve()

    def enter(self, amount, rank):
        caller = len(self.amounts)
        self.amounts.append(amount)
        self.scopes.append(trio.CancelScope())
        self.model.queues[rank].append(caller)
        grant = self.gate.take_nowait(amount, rank)
        if grant is None:
            self.places[caller] = self.gate.queue(amount, rank)
            self.nursery.start_soon(self.wait, caller)
        else:
            self.holding.add(caller)

    async def wait(self, caller):
        with self.scopes[caller], self.places[caller] as place:
            await place.granted.wait()
            self.holding.add(caller)
        if self.scopes[caller].cancelled_caught:
            del self.places[caller]

    def give_up_model(self, caller):
        for queue in self.model.queues:
            if caller in queue:
                queue.remove(caller)

    def agree(self):
        """Compare after the tasks have run: what the model grants is what the gate has granted."""
        self.expected += [self.amounts[caller] for caller in self.model.serve(self.amounts)]
        assert self.granted == self.expected
        assert self.left == self.model.left
        waiting = sum(map(len, self.model.queues))
        assert self.gate.waiting == waiting
        head = self.model.next()
        assert head is None or self.amounts[head] > self.left


STEPS = st.one_of(
    st.tuples(st.just("enter"), st.integers(1, STOCK), st.integers(0, RANKS - 1)),
    st.tuples(st.just("enter"), st.integers(1, 2), st.integers(0, 1)),
    st.tuples(st.just("leave"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("promote"), st.integers(0, 30), st.integers(0, 1)),
)


@settings(deadline=None, max_examples=300)
@given(limit=st.integers(1, 3), steps=st.lists(STEPS, min_size=12, max_size=40))
def test_the_order_is_that_of_the_model_and_nothing_free_is_left(limit, steps):
    async def main():
        async with trio.open_nursery() as nursery:
            bench = Bench(limit, nursery)
            for what, n, rank in steps:
                waiting = [caller for queue in bench.model.queues for caller in queue]
                if what == "enter":
                    bench.enter(n, rank)
                elif what == "leave" and bench.holding:
                    caller = sorted(bench.holding)[n % len(bench.holding)]
                    bench.holding.remove(caller)
                    bench.model.left += bench.amounts[caller]
                    bench.give_back(bench.amounts[caller], "granted")
                elif what == "cancel" and waiting:
                    caller = waiting[n % len(waiting)]
                    bench.scopes[caller].cancel()
                    bench.give_up_model(caller)
                    await trio.testing.wait_all_tasks_blocked()
                elif what == "promote" and waiting:
                    caller = waiting[n % len(waiting)]
                    if rank < bench.model.rank(caller):
                        bench.give_up_model(caller)
                        bench.model.queues[rank].append(caller)
                    bench.places[caller].promote(rank)
                bench.agree()
                await trio.testing.wait_all_tasks_blocked()
                bench.agree()
            nursery.cancel_scope.cancel()
        assert bench.gate.waiting == 0
        assert bench.left + sum(bench.amounts[c] for c in bench.holding) == STOCK

    trio.run(main)


@settings(deadline=None, max_examples=300)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["enter", "enter", "leave", "cancel", "cancel", "promote", "run"]),
            st.integers(1, STOCK),
            st.integers(0, RANKS - 1),
        ),
        min_size=10,
        max_size=40,
    )
)
def test_cancelled_at_any_point_a_caller_gives_its_grant_on(steps):
    """Between two "run" all happens in one moment: a caller may be granted after it was cancelled,
    or cancelled after it was granted, before its task has run."""

    async def main():
        async with trio.open_nursery() as nursery:
            bench = Bench(2, nursery)
            for what, n, rank in steps:
                if what == "enter":
                    bench.enter(n, rank)
                elif what == "leave" and bench.holding:
                    caller = sorted(bench.holding)[n % len(bench.holding)]
                    bench.holding.remove(caller)
                    bench.give_back(bench.amounts[caller], "granted")
                elif what == "cancel" and bench.scopes:
                    bench.scopes[n * 7 % len(bench.scopes)].cancel()
                elif what == "promote" and bench.places:
                    places = list(bench.places.values())
                    places[n * 7 % len(places)].promote(min(rank, 1))
                elif what == "run":
                    await trio.testing.wait_all_tasks_blocked()
                    held = sum(bench.amounts[caller] for caller in bench.holding)
                    assert bench.left + held == STOCK
                    if bench.gate.waiting:
                        waits = [p.amount for p in bench.places.values() if p.grant is None]
                        assert len(waits) == bench.gate.waiting
                        assert max(waits) > bench.left
            for scope in bench.scopes:
                scope.cancel()
        held = sum(bench.amounts[caller] for caller in bench.holding)
        assert bench.left + held == STOCK
        assert bench.gate.waiting == 0

    trio.run(main)


async def test_what_is_free_is_taken_without_a_checkpoint_or_a_place():
    taken = []
    gate = PriorityGate(lambda amount, rank: taken.append(amount) or amount, lambda *_: None)
    assert gate.take_nowait(5) == 5
    assert taken == [5]
    assert gate.waiting == 0


@pytest.mark.parametrize("cancelled", [False, True])
async def test_all_that_wait_can_be_dismissed(cancelled):
    back, seen = [], []
    gate = PriorityGate(lambda *_: None, lambda *args: back.append(args), ranks=2)

    async def wait(rank):
        with gate.queue(3, rank) as place:
            await place.granted.wait()
            seen.append(place.grant)

    async with trio.open_nursery() as nursery:
        for rank in (1, 0):
            nursery.start_soon(wait, rank)
        await trio.testing.wait_all_tasks_blocked()
        if cancelled:
            nursery.cancel_scope.cancel()
        gate.dismiss("no more")
    assert (seen, back) == (([], [(3, "no more")] * 2) if cancelled else (["no more"] * 2, []))
    assert gate.waiting == 0


def test_a_caller_that_gives_up_without_an_error_leaves_its_place():
    free = [0]
    gate = PriorityGate(lambda amount, rank: True if amount <= free[0] else None, lambda *_: None)
    with gate.queue(2):
        small = gate.queue(1)
        free[0] = 1
        gate.serve()
        assert not small.granted.is_set()  # it does not overtake the large one
    assert small.granted.is_set()
    assert gate.waiting == 0


def test_a_limited_rank_gets_every_other_turn_and_no_more():
    """Those of its own rank that went before a place have not overtaken it."""
    free, order = [0], []

    def grant(amount, rank):
        if free[0]:
            order.append(rank)
        return True if free[0] else None

    gate = PriorityGate(grant, lambda *_: None, ranks=2, overtaken={1: 1})
    places = [gate.queue(1, rank) for rank in (1, 1, 0, 0, 0)]
    free[0] = 1
    gate.serve()
    assert order == [0, 1, 0, 1, 0]
    assert all(place.granted.is_set() for place in places)
