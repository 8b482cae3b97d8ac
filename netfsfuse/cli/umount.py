"""``netfsfuse umount``: take the mount away, and return when its daemon is gone. What was written
to it is on the server before (``unsent.py``).

The daemon is found before unmounting: the mount itself tells its pid, or else /proc does. A pidfd
is opened and the process behind it checked, so that a reused pid is never waited for.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from netfsfuse.cli.arguments import mountpoint_argument
from netfsfuse.cli.detach import abandon, detach
from netfsfuse.cli.place import resolved
from netfsfuse.cli.probe import probe_mount
from netfsfuse.cli.say import say
from netfsfuse.cli.sizes import format_size
from netfsfuse.cli.unsent import wait_sent, written
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import Mount, mount_at, read_mounts
from netfsfuse.stats import STATS_XATTR

_ASK_TIMEOUT = 1.2  # seconds for the mount to tell its pid, and half of one more if it does not
_GONE_TIMEOUT = 60.0  # seconds for stores to be flushed
_SAID_AFTER = 3.0  # seconds of that after which the user is told what it waits for
_SOON_TIMEOUT = 1.5  # seconds: with files still open the daemon lives on, rightly
_HUNG_TIMEOUT = 0.5  # seconds: and so it does where it hangs; a command answers within 3
_STEP = 0.2
_FOREGROUND = re.compile(r"-[a-z]*f|--foreground")


@click.command("umount")
@mountpoint_argument
@click.option("-l", "--lazy", is_flag=True, help="Detach now even if in use.")
@click.option(
    "-f", "--force", is_flag=True, help="Detach a mount that hangs; what waits for it gets errors."
)
def umount_command(mountpoint: str, lazy: bool, force: bool) -> None:
    """Unmount, and return when the daemon is gone."""
    mount = _our_mount(mountpoint)
    path = mount.path
    answer = probe_mount(mount, STATS_XATTR, timeout=_ASK_TIMEOUT)
    hung = answer is None
    dead = answer is not None and answer.is_dead
    with contextlib.ExitStack() as stack:
        daemons = []
        for pid in _daemon_pids(path, answer.value if answer else None):
            pidfd = _open_daemon(pid, path)
            if pidfd is not None:
                stack.callback(os.close, pidfd)
                daemons.append((pid, pidfd))
        dirty = 0
        if not (lazy or force or hung or dead):
            dirty = wait_sent(path, answer.value if answer else None)
        if force:
            abandon(mount)
            _say_given_up(path, written(answer.value if answer else None).dirty)
        else:
            detach(path, lazy=lazy or dead)
        for pid, pidfd in daemons:
            if hung or lazy or force:
                _look_gone(path, pid, pidfd, hung=hung)
            else:
                _wait_gone(path, pid, pidfd, limit=math.inf if dirty else _GONE_TIMEOUT)


def _our_mount(mountpoint: str) -> Mount:
    """The uppermost mount there. Raises :class:`MountError` if it is not one of ours."""
    mounts = read_mounts()
    mount = mount_at(resolved(mountpoint, mounts), mounts)
    if mount is None:
        raise MountError(f"{mountpoint} is not mounted")
    if not mount.is_ours:
        raise MountError(f"{mountpoint} is a mount of type {mount.fstype}, not ours")
    return mount


def _daemon_pids(path: str, stats: str | None) -> list[int]:
    """The daemon's pid as the mount tells it, else those of processes that look like it."""
    try:
        return [int(json.loads(stats or "")["daemon"]["pid"])]
    except (ValueError, KeyError, TypeError):
        return [pid for pid in _pids() if _serves(pid, path)]


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            yield int(name)


def _serves(pid: int, path: str) -> bool:
    """Whether the process is a netfsfuse in the foreground with this mount point."""
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    words = os.fsdecode(content).split("\0")
    return is_daemon(words, path, lambda: os.readlink(f"/proc/{pid}/cwd"))


def is_daemon(words: list[str], path: str, cwd: Callable[[], str]) -> bool:
    """Whether a command line is that of the daemon of ``path``.

    ``cwd`` gives the directory that relative arguments count from; it may raise OSError.
    """
    if not any(os.path.basename(word) == "netfsfuse" for word in words):
        return False
    if not any(_FOREGROUND.fullmatch(word) for word in words):
        return False
    if path in words:
        return True
    try:
        start = cwd()
    except OSError:
        return False
    return any(word and os.path.normpath(os.path.join(start, word)) == path for word in words)


def _open_daemon(pid: int, path: str) -> int | None:
    """A pidfd of the daemon, or None when there is no such process (any more)."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    if _serves(pid, path):
        return pidfd
    os.close(pidfd)
    return None


def _wait_gone(path: str, pid: int, pidfd: int, *, limit: float) -> None:
    """``limit``: seconds. A daemon that has something to send ends when it is done, or when nothing
    moves any more."""
    if _has_ended(pid, pidfd, _SAID_AFTER):
        return
    say(f"netfsfuse: {path} is unmounted; its daemon (pid {pid}) is ending", err=True)
    if not _has_ended(pid, pidfd, limit - _SAID_AFTER):
        raise MountError(
            f"{path} is unmounted, but its daemon (pid {pid}) is still running "
            f"after {limit:g} seconds"
        )


def _say_given_up(path: str, dirty: int) -> None:
    if dirty:
        what = f"{path}: {format_size(dirty)} were not on the server yet"
        say(f"netfsfuse: {what}; the log names what is lost of them", err=True)


def _look_gone(path: str, pid: int, pidfd: int, *, hung: bool) -> None:
    if not _has_ended(pid, pidfd, _HUNG_TIMEOUT if hung else _SOON_TIMEOUT) and hung:
        say(
            f"netfsfuse: {path} is unmounted; its daemon (pid {pid}) did not answer and is still "
            "there: kill it if it does not end",
            err=True,
        )


def _has_ended(pid: int, pidfd: int, timeout: float) -> bool:
    """Whether it ends within ``timeout`` seconds; threads that a disk which hangs keeps in the
    kernel do not count: of the process nothing else is left then."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    end = time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0:
        if poll.poll(min(left, _STEP) * 1000) or _is_zombie(pid):
            return True
    return False


def _is_zombie(pid: int) -> bool:
    try:
        content = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False  # its pidfd says so in a moment
    return content.rpartition(")")[2].split()[:1] == ["Z"]
