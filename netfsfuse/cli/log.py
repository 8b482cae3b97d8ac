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
from collections.abc import Callable
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from socket import socket as Socket

from netfsfuse.cli.planted import followed
from netfsfuse.cli.repeats import Repeats
from netfsfuse.errors import MountError
from netfsfuse.printable import printable

logger = logging.getLogger(__name__)

SYSLOG_SOCKET = "/dev/log"
_LINE = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
_TIME = "%Y-%m-%dT%H:%M:%S"
_SYSLOG_LINE = "netfsfuse[%(process)d]: %(levelname)s %(name)s: %(message)s"
_OURS = ("netfsfuse", "cachefiles")


def set_up_log(
    path: Path | None,
    *,
    debug: bool,
    foreground: bool,
    notice: Callable[[str], None] = lambda line: None,
) -> str:
    """Send the log where it belongs and return that place in words for a message.

    A file is appended to, and made with mode 0600. Raises :class:`MountError` when the file that
    was asked for cannot be written; where nothing was asked for and there is no place, ``notice``
    is called with a line that says so, and nothing is logged.
    """
    if path is not None:
        handler, place = _file(path), str(path)
    elif foreground:
        handler, place = _plain(logging.StreamHandler(sys.stderr)), "stderr"
    else:
        handler, place = _background(notice)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    if not debug:
        handler.addFilter(Repeats())
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


def _background(notice: Callable[[str], None]) -> tuple[logging.Handler, str]:
    if not _syslog_answers():
        path = default_path()
        try:
            return _file(path, make_parent=True), str(path)
        except MountError as error:
            notice(f"{error}; nothing is logged (log=FILE names another place)")
            return logging.NullHandler(), "what it says with -f: there is no place for a log"
    handler = _Syslog(SYSLOG_SOCKET, logging.handlers.SysLogHandler.LOG_DAEMON)
    handler.setFormatter(_OneLine(_SYSLOG_LINE))
    return handler, "the system log (journalctl -t netfsfuse)"


def _syslog_answers() -> bool:
    """Whether a program listens. SysLogHandler itself takes a missing socket without a word."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect(SYSLOG_SOCKET)
        except OSError:
            return False
    return True


class _Syslog(logging.handlers.SysLogHandler):
    """Never waits: a line that syslogd does not take now is lost. It takes ten before it reads
    them, and the loop would stand still until a stopped or frozen one goes on."""

    socket: Socket

    def emit(self, record: logging.LogRecord) -> None:
        try:
            priority = self.encodePriority(self.facility, self.mapPriority(record.levelname))
            line = f"<{priority}>{self.format(record)}\0".encode(errors="backslashreplace")
            try:
                self.socket.send(line, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # it was started anew
                self.socket.close()
                self.createSocket()
                self.socket.send(line, socket.MSG_DONTWAIT)
        except Exception:
            self.handleError(record)


class _OneLine(logging.Formatter):
    """A message is one line, whatever names are in it: no line that it seems to begin is ours."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


class _LogFile(logging.FileHandler):
    """A file of mode 0600, which a FileHandler would leave to the umask."""

    def _open(self) -> TextIOWrapper:
        path = followed(Path(self.baseFilename), "the log")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        if os.geteuid() == 0:  # all symlinks but one laid just now have been followed
            flags |= os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        return TextIOWrapper(
            BufferedWriter(FileIO(descriptor, "ab")), encoding=self.encoding, errors=self.errors
        )

    def reopen(self) -> None:
        """Write to what is at the path now, or made there. Raises OSError; the old one stays."""
        new = self._open()
        self.acquire()
        try:
            old, self.stream = self.stream, new
        finally:
            self.release()
        if old is not None:
            old.close()


def reopen_log() -> None:
    """The log file has been moved away: go on in a new one of its name. Does nothing where the
    log goes elsewhere; never raises."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _LogFile):
            try:
                handler.reopen()
            except (OSError, MountError) as failed:
                logger.warning("the log stays where it is: %s", failed)
            else:
                logger.info("the log was opened anew")


def _file(path: Path, *, make_parent: bool = False) -> logging.Handler:
    if not path.is_absolute():  # "~" of a user without a home
        raise MountError(f"cannot write the log {path}: there is no home directory")
    try:
        if make_parent:
            path = followed(path, "the log")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handler = _LogFile(path, "a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise MountError(f"cannot write the log {path}: {error.strerror}") from None
    return _plain(handler)


def _plain(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(_OneLine(_LINE, _TIME))
    return handler
