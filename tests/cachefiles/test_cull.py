"""Culling: the oldest first, cold parts of large objects, never what is in use or pinned."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cachefiles import BLOCK, Cache, Culler, Limits, Step, folder
from cachefiles.folder import PINNED_XATTR
from cachefiles.limits import MIB, Excess
from cachefiles.recency import SEGMENT
from tests.cachefiles.conftest import content_of

FILE = MIB
CONTENT = content_of(4 * SEGMENT)


def allocated(cachedir: Path) -> int:
    """What du says."""
    said = subprocess.run(
        ["du", "-c", "-B1", cachedir / "volumes", *cachedir.glob("graveyard/*")],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(said.stdout.splitlines()[-1].split()[0])


def open_file(cache, name, size=FILE):
    return cache.volume(b"v").open(name, size, b"c", label=name)[0]


def store(cache, name, size=FILE, step=MIB):
    file = open_file(cache, name, size)
    stored = sum(
        file.write(at, CONTENT[at : min(at + step, size)]) * (min(at + step, size) - at)
        for at in range(0, size, step)
    )
    file.close()
    return stored


def kept(cache, name, size=FILE):
    """Bytes of the object that are found, each compared."""
    file = open_file(cache, name, size)
    found = 0
    for at in range(0, size, BLOCK):
        target = memoryview(bytearray(min(BLOCK, size - at)))
        if file.read(at, target):
            assert target == CONTENT[at : at + len(target)]
            found += len(target)
    file.close()
    return found


def cull_to(cache, size):
    """Cull until the cache takes ``size`` bytes at most."""

    def excess():
        return Excess(max(0, cache.space.count().used - size))

    culler = Culler(cache, excess)
    while (step := culler.step(1)) is Step.MORE:
        pass
    return step, culler


def backing_file(cachedir, name):
    return next(
        path
        for path in cachedir.glob("volumes/*/*/*")
        if path.suffix != ".map" and os.getxattr(path, "user.cachefiles.path") == name
    )


def test_the_least_recently_used_go_first(cache, cachedir):
    names = [b"a", b"b", b"c", b"d"]
    for name in names:
        store(cache, name)
    assert kept(cache, b"a") == FILE
    step, culler = cull_to(cache, 2 * FILE + 512 * 1024)
    assert step is Step.DONE
    assert culler.gone == 2
    assert [kept(cache, name) for name in names] == [FILE, 0, 0, FILE]
    assert allocated(cachedir) <= 3 * FILE


def test_what_is_in_use_is_not_buried_but_its_cold_data_goes(cache, cachedir):
    other = Cache.bind(cachedir)
    store(cache, b"a")
    file = open_file(other, b"a")
    path = backing_file(cachedir, b"a")
    step, culler = cull_to(cache, 64 * 1024)
    assert step is Step.DONE
    assert culler.gone == 0
    assert path.exists()
    assert file.occupancy(0, FILE) == []
    assert file.write(0, CONTENT[:BLOCK])
    assert file.occupancy(0, FILE) == [(0, BLOCK)]
    file.close()
    other.close()


def test_cold_segments_of_a_large_open_file(cache):
    size = 4 * SEGMENT
    store(cache, b"large", size)
    file = open_file(cache, b"large", size)
    target = memoryview(bytearray(BLOCK))
    for at in (0, 3 * SEGMENT):  # these two are used again
        file._blocks._recency._written.clear()
        assert file.read(at, target)
    file.sync()  # writes the stamps
    step, culler = cull_to(cache, 2 * SEGMENT + MIB)
    assert (step, culler.gone) == (Step.DONE, 0)
    assert file.occupancy(0, size) == [(0, SEGMENT), (3 * SEGMENT, size)]
    file.close()
    assert kept(cache, b"large", size) == 2 * SEGMENT


def test_pinned_objects_stay(cache, cachedir):
    for name in (b"a", b"b", b"c"):
        store(cache, name)
    os.setxattr(backing_file(cachedir, b"a"), PINNED_XATTR, b"1")
    step, _ = cull_to(cache, 0)
    assert step is Step.STUCK
    assert [kept(cache, name) for name in (b"a", b"b", b"c")] == [FILE, 0, 0]


def test_a_pin_survives_a_change_of_the_file(cache, cachedir):
    store(cache, b"a")
    os.setxattr(backing_file(cachedir, b"a"), PINNED_XATTR, b"1")
    file, _ = cache.volume(b"v").open(b"a", FILE, b"newer", label=b"a")
    assert file.write(0, CONTENT[:FILE])
    file.close()
    assert os.getxattr(backing_file(cachedir, b"a"), PINNED_XATTR) == b"1"


def test_one_culler_at_a_time(cache, cachedir):
    other = Cache.bind(cachedir)
    for number in range(50):
        store(cache, b"%d" % number, BLOCK)
    first = Culler(cache, lambda: Excess(1 << 40))
    assert first.step(0) is Step.MORE
    assert Culler(other, lambda: Excess(1)).step(1) is Step.BUSY
    first.close()
    assert Culler(other, lambda: Excess(1 << 40)).step(10) is Step.STUCK
    other.close()


@pytest.mark.parametrize("size", [4 * MIB, 20 * MIB])
def test_the_cap_holds_at_every_moment(cachedir, size):
    cache = Cache.bind(cachedir, limits=Limits(cachesize=size))
    culler = Culler(cache)
    most = stored = 0
    for number in range(40):
        stored += store(cache, b"%d" % number, FILE, step=256 * 1024)
        most = max(most, allocated(cachedir))
        while culler.wanted and culler.step(1) is Step.MORE:
            most = max(most, allocated(cachedir))
    assert most <= size
    assert most > size - max(size // 8, FILE)
    assert stored > 35 * FILE
    assert allocated(cachedir) > size - max(size // 6, 2 * FILE)
    cache.close()


def test_a_large_file_under_a_small_cap(cachedir):
    """Two processes' worth of caches read one file four times the cap."""
    caches = [Cache.bind(cachedir, limits=Limits(cachesize=4 * MIB)) for _ in range(2)]
    cullers = [Culler(cache) for cache in caches]
    files = [open_file(cache, b"large", len(CONTENT)) for cache in caches]
    for at in range(0, len(CONTENT), 256 * 1024):
        for file, culler in zip(files, cullers, strict=True):
            file.write(at, CONTENT[at : at + 256 * 1024])
            while culler.wanted and culler.step(1) is Step.MORE:
                pass
            assert allocated(cachedir) <= 4 * MIB
    for file in files:
        file.close()
    for cache in caches:
        cache.close()


def test_what_a_killed_process_had_set_aside_is_counted_until_the_recount(cachedir):
    script = (
        "import os, pathlib, signal, sys\n"
        "from cachefiles import Cache, Limits\n"
        "from tests.cachefiles.test_cull import store\n"
        "cache = Cache.bind(pathlib.Path(sys.argv[1]), limits=Limits(cachesize=64 << 20))\n"
        "store(cache, sys.argv[2].encode(), 1 << 16)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for number in range(1, 4):
        subprocess.run([sys.executable, "-c", script, cachedir, str(number)], check=False)
        cache = Cache.bind(cachedir, limits=Limits(cachesize=64 * MIB))
        assert cache.space.stale
        assert MIB <= cache.space.count().used <= 2 * MIB
        assert Culler(cache).step(10) is Step.DONE
        assert not cache.space.stale
        count = cache.space.count()
        assert number * BLOCK <= count.used <= number * (BLOCK + 32 * 1024)
        assert count.aside == 0
        cache.close()


def test_a_damaged_count_is_counted_anew(cachedir):
    cache = Cache.bind(cachedir, limits=Limits(cachesize=64 * MIB))
    store(cache, b"a")
    cache.close()
    (cachedir / "space").write_bytes(os.urandom(48))
    cache = Cache.bind(cachedir, limits=Limits(cachesize=64 * MIB))
    assert store(cache, b"b") == 0
    assert Culler(cache).step(10) is Step.DONE
    assert store(cache, b"b") == FILE
    assert cache.space.count().used > FILE
    cache.close()


def test_a_map_that_a_crash_left_alone_goes_and_foreign_files_stay(cache, cachedir):
    store(cache, b"a")
    path = backing_file(cachedir, b"a")
    path.unlink()
    foreign = path.with_name("letter")
    foreign.write_text("dear")
    cull_to(cache, 0)
    assert [each.name for each in path.parent.iterdir()] == ["letter"]


def test_a_volume_that_a_stopped_process_holds_does_not_keep_the_others(
    cache, cachedir, monkeypatch
):
    monkeypatch.setattr(folder, "_LOCK_TIMEOUT", 0.2)
    for number in range(6):
        store(cache, b"%d" % number)
    held = next(cachedir.glob("volumes/*"))
    file, _ = cache.volume(b"other").open(b"a", FILE, b"c")
    assert file.write(0, CONTENT[:FILE])
    file.close()
    lock = os.open(held, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with monkeypatch.context() as patched:
        asked = []
        alone = folder.Folder.alone
        patched.setattr(folder.Folder, "alone", lambda self: asked.append(self) or alone(self))
        step, culler = cull_to(cache, 0)
    assert len(asked) == 2  # the held volume once, the other once
    assert (step, culler.gone) == (Step.STUCK, 1)
    os.close(lock)
    step, culler = cull_to(cache, 0)
    assert culler.gone == 6


def test_what_is_no_file_is_passed_over(cache, cachedir):
    store(cache, b"a", 2 * SEGMENT)
    store(cache, b"b")
    large = backing_file(cachedir, b"a")
    side = large.with_name(large.name + ".map")
    side.unlink()
    os.mkfifo(side)
    (large.parent / (32 * "e")).symlink_to("/etc/passwd")
    _, culler = cull_to(cache, 0)
    assert culler.gone == 1
