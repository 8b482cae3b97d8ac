"""The header, and restamping: what is kept, what is struck, what a failure in between leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachefiles import BLOCK, Cache, CacheError, Found
from cachefiles.generation import HEADER_XATTR, Generation, Numbers, decode, encode, kept_blocks
from tests.cachefiles.conftest import SIZE, backing_files, content_of, damaged, read_all
from tests.cachefiles.test_coherency import records

OLD = content_of(SIZE, 1)
generations = st.builds(Generation, st.integers(0, 2**64 - 1), records)


@given(generations)
@settings(deadline=None, max_examples=100)
def test_round_trip(generation):
    assert decode(encode(generation)) == generation
    assert len(encode(generation)) <= 828


@given(generations, st.data())
@settings(deadline=None, max_examples=100)
def test_any_flipped_bit_or_cut_is_noticed(generation, data):
    assert decode(damaged(encode(generation), data)) is None


@given(generations)
@settings(deadline=None, max_examples=20)
def test_each_generation_has_a_number_of_its_own_and_the_record_no_part_in_the_seed(generation):
    numbers = Numbers()
    begun = [numbers.begin(generation.record) for _ in range(200)]
    assert len({each.number for each in begun} | {generation.number}) == 201
    other = Generation(generation.number, begun[0].record)
    assert other.seed(b"v", b"k") == generation.seed(b"v", b"k")
    assert begun[0].seed(b"v", b"k") != generation.seed(b"v", b"k")


def test_kept_blocks():
    assert kept_blocks(5, 5) is None
    assert kept_blocks(2 * BLOCK, 3 * BLOCK) == 2
    assert kept_blocks(3 * BLOCK, 2 * BLOCK + 1) == 2
    assert kept_blocks(2 * BLOCK + 1, 2 * BLOCK + 2) == 2


def stored(volume):
    file, _ = volume.open(b"k", SIZE, b"c1")
    assert file.write(0, OLD)
    return file


def blocks_of(file):
    return {start // BLOCK for a, b in file.occupancy(0, file.size) for start in range(a, b, BLOCK)}


def test_a_restamp_keeps_what_did_not_change(volume, cachedir):
    old = stored(volume)
    again = stored(volume)
    assert again is old
    new = old.restamp(SIZE, b"c2", [(BLOCK + 5, BLOCK + 6)])
    assert new is not None
    assert new.generation.number == old.generation.number
    assert blocks_of(new) == {0, 2, 3, 4}
    assert old.retired
    assert not old.write(BLOCK, OLD[BLOCK : 2 * BLOCK])
    assert new.write(BLOCK, OLD[:BLOCK])
    for user in (old, again, new):
        user.close()
    file, found = volume.open(b"k", SIZE, b"c2")
    assert found is Found.STORED
    expected = bytes(OLD[:BLOCK]) * 2 + bytes(OLD[2 * BLOCK :])
    assert read_all(file) == expected
    file.close()
    assert len(backing_files(cachedir)) == 2


def test_a_smaller_and_again_larger_file_does_not_bring_its_old_end_back(volume):
    old = stored(volume)
    smaller = old.restamp(2 * BLOCK + 7, b"c2", [])
    assert blocks_of(smaller) == {0, 1}
    larger = smaller.restamp(SIZE, b"c3", [])
    assert blocks_of(larger) == {0, 1}
    for user in (old, smaller, larger):
        user.close()


def test_an_ended_generation_has_another_number(volume):
    old = stored(volume)
    new, found = volume.open(b"k", SIZE, b"c2")
    assert found is Found.REPLACED
    assert new.generation.number != old.generation.number
    new.close()
    old.close()


def test_without_files_or_beside_another_mount_there_is_none(cachedir, volume):
    empty, _ = volume.open(b"k", SIZE, b"c1")
    assert empty.restamp(SIZE, b"c2", []) is None
    assert not empty.retired
    empty.close()
    old = stored(volume)
    second = Cache.bind(cachedir)
    other, _ = second.volume(volume.key).open(b"k", SIZE, b"c1")
    assert old.restamp(SIZE, b"c2", [(0, 1)]) is None
    assert read_all(old) == OLD == read_all(other)
    other.close()
    second.close()
    third = old.restamp(SIZE, b"c2", [(0, 1)])
    assert blocks_of(third) == {1, 2, 3, 4}
    third.close()
    old.close()


def test_what_does_not_fit_changes_nothing(volume):
    old = stored(volume)
    with pytest.raises(ValueError, match="coherency"):
        old.restamp(SIZE, bytes(257), [])
    assert read_all(old) == OLD
    old.close()


@pytest.mark.parametrize("step", ["truncate", "sync_data", "set_xattr"])
def test_a_failure_in_between_ends_the_generation(cachedir, monkeypatch, step):
    cache = Cache.bind(cachedir)
    volume = cache.volume(b"v")
    old = stored(volume)

    def fail(*_):
        raise OSError(5, "broken")

    monkeypatch.setattr(cache.filesystem, step, fail)
    with pytest.raises(CacheError):
        old.restamp(2 * BLOCK, b"c2", [(0, 1)])
    monkeypatch.undo()
    assert old.retired
    for coherency, size in ((b"c1", SIZE), (b"c2", 2 * BLOCK)):
        file, found = volume.open(b"k", size, coherency)
        assert found is Found.NOTHING
        file.close()
    old.close()
    cache.close()
    links = (Path("/proc/self/fd") / fd for fd in os.listdir("/proc/self/fd"))
    assert not any(str(cachedir) in os.readlink(link) for link in links if link.is_symlink())


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


@pytest.mark.parametrize("step", ["write_all", "truncate", "sync_data", "set_xattr"])
def test_a_crash_before_the_exchange_leaves_right_blocks_under_the_old_record(
    cachedir, monkeypatch, step
):
    cache = Cache.bind(cachedir)
    old = stored(cache.volume(b"v"))
    data, _ = backing_files(cachedir)
    header = os.getxattr(data, HEADER_XATTR)

    def die(*_):
        raise Killed

    monkeypatch.setattr(cache.filesystem, step, die)
    monkeypatch.setattr("cachefiles.folder.Folder.bury", die)
    with pytest.raises(Killed):
        old.restamp(2 * BLOCK + 7, b"c2", [(0, 1)])
    monkeypatch.undo()
    cache.close()
    assert os.getxattr(data, HEADER_XATTR) == header
    cache = Cache.bind(cachedir)
    file, found = cache.volume(b"v").open(b"k", SIZE, b"c1")
    assert found is Found.STORED
    for start, end in file.occupancy(0, SIZE):
        target = memoryview(bytearray(end - start))
        assert file.read(start, target)
        assert target == OLD[start:end]
    file.close()
    file, found = cache.volume(b"v").open(b"k", 2 * BLOCK + 7, b"c2")
    assert found is Found.REPLACED
    file.close()
    cache.close()
