"""Where a path leads, without asking any mount of ours.

The kernel asks a mount's daemon for each name that is looked up at its mount point or below, and
so programs that call ``stat``, ``realpath`` or ``access`` there wait for it: with a daemon that
hangs they sleep for good, and cannot even be killed. A path is followed here name by name, as the
kernel does, as far as the first mount of ours, and is text from there on.
"""

from __future__ import annotations

import os

from netfsfuse.errors import MountError
from netfsfuse.mountinfo import Mount, mount_at

_MOST_LINKS = 40  # the kernel's own limit


def resolved(text: str, mounts: list[Mount]) -> str:
    """The absolute name of ``text``: without symlinks, "." and ".." outside of mounts of ours.

    What does not exist, or may not be looked at, is kept as it is written. Raises
    :class:`MountError` for a circle of symlinks, or a relative path from a directory that is gone.
    """
    path, names, links = "", _names(_absolute(text)), 0
    while names:
        name = names.pop()
        if name == "..":
            path = os.path.dirname(path).rstrip("/")
            continue
        path = f"{path}/{name}"
        mount = mount_at(path, mounts)
        if mount is not None and mount.is_ours:
            return os.path.normpath("/".join([path, *reversed(names)]))
        try:
            target = os.readlink(path)
        except OSError:  # no symlink, or none that is there
            continue
        links += 1
        if links > _MOST_LINKS:
            raise MountError(f"{text}: too many levels of symbolic links")
        path = "" if target.startswith("/") else os.path.dirname(path).rstrip("/")
        names += _names(target)
    return path or "/"


def _absolute(text: str) -> str:
    if text.startswith("/"):
        return text
    try:
        return f"{os.getcwd()}/{text}"  # as the kernel remembers it: no filesystem is asked
    except OSError:
        raise MountError(f"{text}: the current directory is gone") from None


def _names(path: str) -> list[str]:
    """The names of ``path``, the first one last."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
