"""What the kernel lets us set for a mount once it is there. Blocking: call in a thread.

``read_ahead_kb`` of the mount's bdi is the largest read the kernel asks for in one piece: at its
default of 128 KiB the daemon's ceiling is about 1 GB/s, at 1 MiB and more 3.5 to 5 GB/s (measured).
It must be written after the first answered request, or INIT's reply clamps it back.
``max_background`` is how many of its readahead requests the kernel keeps under way, 12 by default.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from netfsfuse.mountinfo import mount_at, read_mounts

log = logging.getLogger(__name__)

READ_AHEAD_MAX = 4 * 1024 * 1024
"""Bytes: beyond this the kernel's window gains nothing, and our own readahead runs ahead of it."""
MAX_BACKGROUND = 64


def tune(mountpoint: Path, rasize: int) -> None:
    """Raise what may be raised; say in the log what may not, and how it could be.

    ``rasize``: the largest readahead of a handle, bytes.
    """
    read_ahead_kb = min(rasize, READ_AHEAD_MAX) // 1024
    os.statvfs(mountpoint)
    mount = mount_at(str(mountpoint), read_mounts())
    if mount is None:
        return
    read_ahead = Path(f"/sys/class/bdi/{mount.device}/read_ahead_kb")
    try:
        read_ahead.write_text(str(read_ahead_kb))
    except OSError as failed:
        log.info(
            "read_ahead_kb stays as it is (%s); root may raise it: echo %d > %s",
            failed.strerror,
            read_ahead_kb,
            read_ahead,
        )
    _, _, minor = mount.device.partition(":")
    connection = Path(f"/sys/fs/fuse/connections/{minor}")
    try:
        (connection / "max_background").write_text(str(MAX_BACKGROUND))
        (connection / "congestion_threshold").write_text(str(MAX_BACKGROUND * 3 // 4))
    except OSError as failed:
        log.debug("max_background stays as it is: %s", failed.strerror)
