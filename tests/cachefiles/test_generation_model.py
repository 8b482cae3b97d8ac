"""Writes, restamps and crashes at any step, against a byte array: never a wrong byte.

The process dies before any one of its calls on the filesystem. On a loss of power each page of the
data, and each entry of the map, is then what it was when it was last synced or what was written
since, and the header any that these files ever had.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from cachefiles import BLOCK, Cache, Faults
from cachefiles.contentmap import ENTRY
from cachefiles.generation import HEADER_XATTR
from tests.cachefiles.conftest import content_of

BLOCKS = 4
PAGE = 4096
PIECES = [content_of(BLOCK, seed) for seed in range(40)]
"""What a block may hold, so that making contents costs nothing."""


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


class Dying(Faults):
    """Lets the process die before a call, and before each one that tries to clean up."""

    def __init__(self):
        super().__init__()
        self.left = None

    def enter(self, call, length=0):
        if self.left is not None:
            if not self.left:
                raise Killed
            self.left -= 1
        return super().enter(call, length)


class Crashes(RuleBasedStateMachine):
    """One file of at most four blocks in one cache; ``version`` is the server's."""

    @initialize(tail=st.integers(1, BLOCK))
    def start(self, tail):
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        self.version = 0
        self.size = (BLOCKS - 1) * BLOCK + tail
        self.pieces = list(range(BLOCKS))
        self.drawn = BLOCKS
        self.synced = {}  # inode -> what a loss of power leaves at least
        self.headers = {}  # inode -> every one it had
        self.bind()

    def bind(self):
        self.faults = Dying()
        self.cache = Cache.bind(self.folder / "cache", self.faults)
        self.volume = self.cache.volume(b"v")
        filesystem = self.cache.filesystem
        sync_data, sync_all, set_xattr = (
            filesystem.sync_data,
            filesystem.sync_all,
            filesystem.set_xattr,
        )

        def synced(fd):
            sync_data(fd)
            self.note_synced(Path(f"/proc/self/fd/{fd}"))

        def all_synced(fd):
            sync_all(fd)
            for path in self.files():
                self.note_synced(path)

        def set_noted(fd, name, value):
            set_xattr(fd, name, value)
            if name == HEADER_XATTR:
                self.headers.setdefault(os.fstat(fd).st_ino, []).append(value)

        filesystem.sync_data, filesystem.sync_all = synced, all_synced
        filesystem.set_xattr = set_noted
        self.open()

    def open(self):
        self.file, _ = self.volume.open(b"k", self.size, b"%d" % self.version)

    def files(self):
        """Both files, if they are there, the data first."""
        return sorted((self.folder / "cache/volumes").glob("*/*/*"))

    def note_synced(self, path):
        self.synced[path.stat().st_ino] = path.read_bytes()

    def teardown(self):
        if hasattr(self, "cache"):
            self.file.close()
            self.cache.close()
            shutil.rmtree(self.folder)

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
        for block in range(BLOCKS):
            self.check(block, block + 1)

    def die(self):
        """The kernel closes what the process had open, and so lets go of its locks."""
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}").startswith(f"{self.folder}/"):
                    os.close(int(name))

    def lose_power(self, dice):
        for path in self.files():
            number = path.stat().st_ino
            now, before = path.read_bytes(), self.synced.get(number, b"")
            before = before.ljust(len(now), b"\0")
            unit = ENTRY if path.suffix else PAGE
            left = bytearray(now)
            for at in range(0, len(now), unit):
                if now[at : at + unit] != before[at : at + unit] and dice.random() < 0.5:
                    left[at : at + unit] = before[at : at + unit]
            path.write_bytes(left[: len(now)])
            if self.headers.get(number):
                os.setxattr(path, HEADER_XATTR, dice.choice(self.headers[number]))


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
