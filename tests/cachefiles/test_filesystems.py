"""On ext4, XFS and btrfs: zeros bridged into holes, data punched, extents moved behind our back.

Whatever is done to the files, a read says True for right bytes alone; and what was not touched, or
only moved about, is still found.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cachefiles import BLOCK, Cache, Culler, NoSpace, Step, Verify
from cachefiles.limits import MIB, Excess
from tests.cachefiles.conftest import content_of, page_aligned
from tests.support.loopfs import SMALLEST, loop_filesystem

pytestmark = pytest.mark.mount

KINDS = ("ext4", "xfs", "btrfs")
BLOCKS = 80
SIZE = BLOCKS * BLOCK - 1234
CONTENT = content_of(SIZE)
STORED = frozenset({*range(20), *range(24, 40), 50, 52, 54, 60, 79})
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT = 1, 2, 8, 16, 32
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module", params=KINDS)
def disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        with loop_filesystem(
            request.param, max(SMALLEST[request.param], 64 * MIB), folder
        ) as where:
            yield where
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def cachedir(disk: Path) -> Iterator[Path]:
    where = Path(tempfile.mkdtemp(dir=disk))
    yield where
    shutil.rmtree(where)


def fallocate(fd: int, mode: int, start: int, length: int) -> None:
    done = LIBC.fallocate(fd, mode, ctypes.c_long(start), ctypes.c_long(length))
    if done:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def rearrange(path: Path, *words: str) -> None:
    """A program that moves extents about; those that can do nothing with this file may say so."""
    program = shutil.which(words[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program is not None, f"{words[0]} is missing"
    subprocess.run([program, *words[1:], path], check=False, capture_output=True)


def defragment(path: Path, fd: int) -> set[int]:
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", path], check=True, capture_output=True, text=True
    ).stdout.strip()
    os.fsync(fd)
    if kind == "xfs":
        rearrange(path, "xfs_fsr")
    elif kind == "btrfs":
        rearrange(path, "btrfs", "filesystem", "defragment", "-f")
    else:
        rearrange(path, "e4defrag")
    return set()


def copy_sparse(path: Path, fd: int, how: str) -> set[int]:
    copy = path.with_name("copy")
    subprocess.run(["cp", f"--sparse={how}", "--preserve=all", path, copy], check=True)
    os.replace(copy, path)
    return set()


def bridge(path: Path, fd: int) -> set[int]:
    """Zeros into every hole."""
    for number in range(BLOCKS):
        if number not in STORED:
            length = min(BLOCK, SIZE - number * BLOCK)
            os.pwrite(fd, bytes(length), number * BLOCK)
    return set()


def preallocate(path: Path, fd: int) -> set[int]:
    fallocate(fd, 0, 0, SIZE)
    return set()


def zero_range(path: Path, fd: int) -> set[int]:
    fallocate(fd, ZERO_RANGE, 3 * BLOCK, 2 * BLOCK)
    return {3, 4}


def punch(path: Path, fd: int) -> set[int]:
    fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 5 * BLOCK + 100, BLOCK)
    return {5, 6}


def collapse(path: Path, fd: int) -> set[int]:
    fallocate(fd, COLLAPSE, 10 * BLOCK, BLOCK)
    return set(range(10, BLOCKS))


def insert(path: Path, fd: int) -> set[int]:
    fallocate(fd, INSERT, 10 * BLOCK, BLOCK)
    return set(range(10, BLOCKS))


def cut_and_grow(path: Path, fd: int) -> set[int]:
    os.ftruncate(fd, 30 * BLOCK + 5)
    os.ftruncate(fd, SIZE)
    return set(range(30, BLOCKS))


ACTIONS: dict[str, Callable[[Path, int], set[int]]] = {
    "zeros into holes": bridge,
    "preallocated": preallocate,
    "zeroed range": zero_range,
    "punched": punch,
    "collapsed": collapse,
    "inserted": insert,
    "cut and grown": cut_and_grow,
    "cp --sparse=always": lambda path, fd: copy_sparse(path, fd, "always"),
    "cp --sparse=never": lambda path, fd: copy_sparse(path, fd, "never"),
    "defragmented": defragment,
}


def open_file(cache):
    return cache.volume(b"v").open(b"k", SIZE, b"c")[0]


def store(file, blocks=STORED) -> None:
    for number in sorted(blocks):
        piece = CONTENT[number * BLOCK : (number + 1) * BLOCK]
        assert file.write(number * BLOCK, page_aligned(len(piece), piece))


def found(file) -> set[int]:
    """The blocks that a read gives, one by one and in threes, all compared."""
    right = set()
    for count in (3, 1):
        for number in range(0, BLOCKS, count):
            start, end = number * BLOCK, min((number + count) * BLOCK, SIZE)
            target = page_aligned(end - start)
            if file.read(start, target):
                assert target == CONTENT[start:end]
                right |= set(range(number, min(number + count, BLOCKS)))
    return right


@pytest.mark.parametrize("verify", [Verify.OPEN, Verify.ALWAYS])
@pytest.mark.parametrize("while_open", [False, True])
@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_extents_that_change_behind_our_back(cachedir, action, while_open, verify):
    cache = Cache.bind(cachedir / "cache", verify=verify)
    file = open_file(cache)
    store(file)
    assert found(file) == STORED
    if not while_open:
        file.close()
    path = next(each for each in cachedir.glob("cache/volumes/*/*/*") if each.suffix != ".map")
    fd = os.open(path, os.O_RDWR)
    try:
        lost = ACTIONS[action](path, fd)
    except OSError as error:
        if error.errno != 95:  # this filesystem cannot do that
            raise
        lost = set()
    finally:
        os.close(fd)
    if not while_open:
        file = open_file(cache)
    replaced = while_open and action.startswith("cp")  # the open files have no name any more
    assert found(file) == STORED - lost
    if not replaced:
        store(file, lost & STORED)
        assert found(file) == STORED
    file.close()
    cache.close()


def test_the_way_of_transfers_is_found_out(cachedir):
    """Large and small, aligned and not, at odd sizes: stored and read back whole."""
    cache = Cache.bind(cachedir / "cache")
    for number, size in enumerate([1, 4095, 4096, BLOCK - 1, BLOCK + 1, 5 * MIB - 3, 8 * MIB]):
        data = content_of(size, seed=number)
        file, _ = cache.volume(b"v").open(b"%d" % number, size, b"c")
        for memory in (page_aligned(size, data), memoryview(bytearray(data))):
            assert file.write(0, memory)
            for target in (page_aligned(size), memoryview(bytearray(size))):
                assert file.read(0, target)
                assert target == data
        file.close()
    cache.close()


def test_culling_frees_what_it_says(cachedir):
    cache = Cache.bind(cachedir / "cache")
    file, _ = cache.volume(b"v").open(b"large", 16 * MIB, b"c")
    data = content_of(MIB)
    for at in range(0, 16 * MIB, MIB):
        assert file.write(at, page_aligned(MIB, data))
    cache.sync()
    before = os.statvfs(cachedir)
    culler = Culler(cache, lambda: Excess(max(0, 8 * MIB - culler.freed)))
    while culler.step(1) is Step.MORE:
        pass
    assert 8 * MIB <= culler.freed <= 12 * MIB
    subprocess.run(["sync", "-f", cachedir], check=True)
    after = os.statvfs(cachedir)
    if after.f_files:  # btrfs frees an extent only when nothing of it is left
        assert (after.f_bfree - before.f_bfree) * after.f_frsize >= 7 * MIB
    file.close()
    cache.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_only_remount_in_mid_write(kind, tmp_path):
    with loop_filesystem(kind, max(SMALLEST[kind], 64 * MIB), tmp_path) as where:
        cache = Cache.bind(where / "cache")
        file = open_file(cache)
        store(file, {0, 1, 2})
        other, _ = cache.volume(b"v").open(b"other", SIZE, b"c")
        file.close()
        subprocess.run(["mount", "-o", "remount,ro", where], check=False, capture_output=True)
        # Open descriptors for writing keep some filesystems from it; then nothing changes.
        read_only = bool(os.statvfs(where).f_flag & os.ST_RDONLY)
        if read_only:
            with pytest.raises(NoSpace):
                other.write(0, page_aligned(BLOCK, CONTENT[:BLOCK]))
            subprocess.run(["mount", "-o", "remount,rw", where], check=True)
        assert other.write(0, page_aligned(BLOCK, CONTENT[:BLOCK]))
        file = open_file(cache)
        assert found(file) == {0, 1, 2}
        file.close()
        other.close()
        cache.close()
