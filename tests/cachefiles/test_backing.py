from __future__ import annotations

import errno
import os

import pytest

from cachefiles.backing import Filesystem
from cachefiles.faults import Faults
from cachefiles.transfers import RWF_DONTCACHE, UNCACHED_MIN


@pytest.fixture
def fd(tmp_path):
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_refused_flag_falls_back_and_is_remembered(fd, monkeypatch, code):
    seen = []
    plain = {"pwritev": os.pwritev, "preadv": os.preadv}

    def refusing(name):
        def call(fd, buffers, offset, flags=0):
            seen.append((name, flags))
            if flags:
                raise OSError(code, "no")
            return plain[name](fd, buffers, offset)

        return call

    for name in plain:
        monkeypatch.setattr(os, name, refusing(name))
    filesystem = Filesystem()
    data = bytes(range(256)) * (UNCACHED_MIN // 256)
    target = memoryview(bytearray(UNCACHED_MIN))
    for _ in range(2):
        filesystem.write_all(fd, data, 0)
        assert filesystem.read_some(fd, target, 0) == UNCACHED_MIN
    assert target == data
    flags = RWF_DONTCACHE
    once = [("pwritev", flags), ("pwritev", 0), ("preadv", flags), ("preadv", 0)]
    assert seen == [*once, ("pwritev", 0), ("preadv", 0)]


def test_other_errors_are_no_refusal(fd, monkeypatch):
    def full(fd, buffers, offset, flags=0):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(OSError, match="full"):
        Filesystem().write_all(fd, bytes(UNCACHED_MIN), 0)


def test_short_transfers_are_continued(fd):
    faults = Faults()
    faults.shorten("pwritev", 7)
    faults.shorten("preadv", 5)
    filesystem = Filesystem(faults)
    data = os.urandom(100)
    filesystem.write_all(fd, data, 3)
    assert os.pread(fd, 200, 3) == data
    assert filesystem.read_some(fd, memoryview(bytearray(200)), 3) == 5
    assert faults.calls == {"pwritev": 15, "preadv": 1}


def test_extents(fd):
    filesystem = Filesystem()
    assert filesystem.data_extents(fd, 0, 1 << 30) == []
    for at in (0, 1 << 20, 2 << 20):
        os.pwrite(fd, bytes(4096), at)
    os.ftruncate(fd, 4 << 20)
    whole = [(0, 4096), (1 << 20, (1 << 20) + 4096), (2 << 20, (2 << 20) + 4096)]
    assert filesystem.data_extents(fd, 0, 8 << 20) == whole
    assert filesystem.data_extents(fd, 100, (1 << 20) + 7) == [
        (100, 4096),
        (1 << 20, (1 << 20) + 7),
    ]
    assert filesystem.data_extents(fd, 3 << 20, 4 << 20) == []


def test_files_are_private_and_symlinks_not_followed(tmp_path):
    filesystem = Filesystem()
    folder = filesystem.open_folder(os.fspath(tmp_path))
    old = os.umask(0)
    try:
        filesystem.make_folder("sub", folder)
        filesystem.make_folder("sub", folder)
        filesystem.close(filesystem.create("sub/file", folder))
    finally:
        os.umask(old)
    assert (tmp_path / "sub").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "sub/file").stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to("sub/file")
    with pytest.raises(OSError, match="symbolic"):
        filesystem.open("link", folder)
    with pytest.raises(OSError, match="symbolic"):
        filesystem.create("link", folder, exclusive=False)
    assert filesystem.unlink("link", folder)
    assert not filesystem.unlink("link", folder)
    assert os.get_inheritable(folder) is False
    filesystem.close(folder)
