"""What is found out before a server is asked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from netfsfuse.cli import checks
from netfsfuse.cli.checks import check_fuse, check_hidden, ready_mountpoint
from netfsfuse.cli.choices import Invoker
from netfsfuse.cli.probe import Answer, probe
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import Mount

ROOT = Invoker(0, 0, Path("/"))
USER = Invoker(1000, 1000, Path("/"))


def test_the_mount_point_is_resolved(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert ready_mountpoint(str(tmp_path / "link"), ROOT) == (tmp_path / "real").resolve()
    assert ready_mountpoint(f"{tmp_path}/link/../real/", ROOT) == (tmp_path / "real").resolve()


def test_a_name_that_is_no_utf8(tmp_path: Path):
    name = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff")
    Path(name).mkdir()
    assert str(ready_mountpoint(name, ROOT)).endswith("\udcff")


def test_an_ordinary_user_must_be_able_to_write_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert ready_mountpoint(str(tmp_path), ROOT)
    with pytest.raises(MountError, match="may write"):
        ready_mountpoint(str(tmp_path), USER)


def test_a_mount_hides_nothing_that_its_daemon_needs(tmp_path: Path) -> None:
    """Also by way of a link, also from above, also where it is still to be made."""
    mountpoint = tmp_path.resolve() / "mnt"
    (mountpoint / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("mnt/sub")
    (tmp_path / "mnt-cache").mkdir()
    for hidden in (mountpoint, mountpoint / "sub", mountpoint / "a/b", tmp_path / "link/cache"):
        with pytest.raises(MountError, match=f"{mountpoint} would hide its cache, {hidden}$"):
            check_hidden(mountpoint, {"its cache": hidden})
    check_hidden(mountpoint, {"its cache": tmp_path / "mnt-cache", "its log": None})
    with pytest.raises(MountError, match="would hide netfsfuse itself"):
        check_hidden(Path("/"), {})


def test_a_place_that_does_not_answer_is_left_to_those_who_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "probe", lambda _path, timeout: None)
    check_hidden(tmp_path, {"its cache": tmp_path})


class FakeMounts:
    """Mounts of ours on /mnt, the uppermost last, each dead, alive or hung."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *states: str) -> None:
        self.states = list(states)
        monkeypatch.setattr(checks, "read_mounts", self.read)
        monkeypatch.setattr(checks, "probe", self.probe)
        monkeypatch.setattr("netfsfuse.cli.probe.probe", self.probe)
        monkeypatch.setattr(checks, "detach", self.detach)

    def read(self) -> list[Mount]:
        return [Mount("/mnt", "fuse.netfsfuse", "//nas/films", "0:40") for _ in self.states]

    def probe(self, path: str, xattr: str = "", *, timeout: float) -> Answer | None:
        state = self.states[-1] if self.states else "alive"
        errno = 107 if state == "dead" and xattr else 0  # the kernel still knows the attributes
        return None if state == "hung" else Answer("/mnt", stat.S_IFDIR, errno, None)

    def detach(self, path: str, *, lazy: bool) -> None:
        assert (path, lazy) == ("/mnt", True)
        self.states.pop()


def test_dead_mounts_are_detached_first(monkeypatch: pytest.MonkeyPatch):
    mounts = FakeMounts(monkeypatch, "dead", "dead")
    assert ready_mountpoint("/mnt", ROOT) == Path("/mnt")
    assert mounts.states == []


def test_a_living_mount_of_ours_is_in_the_way(monkeypatch: pytest.MonkeyPatch):
    mounts = FakeMounts(monkeypatch, "alive", "dead")
    with pytest.raises(MountError, match=r"/mnt is already mounted \(//nas/films\)"):
        ready_mountpoint("/mnt", ROOT)
    assert mounts.states == ["alive"]


def test_a_hung_mount_does_not_hang_the_command(monkeypatch: pytest.MonkeyPatch):
    FakeMounts(monkeypatch, "hung")
    with pytest.raises(MountError, match="does not answer"):
        ready_mountpoint("/mnt", ROOT)


def test_a_probe_gives_up(tmp_path: Path):
    assert probe(str(tmp_path), timeout=0.0) is None


def test_fuse_device_missing(fuse_device: Path):
    with pytest.raises(MountError, match="is missing: load the kernel module"):
        check_fuse(ROOT, allow_other=False)


def test_fuse_device_closed(fuse_device: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MountError, match="may not be opened by this user"):
        check_fuse(USER, allow_other=False)


def test_an_ordinary_user_needs_fusermount(fuse_device: Path, monkeypatch: pytest.MonkeyPatch):
    fuse_device.touch()
    monkeypatch.setattr(checks, "find_program", lambda _: None)
    check_fuse(ROOT, allow_other=False)
    with pytest.raises(MountError, match="install the package fuse3"):
        check_fuse(USER, allow_other=False)


@pytest.mark.parametrize(
    ("text", "permitted"),
    [("#user_allow_other\n", False), ("mount_max = 3\n user_allow_other \n", True), (None, False)],
)
def test_allow_other_needs_permission(
    text: str | None,
    permitted: bool,
    fuse_device: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    fuse_device.touch()
    conf = tmp_path / "fuse.conf"
    if text is not None:
        conf.write_text(text)
    monkeypatch.setattr(checks, "FUSE_CONF", str(conf))
    monkeypatch.setattr(checks, "find_program", lambda name: f"/bin/{name}")
    check_fuse(ROOT, allow_other=True)
    check_fuse(USER, allow_other=False)
    if permitted:
        check_fuse(USER, allow_other=True)
        return
    with pytest.raises(MountError, match="user_allow_other"):
        check_fuse(USER, allow_other=True)
