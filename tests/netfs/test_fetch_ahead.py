"""Readahead as it is issued: what it costs, who overtakes whom, what a seek and a slow disk do."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from netfsfuse.config import ReadConfig
from netfsfuse.netfs.io.copy_to_cache import LEAST_BACKLOG, MOST_BACKLOG, ROOM_TIMEOUT, CopyToCache
from netfsfuse.netfs.io.request import filling
from netfsfuse.netfs.memory.pool import BufferPool
from netfsfuse.stats import MemoryStats
from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import KIB, MIB, NOISE, FakeCache, FakeServer, mounted, read_all

K = CACHE_BLOCK
SIZE = 16 * MIB
DATA = NOISE[:SIZE]


async def run_ahead(file, pieces, size=256 * KIB):
    for n in range(pieces):
        await file.read(n * size, size)


@pytest.mark.parametrize("asked", [1, 4096, 128 * KIB])
async def test_the_first_read_costs_what_was_asked_and_no_more(autojump_clock, asked):
    server = FakeServer(DATA)
    async with mounted(fixed=False) as m:
        inode = m.inode(SIZE)
        file = inode.open(server.open())
        await file.read(5 * MIB, asked)
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.asked) == 1
        assert server.bytes_asked <= asked + K
        await file.aclose()
        await inode.aclose()


@pytest.mark.parametrize(("cached", "moved"), [(True, K), (False, 4096)])
async def test_random_reads_fetch_their_blocks_and_nothing_else(autojump_clock, cached, moved):
    server = FakeServer(DATA)
    async with mounted(fixed=False) as m:
        inode = m.inode(SIZE, FakeCache(SIZE) if cached else None)
        file = inode.open(server.open())
        blocks = random.Random(7).sample(range(256), 40)
        for n, block in enumerate(blocks):
            await file.read(block * K + n * 512 % 60_000, 4096)
        await trio.testing.wait_all_tasks_blocked()
        assert server.bytes_asked == len(blocks) * moved
        await file.aclose()
        await inode.aclose()


async def test_a_reader_that_joins_queued_readahead_takes_it_along(autojump_clock):
    server = FakeServer(DATA)
    async with mounted(rsize=256 * KIB) as m:
        inode = m.inode(SIZE)
        first, second = inode.open(server.open()), inode.open(server.open())
        server.credits = trio.Event()
        await run_ahead(first, 2)
        await trio.testing.wait_all_tasks_blocked()
        queued = [
            folio
            for folio in inode.mapping.within(0, SIZE)
            if (sub := filling(folio)) is not None and not sub.demand.sent
        ]
        assert len(queued) == server.queued > 2
        joined = queued[-1]
        with trio.fail_after(1):
            answer = await second.read(joined.start, joined.length)
        assert bytes(answer) == DATA[joined.start : joined.end]
        assert server.queued == len(queued) - 1
        del answer
        server.credits.set()
        for one in (first, second):
            await one.aclose()
        await inode.aclose()


async def test_a_seek_takes_back_what_was_not_sent_and_keeps_the_rest(autojump_clock):
    server = FakeServer(DATA, latency=1.0)
    async with mounted(rsize=256 * KIB) as m:
        inode = m.inode(SIZE)
        file = inode.open(server.open())
        await run_ahead(file, 2)
        sent = len(server.asked)
        server.credits = trio.Event()
        n = 2
        while not server.queued:
            await file.read(n * 256 * KIB, 256 * KIB)
            await trio.testing.wait_all_tasks_blocked()
            n += 1
        held = trio.current_time()
        for away in (15, 13, 11):
            await file.read(away * MIB + 7 * K, 4096)
        await trio.testing.wait_all_tasks_blocked()
        assert server.queued == 0
        server.credits.set()
        await trio.sleep(5)
        asked = len(server.asked)
        assert asked - sent <= n + 3
        assert trio.current_time() > held
        kept = [sub for sub in inode.mapping.within(0, SIZE // 2) if sub.is_whole]
        assert kept
        at = kept[0].start
        assert bytes(await file.read(at, K)) == DATA[at : at + K]
        assert len(server.asked) == asked
        await file.aclose()
        await inode.aclose()


async def test_what_is_stored_is_brought_in_from_beyond_the_window(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.fill(DATA)
    del cache.blocks[5 * MIB // K]
    async with mounted(rsize=256 * KIB) as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        # A link of one request at a time: the policy's own window is as small as may be.
        m.netfs._issuer.link.limit = 256 * KIB
        await run_ahead(file, 8, 128 * KIB)
        await trio.testing.wait_all_tasks_blocked()
        front = 8 * 128 * KIB
        ahead = [sub for sub in inode.mapping.within(front, SIZE) if sub.is_whole]
        assert sum(sub.length for sub in ahead) >= MIB
        assert all(sub.end <= 5 * MIB for sub in ahead)
        assert not server.asked
        await file.aclose()
        await inode.aclose()


async def test_the_switch_from_cache_to_server_is_no_stall(autojump_clock):
    server, cache = FakeServer(DATA, latency=0.05), FakeCache(SIZE)
    cache.fill(DATA, 0, 8 * MIB)
    slowest = 0.0
    async with mounted(rsize=256 * KIB) as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        for at in range(0, SIZE, 128 * KIB):
            before = trio.current_time()
            answer = bytes(await file.read(at, 128 * KIB))
            slowest = max(slowest, trio.current_time() - before)
            assert answer == DATA[at : at + 128 * KIB]
            await trio.sleep(0.005)  # a reader of 25 MB/s
        assert slowest < 0.01, "it waited for a round trip"
        assert server.bytes_asked == 8 * MIB
        await file.aclose()
        await inode.aclose()


async def test_a_slow_disk_slows_a_reader_down_and_not_its_requests(autojump_clock):
    server, cache = FakeServer(DATA, latency=0.001), FakeCache(SIZE, store_delay=0.1)
    async with mounted(rsize=MIB, buffers=96 * MIB) as m:
        stores = m.netfs._issuer.stores
        stores.least_backlog = stores.most_backlog = 4 * MIB
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        assert await read_all(file, SIZE) == DATA
        assert m.stats.memory.buffers_bytes_peak < 12 * MIB
        lengths = [one.length for one in server.asked]
        assert sum(length == MIB for length in lengths) >= 10
        await m.netfs.drain()
        assert len(cache.blocks) == SIZE // K
        await file.aclose()
        await inode.aclose()


async def test_a_disk_that_hangs_stops_a_reader_once_and_not_for_long(autojump_clock):
    server, cache = FakeServer(DATA, latency=0.001), FakeCache(SIZE)
    cache.store_gate = trio.Event()
    async with mounted(rsize=MIB, buffers=96 * MIB) as m:
        stores = m.netfs._issuer.stores
        stores.least_backlog = stores.most_backlog = 4 * MIB
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        assert await read_all(file, SIZE) == DATA
        assert trio.current_time() < ROOM_TIMEOUT + 1.0
        cache.store_gate.set()
        await m.netfs.drain()
        await file.aclose()
        await inode.aclose()


@pytest.mark.parametrize(("window", "backlog"), [(4, 24), (12, 24), (20, 40), (28, 56), (64, 56)])
def test_the_backlog_follows_the_links_window(window, backlog):
    stores = CopyToCache(lambda: window * MIB)
    stores.waiting = backlog * MIB - 1
    assert not stores.is_behind
    stores.waiting += 1
    assert stores.is_behind


def test_the_backlog_leaves_room_for_what_is_in_flight():
    pool = BufferPool(ReadConfig().buffers, MemoryStats(), largest=4 * MIB)
    assert LEAST_BACKLOG <= MOST_BACKLOG <= pool.readahead_limit - 32 * MIB
