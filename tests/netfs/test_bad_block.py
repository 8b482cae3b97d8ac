"""A block that the cache has lost costs its own refetch, and no block beside it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.netfs.io.slicing import gaps
from netfsfuse.types import CACHE_BLOCK, ByteRange
from tests.netfs.fakes import MIB, NOISE, FakeCache, FakeServer, mounted

K = CACHE_BLOCK


async def test_a_bad_block_costs_its_own_refetch(autojump_clock):
    """Only the two bad blocks are asked of the server, the rest is taken from the cache, and the
    bad ones are stored again."""
    size = MIB - 5
    server = FakeServer(NOISE[:size])
    cache = FakeCache(size, lies={3, 9})
    cache.fill(NOISE[:size])
    async with mounted() as m:
        inode = m.inode(size, cache)
        file = inode.open(server.open())
        assert await file.read(0, size) == NOISE[:size]
        await file.aclose()
        await inode.aclose()
    fetched = {
        block for a in server.asked for block in range(a.start // K, (a.start + a.length) // K)
    }
    assert 3 in fetched
    assert 2 not in fetched
    assert not cache.lies
    assert b"".join(cache.blocks[n] for n in range(16)) == NOISE[:size]


async def test_a_file_that_ends_in_a_bad_block_is_short(autojump_clock):
    """The server's file has shrunk meanwhile: what lies behind its end is not glued on."""
    server = FakeServer(NOISE[: 5 * K + 7])
    cache = FakeCache(MIB, lies={5})
    cache.fill(NOISE[:MIB])
    async with mounted() as m:
        inode = m.inode(MIB, cache)
        file = inode.open(server.open())
        assert await file.read(0, MIB) == NOISE[: 5 * K + 7]
        await file.aclose()
        await inode.aclose()


@given(st.lists(st.integers(0, 50), unique=True).map(sorted))
def test_gaps_are_what_the_parts_leave(edges):
    """Whole and parts against a set of numbers."""
    parts = [ByteRange(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    left = gaps(ByteRange(0, 50), parts)
    inside = {n for part in parts for n in range(*part)}
    assert {n for gap in left for n in range(*gap)} == set(range(50)) - inside
    assert all(gap.start < gap.end for gap in left)
