"""A file of ours that is being changed: valid for its writer alone, and warm when it is done."""

from __future__ import annotations

import os
import random

import pytest
import trio
import trio.testing

from netfsfuse.fscache import changes
from netfsfuse.fscache.small import SmallContent
from netfsfuse.fscache.turns import Turns
from netfsfuse.types import CACHE_BLOCK, ByteRange
from tests.fscache.holding import ATTR, CONTENT, SIZE, Gate, Setup, content_in

NEW = ATTR._replace(size=0, creation=50, write=50, change=50, access=50)
"""As the server states a file just made: its times are one, so that the path is in its key."""
DONE = NEW._replace(size=1000, write=60, change=60, access=60)
DATA = memoryview(os.urandom(2 * CACHE_BLOCK))


@pytest.fixture(autouse=True)
async def stores(setup):
    """What stores whole files is at work."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setup.fscache.maintain)
        yield
        nursery.cancel_scope.cancel()


async def settled(setup: Setup):
    """What is queued is stored."""
    await setup.fscache._whole.stop()


@pytest.mark.parametrize("done", [DONE, DONE._replace(creation=60)])
async def test_a_small_file_just_written_is_warm(setup, done):
    file = await setup.acquire(NEW)
    assert await file.begin_changes()
    assert await file.resize(500)
    assert await file.write(0, DATA[:500])
    assert await file.query_occupancy(0, 500) == [ByteRange(0, 500)]
    assert await file.resize(1000)
    assert await file.query_occupancy(0, 1000) == []
    assert await file.write(0, DATA[:1000])
    assert await content_in(file, 1000) == DATA[:1000]
    assert await file.restamp(done)
    await settled(setup)
    assert await content_in(file, 1000) == DATA[:1000]
    await file.aclose()
    assert await setup.fscache.load_whole([(done, "f")]) == [DATA[:1000]]
    again = await setup.acquire(done)
    assert await content_in(again, 1000) == DATA[:1000]
    await again.aclose()


async def test_a_small_file_is_not_stored_before_its_end(setup):
    file = await setup.acquire(NEW)
    assert await file.begin_changes()
    await file.resize(1000)
    await file.write(0, DATA[:1000])
    await file.aclose()
    await settled(setup)
    assert not list(setup.directory.glob("volumes/*/*/*"))


async def test_what_was_stored_is_not_found_by_others_while_it_is_changed(setup):
    before = await setup.acquire()
    assert await before.write(0, CONTENT)
    ours = await setup.acquire()
    assert await ours.begin_changes()
    assert not await before.write(0, CONTENT)
    assert await content_in(before) is None
    assert await setup.acquire() is None
    assert await setup.fscache.load_whole([(ATTR, "f")]) == [None]
    await ours.aclose()
    await before.aclose()
    after = await setup.acquire()
    assert await content_in(after) is None
    await after.aclose()


async def test_an_acquire_under_other_content_ends_the_change(setup):
    ours = await setup.acquire()
    assert await ours.begin_changes()
    other = await setup.acquire(ATTR._replace(write=9, change=9))
    assert not await ours.resize(5)
    assert not await ours.restamp(ATTR._replace(write=10, change=10))
    assert await other.write(0, CONTENT)
    assert await content_in(other) == CONTENT
    await ours.aclose()
    await other.aclose()


async def test_a_size_that_was_not_told_is_not_believed(setup):
    file = await setup.acquire(NEW)
    assert await file.begin_changes()
    await file.resize(1000)
    await file.write(0, DATA[:1000])
    assert not await file.restamp(DONE._replace(size=999))
    assert not await file.write(0, DATA[:1000])
    await file.aclose()
    await settled(setup)
    assert not list(setup.directory.glob("volumes/*/*/*"))


LARGE = DONE._replace(size=SIZE)


@pytest.fixture
def hops(monkeypatch):
    made = []
    run_sync = trio.to_thread.run_sync

    async def counted(*args, **kwargs):
        made.append(args)
        return await run_sync(*args, **kwargs)

    monkeypatch.setattr(trio.to_thread, "run_sync", counted)
    return made


async def found(setup: Setup, attr, path="f"):
    """What another opener finds, of all blocks."""
    file = await setup.acquire(attr, path)
    there = await file.query_occupancy(0, attr.size)
    data = await content_in(file, attr.size)
    await file.aclose()
    return there, data


@pytest.mark.parametrize("done", [LARGE, LARGE._replace(creation=60)])
@pytest.mark.parametrize("step", [CACHE_BLOCK, 2 * CACHE_BLOCK, 30_000])
async def test_a_large_file_just_written_is_warm(setup, hops, done, step):
    file = await setup.acquire(NEW)
    assert await file.begin_changes()
    assert not hops
    stored = 0
    for end in [*range(step, SIZE, step), SIZE]:
        assert await file.resize(end)
        whole = end if end == SIZE else end // CACHE_BLOCK * CACHE_BLOCK
        if whole > stored:
            assert await file.write(stored, CONTENT[stored:whole])
            stored = whole
    assert await content_in(file) == CONTENT
    assert await file.restamp(done)
    assert await content_in(file) == CONTENT
    assert not file.changing
    await file.aclose()
    assert await found(setup, done) == ([ByteRange(0, SIZE)], CONTENT)
    await setup.reopen()
    assert await found(setup, done) == ([ByteRange(0, SIZE)], CONTENT)


async def warm(setup: Setup, attr=ATTR):
    file = await setup.acquire(attr)
    assert await file.write(0, CONTENT[: attr.size])
    await file.aclose()


@pytest.mark.parametrize("path", [True, False])
async def test_a_block_that_is_overwritten_costs_itself(setup, hops, path):
    """Also where the server's creation time becomes evidence, and the key another."""
    attr = ATTR._replace(creation=6, access=6) if path else ATTR
    done = ATTR._replace(creation=6, access=7, write=20, change=20)
    await warm(setup, attr)
    file = await setup.acquire(attr)
    assert await file.begin_changes()
    assert await file.discard(CACHE_BLOCK + 5, CACHE_BLOCK + 6)
    del hops[:]
    assert await file.resize(SIZE)
    assert not hops
    assert await file.restamp(done)
    await file.aclose()
    there = [ByteRange(0, CACHE_BLOCK), ByteRange(2 * CACHE_BLOCK, SIZE)]
    assert (await found(setup, done))[0] == there


async def test_appending_keeps_what_is_there(setup):
    await warm(setup)
    file = await setup.acquire()
    assert await file.begin_changes()
    assert await file.resize(SIZE + CACHE_BLOCK)
    assert await file.query_occupancy(0, SIZE + CACHE_BLOCK) == [ByteRange(0, 3 * CACHE_BLOCK)]
    tail = bytes(CONTENT[3 * CACHE_BLOCK :]) + bytes(CACHE_BLOCK)
    assert not await file.write(3 * CACHE_BLOCK, memoryview(tail)[:500])
    assert await file.write(3 * CACHE_BLOCK, memoryview(tail))
    done = ATTR._replace(size=SIZE + CACHE_BLOCK, write=20, change=20)
    assert await file.restamp(done)
    await file.aclose()
    assert (await found(setup, done))[1] == bytes(CONTENT[: 3 * CACHE_BLOCK]) + tail


async def test_truncated_and_written_anew(setup):
    await warm(setup)
    file = await setup.acquire()
    assert await file.begin_changes()
    assert await file.resize(0)
    assert await file.resize(2 * CACHE_BLOCK)
    assert await file.query_occupancy(0, 2 * CACHE_BLOCK) == []
    assert await file.write(0, DATA)
    done = ATTR._replace(size=2 * CACHE_BLOCK, write=20, change=20)
    assert await file.restamp(done)
    await file.aclose()
    assert (await found(setup, done))[1] == DATA


async def test_what_is_not_restamped_is_dropped(setup):
    await warm(setup)
    file = await setup.acquire()
    assert await file.begin_changes()
    assert await file.write(0, CONTENT)
    await file.aclose()
    assert await found(setup, ATTR) == ([], None)
    assert setup.stats.errors == 0


@pytest.mark.parametrize("creation", [5, 20])
async def test_other_times_alone_keep_all(setup, creation):
    """Nothing was begun; with the creation times as evidence or not."""
    await warm(setup)
    file = await setup.acquire()
    done = ATTR._replace(creation=creation, write=20, change=21, access=20)
    assert await file.restamp(done)
    assert await content_in(file) == CONTENT
    assert await file.begin_changes()
    await file.aclose()
    await warm(setup)
    again = await setup.acquire()
    assert await again.restamp(done)
    await again.aclose()
    assert await found(setup, done) == ([ByteRange(0, SIZE)], CONTENT)


async def test_a_store_on_its_way_does_not_bring_a_discarded_block_back(setup, monkeypatch):
    await warm(setup)
    file = await setup.acquire()
    assert await file.begin_changes()
    gate = Gate(monkeypatch, "pwritev")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.write, 0, CONTENT[: 2 * CACHE_BLOCK])
        await gate.wait_reached()
        nursery.start_soon(file.discard, CACHE_BLOCK, CACHE_BLOCK + 1)
        await trio.testing.wait_all_tasks_blocked()
        gate.opened.set()
    there = [ByteRange(0, CACHE_BLOCK), ByteRange(2 * CACHE_BLOCK, SIZE)]
    assert await file.query_occupancy(0, SIZE) == there
    await file.aclose()


async def test_of_two_stores_of_a_block_the_last_one_remains(setup):
    await warm(setup)
    file = await setup.acquire()
    assert await file.begin_changes()
    pieces = [memoryview(bytes([n]) * CACHE_BLOCK) for n in range(20)]
    async with trio.open_nursery() as nursery:
        for piece in pieces:
            nursery.start_soon(file.write, 0, piece)
            await trio.testing.wait_all_tasks_blocked(0)
    assert await content_in(file, CACHE_BLOCK) == pieces[-1]
    await file.aclose()


@pytest.mark.parametrize("step", ["begin", "discard", "resize", "restamp"])
async def test_a_disk_that_hangs_loses_the_object_and_keeps_no_write(setup, monkeypatch, step):
    monkeypatch.setattr(changes, "CACHE_TIMEOUT", 0.05)
    monkeypatch.setattr(changes, "FINISH_TIMEOUT", 0.05)
    await warm(setup)
    file = await setup.acquire()
    if step != "begin":
        assert await file.begin_changes()
    if step == "restamp":
        assert await file.discard(0, 1)
    gate = Gate(monkeypatch, {"begin": "fsync", "restamp": "fdatasync"}.get(step, "pwritev"))
    done = ATTR._replace(write=20, change=20)
    call = {
        "begin": file.begin_changes,
        "discard": lambda: file.discard(0, 1),
        "resize": lambda: file.resize(SIZE + 1),
        "restamp": lambda: file.restamp(done),
    }[step]
    with trio.fail_after(5):
        assert not await call()
    assert gate.reached.is_set()
    assert not await file.discard(0, 1)
    assert not await file.restamp(done)
    gate.opened.set()
    await file.aclose()
    await setup.reopen()
    assert await found(setup, ATTR) == ([], None)
    assert setup.stats.errors == 0


@pytest.mark.parametrize("call", ["setxattr", "fsync", "fdatasync", "fallocate", "preadv"])
async def test_a_failing_disk_loses_the_object(setup, call):
    await warm(setup)
    file = await setup.acquire()
    setup.faults.fail(call, 28)
    results = [await file.begin_changes(), await file.discard(0, 1)]
    results.append(await file.restamp(ATTR._replace(write=20, change=20)))
    assert results == sorted(results, reverse=True)
    assert not results[-1]
    assert setup.stats.errors == 1
    await file.aclose()
    setup.now += 100
    assert (await found(setup, ATTR._replace(write=20, change=20)))[0] == []


async def test_closed_while_it_begins(setup, monkeypatch):
    await warm(setup)
    file = await setup.acquire()
    gate = Gate(monkeypatch, "fsync")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.begin_changes)
        await gate.wait_reached()
        await file.aclose()
        gate.opened.set()
    assert await found(setup, ATTR) == ([], None)


@pytest.mark.parametrize("seed", range(30))
async def test_turns(seed):
    """In the order of their calls, whatever the order of waking."""
    dice = random.Random(seed)
    turns = Turns()
    seen = dict.fromkeys(range(8), -1)

    async def call(number, start, end):
        mine = turns.enter(start, end)
        try:
            await turns.wait(mine)
            for _ in range(dice.randrange(3)):
                await trio.lowlevel.checkpoint()
            for each in range(start, end):
                assert seen[each] < number
                seen[each] = number
        finally:
            turns.leave(mine)

    async with trio.open_nursery() as nursery:
        for number in range(40):
            start = dice.randrange(8)
            nursery.start_soon(call, number, start, dice.randrange(start, 8) + 1)
            await trio.testing.wait_all_tasks_blocked()
    assert turns._calls == []


async def test_small_content():
    small = SmallContent(0)
    assert not small.write(0, DATA[:0])
    small.resize(10)
    assert not small.write(0, DATA[:9])
    assert small.write(0, DATA[:10])
    target = memoryview(bytearray(4))
    assert small.read(6, target)
    assert target == DATA[6:10]
    assert not small.read(7, target)
    assert small.whole(10) == DATA[:10]
    assert small.whole(9) is None
    small.resize(11)
    assert small.occupancy() == []
    assert small.data is None
    small.resize(CACHE_BLOCK)
    assert small.write(0, DATA[:CACHE_BLOCK])
    small.resize(SIZE)
    assert small.data == DATA[:CACHE_BLOCK]
    assert small.whole(SIZE) is None
    assert not small.write(CACHE_BLOCK, DATA[:CACHE_BLOCK])
    small.discard()
    assert small.data is None
