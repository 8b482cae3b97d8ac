"""Reading and storing through a cache that has holes, lies, fails, is slow, or hangs."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.netfs.io.copy_to_cache import STORES
from netfsfuse.netfs.io.occupancy import SPAN
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from netfsfuse.netfs.memory.pool import ACQUIRE_TIMEOUT
from netfsfuse.types import CACHE_BLOCK, ByteRange
from tests.netfs.fakes import KIB, MIB, NOISE, FakeCache, FakeServer, mounted, read_all

K = CACHE_BLOCK
SIZE = 6 * MIB + 777
DATA = NOISE[:SIZE]


async def read_once(m, server, cache, piece=128 * KIB):
    """Open, read all, close; returns the bytes."""
    inode = m.inode(SIZE, cache)
    file = inode.open(server.open())
    data = await read_all(file, SIZE, piece)
    await file.aclose()
    await inode.aclose()
    return data


async def test_what_was_read_is_stored_and_a_second_read_needs_no_server(autojump_clock):
    server = FakeServer(DATA)
    async with mounted() as m:
        first = FakeCache(SIZE)
        assert await read_once(m, server, first) == DATA
        assert first.closed == 1
        assert b"".join(first.blocks[n] for n in sorted(first.blocks)) == DATA
        assert sum(w.length for w in first.writes) == SIZE
        assert server.bytes_asked == SIZE
        second = FakeCache(SIZE, blocks=first.blocks)
        assert await read_once(m, server, second) == DATA
        assert server.bytes_asked == SIZE
        assert not second.writes  # what came from the cache is not stored again
        assert second.queries == 1


async def test_readers_have_their_data_before_it_is_stored(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE, store_delay=1.0)
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        before = trio.current_time()
        assert await file.read(0, MIB) == DATA[:MIB]
        assert trio.current_time() - before < 0.1
        assert await file.read(10, 100) == DATA[10:110]  # while it is being stored
        assert len(server.asked) == 1
        await file.aclose()
        before = trio.current_time()
        await inode.aclose()  # waits for the store
        assert trio.current_time() - before == pytest.approx(1.0)
        assert len(cache.blocks) == 16


async def test_drain_waits_for_the_stores(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE, store_delay=1.0)
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        await file.read(0, 6 * MIB)
        await m.netfs.drain()
        assert len(cache.blocks) == 96
        assert cache.writing_peak == STORES
        await file.aclose()
        await inode.aclose()


async def test_stored_holes_and_memory_in_one_read(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.fill(DATA, 3 * K, 5 * K)
    cache.fill(DATA, 9 * K, 10 * K)
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        await file.read(6 * K, K)
        server.asked.clear()
        assert await file.read(K // 2, 12 * K) == DATA[K // 2 : K // 2 + 12 * K]
        assert [(a.start // K, a.length // K) for a in server.asked if a.urgent] == [
            (0, 3), (5, 1), (7, 2), (10, 3),
        ]  # fmt: skip
        assert sorted(cache.reads) == [ByteRange(3 * K, 5 * K), ByteRange(9 * K, 10 * K)]
        await file.aclose()
        await inode.aclose()


async def test_a_bad_block_costs_its_own_server_read_and_is_stored_anew(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.fill(DATA)
    cache.lies = {20}
    async with mounted() as m:
        assert await read_once(m, server, cache) == DATA
        assert server.bytes_asked == K
        assert not cache.lies  # stored anew
        again = FakeCache(SIZE, blocks=cache.blocks)
        asked = len(server.asked)
        assert await read_once(m, server, again) == DATA
        assert len(server.asked) == asked


@pytest.mark.parametrize("refuse", [True, False])
async def test_a_cache_that_fails_does_not_fail_the_read(autojump_clock, refuse):
    server, cache = FakeServer(DATA), FakeCache(SIZE, refuse=refuse)
    if not refuse:
        cache.fill(DATA, 0, MIB)
        cache.error = OSError(5, "made up by the test")
    async with mounted() as m:
        assert await read_once(m, server, cache) == DATA
        assert server.bytes_asked == SIZE


async def test_the_cache_is_asked_once_for_a_span(autojump_clock):
    size = SPAN + 5 * MIB
    server = FakeServer(bytes(size))
    cache = FakeCache(size)
    async with mounted() as m:
        inode = m.inode(size, cache)
        file = inode.open(server.open())
        for position in range(0, size, MIB):
            await file.read(position, MIB)
        assert cache.queries == 2
        assert server.bytes_asked == size
        await file.aclose()
        await inode.aclose()


async def test_readers_at_once_share_the_query_and_survive_each_others_end(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.query_gate = trio.Event()
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(file.read, 0, K)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(file.read, 0, K)
            nursery.start_soon(file.read, K, K)
            await trio.testing.wait_all_tasks_blocked()
            cache.query_gate.set()
        assert cache.queries == 1
        await file.aclose()
        await inode.aclose()


async def test_a_short_answer_is_not_stored(autojump_clock):
    server, cache = FakeServer(DATA[: 2 * MIB + 5]), FakeCache(SIZE)
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        assert await file.read(0, SIZE) == DATA[: 2 * MIB + 5]
        await file.aclose()
        await inode.aclose()
        assert sorted(cache.blocks) == list(range(32))


async def test_a_slow_cache_disk_slows_readers_down_but_loses_nothing(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE, store_delay=0.3)
    async with mounted(buffers=3 * MIB) as m:
        assert await read_once(m, server, cache) == DATA
        assert m.stats.memory.buffers_bytes_peak <= 3 * MIB
        assert len(cache.blocks) == -(-SIZE // K)
        assert server.bytes_asked == SIZE


async def test_stores_that_hang_cost_one_wait_and_are_not_waited_for_again(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.store_gate = trio.Event()
    async with mounted(buffers=3 * MIB) as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        before = trio.current_time()
        assert await read_all(file, SIZE, 128 * KIB) == DATA
        assert trio.current_time() - before < ACQUIRE_TIMEOUT + 1
        assert m.stats.memory.buffers_bytes_peak < 5 * MIB
        cache.store_gate.set()
        await file.aclose()
        await inode.aclose()
        assert len(cache.blocks) < SIZE // K


async def test_random_reads_while_stores_hang_are_not_kept_beyond_the_budget(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.store_gate = trio.Event()
    async with mounted(buffers=MIB) as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        for n in range(95):
            start = n * 37 % 95 * K
            assert bytes(await file.read(start, 100)) == DATA[start : start + 100]
        assert m.stats.memory.buffers_bytes_peak < m.netfs.pool.budget + 2 * K
        cache.store_gate.set()
        await file.aclose()
        await inode.aclose()
        assert len(cache.blocks) == STORES  # the others gave their buffers back


async def test_a_hanging_cache_read_goes_to_the_server_after_a_while(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.fill(DATA)
    cache.read_gate = trio.Event()
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file, other = inode.open(server.open()), inode.open(server.open())
        before = trio.current_time()
        assert await read_all(file, SIZE, 128 * KIB) == DATA
        assert trio.current_time() - before < CACHE_TIMEOUT + 1  # once, not for each read
        await file.aclose()  # does not wait for the disk
        assert trio.current_time() - before < CACHE_TIMEOUT + 1
        cache.read_gate.set()  # the disk comes back, and so does the cache
        cache.read_gate = None
        await trio.testing.wait_all_tasks_blocked()
        inode.mapping.clear()
        asked = len(server.asked)
        assert await other.read(5 * MIB, K) == DATA[5 * MIB : 5 * MIB + K]
        assert len(server.asked) == asked
        await other.aclose()
        await inode.aclose()


async def test_a_hanging_cache_query_goes_to_the_server_after_a_while(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.query_gate = trio.Event()
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        before = trio.current_time()
        assert await read_all(file, SIZE, 128 * KIB) == DATA
        assert trio.current_time() - before < CACHE_TIMEOUT + 1
        await file.aclose()
        cache.query_gate.set()
        await inode.aclose()
        again = FakeCache(SIZE)
        again.fill(DATA)
        asked = len(server.asked)
        assert await read_once(m, server, again) == DATA  # the cache is back
        assert len(server.asked) == asked


async def test_a_read_over_two_spans_waits_once_for_a_cache_that_hangs(autojump_clock):
    size = SPAN + MIB
    server, cache = FakeServer(bytes(size)), FakeCache(size)
    cache.query_gate = trio.Event()
    async with mounted() as m:
        inode = m.inode(size, cache)
        file = inode.open(server.open())
        before = trio.current_time()
        assert await file.read(SPAN - 5, 10) == bytes(10)
        assert trio.current_time() - before < CACHE_TIMEOUT + 1
        cache.query_gate.set()
        await file.aclose()
        await inode.aclose()


async def test_a_given_up_cache_read_that_misses_does_not_use_a_closed_handle(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.fill(DATA)
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server_file := server.open())
        await file.read(0, K)
        cache.read_gate = trio.Event()
        with trio.move_on_after(CACHE_TIMEOUT / 2):
            await file.read(MIB, K)
        await file.aclose()
        server_file.closed = True
        cache.blocks.clear()
        cache.read_gate.set()
        await inode.aclose()
        assert not server.asked
