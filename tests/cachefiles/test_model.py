"""The whole against a byte array, with a hand that damages the files in between.

Whatever happens, a read that says True gives the bytes of the current generation. And a block
stored and not damaged since is found: the cache must not win by forgetting. Each transfer goes one
of the ways there are (direct, uncached, plain, without waiting), drawn anew: they meet in one file.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from cachefiles import BLOCK, Cache, Culler, Step, Verify, datafile, transfers, verified
from cachefiles.limits import Excess
from tests.cachefiles.conftest import content_of, page_aligned

LIBC = ctypes.CDLL(None, use_errno=True)
KEEP_SIZE_PUNCH_HOLE = 3
KEYS = (b"one", b"two")
BLOCKS = 6
NEVER = 1 << 40
WAYS = {"direct": (4096, NEVER), "uncached": (NEVER, 1), "plain": (NEVER, NEVER)}
NEW_CLOCK = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 13)
"""Change times tell any two changes apart, if somebody looked in between."""
RACY = verified.RACY
DEFAULTS = (datafile.DIRECT_MIN, transfers.UNCACHED_MIN)
"""Bytes from which on a transfer is direct, and uncached."""


class Damaged(RuleBasedStateMachine):
    """Two files of at most six blocks, each in some generation, under one cache."""

    base = "/tmp"

    @initialize(tails=st.tuples(st.integers(1, BLOCK), st.integers(1, BLOCK)))
    def start(self, tails):
        self.folder = Path(tempfile.mkdtemp(dir=self.base))
        self.generation = dict.fromkeys(KEYS, 0)
        self.size = {
            key: (BLOCKS - 1) * BLOCK + tail for key, tail in zip(KEYS, tails, strict=True)
        }
        self.sure = {key: set() for key in KEYS}
        self.patches = {key: {} for key in KEYS}
        self.restamps = dict.fromkeys(KEYS, 0)
        self.saved = {}
        verified.RACY = 0 if NEW_CLOCK else RACY
        self.open_cache()

    def open_cache(self, verify=Verify.OPEN):
        self.cache = Cache.bind(self.folder / "cache", verify=verify)
        self.volume = self.cache.volume(b"volume")
        self.files = {key: self.open_file(key) for key in KEYS}
        self.second = Cache.bind(self.folder / "cache")
        self.others = {}

    def open_file(self, key):
        return self.volume.open(key, self.size[key], self.coherency(key))[0]

    def coherency(self, key):
        return b"g%d.%d" % (self.generation[key], self.restamps[key])

    def close_cache(self):
        for file in [*self.files.values(), *self.others.values()]:
            file.close()
        self.cache.close()
        self.second.close()

    def other(self, key):
        """The file through another mount of the same cache, opened at its first use."""
        if key not in self.others:
            volume = self.second.volume(b"volume")
            self.others[key] = volume.open(key, self.size[key], self.coherency(key))[0]
        return self.others[key]

    def forget_other(self, key):
        if key in self.others:
            self.others.pop(key).close()

    def take(self, way):
        datafile.DIRECT_MIN, transfers.UNCACHED_MIN = WAYS[way]

    def teardown(self):
        datafile.DIRECT_MIN, transfers.UNCACHED_MIN = DEFAULTS
        verified.RACY = RACY
        if hasattr(self, "cache"):
            self.close_cache()
            shutil.rmtree(self.folder)

    def content(self, key):
        seed = KEYS.index(key) * 1000 + self.generation[key]
        content = bytearray(content_of(BLOCKS * BLOCK, seed))
        for block, version in self.patches[key].items():
            start = block * BLOCK
            content[start : start + BLOCK] = content_of(BLOCK, 1_000_000 * version + seed)
        return memoryview(content)[: self.size[key]]

    def on_disk(self, key):
        """The backing file and the map, if there are any."""
        other = {b"one": b"two", b"two": b"one"}[key]
        found = []
        for path in (self.folder / "cache/volumes").glob("*/*/*"):
            data = path.with_suffix("")
            if os.getxattr(data, "user.cachefiles.object").find(other) < 0:
                found.append(path)
        return sorted(found) if len(found) == 2 else None

    def reopen(self, key):
        """After a damage to the map: what is kept of it in memory would hide it."""
        self.files[key].close()
        self.files[key] = self.open_file(key)

    keys = st.sampled_from(KEYS)
    spans = st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS)).map(
        lambda pair: (pair[0], min(BLOCKS, pair[0] + pair[1]))
    )
    offsets = st.integers(0, BLOCKS * BLOCK - 1)
    ways = st.sampled_from(sorted(WAYS))

    @rule(key=keys, span=spans, way=ways)
    def store(self, key, span, way):
        self.take(way)
        first, last = span
        end = min(last * BLOCK, self.size[key])
        data = self.content(key)[first * BLOCK : end]
        assert self.files[key].write(first * BLOCK, page_aligned(len(data), data))
        self.sure[key] |= set(range(first, last))

    @rule(key=keys, span=spans)
    def read_without_waiting(self, key, span):
        start, end = span[0] * BLOCK, min(span[1] * BLOCK, self.size[key])
        target = memoryview(bytearray(end - start))
        if self.files[key].read_now(start, target):
            assert target == self.content(key)[start:end]

    @rule(key=keys, span=spans, way=ways)
    def read(self, key, span, way):
        self.take(way)
        first, last = span
        start, end = first * BLOCK, min(last * BLOCK, self.size[key])
        target = page_aligned(end - start)
        if self.files[key].read(start, target):
            assert target == self.content(key)[start:end]
        else:
            assert not set(range(first, last)) <= self.sure[key]

    @rule(key=keys, span=spans)
    def ask(self, key, span):
        start, end = span[0] * BLOCK, span[1] * BLOCK
        found = self.files[key].occupancy(start, end)
        blocks = {block for a, b in found for block in range(a // BLOCK, -(-b // BLOCK))}
        assert self.sure[key] & set(range(*span)) <= blocks <= set(range(*span))
        assert all(a % BLOCK == 0 and (b % BLOCK == 0 or b == self.size[key]) for a, b in found)

    @rule(key=keys, span=spans, way=ways)
    def store_by_another(self, key, span, way):
        """What one stores the other finds, once it has the files open."""
        self.take(way)
        first, last = span
        data = self.content(key)[first * BLOCK : min(last * BLOCK, self.size[key])]
        if self.other(key).write(first * BLOCK, page_aligned(len(data), data)):
            if self.files[key].has_files and not self.files[key].buried:
                self.sure[key] |= set(range(first, last))
        else:
            assert self.other(key).retired
            self.forget_other(key)

    @rule(key=keys, span=spans)
    def read_by_another(self, key, span):
        start, end = span[0] * BLOCK, min(span[1] * BLOCK, self.size[key])
        target = memoryview(bytearray(end - start))
        if self.other(key).read(start, target):
            assert target == self.content(key)[start:end]

    @rule(size=st.integers(0, 2 * BLOCKS * BLOCK))
    def cull(self, size):
        culler = Culler(
            self.cache, lambda: Excess(max(0, self.cache.space.count().used - size)), recount=True
        )
        while culler.step(1) is Step.MORE:
            pass
        for key, file in self.files.items():
            left = file.occupancy(0, self.size[key])
            blocks = {block for a, b in left for block in range(a // BLOCK, -(-b // BLOCK))}
            self.sure[key] &= blocks

    @rule(verify=st.sampled_from([Verify.OPEN, Verify.ALWAYS]))
    def remount(self, verify):
        self.close_cache()
        self.open_cache(verify)

    @rule(verify=st.sampled_from([Verify.OPEN, Verify.ALWAYS]))
    def crash(self, verify):
        """Nothing is put away: as far as others can see, the process is gone with its locks."""
        for file in [*self.files.values(), *self.others.values()]:
            if file.has_files:
                file._blocks._recency._due.clear()
            file.shut()
        for cache in (self.cache, self.second):
            cache._space._batch = cache._space._freed = 0
            cache.close()
        self.open_cache(verify)

    @rule(key=keys, size=st.integers(1, BLOCK))
    def change_on_the_server(self, key, size):
        self.generation[key] += 1
        self.forget_other(key)
        self.size[key] = (BLOCKS - 1) * BLOCK + size
        self.sure[key] = set()
        self.patches[key] = {}
        old = self.files[key]
        self.files[key] = self.open_file(key)
        assert not old.write(0, self.content(key)[:BLOCK])
        old.close()

    @rule(key=keys, span=spans, size=st.none() | st.integers(1, BLOCK), alone=st.booleans())
    def change_of_our_own(self, key, span, size, alone):
        """Some blocks change, and perhaps the size; what is left stays stored under a new record.
        Another mount that has the files open, or no files, lets nothing be kept."""
        if alone:
            self.forget_other(key)
        old, before = self.files[key], self.content(key)[:BLOCK]
        can = old.has_files and not old.buried
        shared = key in self.others and self.others[key].has_files
        shared = shared and not self.others[key].buried
        self.restamps[key] += 1
        touched = set(range(*span))
        changed = [(span[0] * BLOCK + 1, min(span[1] * BLOCK, self.size[key]))]
        if size is not None and (BLOCKS - 1) * BLOCK + size != self.size[key]:
            self.size[key] = (BLOCKS - 1) * BLOCK + size
            touched.add(BLOCKS - 1)
        self.patches[key] |= dict.fromkeys(touched, self.restamps[key])
        new = old.restamp(self.size[key], self.coherency(key), changed)
        assert (new is not None) == (can and not shared)
        self.forget_other(key)
        if new is None:
            old.invalidate()
            self.sure[key] = set()
            self.files[key] = self.open_file(key)
            return
        self.files[key] = new
        self.sure[key] -= touched
        assert not old.write(0, before)
        old.close()
        files = self.on_disk(key)
        if key in self.saved and files:  # what is synced no power loss takes back
            self.saved[key][1] = files[1].read_bytes()

    @rule(key=keys)
    def invalidate(self, key):
        self.forget_other(key)
        self.files[key].invalidate()
        self.sure[key] = set()
        self.reopen(key)

    @rule(key=keys, at=offsets, bit=st.integers(0, 7))
    def flip_data(self, key, at, bit):
        files = self.on_disk(key)
        if files and at < files[0].stat().st_size:
            self.flip(files[0], at, bit)
            self.sure[key].discard(at // BLOCK)

    @rule(key=keys, at=st.integers(0, BLOCKS * 8 - 1), bit=st.integers(0, 7))
    def flip_map(self, key, at, bit):
        files = self.on_disk(key)
        if files and at < files[1].stat().st_size:
            self.flip(files[1], at, bit)
            self.sure[key].discard(at // 8)
            self.reopen(key)

    def flip(self, path, at, bit):
        with path.open("r+b") as raw:
            raw.seek(at)
            byte = raw.read(1)[0]
            raw.seek(at)
            raw.write(bytes([byte ^ 1 << bit]))

    @rule(key=keys, span=spans)
    def zeros(self, key, span):
        """What an extent filesystem may bridge, and more: over data as well as holes."""
        files = self.on_disk(key)
        if files:
            with files[0].open("r+b") as raw:
                raw.seek(span[0] * BLOCK)
                raw.write(bytes((span[1] - span[0]) * BLOCK))
            self.sure[key] -= set(range(*span))

    @rule(key=keys, at=offsets, length=st.integers(1, 3 * BLOCK))
    def punch(self, key, at, length):
        files = self.on_disk(key)
        if files:
            with files[0].open("r+b") as raw:
                done = LIBC.fallocate(
                    raw.fileno(), KEEP_SIZE_PUNCH_HOLE, ctypes.c_long(at), ctypes.c_long(length)
                )
            assert done == 0
            self.sure[key] -= set(range(at // BLOCK, -(-(at + length) // BLOCK)))

    @rule(key=keys, at=offsets)
    def truncate_data(self, key, at):
        files = self.on_disk(key)
        if files:
            os.truncate(files[0], at)
            self.sure[key] -= set(range(at // BLOCK, BLOCKS))

    @rule(key=keys, at=st.integers(0, BLOCKS * 8))
    def truncate_map(self, key, at):
        files = self.on_disk(key)
        if files:
            os.truncate(files[1], at)
            self.sure[key] -= set(range(at // 8, BLOCKS))
            self.reopen(key)

    @rule(key=keys)
    def remember_files(self, key):
        """What the disk holds now, for a power loss to go back to."""
        files = self.on_disk(key)
        if files:
            self.saved[key] = [path.read_bytes() for path in files]

    @precondition(lambda self: self.saved)
    @rule(source=keys, key=keys, which=st.sampled_from([(0,), (1,), (0, 1)]))
    def power_loss(self, source, key, which):
        """One or both files go back to an earlier state, or get another file's content."""
        files = self.on_disk(key)
        if files and source in self.saved:
            for index in which:
                files[index].write_bytes(self.saved[source][index])
            self.sure[key] = set()
            self.reopen(key)

    @rule(key=keys)
    def lose_record(self, key):
        files = self.on_disk(key)
        self.forget_other(key)
        if files:
            self.files[key].close()
            os.setxattr(files[0], "user.cachefiles.object", b"torn" + key)
            self.sure[key] = set()
            self.files[key] = self.open_file(key)


class DamagedInMemory(Damaged):
    """The same on tmpfs, which lays out files in its own way."""

    base = "/dev/shm"


TestOnDisk = Damaged.TestCase
TestOnDisk.settings = settings(deadline=None, max_examples=100, stateful_step_count=40)
TestInMemory = DamagedInMemory.TestCase
TestInMemory.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


class DamagedForLong(DamagedInMemory):
    """50,000 sequences, in memory because that is quicker."""


TestForLong = pytest.mark.soak(pytest.mark.timeout(7200)(DamagedForLong.TestCase))
TestForLong.settings = settings(
    deadline=None,
    max_examples=50_000,
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
)
