"""What a cached file answers on the loop, and what it takes along in one hop."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest
import trio
import trio.testing

from netfsfuse.fscache.file import INLINE_MAX, STORES
from netfsfuse.fscache.threads import THREADS
from netfsfuse.types import CACHE_BLOCK
from tests.fscache.holding import CONTENT, SIZE, Gate, Setup, content_in


@pytest.fixture
async def setup():
    """On a disk: tmpfs refuses to say whether a read would wait."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        made = Setup(Path(folder) / "cache")
        yield made
        await made.fscache.aclose()


@pytest.fixture
async def stored(setup):
    """A file whose bytes are in the page cache, and the page of its map in memory."""
    file = await setup.acquire()
    await file.write(0, CONTENT)
    await file.query_occupancy(0, SIZE)
    yield file
    await file.aclose()


@pytest.fixture
def hops(monkeypatch):
    made = []
    run_sync = trio.to_thread.run_sync

    async def counted(*args, **kwargs):
        made.append(args)
        return await run_sync(*args, **kwargs)

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    return made


async def read(file, start, length):
    target = memoryview(bytearray(length))
    return bytes(target) if await file.read(start, target) else None


async def test_a_small_read_from_memory_makes_no_hop(setup, stored, hops):
    hops.clear()
    for start in (0, CACHE_BLOCK):
        assert await read(stored, start, INLINE_MAX) == CONTENT[start : start + INLINE_MAX]
    assert hops == []
    assert setup.stats.bytes_read == 2 * INLINE_MAX
    assert await content_in(stored) == CONTENT  # larger
    assert len(hops) == 1


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP])
async def test_a_small_read_that_would_wait_hops(setup, stored, hops, code):
    hops.clear()
    setup.faults.fail("preadv", code)
    assert await read(stored, 0, CACHE_BLOCK) == CONTENT[:CACHE_BLOCK]
    assert len(hops) == 1
    assert setup.stats.errors == 0


async def test_a_small_read_of_damaged_data_is_a_miss(setup, stored):
    [data] = [p for p in setup.directory.glob("volumes/*/*/*") if p.suffix != ".map"]
    with data.open("r+b") as raw:
        raw.write(bytes([CONTENT[0] ^ 1]))
    assert await read(stored, 0, CACHE_BLOCK) is None
    assert setup.stats.misses == 1
    assert await read(stored, CACHE_BLOCK, CACHE_BLOCK) == CONTENT[CACHE_BLOCK : 2 * CACHE_BLOCK]


async def test_stores_that_queue_up_share_hops(setup, hops, monkeypatch):
    file = await setup.acquire()
    starts = range(0, SIZE, CACHE_BLOCK)
    results = []

    async def store(start):
        results.append(await file.write(start, CONTENT[start : start + CACHE_BLOCK]))

    gate = Gate(monkeypatch, "pwritev")
    async with trio.open_nursery() as nursery:
        for start in [*starts, *starts]:
            nursery.start_soon(store, start)
        await gate.wait_reached()
        await trio.testing.wait_all_tasks_blocked()
        hops.clear()
        gate.opened.set()
    assert results == [True] * 8
    assert len(hops) <= 8 - STORES - 2
    assert await content_in(file) == CONTENT
    assert setup.stats.bytes_stored == 2 * SIZE
    await file.aclose()


async def test_a_store_that_fails_ends_its_hop_and_is_noted_once(setup):
    file = await setup.acquire()
    await file.write(0, CONTENT[:CACHE_BLOCK])
    setup.faults.fail_always("pwritev", errno.ENOSPC)
    results = []

    async def store():
        results.append(await file.write(0, CONTENT[:CACHE_BLOCK]))

    async with trio.open_nursery() as nursery:
        for _ in range(STORES + 3):
            nursery.start_soon(store)
    assert results == [False] * (STORES + 3)
    assert setup.stats.errors <= STORES + 1
    setup.faults.heal()
    assert await content_in(file, CACHE_BLOCK) == CONTENT[:CACHE_BLOCK]
    await file.aclose()


async def test_what_still_waits_when_the_cache_closes_is_not_stored(setup, monkeypatch):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    gate = Gate(monkeypatch, "pwritev")
    results = []

    async def store():
        results.append(await file.write(0, CONTENT))

    async with trio.open_nursery() as nursery:
        for _ in range(3 * THREADS):
            nursery.start_soon(store)
        await gate.wait_reached()
        nursery.start_soon(setup.fscache.aclose)
        await trio.testing.wait_all_tasks_blocked()
        gate.opened.set()
    assert len(results) == 3 * THREADS
    assert results[-1] is False
    assert setup.stats.errors == 0
