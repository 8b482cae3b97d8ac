"""Reading from the server: whole answers, joining, short reads, errors, readahead, memory."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.config import ReadConfig
from netfsfuse.errors import NetfsError, ProtocolError, Stale
from netfsfuse.netfs import PAGE, Netfs
from netfsfuse.stats import Stats
from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import KIB, MIB, NOISE, FakeServer, mounted, stale

K = CACHE_BLOCK


async def read_all(file, size, piece=128 * KIB):
    out = bytearray()
    while True:
        data = bytes(await file.read(len(out), piece))  # the lent buffer goes back now
        out += data
        if len(data) < piece:
            assert len(out) == size
            return bytes(out)


async def test_a_cold_read_asks_for_whole_blocks_and_answers_exactly(autojump_clock):
    server = FakeServer(NOISE[:MIB])
    async with mounted() as m:
        inode = m.inode(MIB)
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


@pytest.mark.parametrize("piece", [MIB, 128 * KIB])
async def test_a_sequential_reader_keeps_eight_reads_in_flight(autojump_clock, piece):
    size = 16 * MIB
    server = FakeServer(NOISE[:size], latency=0.05)
    async with mounted() as m:
        inode = m.inode(size)
        file = inode.open(server.open())
        assert await read_all(file, size, piece) == NOISE[:size]
        assert server.in_flight_peak >= 8
        assert server.bytes_asked == size
        lengths = [a.length for a in server.asked]
        assert sum(length == MIB for length in lengths) >= 13
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
        assert server.in_flight_peak >= 7
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
        assert len(inode.table) * K == MIB  # nothing short is kept
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
        async def read(self, start, length, buffer, at, *, urgent):
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


async def test_random_reads_take_small_buffers_and_stay_within_the_budget(autojump_clock):
    size = 16 * MIB
    budget = 4 * MIB
    server = FakeServer(NOISE[:size])
    async with mounted(buffers=budget) as m:
        inode = m.inode(size)
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
            Netfs(nursery=nursery, config=ReadConfig(), stats=Stats(), rsize=rsize)


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
