"""Each syscall fails once, at every place: no wrong byte, no leak, only errors of our own."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from cachefiles import (
    BLOCK,
    Cache,
    CacheDead,
    CacheError,
    CacheUnusable,
    Culler,
    Faults,
    Found,
    NoSpace,
    Step,
)
from cachefiles.limits import Excess
from tests.cachefiles.conftest import SIZE, content_of

OLD = content_of(SIZE, 1)
NEW = content_of(SIZE, 2)


def read_checked(file, content):
    """Read block by block; what is found must be right. Returns how many were."""
    found = 0
    for start in range(0, len(content), BLOCK):
        want = content[start : start + BLOCK]
        target = memoryview(bytearray(len(want)))
        if file.read(start, target):
            assert target.tobytes() == want.tobytes()  # ten times as fast as the views
            found += 1
    return found


def cull(cache, size):
    culler = Culler(cache, lambda: Excess(max(0, cache.space.count().used - size)), recount=True)
    try:
        while culler.step(1) is Step.MORE:
            pass
    finally:
        culler.close()


def live(cache, volume):
    """A life of a cached file. Every step may raise; the next one is tried all the same."""
    errors = []
    half = 2 * BLOCK

    def attempt(call):
        try:
            return call()
        except CacheError as error:
            errors.append(error)
            return None

    for coherency, content in [(b"1", OLD), (b"1", OLD), (b"2", NEW), (b"2", NEW)]:
        opened = attempt(lambda c=coherency: volume.open(b"k", SIZE, c))
        if opened is None:
            continue
        file = opened[0]
        attempt(lambda f=file, d=content: f.write(0, d[:half]))
        attempt(lambda f=file: f.occupancy(0, SIZE))
        attempt(lambda f=file, d=content: read_checked(f, d))
        attempt(lambda f=file, d=content: f.write(half, d[half:]))
        attempt(lambda f=file, d=content: read_checked(f, d))
        attempt(cache.sync)
        attempt(lambda: cull(cache, BLOCK))  # punches what is in use
        attempt(lambda f=file, d=content: f.write(half, d[half:]))
        file.close()
        attempt(cache.sync)
    attempt(lambda: cull(cache, 0))  # buries
    return errors


@pytest.fixture
def memory():
    """Where a sync costs nothing: there are thousands."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_every_call_fails_once(memory):
    probing = Faults()
    cache = Cache.bind(memory / "clean", probing)
    volume = cache.volume(b"v")
    before = probing.total
    assert live(cache, volume) == []
    calls = probing.total - before
    cache.close()
    assert calls > 50
    descriptors = len(os.listdir("/proc/self/fd"))
    for code in (errno.EIO, errno.ENOSPC):
        for number in range(1, calls + 1):
            faults = Faults()
            cache = Cache.bind(memory / f"{code}-{number}", faults)
            volume = cache.volume(b"v")
            faults.fail_nth(number, code)
            errors = live(cache, volume)
            kind = CacheDead if code == errno.EIO else NoSpace
            assert all(type(error) is kind for error in errors), (number, errors)
            faults.heal()
            file, _ = volume.open(b"k", SIZE, b"2")
            read_checked(file, NEW)
            assert file.write(0, NEW)  # nothing is broken for good
            assert read_checked(file, NEW) == 5
            file.close()
            cache.close()
            assert len(os.listdir("/proc/self/fd")) == descriptors
            shutil.rmtree(memory / f"{code}-{number}")


def test_every_call_of_bind_fails_once(tmp_path):
    probing = Faults()
    Cache.bind(tmp_path / "clean", probing).close()
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(1, probing.total + 1):
        faults = Faults()
        faults.fail_nth(number, errno.EIO)
        directory = tmp_path / str(number)
        with suppress(CacheUnusable):  # what fails while things are put away does not matter
            Cache.bind(directory, faults).close()
        assert len(os.listdir("/proc/self/fd")) == descriptors
        Cache.bind(directory).close()
        assert not (directory / "probe").exists()


@pytest.mark.parametrize(
    ("call", "code", "kind"),
    [
        ("pwritev", errno.ENOSPC, NoSpace),
        ("pwritev", errno.EDQUOT, NoSpace),
        ("pwritev", errno.EROFS, NoSpace),
        ("create", errno.EROFS, NoSpace),
        ("create", errno.EMFILE, CacheError),
        ("pwritev", errno.EFBIG, CacheError),
        ("setxattr", errno.ENOSPC, NoSpace),
    ],
)
def test_kinds_of_errors(tmp_path, call, code, kind):
    faults = Faults()
    cache = Cache.bind(tmp_path / "cache", faults)
    file, _ = cache.volume(b"v").open(b"k", SIZE, b"c")
    faults.fail_always(call, code)
    with pytest.raises(CacheError) as caught:
        file.write(0, OLD)
    assert type(caught.value) is kind
    assert os.strerror(code) in str(caught.value)
    assert file.occupancy(0, SIZE) == []
    faults.heal()
    assert read_checked(file, OLD) == 0
    assert file.write(0, OLD)
    assert read_checked(file, OLD) == 5
    file.close()
    cache.close()


def test_data_without_its_entry_is_not_stored(tmp_path):
    faults = Faults()
    cache = Cache.bind(tmp_path / "cache", faults)
    file, _ = cache.volume(b"v").open(b"k", SIZE, b"c")
    file.write(0, OLD[:BLOCK])
    faults.fail("pwritev", errno.ENOSPC, 2)  # the first is the data
    with pytest.raises(NoSpace):
        file.write(BLOCK, OLD[BLOCK : 2 * BLOCK])
    assert file.occupancy(0, SIZE) == [(0, BLOCK)]
    assert read_checked(file, OLD) == 1
    file.close()
    cache.close()


def test_short_writes_and_reads_are_finished(tmp_path):
    faults = Faults()
    cache = Cache.bind(tmp_path / "cache", faults)
    faults.shorten("pwritev", 30_000)
    faults.shorten("preadv", 20_001)
    file, _ = cache.volume(b"v").open(b"k", SIZE, b"c")
    assert file.write(0, OLD)
    assert read_checked(file, OLD) == 5
    file.close()
    cache.close()


def test_a_sector_that_cannot_be_read_is_struck_for_the_next_time(tmp_path):
    faults = Faults()
    cache = Cache.bind(tmp_path / "cache", faults)
    volume = cache.volume(b"v")
    file, _ = volume.open(b"k", SIZE, b"c")
    file.write(0, OLD)
    faults.fail("preadv", errno.EIO, 2)  # the first is the map's
    with pytest.raises(CacheDead):
        file.read(BLOCK, memoryview(bytearray(BLOCK)))
    file.close()
    file, _ = volume.open(b"k", SIZE, b"c")
    assert file.occupancy(0, SIZE) == [(0, BLOCK), (2 * BLOCK, SIZE)]
    file.close()
    cache.close()


def test_a_map_that_cannot_be_read_ends_the_object(tmp_path):
    faults = Faults()
    cache = Cache.bind(tmp_path / "cache", faults)
    volume = cache.volume(b"v")
    for _ in range(2):
        file, found = volume.open(b"k", SIZE, b"c")
        assert found is Found.NOTHING
        file.write(0, OLD)
        file.close()
        file, _ = volume.open(b"k", SIZE, b"c")
        faults.fail("preadv", errno.EIO, 1)
        with pytest.raises(CacheDead):
            file.occupancy(0, SIZE)
        file.close()
    cache.close()


def test_stale_files_that_cannot_be_removed_are_not_used(tmp_path):
    faults = Faults()
    cache = Cache.bind(tmp_path / "cache", faults)
    volume = cache.volume(b"v")
    file, _ = volume.open(b"k", SIZE, b"1")
    file.write(0, OLD)
    faults.fail_always("rename", errno.EROFS)
    with pytest.raises(NoSpace):
        volume.open(b"k", SIZE, b"2")
    assert read_checked(file, OLD) == 0
    file.close()
    faults.heal()
    file, _ = volume.open(b"k", SIZE, b"2")
    assert read_checked(file, NEW) == 0
    file.close()
    cache.close()
