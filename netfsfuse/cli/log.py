"""Where the log goes: a file, journald or syslog behind /dev/log, or stderr in the foreground.

The libraries that log in (smbprotocol, spnego) stay at WARNING even with ``debug``: at lower levels
they print whole messages, and a login is in some of them.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import socket
import sys
from pathlib import Path

from netfsfuse.errors import MountError

SYSLOG_SOCKET = "/dev/log"
_LINE = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
_TIME = "%Y-%m-%dT%H:%M:%S"
_SYSLOG_LINE = "netfsfuse[%(process)d]: %(levelname)s %(name)s: %(message)s"
_OURS = ("netfsfuse", "cachefiles")


def set_up_log(path: Path | None, *, debug: bool, foreground: bool) -> str:
    """Send the log where it belongs and return that place in words for a message.

    A file is appended to, and made with mode 0600. Raises :class:`MountError` when it cannot be
    written.
    """
    if path is not None:
        handler, place = _file(path), str(path)
    elif foreground:
        handler, place = _plain(logging.StreamHandler(sys.stderr)), "stderr"
    else:
        handler, place = _background()
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a full disk or a stopped syslogd is no reason to fail
    return place


def default_path() -> Path:
    """The log file of this user, for where there is no syslog."""
    from platformdirs import user_log_path

    return user_log_path("netfsfuse") / "netfsfuse.log"


def _background() -> tuple[logging.Handler, str]:
    if not _syslog_answers():
        path = default_path()
        return _file(path, make_parent=True), str(path)
    handler = logging.handlers.SysLogHandler(
        SYSLOG_SOCKET, logging.handlers.SysLogHandler.LOG_DAEMON
    )
    handler.setFormatter(logging.Formatter(_SYSLOG_LINE))
    return handler, "the system log (journalctl -t netfsfuse)"


def _syslog_answers() -> bool:
    """Whether somebody listens. SysLogHandler itself takes a missing socket without a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect(SYSLOG_SOCKET)
        except OSError:
            return False
    return True


def _file(path: Path, *, make_parent: bool = False) -> logging.Handler:
    try:
        if make_parent:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made here first: a FileHandler would leave the mode to the umask.
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
        handler = logging.FileHandler(path, "a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise MountError(f"cannot write the log {path}: {error.strerror}") from None
    return _plain(handler)


def _plain(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(logging.Formatter(_LINE, _TIME))
    return handler
