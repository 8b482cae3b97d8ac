"""FsCache over a real cachefiles cache with faults; threads held at will by a patched syscall."""

from __future__ import annotations

import errno
import logging
import os
import threading
from dataclasses import replace

import pytest
import trio
import trio.testing

import cachefiles
from netfsfuse.fscache.health import NO_SPACE_PAUSE
from netfsfuse.fscache.io import DROPPED_MAX, THREADS, FsCache
from netfsfuse.netfs.ops import CacheObject
from netfsfuse.stats import CacheStats
from netfsfuse.types import CACHE_BLOCK, ByteRange, FileAttr

SIZE = 3 * CACHE_BLOCK + 500
ATTR = FileAttr(
    file_id=7, creation=5, access=9, write=7, change=8, size=SIZE, allocation=0, attributes=0
)
DERIVED = replace(ATTR, creation=6, access=6)
CONTENT = memoryview(os.urandom(SIZE))


class Setup:
    """An FsCache that can be closed and opened again, with its faults, clock and counters."""

    def __init__(self, directory):
        self.directory = directory
        self.now = 0.0
        self.open()

    def open(self):
        self.faults = cachefiles.Faults()
        self.stats = CacheStats()
        cache = cachefiles.Cache.bind(self.directory, self.faults)
        self.fscache = FsCache(cache, cache.volume(b"v"), self.stats, clock=lambda: self.now)

    async def acquire(self, attr=ATTR, path="f") -> CacheObject:
        return await self.fscache.acquire(attr, path)

    async def reopen(self):
        await self.fscache.aclose()
        self.open()


@pytest.fixture
async def setup(tmp_path):
    made = Setup(tmp_path / "cache")
    yield made
    await made.fscache.aclose()


async def content_in(file, size=SIZE):
    target = memoryview(bytearray(size))
    return bytes(target) if await file.read(0, target) else None


class Gate:
    """Holds the first thread that comes to an ``os`` call until it is opened."""

    def __init__(self, monkeypatch, name):
        self.reached = threading.Event()
        self.opened = threading.Event()
        plain = getattr(os, name)

        def held(*args):
            self.reached.set()
            assert self.opened.wait(20)
            return plain(*args)

        monkeypatch.setattr(os, name, held)

    async def wait_reached(self):
        assert await trio.to_thread.run_sync(self.reached.wait, 20)


async def test_store_and_read(setup):
    file = await setup.acquire()
    assert await file.query_occupancy(0, SIZE) == []
    assert await content_in(file) is None
    assert await file.write(0, CONTENT[:CACHE_BLOCK])
    assert await file.query_occupancy(0, SIZE) == [ByteRange(0, CACHE_BLOCK)]
    assert await file.write(CACHE_BLOCK, CONTENT[CACHE_BLOCK:])
    assert await content_in(file) == CONTENT
    await file.aclose()
    await file.aclose()
    assert await content_in(file) is None
    assert not await file.write(0, CONTENT)
    assert await file.query_occupancy(0, SIZE) == []
    stats = setup.stats
    assert (stats.bytes_read, stats.bytes_stored) == (SIZE, SIZE)
    assert (stats.misses, stats.errors, stats.invalidated) == (2, 0, 0)


async def test_opening_and_not_reading_touches_no_disk(setup):
    before = setup.faults.total
    file = await setup.acquire()
    await file.aclose()
    assert setup.faults.total == before


async def test_what_is_known_to_be_empty_makes_no_hop(setup, monkeypatch):
    file = await setup.acquire()
    await file.query_occupancy(0, SIZE)
    hops = []
    run_sync = trio.to_thread.run_sync

    async def counted(*args, **kwargs):
        hops.append(args)
        return await run_sync(*args, **kwargs)

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    assert await file.query_occupancy(0, SIZE) == []
    assert await content_in(file) is None
    await file.aclose()
    assert hops == []


@pytest.mark.parametrize("path_only", [False, True])
@pytest.mark.parametrize("member", ["creation", "change", "write", "size"])
async def test_every_member_of_the_record_invalidates(setup, member, path_only):
    known = replace(ATTR, file_id=0) if path_only else ATTR
    file = await setup.acquire(known)
    await file.write(0, CONTENT)
    await file.aclose()
    changed = replace(known, **{member: getattr(known, member) + 1})
    file = await setup.acquire(changed)
    assert await file.query_occupancy(0, changed.size) == []
    assert await content_in(file, changed.size) is None
    await file.aclose()
    assert setup.stats.invalidated == 1
    file = await setup.acquire(known)
    assert await content_in(file) is None  # gone for good, not only hidden
    await file.aclose()


async def test_another_id_at_the_same_path_is_another_file(setup):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    await file.aclose()
    file = await setup.acquire(replace(ATTR, file_id=8))
    assert await content_in(file) is None
    await file.aclose()
    file = await setup.acquire(path="renamed")
    assert await content_in(file) == CONTENT
    await file.aclose()


async def test_a_creation_time_that_moved_with_a_read_is_no_change(setup):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    await file.aclose()
    await setup.reopen()
    for attr in (DERIVED, replace(ATTR, creation=7, access=50), ATTR):
        file = await setup.acquire(attr)
        assert await content_in(file) == CONTENT
        await file.aclose()
    assert setup.stats.invalidated == 0


async def test_a_creation_time_that_moved_by_itself_is_a_change(setup):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    await file.aclose()
    file = await setup.acquire(replace(ATTR, creation=6))
    assert await content_in(file) is None
    assert setup.stats.invalidated == 1
    await file.aclose()


async def test_two_handles_of_one_content_share(setup):
    first = await setup.acquire()
    second = await setup.acquire(DERIVED)
    await first.write(0, CONTENT)
    assert await content_in(second) == CONTENT
    await first.aclose()
    assert await content_in(second) == CONTENT
    await second.aclose()


async def test_a_newer_content_ends_the_older_handle_at_once(setup):
    old = await setup.acquire()
    await old.write(0, CONTENT)
    new = await setup.acquire(replace(ATTR, write=70, change=80))
    assert await content_in(old) is None
    assert await old.query_occupancy(0, SIZE) == []
    assert not await old.write(0, CONTENT)
    fresh = memoryview(os.urandom(SIZE))
    assert await new.write(0, fresh)
    await old.aclose()
    assert await content_in(new) == fresh
    assert setup.stats.invalidated == 1
    await new.aclose()


async def test_a_late_store_of_older_content_is_dropped(setup, monkeypatch):
    old = await setup.acquire()
    newer = replace(ATTR, write=70, change=80)
    with monkeypatch.context() as patch:
        gate = Gate(patch, "pwritev")
        results = []

        async def store():
            results.append(await old.write(0, CONTENT))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(store)
            await gate.wait_reached()
            new = await setup.acquire(newer)
            assert await new.query_occupancy(0, SIZE) == []
            gate.opened.set()
    assert results == [False]
    assert await content_in(new) is None
    await old.aclose()
    await new.aclose()
    file = await setup.acquire(newer)
    assert await content_in(file) is None
    await file.aclose()


async def test_a_damaged_block_is_a_miss_and_counted(setup):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    [data] = [p for p in setup.directory.glob("volumes/*/*/*") if p.suffix != ".map"]
    with data.open("r+b") as raw:
        raw.seek(CACHE_BLOCK + 3)
        raw.write(b"rotten")
    assert await content_in(file) is None
    assert setup.stats.misses == 1
    assert await file.query_occupancy(0, SIZE) == [
        ByteRange(0, CACHE_BLOCK),
        ByteRange(2 * CACHE_BLOCK, SIZE),
    ]
    await file.aclose()


async def test_full_stops_storing_for_a_while_and_reads_go_on(setup, caplog):
    file = await setup.acquire()
    assert await file.write(0, CONTENT[:CACHE_BLOCK])
    setup.faults.fail_always("pwritev", errno.ENOSPC)
    block = CONTENT[CACHE_BLOCK : 2 * CACHE_BLOCK]
    assert not await file.write(CACHE_BLOCK, block)
    calls = setup.faults.calls["pwritev"]
    assert not await file.write(CACHE_BLOCK, block)
    assert setup.faults.calls["pwritev"] == calls
    assert await content_in(file, CACHE_BLOCK) == CONTENT[:CACHE_BLOCK]
    setup.now += NO_SPACE_PAUSE
    assert not await file.write(CACHE_BLOCK, block)
    assert setup.faults.calls["pwritev"] > calls
    setup.faults.heal()
    setup.now += NO_SPACE_PAUSE
    assert await file.write(CACHE_BLOCK, block)
    await file.aclose()
    assert setup.stats.errors == 2
    assert setup.stats.enabled
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["open", "preadv", "pwritev", "create", "lseek"])
async def test_a_failed_filesystem_ends_the_cache_with_one_line(setup, caplog, call, code):
    file = await setup.acquire()
    await file.write(0, CONTENT[:CACHE_BLOCK])
    await file.aclose()
    setup.faults.fail_always(call, code)
    for path in ("f", "g"):
        file = await setup.acquire(replace(ATTR, file_id=0 if path == "g" else 7), path)
        await file.query_occupancy(0, SIZE)
        assert await content_in(file) is None
        assert not await file.write(CACHE_BLOCK, CONTENT[CACHE_BLOCK:])
        await file.aclose()
    total = setup.faults.total
    file = await setup.acquire()
    assert await content_in(file) is None
    assert not await file.write(0, CONTENT)
    assert await file.query_occupancy(0, SIZE) == []
    await file.aclose()
    assert setup.faults.total == total
    assert not setup.stats.enabled
    assert setup.stats.errors == 1
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1


async def test_any_exception_is_only_a_miss(setup, monkeypatch, caplog):
    def broken(*args):
        raise RuntimeError("a bug")

    file = await setup.acquire()
    await file.write(0, CONTENT)
    monkeypatch.setattr(cachefiles.Object, "read", broken)
    assert await content_in(file) is None
    assert setup.fscache.health.dead
    assert "a bug" in caplog.text
    await file.aclose()


async def test_an_impossible_size_is_not_cached(setup):
    for size in (-1, 1 << 63):
        file = await setup.acquire(replace(ATTR, size=size))
        assert await file.query_occupancy(0, CACHE_BLOCK) == []
        await file.aclose()
    assert setup.stats.errors == 0


@pytest.mark.parametrize(("operation", "name"), [("read", "preadv"), ("write", "pwritev")])
async def test_a_cancelled_caller_leaves_only_when_the_thread_is_done(
    setup, monkeypatch, operation, name
):
    """Else its buffer would be used again while the thread still fills or stores it."""
    file = await setup.acquire()
    await file.write(0, CONTENT)
    target = memoryview(bytearray(CONTENT))
    gate = Gate(monkeypatch, name)
    left = trio.Event()

    async def call():
        await getattr(file, operation)(0, target)

    async def call_and_leave(scope):
        with scope:
            await call()
            await trio.lowlevel.checkpoint()
        left.set()

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call_and_leave, scope)
        await gate.wait_reached()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert not left.is_set()
        gate.opened.set()
    assert left.is_set()
    assert scope.cancelled_caught
    await file.aclose()


async def test_a_caller_waiting_for_a_thread_is_cancelled_at_once(setup, monkeypatch):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    gate = Gate(monkeypatch, "preadv")
    async with trio.open_nursery() as nursery:
        for _ in range(THREADS):
            nursery.start_soon(content_in, file)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0) as scope:
            await content_in(file)
        assert scope.cancelled_caught
        gate.opened.set()
    assert await content_in(file) == CONTENT
    await file.aclose()


async def test_descriptors_come_back(setup):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1, 3 * DROPPED_MAX):
        file = await setup.acquire(replace(ATTR, file_id=number))
        await file.write(0, CONTENT)
        await file.aclose()
        assert len(os.listdir("/proc/self/fd")) <= before + 2 * DROPPED_MAX
    await setup.fscache.aclose()
    assert len(os.listdir("/proc/self/fd")) < before


async def test_many_tasks_open_one_object_at_once(setup):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    await file.aclose()
    await setup.reopen()
    before = len(os.listdir("/proc/self/fd"))
    file = await setup.acquire()
    found = []

    async def read():
        found.append(await content_in(file))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(read)
    assert found == [CONTENT] * 8
    await file.aclose()
    other = await setup.acquire(replace(ATTR, file_id=99))
    await other.query_occupancy(0, SIZE)
    assert len(os.listdir("/proc/self/fd")) == before
    await other.aclose()


async def test_closing_waits_for_calls_and_gives_everything_back(setup, monkeypatch):
    before = len(os.listdir("/proc/self/fd"))
    file = await setup.acquire()
    closed = trio.Event()
    results = []
    gate = Gate(monkeypatch, "pwritev")

    async def store():
        results.append(await file.write(0, CONTENT))

    closing = trio.CancelScope()

    async def close():
        with closing:
            await setup.fscache.aclose()
            closed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store)
        await gate.wait_reached()
        nursery.start_soon(close)
        await trio.testing.wait_all_tasks_blocked()
        assert not closed.is_set()
        closing.cancel()  # to no avail: it is shielded
        await trio.testing.wait_all_tasks_blocked()
        assert not closed.is_set()
        gate.opened.set()
    assert closed.is_set()
    assert len(results) == 1
    await file.aclose()
    assert len(os.listdir("/proc/self/fd")) < before
    assert not await file.write(0, CONTENT)
    setup.open()
    assert await content_in(await setup.acquire()) == CONTENT


async def test_without_a_cache_nothing_is_stored():
    fscache = FsCache(None, None, CacheStats())
    file = await fscache.acquire(ATTR, "f")
    assert not await file.write(0, CONTENT)
    assert await content_in(file) is None
    assert await file.query_occupancy(0, SIZE) == []
    await file.aclose()
    await fscache.aclose()
    assert not fscache.stats.enabled


async def test_what_is_let_go_after_closing_is_closed_at_once(setup):
    volume = setup.fscache.volume
    held, _ = volume.open(b"k", SIZE, b"c")
    held.write(0, CONTENT)
    await setup.fscache.aclose()
    before = len(os.listdir("/proc/self/fd"))
    await setup.fscache.drop(held)
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_the_helper_library_and_the_cache_mean_the_same_block():
    assert cachefiles.BLOCK == CACHE_BLOCK
