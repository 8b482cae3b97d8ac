"""FsCache and its threads: cancellation, descriptors, closing."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from netfsfuse.fscache.threads import DROPPED_MAX, THREADS
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from tests.fscache.holding import ATTR, CONTENT, SIZE, Gate, content_in


@pytest.mark.parametrize(("operation", "name"), [("read", "preadv"), ("write", "pwritev")])
async def test_a_cancelled_caller_leaves_only_when_the_thread_is_done(
    setup, monkeypatch, operation, name
):
    """Else its buffer would be used again while the thread still fills or stores it."""
    file = await setup.acquire()
    await file.write(0, CONTENT)
    target = memoryview(bytearray(CONTENT))
    gate = Gate(monkeypatch, name)
    left = trio.Event()

    async def call():
        await getattr(file, operation)(0, target)

    async def call_and_leave(scope):
        with scope:
            await call()
            await trio.lowlevel.checkpoint()
        left.set()

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call_and_leave, scope)
        await gate.wait_reached()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert not left.is_set()
        gate.opened.set()
    assert left.is_set()
    assert scope.cancelled_caught
    await file.aclose()


async def test_a_caller_waiting_for_a_thread_is_cancelled_at_once(setup, monkeypatch):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    gate = Gate(monkeypatch, "preadv")
    async with trio.open_nursery() as nursery:
        for _ in range(THREADS):
            nursery.start_soon(content_in, file)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0) as scope:
            await content_in(file)
        assert scope.cancelled_caught
        gate.opened.set()
    assert await content_in(file) == CONTENT
    await file.aclose()


async def test_descriptors_come_back(setup):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1, 3 * DROPPED_MAX):
        file = await setup.acquire(ATTR._replace(file_id=number))
        await file.write(0, CONTENT)
        await file.aclose()
        assert len(os.listdir("/proc/self/fd")) <= before + 2 * DROPPED_MAX
    await setup.fscache.aclose()
    assert len(os.listdir("/proc/self/fd")) < before


async def test_many_tasks_open_one_object_at_once(setup):
    file = await setup.acquire()
    await file.write(0, CONTENT)
    await file.aclose()
    await setup.reopen()
    before = len(os.listdir("/proc/self/fd"))
    file = await setup.acquire()
    found = []

    async def read():
        found.append(await content_in(file))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(read)
    assert found == [CONTENT] * 8
    await file.aclose()
    other = await setup.acquire(ATTR._replace(file_id=99))
    await other.query_occupancy(0, SIZE)
    assert len(os.listdir("/proc/self/fd")) == before
    await other.aclose()


async def test_closing_waits_for_calls_and_gives_everything_back(setup, monkeypatch):
    before = len(os.listdir("/proc/self/fd"))
    file = await setup.acquire()
    closed = trio.Event()
    results = []
    gate = Gate(monkeypatch, "pwritev")

    async def store():
        results.append(await file.write(0, CONTENT))

    closing = trio.CancelScope()

    async def close():
        with closing:
            await setup.fscache.aclose()
            closed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store)
        await gate.wait_reached()
        nursery.start_soon(close)
        await trio.testing.wait_all_tasks_blocked()
        assert not closed.is_set()
        closing.cancel()  # to no avail: it is shielded
        await trio.testing.wait_all_tasks_blocked()
        assert not closed.is_set()
        gate.opened.set()
    assert closed.is_set()
    assert len(results) == 1
    await file.aclose()
    assert len(os.listdir("/proc/self/fd")) < before
    assert not await file.write(0, CONTENT)
    setup.open()
    assert await content_in(await setup.acquire()) == CONTENT


async def test_without_a_thread_nothing_is_stored_and_nothing_fails(setup, monkeypatch):
    """ "can't start new thread": a limit on processes, or memory is short."""
    file = await setup.acquire()
    await file.write(0, CONTENT)
    other = ATTR._replace(file_id=8)
    plain = trio.to_thread.run_sync

    async def no_thread(*arguments, **keywords):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)
    target = memoryview(bytearray(SIZE))
    assert not await file.write(0, CONTENT)
    assert await setup.fscache.load_whole([(other, "g")]) == [None]
    unopened = await setup.acquire(other, "g")
    assert not await unopened.read(0, target)
    assert await unopened.query_occupancy(0, SIZE) == []
    await unopened.aclose()
    await setup.fscache.store_whole(other, "g", CONTENT)
    await setup.fscache._whole._store_some()
    assert setup.stats.errors == 5
    assert not setup.fscache.health.dead
    monkeypatch.setattr(trio.to_thread, "run_sync", plain)
    assert await content_in(file) == CONTENT
    await file.aclose()


async def test_a_disk_that_hangs_is_not_waited_for(setup, monkeypatch):
    """A look-up gives up after a while and leaves its thread alone; from then on nothing is asked
    until that thread comes back."""
    await setup.fscache.store_whole(ATTR, "f", CONTENT)
    await setup.fscache._whole._store_some()
    monkeypatch.setattr("netfsfuse.fscache.io.CACHE_TIMEOUT", 0.02)
    gate = Gate(monkeypatch, "preadv")
    with trio.fail_after(5):
        assert await setup.fscache.load_whole([(ATTR, "f")]) == [None]
        await gate.wait_reached()
        setup.now += CACHE_TIMEOUT
        monkeypatch.setattr("netfsfuse.fscache.io.CACHE_TIMEOUT", 3600)
        assert await setup.fscache.load_whole([(ATTR, "f")]) == [None]
        file = await setup.acquire(ATTR._replace(file_id=8))
        assert not await file.write(0, CONTENT)
        assert await file.query_occupancy(0, SIZE) == []
        assert await content_in(file) is None
        await file.aclose()
        gate.opened.set()
        while setup.fscache.health.hangs:
            await trio.sleep(0.001)
        assert await setup.fscache.load_whole([(ATTR, "f")]) == [CONTENT]
    assert setup.stats.errors == 0


async def test_only_so_many_objects_are_held_open(setup, monkeypatch, caplog):
    """The others are read and written without the cache, until one is closed."""
    setup.fscache._held_most = 2
    files = [await setup.acquire(ATTR._replace(file_id=n), f"f{n}") for n in range(4)]
    assert [await file.write(0, CONTENT) for file in files] == [True, True, False, False]
    assert [await content_in(file) for file in files] == [CONTENT, CONTENT, None, None]
    assert await files[2].query_occupancy(0, SIZE) == []
    await files[0].aclose()
    assert await files[3].write(0, CONTENT)
    assert await content_in(files[3]) == CONTENT
    for file in files:
        await file.aclose()
    assert setup.fscache._held == 0
    assert setup.stats.errors == 0
    assert [record.getMessage()[:7] for record in caplog.records] == ["2 files"]
