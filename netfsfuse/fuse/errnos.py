"""The only errors -> errno table."""

from __future__ import annotations

import errno

from netfsfuse import errors

_TABLE: dict[type[errors.NetfsError], int] = {
    errors.NotFound: errno.ENOENT,
    errors.BeingRemoved: errno.ENOENT,
    errors.InvalidName: errno.ENOENT,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.AccessDenied: errno.EACCES,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.InvalidArgument: errno.EINVAL,
    errors.ReadOnly: errno.EROFS,
    errors.NotSupported: errno.EOPNOTSUPP,
    errors.NoAttribute: errno.ENODATA,
    errors.Barred: errno.EACCES,
    errors.HostDown: errno.EHOSTDOWN,
    errors.DeadlineExceeded: errno.ETIMEDOUT,
    errors.Elsewhere: errno.EREMOTE,
    errors.Stale: errno.ESTALE,
    errors.Shrunk: errno.ESTALE,
    errors.Locked: errno.EBUSY,
    errors.AlreadyExists: errno.EEXIST,
    errors.NotEmpty: errno.ENOTEMPTY,
    errors.DiskFull: errno.ENOSPC,
    errors.QuotaExceeded: errno.EDQUOT,
    errors.FileTooLarge: errno.EFBIG,
    errors.WriteProtected: errno.EROFS,
}

EXPECTED = frozenset(_TABLE) - {errors.DeadlineExceeded}
"""Errors that are an answer like another; all others are worth a line in the log."""


def errno_of(error: errors.NetfsError) -> int:
    """The errno a program sees; EIO for whatever has none of its own."""
    for kind in type(error).__mro__:
        if kind in _TABLE:
            return _TABLE[kind]
    return errno.EIO
