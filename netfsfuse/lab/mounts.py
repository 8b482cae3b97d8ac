"""Mount points and daemons as any user sees them from outside, and getting rid of both.

Only /proc is read: a ``stat`` of a mount point whose daemon hangs would hang as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from netfsfuse.mountinfo import read_mounts

_POLL_SECONDS = 0.02


def is_mounted(mountpoint: Path) -> bool:
    """Whether a netfsfuse mount, alive or dead, sits on ``mountpoint`` (an absolute path)."""
    return any(mount.is_ours and mount.path == str(mountpoint) for mount in read_mounts())


def command_line(pid: int) -> list[str]:
    """A process's arguments; empty for a zombie, a kernel thread, or one that is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in raw.split(b"\0") if word]


def daemons(mountpoint: Path) -> list[int]:
    """Processes that serve ``mountpoint``: the words netfsfuse and the path are in their command.

    A running ``netfsfuse umount`` or ``stats`` of that mount point is not one.
    """
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        words = command_line(int(entry.name))
        ours = any("netfsfuse" in word for word in words[:4]) and str(mountpoint) in words
        if ours and not {"umount", "stats"} & set(words[:5]) and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def wait_gone(mountpoint: Path, seconds: float) -> bool:
    """Wait until neither mount nor daemon is left; whether that came true in time."""
    deadline = time.monotonic() + seconds
    while is_mounted(mountpoint) or daemons(mountpoint):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def detach(mountpoint: Path) -> None:
    """Remove the mount lazily, whatever state it is in; nothing happens where there is none."""
    while is_mounted(mountpoint):
        fusermount = shutil.which("fusermount3")
        attempts = [[fusermount, "-u", "-z", "-q", str(mountpoint)]] if fusermount else []
        if os.geteuid() == 0:
            attempts.insert(0, ["umount", "-l", str(mountpoint)])
        if not any(
            subprocess.run(attempt, capture_output=True, check=False).returncode == 0
            for attempt in attempts
        ):
            return


def remove(mountpoint: Path, grace: float = 5.0) -> None:
    """Last resort: detach, then end the daemon, with SIGKILL after ``grace`` seconds."""
    for which in (signal.SIGTERM, signal.SIGKILL):
        detach(mountpoint)
        for pid in daemons(mountpoint):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, which)
        if wait_gone(mountpoint, grace):
            return
    detach(mountpoint)  # a daemon that was killed just after it had mounted leaves a dead mount
