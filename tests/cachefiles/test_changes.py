"""Changes of an object: what is kept, what is not, who finds it meanwhile, and what it costs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cachefiles import BLOCK, Cache, CacheError, Found
from cachefiles.contentmap import block_count
from cachefiles.generation import HEADER_XATTR, decode
from cachefiles.object import Object
from cachefiles.recency import SEGMENT
from tests.cachefiles.conftest import SIZE, backing_files, content_of, read_all

OLD, NEW = content_of(SIZE, 1), content_of(SIZE, 2)
FEW = OLD[:BLOCK]


def stored(volume, data=OLD, key=b"k"):
    """Finished and closed."""
    file, _ = volume.open(key, len(data), b"c1")
    assert file.write(0, data)
    file.close()


def begun(volume, size=SIZE, **more):
    return volume.begin_changes(b"k", size, b"c1", **more)


def blocks_of(file):
    return {start // BLOCK for a, b in file.occupancy(0, file.size) for start in range(a, b, BLOCK)}


def header(cachedir):
    return decode(os.getxattr(backing_files(cachedir)[0], HEADER_XATTR))


def reopened(volume, size, coherency=b"c2", key=b"k"):
    """What another opener finds."""
    file, found = volume.open(key, size, coherency)
    data, there = read_all(file), blocks_of(file)
    file.close()
    return found, there, data


def allocated(cachedir):
    return sum(path.stat().st_blocks * 512 for path in cachedir.glob("volumes/*/*/*"))


def test_a_change_keeps_what_it_does_not_touch(volume, cachedir):
    stored(volume)
    number = header(cachedir).number
    file = begun(volume)
    assert header(cachedir).unfinished
    assert read_all(file) == OLD
    assert file.discard(BLOCK + 5, BLOCK + 6)
    assert blocks_of(file) == {0, 2, 3, 4}
    assert file.write(2 * BLOCK, NEW[2 * BLOCK : 3 * BLOCK])
    assert file.finish(b"k", b"c2")
    assert file.write(BLOCK, NEW[BLOCK : 2 * BLOCK])
    right = bytes(OLD[:BLOCK]) + bytes(NEW[BLOCK : 3 * BLOCK]) + bytes(OLD[3 * BLOCK :])
    assert read_all(file) == right
    file.close()
    assert not header(cachedir).unfinished
    assert header(cachedir).number == number
    assert reopened(volume, SIZE) == (Found.STORED, {0, 1, 2, 3, 4}, right)


@pytest.mark.parametrize("key", [b"k", b"another"])
def test_a_file_written_from_its_beginning_is_warm_and_costs_no_sync(cachedir, monkeypatch, key):
    cache = Cache.bind(cachedir)
    volume = cache.volume(b"v")
    for call in ("sync", "sync_data"):
        monkeypatch.setattr(cache.filesystem, call, lambda fd: pytest.fail("a sync"))
    file = begun(volume, 0)
    for start in range(0, SIZE, BLOCK):
        end = min(start + BLOCK, SIZE)
        assert file.resizes_at_once(end)
        assert file.resize(end)
        assert file.write(start, OLD[start:end])
        assert header(cachedir).unfinished
    assert file.finish(key, b"c2")
    assert read_all(file) == OLD
    joined, found = volume.open(key, SIZE, b"c2")
    assert (joined, found) == (file, Found.STORED)
    joined.close()
    file.close()
    assert reopened(volume, SIZE, key=key) == (Found.STORED, {0, 1, 2, 3, 4}, bytes(OLD))
    cache.close()
    cache = Cache.bind(cachedir)
    assert reopened(cache.volume(b"v"), SIZE, key=key)[2] == OLD
    cache.close()


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 7, SIZE - 1, SIZE + 1])
@pytest.mark.parametrize("again", [SIZE, 3 * BLOCK, SIZE + 3 * BLOCK])
def test_what_was_cut_off_does_not_come_back(volume, cachedir, size, again):
    stored(volume)
    file = begun(volume)
    for each in (size, again):
        kept = min(each, file.size) // BLOCK if each != file.size else len(blocks_of(file))
        assert file.resize(each)
        assert blocks_of(file) == set(range(min(kept, len(blocks_of(file)) or kept)))
    least = min(size, again, SIZE)
    assert blocks_of(file) == set(range(least // BLOCK))
    assert file.finish(b"k", b"c2")
    file.close()
    found, there, _ = reopened(volume, again)
    assert found is Found.STORED
    assert there == set(range(least // BLOCK))


def test_the_stamps_of_a_large_file_are_never_taken_for_entries(volume, cachedir):
    size = SEGMENT + 3 * BLOCK
    data = content_of(size)
    stored(volume, data)
    file = begun(volume, size)
    assert not file.resizes_at_once(size + SEGMENT * 200)
    assert file.resize(size + SEGMENT * 200)
    assert blocks_of(file) == set(range(block_count(size)))
    side = backing_files(cachedir)[1]
    assert side.stat().st_size == block_count(size) * 8
    file.close()


def test_without_files_it_costs_no_call_and_what_is_made_is_unfinished(volume, cachedir):
    file = begun(volume, 0)
    assert list(cachedir.glob("volumes/*/*/*")) == []
    assert file.resizes_at_once(SIZE)
    assert file.discards_at_once(0)
    assert file.resize(SIZE)
    assert file.discard(0, SIZE)
    assert file.write(BLOCK, OLD[BLOCK : 2 * BLOCK])
    assert header(cachedir).unfinished
    file.close()
    assert list(cachedir.glob("volumes/*/*/*")) == []


def test_a_file_of_one_block_is_not_marked_but_dropped(volume, cachedir, monkeypatch):
    stored(volume, FEW)
    monkeypatch.setattr(volume._filesystem, "sync", lambda fd: pytest.fail("a sync"))
    file = begun(volume, BLOCK)
    assert list(cachedir.glob("volumes/*/*/*")) == []
    assert blocks_of(file) == set()
    assert file.write(0, NEW[:BLOCK])
    assert file.finish(b"k", b"c2")
    file.close()
    assert reopened(volume, BLOCK) == (Found.STORED, {0}, NEW[:BLOCK])


@pytest.mark.parametrize("keep", [True, False])
def test_a_pin_outlives_it(volume, cachedir, keep):
    stored(volume)
    os.setxattr(backing_files(cachedir)[0], "user.cachefiles.pinned", b"1")
    file = begun(volume, keep=keep)
    assert blocks_of(file) == (set(range(5)) if keep else set())
    assert file.write(0, NEW[:BLOCK])
    assert file.finish(b"other", b"c2")
    file.close()
    assert os.getxattr(backing_files(cachedir)[0], "user.cachefiles.pinned") == b"1"


def test_an_open_of_ours_meanwhile_ends_it(volume):
    stored(volume)
    file = begun(volume)
    other, found = volume.open(b"k", SIZE, b"c1")
    assert found is Found.REPLACED
    assert file.retired
    assert not file.write(0, NEW)
    assert not file.discard(0, SIZE)
    assert not file.resize(5)
    assert other.write(0, OLD)
    assert not file.finish(b"k", b"c2")
    file.close()
    assert read_all(other) == OLD
    other.close()


def test_objects_from_before_are_retired(volume):
    stored(volume)
    before, _ = volume.open(b"k", SIZE, b"c1")
    file = begun(volume)
    assert before.retired
    assert not before.write(0, OLD)
    assert read_all(before) is None
    assert read_all(file) == OLD
    assert file.finish(b"k", b"c2")
    before.close()
    file.close()
    assert reopened(volume, SIZE)[0] is Found.STORED


def test_beside_another_process_it_begins_with_nothing(cachedir, volume):
    stored(volume)
    second = Cache.bind(cachedir)
    other, _ = second.volume(volume.key).open(b"k", SIZE, b"c1")
    file = begun(volume)
    assert blocks_of(file) == set()
    assert file.write(0, NEW[: 2 * BLOCK])
    assert read_all(other) == OLD  # of the version that it opened
    assert file.finish(b"k", b"c2")
    file.close()
    other.close()
    second.close()
    assert reopened(volume, SIZE)[:2] == (Found.STORED, {0, 1})


def test_another_process_finds_nothing_of_it_and_ends_it(cachedir, volume, monkeypatch):
    stored(volume)
    file = begun(volume)
    assert file.write(0, NEW[:BLOCK])
    second = Cache.bind(cachedir)
    other, found = second.volume(volume.key).open(b"k", SIZE, b"c1")
    assert found is Found.REPLACED
    assert blocks_of(other) == set()
    assert other.write(0, OLD)
    assert not file.finish(b"k", b"c2")
    assert file.retired
    file.close()
    assert read_all(other) == OLD
    other.close()
    second.close()


def test_a_move_replaces_what_is_there(volume, cachedir):
    stored(volume)
    stored(volume, NEW, b"other")
    other, _ = volume.open(b"other", SIZE, b"c1")
    file = begun(volume)
    assert file.write(0, NEW[:BLOCK])
    assert file.finish(b"other", b"c2")
    assert other.retired
    assert len(backing_files(cachedir)) == 2
    again = volume.begin_changes(b"other", SIZE, b"c2")  # what has moved has its old seed
    assert blocks_of(again) == set(range(5))
    assert again.finish(b"k", b"c3")
    for each in (file, other, again):
        each.close()
    right = bytes(NEW[:BLOCK]) + bytes(OLD[BLOCK:])
    assert reopened(volume, SIZE, b"c3") == (Found.STORED, {0, 1, 2, 3, 4}, right)


def test_it_may_begin_again(volume):
    stored(volume)
    first = begun(volume)
    assert first.write(0, NEW[:BLOCK])
    assert first.finish(b"k", b"c2")
    second = volume.begin_changes(b"k", SIZE, b"c2")
    assert first.retired
    assert second.discard(BLOCK, BLOCK + 1)
    assert second.finish(b"k", b"c3")
    first.close()
    second.close()
    assert reopened(volume, SIZE, b"c3")[:2] == (Found.STORED, {0, 2, 3, 4})


def test_calls_that_are_under_way_are_waited_for(volume, monkeypatch):
    """A store of old bytes ends before the change begins, or else in a grave."""
    stored(volume)
    before, _ = volume.open(b"k", SIZE, b"c1")
    waited = []

    def wait_out(self, seconds):
        waited.append(self)
        return plain(self, seconds)

    plain = Object.wait_out
    monkeypatch.setattr(Object, "wait_out", wait_out)
    with before._using():
        monkeypatch.setattr("cachefiles.changes.CALLS_TIMEOUT", 0.01)
        file = begun(volume)
        assert waited == [before]
        assert blocks_of(file) == set()
        assert file.write(0, NEW[:BLOCK])
    assert file.finish(b"k", b"c2")
    before.close()
    file.close()
    assert reopened(volume, SIZE)[:2] == (Found.STORED, {0})


@pytest.mark.parametrize("step", ["sync", "set_xattr"])
def test_where_the_mark_cannot_be_set_nothing_is_left(cachedir, monkeypatch, step):
    cache = Cache.bind(cachedir)
    volume = cache.volume(b"v")
    stored(volume)

    def fail(*_):
        raise OSError(5, "broken")

    with monkeypatch.context() as patched:
        patched.setattr(cache.filesystem, step, fail)
        with pytest.raises(CacheError):
            begun(volume)
    assert reopened(volume, SIZE, b"c1")[0] is Found.NOTHING
    cache.close()
    no_descriptors(cachedir)


@pytest.mark.parametrize("step", ["sync_data", "set_xattr", "rename"])
def test_where_it_cannot_be_finished_nothing_is_left(cachedir, monkeypatch, step):
    cache = Cache.bind(cachedir)
    volume = cache.volume(b"v")
    stored(volume)
    file = begun(volume)
    assert file.discard(0, 1)

    def fail(*_):
        raise OSError(5, "broken")

    with monkeypatch.context() as patched:
        patched.setattr(cache.filesystem, step, fail)
        with pytest.raises(CacheError):
            file.finish(b"other", b"c2")
    assert file.retired
    file.close()
    for key in (b"k", b"other"):
        assert reopened(volume, SIZE, key=key)[1] == set()
    cache.close()
    no_descriptors(cachedir)


def no_descriptors(cachedir):
    links = (Path("/proc/self/fd") / fd for fd in os.listdir("/proc/self/fd"))
    assert not any(str(cachedir) in os.readlink(link) for link in links if link.is_symlink())


def test_a_record_that_does_not_fit_changes_nothing(volume):
    stored(volume)
    file = begun(volume)
    with pytest.raises(ValueError, match="coherency"):
        file.finish(b"k", bytes(257))
    assert file.finish(b"k", b"c2")
    file.close()


def test_the_count_is_what_the_disk_has(cachedir):
    """Grown, replaced, discarded, cut and dropped: not a byte more or less, but for the sums that
    each object is charged for its attributes."""
    cache = Cache.bind(cachedir)
    volume = cache.volume(b"v")

    def over():
        count = cache.space.count()
        return count.used + count.aside - allocated(cachedir)

    file = begun(volume, 0)
    file.resize(SIZE)
    assert file.write(0, OLD)
    fixed = over()
    for _ in range(5):
        assert file.write(0, NEW)
        assert file.discard(BLOCK, 3 * BLOCK)
        assert file.write(BLOCK, NEW[BLOCK : 2 * BLOCK])
        assert file.write(2 * BLOCK, NEW[2 * BLOCK : 3 * BLOCK])
    assert abs(over() - fixed) <= 4096
    assert file.resize(2 * BLOCK)
    assert abs(over() - fixed) <= 8192
    assert file.finish(b"k", b"c2")
    file.close()
    assert abs(over() - fixed) <= 8192
    again = volume.begin_changes(b"k", 2 * BLOCK, b"c2")
    again.close()
    assert over() <= fixed
    cache.close()


def test_a_range_of_another_size_is_not_stored(volume):
    """A reader that has not heard of the new size asks by the old one: that is no failure."""
    stored(volume)
    file = begun(volume)
    file.resize(4 * SIZE)
    assert file.occupancy(0, SIZE) == []
    assert not file.read(0, memoryview(bytearray(SIZE)))
    assert not file.write(0, OLD)
    assert blocks_of(file) == set(range(SIZE // BLOCK))
    file.close()
