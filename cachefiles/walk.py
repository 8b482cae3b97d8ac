"""All objects of a cache, one after another, whatever else goes on in it. Constant memory.

A walk opens no object: names, sizes and times come from the directories and inodes. It meets files
that others make and bury at the same time, and what is none of ours, which it passes over: also
symlinks, folders and pipes under the names of objects.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from cachefiles.backing import Filesystem
from cachefiles.folder import PINNED_XATTR
from cachefiles.key import MAP_SUFFIX

_NAME = re.compile("[0-9a-f]{32}")
_FAN = re.compile("[0-9a-f]{2}")
VOLUME_XATTR = "user.cachefiles.volume"
"""On a volume's directory: its key, or the first 512 bytes of it, for people and for listing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object's files as found. ``path`` is below its volume's directory, ``allocated`` the
    bytes on disk of both files, ``used`` the last use in ns since the epoch. ``size`` is None for a
    map that has no backing file."""

    path: str
    size: int | None
    allocated: int
    used: int
    pinned: bool


def volumes(volumes_fd: int) -> Iterator[str]:
    """The names of the volumes' directories, in order."""
    yield from sorted(name for name in os.listdir(volumes_fd) if _NAME.fullmatch(name))


def volume_key(folder: int) -> bytes:
    """The key of the volume with directory ``folder``, at most 512 bytes of it; b"" if unknown."""
    with suppress(OSError):
        return os.getxattr(folder, VOLUME_XATTR)
    return b""


Foreign = Callable[[str, int], None]
"""Told path and mode of what has the name of an object's file and is no file."""


def objects(
    filesystem: Filesystem, folder: int, foreign: Foreign = lambda path, mode: None
) -> Iterator[Entry]:
    """The objects of the volume with directory ``folder``, a fan-out folder's at a time."""
    for fan in sorted(filter(_FAN.fullmatch, os.listdir(folder))):
        try:
            inner = filesystem.open_folder(fan, folder)
        except OSError:
            continue
        try:
            names = os.listdir(inner)
            present = set(names)
            for name in names:
                data = name.removesuffix(MAP_SUFFIX)
                if not _NAME.fullmatch(data) or (name != data and data in present):
                    continue
                entry = _entry(fan, data, inner, foreign, orphan=name != data)
                if entry is not None:
                    yield entry
        finally:
            filesystem.close(inner)


def _entry(fan: str, name: str, inner: int, foreign: Foreign, *, orphan: bool) -> Entry | None:
    """None when it is gone meanwhile, or no regular file."""
    allocated, used, size, pinned = 0, 0, None, False
    side = _regular(fan, name + MAP_SUFFIX, inner, foreign)
    if side is not None:
        allocated += side.st_blocks * 512
        used = side.st_atime_ns
    elif orphan:
        return None
    if not orphan:
        about = _regular(fan, name, inner, foreign)
        if about is None:
            return None
        allocated += about.st_blocks * 512
        used, size = about.st_atime_ns, about.st_size
        with suppress(OSError):
            os.getxattr(f"/proc/self/fd/{inner}/{name}", PINNED_XATTR, follow_symlinks=False)
            pinned = True
    return Entry(f"{fan}/{name}", size, allocated, used, pinned)


def _regular(fan: str, name: str, inner: int, foreign: Foreign) -> os.stat_result | None:
    try:
        about = os.stat(name, dir_fd=inner, follow_symlinks=False)
    except OSError:
        return None
    if stat.S_ISREG(about.st_mode):
        return about
    foreign(f"{fan}/{name}", about.st_mode)
    return None
