"""A mapping and its pool against a model: which folio holds which block, which may be evicted."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from netfsfuse.netfs.memory.buffer import PAGE
from netfsfuse.netfs.memory.folio import Folio, FolioState
from netfsfuse.netfs.memory.mapping import Mapping
from netfsfuse.netfs.memory.pool import BufferPool, size_class
from netfsfuse.stats import MemoryStats
from netfsfuse.types import CACHE_BLOCK

K = CACHE_BLOCK
SMALL, LARGE = K + 2 * PAGE, 4 * K + 2 * PAGE
BLOCKS = 40

reached: Counter[str] = Counter()
"""How often the model came to the edges of what may be withheld."""


class FakeFill:
    def hurry(self):
        pass


def pick(folios, n):
    return folios[n % len(folios)]


class MappingModel(RuleBasedStateMachine):
    """``mapped``: the folios that should be found, by their blocks. ``pins``: pins we hold."""

    def __init__(self):
        super().__init__()
        self.pool = BufferPool(2 * LARGE + SMALL, MemoryStats(), largest=4 * K)
        self.mapping = Mapping(self.pool)
        self.mapped = {}
        self.tasks = []
        self.pins = []
        self.held = []  # buffers withheld

    def folios(self, *states, busy=None):
        found = {id(f): f for f in self.mapped.values()}.values()
        return [
            f
            for f in found
            if (not states or f.state in states) and (busy is None or f.busy is busy)
        ]

    def gone(self, folio):
        self.mapped = {at: f for at, f in self.mapped.items() if f is not folio}

    @rule(at=st.integers(0, BLOCKS), count=st.integers(1, 4), urgent=st.booleans())
    def claim(self, at, count, urgent):
        self.claimed(at, count, urgent)

    @rule(at=st.integers(0, BLOCKS), count=st.integers(1, 4))
    def arrive(self, at, count):
        """All that comes before a folio is clean and idle at one go."""
        folio = self.claimed(at, count, True)
        if folio is not None:
            folio.filled(folio.length)
            self.tasks.remove(folio)
            folio.end_task()

    @rule(count=st.integers(1, 4))
    def withhold(self, count):
        """A buffer for bytes that will be nowhere else."""
        most = min(self.pool.budget // 2, self.pool.budget - LARGE)
        cost = size_class(count * K, 4 * K) + 2 * PAGE
        before = self.folios()
        buffer = self.pool.acquire_withheld(count * K)
        for folio in before:
            if folio.home is None:
                self.gone(folio)
        if buffer is not None:
            self.held.append(buffer)
            assert cost <= most
        if self.pool.withheld + cost > most:
            reached["at the bound"] += 1

    @precondition(lambda self: self.held)
    @rule(n=st.integers(0, 99))
    def written(self, n):
        buffer = pick(self.held, n)
        self.held.remove(buffer)
        self.pool.release_withheld(buffer)
        buffer.drop()

    def claimed(self, at, count, urgent):
        if any(block in self.mapped for block in range(at, at + count)):
            return None
        before = self.folios()
        idle = [f for f in self.folios() if f.buffer.references == 1]
        buffer = self.pool.acquire_nowait(count * K, urgent=urgent)
        for folio in before:
            if folio.home is None:
                assert folio in idle  # only what was idle was evicted
                self.gone(folio)
        if buffer is None:
            return None
        folio = Folio(at * K, count * K, buffer)
        folio.start_fill(FakeFill())
        self.mapping.attach(folio)
        self.tasks.append(folio)
        self.mapped.update(dict.fromkeys(range(at, at + count), folio))
        return folio

    @precondition(lambda self: self.folios(FolioState.FILLING))
    @rule(n=st.integers(0, 99))
    def fill(self, n):
        folio = pick(self.folios(FolioState.FILLING), n)
        folio.filled(folio.length)

    @precondition(lambda self: self.folios(FolioState.FILLING))
    @rule(n=st.integers(0, 99))
    def fail(self, n):
        folio = pick(self.folios(FolioState.FILLING), n)
        folio.unmap()
        folio.failed(OSError())
        self.gone(folio)

    @precondition(lambda self: any(f.fill is None for f in self.tasks))
    @rule(n=st.integers(0, 99))
    def end_task(self, n):
        folio = pick([f for f in self.tasks if f.fill is None], n)
        self.tasks.remove(folio)
        if folio.let_go:
            self.gone(folio)
        folio.end_task()

    @precondition(lambda self: self.mapped)
    @rule(n=st.integers(0, 99))
    def pin(self, n):
        folio = pick(self.folios(), n)
        folio.pin()
        self.pins.append(folio)

    @precondition(lambda self: self.pins)
    @rule(n=st.integers(0, 99))
    def unpin(self, n):
        folio = pick(self.pins, n)
        self.pins.remove(folio)
        folio.unpin()

    @precondition(lambda self: self.folios(FolioState.CLEAN))
    @rule(n=st.integers(0, 99), runs_on=st.booleans(), alone=st.booleans(), all_=st.booleans())
    def consume(self, n, runs_on, alone, all_):
        folio = pick(self.folios(FolioState.CLEAN), n)
        count = folio.length if all_ else 1
        self.mapping.consume(folio, count, runs_on=runs_on, alone=alone)
        used_up = folio.consumed >= folio.length
        if used_up and runs_on and alone and folio.state is FolioState.CLEAN and not folio.busy:
            assert folio.home is None
            self.gone(folio)

    @rule(at=st.integers(0, BLOCKS))
    def detach_from(self, at):
        behind = {id(f): f for block, f in self.mapped.items() if block >= at}.values()
        self.mapping.detach_from(at)
        for folio in behind:
            self.gone(folio)

    @rule(at=st.integers(0, BLOCKS), count=st.integers(1, 4))
    def outdate(self, at, count):
        hit = {id(f): f for n in range(at, at + count) if (f := self.mapped.get(n))}.values()
        self.mapping.outdate(at * K + 1, (at + count) * K - 1)
        for folio in hit:
            assert folio.outdated
            self.gone(folio)

    @invariant()
    def agrees(self):
        assert len(self.mapping) == len(self.mapped)
        for block in range(BLOCKS + 4):
            folio = self.mapped.get(block)
            assert self.mapping.find(block) is folio
        ordered = sorted(self.folios(), key=lambda folio: folio.start)
        assert list(self.mapping.within(0, (BLOCKS + 4) * K)) == ordered
        for folio in ordered:
            assert folio.state is not FolioState.VOID
            assert folio.buffer.references == 1 + folio.busy + folio.waiters

    @invariant()
    def memory_adds_up(self):
        used = {id(f.buffer): f.buffer for f in [*self.folios(), *self.tasks, *self.pins]}
        withheld = sum(b.capacity + 2 * PAGE for b in self.held)
        assert self.pool.withheld == withheld <= self.pool.budget // 2
        assert self.pool.in_use == withheld + sum(b.capacity + 2 * PAGE for b in used.values())

    def teardown(self):
        """Nothing waits for ever: when tasks and readers are done, and the server is still away,
        a largest buffer can be had at once."""
        for folio in self.pins:
            folio.unpin()
        for folio in self.tasks:
            if folio.fill is not None:
                folio.filled(folio.length)
            folio.end_task()
        assert self.pool.acquire_nowait(4 * K, urgent=True) is not None


def test_a_mapping_is_as_its_model_says_and_the_model_comes_to_the_bound():
    """What may be withheld is bounded; a model that never asks for more holds nothing."""
    reached.clear()
    chosen = settings(deadline=None, max_examples=150, stateful_step_count=40)
    run_state_machine_as_test(MappingModel, settings=chosen)
    assert reached["at the bound"] > 10
