"""What an option promises is seen where it must be: at the server, in stat, in stats."""

from __future__ import annotations

import errno
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.lab.server.smbd import find_program
from tests.support.mounted import Mounted, netfsfuse
from tests.support.namespace import run_in_namespace

MIB = 1 << 20
PLAIN = "one line\n"


@pytest.fixture(scope="module")
def content(samba: PrivateSamba) -> bytes:
    """Of ``options/data.bin``; ``options/plain.txt`` holds PLAIN."""
    folder = samba.path / "options"
    folder.mkdir(exist_ok=True)
    data = os.urandom(MIB) * 8
    (folder / "data.bin").write_bytes(data)
    (folder / "plain.txt").write_text(PLAIN)
    return data


def session_line(server: PrivateSamba) -> str:
    """What the server says of its one session: dialect, encryption, signing."""
    words = [find_program("smbstatus"), "-s", str(server.folder / "smb.conf"), "-p"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in shown.splitlines() if "127.0.0.1" in line]
    return " ".join(line.split(")", 1)[1].split())


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ("nosign,vers=2.1", r"SMB2_10 - partial\(HMAC-SHA256\)"),
        ("nosign,vers=3.0", r"SMB3_00 - partial\(AES-128-CMAC\)"),
        ("nosign", r"SMB3_11 - partial\(AES-128-\wMAC\)"),
        ("", r"SMB3_11 - AES-128-\wMAC"),
        ("sign", r"SMB3_11 - AES-128-\wMAC"),
        ("vers=2.1", r"SMB2_10 - HMAC-SHA256"),
        ("vers=3.0", r"SMB3_00 - AES-128-CMAC"),
        ("vers=3.0.2", r"SMB3_02 - AES-128-CMAC"),
        ("seal", r"SMB3_11 partial\(AES-\d+-GCM\) .*"),
        ("seal,vers=3.0", r"SMB3_00 partial\(AES-128-CCM\) .*"),
    ],
)
def test_dialect_signing_and_encryption(
    samba: PrivateSamba, mount, content: bytes, options: str, seen: str
) -> None:
    """The server confirms each ("partial": all but the login itself), and the bytes are right."""
    mounted = mount(samba, *options.split())
    assert (mounted.path / "options/data.bin").read_bytes() == content
    assert re.fullmatch(seen, session_line(samba)), session_line(samba)


@pytest.mark.parametrize("login", ["guest", "sec=none", "sec=none,vers=2.1", "guest,user=stranger"])
def test_guest_and_anonymous(samba_factory, mount, login: str) -> None:
    """Without an account: the server's guest, a null session, and one it maps to guest, which was
    asked for."""
    server = samba_factory({"map to guest": "bad user"}, share_options={"guest ok": "yes"})
    (server.path / "data.bin").write_bytes(b"open house" * 100_000)
    mounted = mount(server, now=False)
    where = ["mount", server.url, str(mounted.path)]
    options = f"cachedir={mounted.cachedir},log={mounted.log},{login}"
    assert netfsfuse(*where, "-o", options, env={"PASSWD": "any"}).returncode == 0
    assert (mounted.path / "data.bin").read_bytes() == b"open house" * 100_000
    assert os.listdir(mounted.path) == ["data.bin"]


def test_where_the_password_comes_from(samba: PrivateSamba, mount, content: bytes) -> None:
    """pass=, user%password, PASSWD_FILE and a credentials file with a domain all log in; a
    credentials file that others can read is worth a notice."""
    mounted = mount(samba, now=False)
    secret, login = mounted.folder / "secret", mounted.folder / "login"
    secret.write_text(f"{samba.password}\n")
    secret.chmod(0o600)
    login.write_text(f"username={samba.username}\npassword={samba.password}\ndomain=WORKGROUP\n")
    login.chmod(0o644)
    user = f"user={samba.username}"
    kept = f"cachedir={mounted.cachedir},log={mounted.log}"
    for options, env, notice in (
        (f"{user},pass={samba.password}", {}, "can be seen by other users"),
        (f"{user}%{samba.password}", {}, "can be seen by other users"),
        (f"{user},domain=WORKGROUP", {"PASSWD_FILE": str(secret)}, ""),
        (f"credentials={login}", {}, "chmod 600"),
    ):
        words = ["mount", samba.url, str(mounted.path), "-o", f"{kept},{options}"]
        result = netfsfuse(*words, env=env)
        assert result.returncode == 0, result
        assert notice in result.stderr
        assert result.stderr.count("\n") == bool(notice)
        assert samba.password not in result.stderr
        assert (mounted.path / "options/plain.txt").read_text() == PLAIN
        mounted.umount()


def test_subdirectory_and_looks(samba: PrivateSamba, mount, content: bytes) -> None:
    """A mount of a subdirectory, its name in the source; owner and modes as given, for the folder
    that is mounted too."""
    looks = "uid=4321,gid=1234,file_mode=0640,dir_mode=0750"
    (samba.path / "options/below").mkdir(exist_ok=True)
    mounted = mount(samba, looks, source=f"{samba.url}/options")
    assert sorted(os.listdir(mounted.path)) == ["below", "data.bin", "plain.txt"]
    for name, mode in ((".", 0o40750), ("below", 0o40750), ("data.bin", 0o100640)):
        seen = (mounted.path / name).stat()
        assert (seen.st_uid, seen.st_gid, seen.st_mode) == (4321, 1234, mode)
    assert "//127.0.0.1/share/options " in Path("/proc/mounts").read_text()


def test_rsize_and_max_credits_bound_what_is_asked(
    samba: PrivateSamba, mount, content: bytes
) -> None:
    """8 MiB take at least 128 reads at rsize=64K, each a credit: with 20 credits no more than 20
    are in flight, however many the server gives (without the bound there are more in seven of
    eight runs). A read of 1 MiB takes 16, and all is read all the same."""
    small = mount(samba, "rsize=64K")
    assert (small.path / "options/data.bin").read_bytes() == content
    stats = small.stats()["server"]
    assert stats["reads"] >= len(content) // (64 << 10)
    for rsize in ("64K", "1M"):
        poor = mount(samba, "max_credits=20", f"rsize={rsize}", "nofsc")
        assert (poor.path / "options/data.bin").read_bytes() == content
        assert 1 <= poor.stats()["server"]["in_flight_peak"] <= 20


def test_rasize_raises_what_the_kernel_asks_for(samba: PrivateSamba, mount) -> None:
    """read_ahead_kb of the mount where that is permitted, else a line that says how."""
    mounted = mount(samba, "rasize=2M")
    device = os.stat(mounted.path).st_dev
    place = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    try:
        with place.open("r+"):
            assert place.read_text() == "2048\n"
    except OSError:
        assert f"echo 2048 > {place}" in mounted.log_text()


def test_actimeo_0_asks_every_time(samba: PrivateSamba, mount, content: bytes) -> None:
    file = samba.path / "options/growing"
    file.write_bytes(b"1")
    eager, lazy = mount(samba, "actimeo=0"), mount(samba, "actimeo=3600")
    for size in range(2, 6):
        assert (lazy.path / "options/growing").stat().st_size == 1
        file.write_bytes(bytes(size))
        assert (eager.path / "options/growing").stat().st_size == size
    file.unlink()


def test_who_may_enter(samba: PrivateSamba, mount, content: bytes) -> None:
    """Mounted by root: all may, and the shown modes count; with noperm they do not. An ordinary
    user's mount is his own, and the shown modes do not bind him."""
    mounted = mount(samba, "file_mode=0600")
    file = mounted.path / "options/plain.txt"
    assert file.read_text() == PLAIN
    options = next(
        x for x in Path("/proc/mounts").read_text().splitlines() if str(mounted.path) in x
    )
    if os.geteuid() != 0:
        assert "allow_other" not in options
        return
    assert "allow_other" in options
    assert "default_permissions" in options
    as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "cat", str(file)]
    shown = {"capture_output": True, "text": True, "check": False}
    mounted.folder.chmod(0o755)
    refused = subprocess.run(as_nobody, **shown)
    assert os.strerror(errno.EACCES) in refused.stderr
    mounted.umount()
    mounted.options += ["noperm"]
    mounted.mount()
    assert subprocess.run(as_nobody, **shown).stdout == PLAIN


def test_the_cache_directory_is_private(samba: PrivateSamba, mount, content: bytes) -> None:
    """0700, and all in it 0600 or 0700, also where the directory was open before."""
    mounted = mount(samba, now=False)
    mounted.cachedir.rmdir()
    mounted.mount()
    assert (mounted.path / "options/data.bin").read_bytes() == content
    mounted.umount()
    assert stat.S_IMODE(mounted.cachedir.stat().st_mode) == 0o700
    made = list(mounted.cachedir.rglob("*"))
    assert any(path.is_file() for path in made)
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


UNUSABLE = {
    "full": ("mount -t tmpfs -o nr_inodes=9,mode=0700 tmpfs {cache}", "until there is room", True),
    "read-only": ("mount -t tmpfs -o ro,mode=0700 tmpfs {cache}", "without a cache", False),
    "without xattrs": ("mount -t ramfs ramfs {cache}", "without a cache", False),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_cache_that_cannot_be_used(samba: PrivateSamba, mount, content: bytes, kind: str) -> None:
    """A full (no inode left), read-only or xattr-less disk under the cache costs one line in the
    log, and one for the user where it is known when mounting; all is read, twice.
    """
    make, says, later = UNUSABLE[kind]
    mounted: Mounted = mount(samba, now=False)
    options = f"user={samba.username},cachedir={mounted.cachedir},log={mounted.log}"
    data = "options/data.bin"
    script = f"""
        {make.format(cache=mounted.cachedir)}
        $netfsfuse mount {samba.url} {mounted.path} -o {options}
        cmp {mounted.path}/{data} {samba.path}/{data}
        dd if={mounted.path}/{data} of=again bs=64k iflag=direct status=none
        cmp again {samba.path}/{data}
        $netfsfuse umount {mounted.path}
    """
    result = run_in_namespace(mounted.folder, script, env={"PASSWD": samba.password})
    assert result.returncode == 0, (result, mounted.log_text())
    assert mounted.log_text().count(says) == 1, (result.stderr, mounted.log_text())
    assert result.stderr.count(says) == result.stderr.count("\n") == (not later)
    assert "Traceback" not in mounted.log_text()


@pytest.mark.parametrize(
    ("option", "largest", "flushes"),
    [
        ("rw", MIB, 1),
        ("wsize=64K", 65536, 1),
        ("sync", MIB // 4, 1),  # each is answered before the next
        ("async", MIB, 1),
        ("nostrictsync", MIB, 0),
    ],
)
def test_writing(samba: PrivateSamba, mount, option: str, largest: int, flushes: int) -> None:
    """1 MiB in pieces of 256 KiB, and an fsync."""
    mounted: Mounted = mount(samba, option)
    piece = os.urandom(MIB // 4)
    with (mounted.path / "written").open("wb", buffering=0) as file:
        for _ in range(4):
            file.write(piece)
        os.fsync(file.fileno())
        assert (samba.path / "written").read_bytes() == 4 * piece
        counters = mounted.stats()
    assert max(map(int, counters["write"]["sizes"])) <= largest
    assert counters["server"]["messages"].get("flush", 0) == flushes
    (samba.path / "written").unlink()
