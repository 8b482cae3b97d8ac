"""What the kernel is told of a file: times, sizes, blocks, modes."""

from __future__ import annotations

import stat
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.config import ShownConfig
from netfsfuse.fuse.attrs import encode_name, encode_target, entry_of, negative_entry, statvfs_of
from netfsfuse.types import FileAttr, VolumeStat
from netfsfuse.vfs.inodes.inodes import Inode
from tests.vfs.fakes import dir_attr, file_attr

SHOWN = ShownConfig(uid=1000, gid=100, file_mode=0o640, dir_mode=0o750)


def inode_of(attr: FileAttr, target: str | None = None) -> Inode:
    inode = Inode(7, None, "f", attr)
    inode.target = target
    return inode


def filetime(when: datetime) -> int:
    return int((when - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000


def test_times() -> None:
    base = filetime(datetime(2024, 2, 29, 12, tzinfo=UTC))
    seconds = int(datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp())
    attr = file_attr(7)._replace(access=base + 1, write=base + 20, change=base + 300)
    entry = entry_of(inode_of(attr), SHOWN, 2.5)
    assert entry.st_atime_ns == seconds * 10**9 + 100
    assert entry.st_mtime_ns == seconds * 10**9 + 2000
    assert entry.st_ctime_ns == seconds * 10**9 + 30_000


@pytest.mark.parametrize("before", [1, 9_999_999, 10_000_000, 141_829_400_000_001])
def test_times_before_1970(before: int) -> None:
    """Scanned photographs, old archives: whole seconds downwards, nanoseconds upwards."""
    attr = file_attr(7)._replace(write=filetime(datetime(1970, 1, 1, tzinfo=UTC)) - before)
    entry = entry_of(inode_of(attr), SHOWN, 2.5)
    assert entry.st_mtime_ns == -before * 100


def test_times_before_1601() -> None:
    entry = entry_of(inode_of(file_attr(7)._replace(write=2**64 - 10)), SHOWN, 2.5)
    assert entry.st_mtime_ns == filetime(datetime(1970, 1, 1, tzinfo=UTC)) * -100 - 1000


def test_times_that_the_server_does_not_have() -> None:
    attr = file_attr(7)._replace(access=0, change=0)
    entry = entry_of(inode_of(attr), SHOWN, 2.5)
    assert entry.st_atime_ns == 0
    assert entry.st_ctime_ns == entry.st_mtime_ns > 0


@pytest.mark.parametrize(
    ("attr", "mode", "links"),
    [
        (file_attr(7), stat.S_IFREG | 0o640, 1),
        (file_attr(7)._replace(attributes=0x21), stat.S_IFREG | 0o440, 1),
        (dir_attr(7), stat.S_IFDIR | 0o750, 2),
        (dir_attr(7)._replace(attributes=0x11), stat.S_IFDIR | 0o750, 2),
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
