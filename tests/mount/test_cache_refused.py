"""A cache directory that is of no use: a clear line, a working mount, nobody's files touched."""

from __future__ import annotations

import mmap
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB, compare, dd, digest, sha256
from tests.support.loopfs import loop_filesystem
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]

pytestmark = pytest.mark.mount


@contextmanager
def a_file(folder: Path) -> Iterator[Path]:
    (folder / "letter").write_text("dear")
    yield folder / "letter"
    assert (folder / "letter").read_text() == "dear"


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    with loop_filesystem("ext4", 32 * MIB, folder) as where:
        subprocess.run(["mount", "-o", "remount,ro", where], check=True)
        yield where


@contextmanager
def without_xattrs(folder: Path) -> Iterator[Path]:
    where = folder / "ramfs"
    where.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "-o", "mode=700", "none", where], check=True)
    try:
        yield where
        assert not (where / "volumes").exists()
    finally:
        subprocess.run(["umount", where], check=True)


@contextmanager
def somebody_elses(folder: Path) -> Iterator[Path]:
    where = folder / "theirs"
    where.mkdir(mode=0o700)
    os.chown(where, 65534, 65534)
    yield where
    assert list(where.iterdir()) == []


@contextmanager
def with_other_files(folder: Path) -> Iterator[Path]:
    where = folder / "home"
    where.mkdir(mode=0o700)
    (where / "letter").write_text("dear")
    yield where
    assert [each.name for each in where.iterdir()] == ["letter"]


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (a_file, "Not a directory"),
        (read_only, "Read-only file system"),
        (without_xattrs, "extended attributes"),
        (somebody_elses, "belongs to user 65534"),
        (with_other_files, "it holds other files"),
    ],
)
def test_a_directory_of_no_use(samba, mount: Mount, tmp_path, place, line) -> None:
    there = samba.path / "bad-cachedir"
    data.write_file(there, 3 * MIB + 5)
    with place(tmp_path) as cachedir:
        mounted = mount(samba, now=False)
        mounted.cachedir = cachedir
        result = mounted.try_mount()
        assert result.returncode == 0, result.stderr
        assert line in result.stderr
        assert "reading without a cache" in result.stderr
        assert len(result.stderr.splitlines()) == 1
        compare(mounted.path / there.name, there)
        mounted.umount()


def test_garbage_inside_and_random_maps(samba: PrivateSamba, mount: Mount) -> None:
    there = samba.path / "garbled"
    data.write_file(there, 5 * MIB + 77)
    mounted = mount(samba)
    compare(mounted.path / there.name, there)
    mounted.umount()
    maps = list(mounted.cachedir.glob("volumes/*/*/*.map"))
    assert maps
    for path in maps:
        path.write_bytes(os.urandom(8192))
    (mounted.cachedir / "space").write_bytes(os.urandom(77))
    garbage = [mounted.cachedir / "letter", mounted.cachedir / "volumes/letter"]
    garbage += [path.with_name("letter") for path in maps] + [maps[0].parents[1] / "zz"]
    for path in garbage:
        path.write_text("dear")
    for options in ([], ["cachesize=1M"]):
        mounted.options = options
        mounted.mount()
        for _ in range(2):
            assert digest(dd(mounted.path / there.name, direct=True)) == sha256(there)
        mounted.umount()
    assert all(path.read_text() == "dear" for path in garbage)


def test_a_newer_format_is_set_aside(samba: PrivateSamba, mount: Mount) -> None:
    there = samba.path / "newer-format"
    data.write_file(there, MIB)
    mounted = mount(samba)
    compare(mounted.path / there.name, there)
    mounted.umount()
    kept = sorted(path.name for path in mounted.cachedir.glob("volumes/*/*/*"))
    (mounted.cachedir / "version").write_text("cachefiles 7\n")
    result = mounted.try_mount()
    assert result.returncode == 0
    assert f"set aside as {mounted.cachedir}/volumes.7" in result.stderr
    compare(mounted.path / there.name, there)
    assert sorted(path.name for path in mounted.cachedir.glob("volumes.7/*/*/*")) == kept
    mounted.umount()


def test_a_hit_costs_no_message(samba: PrivateSamba, mount: Mount) -> None:
    there = samba.path / "hit-without-message"
    data.write_file(there, 8 * MIB)
    mounted = mount(samba, "actimeo=60")
    compare(mounted.path / there.name, there)
    mounted.remount()
    fd = os.open(mounted.path / there.name, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, MIB) as memory:
            os.preadv(fd, [memory], 0)
            before = mounted.messages()
            for at in range(0, 8 * MIB, MIB):
                assert os.preadv(fd, [memory], at) == MIB
            assert os.stat(mounted.path / there.name).st_size == 8 * MIB
            assert mounted.messages() == before
    finally:
        os.close(fd)
