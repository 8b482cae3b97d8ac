"""A mount that is not to write, or cannot: ``ro`` stands in /proc/mounts, and all gets EROFS."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted


def shown(mounted: Mounted) -> tuple[str, str, set[str]]:
    """Source, type and options in /proc/mounts."""
    lines = Path("/proc/mounts").read_text().splitlines()
    (line,) = [line for line in lines if str(mounted.path) in line]
    source, _, kind, options, *_ = line.split()
    return source, kind, set(options.split(","))


def refuses_writers(mounted: Mounted, server: Path) -> None:
    """Each writing call answers EROFS; nothing changed on the server."""
    there, new = mounted.path / "hello.txt", mounted.path / "new"
    attempts: list[Callable[[], object]] = [
        lambda: there.open("a"),
        lambda: there.open("w"),
        lambda: there.touch(),
        lambda: there.chmod(0o600),
        lambda: os.chown(there, 1, 1),
        lambda: os.truncate(there, 0),
        lambda: os.setxattr(there, "user.x", b"y"),
        lambda: os.removexattr(there, "user.x"),
        lambda: os.link(there, new),
        there.unlink,
        lambda: there.rename(new),
        new.touch,
        new.mkdir,
        lambda: os.mkfifo(new),
        lambda: new.symlink_to("x"),
    ]
    for attempt in attempts:
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            attempt()
    assert os.listdir(mounted.path) == os.listdir(server)
    assert (server / "hello.txt").read_text() == "hello\n"


def test_ro(samba: PrivateSamba, mount) -> None:
    """fsname, type and ro."""
    (samba.path / "hello.txt").write_text("hello\n")
    mounted = mount(samba, "ro")
    source, kind, options = shown(mounted)
    assert (source, kind) == ("//127.0.0.1/share", "fuse.netfsfuse")
    assert "ro" in options
    refuses_writers(mounted, samba.path)


def test_rw_is_the_default(samba: PrivateSamba, mount) -> None:
    for words in ([], ["ro", "rw"]):
        assert "rw" in shown(mount(samba, *words))[2]


@pytest.mark.parametrize("words", [[], ["ro"]])
def test_a_share_that_nobody_may_write(samba_factory, mount, words: list[str]) -> None:
    """It is mounted ``ro``, and said so where that is news."""
    server: PrivateSamba = samba_factory(shares={"second": {"read only": "yes"}})
    (server.path_of("second") / "hello.txt").write_text("hello\n")
    source = f"//{server.host}:{server.port}/second"
    mounted: Mounted = mount(server, *words, source=source, now=False)
    made = mounted.try_mount()
    line = "netfsfuse: mounted read-only: //127.0.0.1/second cannot be written by this user\n"
    assert (made.returncode, made.stderr) == (0, "" if words else line)
    assert "ro" in shown(mounted)[2]
    refuses_writers(mounted, server.path_of("second"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
def test_a_disk_that_is_write_protected(samba_factory, mount) -> None:
    """Of which the server says nothing before it is written to: no ``ro``, and EROFS from all."""
    server: PrivateSamba = samba_factory()
    (server.path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "disk", server.path / "disk"], check=True)
    try:
        (server.path / "disk" / "hello.txt").write_text("hello\n")
        subprocess.run(["mount", "-o", "remount,ro", server.path / "disk"], check=True)
        mounted = mount(server, source=f"{server.url}/disk")
        there, new = mounted.path / "hello.txt", mounted.path / "new"
        attempts: list[Callable[[], object]] = [
            lambda: there.open("a"),
            lambda: there.open("w"),
            there.touch,
            there.unlink,
            lambda: there.rename(new),
            new.touch,
            new.mkdir,
        ]
        for attempt in attempts:
            with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
                attempt()
        assert there.read_text() == "hello\n"
        mounted.umount()
    finally:
        subprocess.run(["umount", server.path / "disk"], check=True)
