"""What programs have changed in files that they have mapped, and the kernel has not told of yet.

The kernel writes such pages back by itself when a file is unmapped, or the mount is taken away by
umount(8), and gives them up when the daemon takes it away: then they are to be asked for before.
Blocking: call in a thread.
"""

from __future__ import annotations

import ctypes
import logging
import os
from pathlib import Path

from netfsfuse.mountinfo import mount_at, read_mounts

log = logging.getLogger(__name__)


def write_back(mountpoint: Path) -> None:
    """Have the kernel write all changed pages of the mount, which is being served. Raises
    nothing."""
    mount = mount_at(str(mountpoint), read_mounts())
    if mount is None or not mount.is_ours:  # another file system may take its time
        return
    try:
        fd = os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as failed:
        log.debug("mapped pages are not asked for: %s", failed.strerror)
        return
    try:
        ctypes.CDLL(None).syncfs(fd)
    finally:
        os.close(fd)
