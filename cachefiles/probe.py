"""Can this filesystem hold a cache? Tried out, not looked up: mounts of one type differ."""

from __future__ import annotations

import errno

from cachefiles.backing import Filesystem

_XATTR = "user.cachefiles.probe"
_XATTR_BYTES = 812  # the largest record of coherency.py
_END = 64 * 1024 * 1024
_AT = 32 * 1024 * 1024  # a hole on both sides, wider than the largest filesystem block in use
_BLOCK = 64 * 1024
_NO_XATTR = frozenset({errno.EOPNOTSUPP, errno.E2BIG, errno.ERANGE, errno.EPERM})


def probe(filesystem: Filesystem, folder: int) -> str | None:
    """Why ``folder`` cannot hold a cache, or None. Leaves nothing behind.

    Raises ``OSError`` where a plain call fails (read-only, full, denied).
    """
    filesystem.unlink("probe", folder)
    fd = filesystem.create("probe", folder)
    try:
        filesystem.write_all(fd, bytes([0x5A]) * _BLOCK, _AT)
        filesystem.truncate(fd, _END)
        return _probe_xattr(filesystem, fd) or _probe_holes(filesystem, fd)
    finally:
        filesystem.close(fd)
        filesystem.unlink("probe", folder)


def _probe_xattr(filesystem: Filesystem, fd: int) -> str | None:
    value = bytes(_XATTR_BYTES)
    try:
        filesystem.set_xattr(fd, _XATTR, value)
        if filesystem.get_xattr(fd, _XATTR) == value:
            return None
    except OSError as error:
        if error.errno not in _NO_XATTR:
            raise
    return f"its filesystem keeps no extended attributes of {_XATTR_BYTES} bytes"


def _probe_holes(filesystem: Filesystem, fd: int) -> str | None:
    extents = filesystem.data_extents(fd, 0, _END)
    if len(extents) == 1 and 0 < extents[0][0] <= _AT and _AT + _BLOCK <= extents[0][1] < _END:
        return None
    return "its filesystem does not report holes (SEEK_HOLE)"
