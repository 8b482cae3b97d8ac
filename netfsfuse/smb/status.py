"""PURE: the only NTSTATUS -> errors table ([MS-ERREF] 2.3.1), and what a refused login means."""

from __future__ import annotations

import enum

from netfsfuse import errors
from netfsfuse.errors import NetfsError

SUCCESS = 0x00000000
NOTIFY_CLEANUP = 0x0000010B
NOTIFY_ENUM_DIR = 0x0000010C
BUFFER_OVERFLOW = 0x80000005
NO_MORE_FILES = 0x80000006
STOPPED_ON_SYMLINK = 0x8000002D
INVALID_PARAMETER = 0xC000000D
NO_SUCH_FILE = 0xC000000F
ACCESS_DENIED = 0xC0000022
END_OF_FILE = 0xC0000011
OBJECT_NAME_INVALID = 0xC0000033
LOGON_FAILURE = 0xC000006D
PASSWORD_REFUSED = frozenset({LOGON_FAILURE, 0xC000006A, 0xC0000071, 0xC0000224})
"""LOGON_FAILURE, WRONG_PASSWORD, PASSWORD_EXPIRED, PASSWORD_MUST_CHANGE: another may do."""
NOT_SUPPORTED = 0xC00000BB
PATH_NOT_COVERED = 0xC0000257
BAD_NETWORK_NAME = 0xC00000CC
TOO_MANY_OPENED_FILES = 0xC000011F
FILE_CLOSED = 0xC0000128
USER_SESSION_DELETED = 0xC0000203

SHORT_OF_HANDLES = frozenset({TOO_MANY_OPENED_FILES, 0xC000009A, 0xC0000205})
"""With which an open is refused that may succeed when others are closed."""

_TABLE: dict[int, tuple[str, type[NetfsError]]] = {
    NOTIFY_CLEANUP: ("NOTIFY_CLEANUP", errors.Stale),
    STOPPED_ON_SYMLINK: ("STOPPED_ON_SYMLINK", errors.NotFound),
    0xC0000002: ("NOT_IMPLEMENTED", errors.NotSupported),
    0xC0000008: ("INVALID_HANDLE", errors.Stale),
    INVALID_PARAMETER: ("INVALID_PARAMETER", errors.InvalidArgument),
    0xC000000E: ("NO_SUCH_DEVICE", errors.NotFound),
    NO_SUCH_FILE: ("NO_SUCH_FILE", errors.NotFound),
    0xC0000010: ("INVALID_DEVICE_REQUEST", errors.NotSupported),
    ACCESS_DENIED: ("ACCESS_DENIED", errors.AccessDenied),
    0xC0000033: ("OBJECT_NAME_INVALID", errors.InvalidName),
    0xC0000034: ("OBJECT_NAME_NOT_FOUND", errors.NotFound),
    0xC0000035: ("OBJECT_NAME_COLLISION", errors.AlreadyExists),
    0xC0000039: ("OBJECT_PATH_INVALID", errors.NotFound),
    0xC000003A: ("OBJECT_PATH_NOT_FOUND", errors.NotFound),
    0xC000003B: ("OBJECT_PATH_SYNTAX_BAD", errors.NotFound),
    0xC0000043: ("SHARING_VIOLATION", errors.Locked),
    0xC0000044: ("QUOTA_EXCEEDED", errors.QuotaExceeded),
    0xC0000055: ("LOCK_NOT_GRANTED", errors.Locked),
    0xC0000054: ("FILE_LOCK_CONFLICT", errors.AccessDenied),
    0xC0000056: ("DELETE_PENDING", errors.BeingRemoved),
    0xC0000061: ("PRIVILEGE_NOT_HELD", errors.AccessDenied),
    LOGON_FAILURE: ("LOGON_FAILURE", errors.AccessDenied),
    0xC000007F: ("DISK_FULL", errors.DiskFull),
    0xC000009A: ("INSUFFICIENT_RESOURCES", errors.ServerBusy),
    0xC00000A2: ("MEDIA_WRITE_PROTECTED", errors.WriteProtected),
    0xC00000B5: ("IO_TIMEOUT", errors.ServerBusy),
    0xC00000BA: ("FILE_IS_A_DIRECTORY", errors.IsADirectory),
    NOT_SUPPORTED: ("NOT_SUPPORTED", errors.NotSupported),
    0xC00000C9: ("NETWORK_NAME_DELETED", errors.Disconnected),
    BAD_NETWORK_NAME: ("BAD_NETWORK_NAME", errors.NotFound),
    0xC00000D5: ("FILE_RENAMED", errors.Stale),
    0xC0000101: ("DIRECTORY_NOT_EMPTY", errors.NotEmpty),
    0xC0000103: ("NOT_A_DIRECTORY", errors.NotADirectory),
    0xC0000106: ("NAME_TOO_LONG", errors.NameTooLong),
    0xC0000121: ("CANNOT_DELETE", errors.AccessDenied),
    TOO_MANY_OPENED_FILES: ("TOO_MANY_OPENED_FILES", errors.ServerBusy),
    0xC0000120: ("CANCELLED", errors.ServerError),
    0xC0000123: ("FILE_DELETED", errors.Stale),
    FILE_CLOSED: ("FILE_CLOSED", errors.Stale),
    0xC0000161: ("ILLEGAL_CHARACTER", errors.InvalidName),
    0xC0000201: ("NETWORK_OPEN_RESTRICTION", errors.AccessDenied),
    0xC0000904: ("FILE_TOO_LARGE", errors.FileTooLarge),
    USER_SESSION_DELETED: ("USER_SESSION_DELETED", errors.Disconnected),
    0xC0000205: ("INSUFF_SERVER_RESOURCES", errors.ServerBusy),
    0xC000020C: ("CONNECTION_DISCONNECTED", errors.Disconnected),
    0xC000020D: ("CONNECTION_RESET", errors.Disconnected),
    PATH_NOT_COVERED: ("PATH_NOT_COVERED", errors.Elsewhere),
    0xC0000275: ("NOT_A_REPARSE_POINT", errors.InvalidArgument),
    0xC000035C: ("NETWORK_SESSION_EXPIRED", errors.Disconnected),
    0xC0000466: ("SERVER_UNAVAILABLE", errors.ServerBusy),
}

_PATH_MAX = 4096
_NAME_MAX = 255
_MISSING_ON_THE_WAY = frozenset({0xC0000033, 0xC0000039, 0xC000003A, 0xC000003B})

_WORDS = {
    PATH_NOT_COVERED: "it lies on another server (DFS), and such links are not followed",
}
"""In place of the name where that tells a user nothing."""


class Refusal(enum.Enum):
    """What a server means that refuses to let a mount in, and so whether asking again helps."""

    TRANSIENT = "it may answer otherwise in a moment"
    PERMANENT = "it will answer the same until its administrator has done something"
    LOGIN = "it does not accept this user; asked too often it locks the account"


_TRANSIENT = frozenset(
    {
        0xC0000017,  # NO_MEMORY
        0xC000005E,  # NO_LOGON_SERVERS
        0xC000009A,  # INSUFFICIENT_RESOURCES
        0xC00000AC,  # PIPE_NOT_AVAILABLE
        0xC00000AE,  # PIPE_BUSY
        0xC00000B5,  # IO_TIMEOUT
        0xC00000BE,  # BAD_NETWORK_PATH
        0xC00000BF,  # NETWORK_BUSY
        0xC00000C4,  # UNEXPECTED_NETWORK_ERROR
        0xC00000C9,  # NETWORK_NAME_DELETED
        BAD_NETWORK_NAME,  # smbd is there before its volumes are
        0xC00000CE,  # TOO_MANY_SESSIONS
        0xC00000CF,  # SHARING_PAUSED
        0xC00000D0,  # REQUEST_NOT_ACCEPTED
        0xC00000DC,  # INVALID_SERVER_STATE
        TOO_MANY_OPENED_FILES,
        0xC00000E5,  # INTERNAL_ERROR
        0xC0000133,  # TIME_DIFFERENCE_AT_DC
        0xC0000192,  # NETLOGON_NOT_STARTED
        USER_SESSION_DELETED,
        0xC0000205,  # INSUFF_SERVER_RESOURCES
        0xC000020C,  # CONNECTION_DISCONNECTED
        0xC000020D,  # CONNECTION_RESET
        0xC0000233,  # DOMAIN_CONTROLLER_NOT_FOUND
        0xC0000236,  # CONNECTION_REFUSED, and three more between it and its domain
        0xC000023C,  # NETWORK_UNREACHABLE
        0xC000023D,  # HOST_UNREACHABLE
        0xC0000241,  # CONNECTION_ABORTED
        0xC000035C,  # NETWORK_SESSION_EXPIRED
        0xC0000466,  # SERVER_UNAVAILABLE
    }
)

_LOGIN = {
    ACCESS_DENIED: "the server denies access",
    0xC0000064: "wrong user name or password",
    0xC000006A: "wrong user name or password",
    LOGON_FAILURE: "wrong user name or password",
    0xC000006E: "the account is restricted",
    0xC000006F: "the account may not log in at this time",
    0xC0000070: "the account may not log in from this machine",
    0xC0000071: "the password has expired",
    0xC0000072: "the account is disabled",
    0xC000015B: "the account may not log in over the network",
    0xC0000193: "the account has expired",
    0xC0000224: "the password must be changed first",
    0xC0000234: "the account is locked out",
    0xC000005E: "no logon server is available",
    0xC0000133: "the clocks of client and server differ too much for this login",
    0xC00000CE: "the server has as many sessions as it allows",
    0xC00000D0: "the server accepts no more connections now",
    0xC0000388: "the server detected a downgrade attack",
    0xC0000413: "an authentication policy keeps the account from this server",
    0xC0000418: "the server allows no NTLM login; try sec=krb5",
}


def refusal_of(status: int, *, at_login: bool) -> Refusal:
    """What ``status`` means as the answer to a step of connecting: SESSION_SETUP (``at_login``),
    or the one before or behind it. A login is not risked on a status that is not known.
    """
    if status in _TRANSIENT:
        return Refusal.TRANSIENT
    return Refusal.LOGIN if at_login else Refusal.PERMANENT


def is_told_of_accounts(status: int) -> bool:
    """Whether servers say ``status`` of a user, an account or what it may."""
    return status in _LOGIN


def name_of(status: int) -> str:
    """A word for the log, ``STATUS_...`` or the number."""
    known = _TABLE.get(status)
    return f"STATUS_{known[0]}" if known else f"NTSTATUS 0x{status:08X}"


def is_end_of_session(status: int) -> bool:
    """Whether it says that connection, session or tree are gone."""
    known = _TABLE.get(status)
    return known is not None and issubclass(known[1], errors.Disconnected)


def error_of(status: int, what: str, path: str = "") -> NetfsError:
    """The error for a failed request; ``what`` names the request and its object for the log.

    A Samba that cannot reach a ``path``, for it is longer than its own system allows, says that
    something on the way is missing; and of a name that is, that there can be none like it.
    """
    known = _TABLE.get(status)
    encoded = path.encode("utf-8", "surrogatepass") if status in _MISSING_ON_THE_WAY else b""
    too_long = status == OBJECT_NAME_INVALID and len(encoded.rpartition(b"\\")[2]) > _NAME_MAX
    if too_long or len(encoded) >= _PATH_MAX:
        return errors.NameTooLong(f"{what}: {name_of(status)}")
    kind = known[1] if known else errors.ServerError
    return kind(f"{what}: {_WORDS.get(status) or name_of(status)}")


def refusal_words(status: int, *, at_login: bool) -> str:
    """Why the server lets a mount not in, in words for the user; see ``refusal_of``."""
    what = "the login" if at_login else "the connection"
    known = _LOGIN.get(status) or _WORDS.get(status)
    return known or f"the server refuses {what} ({name_of(status)})"
