"""The whole way as an ordinary user, and what the server does not let an ordinary user see."""

from __future__ import annotations

import errno
import os
import shlex

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import COMMAND, netfsfuse
from tests.support.ordinary_user import USER, OrdinaryUser

MIB = 1 << 20


def test_mount_cp_cmp_umount(samba: PrivateSamba, mount) -> None:
    """mount, cp, cmp, cp back, a second mount that reads from the cache, umount; by name and by
    fusermount3; his own files, no root in sight."""
    folder = mount(samba, now=False).folder
    folder.chmod(0o711)
    user = OrdinaryUser(folder / "home")
    truth = os.urandom(MIB) * 16
    (samba.path / "ordinary.bin").write_bytes(truth)
    script = f"""
        netfsfuse="{shlex.join(COMMAND)}"
        mkdir mnt
        $netfsfuse mount {samba.url} mnt -o user={samba.username},log=log
        stat -c '%U %a' mnt mnt/ordinary.bin
        cp mnt/ordinary.bin copy
        cmp copy mnt/ordinary.bin
        cp copy mnt/his.bin
        cmp copy mnt/his.bin
        $netfsfuse umount mnt
        $netfsfuse mount {samba.url} mnt -o user={samba.username},log=log
        cmp copy mnt/ordinary.bin
        $netfsfuse stats mnt --json | tr -d ' \\n' | grep -o '"server":{{"bytes":[0-9]*'
        fusermount3 -u mnt
        ls -A mnt
    """
    result = user.run(["sh", "-euc", script], env={"PASSWD": samba.password})
    assert result.returncode == 0, result
    assert result.stderr == ""
    expected = [f"{user.name} 755"] * 2 + ['"server":{"bytes":0']
    assert result.stdout.splitlines() == expected
    assert (user.home / "copy").read_bytes() == truth
    assert (samba.path / "his.bin").read_bytes() == truth
    assert (user.home / ".cache/netfsfuse").stat().st_mode & 0o777 == 0o700


def test_allow_other_needs_leave(samba: PrivateSamba, mount) -> None:
    """One line that says what is missing in /etc/fuse.conf, where it is missing."""
    folder = mount(samba, now=False).folder
    folder.chmod(0o711)
    user = OrdinaryUser(folder / "home")
    script = f"""
        mkdir mnt
        {shlex.join(COMMAND)} mount {samba.url} mnt -o guest,allow_other,log=log
    """
    result = user.run(["sh", "-euc", script])
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "user_allow_other" in result.stderr


def test_what_the_server_denies_is_eacces(samba_factory, mount) -> None:
    """A file and a folder of mode 000, asked for by a user who is not root at the server. They are
    shown, for the listing shows them; reading says EACCES; their neighbours are read."""
    server = samba_factory()
    name = USER if os.geteuid() == 0 else server.username
    server.add_user(name, "nobodys")
    (server.path / "open.txt").write_text("open\n")
    (server.path / "closed.txt").write_text("closed\n")
    (server.path / "closed").mkdir()
    for closed in ("closed.txt", "closed"):
        (server.path / closed).chmod(0)
    server.path.chmod(0o755)
    mounted = mount(server, now=False)
    options = f"user={name},log={mounted.log},cachedir={mounted.cachedir}"
    words = ["mount", server.url, str(mounted.path), "-o", options]
    assert netfsfuse(*words, env={"PASSWD": "nobodys"}).returncode == 0
    assert sorted(os.listdir(mounted.path)) == ["closed", "closed.txt", "open.txt"]
    assert (mounted.path / "open.txt").read_text() == "open\n"
    for denied in (
        (mounted.path / "closed.txt").read_text,
        lambda: os.listdir(mounted.path / "closed"),
    ):
        with pytest.raises(OSError, match=os.strerror(errno.EACCES)):
            denied()
    assert (mounted.path / "open.txt").read_text() == "open\n"
    assert "Traceback" not in mounted.log_text()
    (server.path / "closed").chmod(0o700)  # so that it can be removed


def test_a_file_removed_or_replaced_while_open(samba: PrivateSamba, mount) -> None:
    """The name is gone at once or leads to the new file; the old handle reads its own file or gets
    an error, never the new one's bytes."""
    mounted = mount(samba, "actimeo=0")
    old, new = b"old " * MIB, b"new " * MIB
    for name in ("removed.bin", "replaced.bin"):
        (samba.path / name).write_bytes(old)
    (samba.path / "new.bin").write_bytes(new)
    with (
        (mounted.path / "removed.bin").open("rb", buffering=0) as removed,
        (mounted.path / "replaced.bin").open("rb", buffering=0) as replaced,
    ):
        (samba.path / "removed.bin").unlink()
        (samba.path / "new.bin").rename(samba.path / "replaced.bin")
        with pytest.raises(FileNotFoundError):
            (mounted.path / "removed.bin").open()
        assert (mounted.path / "replaced.bin").read_bytes() == new
        for handle in (removed, replaced):
            assert outcome(handle.fileno(), 3 * MIB) in (old[:4096], errno.ESTALE, errno.EIO)


def outcome(fd: int, at: int) -> bytes | int | None:
    """4 KiB of it, or the errno."""
    try:
        return os.pread(fd, 4096, at)
    except OSError as error:
        return error.errno
