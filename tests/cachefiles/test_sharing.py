"""Two processes' worth of caches on one directory: generations, culls and locks between them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from cachefiles import BLOCK, Cache, CacheError, Found, folder, space
from cachefiles import object as object_module
from tests.cachefiles.conftest import SIZE, content_of, read_all

OLD, NEW = content_of(SIZE, 1), content_of(SIZE, 2)


@pytest.fixture
def two(cachedir):
    caches = [Cache.bind(cachedir), Cache.bind(cachedir)]
    yield [cache.volume(b"v") for cache in caches]
    for cache in caches:
        cache.close()


def opened(volume, coherency=b"1"):
    return volume.open(b"k", SIZE, coherency)[0]


def test_blocks_stored_by_each_are_found_by_both(two):
    ours, theirs = map(opened, two)
    assert ours.write(0, OLD[: 2 * BLOCK])
    assert theirs.write(2 * BLOCK, OLD[2 * BLOCK :])
    assert read_all(ours) == read_all(theirs) == OLD
    ours.close()
    theirs.close()


def test_a_fill_that_began_before_an_invalidation_is_dropped(two, monkeypatch):
    monkeypatch.setattr(object_module, "NAME_CHECK", 0.0)
    ours = opened(two[0])
    assert ours.write(0, OLD[:BLOCK])
    theirs = opened(two[1], b"2")
    assert not ours.write(BLOCK, OLD[BLOCK : 2 * BLOCK])
    assert ours.retired
    assert theirs.write(0, NEW)
    assert read_all(theirs) == NEW
    again, found = two[0].open(b"k", SIZE, b"2")
    assert found is Found.STORED
    assert read_all(again) == NEW
    for file in (ours, theirs, again):
        file.close()


def test_an_older_object_that_stored_nothing_does_not_bury_a_newer_one(two):
    ours = opened(two[0])
    theirs = opened(two[1], b"2")
    assert theirs.write(0, NEW)
    assert not ours.write(0, OLD)
    assert read_all(theirs) == NEW
    ours.invalidate()
    assert read_all(theirs) == NEW
    ours.close()
    theirs.close()


def test_invalidating_what_another_replaced_leaves_the_new(two):
    ours = opened(two[0])
    assert ours.write(0, OLD)
    theirs = opened(two[1], b"2")
    assert theirs.write(0, NEW)
    ours.invalidate()
    ours.close()
    assert read_all(theirs) == NEW
    theirs.close()
    again, found = two[0].open(b"k", SIZE, b"2")
    assert found is Found.STORED
    again.close()


@contextmanager
def stopped_with_the_lock_of(path):
    """Another process has it and does nothing."""
    holder = (
        "import fcntl, os, sys\n"
        "fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield
        process.stdin.close()


@contextmanager
def nothing_waits(monkeypatch):
    """A call that would wait for another process fails the test."""

    def sleep(seconds):
        pytest.fail(f"waits {seconds} s")

    with monkeypatch.context() as patched:
        patched.setattr("cachefiles.turn.time.sleep", sleep)
        yield


def test_a_process_stopped_with_the_lock_is_waited_for_once(two, cachedir, monkeypatch):
    monkeypatch.setattr(folder, "_LOCK_TIMEOUT", 0.3)
    (where,) = (cachedir / "volumes").iterdir()
    with stopped_with_the_lock_of(where):
        before = time.monotonic()
        with pytest.raises(CacheError, match="too long"):
            opened(two[0])
        assert time.monotonic() - before >= 0.3
        with nothing_waits(monkeypatch):
            for _ in range(20):
                with pytest.raises(CacheError, match="too long"):
                    opened(two[0])
    file = opened(two[0])
    assert file.write(0, OLD)
    file.close()


def test_nor_is_the_one_that_has_the_count(two, cachedir, monkeypatch):
    monkeypatch.setattr(space, "_LOCK_TIMEOUT", 0.3)
    file = opened(two[0])
    with stopped_with_the_lock_of(cachedir / "space"):
        before = time.monotonic()
        with pytest.raises(CacheError, match="too long"):
            file.write(0, OLD)
        assert time.monotonic() - before >= 0.3
        with nothing_waits(monkeypatch):
            for _ in range(20):
                with pytest.raises(CacheError, match="too long"):
                    file.write(0, OLD)
    assert file.write(0, OLD)
    file.close()


def test_many_threads_of_two_processes_open_store_and_change(two):
    """No error, no wrong byte; what a generation's last store said is there or the other's is."""
    errors = []
    contents = {b"%d" % number: content_of(SIZE, number) for number in range(4)}

    def work(volume, seed):
        try:
            for round_ in range(60):
                generation = b"%d" % ((round_ + seed) // 5 % 4)
                file, _ = volume.open(b"k", SIZE, generation)
                at = (round_ * 7 + seed) % 5 * BLOCK
                piece = contents[generation][at : at + BLOCK]
                file.write(at, piece)
                target = memoryview(bytearray(len(piece)))
                if file.read(at, target):
                    assert target == piece
                file.close()
        except BaseException as error:
            errors.append(error)

    before = len(os.listdir("/proc/self/fd"))
    threads = [threading.Thread(target=work, args=(two[number % 2], number)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_bind_at_once(cachedir):
    """A new directory, and one that others have bound."""
    errors = []
    barrier = threading.Barrier(6)

    def bind():
        try:
            barrier.wait()
            for _ in range(15):
                cache = Cache.bind(cachedir)
                file = opened(cache.volume(b"v"))
                assert file.write(0, OLD)
                file.close()
                cache.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=bind) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
