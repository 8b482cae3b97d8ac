"""One object: what it stores, what damage costs, what it costs in syscalls."""

from __future__ import annotations

import os
import threading

import pytest

from cachefiles import BLOCK, Cache, Faults, Found
from tests.cachefiles.conftest import SIZE, backing_files, content_of, read_all

CONTENT = content_of(SIZE)


def open_file(volume, coherency=b"c1", size=SIZE):
    return volume.open(b"id:1", size, coherency)[0]


@pytest.fixture
def stored(volume):
    """The whole file, stored by a handle that is closed again."""
    file = open_file(volume)
    assert file.write(0, CONTENT)
    file.close()
    return CONTENT


def test_nothing_is_made_before_the_first_write(volume, cachedir):
    file = open_file(volume)
    assert not file.has_files
    assert file.occupancy(0, SIZE) == []
    assert read_all(file) is None
    assert list(cachedir.glob("volumes/*/*")) == []
    assert file.write(BLOCK, CONTENT[BLOCK : 2 * BLOCK])
    assert file.has_files
    file.close()
    data, entries = backing_files(cachedir)
    assert data.stat().st_mode & 0o777 == entries.stat().st_mode & 0o777 == 0o600


def test_what_was_written_is_read_now_and_after_reopening(volume):
    file = open_file(volume)
    assert file.write(BLOCK, CONTENT[BLOCK : 3 * BLOCK])
    assert file.write(4 * BLOCK, CONTENT[4 * BLOCK :])
    for _ in range(2):
        assert file.occupancy(0, SIZE) == [(BLOCK, 3 * BLOCK), (4 * BLOCK, SIZE)]
        assert file.occupancy(0, 5 * BLOCK) == [(BLOCK, 3 * BLOCK), (4 * BLOCK, SIZE)]
        assert file.occupancy(2 * BLOCK, 3 * BLOCK) == [(2 * BLOCK, 3 * BLOCK)]
        target = memoryview(bytearray(2 * BLOCK))
        assert file.read(BLOCK, target)
        assert target == CONTENT[BLOCK : 3 * BLOCK]
        tail = memoryview(bytearray(1000))
        assert file.read(4 * BLOCK, tail)
        assert tail == CONTENT[4 * BLOCK :]
        assert not file.read(0, target)
        file.close()
        file, found = volume.open(b"id:1", SIZE, b"c1")
        assert found is Found.STORED
    file.close()


def test_the_backing_file_is_the_file(stored, cachedir):
    data, _ = backing_files(cachedir)
    assert data.read_bytes() == stored


def test_ranges_must_be_whole_blocks_of_the_file(volume):
    file = open_file(volume)
    for start, length in [(1, BLOCK), (0, 5), (4 * BLOCK, BLOCK), (-BLOCK, BLOCK), (0, SIZE + 1)]:
        with pytest.raises(ValueError, match="blocks"):
            file.write(start, memoryview(bytes(length)))
        with pytest.raises(ValueError, match="blocks"):
            file.read(start, memoryview(bytearray(length)))
    assert file.write(0, memoryview(b""))
    assert file.occupancy(SIZE, SIZE + BLOCK) == []
    file.close()


def test_an_empty_file_is_no_trouble(volume):
    file = open_file(volume, size=0)
    assert file.write(0, memoryview(b""))
    assert file.occupancy(0, 0) == []
    assert not file.has_files
    file.close()


@pytest.mark.parametrize("at", [0, 5, 2 * BLOCK + 17, SIZE - 1])
def test_a_flipped_byte_costs_its_block_and_is_repaired(volume, stored, cachedir, at):
    data, _ = backing_files(cachedir)
    with data.open("r+b") as raw:
        raw.seek(at)
        byte = raw.read(1)[0]
        raw.seek(at)
        raw.write(bytes([byte ^ 1]))
    file = open_file(volume)
    assert read_all(file) is None
    block = at // BLOCK
    start, end = block * BLOCK, min(SIZE, (block + 1) * BLOCK)
    kept = [(a, b) for a, b in [(0, start), (end, SIZE)] if a < b]
    assert file.occupancy(0, SIZE) == kept
    assert file.write(start, CONTENT[start:end])
    assert read_all(file) == stored
    file.close()


def test_zeros_bridged_into_a_hole_are_not_data(volume, cachedir):
    file = open_file(volume)
    file.write(0, CONTENT[:BLOCK])
    file.write(2 * BLOCK, CONTENT[2 * BLOCK : 3 * BLOCK])
    data, _ = backing_files(cachedir)
    with data.open("r+b") as raw:
        raw.seek(BLOCK)
        raw.write(bytes(BLOCK))
    assert file.occupancy(0, SIZE) == [(0, BLOCK), (2 * BLOCK, 3 * BLOCK)]
    assert not file.read(BLOCK, memoryview(bytearray(BLOCK)))
    file.close()


def test_a_map_without_data_is_not_presence(volume, stored, cachedir):
    data, _ = backing_files(cachedir)
    os.truncate(data, BLOCK + 10)
    file = open_file(volume)
    assert file.occupancy(0, SIZE) == [(0, BLOCK)]
    assert read_all(file) is None
    assert file.read(0, memoryview(bytearray(BLOCK)))
    file.close()


def test_zeros_that_are_the_content_are_stored(volume):
    file = open_file(volume)
    zeros = memoryview(bytes(SIZE))
    assert file.write(0, zeros)
    assert read_all(file) == zeros
    file.close()


@pytest.mark.parametrize("damage", ["map gone", "map emptied", "map garbage"])
def test_a_lost_map_is_a_miss(volume, stored, cachedir, damage):
    _, entries = backing_files(cachedir)
    if damage == "map gone":
        entries.unlink()
    else:
        entries.write_bytes(b"" if damage == "map emptied" else os.urandom(40))
    file = open_file(volume)
    assert read_all(file) is None
    assert file.write(0, CONTENT)
    assert read_all(file) == stored
    file.close()


def test_files_of_two_generations_mixed_by_a_power_loss(volume, stored, cachedir):
    """The map of the first generation under the data of the second, and the reverse."""
    data, entries = backing_files(cachedir)
    old_data, old_map = data.read_bytes(), entries.read_bytes()
    other = content_of(SIZE, seed=2)
    for restore, raw in [(data, old_data), (entries, old_map)]:
        file = open_file(volume, b"c2")
        file.write(0, other)
        file.close()
        restore.write_bytes(raw)
        file = open_file(volume, b"c2")
        assert read_all(file) is None
        file.close()


def test_a_terabyte_that_is_all_hole_costs_nothing(volume, cachedir):
    size = 1 << 40
    file = open_file(volume, size=size)
    middle = size // 2
    block = memoryview(os.urandom(BLOCK))
    assert file.write(middle, block)
    assert file.occupancy(middle - (1 << 25), middle + (1 << 25)) == [(middle, middle + BLOCK)]
    target = memoryview(bytearray(BLOCK))
    assert file.read(middle, target)
    assert target == block
    file.close()
    data, entries = backing_files(cachedir)
    assert data.stat().st_blocks * 512 <= 2 * BLOCK
    assert entries.stat().st_blocks * 512 <= BLOCK


def test_syscalls_are_as_few_as_the_docstring_says(tmp_path):
    mib = 1 << 20
    size = 64 * mib
    faults = Faults()
    cache = Cache.bind(tmp_path / "cache", faults)
    volume = cache.volume(b"v")
    data = content_of(mib)
    volume.open(b"warm", size, b"c")[0].write(0, data[:BLOCK])  # its folder may have to be made

    def count(call):
        faults.calls.clear()
        result = call()
        return result, dict(faults.calls)

    (file, _), calls = count(lambda: volume.open(b"k", size, b"c"))
    assert calls == {"flock": 1, "open": 1}
    assert count(lambda: file.occupancy(0, 32 * mib)) == ([], {})
    file.write(0, data)
    assert file.write(mib, data)
    assert count(lambda: file.write(2 * mib, data)) == (
        True,
        {"pwritev": 2},
    )
    file.close()
    (file, _), calls = count(lambda: volume.open(b"k", size, b"c"))
    assert calls == {"flock": 2, "open": 1, "getxattr": 1, "create": 1, "utimensat": 1}
    found, calls = count(lambda: file.occupancy(0, 32 * mib))
    assert (found, calls) == ([(0, 3 * mib)], {"preadv": 1, "lseek": 2})
    target = memoryview(bytearray(mib))
    assert file.read(mib, target)  # stamps the segment
    assert count(lambda: file.read(mib, target)) == (True, {"preadv": 2, "fstat": 2})
    file.close()
    cache.close()


def test_closed_means_nothing_found_and_nothing_stored(volume, stored):
    file = open_file(volume)
    file.close()
    file.close()
    assert file.occupancy(0, SIZE) == []
    assert read_all(file) is None
    assert not file.write(0, CONTENT)


def test_a_close_during_a_read_waits_for_it(volume, stored, monkeypatch):
    """The descriptor's number must not be reused under a thread that reads from it."""
    file = open_file(volume)
    file.occupancy(0, SIZE)  # the map's page is kept: what follows reads data alone
    inside, go_on = threading.Event(), threading.Event()
    preadv = os.preadv

    def slow(fd, *rest):
        inside.set()
        assert go_on.wait(10)
        return preadv(fd, *rest)

    monkeypatch.setattr(os, "preadv", slow)
    results = []
    reader = threading.Thread(target=lambda: results.append(read_all(file)))
    reader.start()
    assert inside.wait(10)
    before = len(os.listdir("/proc/self/fd"))
    file.close()
    assert len(os.listdir("/proc/self/fd")) == before
    go_on.set()
    reader.join()
    assert results == [stored]
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_threads_on_one_object(volume):
    blocks = 64
    size = blocks * BLOCK
    content = content_of(size)
    file = open_file(volume, size=size)
    wrong = []

    def work(worker):
        target = memoryview(bytearray(BLOCK))
        for step in range(3 * blocks):
            start = (step * 7 + worker * 13) % blocks * BLOCK
            if file.read(start, target):
                if target != content[start : start + BLOCK]:
                    wrong.append(start)
            elif not file.write(start, content[start : start + BLOCK]):
                wrong.append(start)
            file.occupancy(0, size)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert read_all(file) == content
    file.close()
