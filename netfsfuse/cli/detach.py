"""Taking a mount away: umount(2) for root, ``fusermount3 -u`` for everybody else.

Neither asks the filesystem anything, so both work while the server or the daemon hangs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess

from netfsfuse.cli.programs import find_program
from netfsfuse.errors import MountError

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_TIMEOUT = 20.0  # seconds for fusermount3, which only makes one system call


class Busy(MountError):
    """Somebody has a file open or stands in a directory of the mount."""


def detach(path: str, *, lazy: bool = False) -> None:
    """Unmount the uppermost mount at ``path``, which must be absolute and resolved.

    ``lazy`` takes it out of the tree at once, even when in use. Raises :class:`Busy`, or
    :class:`MountError` in one line.
    """
    code = _umount2(path, lazy) if os.geteuid() == 0 else errno.EPERM
    if code == errno.EPERM:  # an ordinary user, or root without the capability
        _fusermount(path, lazy)
    elif code == errno.EBUSY:
        raise _busy(path)
    elif code:
        raise MountError(f"cannot unmount {path}: {os.strerror(code)}")


def _umount2(path: str, lazy: bool) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
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
