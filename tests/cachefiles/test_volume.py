"""Generations, sharing, retirement."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import pytest

from cachefiles import BLOCK, CacheError, Found
from cachefiles.coherency import RECORD_XATTR
from tests.cachefiles.conftest import SIZE, backing_files, content_of, read_all

OLD = content_of(SIZE, 1)
NEW = content_of(SIZE, 2)


def store(volume, coherency, content, key=b"k"):
    file, _ = volume.open(key, len(content), coherency)
    assert file.write(0, content)
    file.close()


@pytest.mark.parametrize(("coherency", "size"), [(b"c2", SIZE), (b"c1", SIZE - 1), (b"", SIZE)])
def test_another_generation_starts_empty_with_new_inodes(volume, cachedir, coherency, size):
    store(volume, b"c1", OLD)
    inodes = {path.stat().st_ino for path in backing_files(cachedir)}
    keep = [path.open("rb") for path in backing_files(cachedir)]  # or the numbers are used again
    file, found = volume.open(b"k", size, coherency)
    assert found is Found.REPLACED
    assert read_all(file) is None
    assert file.occupancy(0, size) == []
    assert list(cachedir.glob("volumes/*/*/*")) == []
    assert file.write(0, NEW[:size])
    assert not inodes & {path.stat().st_ino for path in backing_files(cachedir)}
    assert read_all(file) == NEW[:size]
    file.close()
    for opened in keep:
        opened.close()


def test_the_caller_decides_what_matches_and_the_record_stays(volume, cachedir):
    store(volume, b"c1", OLD)
    data, _ = backing_files(cachedir)
    record = os.getxattr(data, RECORD_XATTR)
    asked = []
    file, found = volume.open(b"k", SIZE, b"c2", lambda stored: asked.append(stored) or True)
    assert (asked, found) == ([b"c1"], Found.STORED)
    assert read_all(file) == OLD
    file.close()
    assert os.getxattr(data, RECORD_XATTR) == record
    file, found = volume.open(b"k", SIZE, b"c1")
    assert read_all(file) == OLD
    file.close()
    file, found = volume.open(b"k", SIZE, b"c1", lambda stored: False)
    assert found is Found.REPLACED
    file.close()


@pytest.mark.parametrize("damage", ["gone", "garbage", "other format", "other key", "symlink"])
def test_an_unusable_record_means_empty_files(volume, cachedir, tmp_path, damage):
    store(volume, b"c1", OLD)
    data, entries = backing_files(cachedir)
    if damage == "gone":
        os.removexattr(data, RECORD_XATTR)
    elif damage == "garbage":
        os.setxattr(data, RECORD_XATTR, b"garbage")
    elif damage == "other format":
        raw = bytearray(os.getxattr(data, RECORD_XATTR))
        raw[4] += 1
        os.setxattr(data, RECORD_XATTR, bytes(raw))
    elif damage == "other key":
        store(volume, b"c1", NEW, key=b"other")
        [other] = [p for p in cachedir.glob("volumes/*/*/*") if p.stem not in (data.stem,)][:1]
        path = other.with_suffix("")
        os.replace(path, data)
        os.replace(path.with_name(path.name + ".map"), entries)
    else:
        data.rename(tmp_path / "elsewhere") if data.stat().st_dev == tmp_path.stat().st_dev else (
            data.unlink()
        )
        data.symlink_to(tmp_path / "elsewhere")
    file, found = volume.open(b"k", SIZE, b"c1")
    assert found is Found.REPLACED
    assert read_all(file) is None
    assert file.write(0, NEW)
    assert read_all(file) == NEW
    file.close()


def test_what_a_crash_between_two_creations_left_is_replaced(volume, cachedir):
    store(volume, b"c1", OLD)
    data, _ = backing_files(cachedir)
    data.unlink()
    file, found = volume.open(b"k", SIZE, b"c1")
    assert found is Found.NOTHING
    assert file.write(0, OLD)
    assert read_all(file) == OLD
    file.close()


def test_two_opens_of_one_generation_share(volume):
    first, _ = volume.open(b"k", SIZE, b"c1")
    second, found = volume.open(b"k", SIZE, b"c1")
    assert first is second
    assert found is Found.STORED
    first.close()
    assert second.write(0, OLD)
    assert read_all(second) == OLD
    second.close()
    assert read_all(second) is None


def test_a_newer_generation_retires_the_older(volume, cachedir):
    old, _ = volume.open(b"k", SIZE, b"c1")
    old.write(0, OLD)
    descriptors = len(os.listdir("/proc/self/fd"))
    new, found = volume.open(b"k", SIZE, b"c2")
    assert found is Found.REPLACED
    assert len(os.listdir("/proc/self/fd")) == descriptors - 2
    assert old.retired
    assert read_all(old) is None
    assert old.occupancy(0, SIZE) == []
    assert not old.write(0, OLD)
    old.invalidate()  # of no effect on the newer one
    assert new.write(0, NEW)
    old.close()
    assert read_all(new) == NEW
    new.close()
    assert len(backing_files(cachedir)) == 2


def test_an_older_object_without_files_makes_none_later(volume):
    old, _ = volume.open(b"k", SIZE, b"c1")
    new, _ = volume.open(b"k", SIZE, b"c2")
    assert not old.write(0, OLD)
    assert not new.has_files
    old.close()
    new.close()


def test_invalidate_removes_the_files(volume, cachedir):
    file, _ = volume.open(b"k", SIZE, b"c1")
    file.write(0, OLD)
    file.invalidate()
    assert list(cachedir.glob("volumes/*/*/*")) == []
    assert not file.write(0, OLD)
    again, found = volume.open(b"k", SIZE, b"c1")
    assert found is Found.NOTHING
    assert again is not file
    file.close()
    assert again.write(0, NEW)
    assert read_all(again) == NEW
    again.close()


def test_a_write_under_way_when_the_generation_ends_lands_nowhere(volume, monkeypatch):
    old, _ = volume.open(b"k", SIZE, b"c1")
    assert old.write(0, OLD[:BLOCK])
    inside, go_on = threading.Event(), threading.Event()
    pwritev = os.pwritev

    def slow(fd, buffers, *rest):
        if threading.current_thread() is not threading.main_thread() and not inside.is_set():
            inside.set()
            assert go_on.wait(10)
        return pwritev(fd, buffers, *rest)

    monkeypatch.setattr(os, "pwritev", slow)
    results = []
    writer = threading.Thread(target=lambda: results.append(old.write(0, OLD)))
    writer.start()
    assert inside.wait(10)
    new, _ = volume.open(b"k", SIZE, b"c2")
    assert new.write(0, NEW)
    go_on.set()
    writer.join()
    assert results == [False]
    assert read_all(new) == NEW
    for file in (old, new):
        file.close()
    again, _ = volume.open(b"k", SIZE, b"c2")
    assert read_all(again) == NEW
    again.close()


def test_keys_and_volumes_are_apart(cache):
    left, right = cache.volume(b"left"), cache.volume(b"right")
    assert cache.volume(b"left") is left
    store(left, b"c", OLD)
    store(right, b"c", NEW)
    store(left, b"c", NEW, key=b"other")
    for volume, content in [(left, OLD), (right, NEW)]:
        file, _ = volume.open(b"k", SIZE, b"c")
        assert read_all(file) == content
        file.close()


def test_a_folder_in_the_way_is_an_error_not_a_crash(volume, cachedir):
    store(volume, b"c1", OLD)
    data, _ = backing_files(cachedir)
    data.unlink()
    data.mkdir()
    (data / "letter").write_text("dear")
    with pytest.raises(CacheError):
        volume.open(b"k", SIZE, b"c1")
    (data / "letter").unlink()
    file, found = volume.open(b"k", SIZE, b"c1")
    assert found is Found.REPLACED
    assert file.write(0, OLD)
    assert read_all(file) == OLD
    file.close()


@pytest.mark.parametrize("kind", ["symlink", "pipe", "folder"])
def test_something_else_in_place_of_a_map(volume, cachedir, tmp_path, kind):
    """At the second open at the latest the object starts anew. What a link leads to stays."""
    store(volume, b"c1", OLD)
    _, entries = backing_files(cachedir)
    entries.unlink()
    (tmp_path / "elsewhere").write_bytes(bytes(100))
    if kind == "symlink":
        entries.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(entries)
    else:
        entries.mkdir()
    with suppress(CacheError):
        file, _ = volume.open(b"k", SIZE, b"c1")
        with suppress(CacheError):
            assert read_all(file) is None
        file.close()
    file, _ = volume.open(b"k", SIZE, b"c1")
    assert file.write(0, OLD)
    assert read_all(file) == OLD
    file.close()
    assert (tmp_path / "elsewhere").read_bytes() == bytes(100)


def test_impossible_records_are_refused(volume):
    for size, coherency in [(-1, b""), (1 << 63, b""), (1, bytes(257))]:
        with pytest.raises(ValueError, match=r"size|bytes"):
            volume.open(b"k", size, coherency)


def test_after_close_of_the_cache(cache, volume):
    store(volume, b"c", OLD)
    file, _ = volume.open(b"k", SIZE, b"c")
    fresh, _ = volume.open(b"fresh", SIZE, b"c")
    cache.close()
    assert read_all(file) == OLD
    with pytest.raises(CacheError, match="closed"):
        volume.open(b"k2", SIZE, b"c")
    with pytest.raises(CacheError, match="closed"):
        fresh.write(0, OLD)
    with pytest.raises(CacheError, match="closed"):
        cache.volume(b"v")
    file.close()
    fresh.close()


def test_a_read_under_way_when_the_generation_ends_misses(volume, monkeypatch):
    store(volume, b"c1", OLD)
    old, _ = volume.open(b"k", SIZE, b"c1")
    old.occupancy(0, SIZE)
    preadv = os.preadv

    def late(*args):
        done = preadv(*args)
        volume.open(b"k", SIZE, b"c2")[0].close()
        return done

    monkeypatch.setattr(os, "preadv", late)
    assert read_all(old) is None
    old.close()


@pytest.mark.parametrize("newer", [True, False])
def test_a_first_write_that_comes_too_late_makes_no_files(volume, cachedir, monkeypatch, newer):
    old, _ = volume.open(b"k", SIZE, b"c1")
    make_files = old._owner.make_files
    opened = []

    def late(user):
        if newer:
            opened.append(volume.open(b"k", SIZE, b"c2")[0])
        else:
            old.invalidate()
        make_files(user)

    monkeypatch.setattr(old._owner, "make_files", late)
    assert not old.write(0, OLD)
    assert list(cachedir.glob("volumes/*/*/*")) == []
    for file in [old, *opened]:
        file.close()
