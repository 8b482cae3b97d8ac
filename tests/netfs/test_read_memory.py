"""Readers and readahead within the budget of buffers."""

from __future__ import annotations

import trio
import trio.testing

from netfsfuse.netfs import PAGE
from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import KIB, MIB, NOISE, FakeCache, FakeServer, mounted, read_all

K = CACHE_BLOCK


async def test_random_reads_take_small_buffers_and_stay_within_the_budget(autojump_clock):
    size = 16 * MIB
    budget = 4 * MIB
    server = FakeServer(NOISE[:size])
    async with mounted(buffers=budget) as m:
        inode = m.inode(size, FakeCache(size))
        file = inode.open(server.open())
        blocks = [(n * 97) % 256 for n in range(256)]
        for block in blocks:
            start = block * K + 1000
            assert await file.read(start, 4096) == NOISE[start : start + 4096]
        assert {a.length for a in server.asked} == {K}
        assert m.stats.memory.buffers_bytes_peak <= budget
        asked = len(server.asked)
        await file.read(blocks[-1] * K, K)
        assert len(server.asked) == asked  # still in memory
        await file.aclose()
        await inode.aclose()


async def test_half_read_blocks_of_a_random_reader_do_not_starve_readahead(autojump_clock):
    size = 16 * MIB
    server = FakeServer(NOISE[:size], latency=0.05)
    async with mounted(buffers=12 * MIB) as m:
        other, inode = m.inode(size), m.inode(size)
        random = other.open(server.open())
        for block in range(0, 512, 3):
            await random.read(block * 97 % 256 * K, 4096)
        file = inode.open(server.open())
        before = trio.current_time()
        assert await read_all(file, size) == NOISE[:size]
        assert trio.current_time() - before < 10 * server.latency
        for one in (random, file):
            await one.aclose()
        for one in (other, inode):
            await one.aclose()


async def test_readahead_left_behind_by_a_seek_is_the_first_to_go(autojump_clock):
    size = 16 * MIB
    server = FakeServer(NOISE[:size], latency=0.05)
    async with mounted(buffers=12 * MIB) as m:
        inode = m.inode(size)
        file = inode.open(server.open())
        for n in range(4):
            await file.read(n * MIB // 2, MIB // 2)
        await trio.sleep(1)
        await file.read(15 * MIB, 4096)  # away
        second = inode.open(server.open())
        server.in_flight_peak = 0
        other = m.inode(size)
        third = other.open(server.open())
        assert await read_all(third, size) == NOISE[:size]
        assert server.in_flight_peak >= 6
        for one in (file, second, third):
            await one.aclose()
        for one in (inode, other):
            await one.aclose()


async def test_many_readers_on_a_tiny_budget_all_get_through(autojump_clock):
    size = 2 * MIB + 999
    server = FakeServer(NOISE[:size])
    async with mounted(rsize=256 * KIB, buffers=1) as m:
        inodes = [m.inode(size) for _ in range(4)]
        files = [inode.open(server.open()) for inode in inodes for _ in range(3)]

        async def run(file, piece):
            assert await read_all(file, size, piece) == NOISE[:size]

        async with trio.open_nursery() as nursery:
            for n, file in enumerate(files):
                nursery.start_soon(run, file, [90_000, 256 * KIB, 700_001][n % 3])
        assert m.stats.memory.buffers_bytes_peak <= m.netfs.pool.budget
        for one in files:
            await one.aclose()
        for one in inodes:
            await one.aclose()


async def test_making_room_for_a_read_may_cost_what_the_same_read_needs_later(autojump_clock):
    server = FakeServer(NOISE[:MIB])
    async with mounted(rsize=K, buffers=2 * (K + 2 * PAGE)) as m:
        inode = m.inode(MIB)
        file = inode.open(server.open())
        await file.read(3 * K, K)
        await file.read(2 * K, K)
        assert bytes(await file.read(0, 5 * K)) == NOISE[: 5 * K]
        assert m.stats.memory.buffers_bytes_peak <= m.netfs.pool.budget
        await file.aclose()
        await inode.aclose()
