"""The one error tree.

NTSTATUS is mapped to these in ``smb/status.py`` and these to an errno in ``fuse/errnos.py``, and
nowhere else. A class says whose fault it was and whether asking again can help; the message says
what happened in words for the log. Imports nothing.
"""

from __future__ import annotations


class NetfsError(Exception):
    """Base of everything this package raises on purpose."""


class NotFound(NetfsError):
    """The name does not exist on the server (ENOENT)."""


class BeingRemoved(NotFound):
    """The name was removed, and is not free before the last client has closed the file (ENOENT)."""


class NotADirectory(NetfsError):
    """A directory was asked for and the name is something else (ENOTDIR)."""


class IsADirectory(NetfsError):
    """A file was asked for and the name is a directory (EISDIR)."""


class AccessDenied(NetfsError):
    """The server refuses this user (EACCES)."""


class NameTooLong(NetfsError):
    """The name is longer than the server can hold (ENAMETOOLONG)."""


class InvalidName(NetfsError):
    """The name cannot exist on the server (ENOENT for a look-up)."""


class InvalidArgument(NetfsError):
    """A call with arguments that make no sense here (EINVAL)."""


class ReadOnly(NetfsError):
    """A writing call on a read-only mount (EROFS)."""


class NotSupported(NetfsError):
    """The server cannot do this (EOPNOTSUPP)."""


class NoAttribute(NetfsError):
    """The file has no extended attribute of that name now (ENODATA)."""


class Elsewhere(NetfsError):
    """The name is a link to another server, which is not followed (EREMOTE)."""


class Stale(NetfsError):
    """The handle's or inode's file is no longer what it was (ESTALE)."""


class Shrunk(Stale):
    """The file ends before the size that was last stated for it (ESTALE); asking for its size
    helps."""


class Locked(NetfsError):
    """Another client holds the file or range (EAGAIN / EBUSY)."""


class AlreadyExists(NetfsError):
    """Something has the name already (EEXIST)."""


class NotEmpty(NetfsError):
    """A directory that is to go holds names (ENOTEMPTY)."""


class DiskFull(NetfsError):
    """The server's disk is full (ENOSPC)."""


class QuotaExceeded(NetfsError):
    """The user's share of the server's disk is used up (EDQUOT)."""


class FileTooLarge(NetfsError):
    """A size beyond what the server, or its file system, can hold (EFBIG)."""


class WriteProtected(NetfsError):
    """The server lets no client write to the share or its disk (EROFS)."""


class ServerBusy(NetfsError):
    """The server is short of resources; asking again later may help (EIO)."""


class ServerError(NetfsError):
    """An answer that fits no other class (EIO)."""


class ProtocolError(NetfsError):
    """The peer broke the protocol, or a signature did not fit; the connection is dropped (EIO)."""


class Disconnected(NetfsError):
    """The connection is gone. Retryable once on a new connection (EIO when that failed too)."""


class Barred(Disconnected):
    """The connection is gone and the server does not let us in again (EACCES): nothing that is
    known of a file's own permissions. It is not asked for a while."""


class HostDown(Disconnected):
    """The server has been away for as long as a call may wait for it (EHOSTDOWN). Until it is back
    calls that only it can answer are told so at once."""


class DeadlineExceeded(NetfsError):
    """An answer did not come in time (ETIMEDOUT)."""


class MountError(NetfsError):
    """Mounting is impossible. The message is the one line that the user sees, without a secret."""


class Refused(MountError):
    """The server has answered, and would answer the same again: asking again soon is no use."""


class LoginRefused(Refused):
    """It refuses this user, or would let him in as a guest (exit status 77). Asked again and
    again it may lock the account."""


class UsageError(MountError):
    """The command line is wrong (exit status 2)."""
