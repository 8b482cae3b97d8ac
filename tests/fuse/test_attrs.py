"""What the kernel is told of a file: times, sizes, blocks, modes."""

from __future__ import annotations

import stat
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.config import ShownConfig
from netfsfuse.fuse.attrs import encode_name, encode_target, entry_of, negative_entry, statvfs_of
from netfsfuse.types import DIRECTORY, NO_TIME, READ_ONLY, FileAttr, VolumeStat
from netfsfuse.vfs.inodes.inodes import Inode
from tests.vfs.fakes import dir_attr, file_attr

SHOWN = ShownConfig(uid=1000, gid=100, file_mode=0o640, dir_mode=0o750)


def inode_of(attr: FileAttr, target: str | None = None) -> Inode:
    inode = Inode(7, None, "f", attr)
    inode.target = target
    return inode


def test_times() -> None:
    seconds = int(datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp())
    base = seconds * 10**9
    attr = file_attr(7)._replace(access=base + 100, write=base + 2000, change=base + 30_000)
    entry = entry_of(inode_of(attr), SHOWN, 2.5)
    assert entry.st_atime_ns == seconds * 10**9 + 100
    assert entry.st_mtime_ns == seconds * 10**9 + 2000
    assert entry.st_ctime_ns == seconds * 10**9 + 30_000


@pytest.mark.parametrize(
    "time",
    [
        0,
        -100,
        -999_999_900,
        -(10**9),
        -14_182_940_000_000_100,
        -11_644_473_600_000_001_000,  # before 1601
        2**63 + 100,  # beyond 2262
    ],
)
def test_times_before_1970_and_beyond_2262(time: int) -> None:
    """Scanned photographs, old archives: whole seconds downwards, nanoseconds upwards."""
    attr = file_attr(7)._replace(access=time, write=time, change=time)
    entry = entry_of(inode_of(attr), SHOWN, 2.5)
    assert entry.st_atime_ns == entry.st_mtime_ns == entry.st_ctime_ns == time


def test_times_that_the_server_does_not_have() -> None:
    attr = file_attr(7)._replace(access=NO_TIME, change=NO_TIME)
    entry = entry_of(inode_of(attr), SHOWN, 2.5)
    assert entry.st_atime_ns == 0
    assert entry.st_ctime_ns == entry.st_mtime_ns > 0
    entry = entry_of(inode_of(attr._replace(write=NO_TIME)), SHOWN, 2.5)
    assert entry.st_ctime_ns == entry.st_mtime_ns == 0


@pytest.mark.parametrize("creation", [NO_TIME, -100, 0, 2**64 + 100])
def test_a_generation_of_any_time_fits(creation: int) -> None:
    inode = inode_of(file_attr(7)._replace(creation=creation))
    assert entry_of(inode, SHOWN, 2.5).generation == creation % 2**64


@pytest.mark.parametrize(
    ("attr", "mode", "links"),
    [
        (file_attr(7), stat.S_IFREG | 0o640, 1),
        (file_attr(7)._replace(flags=READ_ONLY), stat.S_IFREG | 0o440, 1),
        (dir_attr(7), stat.S_IFDIR | 0o750, 2),
        (dir_attr(7)._replace(flags=DIRECTORY | READ_ONLY), stat.S_IFDIR | 0o750, 2),
    ],
)
def test_modes(attr: FileAttr, mode: int, links: int) -> None:
    entry = entry_of(inode_of(attr), SHOWN, 2.5)
    assert (entry.st_mode, entry.st_nlink) == (mode, links)
    assert (entry.st_uid, entry.st_gid) == (1000, 100)
    assert (entry.attr_timeout, entry.entry_timeout) == (2.5, 2.5)


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_sizes_and_blocks(size: int, allocation: int) -> None:
    attr = file_attr(7)._replace(size=size, allocation=allocation)
    entry = entry_of(inode_of(attr), SHOWN, 2.5)
    assert entry.st_size == size
    assert entry.st_blocks * 512 >= allocation > (entry.st_blocks - 1) * 512
    assert entry.st_blksize == 1 << 20
    assert entry.st_ino == 7
    assert entry.generation == attr.creation


@given(st.binary(min_size=1))
def test_a_links_size_is_its_targets(raw: bytes) -> None:
    target = raw.decode("utf-8", "surrogateescape")
    entry = entry_of(inode_of(file_attr(7, 1067), target), SHOWN, 2.5)
    assert stat.S_ISLNK(entry.st_mode)
    assert entry.st_size == len(raw)
    assert entry.st_blocks == 0
    assert encode_target(target) == raw


@given(st.text(st.characters(exclude_categories=())))
def test_names_and_targets_of_any_server_have_bytes(text: str) -> None:
    assert encode_name(text).decode("utf-8", "surrogatepass") == text
    assert isinstance(encode_target(text), bytes)


def test_negative_entry() -> None:
    entry = negative_entry(2.5)
    assert (entry.st_ino, entry.entry_timeout) == (0, 2.5)


def test_space() -> None:
    data = statvfs_of(VolumeStat(4096, 1000, 500, 400))
    assert (data.f_frsize, data.f_blocks, data.f_bfree, data.f_bavail) == (4096, 1000, 500, 400)
    assert (data.f_bsize, data.f_namemax) == (4096, 255)
