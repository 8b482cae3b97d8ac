"""The daemon's command line and environment; waiting for what it reports."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netfsfuse.cli import daemon
from netfsfuse.cli.daemon import Daemon, daemon_arguments, daemon_environment
from netfsfuse.cli.options import parse_options
from netfsfuse.config import Credentials
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import FSTYPE, Mount

SECRET = "Xq7-geheim"


def test_arguments_hold_the_words_and_no_secret():
    public = parse_options([f"user=bob%{SECRET},pass={SECRET},ro", "port=1"]).public
    words = daemon_arguments("//nas/films", "/mnt/x y", public)
    assert words[0] == sys.executable
    assert words[1:] == [
        "-P", "-m", "netfsfuse", "mount", "//nas/films", "/mnt/x y",
        "-o", "user=bob,ro,port=1", "-f",
    ]  # fmt: skip
    assert "-o" not in daemon_arguments("//nas/films", "/mnt", [])


def test_environment_holds_no_password_and_a_path():
    environ = {"PASSWD": SECRET, "PASSWD_FD": "3", "PASSWD_FILE": "f", "USER": f"b%{SECRET}"}
    kept = daemon_environment({**environ, "HOME": "/root", "PATH": "/opt"})
    assert SECRET not in repr(kept)
    assert set(kept) == {"HOME", "PATH"}
    assert kept["PATH"].startswith("/opt:")
    assert "/usr/sbin" in daemon_environment({})["PATH"]
    assert daemon_environment({"USER": "bob"})["USER"] == "bob"


def test_popen_gets_no_secret(monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, Any] = {}

    class FakePopen:
        def __init__(self, arguments: list[str], **rest: Any) -> None:
            seen.update(rest, arguments=arguments)
            fd = int(rest["env"]["NETFSFUSE_SECRET_FD"])
            seen["handed"] = os.pread(fd, 65536, 0)

    monkeypatch.setattr(subprocess, "Popen", FakePopen)
    monkeypatch.setenv("PASSWD", SECRET)
    Daemon(["python", "x"], Credentials("bob", SECRET)).close()
    assert SECRET.encode() in seen.pop("handed")
    assert SECRET not in repr(seen)
    assert seen["start_new_session"]
    assert seen["stdin"] == subprocess.DEVNULL


@pytest.mark.parametrize(("now", "cleared"), [(7, False), (8, True)])
def test_a_failure_clears_only_what_was_mounted_since(
    monkeypatch: pytest.MonkeyPatch, now: int, cleared: bool
):
    """Whatever is found there with the id of before was somebody else's, and works."""
    ids = iter([7, now])
    detached: list[str] = []
    mount = Mount("/mnt", FSTYPE, "//nas/films", "0:40")
    monkeypatch.setattr(daemon, "read_mounts", lambda: [replace(mount, id=next(ids))])
    monkeypatch.setattr(daemon, "detach", lambda path, lazy: detached.append(path))
    with pytest.raises(MountError, match="status 3"):
        daemon.start([sys.executable, "-Ic", "exit(3)"], Credentials("bob", SECRET), "/mnt")
    assert detached == (["/mnt"] if cleared else [])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Daemon]]:
    """Start a daemon that runs some lines of Python; ``ready`` is the pipe."""
    started: list[Daemon] = []

    def run(lines: str) -> Daemon:
        script = tmp_path / "daemon.py"
        first = "import os, signal, sys, time\nready = int(os.environ['NETFSFUSE_READY_FD'])\n"
        script.write_text(first + textwrap.dedent(lines))
        started.append(Daemon([sys.executable, "-I", str(script)], Credentials("bob", SECRET)))
        return started[-1]

    yield run
    for one in started:
        one._process.returncode = None
        one._process.kill()
        one._process.wait()
        one.close()


def test_ok_with_notices(start: Callable[[str], Daemon]):
    one = start("os.write(ready, b'ok\\nfirst\\nsecond'); os.close(ready); time.sleep(60)")
    assert one.wait_ready(20) == ["first", "second"]
    os.kill(one._process.pid, 0)  # it lives on


def test_a_report_in_pieces(start: Callable[[str], Daemon]):
    one = start("""
        os.write(ready, b'ok')
        time.sleep(0.1)
        os.write(ready, b'\\nfirst')
        os.close(ready)
        time.sleep(60)
    """)
    assert one.wait_ready(20) == ["first"]


def gone(one: Daemon) -> bool:
    return not Path(f"/proc/{one._process.pid}").exists()


def test_error_in_one_line_and_no_zombie(start: Callable[[str], Daemon]):
    one = start("os.write(ready, b'error\\nwrong password'); sys.exit(1)")
    with pytest.raises(MountError, match=r"^wrong password$"):
        one.wait_ready(20)
    assert gone(one)


def test_what_fusermount_said_is_told(start: Callable[[str], Daemon]):
    one = start("""
        sys.stderr.write('noise\\nfusermount3: mount failed\\n')
        sys.stderr.flush()
        os.write(ready, b'error\\ncannot mount')
    """)
    with pytest.raises(MountError, match=r"^cannot mount \(fusermount3: mount failed\)$"):
        one.wait_ready(20)


def test_death_without_a_word(start: Callable[[str], Daemon]):
    one = start("raise SystemError('with details')")
    with pytest.raises(MountError, match="status 1; see the log"):
        one.wait_ready(20)
    assert gone(one)


def test_silence_ends_it(start: Callable[[str], Daemon]):
    one = start("time.sleep(60)")
    with pytest.raises(MountError, match="did not answer within"):
        one.wait_ready(0.2)
    assert gone(one)


def test_a_daemon_deaf_to_sigterm_is_killed(
    start: Callable[[str], Daemon], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(daemon, "END_TIMEOUT", 0.2)
    one = start("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    with pytest.raises(MountError, match="did not answer"):
        one.wait_ready(0.5)
    assert gone(one)


def test_ctrl_c_ends_it_too(start: Callable[[str], Daemon], monkeypatch: pytest.MonkeyPatch):
    one = start("time.sleep(60)")

    def interrupted(timeout: float) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(one, "_read_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.wait_ready(20)
    assert gone(one)
