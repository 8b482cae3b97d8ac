"""Called by mount(8): by type, with a line of /etc/fstab, and with all that it passes along."""

from __future__ import annotations

from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import Mounted
from tests.support.namespace import command_link, run_in_namespace


@pytest.fixture
def prepared(samba: PrivateSamba, mount) -> Mounted:
    """Mount point, and a credentials file named ``login``; nothing mounted."""
    (samba.path / "fstab.txt").write_text("by mount(8)\n")
    mounted: Mounted = mount(samba, now=False)
    login = mounted.folder / "login"
    login.write_text(f"username={samba.username}\npassword={samba.password}\n")
    login.chmod(0o600)
    return mounted


def walk(mounted: Mounted, mount_words: str, fstab: str = "") -> list[str]:
    """Mount by ``mount_words`` in a namespace, read, and umount(8); returns the line of
    /proc/mounts. Nothing is said."""
    lines = mounted.folder / "fstab"
    lines.write_text(fstab)
    script = f"""
        {command_link()}
        mount --bind {lines} /etc/fstab
        {mount_words}
        cat {mounted.path}/fstab.txt
        grep {mounted.path} /proc/mounts
        umount {mounted.path}
    """
    result = run_in_namespace(mounted.folder, script)
    assert result.returncode == 0, (result, mounted.log_text())
    content, shown = result.stdout.splitlines()
    assert content == "by mount(8)"
    assert result.stderr == ""
    return shown.split()


def options_of(mounted: Mounted, *more: str) -> str:
    own = (f"credentials={mounted.folder / 'login'}", f"cachedir={mounted.cachedir}")
    return ",".join([*own, f"log={mounted.log}", *more])


def test_by_type(samba: PrivateSamba, prepared: Mounted) -> None:
    """`mount -t fuse.netfsfuse //HOST/SHARE`, which runs the command with almost no PATH."""
    options = options_of(prepared, f"port={samba.port}", "noexec")
    shown = walk(
        prepared, f"mount -t fuse.netfsfuse //127.0.0.1/share {prepared.path} -o {options}"
    )
    assert shown[0] == "//127.0.0.1/share"
    assert shown[2] == "fuse.netfsfuse"
    assert {"rw", "noexec"} <= set(shown[3].split(","))


@pytest.mark.parametrize(
    ("words", "access"),
    [
        ("defaults", "rw"),
        ("rw,noatime,dev,suid,nofail,_netdev,x-systemd.automount,x-systemd.idle-timeout=60", "rw"),
        ("user,noauto,exec,relatime,comment=films,x-gvfs-show,nosuid,nodev", "rw"),
        ("ro,nofail,sync", "ro"),
        ("nostrictsync,asyncclose,wsize=1M,async", "rw"),
    ],
)
def test_by_a_line_of_fstab(
    samba: PrivateSamba, prepared: Mounted, words: str, access: str
) -> None:
    options = options_of(prepared, words)
    line = f"//127.0.0.1:{samba.port}/share {prepared.path} fuse.netfsfuse {options} 0 0\n"
    shown = walk(prepared, f"mount {prepared.path}", fstab=line)
    assert access in shown[3].split(",")


def test_a_failure_is_mount_s_failure(prepared: Mounted) -> None:
    """mount(8) hands the one line and the status on, and nothing is mounted."""
    script = f"""
        {command_link()}
        mount -t fuse.netfsfuse //127.0.0.1:1/share {prepared.path} -o guest
    """
    result = run_in_namespace(prepared.folder, script)
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert "connection refused" in result.stderr
    assert not list(Path(prepared.path).iterdir())
