"""``Object.read_now``: right bytes or False, and never a wait."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from pathlib import Path

import pytest

from cachefiles import BLOCK, Cache, Faults
from tests.cachefiles.conftest import SIZE, backing_files, content_of, read_all

CONTENT = content_of(SIZE)


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def cachedir():
    """On a disk: tmpfs refuses to say whether it would wait."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder) / "cache"


@pytest.fixture
def volume(cachedir, faults):
    cache = Cache.bind(cachedir, faults)
    yield cache.volume(b"v")
    cache.close()


@pytest.fixture
def file(volume):
    opened, _ = volume.open(b"k", SIZE, b"c")
    assert opened.write(0, CONTENT)
    yield opened
    opened.close()


def read_now(file, start=0, end=SIZE):
    target = memoryview(bytearray(end - start))
    return bytes(target) if file.read_now(start, target) else None


def test_what_is_in_memory_takes_two_calls(file, faults):
    faults.calls.clear()
    assert read_now(file) == CONTENT
    assert read_now(file, 4 * BLOCK, SIZE) == CONTENT[4 * BLOCK :]
    assert faults.calls == {"preadv": 4}


def test_a_map_that_is_not_in_memory_is_not_fetched(file, faults, monkeypatch):
    preadv = os.preadv

    def waiting(fd, buffers, offset, flags=0):
        if flags & os.RWF_NOWAIT and len(buffers[0]) < BLOCK:
            raise BlockingIOError(errno.EAGAIN, "would wait")
        return preadv(fd, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", waiting)
    assert read_now(file) is None
    assert read_all(file) == CONTENT


def test_blocks_not_stored_cost_no_read_of_data(volume, faults):
    part, _ = volume.open(b"part", SIZE, b"c")
    assert read_now(part) is None
    part.write(0, CONTENT[:BLOCK])
    faults.calls.clear()
    assert read_now(part) is None
    assert faults.calls == {"preadv": 1}  # the map
    assert read_now(part, 0, BLOCK) == CONTENT[:BLOCK]
    part.close()


def test_a_flipped_byte_is_refused_and_left_to_read(file, cachedir):
    data, _ = backing_files(cachedir)
    with data.open("r+b") as raw:
        raw.seek(BLOCK + 5)
        raw.write(bytes([CONTENT[BLOCK + 5] ^ 1]))
    assert read_now(file) is None
    assert file.occupancy(0, SIZE) == [(0, SIZE)]
    assert read_all(file) is None
    assert file.occupancy(0, SIZE) == [(0, BLOCK), (2 * BLOCK, SIZE)]


def test_another_thread_at_the_map_is_not_waited_for(file, monkeypatch):
    inside, go_on = threading.Event(), threading.Event()
    pwritev = os.pwritev

    def slow(fd, buffers, *rest):
        if len(buffers[0]) < BLOCK:  # the map's entries
            inside.set()
            assert go_on.wait(10)
        return pwritev(fd, buffers, *rest)

    monkeypatch.setattr(os, "pwritev", slow)
    writer = threading.Thread(target=lambda: file.write(0, CONTENT[:BLOCK]))
    writer.start()
    assert inside.wait(10)
    assert read_now(file) == CONTENT
    go_on.set()
    writer.join()
    assert read_now(file) == CONTENT


def test_retired_and_closed_files_answer_nothing(volume, file):
    newer, _ = volume.open(b"k", SIZE, b"d")
    assert read_now(file) is None
    assert read_now(newer) is None
    newer.close()


def test_ranges_must_be_whole_blocks(file):
    with pytest.raises(ValueError, match="blocks"):
        file.read_now(1, memoryview(bytearray(BLOCK)))
    assert file.read_now(0, memoryview(bytearray(0)))
