"""Writes, restamps and crashes at any step, against a byte array: never a wrong byte.

The process dies before any one of its calls on the filesystem. On a loss of power each page of the
data, and each entry of the map, is then what it was when it was last synced or what was written
since, and the header any that these files ever had.
"""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from cachefiles import BLOCK
from tests.cachefiles.crashing import PIECES, CrashingCache, Killed

BLOCKS = 4


class Crashes(CrashingCache):
    """One file of at most four blocks in one cache; ``version`` is the server's."""

    @initialize(tail=st.integers(1, BLOCK))
    def start(self, tail):
        self.begin()
        self.version = 0
        self.size = (BLOCKS - 1) * BLOCK + tail
        self.pieces = list(range(BLOCKS))
        self.drawn = BLOCKS
        self.bind()
        self.open()

    def note_header_synced(self, path):
        """Here any header may come back, whatever was synced."""

    def open(self):
        self.file, _ = self.volume.open(b"k", self.size, b"%d" % self.version)

    def teardown(self):
        if hasattr(self, "cache"):
            self.file.close()
            self.end()

    def content(self, start, end):
        blocks = b"".join(PIECES[piece % len(PIECES)] for piece in self.pieces)
        return memoryview(blocks)[start : min(end, self.size)]

    def check(self, first, last):
        start, end = first * BLOCK, min(last * BLOCK, self.size)
        if start >= end:
            return False
        target = memoryview(bytearray(end - start))
        right = self.file.read(start, target)
        assert not right or target == self.content(start, end)
        return right

    spans = st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS)).map(
        lambda pair: (pair[0], min(BLOCKS, pair[0] + pair[1]))
    )
    sizes = st.none() | st.integers(1, BLOCKS * BLOCK)

    @rule(span=spans)
    def store(self, span):
        start = span[0] * BLOCK
        data = self.content(start, span[1] * BLOCK)
        if data:
            assert self.file.write(start, data)
            assert self.check(*span)

    @rule(span=spans)
    def read(self, span):
        self.check(*span)

    @rule()
    def sync(self):
        self.cache.sync()

    def change(self, span, size):
        """The server takes a change; what it may have touched, in bytes."""
        end = min(span[1] * BLOCK, self.size)
        start = min(span[0] * BLOCK + 7, end - 1)  # a byte of a block is enough
        changed = [(start, end)] if span[0] * BLOCK < end else []
        for block in range(*span):
            self.pieces[block] = self.drawn
            self.drawn += 1
        if size is not None and size != self.size:
            for block in range(min(size, self.size) // BLOCK, BLOCKS):
                self.pieces[block] = self.drawn
                self.drawn += 1
            self.size = size
        self.version += 1
        return changed

    @rule(span=spans, size=sizes)
    def change_of_our_own(self, span, size):
        late = bytes(self.content(0, BLOCK))
        whole = len(late) == BLOCK or len(late) == self.file.size
        self.restamp(self.change(span, size))
        if whole and late:  # fetched before the change, and stored after it
            with suppress(ValueError):
                assert not self.before.write(0, memoryview(late))

    def restamp(self, changed):
        self.before = self.file
        new = self.file.restamp(self.size, b"%d" % self.version, changed)
        if new is None:
            self.file.invalidate()
        self.file.close()
        if new is None:
            self.open()
        else:
            self.file = new

    @rule(span=spans, size=sizes)
    def change_by_another(self, span, size):
        self.change(span, size)
        self.file.close()
        self.open()

    @rule(
        before=st.booleans(),
        what=st.sampled_from(["store", "sync", "restamp", "restamp", "open"]),
        steps=st.integers(0, 30),
        span=spans,
        size=sizes,
        power=st.none() | st.integers(0, 2**32),
    )
    def crash(self, before, what, steps, span, size, power):
        if before:  # then a loss of power has whole old blocks to bring back
            self.store((0, BLOCKS))
            self.sync()
        changed = self.change(span, size) if what in ("restamp", "open") else []
        self.faults.left = steps
        with suppress(Killed):
            if what == "store":
                self.store(span)
            elif what == "sync":
                self.cache.sync()
            elif what == "restamp":
                self.restamp(changed)
            else:
                self.file.close()
                self.open()
        self.die()
        if power is not None:
            self.lose_power(random.Random(power))
        self.bind()
        self.open()
        for block in range(BLOCKS):
            self.check(block, block + 1)


def test_a_strike_outlives_a_loss_of_power():
    """The case that random steps seldom meet, with many ways to lose power."""
    for power in range(30):
        machine = Crashes()
        machine.start(tail=100)
        machine.store((0, BLOCKS))
        machine.sync()
        machine.change_of_our_own((0, 2), None)
        machine.crash(False, "sync", 30, (0, 1), None, power)
        machine.teardown()


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)


class CrashesForLong(Crashes):
    """20,000 sequences."""


TestCrashesForLong = pytest.mark.soak(pytest.mark.timeout(7200)(CrashesForLong.TestCase))
TestCrashesForLong.settings = settings(
    deadline=None,
    max_examples=20_000,
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
)
