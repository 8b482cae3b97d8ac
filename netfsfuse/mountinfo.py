"""The mounts of this namespace, from /proc/self/mountinfo. A leaf; imports nothing of ours.

Reading it touches no filesystem: a ``stat`` of a mount point whose daemon hangs would hang as well.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

FSTYPE = "fuse.netfsfuse"
_USER = re.compile(r"(?:^|,)user_id=(\d+),group_id=(\d+)(?:,|$)")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line: where it is, what it is, what the mounter called it, its MAJOR:MINOR, its id,
    which no other mount has as long as it is there, and, of a FUSE mount, uid and gid of its user,
    who alone may enter it if not all may."""

    path: str
    fstype: str
    source: str
    device: str
    id: int = 0
    user: tuple[int, int] | None = None

    @property
    def is_ours(self) -> bool:
        """Whether netfsfuse made it."""
        return self.fstype == FSTYPE


def parse_mountinfo(text: str) -> list[Mount]:
    """The mounts in the order of the kernel: a later one on the same path covers an earlier."""
    mounts = []
    # Not by splitlines(): a path may hold what that takes for the end of a line.
    for line in text.split("\n"):
        before, separator, after = line.partition(" - ")
        fields, tail = before.split(" "), after.split(" ")
        if separator and len(fields) >= 6 and len(tail) >= 2:
            path, source = _unescape(fields[4]), _unescape(tail[1])
            found = _USER.search(tail[2]) if len(tail) > 2 else None
            user = (int(found[1]), int(found[2])) if found else None
            mounts.append(Mount(path, tail[0], source, fields[2], int(fields[0]), user))
    return mounts


def read_mounts() -> list[Mount]:
    """The mounts now."""
    return parse_mountinfo(os.fsdecode(Path("/proc/self/mountinfo").read_bytes()))


def mount_at(path: str, mounts: list[Mount]) -> Mount | None:
    """The uppermost mount on exactly ``path``, or None."""
    return next((mount for mount in reversed(mounts) if mount.path == path), None)


def mount_holding(path: str, mounts: list[Mount]) -> Mount | None:
    """The mount that the absolute ``path`` lies in, by name alone."""
    holding = [
        mount
        for mount in mounts
        if path == mount.path or path.startswith(mount.path.rstrip("/") + "/")
    ]
    longest = max((len(mount.path) for mount in holding), default=0)
    return next((mount for mount in reversed(holding) if len(mount.path) == longest), None)


def _unescape(text: str) -> str:
    """Undo the kernel's octal escapes (space, tab, newline, backslash; ``#`` in sources)."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
