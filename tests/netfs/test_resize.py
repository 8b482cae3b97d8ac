"""A file whose size changes under its handles: what is there, what is asked for again."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import MIB, NOISE, FakeCache, FakeServer, mounted

K = CACHE_BLOCK


async def test_a_grown_file_shows_its_new_end(autojump_clock):
    server = FakeServer(NOISE[: 5 * K + 100])
    async with mounted(rsize=K) as m:
        inode = m.inode(5 * K + 100)
        file = inode.open(server.open())
        assert len(await file.read(4 * K, 4 * K)) == K + 100
        server.content = NOISE[: 8 * K]
        asked = len(server.asked)
        inode.resize(8 * K)
        assert bytes(await file.read(4 * K, K)) == NOISE[4 * K : 5 * K]
        assert len(server.asked) == asked  # what the change does not touch stays
        assert bytes(await file.read(4 * K, 9 * K)) == NOISE[4 * K : 8 * K]
        await file.aclose()
        await inode.aclose()


async def test_a_file_that_shrank_and_grew_does_not_show_its_old_bytes(autojump_clock):
    server = FakeServer(NOISE[: 8 * K])
    async with mounted(rsize=2 * K) as m:
        inode = m.inode(8 * K)
        file = inode.open(server.open())
        assert bytes(await file.read(0, 8 * K)) == NOISE[: 8 * K]
        inode.resize(3 * K + 5)
        server.content = NOISE[: 3 * K + 5]
        assert bytes(await file.read(0, 8 * K)) == NOISE[: 3 * K + 5]
        assert await file.read(4 * K, K) == b""
        server.content = NOISE[: 3 * K + 5] + bytes(5 * K - 5)
        inode.resize(8 * K)
        assert bytes(await file.read(0, 8 * K)) == server.content
        await file.aclose()
        await inode.aclose()


@pytest.mark.parametrize("size", [0, K, 2 * K + 5, 12 * K])
async def test_a_read_under_way_ends_by_the_size_it_began_with_or_the_new_one(autojump_clock, size):
    server = FakeServer(NOISE[: 8 * K], latency=1.0)
    async with mounted(rsize=K, buffers=3 * K) as m:
        inode = m.inode(8 * K)
        file = inode.open(server.open())
        got = []

        async def read():
            got.append(bytes(await file.read(K // 2, 8 * K)))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await trio.sleep(1.5)
                inode.resize(size)
                server.content = NOISE[:size]
        assert NOISE[K // 2 : 8 * K].startswith(got[0])
        assert len(got[0]) <= 8 * K - K // 2
        assert K // 2 + len(got[0]) >= min(size, 8 * K)
        await file.aclose()
        await inode.aclose()


async def test_a_read_that_outlasts_a_short_spell_is_not_short(autojump_clock):
    """It shrinks and grows again behind where the read is: what counts is the size at its end."""
    server = FakeServer(NOISE[: 12 * K], latency=1.0)
    async with mounted(rsize=K, buffers=2 * K) as m:
        inode = m.inode(12 * K)
        file = inode.open(server.open())
        seen = []

        async def change():
            for size, after in ((9 * K, 1.5), (12 * K, 2.0)):
                await trio.sleep(after)
                seen.append(len(server.asked))
                inode.resize(size)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            answer = bytes(await file.read(K // 2, 11 * K))
        assert 0 < seen[0] < seen[1] < 9  # the read was under way, and below the smaller size
        assert answer == NOISE[K // 2 : 11 * K + K // 2]
        await file.aclose()
        await inode.aclose()


async def test_the_cache_object_of_the_old_size_is_left_alone_and_closed(autojump_clock):
    size = 2 * MIB
    server, cache = FakeServer(NOISE[:size]), FakeCache(size)
    async with mounted() as m:
        inode = m.inode(size, cache)
        file = inode.open(server.open())
        await file.read(0, MIB)
        inode.resize(size + 7)
        stored = set(cache.blocks)
        server.content = NOISE[: size + 7]
        assert bytes(await file.read(size - 3, 20)) == NOISE[size - 3 : size + 7]
        await trio.testing.wait_all_tasks_blocked()
        assert set(cache.blocks) <= stored | set(range(MIB // K))
        await file.aclose()
        await inode.aclose()
        assert cache.closed == 1


async def test_a_negative_size_is_refused(autojump_clock):
    async with mounted(rsize=K) as m:
        inode = m.inode(4 * K)
        with pytest.raises(ValueError, match="bytes"):
            inode.resize(-1)
        assert inode.i_size == 4 * K
        await inode.aclose()


@settings(deadline=None, max_examples=120)
@given(
    sizes=st.lists(st.integers(0, 24 * K), min_size=1, max_size=4),
    starts=st.lists(st.integers(0, 24 * K), min_size=1, max_size=8),
    length=st.sampled_from([1, K - 1, K, 3 * K + 1, 12 * K]),
    rsize=st.sampled_from([K, 3 * K, 8 * K]),
    budget=st.sampled_from([1, 10 * K, 1000 * K]),
    cached=st.booleans(),
    in_order=st.booleans(),
    seed=st.integers(0, 99),
)
def test_reads_while_the_size_changes_give_a_prefix_of_what_was_asked(
    sizes, starts, length, rsize, budget, cached, in_order, seed
):
    """Bytes are always right, at least as many as all sizes of the read's time agree on, and no
    more than the largest of them allows; after the last change the size is exact."""
    chance = random.Random(seed)
    server = FakeServer(NOISE[: sizes[0]])
    cache = FakeCache(sizes[0]) if cached else None
    if cache is not None and seed % 2:
        cache.fill(NOISE[: sizes[0]])
    seen = [sizes[0]]

    async def main():
        async with mounted(rsize=rsize, rasize=16 * K, buffers=budget) as m:
            inode = m.inode(sizes[0], cache)

            async def reader():
                file = inode.open(server.open())
                at = 0
                for start in starts * 2:
                    start = at if in_order else start
                    began = len(seen) - 1
                    answer = bytes(await file.read(start, length))
                    assert NOISE[start : start + length].startswith(answer)
                    there = [max(0, min(size - start, length)) for size in seen[began:]]
                    assert min(there) <= len(answer) <= max(there)
                    at = start + len(answer)
                for start in starts:
                    is_last = len(seen) == len(sizes)  # else it may meet a shorter one on its way
                    answer = bytes(await file.read(start, length))
                    if is_last:
                        assert answer == NOISE[start : min(start + length, sizes[-1])]
                await file.aclose()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader)
                nursery.start_soon(reader)
                for size in sizes[1:]:
                    await trio.sleep(chance.choice([0.0, 0.005, 0.015, 0.04]))
                    seen.append(size)
                    server.content = NOISE[:size]
                    inode.resize(size)
            await inode.aclose()
            assert m.netfs.pool.in_use == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
