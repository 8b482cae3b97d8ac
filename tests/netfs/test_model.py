"""Everything at once against a bytes model: random sizes, budgets, readers, short reads, a cache
with holes and lies. Every answer is whole and right, nothing leaks, nothing is fetched twice."""

from __future__ import annotations

import random

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import NOISE, FakeCache, FakeServer, mounted

K = CACHE_BLOCK


def run(main):
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@st.composite
def scripts(draw):
    """A file and what several handles read of it: (start, size, pause) in order."""
    size = draw(st.integers(1, 24 * K))
    edge = st.sampled_from([0, 1, K - 1, K, K + 1, size - 1, size, size + 1, 3 * K, 5 * K + 7])
    offset = st.one_of(edge, st.integers(0, size + K))
    length = st.one_of(edge, st.integers(1, 12 * K)).map(lambda n: max(n, 1))
    read = st.tuples(offset, length, st.booleans())
    follow = st.integers(1, 3 * K).map(
        lambda piece: [(at, piece, False) for at in range(0, size + piece, piece)][:40]
    )
    reader = st.one_of(st.lists(read, min_size=1, max_size=12), follow)
    return size, draw(st.lists(reader, min_size=1, max_size=4))


@settings(deadline=None, max_examples=150)
@given(
    script=scripts(),
    rsize=st.sampled_from([K, 2 * K, 3 * K, 8 * K]),
    budget=st.sampled_from([1, 4 * K, 10 * K, 1000 * K]),
    rasize=st.sampled_from([None, K, 16 * K]),
    fixed=st.booleans(),
    capacity=st.sampled_from([1, K, 5 * K, 1000 * K]),
    cached=st.none() | st.tuples(st.sets(st.integers(0, 23)), st.sets(st.integers(0, 23))),
    seed=st.integers(0, 1000),
    retire_after=st.none() | st.floats(0, 0.2),
    slow_store=st.sampled_from([0.0, 0.05]),
)
def test_every_answer_is_whole_and_right(
    script, rsize, budget, rasize, fixed, capacity, cached, seed, retire_after, slow_store
):
    size, readers = script
    data = NOISE[:size]
    server = FakeServer(data)
    short = random.Random(seed)
    server.short = lambda start, length: short.randint(length // 4, length)
    cache = None
    if cached is not None:
        cache = FakeCache(size, lies={b for b in cached[1] if b * K < size}, store_delay=slow_store)
        cache.fill(data)
        for block in cached[0] | cached[1]:
            cache.blocks.pop(block, None)

    async def main():
        async with mounted(
            rsize=rsize, fixed=fixed, rasize=rasize, buffers=budget, capacity=capacity
        ) as m:
            inode = m.inode(size, cache)

            async def reader(reads):
                file = inode.open(server_file := server.open())
                for start, length, pause in reads:
                    answer = bytes(await file.read(start, length))
                    assert answer == data[start : start + length]
                    if pause:
                        await trio.sleep(0.015)
                await file.aclose()
                server_file.closed = True

            async with trio.open_nursery() as nursery:
                for reads in readers:
                    nursery.start_soon(reader, reads)
                if retire_after is not None:
                    await trio.sleep(retire_after)
                    inode.retire()
            await inode.aclose()
            assert m.stats.memory.buffers_bytes_peak <= m.netfs.pool.budget
            assert m.netfs.pool.in_use == 0
        if cache is not None:
            assert cache.closed == 1
            assert all(cache.blocks[b] == data[b * K : (b + 1) * K] for b in cache.blocks)

    run(main)


@settings(deadline=None, max_examples=80)
@given(script=scripts(), rsize=st.sampled_from([K, 3 * K, 8 * K]), cached=st.booleans())
def test_each_block_is_fetched_once_while_there_is_room(script, rsize, cached):
    size, readers = script
    data = NOISE[:size]
    server = FakeServer(data)
    cache = FakeCache(size, refuse=not cached)

    async def main():
        async with mounted(rsize=rsize) as m:
            inode = m.inode(size, cache)
            watcher = inode.open(server.open())  # a second handle: nothing is let go of early

            async def reader(file, reads):
                for start, length, _pause in reads:
                    assert bytes(await file.read(start, length)) == data[start : start + length]

            files = [inode.open(server.open()) for _ in readers]
            async with trio.open_nursery() as nursery:
                for file, reads in zip(files, readers, strict=True):
                    nursery.start_soon(reader, file, reads)
            for file in (*files, watcher):
                await file.aclose()
            await inode.aclose()

    run(main)
    fetched = [b for a in server.asked for b in range(a.start // K, -(-(a.start + a.length) // K))]
    assert len(fetched) == len(set(fetched))
    assert set(cache.blocks) == (set(fetched) if cached else set())


@settings(deadline=None, max_examples=80)
@given(
    script=scripts(),
    budget=st.sampled_from([1, 10 * K, 1000 * K]),
    ends=st.lists(st.floats(0, 0.1), min_size=4, max_size=4),
    failing=st.sets(st.integers(1, 12)),
    there=st.integers(0, 24 * K),
)
def test_cancelled_readers_errors_and_a_shrinking_file_leak_nothing(
    script, budget, ends, failing, there
):
    size, readers = script
    data = NOISE[:size]
    server = FakeServer(data[:there])
    server.fail = lambda start: OSError("made up") if len(server.asked) in failing else None
    cache = FakeCache(size, store_delay=0.02)

    async def main():
        async with mounted(rsize=3 * K, rasize=16 * K, buffers=budget) as m:
            inode = m.inode(size, cache)

            async def reader(reads, end):
                file = inode.open(server_file := server.open())
                with trio.move_on_after(end):
                    for start, length, pause in reads:
                        try:
                            answer = bytes(await file.read(start, length))
                        except OSError:
                            continue
                        assert answer == data[:there][start : start + length]
                        if pause:
                            await trio.sleep(0.015)
                with trio.move_on_after(end):
                    await file.aclose()
                server_file.closed = True

            async with trio.open_nursery() as nursery:
                for reads, end in zip(readers, ends, strict=False):
                    nursery.start_soon(reader, reads, end)
            await inode.aclose()
            assert m.netfs.pool.in_use == 0
        assert all(cache.blocks[b] == data[b * K : (b + 1) * K] for b in cache.blocks)

    run(main)
