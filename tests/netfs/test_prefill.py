"""A file that came whole with its open: the same answers as from any source, and none is asked."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.types import CACHE_BLOCK
from tests.netfs.fakes import NOISE, FakeServer, Mounted, mounted

K = CACHE_BLOCK


def prefilled(m: Mounted, data: bytes):
    inode = m.inode(len(data))
    inode.fill(memoryview(data))
    return inode


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(0, 2 * K),
    reads=st.lists(st.tuples(st.integers(0, 2 * K + 9), st.integers(1, 2 * K + 9)), max_size=8),
    retired_after=st.integers(0, 9),
)
def test_reads_are_those_of_the_file(
    size: int, reads: list[tuple[int, int]], retired_after: int
) -> None:
    """Before it is retired from memory, at once; afterwards from the server as it is then."""
    data, other = NOISE[:size], NOISE[5 : 5 + size]

    async def run() -> None:
        server = FakeServer(other)
        async with mounted(rsize=K) as m:
            inode = prefilled(m, data)
            file = inode.open(server.open())
            got = 0
            for number, (start, length) in enumerate(reads):
                if number == retired_after:
                    inode.retire()
                live = number < retired_after
                tasks = trio.lowlevel.current_statistics().tasks_living
                at_hand = file.read_now(start, length) if number % 2 else None
                assert not number % 2 or (at_hand is not None) is live
                answer = bytes(await file.read(start, length) if at_hand is None else at_hand)
                assert answer == (data if live else other)[start : start + length]
                assert trio.lowlevel.current_statistics().tasks_living == tasks
                if live:
                    assert not server.asked
                got += len(answer)
            application = m.stats.application
            assert (application.reads, application.bytes) == (len(reads), got)
            await file.aclose()
            assert inode.closes_at_once
            await inode.aclose()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_what_is_not_all_of_the_file_fills_nothing(autojump_clock):
    async with mounted() as m:
        inode = m.inode(10)
        for length in (9, 11):
            with pytest.raises(ValueError, match="10"):
                inode.fill(memoryview(NOISE[:length]))
        await inode.aclose()


async def test_a_retired_inode_is_filled_no_more(autojump_clock):
    """Its record is not the file's."""
    server = FakeServer(b"new bytes!")
    async with mounted() as m:
        inode = m.inode(10)
        inode.retire()
        inode.fill(memoryview(b"old bytes!"))
        file = inode.open(server.open())
        assert bytes(await file.read(0, 10)) == b"new bytes!"
        await file.aclose()
        await inode.aclose()


async def test_a_new_size_ends_it(autojump_clock):
    server = FakeServer(NOISE[:50])
    async with mounted() as m:
        inode = prefilled(m, NOISE[:100])
        file = inode.open(server.open())
        inode.resize(50)
        assert bytes(await file.read(0, 100)) == NOISE[:50]
        assert server.asked
        await file.aclose()
        await inode.aclose()


async def test_it_takes_no_buffer_and_closes_without_a_checkpoint(autojump_clock):
    async with mounted() as m:
        inode = prefilled(m, NOISE[:100])
        file = inode.open(FakeServer(b"").open())
        with trio.CancelScope() as scope:
            scope.cancel()  # any checkpoint would end it
            assert bytes(await file.read(10, 200)) == NOISE[10:100]
            assert file.closes_at_once
            await file.aclose()
            assert inode.closes_at_once
            inode.close_at_once()
        assert not scope.cancelled_caught
        assert m.stats.memory.buffers_bytes_peak == 0
        with pytest.raises(RuntimeError):
            inode.open(FakeServer(b"").open())
        await inode.aclose()  # twice is nothing


async def test_what_is_in_memory_is_at_hand_and_the_rest_leaves_no_trace(
    autojump_clock: trio.testing.MockClock,
) -> None:
    server = FakeServer(NOISE)
    async with mounted(rsize=K) as m:
        inode = m.inode(len(NOISE))
        file = inode.open(server.open())
        assert file.read_now(0, 100) is None
        assert not server.asked
        assert m.stats.application.reads == 0
        await file.read(0, K)
        answer = file.read_now(100, 100)
        assert answer is not None
        assert bytes(answer) == NOISE[100:200]
        assert file.read_now(len(NOISE), 100) == b""
        assert m.stats.application.reads == 3
        del answer
        await file.aclose()
        with pytest.raises(RuntimeError):
            file.read_now(0, 1)
        await inode.aclose()
