"""One file written: what is read back at once, what goes to the server when, what failures do."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import DeadlineExceeded, DiskFull
from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import MIB, NOISE, FakeCache, FakeServer, mounted

K = CACHE_BLOCK


async def test_what_is_written_is_read_at_once_and_is_on_the_server_after_a_drain(autojump_clock):
    server = FakeServer(NOISE[: 3 * K])
    async with mounted(rsize=K) as m:
        inode = m.inode(3 * K)
        file = inode.open(server.open())
        writing = inode.begin_writing(server.open(), behind=True)
        await writing.write(K + 5, b"0123456789")
        assert bytes(await writing.read(file, K, 20)) == (
            NOISE[K : K + 5] + b"0123456789" + NOISE[K + 15 : K + 20]
        )
        assert writing.dirty_bytes == 10
        assert not server.written
        await writing.drain()
        assert writing.dirty_bytes == 0
        assert bytes(server.content[K + 5 : K + 15]) == b"0123456789"
        assert bytes(await writing.read(file, K, 20)) == bytes(server.content[K : K + 20])
        await writing.aclose()
        assert inode.writing is None
        await file.aclose()
        await inode.aclose()


async def test_a_large_file_goes_out_in_large_requests_several_at_once(autojump_clock):
    server = FakeServer(b"", latency=0.05)
    async with mounted() as m:
        inode = m.inode(0)
        writing = inode.begin_writing(server.open(), behind=True)
        for at in range(0, 16 * MIB, 4096):
            await writing.write(at, NOISE[at : at + 4096])
            if not at % MIB:
                await trio.sleep(0.001)
        assert writing.i_size == 16 * MIB
        await writing.drain()
        assert bytes(server.content) == NOISE
        assert len(server.written) <= 16 + 5
        assert server.writes_peak >= 3
        assert inode.i_size == 16 * MIB
        assert m.stats.write.bytes == 16 * MIB
        assert m.stats.write.sizes[str(MIB)] >= 14
        assert m.stats.write.in_flight == m.stats.write.dirty_bytes == 0
        await writing.aclose()
        file = inode.open(server.open())
        assert bytes(await file.read(MIB, K)) == NOISE[MIB : MIB + K]
        assert not server.asked  # it is still in memory
        await file.aclose()
        await inode.aclose()


async def test_through_returns_when_the_server_has_it_and_raises_what_it_says(autojump_clock):
    server = FakeServer(b"")
    async with mounted(rsize=K) as m:
        inode = m.inode(0)
        writing = inode.begin_writing(server.open(), behind=False)
        since = writing.errors.sample()
        await writing.write(0, b"a" * (2 * K + 7))
        assert bytes(server.content) == b"a" * (2 * K + 7)
        server.refuse = lambda start: DiskFull("full")
        with pytest.raises(DiskFull):
            await writing.write(5 * K, b"b")
        assert writing.errors.check(since) == (since, None)  # its writer knows
        assert writing.i_size == 2 * K + 7
        await writing.aclose()
        await inode.aclose()


async def test_an_error_behind_the_writer_is_told_once_to_each_handle(autojump_clock):
    server = FakeServer(b"")
    async with mounted(rsize=K) as m:
        inode = m.inode(0)
        writing = inode.begin_writing(server.open(), behind=True)
        first, second = writing.errors.sample(), writing.errors.sample()
        server.refuse = lambda start: DiskFull("full") if start == 0 else None
        await writing.write(0, b"a" * K)
        await writing.write(3 * K, b"b" * K)
        await writing.drain()
        first, error = writing.errors.check(first)
        assert isinstance(error, DiskFull)
        assert writing.errors.check(first) == (first, None)
        assert isinstance(writing.errors.check(second)[1], DiskFull)
        assert writing.errors.check(writing.errors.sample())[1] is None
        assert bytes(server.content) == bytes(3 * K) + b"b" * K  # the others are safe
        await writing.aclose()
        await inode.aclose()


async def test_truncate_drops_what_is_dirty_beyond(autojump_clock):
    server = FakeServer(NOISE[: 8 * K])
    async with mounted(rsize=K) as m:
        inode = m.inode(8 * K)
        file = inode.open(server.open())
        writing = inode.begin_writing(server.open(), behind=True)
        await writing.write(6 * K, b"x" * (4 * K))
        await writing.write(10, b"y")
        await writing.truncate(2 * K + 5)
        assert writing.i_size == inode.i_size == 2 * K + 5
        assert all(one.start < 3 * K or one.start >= 6 * K for one in server.written)
        await writing.truncate(9 * K)
        expected = NOISE[:10] + b"y" + NOISE[11 : 2 * K + 5] + bytes(7 * K - 5)
        assert bytes(await writing.read(file, 0, 9 * K)) == expected == bytes(server.content)
        await writing.aclose()
        await file.aclose()
        await inode.aclose()


async def test_no_progress_for_thirty_seconds_is_told_and_nothing_is_lost(autojump_clock):
    server = FakeServer(b"")
    server.write_gate = trio.Event()
    async with mounted(rsize=K) as m:
        inode = m.inode(0)
        writing = inode.begin_writing(server.open(), behind=True)
        await writing.write(0, b"abc")
        began = trio.current_time()
        with pytest.raises(DeadlineExceeded):
            await writing.drain()
        assert trio.current_time() - began == pytest.approx(30)
        server.write_gate.set()
        await writing.drain()
        assert bytes(server.content) == b"abc"
        await writing.aclose()
        await inode.aclose()


async def test_files_that_the_server_has_not_got_are_known_by_name(autojump_clock):
    server = FakeServer(b"")
    server.write_gate = trio.Event()
    async with mounted(rsize=K) as m:
        assert m.netfs.unsent() == []
        inode = m.inode(0)
        writing = inode.begin_writing(server.open(), behind=True)
        await writing.write(0, b"abc")
        ((name, size),) = m.netfs.unsent()
        assert (bool(name), size) == (True, 3)
        server.write_gate.set()
        await m.netfs.drain()
        assert m.netfs.unsent() == []
        await writing.aclose()
        await inode.aclose()


async def test_what_was_written_is_stored_in_the_cache(autojump_clock):
    size = 3 * MIB + 77
    server, cache = FakeServer(NOISE[: 2 * MIB]), FakeCache(2 * MIB)
    cache.fill(NOISE[: 2 * MIB])
    async with mounted() as m:
        inode = m.inode(2 * MIB, cache)
        writing = inode.begin_writing(server.open(), behind=True)
        data = NOISE[MIB : MIB + size]
        for at in range(0, size, 256 * 1024):
            await writing.write(at, data[at : at + 256 * 1024])
        await writing.aclose()
        assert bytes(server.content) == data
        assert cache.size == size
        assert set(cache.blocks) == set(range(-(-size // K)))
        assert all(cache.blocks[b] == data[b * K : (b + 1) * K] for b in cache.blocks)
        await inode.aclose()


async def test_a_drain_during_a_cut_that_fails_waits_no_longer_than_that(autojump_clock):
    server = FakeServer(NOISE[: 2 * K])
    async with mounted(rsize=K) as m:
        inode = m.inode(2 * K)
        writing = inode.begin_writing(server.open(), behind=True)
        await writing.write(5 * K, b"x" * 10)
        server.refuse = lambda start: DiskFull("full") if start == K else None
        async with trio.open_nursery() as nursery:

            async def cut():
                with pytest.raises(DiskFull):
                    await writing.truncate(K)

            nursery.start_soon(cut)
            await trio.sleep(0.001)
            began = trio.current_time()
            await writing.drain()
        assert trio.current_time() - began < 0.1
        assert bytes(server.content) == NOISE[: 2 * K] + bytes(3 * K) + b"x" * 10
        await writing.aclose()
        await inode.aclose()
