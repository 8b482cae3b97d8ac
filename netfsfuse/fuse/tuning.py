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

log = logging.getLogger(__name__)

READ_AHEAD_KB = 4096
MAX_BACKGROUND = 64


def device_of(mountpoint: Path) -> tuple[int, int] | None:
    """``(major, minor)`` of a mount, from /proc: a stat could need the mount to answer."""
    wanted = os.fsencode(mountpoint)
    found = None
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        if fields[4].replace(b"\\040", b" ").replace(b"\\134", b"\\") == wanted:
            major, _, minor = fields[2].partition(b":")
            found = int(major), int(minor)
    return found


def tune(mountpoint: Path, read_ahead_kb: int = READ_AHEAD_KB) -> None:
    """Raise what may be raised; say in the log what may not, and how it could be."""
    os.statvfs(mountpoint)
    device = device_of(mountpoint)
    if device is None:
        return
    read_ahead = Path(f"/sys/class/bdi/{device[0]}:{device[1]}/read_ahead_kb")
    try:
        read_ahead.write_text(str(read_ahead_kb))
    except OSError as failed:
        log.info(
            "read_ahead_kb stays as it is (%s); root may raise it: echo %d > %s",
            failed.strerror,
            read_ahead_kb,
            read_ahead,
        )
    connection = Path(f"/sys/fs/fuse/connections/{device[1]}")
    try:
        (connection / "max_background").write_text(str(MAX_BACKGROUND))
        (connection / "congestion_threshold").write_text(str(MAX_BACKGROUND * 3 // 4))
    except OSError as failed:
        log.debug("max_background stays as it is: %s", failed.strerror)
