"""A file of ours that is being changed: valid for its writer alone, and warm when it is done."""

from __future__ import annotations

import os

import pytest
import trio

from netfsfuse.fscache.small import SmallContent
from netfsfuse.types import CACHE_BLOCK, ByteRange
from tests.fscache.holding import ATTR, CONTENT, SIZE, Setup, content_in

NEW = ATTR._replace(size=0, creation=50, write=50, change=50, access=50)
"""As the server states a file just made: its times are one, so that the path is in its key."""
DONE = NEW._replace(size=1000, write=60, change=60, access=60)
DATA = memoryview(os.urandom(2 * CACHE_BLOCK))


@pytest.fixture(autouse=True)
async def stores(setup):
    """What stores whole files is at work."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setup.fscache.maintain)
        yield
        nursery.cancel_scope.cancel()


async def settled(setup: Setup):
    """What is queued is stored."""
    await setup.fscache._whole.stop()


@pytest.mark.parametrize("done", [DONE, DONE._replace(creation=60)])
async def test_a_small_file_just_written_is_warm(setup, done):
    file = await setup.acquire(NEW)
    assert await file.begin_changes()
    assert await file.resize(500)
    assert await file.write(0, DATA[:500])
    assert await file.query_occupancy(0, 500) == [ByteRange(0, 500)]
    assert await file.resize(1000)
    assert await file.query_occupancy(0, 1000) == []
    assert await file.write(0, DATA[:1000])
    assert await content_in(file, 1000) == DATA[:1000]
    assert await file.restamp(done)
    await settled(setup)
    assert await content_in(file, 1000) == DATA[:1000]
    await file.aclose()
    assert await setup.fscache.load_whole([(done, "f")]) == [DATA[:1000]]
    again = await setup.acquire(done)
    assert await content_in(again, 1000) == DATA[:1000]
    await again.aclose()


async def test_a_small_file_is_not_stored_before_its_end(setup):
    file = await setup.acquire(NEW)
    assert await file.begin_changes()
    await file.resize(1000)
    await file.write(0, DATA[:1000])
    await file.aclose()
    await settled(setup)
    assert not list(setup.directory.glob("volumes/*/*/*"))


async def test_what_was_stored_is_not_found_by_others_while_it_is_changed(setup):
    before = await setup.acquire()
    assert await before.write(0, CONTENT)
    ours = await setup.acquire()
    assert await ours.begin_changes()
    assert not await before.write(0, CONTENT)
    assert await content_in(before) is None
    assert await setup.acquire() is None
    assert await setup.fscache.load_whole([(ATTR, "f")]) == [None]
    await ours.aclose()
    await before.aclose()
    after = await setup.acquire()
    assert await content_in(after) is None
    await after.aclose()


async def test_an_acquire_under_other_content_ends_the_change(setup):
    ours = await setup.acquire()
    assert await ours.begin_changes()
    other = await setup.acquire(ATTR._replace(write=9, change=9))
    assert not await ours.resize(5)
    assert not await ours.restamp(ATTR._replace(write=10, change=10))
    assert await other.write(0, CONTENT)
    assert await content_in(other) == CONTENT
    await ours.aclose()
    await other.aclose()


async def test_a_size_that_was_not_told_is_not_believed(setup):
    file = await setup.acquire(NEW)
    assert await file.begin_changes()
    await file.resize(1000)
    await file.write(0, DATA[:1000])
    assert not await file.restamp(DONE._replace(size=999))
    assert not await file.write(0, DATA[:1000])
    await file.aclose()
    await settled(setup)
    assert not list(setup.directory.glob("volumes/*/*/*"))


async def test_small_content():
    small = SmallContent(0)
    assert not small.write(0, DATA[:0])
    small.resize(10)
    assert not small.write(0, DATA[:9])
    assert small.write(0, DATA[:10])
    target = memoryview(bytearray(4))
    assert small.read(6, target)
    assert target == DATA[6:10]
    assert not small.read(7, target)
    assert small.whole(10) == DATA[:10]
    assert small.whole(9) is None
    small.resize(11)
    assert small.occupancy() == []
    assert small.data is None
    small.resize(CACHE_BLOCK)
    assert small.write(0, DATA[:CACHE_BLOCK])
    small.resize(SIZE)
    assert small.data == DATA[:CACHE_BLOCK]
    assert small.whole(SIZE) is None
    assert not small.write(CACHE_BLOCK, DATA[:CACHE_BLOCK])
    small.discard()
    assert small.data is None
