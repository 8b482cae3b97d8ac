"""Taking a mount away: umount(2) for root, ``fusermount3 -u`` for other users.

Neither asks the filesystem anything, so both work while the server or the daemon hangs. A program
that sleeps in a call on the mount sleeps on, though, until the connection to the daemon is given
up.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import subprocess
from pathlib import Path

from netfsfuse.cli.programs import find_program
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import Mount, read_mounts

_MNT_FORCE = 1
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_TIMEOUT = 4.0  # seconds for fusermount3, which only makes one system call


class Busy(MountError):
    """A program has a file open or stands in a directory of the mount."""


def detach(path: str, *, lazy: bool = False) -> None:
    """Unmount the uppermost mount at ``path``, which must be absolute and resolved.

    ``lazy`` takes it out of the tree at once, even when in use. Raises :class:`Busy`, or
    :class:`MountError` in one line.
    """
    code = _umount2(path, _MNT_DETACH if lazy else 0) if os.geteuid() == 0 else errno.EPERM
    if code == errno.EPERM:  # an ordinary user, or root without the capability
        _fusermount(path, lazy)
    elif code == errno.EBUSY:
        raise _busy(path)
    elif code:
        raise MountError(f"cannot unmount {path}: {os.strerror(code)}")


def abandon(mount: Mount) -> None:
    """Unmount ``mount`` although its daemon may hang: every call that waits for it fails at once.

    Raises :class:`MountError` in one line.
    """
    if os.geteuid() == 0:
        _umount2(mount.path, _MNT_FORCE)  # says EBUSY, and has done it (measured)
    minor = mount.device.partition(":")[2]
    with contextlib.suppress(OSError):  # this may be done by the user who mounted, too
        Path(f"/sys/fs/fuse/connections/{minor}/abort").write_text("1")
    if any(each.id == mount.id for each in read_mounts()):
        detach(mount.path, lazy=True)


def _umount2(path: str, flags: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    flags |= _UMOUNT_NOFOLLOW
    return ctypes.get_errno() if libc.umount2(os.fsencode(path), flags) else 0


def _fusermount(path: str, lazy: bool) -> None:
    program = find_program("fusermount3")
    if program is None:
        raise MountError("fusermount3 not found: install the package fuse3")
    command = [program, "-u", *(["-z"] if lazy else []), "--", path]
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise MountError(f"cannot unmount {path}: fusermount3 does not answer") from None
    if result.returncode == 0:
        return
    text = result.stderr.decode(errors="replace").strip()
    if "busy" in text.lower():
        raise _busy(path)
    raise MountError(text.splitlines()[-1] if text else f"cannot unmount {path}")


def _busy(path: str) -> Busy:
    return Busy(f"{path} is busy: close the files and leave the directories in it, or use --lazy")
