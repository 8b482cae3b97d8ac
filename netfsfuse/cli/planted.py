"""What other users laid where root writes: a symlink in /tmp, named as a log will be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from netfsfuse.errors import MountError

_MOST_LINKS = 40  # the kernel's own limit


def followed(path: Path, what: str) -> Path:
    """``path``, which is absolute, without symlinks as far as it exists; as it is for non-root.

    Raises :class:`MountError` if something on the way, or at its end, is another user's who could
    put it there. ``what`` it is for is named then. What is opened by the answer must still not
    follow a symlink at its end (O_NOFOLLOW), which can have come meanwhile; the folders before it
    cannot be exchanged by others, except where others may write without the sticky bit.
    """
    if os.geteuid() != 0:
        return path
    real, names, links = "/", list(reversed(path.parts[1:])), 0
    while names:
        name = names.pop()
        if name == "..":
            real = os.path.dirname(real)
            continue
        step = os.path.join(real, name)
        try:
            about, above = os.lstat(step), os.stat(real)
        except OSError:
            return Path(step, *reversed(names))
        if about.st_uid != 0 and _others_may_write(above):
            raise MountError(f"{what} {path}: {step} is another user's, who could lead root astray")
        if not stat.S_ISLNK(about.st_mode):
            real = step
            continue
        links += 1
        if links > _MOST_LINKS:
            raise MountError(f"{what} {path}: too many levels of symbolic links")
        target = os.readlink(step)
        real = "/" if target.startswith("/") else real
        names += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return Path(real)


def _others_may_write(about: os.stat_result) -> bool:
    by_group = about.st_mode & 0o020 and about.st_gid != 0
    return bool(about.st_uid != 0 or about.st_mode & 0o002 or by_group)
