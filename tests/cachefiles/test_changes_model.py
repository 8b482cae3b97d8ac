"""Changes that take a while, and crashes at any step of them, against a byte array.

What is found under a record, by any opener and after any crash, is what the server had when it gave
that record; what the writer finds meanwhile is what the server has now.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from cachefiles import BLOCK, Cache
from cachefiles.generation import HEADER_XATTR, decode
from tests.cachefiles.crashing import PIECES, CrashingCache, Killed

BLOCKS = 5
KEYS = (b"k", b"other")


class Changing(CrashingCache):
    """One file of at most five blocks; ``version`` is the server's, ``history`` what it was then.
    ``beside``: another process with the same cache; ``met``: it has opened the file since we did;
    ``over``: and found what we had there, so that ours is over."""

    sizes = st.integers(0, BLOCKS * BLOCK) | st.integers(0, BLOCKS).map(lambda n: n * BLOCK)
    spans = st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS)).map(
        lambda pair: (pair[0], min(BLOCKS, pair[0] + pair[1]))
    )

    @initialize(size=sizes)
    def start(self, size):
        self.begin()
        self.size = size
        self.pieces = list(range(BLOCKS))
        self.drawn = BLOCKS
        self.version = 0
        self.history = {}
        self.key = KEYS[0]
        self.file = self.beside = self.other = None
        self.note_version()
        self.bind()
        self.open()

    def note_version(self):
        self.history[b"%d" % self.version] = (self.size, list(self.pieces))

    def open(self):
        self.changing = self.over = self.met = False
        self.file, _ = self.volume.open(self.key, self.size, b"%d" % self.version)

    def teardown(self):
        if hasattr(self, "cache"):
            self.faults.left = None
            self.file.close()
            self.leave()
            self.end()

    def content(self, start, end, size=None, pieces=None):
        blocks = b"".join(PIECES[piece % len(PIECES)] for piece in pieces or self.pieces)
        return blocks[start : min(end, self.size if size is None else size)]

    def draw(self, blocks):
        for block in blocks:
            self.pieces[block] = self.drawn
            self.drawn += 1

    def check(self, first, last):
        start, end = first * BLOCK, min(last * BLOCK, self.size)
        if start >= end:
            return False
        target = memoryview(bytearray(end - start))
        right = self.file.read(start, target)
        assert not right or target == self.content(start, end)
        return right

    @rule(span=spans)
    def store(self, span):
        data = self.content(span[0] * BLOCK, span[1] * BLOCK)
        if data:
            stored = self.file.write(span[0] * BLOCK, memoryview(data))
            assert stored or self.met
            assert self.check(*span) or self.met

    @rule(span=spans)
    def read(self, span):
        self.check(*span)

    @rule()
    def sync(self):
        self.cache.sync()

    @precondition(lambda self: not self.changing)
    @rule()
    def begin_changes(self):
        before = self.file
        there = before.occupancy(0, self.size) if self.size > BLOCK and not self.beside else []
        self.met = self.beside is not None
        self.file = self.volume.begin_changes(self.key, self.size, b"%d" % self.version)
        self.changing, self.over = True, False
        before.close()
        for start, end in there:
            assert self.file.occupancy(start, end) == [(start, end)]

    @precondition(lambda self: self.changing)
    @rule(span=spans, at=st.integers(0, BLOCK - 1), whole=st.booleans(), how=st.integers(0, 2))
    def overwrite(self, span, at, whole, how):
        """``how``: discarded before, or replaced after, or both."""
        start, end = span[0] * BLOCK + at * (not whole), min(span[1] * BLOCK, self.size)
        if start >= end:
            return
        if how != 1 or not whole:
            assert self.file.discard(start, end) or self.over
            assert self.over or not self.file.occupancy(start // BLOCK * BLOCK, end)
        self.draw(range(start // BLOCK, -(-end // BLOCK)))
        if whole and how:
            self.store(span)

    @precondition(lambda self: self.changing)
    @rule(size=sizes)
    def resize(self, size):
        assert self.file.resize(size) or self.over
        if size != self.size:
            self.draw(range(min(size, self.size) // BLOCK, BLOCKS))
            self.size = size

    @precondition(lambda self: self.changing)
    @rule(moved=st.booleans())
    def finish(self, moved):
        self.version += 1
        self.note_version()
        if moved:
            self.key = KEYS[1 - KEYS.index(self.key)]
        there = self.file.occupancy(0, self.size)
        done = self.file.finish(self.key, b"%d" % self.version)
        assert done is not self.over
        self.changing = False
        if done:
            assert self.file.occupancy(0, self.size) == there
        else:
            self.file.close()
            self.open()

    @precondition(lambda self: self.changing)
    @rule()
    def give_up(self):
        self.version += 1
        self.note_version()
        self.file.close()
        self.open()

    @rule()
    def reopen(self):
        """What is changing is told of by a record of its own."""
        if self.changing:
            self.give_up()
        else:
            before = self.file.occupancy(0, self.size)
            self.file.close()
            self.open()
            for start, end in before:
                assert self.file.occupancy(start, end) == [(start, end)]

    @rule(store=st.booleans())
    def another_process(self, store):
        """It opens the file as the server has it, or had it before we began."""
        if self.beside is not None:
            return
        self.met = True
        self.beside = Cache.bind(self.folder / "cache")
        other, _ = self.beside.volume(b"v").open(self.key, *self.told())
        size, pieces = self.history[other.record.coherency]
        for start in range(0, size, BLOCK):
            data = self.content(start, start + BLOCK, size, pieces)
            target = memoryview(bytearray(len(data)))
            if other.read(start, target):
                assert target == data
                assert self.over or not (self.changing and self.file.has_files)
            if store:
                other.write(start, memoryview(data))
        self.over = self.over or (self.changing and self.file.has_files)
        if not self.changing:
            self.other = other
            return
        other.close()
        self.leave()

    @rule()
    def leave(self):
        if self.beside is not None:
            if self.other is not None:
                self.other.close()
            self.beside.close()
            self.beside = self.other = None

    def told(self):
        version = b"%d" % self.version
        return self.history[version][0], version

    @rule(
        what=st.sampled_from(["store", "sync", "begin", "overwrite", "resize", "finish", "finish"]),
        steps=st.integers(0, 40),
        span=spans,
        size=sizes,
        moved=st.booleans(),
        power=st.none() | st.integers(0, 2**32),
    )
    def crash(self, what, steps, span, size, moved, power):
        if what in ("overwrite", "resize", "finish") and not self.changing:
            what = "begin"
        if what == "begin" and self.changing:
            what = "finish"
        self.leave()
        self.faults.left = steps
        with suppress(Killed):
            if what == "store":
                self.store(span)
            elif what == "sync":
                self.cache.sync()
            elif what == "begin":
                self.begin_changes()
            elif what == "overwrite":
                self.overwrite(span, 1, True, 1)
            elif what == "resize":
                self.resize(size)
            else:
                self.finish(moved)
        self.die()
        if power is not None:
            self.lose_power(random.Random(power))
        self.bind()
        self.check_all()
        self.version += 1  # what the server has by now
        self.note_version()
        self.open()

    def check_all(self):
        """What is there is what its record says, whichever that is."""
        for path in self.files():
            if path.suffix:
                continue
            header = None
            with suppress(OSError):  # made, and the process was killed
                header = decode(os.getxattr(path, HEADER_XATTR))
            if header is None or header.unfinished:
                continue
            size, pieces = self.history[header.record.coherency]
            for key in KEYS:
                if header.record.readable != key or header.record.size != size:
                    continue
                file, _ = self.volume.open(key, size, header.record.coherency)
                for start in range(0, size, BLOCK):
                    data = self.content(start, start + BLOCK, size, pieces)
                    target = memoryview(bytearray(len(data)))
                    assert not file.read(start, target) or target == data
                file.close()


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("how", [0, 1, 2])
def test_a_loss_of_power_right_behind_a_change(finished, how):
    """Which random steps seldom meet: the strikes outlive it, and so does the mark."""
    for power in range(40):
        machine = Changing()
        machine.start(size=BLOCKS * BLOCK)
        machine.store((0, BLOCKS))
        machine.sync()
        machine.begin_changes()
        machine.overwrite((0, 3), 0, True, how)
        if finished:
            machine.finish(power % 2 == 1)
        machine.crash("sync", 0, (0, 1), 0, False, power)
        machine.teardown()


TestChanging = Changing.TestCase
TestChanging.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)


class ChangingForLong(Changing):
    """20,000 sequences."""


TestChangingForLong = pytest.mark.soak(pytest.mark.timeout(7200)(ChangingForLong.TestCase))
TestChangingForLong.settings = settings(
    deadline=None,
    max_examples=20_000,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
