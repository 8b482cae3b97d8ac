"""What a test session left behind: processes, mounts.

Every process that the session starts inherits a mark in its environment, however often it forks and
whoever adopts it, so other sessions on the same machine are not blamed on this one.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from netfsfuse.lab import mounts
from netfsfuse.mountinfo import read_mounts

MARK = "NETFSFUSE_TEST_SESSION"


def marked_processes(mark: str) -> list[str]:
    """``PID command line`` of each living process that carries the mark, but this one's.

    Processes of other users are invisible to an ordinary user, and zombies carry no environment.
    """
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(f"{pid} {' '.join(mounts.command_line(pid))}")
    return found


def mounts_below(folder: Path) -> list[str]:
    """Mount points of ours below ``folder``."""
    return [
        mount.path
        for mount in read_mounts()
        if mount.is_ours and Path(mount.path).is_relative_to(folder)
    ]


def leaked(mark: str, folder: Path, patience: float = 3.0) -> list[str]:
    """Everything that is still there after ``patience`` seconds for what is just ending."""
    deadline = time.monotonic() + patience
    while True:
        found = marked_processes(mark) + mounts_below(folder)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
