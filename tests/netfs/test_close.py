"""Cancellation, closing and retiring: what is running, who still gets an answer, what is kept."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import Stale
from netfsfuse.netfs.io.copy_to_cache import STORES
from netfsfuse.netfs.io.request import State, filling
from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import KIB, MIB, NOISE, FakeCache, FakeServer, mounted, read_all, stale

K = CACHE_BLOCK
SIZE = 16 * MIB
DATA = NOISE[:SIZE]


async def test_a_cancelled_reader_leaves_its_subrequest_to_others_and_to_the_cache(autojump_clock):
    server, cache = FakeServer(DATA, latency=1.0), FakeCache(SIZE)
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        with trio.move_on_after(0.5) as scope:
            await file.read(0, MIB)
        assert scope.cancelled_caught
        before = trio.current_time()
        assert await file.read(0, MIB) == DATA[:MIB]
        assert trio.current_time() - before == pytest.approx(0.5)
        assert len(server.asked) == 1
        await file.aclose()
        await inode.aclose()
        assert len(cache.blocks) == 16


async def test_readers_killed_at_any_moment_leak_nothing(autojump_clock):
    server, cache = FakeServer(DATA, latency=0.01), FakeCache(SIZE, store_delay=0.02)
    server.short = lambda start, length: length // 2
    async with mounted(buffers=4 * MIB) as m:
        for n in range(150):
            inode = m.inode(SIZE, cache)
            file = inode.open(server_file := server.open())
            with trio.move_on_after(0.0007 * n):
                for _ in range(3):
                    assert await read_all(file, SIZE, [MIB, 333_333][n % 2]) == DATA
            await file.aclose()
            server_file.closed = True
            await inode.aclose()
            cache.closed = 0
            cache.blocks.clear()
            assert m.netfs.pool.in_use == 0


async def ask_ahead(inode, file):
    """Read until a read that needs no wait claims several requests, none of them sent yet. Returns
    what was claimed last."""
    for n in range(14):
        await file.read(n * MIB, MIB)
        subs = [filling(folio) for folio in inode.mapping.within(n * MIB, SIZE)]
        queued = [sub.folio for sub in subs if sub is not None and sub.state is State.QUEUED]
        if len(queued) > 2:
            return queued[-1]
        await trio.sleep(5)
    raise AssertionError("nothing was read ahead")


async def test_closing_drops_unsent_readahead(autojump_clock):
    server = FakeServer(DATA, latency=1.0)
    async with mounted(rsize=K) as m:
        inode = m.inode(SIZE)
        file = inode.open(server_file := server.open())
        last = await ask_ahead(inode, file)
        asked = len(server.asked)
        await file.aclose()
        server_file.closed = True
        assert inode.mapping.find(last.start // K) is None
        await trio.sleep(5)
        assert len(server.asked) == asked
        await inode.aclose()


async def test_closing_waits_for_sent_readahead(autojump_clock):
    server, cache = FakeServer(DATA, latency=1.0), FakeCache(SIZE)
    async with mounted(rsize=K) as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server_file := server.open())
        await ask_ahead(inode, file)
        await trio.testing.wait_all_tasks_blocked()
        assert server.in_flight > 0
        await file.aclose()
        server_file.closed = True
        assert server.in_flight == 0
        assert server.cancelled == 0
        await inode.aclose()
        assert len(cache.blocks) * K == server.bytes_asked  # not wasted


async def test_someone_who_joined_unsent_readahead_is_served_when_its_handle_closes(
    autojump_clock,
):
    server = FakeServer(DATA)
    async with mounted(rsize=K) as m:
        inode = m.inode(SIZE)
        first, second = inode.open(server_file := server.open()), inode.open(server.open())
        joined = await ask_ahead(inode, first)
        answers = []

        async def join():
            answers.append(bytes(await second.read(joined.start, K)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            while not joined.waiters:
                await trio.lowlevel.checkpoint()
            assert filling(joined).state is State.QUEUED
            await first.aclose()
            server_file.closed = True
        assert answers == [DATA[joined.start : joined.end]]
        await second.aclose()
        await inode.aclose()


@pytest.mark.parametrize("joined", [True, False])
async def test_a_cancelled_close_cancels_what_was_sent_and_joiners_ask_again(
    autojump_clock, joined
):
    server = FakeServer(DATA, latency=10.0)
    async with mounted() as m:
        inode = m.inode(SIZE)
        first, second = inode.open(first_file := server.open()), inode.open(server.open())
        with trio.move_on_after(1):
            await first.read(0, MIB)

        async def join():
            assert await second.read(0, MIB) == DATA[:MIB]

        async with trio.open_nursery() as nursery:
            if joined:
                nursery.start_soon(join)
                await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1) as scope:
                await first.aclose()
            assert scope.cancelled_caught
            first_file.closed = True
        assert server.cancelled == 1
        assert len(server.asked) == 1 + joined
        await second.aclose()
        await inode.aclose()


async def test_a_cancelled_inode_close_goes_on_behind(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE, store_delay=5.0)
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        await file.read(0, MIB)
        await file.aclose()
        with trio.move_on_after(1) as scope:
            await inode.aclose()
        assert scope.cancelled_caught
        assert not cache.closed
        await inode.aclose()
        assert cache.closed == 1
        assert len(cache.blocks) == 16


async def test_retire_answers_who_waits_and_keeps_nothing(autojump_clock):
    server, cache = FakeServer(DATA, latency=1.0), FakeCache(SIZE)
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        answers = []

        async def waiting():
            answers.append(bytes(await file.read(0, MIB)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting)
            await trio.testing.wait_all_tasks_blocked()
            inode.retire()
        assert inode.retired
        assert answers == [DATA[:MIB]]
        assert len(inode.mapping) == 0
        await m.netfs.drain()
        assert not cache.blocks
        await file.aclose()
        await inode.aclose()
        assert cache.closed == 1


async def test_after_retire_the_server_alone_says_what_there_is(autojump_clock):
    size = 2 * MIB
    server, cache = FakeServer(DATA[:size]), FakeCache(size)
    cache.fill(DATA[:size])
    async with mounted() as m:
        inode = m.inode(size, cache)
        file, other = inode.open(server.open()), inode.open(server.open())
        assert await file.read(0, K) == DATA[:K]  # from the cache, now in memory
        assert not server.asked
        inode.retire()
        inode.retire()
        server.content = NOISE[MIB : MIB + 5 * MIB + 3]  # grew, and has other bytes
        server.short = lambda start, length: length // 2
        reads = len(cache.reads)
        for one in (file, other):
            assert await one.read(0, K) == server.content[:K]
            assert await one.read(10, 3 * MIB) == server.content[10 : 10 + 3 * MIB]
            assert await one.read(5 * MIB, MIB) == server.content[5 * MIB :]
            assert await one.read(9 * MIB, MIB) == b""
            assert await one.read(0, 0) == b""
        server.content = DATA[: MIB + 5]  # shrinks
        assert await file.read(0, 2 * MIB) == DATA[: MIB + 5]
        assert len(cache.reads) == reads
        assert not cache.writes
        assert len(inode.mapping) == 0
        server.fail = lambda start: stale()
        with pytest.raises(Stale):
            await file.read(0, K)
        with trio.move_on_after(0.001) as scope:
            server.fail = lambda start: None
            await file.read(0, K)
        assert scope.cancelled_caught
        assert m.netfs.pool.in_use == 0
        for one in (file, other):
            await one.aclose()
        await inode.aclose()


async def test_retire_during_a_long_read_starts_it_over_at_the_server(autojump_clock):
    server = FakeServer(DATA, latency=1.0)
    async with mounted(rsize=256 * KIB, buffers=512 * KIB) as m:
        inode = m.inode(SIZE)
        file = inode.open(server.open())
        answers = []

        async def long():
            answers.append(bytes(await file.read(0, 2 * MIB)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(long)
            await trio.sleep(1.5)
            server.content = NOISE[5 * MIB : 9 * MIB]
            inode.retire()
        # Old bytes and new ones are not mixed in one answer.
        assert answers == [server.content[: 2 * MIB]]
        await file.aclose()
        await inode.aclose()


async def test_retire_while_waiting_for_a_buffer_or_for_the_cache(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE)
    cache.fill(DATA, 0, K)  # the old bytes, which nobody may see any more
    cache.query_gate = trio.Event()
    cache.store_gate = trio.Event()
    async with mounted(rsize=K, buffers=1) as m:
        inode, other = m.inode(SIZE, cache), m.inode(SIZE, FakeCache(SIZE))
        other.cache.store_gate = cache.store_gate
        file, hog = inode.open(server.open()), other.open(server.open())
        answers = []

        async def read(one):
            answers.append(bytes(await one.read(0, 100)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, file)  # waits for the cache's answer
            await trio.testing.wait_all_tasks_blocked()
            assert await hog.read(0, 1) == DATA[:1]  # its store keeps the only buffer
            cache.query_gate.set()
            await trio.testing.wait_all_tasks_blocked(0.001)
            nursery.start_soon(read, file)  # both wait for it now
            await trio.testing.wait_all_tasks_blocked(0.001)
            assert not answers
            server.content = NOISE[MIB:]
            inode.retire()
            cache.store_gate.set()
        assert answers == [NOISE[MIB : MIB + 100]] * 2
        assert not cache.writes
        for one in (file, hog):
            await one.aclose()
        for one in (inode, other):
            await one.aclose()


async def test_a_store_that_waits_its_turn_is_dropped_by_retire(autojump_clock):
    server, cache = FakeServer(DATA), FakeCache(SIZE, store_delay=1.0)
    async with mounted() as m:
        inode = m.inode(SIZE, cache)
        file = inode.open(server.open())
        await file.read(0, 12 * MIB)
        await trio.sleep(0.1)
        inode.retire()
        await m.netfs.drain()
        assert len(cache.writes) == STORES  # those that had begun
        await file.aclose()
        await inode.aclose()
