"""Small files stored and found whole, many in a hop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from netfsfuse.fscache import whole
from netfsfuse.types import CACHE_BLOCK, FileAttr
from tests.fscache.holding import ATTR, Gate, Setup, content_in

SMALL = ATTR._replace(size=1000)


def attrs(count: int) -> list[tuple[FileAttr, str]]:
    return [(SMALL._replace(file_id=100 + n, size=1 + 37 * n), f"d/f{n}") for n in range(count)]


def contents(files: list[tuple[FileAttr, str]]) -> list[memoryview]:
    return [memoryview(os.urandom(attr.size)) for attr, _ in files]


async def keep(setup: Setup, files: list[tuple[FileAttr, str]], data: list[memoryview]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setup.fscache.maintain)
        for (attr, path), each in zip(files, data, strict=True):
            await setup.fscache.store_whole(attr, path, each)
        await setup.fscache._whole.stop()
        nursery.cancel_scope.cancel()


async def test_kept_and_found_again(tmp_path: Path) -> None:
    """In this mount and in the next; by whoever opens the file as well."""
    setup = Setup(tmp_path)
    files = attrs(300)
    data = contents(files)
    await keep(setup, files, data)
    assert await setup.fscache.load_whole(files) == data
    assert setup.stats.bytes_stored == setup.stats.bytes_read == sum(map(len, data))
    await setup.reopen()
    assert await setup.fscache.load_whole(files) == data
    file = await setup.acquire(*files[9])
    assert await content_in(file, files[9][0].size) == bytes(data[9])
    await file.aclose()
    await setup.fscache.aclose()


async def test_only_under_the_same_record(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    files = attrs(5)
    await keep(setup, files, contents(files))
    changed = [(attr._replace(write=attr.write + 1), path) for attr, path in files]
    absent = [(attr._replace(file_id=9), path) for attr, path in files[:1]]
    assert await setup.fscache.load_whole(changed + absent) == [None] * 6
    await setup.fscache.aclose()


async def test_a_damaged_one_is_not_found(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    files = attrs(3)
    data = contents(files)
    await keep(setup, files, data)
    place = setup.fscache.locate(*files[1])
    assert place is not None
    name = place["object"]
    backing = tmp_path / "volumes" / place["volume"] / name[:2] / name
    backing.write_bytes(bytes(files[1][0].size))
    os.utime(backing)
    await setup.reopen()
    assert await setup.fscache.load_whole(files) == [data[0], None, data[2]]
    await setup.fscache.aclose()


async def test_what_is_kept_is_stored_before_the_cache_is_closed(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    files = attrs(100)
    data = contents(files)
    for (attr, path), each in zip(files, data, strict=True):
        await setup.fscache.store_whole(attr, path, each)
    await setup.reopen()
    assert await setup.fscache.load_whole(files) == data
    await setup.fscache.aclose()


async def test_closed_while_some_are_being_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a thread has in its hands is stored as well."""
    setup = Setup(tmp_path)
    files = attrs(40)
    data = contents(files)
    gate = Gate(monkeypatch, "pwritev")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setup.fscache.maintain)
        for (attr, path), each in zip(files, data, strict=True):
            await setup.fscache.store_whole(attr, path, each)
        await trio.to_thread.run_sync(gate.reached.wait)
        nursery.start_soon(setup.fscache.aclose)
        await trio.testing.wait_all_tasks_blocked()
        gate.opened.set()
    setup.open()
    assert await setup.fscache.load_whole(files) == data
    await setup.fscache.aclose()


async def test_the_queue_is_bounded(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """With nobody to store, readers wait a moment each, and what is too much is refused."""
    setup = Setup(tmp_path)
    big = SMALL._replace(size=CACHE_BLOCK)
    count = whole.QUEUE_BYTES // CACHE_BLOCK
    begin = trio.current_time()
    for number in range(count + 3):
        attr = big._replace(file_id=1000 + number)
        await setup.fscache.store_whole(attr, f"f{number}", memoryview(bytes(CACHE_BLOCK)))
    assert setup.stats.refused == 3
    assert trio.current_time() - begin <= 4 * whole.ROOM_TIMEOUT
    setup.fscache._whole._queue.clear()
    await setup.fscache.aclose()


@pytest.mark.parametrize("call", ["create", "pwritev", "setxattr"])
async def test_a_failing_disk_costs_nobody_anything(tmp_path: Path, call: str) -> None:
    setup = Setup(tmp_path)
    setup.faults.fail(call, 5)
    files = attrs(10)
    await keep(setup, files, contents(files))
    assert setup.stats.errors >= 1
    found = await setup.fscache.load_whole(files)
    assert len(found) == 10
    await setup.fscache.aclose()


async def test_an_older_generation_does_not_follow_a_newer(tmp_path: Path) -> None:
    """The file was opened anew before what was read of the old one came to be stored."""
    setup = Setup(tmp_path)
    old, new = SMALL, SMALL._replace(write=50, change=50)
    await setup.fscache.store_whole(old, "f", memoryview(bytes(1000)))
    file = await setup.acquire(new, "f")
    fresh = memoryview(os.urandom(1000))
    assert await file.write(0, fresh)
    await setup.fscache._whole.stop()
    assert await content_in(file, 1000) == bytes(fresh)
    assert await setup.fscache.load_whole([(old, "f")]) == [None]
    await file.aclose()
    await setup.fscache.aclose()


async def test_without_a_cache(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    await setup.fscache.aclose()
    await setup.fscache.store_whole(SMALL, "f", memoryview(bytes(1000)))
    assert await setup.fscache.load_whole([(SMALL, "f")]) == [None]
