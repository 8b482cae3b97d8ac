"""An object that is opened to be stored: its files are made with the look-up, in fewer calls."""

from __future__ import annotations

import errno

import pytest

from cachefiles import Cache, CacheError, Faults, Found, Limits
from cachefiles.space import OBJECT_BYTES
from tests.cachefiles.conftest import SIZE, backing_files, content_of, read_all

CONTENT = content_of(SIZE)


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def watched(tmp_path, faults):
    cache = Cache.bind(tmp_path / "cache", faults)
    yield cache
    cache.close()


def store(volume, *, making, label=b"d/f"):
    """What the open came upon, and whether it was stored."""
    file, found = volume.open(b"k", SIZE, b"c", label=label, making=making)
    try:
        return found, file.write(0, CONTENT)
    finally:
        file.close()


def test_what_is_stored_so_is_found_by_any_other_open(tmp_path, watched):
    volume = watched.volume(b"v")
    assert store(volume, making=True) == (Found.NOTHING, True)
    file, found = volume.open(b"k", SIZE, b"c")
    assert found is Found.STORED
    assert read_all(file) == bytes(CONTENT)
    file.close()
    again, found = volume.open(b"k", SIZE, b"c", making=True)
    assert found is Found.STORED
    assert again.occupancy(0, SIZE) == [(0, SIZE)]
    again.close()
    assert len(backing_files(tmp_path / "cache")) == 2


def test_another_generation_is_replaced(watched):
    volume = watched.volume(b"v")
    store(volume, making=True)
    file, found = volume.open(b"k", SIZE, b"other", making=True)
    assert found is Found.REPLACED
    assert file.has_files
    assert not file.occupancy(0, SIZE)
    file.close()


def test_a_new_object_costs_a_look_up_less(watched, faults):
    volume = watched.volume(b"v")
    store(volume, making=True)  # the folder is there, the space set aside
    volume.open(b"k", SIZE, b"c")[0].invalidate()
    before = faults.calls.copy()
    store(volume, making=True)
    cost = faults.calls - before
    assert cost["open"] == 1
    assert cost["flock"] == 2  # the directory's, the object's
    assert not cost["getxattr"]
    assert not cost["fstat"]


def test_without_a_store_it_is_empty_and_charged(watched):
    volume = watched.volume(b"v")
    file, _ = volume.open(b"k", SIZE, b"c", making=True)
    assert file.has_files
    assert not file.occupancy(0, SIZE)
    assert watched.space.count().used > 0
    file.close()


def test_what_is_there_already_is_not_charged_again(watched):
    volume = watched.volume(b"v")
    store(volume, making=True)
    used = watched.space.count().used
    for _ in range(20):
        file, found = volume.open(b"k", SIZE, b"c", making=True)
        assert found is Found.STORED
        file.close()
    assert watched.space.count().used == used


def test_no_room_no_files(tmp_path):
    cache = Cache.bind(tmp_path / "cache", limits=Limits(cachesize=1024 * 1024))
    while cache.space.take(4096):
        pass
    file, found = cache.volume(b"v").open(b"k", SIZE, b"c", making=True)
    assert found is Found.NOTHING
    assert not file.has_files
    assert not file.write(0, CONTENT)
    file.close()
    cache.close()


def test_whichever_call_fails_the_next_store_is_right(tmp_path, watched, faults):
    volume = watched.volume(b"v")
    store(volume, making=True)
    volume.open(b"k", SIZE, b"c")[0].invalidate()
    before = faults.total
    store(volume, making=True)
    calls = faults.total - before
    assert calls > 8
    for number in range(1, calls + 1):
        volume.open(b"k", SIZE, b"c")[0].invalidate()
        used = watched.space.count().used
        faults.fail_nth(number, errno.EACCES)
        try:
            stored = store(volume, making=True)[1]
        except CacheError:
            stored = False
        faults.heal()
        file, _ = volume.open(b"k", SIZE, b"c")
        if stored:
            assert read_all(file) in (None, bytes(CONTENT))
        file.invalidate()
        # What was half made stays counted until the next recount.
        assert watched.space.count().used <= used + OBJECT_BYTES, number
    store(volume, making=True)
    assert len(backing_files(tmp_path / "cache")) == 2
