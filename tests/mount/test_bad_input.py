"""What cannot be mounted: one line, exit status 1 (2 for usage, 77 for a refused login), in time,
and nothing is left.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netfsfuse.lab import mounts
from netfsfuse.lab.server.samba import PrivateSamba
from tests.support.mounted import SOURCE_TREE, Mounted, netfsfuse
from tests.support.namespace import bare_dev, run_in_namespace
from tests.support.peers import closed_port, peer

IN_TIME = 15.0
LOGIN_REFUSED = 77
BANNERS = {
    "http": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "zeros": bytes(400),
    "empty message": bytes(4),
    "huge message": b"\x00\xff\xff\xff" + bytes(50),
    "garbage behind SMB's magic": b"\x00\x00\x00\x46\xfeSMB" + b"\xa5" * 66,
}


def refusal(result: subprocess.CompletedProcess[str], took: float, status: int = 1) -> str:
    """The one line, after checking that it is one."""
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.startswith("netfsfuse: "), result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert "unexpected" not in result.stderr
    assert took < IN_TIME
    return result.stderr.removeprefix("netfsfuse: ").rstrip("\n")


class Attempt:
    """Tries to mount on one mount point, and checks that each failure leaves nothing there."""

    def __init__(self, mounted: Mounted) -> None:
        self.mounted = mounted

    def __call__(
        self, source: str, *options: str, status: int = 1, password: str = "x", **env: str
    ) -> str:
        where = self.mounted.path
        words = ["mount", source, str(where)]
        given = ",".join([f"log={self.mounted.log}", f"cachedir={self.mounted.cachedir}", *options])
        begin = time.monotonic()
        result = netfsfuse(*words, "-o", given, env={"PASSWD": password, **env})
        took = time.monotonic() - begin
        assert not mounts.is_mounted(where)
        assert not mounts.daemons(where)
        assert "Traceback" not in self.mounted.log_text()
        return refusal(result, took, status)


@pytest.fixture
def attempt(samba: PrivateSamba, mount) -> Attempt:
    return Attempt(mount(samba, now=False))


@pytest.fixture(scope="module")
def folder_and_file(samba: PrivateSamba) -> Iterator[Path]:
    file = samba.path / "file-not-folder"
    file.write_text("x")
    yield file
    file.unlink()


def test_what_the_server_refuses(
    samba: PrivateSamba, attempt: Attempt, folder_and_file: Path
) -> None:
    """Wrong password or user, unknown share, unknown subdirectory, a file for one."""
    login = {"password": samba.password}
    user = f"user={samba.username}"
    base = f"//{samba.host}:{samba.port}"
    for who, password in ((user, "not-it"), ("user=no-such-user", samba.password)):
        line = attempt(samba.url, who, password=password, status=LOGIN_REFUSED)
        assert line.endswith("wrong user name or password")
    assert attempt(f"{base}/nowhere", user, **login) == "there is no share 'nowhere' on 127.0.0.1"
    assert "there is no folder" in attempt(f"{samba.url}/no/where", user, **login)
    name = folder_and_file.name
    assert attempt(f"{samba.url}/{name}", user, **login).endswith(f"{name} is not a folder")
    assert "there is no folder" in attempt(f"{samba.url}/{name}/below", user, **login)


def test_guest_and_anonymous_where_they_may_not_enter(
    samba: PrivateSamba, attempt: Attempt
) -> None:
    line = attempt(samba.url, "guest", status=LOGIN_REFUSED)
    assert "wrong user name or password" in line
    assert "denies access" in attempt(samba.url, "sec=none")


def test_a_host_that_refuses_or_does_not_exist(attempt: Attempt) -> None:
    port = closed_port()
    refused = attempt(f"//127.0.0.1:{port}/share", "guest")
    assert refused == f"cannot connect to 127.0.0.1:{port}: connection refused"
    unknown = attempt("//no-such-host.invalid/share", "guest")
    assert unknown == "cannot find the host no-such-host.invalid"
    assert attempt("//nas..local/share", "guest") == "nas..local cannot be the name of a host"


@pytest.mark.parametrize("banner", BANNERS)
def test_a_port_that_speaks_another_protocol(attempt: Attempt, banner: str) -> None:
    with peer(BANNERS[banner]) as port:
        line = attempt(f"//127.0.0.1:{port}/share", "guest")
    assert line.startswith(f"127.0.0.1:{port} ")
    assert "does not speak SMB" in line or "answer that cannot be read" in line


def test_in_the_foreground_it_is_one_line_as_well(attempt: Attempt) -> None:
    """The log goes to stderr there: what the libraries have to say must not be among it."""
    with peer(BANNERS["garbage behind SMB's magic"]) as port:
        begin = time.monotonic()
        where = str(attempt.mounted.path)
        result = netfsfuse("mount", "-f", f"//127.0.0.1:{port}/share", where, "-o", "guest")
    assert "cannot be read" in refusal(result, time.monotonic() - begin)


def test_a_host_that_does_not_answer(samba: PrivateSamba, mount, proxy) -> None:
    """One that accepts and says nothing, and a real server behind a line that went dead; at once,
    for each takes the whole connect timeout."""
    dead_line = proxy(samba.port)
    dead_line.pause()
    lines: dict[int, str] = {}

    def one(port: int) -> None:
        attempt = Attempt(mount(samba, now=False))
        lines[port] = attempt(f"//127.0.0.1:{port}/share", "guest")

    with peer(None) as silent:
        ports = (silent, dead_line.port)
        threads = [threading.Thread(target=one, args=(port,)) for port in ports]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert lines == {port: f"127.0.0.1:{port} does not answer" for port in ports}


def test_a_server_that_speaks_only_smb1(samba_factory, attempt: Attempt) -> None:
    old = samba_factory({"server max protocol": "NT1", "server min protocol": "NT1"})
    line = attempt(old.url, f"user={old.username}", password=old.password)
    assert "speaks only SMB1, which is not supported" in line


def test_kerberos_without_its_library(samba: PrivateSamba, attempt: Attempt) -> None:
    """What fails after the negotiation is not put down to a server that speaks only SMB1: Samba
    answers an SMB1 NEGOTIATE even where it refuses the dialect.
    """
    absent = attempt.mounted.folder / "absent"
    absent.mkdir()
    for name in ("gssapi", "krb5"):
        (absent / f"{name}.py").write_text(f"raise ImportError('No module named {name}')")
    sources = os.pathsep.join((str(absent), SOURCE_TREE))
    line = attempt(samba.url, "sec=krb5", PYTHONPATH=sources)
    assert "gssapi" in line
    assert line.endswith("sec=krb5 needs the extra netfsfuse[kerberos]")


def test_what_a_server_cannot_do(samba_factory, attempt: Attempt) -> None:
    """seal and a dialect that the server does not have: no mount rather than a lesser one."""
    old = samba_factory({"server max protocol": "SMB2_10"})
    login = {"password": old.password}
    user = f"user={old.username}"
    assert "encryption is required" in attempt(old.url, user, "seal", **login)
    assert attempt(old.url, user, "vers=3.1.1", **login) == "127.0.0.1 does not speak SMB 3.1.1"


def test_a_wrong_password_makes_nobody_a_guest(samba_factory, attempt: Attempt) -> None:
    """Where the server would rather let him in unsigned as its guest than turn him away."""
    options = {"map to guest": "bad password"}
    open_house = samba_factory(options, share_options={"guest ok": "yes"})
    for who in (open_house.username, "stranger"):
        line = attempt(open_house.url, f"user={who}", password="not-it", status=LOGIN_REFUSED)
        assert f"would let {who} in as a guest" in line


def test_what_is_no_folder_of_files(samba: PrivateSamba, attempt: Attempt) -> None:
    login = {"password": samba.password}
    pipe = f"//{samba.host}:{samba.port}/IPC$"
    assert "is a pipe" in attempt(pipe, f"user={samba.username}", **login)


def test_a_server_that_speaks_only_smb_2_0_2(samba_factory, attempt: Attempt) -> None:
    old = samba_factory({"server max protocol": "SMB2_02"})
    line = attempt(old.url, f"user={old.username}", password=old.password)
    assert line == "127.0.0.1 does not speak SMB 2.1 or later"


def test_sign_and_seal_are_not_given_up_for_a_guest(samba_factory, attempt: Attempt) -> None:
    """A guest's session has no key. What was demanded must not silently be left out."""
    open_house = samba_factory({"map to guest": "bad user"}, share_options={"guest ok": "yes"})
    for login in ("guest", "sec=none"):
        for demand in ("sign", "seal"):
            assert "guest" in attempt(open_house.url, login, demand)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("vers=1.0", "SMB1 is insecure"),
        ("cachedri=/x", "did you mean cachedir?"),
        ("rsize=1", "must be from 64"),
        ("rsize=12Q", "rsize=12Q"),
        ("max_credits=19", "from 20"),
        ("port=65536", "from 1 to 65535"),
        ("actimeo=soon", "number of seconds"),
        ("file_mode=9", "octal"),
        ("uid=no-such-user-here", "no such user"),
    ],
)
def test_wrong_usage(attempt: Attempt, options: str, says: str) -> None:
    assert says in attempt("//127.0.0.1/share", options, status=2)


def test_mount_points_that_cannot_be(samba: PrivateSamba, mount, folder_and_file: Path) -> None:
    """Missing, a file, mounted by us already, above the cache; the mount that is there goes on."""
    mounted = mount(samba)

    def on(place: Path, options: str = "guest") -> str:
        begin = time.monotonic()
        result = netfsfuse("mount", samba.url, str(place), "-o", options)
        return refusal(result, time.monotonic() - begin)

    assert on(mounted.folder / "missing").endswith("does not exist")
    assert on(folder_and_file).endswith("is not a directory")
    assert "is already mounted (//127.0.0.1/share)" in on(mounted.path)
    assert f"would hide its own cache (see cachedir=), {mounted.cachedir}" in on(
        mounted.folder, f"guest,cachedir={mounted.cachedir}"
    )
    assert (mounted.path / folder_and_file.name).read_text() == "x"


def test_credentials_files_that_cannot_be_read(attempt: Attempt) -> None:
    folder = attempt.mounted.folder
    (folder / "directory").mkdir()
    for name, says in (("missing", "No such file"), ("directory", "Is a directory")):
        line = attempt("//127.0.0.1/share", f"credentials={folder / name}")
        assert says in line
        assert name in line


def test_without_dev_fuse(samba: PrivateSamba, mount) -> None:
    mounted = mount(samba, now=False)
    begin = time.monotonic()
    script = bare_dev("null", "urandom")
    script += f"\n$netfsfuse mount {samba.url} {mounted.path} -o guest"
    result = run_in_namespace(mounted.folder, script)
    line = refusal(result, time.monotonic() - begin)
    assert line.startswith("/dev/fuse is missing")
    assert "modprobe fuse" in line
