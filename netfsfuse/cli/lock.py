"""One mount command at a time on one mount point, of all that a user runs.

Two that find a mount point free would both mount, the one covering the other. The lock is an
``flock``, so a command that dies gives it back, on an empty file that is never removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from netfsfuse.errors import MountError

_LOCK_TIMEOUT = 3.5  # seconds for another command; a server that answers has it done in one
_POLL = 0.05


@contextlib.contextmanager
def mounting_alone(place: str) -> Iterator[None]:
    """Hold the lock of the mount point ``place``, absolute and resolved, meanwhile.

    Without a folder for locks there is none: that is no reason not to mount. Raises
    :class:`MountError` when another command holds on to it.
    """
    fd = _opened(hashlib.sha256(os.fsencode(place)).hexdigest()[:32])
    if fd is None:
        yield
        return
    try:
        _take(fd, place)
        yield
    finally:
        os.close(fd)


def _take(fd: int, place: str) -> None:
    end = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise MountError(f"another netfsfuse is just mounting on {place}") from None
            time.sleep(_POLL)
        except OSError:  # a filesystem without locks
            return
        else:
            return


def _opened(name: str) -> int | None:
    """The lock file, private to this user, or None where there can be none."""
    for folder in _folders():
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            about = folder.lstat()
            if about.st_uid != os.geteuid() or about.st_mode & 0o022:
                continue  # another user's, laid there
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.open(folder / f"{name}.lock", flags, 0o600)
        except OSError:
            continue
    return None


def _folders() -> list[Path]:
    """Where to look, in order. Not by the environment alone, which differs between a user's shell,
    cron and systemd."""
    uid = os.geteuid()
    if uid == 0:
        return [Path("/run/netfsfuse"), Path("/tmp/netfsfuse-0")]
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    return [
        Path(f"/run/user/{uid}/netfsfuse"),
        *([Path(given, "netfsfuse")] if given.startswith("/") else []),
        Path(f"/tmp/netfsfuse-{uid}"),
    ]
