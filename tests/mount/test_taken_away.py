"""``netfsfuse umount``, also with ``--lazy`` and ``--force``, in every state of server and daemon:
within seconds, and what waits for the mount is let go."""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest

from netfsfuse.lab import mounts
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.mountinfo import read_mounts
from tests.support.mounted import Mounted, netfsfuse
from tests.support.proxy import PrivateProxy
from tests.support.until import until

LIMIT = 3.0
"""Seconds."""

READERS: list[subprocess.Popen[str]] = []
SIZE = 8 << 20


@pytest.fixture(scope="module")
def large(samba: PrivateSamba) -> Path:
    file = samba.path / "taken away.bin"
    file.write_bytes(os.urandom(SIZE))
    return file


@pytest.fixture
def line(samba: PrivateSamba, proxy) -> PrivateProxy:
    made: PrivateProxy = proxy(samba.port)
    return made


def state_of(pid: int) -> str:
    """One letter, as ``ps`` shows it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


_READER = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
print("open", flush=True)
sys.stdin.readline()
os.preadv(fd, [mmap.mmap(-1, 1 << 20)], 0)
"""


class Reader:
    """A process that has a file open, and, from :meth:`get_stuck` on, is in D state: it was killed
    while it read past the kernel's pages. (This process itself must hold nothing on the mount.)"""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _READER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "open\n"

    def get_stuck(self) -> None:
        """Returns when it is."""
        pid = self._process.pid
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        until(lambda: state_of(pid) == "D", 10, "it waits for the mount")
        self._process.kill()

    def ends(self, timeout: float) -> bool:
        """Whether it ends within ``timeout`` seconds."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        READERS.append(self._process)  # one that is stuck is let go by the end of its daemon


def nothing(mounted: Mounted, line: PrivateProxy) -> None:
    pass


def refused(mounted: Mounted, line: PrivateProxy) -> None:
    line.refuse()
    line.cut(reset=True)


def silent(mounted: Mounted, line: PrivateProxy) -> None:
    line.pause()


def stopped(mounted: Mounted, line: PrivateProxy) -> None:
    os.kill(mounted.pid, signal.SIGSTOP)


def dead(mounted: Mounted, line: PrivateProxy) -> None:
    mounted.kill9()


STATES: dict[str, Callable[[Mounted, PrivateProxy], None]] = {
    "server up": nothing,
    "refused": refused,
    "silent": silent,
    "daemon stopped": stopped,
    "daemon dead": dead,
}


WAYS: dict[str, list[str]] = {"plain": [], "lazy": ["--lazy"], "force": ["--force"]}
SHORT = {
    ("plain", "silent", False),
    ("lazy", "daemon stopped", True),
    ("force", "silent", True),
}
"""In each run of the suite; all others are soaks."""


def cases() -> Iterator[object]:
    """Each way, in each state, with a reader in D state and without."""
    for way in WAYS:
        for state in STATES:
            for stuck in (False, True):
                if stuck and state in ("server up", "daemon dead"):
                    continue  # nothing waits
                short = (way, state, stuck) in SHORT
                marks = (pytest.mark.alone,) if short else (pytest.mark.alone, pytest.mark.soak)
                name = f"{way}, {state}{', readers in D state' if stuck else ''}"
                yield pytest.param(way, state, stuck, id=name, marks=marks)


@pytest.fixture
def mounted(samba: PrivateSamba, line: PrivateProxy, large: Path, mount) -> Iterator[Mounted]:
    """Its daemon is killed, and with it what waits for it let go."""
    made: Mounted = mount(samba, source=f"//127.0.0.1:{line.port}/share")
    pidfd = os.pidfd_open(made.pid)
    yield made
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    while READERS:
        READERS.pop().wait(20)


@pytest.mark.parametrize(("way", "state", "stuck"), list(cases()))
def test_within_three_seconds(
    mounted: Mounted, line: PrivateProxy, large: Path, way: str, state: str, stuck: bool
) -> None:
    """A mount that is in use is said to be busy, and stays; --lazy takes it away from under its
    readers, --force lets them go as well."""
    (mounted.path / large.name).stat()
    with ExitStack() as stack:
        reader = stack.enter_context(Reader(mounted.path / large.name)) if stuck else None
        STATES[state](mounted, line)
        if reader is not None:
            reader.get_stuck()
        begin = time.monotonic()
        result = netfsfuse("umount", *WAYS[way], str(mounted.path))
        assert time.monotonic() - begin < LIMIT
        if stuck and way == "plain":
            assert result.returncode == 1
            assert "is busy: close the files" in result.stderr
            assert mounts.is_mounted(mounted.path)
        else:
            assert result.returncode == 0, result.stderr
            assert not mounts.is_mounted(mounted.path)
        if reader is not None and way == "force":
            assert reader.ends(LIMIT)


@pytest.mark.soak
@pytest.mark.alone
def test_force_says_what_it_drops(mounted: Mounted, line: PrivateProxy) -> None:
    """What was written and is not on the server; the log names the file."""
    script = "import sys; f = open(sys.argv[1], 'wb', 0); print('open', flush=True); "
    script += "sys.stdin.readline(); f.write(bytes(3 << 20)); sys.stdin.readline()"
    words = [sys.executable, "-S", "-c", script, str(mounted.path / "dropped")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, text=True, **pipes) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdin is not None
            assert writer.stdout.readline() == "open\n"
            line.pause()
            writer.stdin.write("\n")
            writer.stdin.flush()
            until(lambda: mounted.stats()["write"]["dirty_bytes"] >= 3 << 20, 20, "it is dirty")
            begin = time.monotonic()
            result = netfsfuse("umount", "--force", str(mounted.path))
            assert time.monotonic() - begin < LIMIT
            assert "3.0 MiB were not on the server yet" in result.stderr
        finally:
            writer.kill()
    assert mounts.wait_gone(mounted.path, 40)
    assert re.search("dropped(:|').*lost|lost.*'dropped'", mounted.log_text())


def test_root_mounts_over_a_dead_mount_of_a_user(samba: PrivateSamba, mount) -> None:
    """Which root may not enter, and so is not told that it is dead."""
    assert os.geteuid() == 0, "only root mounts for another user"
    user = pwd.getpwnam("nobody").pw_uid
    mounted = mount(samba, now=False)
    for folder in [mounted.path, *mounted.path.parents]:
        if folder.stat().st_mode & 0o011 != 0o011:
            folder.chmod(folder.stat().st_mode | 0o011)
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id={user},group_id={user}"
    libc = ctypes.CDLL(None, use_errno=True)
    words = (b"//nas/theirs", os.fsencode(mounted.path), b"fuse.netfsfuse", 0, options.encode())
    assert libc.mount(*words) == 0, os.strerror(ctypes.get_errno())
    os.close(fd)
    with pytest.raises(PermissionError):
        mounted.path.stat()
    mounted.mount()
    (entry,) = [each for each in read_mounts() if each.path == str(mounted.path)]
    assert entry.user == (0, 0)
    mounted.umount()
