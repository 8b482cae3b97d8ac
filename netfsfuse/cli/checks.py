"""What can be known to stand in the way before a server is asked. Each failure is one line."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from netfsfuse.cli.choices import Invoker
from netfsfuse.cli.detach import detach
from netfsfuse.cli.place import resolved
from netfsfuse.cli.probe import Answer, probe, probe_mount
from netfsfuse.cli.programs import find_program
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import Mount, mount_at, mount_holding, read_mounts
from netfsfuse.stats import STATS_XATTR

STAT_TIMEOUT = 3.0  # seconds until a mount point counts as hung
FUSE_DEVICE = "/dev/fuse"
FUSE_CONF = "/etc/fuse.conf"
_STACKED_LIMIT = 8  # dead mounts on top of each other that one command clears away


def ready_mountpoint(path: str, invoker: Invoker) -> Path:
    """The resolved mount point, free to mount on.

    A mount of ours that its daemon left dead is detached first. Raises :class:`MountError`.
    """
    place = path
    for _ in range(_STACKED_LIMIT):
        mounts = read_mounts()
        place = resolved(place, mounts)
        mount = mount_at(place, mounts)
        if mount is not None and mount.is_ours:
            # The kernel answers a stat from its cache for actimeo seconds after the daemon's
            # death, an xattr never.
            if not _ask(place, mount.path, mount).is_dead:
                raise MountError(f"{place} is already mounted ({mount.source})")
            detach(place, lazy=True)
            continue
        answer = _ask(place, _mount_point_of(place, mounts))
        if answer.real == place:
            _check_directory(path, answer, invoker)
            return Path(place)
        place = answer.real  # by a symlink inside of another mount
    raise MountError(f"mount point {path}: too many dead mounts on top of each other")


def _mount_point_of(place: str, mounts: list[Mount]) -> str:
    """Where the mount that ``place`` lies in is mounted, by name alone."""
    holding = mount_holding(place, mounts)
    return place if holding is None else holding.path


def _ask(place: str, mounted: str, ours: Mount | None = None) -> Answer:
    if ours is None:
        answer = probe(place, timeout=STAT_TIMEOUT)
    else:
        answer = probe_mount(ours, STATS_XATTR, timeout=STAT_TIMEOUT, path=place)
    if answer is None:
        raise MountError(
            f"mount point {place} does not answer; `netfsfuse umount --force {mounted}` "
            "takes a hung mount away"
        )
    return answer


def _check_directory(path: str, answer: Answer, invoker: Invoker) -> None:
    if answer.errno == errno.ENOENT:
        raise MountError(f"mount point {path} does not exist")
    if answer.errno:
        raise MountError(f"mount point {path}: {os.strerror(answer.errno)}")
    if not stat.S_ISDIR(answer.mode):
        raise MountError(f"mount point {path} is not a directory")
    if not invoker.is_root and not os.access(answer.real, os.W_OK):
        raise MountError(f"mount point {path} must be a directory that you may write to")


def check_hidden(mountpoint: Path, places: Mapping[str, Path | None]) -> None:
    """Raise :class:`MountError` if a mount on ``mountpoint`` would hide one of ``places``, by what
    it is, or the program itself: the daemon would ask itself for it, and wait for ever."""
    if Path(sys.prefix).resolve().is_relative_to(mountpoint):
        raise MountError(f"the mount on {mountpoint} would hide netfsfuse itself, {sys.prefix}")
    for what, place in places.items():
        if place is None:
            continue
        answer = probe(str(place), timeout=STAT_TIMEOUT)
        # One that does not answer lies on another mount, and the code that uses it will say so.
        if answer is not None and Path(answer.real).is_relative_to(mountpoint):
            raise MountError(f"the mount on {mountpoint} would hide {what}, {place}")


def check_fuse(invoker: Invoker, *, allow_other: bool) -> None:
    """Whether this user can make a FUSE mount here at all. Raises :class:`MountError`."""
    try:
        os.close(os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise MountError(_explain_device(error)) from None
    if invoker.is_root:
        return
    if find_program("fusermount3") is None:
        raise MountError("fusermount3 not found: install the package fuse3")
    if allow_other and not _others_permitted():
        raise MountError(f"allow_other needs a line user_allow_other in {FUSE_CONF}")


def _explain_device(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"{FUSE_DEVICE} is missing: load the kernel module with `modprobe fuse`"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{FUSE_DEVICE} may not be opened by this user: its mode should be 0666, "
            "and in a container the device must be passed in"
        )
    return f"{FUSE_DEVICE} cannot be opened: {error.strerror}; is the module fuse loaded?"


def _others_permitted() -> bool:
    try:
        text = Path(FUSE_CONF).read_text(errors="replace")
    except OSError:
        return False
    return re.search(r"^\s*user_allow_other\s*$", text, re.MULTILINE) is not None
