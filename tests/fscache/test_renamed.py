"""What is kept of a file whose path is part of its key: it is renamed here, or its path is no part
of the key any more."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from cachefiles.folder import PATH_XATTR
from netfsfuse.fscache.io import FsCache
from netfsfuse.stats import CacheStats
from netfsfuse.types import CACHE_BLOCK, FileAttr
from tests.fscache.holding import ATTR, CONTENT, DERIVED, Setup, content_in

SMALL = DERIVED._replace(size=1000)


async def settled(setup: Setup) -> None:
    """All that was to be done soon is done."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(setup.fscache.maintain)
        await trio.testing.wait_all_tasks_blocked()
        await setup.fscache._whole.stop()
        nursery.cancel_scope.cancel()


async def keep(setup: Setup, path: str, attr: FileAttr = DERIVED) -> None:
    file = await setup.acquire(attr, path)
    assert await file.write(0, CONTENT)
    await file.aclose()


async def found(setup: Setup, path: str, attr: FileAttr = DERIVED) -> bool:
    file = await setup.acquire(attr, path)
    try:
        return await content_in(file, attr.size) == CONTENT[: attr.size]
    finally:
        await file.aclose()


def paths(setup: Setup) -> list[bytes]:
    """As listings show them."""
    files = (setup.directory / "volumes").glob("*/*/*")
    return [os.getxattr(path, PATH_XATTR) for path in files if path.suffix != ".map"]


async def test_it_is_found_at_its_new_path(setup: Setup) -> None:
    await keep(setup, "tmp")
    setup.fscache.renamed(DERIVED, "tmp", DERIVED, "d/f")
    await settled(setup)
    assert paths(setup) == [b"d/f"]
    assert not await found(setup, "tmp")
    assert await found(setup, "d/f")
    await setup.reopen()
    assert await found(setup, "d/f")


async def test_it_takes_the_place_of_what_was_there(setup: Setup) -> None:
    """As an editor saves: the old file's is not found under the new one's record, nor brought
    back by one who has it open."""
    old = DERIVED._replace(file_id=0, write=1, change=1, creation=1, access=1)
    new = DERIVED._replace(file_id=0)
    await keep(setup, "f", old)
    reader = await setup.acquire(old, "f")
    assert await content_in(reader) == CONTENT
    await keep(setup, "tmp", new)
    setup.fscache.renamed(new, "tmp", new, "f")
    await settled(setup)
    assert await found(setup, "f", new)
    assert await content_in(reader) is None
    assert not await reader.write(0, memoryview(bytes(CACHE_BLOCK)))
    await reader.aclose()
    assert await found(setup, "f", new)
    assert not await found(setup, "f", old)


async def test_a_small_file_that_is_to_be_stored_still(setup: Setup) -> None:
    await setup.fscache.store_whole(SMALL, "tmp", CONTENT[:1000])
    setup.fscache.renamed(SMALL, "tmp", SMALL, "f")
    await settled(setup)
    assert await setup.fscache.load_whole([(SMALL, "f"), (SMALL, "tmp")]) == [CONTENT[:1000], None]


async def test_one_that_is_being_changed_ends_at_its_new_path(setup: Setup) -> None:
    file = await setup.acquire(DERIVED, "tmp")
    assert await file.begin_changes()
    assert await file.write(0, CONTENT)
    setup.fscache.renamed(DERIVED, "tmp", DERIVED, "f")
    done = DERIVED._replace(write=30, change=30)
    assert await file.restamp(done)
    await file.aclose()
    await settled(setup)
    assert await found(setup, "f", done)
    assert not await found(setup, "tmp", done)


async def test_one_that_is_read_is_read_on(setup: Setup) -> None:
    await keep(setup, "tmp")
    file = await setup.acquire(DERIVED, "tmp")
    assert await content_in(file) == CONTENT
    setup.fscache.renamed(DERIVED, "tmp", DERIVED, "f")
    await settled(setup)
    assert await content_in(file) == CONTENT
    await file.aclose()


@pytest.mark.parametrize(
    "after", [DERIVED._replace(write=8, change=8), DERIVED._replace(size=1), ATTR]
)
async def test_not_where_its_content_may_be_another(setup: Setup, after: FileAttr) -> None:
    await keep(setup, "tmp")
    setup.fscache.renamed(DERIVED, "tmp", after, "f")
    await settled(setup)
    assert not await found(setup, "f", after)
    assert not await found(setup, "f")


async def test_what_is_kept_of_another_version_is_not_taken_for_it(setup: Setup) -> None:
    """The record on the disk counts, whatever the caller believes the file to have been."""
    await keep(setup, "tmp", DERIVED._replace(write=8))
    setup.fscache.renamed(DERIVED, "tmp", DERIVED, "f")
    await settled(setup)
    assert not await found(setup, "f")
    assert setup.stats.errors == 0


async def test_a_disk_that_fails(setup: Setup) -> None:
    await keep(setup, "tmp")
    setup.faults.fail("rename", 5)
    setup.fscache.renamed(DERIVED, "tmp", DERIVED, "f")
    await settled(setup)
    setup.faults.heal()
    assert setup.stats.errors == 1
    setup.now += 60  # it is given a rest
    assert not await found(setup, "f")


async def test_without_a_cache() -> None:
    FsCache(None, None, CacheStats()).renamed(DERIVED, "tmp", DERIVED, "f")


READ = DERIVED._replace(access=DERIVED.access + 5)
"""As the server describes it when it was read for the first time."""


@pytest.mark.parametrize("way", ["read", "occupancy", "change"])
async def test_it_is_found_when_it_was_read(setup: Setup, way: str) -> None:
    await keep(setup, "f")
    file = await setup.acquire(READ, "f")
    if way == "read":
        assert await content_in(file) == CONTENT
    elif way == "occupancy":
        assert await file.query_occupancy(0, DERIVED.size) == [(0, DERIVED.size)]
    else:
        assert await file.begin_changes()
        assert await file.discard(0, 1)
        assert await file.query_occupancy(0, DERIVED.size) == [(CACHE_BLOCK, DERIVED.size)]
    await file.aclose()
    assert await found(setup, "f", READ) is (way != "change")


async def test_a_small_one_is_found_when_it_was_read(setup: Setup) -> None:
    await setup.fscache.store_whole(SMALL, "f", CONTENT[:1000])
    await settled(setup)
    read = SMALL._replace(access=SMALL.access + 5)
    assert await setup.fscache.load_whole([(read, "f")]) == [CONTENT[:1000]]


@pytest.mark.parametrize("change", [{"write": 9, "change": 9}, {"creation": 4}, {"file_id": 8}])
async def test_not_what_is_kept_of_another_file(setup: Setup, change: dict[str, int]) -> None:
    """At its path."""
    await keep(setup, "f")
    assert not await found(setup, "f", READ._replace(**change))
    assert not await found(setup, "g", READ)
