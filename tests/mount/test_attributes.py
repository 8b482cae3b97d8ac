"""What ``stat``, ``du``, ``df`` and ``ls -l`` say: the server's figures, or what was asked for."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server import data
from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB, wait_settled
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]


def du(path: Path) -> int:
    """Allocated bytes of a tree's files, as ``du`` counts."""
    command = ["du", "-s", "--block-size=1", str(path)]
    return int(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    )


def test_sizes_blocks_times_and_numbers(samba: PrivateSamba, mount: Mount) -> None:
    """Each figure of ``stat`` against the server's own; inode numbers also after a remount."""
    folder = samba.path / "attributes"
    folder.mkdir()
    data.write_file(folder / "full", 3 * MIB + 5)
    (folder / "empty").write_bytes(b"")
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    os.utime(folder / "full", ns=(10**18 + 123_456_700, 10**18 + 987_654_300))
    os.utime(folder / "empty", ns=(0, 1_000_000_000))
    os.utime(folder / "sparse", ns=(-(10**18), -(10**18) - 987_654_300))
    wait_settled(folder / "empty")
    mounted = mount(samba)
    for _ in range(2):
        for name in ("full", "empty", "sparse"):
            there, here = (folder / name).stat(), (mounted.path / folder.name / name).stat()
            assert here.st_size == there.st_size
            assert here.st_blksize == MIB
            assert here.st_mtime_ns == there.st_mtime_ns // 100 * 100, name
            assert here.st_ino == there.st_ino
            assert here.st_nlink == 1
        listed = {entry.name: entry.inode() for entry in os.scandir(mounted.path / folder.name)}
        assert listed == {path.name: path.stat().st_ino for path in folder.iterdir()}
        mounted.remount()


def test_du_is_right(samba: PrivateSamba, mount: Mount) -> None:
    """Allocated space, not size: a sparse file is small. Samba rounds up to its 1 MiB at most."""
    folder = samba.path / "usage"
    folder.mkdir()
    with (folder / "sparse").open("wb") as sparse:
        sparse.write(b"x" * 4096)
        sparse.truncate(1 << 40)
    for number in range(5):
        data.write_file(folder / f"file-{number}", MIB + number)
    os.sync()
    mounted = mount(samba)
    for path in folder.iterdir():
        here = (mounted.path / folder.name / path.name).stat()
        assert here.st_blocks == path.stat().st_blocks, path.name
    total = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    assert total <= du(mounted.path / folder.name) <= total + MIB


def test_statfs_is_the_server_s(samba: PrivateSamba, mount: Mount) -> None:
    """``df`` shows the volume that the share lies on."""
    mounted = mount(samba)
    here, there = os.statvfs(mounted.path), os.statvfs(samba.path)
    assert here.f_blocks * here.f_frsize == there.f_blocks * there.f_frsize
    assert here.f_bsize == here.f_frsize
    slack = 256 * MIB  # others write to this disk as well
    assert abs(here.f_bavail * here.f_frsize - there.f_bavail * there.f_frsize) < slack
    assert here.f_bfree >= here.f_bavail
    assert here.f_namemax == 255
    assert not here.f_flag & os.ST_RDONLY


def test_what_may_not_be_read_may_be_looked_at(
    samba_factory: Callable[..., PrivateSamba], mount: Mount
) -> None:
    """Sizes and times of a file and a folder without any permission for us, and a link's target."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as path:
        folder = Path(path)
        other = {"force user": "nobody"} if os.getuid() == 0 else {}  # root may read everything
        server = samba_factory(shares={"other": {"path": path, **other}})
        folder.chmod(0o755)
        (folder / "file").write_bytes(b"12345")
        (folder / "folder").mkdir()
        for each in (folder / "file", folder / "folder"):
            each.chmod(0)
        here = mount(server, source=f"//{server.host}:{server.port}/other", now=True).path
        assert (here / "file").stat().st_size == 5
        assert (here / "folder").is_dir()
        with pytest.raises(PermissionError):
            (here / "file").read_bytes()
        with pytest.raises(PermissionError):
            os.listdir(here / "folder")
        assert sorted(os.listdir(here)) == ["file", "folder"]


def test_owner_and_modes_are_those_asked_for(samba: PrivateSamba, mount: Mount) -> None:
    """uid, gid, file_mode, dir_mode; and the defaults are mount.cifs's."""
    folder = samba.path / "modes"
    folder.mkdir()
    (folder / "file").write_text("x")
    asked = mount(samba, "uid=1234", "gid=2345", "file_mode=0640", "dir_mode=0750")
    for name, mode in (("", stat.S_IFDIR | 0o750), ("file", stat.S_IFREG | 0o640)):
        shown = (asked.path / "modes" / name).stat()
        assert (shown.st_mode, shown.st_uid, shown.st_gid) == (mode, 1234, 2345)
    plain = mount(samba, "nofsc")
    shown = (plain.path / "modes" / "file").stat()
    assert (stat.S_IMODE(shown.st_mode), shown.st_uid, shown.st_gid) == (
        0o755,
        os.getuid(),
        os.getgid(),
    )
