"""What goes on beside reads and stores: room is made, stores are synced, uses are noted."""

from __future__ import annotations

import errno
import os

import pytest
import trio

import cachefiles
from cachefiles import CacheDead
from netfsfuse.fscache import maintenance
from netfsfuse.fscache.io import FsCache
from netfsfuse.stats import CacheStats
from netfsfuse.types import CACHE_BLOCK
from tests.fscache.holding import ATTR, CONTENT, SIZE, content_in

MIB = 1024 * 1024


class Maintained:
    def __init__(self, directory, **limits):
        self.faults = cachefiles.Faults()
        self.stats = CacheStats()
        limits = cachefiles.Limits(**limits)
        self.cache = cachefiles.Cache.bind(directory, self.faults, limits=limits)
        self.fscache = FsCache(self.cache, self.cache.volume(b"v"), self.stats)

    async def store(self, number):
        file = await self.fscache.acquire(ATTR._replace(file_id=100 + number), f"f{number}")
        stored = await file.write(0, CONTENT)
        await file.aclose()
        return stored


@pytest.fixture
async def maintained(tmp_path, nursery):
    made = []

    def make(**limits):
        one = Maintained(tmp_path / "cache", **limits)
        nursery.start_soon(one.fscache.maintain)
        made.append(one)
        return one

    yield make
    for one in made:
        await one.fscache.aclose()


async def until(condition):
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.005)


async def test_a_full_cache_makes_room_and_stores_again(maintained):
    """Four times what fits is stored, however long the culler takes to come; never too much."""
    one = maintained(cachesize=2 * MIB)
    number = 0
    with trio.fail_after(120):
        while one.stats.bytes_stored <= 8 * MIB:
            if not await one.store(number):
                await until(lambda: not one.cache.space.full)
            assert one.cache.space.count().used <= 2 * MIB
            number += 1
    await until(lambda: one.stats.culled >= one.stats.bytes_stored - 2 * MIB)
    assert one.stats.errors == 0


async def test_it_says_once_that_nothing_may_go(maintained, caplog, tmp_path):
    one = maintained(cachesize=MIB)
    number = 0
    while await one.store(number):
        number += 1
        for path in tmp_path.glob("cache/volumes/*/*/*"):
            if path.suffix != ".map":
                os.setxattr(path, "user.cachefiles.pinned", b"1")
    await until(lambda: "nothing in it may go" in caplog.text)
    assert not await one.store(1000)
    assert caplog.text.count("nothing in it may go") == 1
    assert one.stats.errors == 0


async def test_stores_are_synced_once_a_period(maintained, monkeypatch):
    monkeypatch.setattr(maintenance, "SYNC_PERIOD", 0.01)
    one = maintained()
    file = await one.fscache.acquire(ATTR, "f")
    assert await file.write(0, CONTENT)
    await until(lambda: one.faults.calls["fdatasync"] >= 2)
    await file.write(0, CONTENT[:CACHE_BLOCK])
    await file.aclose()
    await one.store(1)
    await until(lambda: one.faults.calls["syncfs"] >= 1)


async def test_a_file_served_by_the_kernel_alone_counts_as_used(maintained, monkeypatch, tmp_path):
    monkeypatch.setattr(maintenance, "SYNC_PERIOD", 0.01)
    one = maintained()
    await one.store(1)
    path = next(each for each in tmp_path.glob("cache/volumes/*/*/*") if each.suffix != ".map")
    os.utime(path, ns=(1, 1))
    file = await one.fscache.acquire(ATTR._replace(file_id=101), "f1")
    await file.aclose()
    await until(lambda: path.stat().st_atime_ns > 1)


async def test_a_failed_cache_does_not_spin(maintained):
    one = maintained()
    one.cache.space.stale = True
    one.fscache.health.failed(CacheDead("reading: Input/output error"))
    with trio.fail_after(5):
        for _ in range(10):
            await trio.sleep(0.01)


async def test_an_error_of_the_culler_is_one_of_the_cache(maintained, caplog):
    one = maintained(cachesize=MIB)
    one.faults.fail_always("fstatvfs", errno.EIO)
    await one.store(1)
    await until(lambda: one.fscache.health.dead)
    assert await one.fscache.acquire(ATTR, "f") is None


async def test_what_was_stored_is_found(maintained):
    one = maintained()
    file = await one.fscache.acquire(ATTR, "f")
    assert await file.write(0, CONTENT)
    assert await content_in(file, SIZE) == CONTENT
    await file.aclose()
