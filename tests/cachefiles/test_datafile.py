"""Which way each transfer goes, what is remembered of refusals, and that the ways agree."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from pathlib import Path

import pytest

from cachefiles import Faults, transfers
from cachefiles.backing import Filesystem
from cachefiles.datafile import DIRECT_MIN, DataFile, direct_part
from cachefiles.transfers import ALIGNMENT, RWF_DONTCACHE
from tests.cachefiles.conftest import content_of, page_aligned

MIB = 1 << 20
CALLS = {"preadv": os.preadv, "pwritev": os.pwritev}


class Syscalls:
    """Every transfer as (name, way, length); ways named in ``refused`` fail with ``code``."""

    def __init__(self, monkeypatch, code=errno.EINVAL):
        self.seen = []
        self.refused = set()
        self.code = code
        for name in CALLS:
            monkeypatch.setattr(os, name, self.recording(name))

    def recording(self, name):
        def call(fd, buffers, offset, flags=0):
            way = "direct" if self.is_direct(fd) else "uncached" if flags else "plain"
            self.seen.append((name, way, len(buffers[0])))
            if way in self.refused:
                raise OSError(self.code, os.strerror(self.code))
            return CALLS[name](fd, buffers, offset, flags)

        return call

    @staticmethod
    def is_direct(fd):
        with open(f"/proc/self/fdinfo/{fd}") as lines:
            flags = next(line for line in lines if line.startswith("flags"))
        return bool(int(flags.split()[1], 8) & os.O_DIRECT)

    def take(self):
        seen, self.seen = self.seen, []
        return seen


@pytest.fixture
def syscalls(monkeypatch):
    return Syscalls(monkeypatch)


@pytest.fixture
def path(cachedir):
    cachedir.mkdir()
    return cachedir / "file"


def open_data(path, filesystem=None):
    filesystem = filesystem or Filesystem()
    return DataFile(filesystem, os.open(path, os.O_RDWR | os.O_CREAT))


def test_large_aligned_transfers_are_direct_and_the_tail_is_not(path, syscalls):
    data = open_data(path)
    size = MIB + 5000
    content = page_aligned(size, content_of(size))
    data.write_all(content, MIB)
    straight = MIB + ALIGNMENT
    rest = size - straight
    assert syscalls.take() == [("pwritev", "direct", straight), ("pwritev", "plain", rest)]
    target = page_aligned(size)
    assert data.read_into(target, MIB) == size
    assert target == content
    assert syscalls.take() == [("preadv", "direct", straight), ("preadv", "plain", rest)]
    assert data.extents(0, 3 * MIB)[-1] == (MIB, MIB + size)
    data.close()


@pytest.mark.parametrize("why", ["small", "offset", "memory", "read-only"])
def test_what_cannot_go_directly_goes_through_the_page_cache(path, syscalls, why):
    data = open_data(path)
    size = DIRECT_MIN - ALIGNMENT if why == "small" else DIRECT_MIN
    memory = page_aligned(size + 512)
    memory = memory[512:] if why == "memory" else memory[:size]
    if why == "read-only":
        memory = memory.toreadonly()
    offset = 512 if why == "offset" else 0
    assert direct_part(memory, 512) is None
    data.write_all(memory, offset)
    if why != "read-only":
        assert data.read_into(memory, offset) == size
    assert {way for _, way, _ in syscalls.take()} <= {"plain", "uncached"}
    data.close()


def test_direct_data_is_an_extent_at_once(path):
    """No delay as for buffered writes, and holes on both sides stay holes."""
    data = open_data(path)
    block = page_aligned(MIB, content_of(MIB))
    for at in (4 * MIB, 12 * MIB):
        data.write_all(block, at)
        assert (at, at + MIB) in data.extents(0, 16 * MIB)
    assert data.extents(0, 16 * MIB) == [(4 * MIB, 5 * MIB), (12 * MIB, 13 * MIB)]
    data.close()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP])
def test_refusals_are_remembered_for_all_files(path, syscalls, code):
    syscalls.refused = {"direct", "uncached"}
    syscalls.code = code
    filesystem = Filesystem()
    first = open_data(path, filesystem)
    content = page_aligned(MIB, content_of(MIB))
    target = page_aligned(MIB)
    first.write_all(content, 0)
    assert [way for _, way, _ in syscalls.take()] == ["direct", "uncached", "plain"]
    assert first.read_into(target, 0) == MIB
    assert [way for _, way, _ in syscalls.take()] == ["uncached", "plain"]
    second = open_data(path, filesystem)
    target[:] = bytes(MIB)
    assert second.read_into(target, 0) == MIB
    assert target == content
    assert [way for _, way, _ in syscalls.take()] == ["plain"]
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("code", "tries"), [(errno.EINVAL, 1), (errno.ENOENT, 1), (errno.EMFILE, 2)]
)
def test_a_second_descriptor_that_cannot_be_had(path, syscalls, code, tries):
    """One that the filesystem refuses is asked for once, one that is out today once a file."""
    faults = Faults()
    faults.fail_always("open", code)
    filesystem = Filesystem(faults)
    content = page_aligned(MIB, content_of(MIB))
    for _ in range(2):
        data = open_data(path, filesystem)
        data.write_all(content, 0)
        data.write_all(content, MIB)
        data.close()
    assert faults.calls["open"] == tries
    assert "direct" not in {way for _, way, _ in syscalls.take()}
    assert path.read_bytes() == bytes(content) * 2


def test_other_errors_are_no_refusal(path, syscalls):
    data = open_data(path)
    content = page_aligned(MIB)
    syscalls.refused, syscalls.code = {"direct"}, errno.ENOSPC
    with pytest.raises(OSError, match="space"):
        data.write_all(content, 0)
    syscalls.code = errno.EIO
    with pytest.raises(OSError, match="error"):
        data.read_into(content, 0)
    syscalls.refused = set()
    syscalls.take()
    data.write_all(content, 0)
    assert syscalls.take() == [("pwritev", "direct", MIB)]
    data.close()


@pytest.mark.parametrize("length", [100_000, 4096, 70_001, 100])
def test_short_transfers_are_continued(path, length):
    faults = Faults()
    faults.shorten("pwritev", length)
    faults.shorten("preadv", length)
    data = open_data(path, Filesystem(faults))
    size = DIRECT_MIN + 20_000
    content = page_aligned(size, content_of(size))
    data.write_all(content, 0)
    assert path.read_bytes() == content
    target = page_aligned(size + 5000)
    assert data.read_into(target, 0) == size
    assert target[:size] == content
    data.close()


@pytest.mark.parametrize("size", [0, 1, 4096, 5000, MIB - 1, MIB])
def test_the_end_of_a_file_that_was_cut(path, size):
    content = content_of(MIB)
    path.write_bytes(content[:size])
    data = open_data(path)
    target = page_aligned(2 * MIB)
    assert data.read_into(target, 0) == size
    assert target[:size] == content[:size]
    assert data.read_into(target, 4 * MIB) == 0
    data.close()


def test_the_ways_agree_whatever_their_order(path, monkeypatch):
    """Direct, uncached and plain transfers in one file, against a byte array."""
    dice = random.Random(5)
    size = 4 * MIB
    model = bytearray(size)
    path.write_bytes(model)
    data = open_data(path)
    source = page_aligned(size, content_of(size))
    for _ in range(300):
        start = dice.randrange(size)
        length = dice.randrange(1, 2 * MIB)
        if dice.random() < 0.7:
            start, length = start // ALIGNMENT * ALIGNMENT, max(length, DIRECT_MIN)
        length = min(length, size - start)
        monkeypatch.setattr(transfers, "UNCACHED_MIN", dice.choice([1, 1 << 40]))
        if dice.random() < 0.5:
            skew = dice.choice([0, 0, 0, 100])
            piece = source[skew : skew + length]
            data.write_all(piece, start)
            model[start : start + len(piece)] = piece
        else:
            target = page_aligned(length)
            assert data.read_into(target, start) == length
            assert target == model[start : start + length]
    data.close()
    assert path.read_bytes() == model


def test_descriptors_come_back(path):
    before = len(os.listdir("/proc/self/fd"))
    data = open_data(path)
    data.write_all(page_aligned(MIB), 0)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    data.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_renamed_or_removed_file_is_still_the_file(path):
    """The second descriptor is not opened by name."""
    data = open_data(path)
    path.rename(path.with_name("moved"))
    path.write_bytes(b"another file")
    content = page_aligned(MIB, content_of(MIB))
    data.write_all(content, 0)
    assert path.read_bytes() == b"another file"
    assert path.with_name("moved").read_bytes() == content
    data.close()


class TestWithoutWaiting:
    """On a disk: tmpfs refuses to say whether it would wait."""

    SIZE = 128 * 1024

    @pytest.fixture
    def path(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            yield Path(folder) / "file"

    @pytest.fixture
    def data(self, path):
        path.write_bytes(content_of(self.SIZE))
        opened = open_data(path)
        yield opened
        opened.close()

    def test_from_the_page_cache(self, data):
        target = memoryview(bytearray(self.SIZE))
        assert data.read_now(target, 0)
        assert target == content_of(self.SIZE)
        assert not data.read_now(target, 4096)  # some, not all

    def test_not_from_the_disk(self, path, data):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        target = memoryview(bytearray(self.SIZE))
        assert not data.read_now(target, 0)
        assert data.read_into(target, 0) == self.SIZE
        assert data.read_now(target, 0)
        os.close(fd)

    @pytest.mark.parametrize(
        ("code", "asked"), [(errno.EOPNOTSUPP, 1), (errno.EAGAIN, 2), (errno.EIO, 2)]
    )
    def test_errors_are_no_answer(self, path, code, asked):
        path.write_bytes(content_of(self.SIZE))
        faults = Faults()
        data = open_data(path, Filesystem(faults))
        target = memoryview(bytearray(self.SIZE))
        faults.fail_always("preadv", code)
        assert not data.read_now(target, 0)
        assert not data.read_now(target, 0)
        assert faults.calls["preadv"] == asked
        faults.heal()
        assert data.read_now(target, 0) is (asked == 2)
        data.close()


def test_the_flag_is_what_the_kernel_calls_it():
    assert RWF_DONTCACHE == 0x80
