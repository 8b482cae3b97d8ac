"""File attributes ([MS-FSCC] 2.6) and reparse tags (2.1.2.1) -> the flags of ``FileAttr``. PURE."""

from __future__ import annotations

from netfsfuse.types import DIRECTORY, MAY_BE_LINK, READ_ONLY

_READ_ONLY = 0x01
_DIRECTORY = 0x10
_NORMAL = 0x80
_SETTABLE = 0x3127  # read-only, hidden, system, archive, temporary, offline, not indexed
_REPARSE_POINT = 0x400

SYMLINK = 0xA000000C
MOUNT_POINT = 0xA0000003
LX_SYMLINK = 0xA000001D
NFS = 0x80000014

_MAY_BE_LINK = frozenset({0, SYMLINK, MOUNT_POINT, LX_SYMLINK, NFS})
"""0: only listings state the tag. What NFS tags is a symlink or a device."""

_FLAGS = {
    0: 0,
    _READ_ONLY: READ_ONLY,
    _DIRECTORY: DIRECTORY,
    _DIRECTORY | _READ_ONLY: DIRECTORY | READ_ONLY,
}


def flags_of(attributes: int, tag: int = 0) -> int:
    """The flags of what has these ``attributes`` and, if it is a reparse point, this ``tag``."""
    flags = _FLAGS[attributes & (_READ_ONLY | _DIRECTORY)]
    if attributes & _REPARSE_POINT and tag in _MAY_BE_LINK:
        flags |= MAY_BE_LINK
    return flags


def with_read_only(attributes: int, read_only: bool) -> int:
    """What a SET_INFO states of a file with these ``attributes`` so that it is ``read_only``, or is
    not; never 0, which would leave all as it is."""
    kept = attributes & _SETTABLE & ~_READ_ONLY
    return kept | (_READ_ONLY if read_only else 0) or _NORMAL
