"""Reading from the server: whole answers, joining, readahead, ends."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.config import ReadConfig
from netfsfuse.errors import NetfsError
from netfsfuse.netfs import Netfs
from netfsfuse.stats import Stats
from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import KIB, MIB, NOISE, FakeCache, FakeServer, mounted, read_all

K = CACHE_BLOCK


async def test_a_cold_read_asks_for_whole_blocks_and_answers_exactly(autojump_clock):
    server = FakeServer(NOISE[:MIB])
    async with mounted() as m:
        inode = m.inode(MIB, FakeCache(MIB))
        file = inode.open(server.open())
        answer = await file.read(70 * KIB, 10 * KIB)
        assert isinstance(answer, memoryview)
        assert answer == NOISE[70 * KIB : 80 * KIB]
        del answer
        assert [(a.start, a.length, a.urgent) for a in server.asked] == [(K, K, True)]
        assert m.stats.application.bytes == 10 * KIB
        assert m.stats.application.reads == 1
        assert m.stats.application.joined == 0
        await file.aclose()
        await inode.aclose()


async def test_what_is_in_memory_is_answered_without_a_task_or_checkpoint(autojump_clock):
    server = FakeServer(NOISE[:MIB])
    async with mounted() as m:
        inode = m.inode(MIB)
        file = inode.open(server.open())
        await file.read(0, K)
        before = trio.lowlevel.current_statistics().run_sync_soon_queue_size
        with trio.testing.assert_no_checkpoints():
            assert await file.read(4096, 4096) == NOISE[4096:8192]
        assert before == trio.lowlevel.current_statistics().run_sync_soon_queue_size
        assert len(server.asked) == 1
        await file.aclose()
        await inode.aclose()


@pytest.mark.parametrize("size", [1, K - 1, K, K + 1, MIB, 3 * MIB + 12345])
@pytest.mark.parametrize("piece", [1 * MIB, 128 * KIB, 100_001])
async def test_a_whole_file_reads_whole_and_once(autojump_clock, size, piece):
    server = FakeServer(NOISE[:size])
    async with mounted() as m:
        inode = m.inode(size)
        file = inode.open(server.open())
        assert await read_all(file, size, piece) == NOISE[:size]
        assert server.bytes_asked == size
        assert await file.read(size, 10) == b""
        assert await file.read(size + K, 10) == b""
        await file.aclose()
        await inode.aclose()


async def test_an_empty_file_needs_no_server(autojump_clock):
    server = FakeServer(b"")
    async with mounted() as m:
        inode = m.inode(0)
        file = inode.open(server.open())
        assert await file.read(0, 4096) == b""
        assert not server.asked
        await file.aclose()
        await inode.aclose()


async def test_a_read_over_several_buffers_is_joined_and_counted(autojump_clock):
    server = FakeServer(NOISE[: 4 * MIB])
    async with mounted() as m:
        inode = m.inode(4 * MIB)
        file = inode.open(server.open())
        assert await file.read(MIB - 5, 2 * MIB + 10) == NOISE[MIB - 5 : 3 * MIB + 5]
        assert m.stats.application.joined == 1
        assert server.in_flight_peak == 4
        await file.aclose()
        await inode.aclose()


@pytest.mark.parametrize("piece", [256 * KIB, 128 * KIB])
async def test_a_sequential_reader_keeps_eight_reads_in_flight(autojump_clock, piece):
    size = 16 * MIB
    server = FakeServer(NOISE[:size], latency=0.05)
    async with mounted(rsize=256 * KIB) as m:
        inode = m.inode(size)
        file = inode.open(server.open())
        assert await read_all(file, size, piece) == NOISE[:size]
        assert server.in_flight_peak >= 8
        assert server.bytes_asked == size
        lengths = [a.length for a in server.asked]
        assert sum(length == 256 * KIB for length in lengths) >= 60
        # Used-up buffers go back at once: no more than the window and what is being read.
        assert m.stats.memory.buffers_bytes_peak < 12 * MIB
        await file.aclose()
        await inode.aclose()


async def test_what_somebody_waits_for_goes_first_then_readahead_in_order(autojump_clock):
    server = FakeServer(NOISE[: 16 * MIB])
    async with mounted() as m:
        inode = m.inode(16 * MIB)
        file = inode.open(server.open())
        for n in range(3):
            await file.read(n * MIB, MIB)
        starts = [a.start for a in server.asked]
        assert starts == sorted(starts)
        assert [a.urgent for a in server.asked[:3]] == [True, True, False]
        await file.aclose()
        await inode.aclose()


async def test_reads_of_one_handle_at_once_and_out_of_order(autojump_clock):
    size = 16 * MIB
    server = FakeServer(NOISE[:size], latency=0.02)
    piece = 128 * KIB
    async with mounted() as m:
        inode = m.inode(size)
        file = inode.open(server.open())

        async def check(start):
            assert bytes(await file.read(start, piece)) == NOISE[start : start + piece]

        for group in range(0, size, 8 * piece):
            async with trio.open_nursery() as nursery:
                for n in (1, 0, 3, 2, 5, 4, 7, 6):
                    nursery.start_soon(check, group + n * piece)
        assert server.bytes_asked == size
        assert server.in_flight_peak >= 4
        await file.aclose()
        await inode.aclose()


async def test_two_readers_of_a_cold_range_fetch_it_once(autojump_clock):
    size = 6 * MIB
    server = FakeServer(NOISE[:size])
    async with mounted() as m:
        inode = m.inode(size)
        files = [inode.open(server.open()) for _ in range(2)]

        async def run(file, piece):
            assert await read_all(file, size, piece) == NOISE[:size]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, files[0], 128 * KIB)
            nursery.start_soon(run, files[1], MIB)
        assert server.bytes_asked == size
        for file in files:
            await file.aclose()
        await inode.aclose()


async def test_the_end_of_the_service_nursery_is_an_error_not_a_hang(autojump_clock):
    server = FakeServer(NOISE[:MIB])
    server.gate = trio.Event()
    async with trio.open_nursery() as outer, mounted() as m:
        inode = m.inode(MIB)
        file = inode.open(server.open())
        failed = trio.Event()

        async def reader():
            with pytest.raises(NetfsError):
                await file.read(0, K)
            failed.set()

        outer.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        inode._issuer.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await failed.wait()
            await file.aclose()
            await inode.aclose()
            assert m.netfs.pool.in_use == 0
    late = m.inode(MIB).open(server.open())
    with pytest.raises(NetfsError):
        await late.read(0, K)
    assert m.netfs.pool.in_use == 0


@pytest.mark.parametrize("rsize", [0, K - 1, K + 1])
async def test_a_bad_rsize_is_refused(rsize):
    async with trio.open_nursery() as nursery:
        with pytest.raises(ValueError, match="rsize"):
            Netfs(nursery=nursery, config=ReadConfig(), stats=Stats(), rsize=rsize, capacity=int)


async def test_a_closed_handle_and_a_closed_inode_refuse(autojump_clock):
    server = FakeServer(NOISE[:K])
    async with mounted() as m:
        inode = m.inode(K)
        file = inode.open(server.open())
        await file.aclose()
        await file.aclose()
        with pytest.raises(RuntimeError):
            await file.read(0, 1)
        await inode.aclose()
        await inode.aclose()
        with pytest.raises(RuntimeError):
            inode.open(server.open())
