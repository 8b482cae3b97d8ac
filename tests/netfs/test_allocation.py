"""A sequential read allocates nothing in proportion to its bytes. (Buffers are mmaps, counted by
``stats.memory``, which Python's tracer does not see.)"""

from __future__ import annotations

import gc
import tracemalloc

import trio

from tests.netfs.fakes import MIB, FakeCache, mounted


class Bottomless:
    """A server of zeros that copies nothing."""

    async def read(self, start, length, buffer, at, *, demand):
        demand.sent = True
        await trio.sleep(0.001)
        return length


class Sieve(FakeCache):
    """A cache that takes everything and keeps nothing."""

    async def write(self, start, data):
        await trio.lowlevel.checkpoint()
        return True


async def traced(size: int) -> tuple[int, int]:
    """(kept, peak) bytes that Python allocated over a read of ``size`` bytes in pieces of 1 MiB."""
    async with mounted(rsize=4 * MIB, fixed=False) as m:
        inode = m.inode(size, Sieve(size))
        file = inode.open(Bottomless())
        for position in range(0, 16 * MIB, MIB):
            await file.read(position, MIB)
        gc.collect()
        tracemalloc.start()
        try:
            for position in range(16 * MIB, size, MIB):
                answer = await file.read(position, MIB)
                assert len(answer) == MIB
                del answer
            gc.collect()
            measured = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await file.aclose()
        await inode.aclose()
    assert m.stats.memory.buffers_bytes_peak <= 128 * MIB
    return measured


async def test_a_long_read_needs_no_more_than_a_short_one(autojump_clock):
    _, short_peak = await traced(128 * MIB)
    kept, long_peak = await traced(2048 * MIB)
    assert kept < 512 * 1024, "something is kept for each read"
    assert long_peak < 2 * short_peak + 256 * 1024
