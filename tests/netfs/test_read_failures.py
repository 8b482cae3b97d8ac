"""Short reads, shrinking files, errors: who hears of them, and what is kept."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import ProtocolError, Stale
from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import KIB, MIB, NOISE, FakeServer, mounted, read_all, stale

K = CACHE_BLOCK


async def test_the_rest_of_a_short_read_is_asked_for(autojump_clock):
    size = MIB + 77
    server = FakeServer(NOISE[:size])
    server.short = lambda start, length: length // 3
    async with mounted() as m:
        inode = m.inode(size)
        file = inode.open(server.open())
        assert await read_all(file, size, 100_000) == NOISE[:size]
        await file.aclose()
        await inode.aclose()


async def test_a_file_that_shrank_ends_where_the_server_says(autojump_clock):
    size = 4 * MIB
    there = MIB + 100
    server = FakeServer(NOISE[:there])
    async with mounted() as m:
        inode = m.inode(size)
        file = inode.open(server.open())
        # Cut at the first gap: nothing of what lies behind is glued on.
        assert await file.read(0, size) == NOISE[:there]
        assert await file.read(there, 10) == b""
        asked = len(server.asked)
        assert await file.read(3 * MIB, 10) == b""
        assert len(server.asked) == asked + 1  # no loop
        assert len(inode.mapping) * K == MIB  # nothing short is kept
        await file.aclose()
        await inode.aclose()


async def test_a_gap_in_the_middle_cuts_the_answer(autojump_clock):
    size = 3 * MIB
    server = FakeServer(NOISE[:size])
    content = server.content
    async with mounted() as m:
        inode = m.inode(size)
        file = inode.open(server.open())
        await file.read(2 * MIB, MIB)
        server.content = content[: MIB + 5]
        assert await file.read(0, size) == NOISE[: MIB + 5]
        await file.aclose()
        await inode.aclose()


async def test_an_error_reaches_everyone_who_waits_and_is_not_kept(autojump_clock):
    server = FakeServer(NOISE[:MIB])
    server.fail = lambda start: stale()
    async with mounted() as m:
        inode = m.inode(MIB)
        file = inode.open(server.open())
        failed = []

        async def expect():
            with pytest.raises(Stale):
                await file.read(0, K)
            failed.append(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect)
            nursery.start_soon(expect)
        assert failed == [1, 1]
        assert len(server.asked) == 1
        server.fail = lambda start: None
        assert await file.read(0, K) == NOISE[:K]
        await file.aclose()
        await inode.aclose()


async def test_a_reader_that_joined_anothers_failure_asks_itself(autojump_clock):
    server = FakeServer(NOISE[:MIB])
    server.fail = lambda start: stale() if len(server.asked) == 1 else None
    async with mounted() as m:
        inode = m.inode(MIB)
        first, second = inode.open(server.open()), inode.open(server.open())

        async def fails():
            with pytest.raises(Stale):
                await first.read(0, K)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
            await trio.testing.wait_all_tasks_blocked()
            assert await second.read(0, K) == NOISE[:K]
        assert len(server.asked) == 2
        for file in (first, second):
            await file.aclose()
        await inode.aclose()


async def test_many_readers_of_a_range_that_always_fails_all_hear_of_it_soon(autojump_clock):
    server = FakeServer(NOISE[:MIB], latency=1.0)
    server.fail = lambda start: stale()
    async with mounted() as m:
        inode = m.inode(MIB)
        files = [inode.open(server.open()) for _ in range(20)]

        async def fails(file):
            with pytest.raises(Stale):
                await file.read(0, K)

        before = trio.current_time()
        async with trio.open_nursery() as nursery:
            for file in files:
                nursery.start_soon(fails, file)
        assert trio.current_time() - before <= 4.0
        for file in files:
            await file.aclose()
        await inode.aclose()


async def test_an_error_in_readahead_is_nobodys_error(autojump_clock):
    size = 4 * MIB
    server = FakeServer(NOISE[:size])
    async with mounted() as m:
        inode = m.inode(size)
        file = inode.open(server.open())
        await file.read(0, 128 * KIB)
        server.fail = lambda start: stale() if start >= 256 * KIB else None
        await file.read(128 * KIB, 128 * KIB)
        await trio.sleep(1)
        server.fail = lambda start: None
        assert await read_all(file, size) == NOISE[:size]
        await file.aclose()
        await inode.aclose()


async def test_a_server_that_sends_too_much_is_an_error(autojump_clock):
    class Generous:
        async def read(self, start, length, buffer, at, *, demand):
            await trio.lowlevel.checkpoint()
            return length + 1

    async with mounted() as m:
        inode = m.inode(K)
        file = inode.open(Generous())
        with pytest.raises(ProtocolError):
            await file.read(0, 10)
        await file.aclose()
        await inode.aclose()


async def test_an_exception_that_is_no_netfs_error_stays_out_of_the_nursery(autojump_clock):
    server = FakeServer(NOISE[:K])
    server.fail = lambda start: ZeroDivisionError("a bug in smb")
    async with mounted() as m:
        inode = m.inode(K)
        file = inode.open(server.open())
        with pytest.raises(ZeroDivisionError):
            await file.read(0, 10)
        await file.aclose()
        await inode.aclose()
