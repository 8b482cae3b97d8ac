"""FsCache over a real cachefiles cache: what is found, what is stored, what ends it."""

from __future__ import annotations

import errno
import logging
import os

import pytest
import trio
import trio.testing

import cachefiles
from netfsfuse.fscache.health import DEAD_PAUSE, NO_SPACE_PAUSE
from netfsfuse.fscache.io import FsCache
from netfsfuse.stats import CacheStats
from netfsfuse.types import CACHE_BLOCK, ByteRange
from tests.fscache.holding import ATTR, CONTENT, DERIVED, SIZE, Gate, content_in


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
    known = ATTR._replace(file_id=0) if path_only else ATTR
    file = await setup.acquire(known)
    await file.write(0, CONTENT)
    await file.aclose()
    changed = known._replace(**{member: getattr(known, member) + 1})
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
    file = await setup.acquire(ATTR._replace(file_id=8))
    assert await content_in(file) is None
    await file.aclose()
    file = await setup.acquire(path="renamed")
    assert await content_in(file) == CONTENT
    await file.aclose()


async def test_a_creation_time_that_moved_with_a_read_is_no_change(setup):
    file = await setup.acquire(ATTR._replace(creation=7))
    await file.write(0, CONTENT)
    await file.aclose()
    await setup.reopen()
    for attr in (DERIVED, ATTR._replace(creation=7, access=50)):
        file = await setup.acquire(attr)
        assert await content_in(file) == CONTENT
        await file.aclose()
    assert setup.stats.invalidated == 0


async def test_a_creation_time_that_moved_by_itself_is_a_change(setup):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    await file.aclose()
    file = await setup.acquire(ATTR._replace(creation=6))
    assert await content_in(file) is None
    assert setup.stats.invalidated == 1
    await file.aclose()


async def test_two_handles_of_one_content_share(setup):
    first = await setup.acquire(ATTR._replace(creation=7))
    second = await setup.acquire(DERIVED)
    await first.write(0, CONTENT)
    assert await content_in(second) == CONTENT
    await first.aclose()
    assert await content_in(second) == CONTENT
    await second.aclose()


async def test_a_newer_content_ends_the_older_handle_at_once(setup):
    old = await setup.acquire()
    await old.write(0, CONTENT)
    new = await setup.acquire(ATTR._replace(write=70, change=80))
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
    newer = ATTR._replace(write=70, change=80)
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


@pytest.mark.parametrize("call", ["open", "preadv", "pwritev", "create", "lseek"])
async def test_a_failed_filesystem_is_left_alone_with_one_line(setup, caplog, call):
    file = await setup.acquire()
    await file.write(0, CONTENT[:CACHE_BLOCK])
    await file.aclose()
    setup.faults.fail_always(call, errno.EIO)
    for path in ("f", "g"):
        file = await setup.acquire(ATTR._replace(file_id=0 if path == "g" else 7), path)
        if file is None:
            continue
        await file.query_occupancy(0, SIZE)
        assert await content_in(file) is None
        assert not await file.write(CACHE_BLOCK, CONTENT[CACHE_BLOCK:])
        await file.aclose()
    total = setup.faults.total
    assert await setup.acquire() is None
    assert setup.faults.total == total
    assert not setup.stats.enabled
    assert setup.stats.errors == 1
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    setup.faults.heal()
    setup.now += DEAD_PAUSE
    file = await setup.acquire()
    assert await file.write(0, CONTENT)
    assert await content_in(file) == CONTENT
    assert setup.stats.enabled
    await file.aclose()


@pytest.mark.parametrize("call", ["pwritev", "create"])
async def test_a_read_only_filesystem_stops_stores_and_no_reads(setup, caplog, call):
    """Until it is writable again. One line says so."""
    file = await setup.acquire()
    await file.write(0, CONTENT[:CACHE_BLOCK])
    setup.faults.fail_always(call, errno.EROFS)
    other = await setup.acquire(ATTR._replace(file_id=8), "g")
    for each in (other, file) if call == "pwritev" else (other,):
        setup.now += NO_SPACE_PAUSE
        assert not await each.write(0, CONTENT)
    assert await content_in(file, CACHE_BLOCK) == CONTENT[:CACHE_BLOCK]
    setup.faults.heal()
    setup.now += NO_SPACE_PAUSE
    assert await other.write(0, CONTENT)
    assert await content_in(other) == CONTENT
    await file.aclose()
    await other.aclose()
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
        assert await setup.acquire(ATTR._replace(size=size)) is None
    assert setup.stats.errors == 0


async def test_without_a_cache_nothing_is_stored():
    fscache = FsCache(None, None, CacheStats())
    assert await fscache.acquire(ATTR, "f") is None
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


async def test_folders_of_a_share_do_not_mix_up_files_without_ids(setup):
    """A server without FileIds has only paths, and those of two mounted folders look the same."""
    attr = ATTR._replace(file_id=0)
    cache = setup.fscache
    here = await cache.acquire(attr, "f")
    assert await here.write(0, CONTENT)
    there = FsCache(None, cache.volume, setup.stats, subdir="other")
    other = await there.acquire(attr, "f")
    assert not await other.read(0, memoryview(bytearray(SIZE)))
    assert await content_in(here) == CONTENT
    await other.aclose()
    await here.aclose()
