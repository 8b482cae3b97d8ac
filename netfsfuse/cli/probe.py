"""Asking a filesystem that may hang, in a child process and with a deadline.

A ``stat`` of a FUSE mount whose daemon is stuck sleeps in the kernel and may not even end by
SIGKILL; a thread that sleeps so would keep this process from exiting. A child can be left behind.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from netfsfuse.cli.place import resolved
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import Mount, mount_holding, read_mounts
from netfsfuse.stats import OBJECT_XATTR

_CHILD = """
import json, os, sys
path, name = sys.argv[1], sys.argv[2]
answer = {"real": os.fsencode(os.path.realpath(path)).hex(), "mode": 0, "errno": 0, "value": None}
try:
    answer["mode"] = os.stat(path).st_mode
    if name:
        answer["value"] = os.getxattr(path, name).decode()
except OSError as error:
    answer["errno"] = error.errno
json.dump(answer, sys.stdout)
"""
ON_MOUNT_TIMEOUT = 3.5  # seconds for a mount to say that it lives: a command answers within 5
_AFTER_KILL = 0.5  # seconds for a killed child to go; one that sleeps in the kernel is left behind


@dataclass(frozen=True, slots=True)
class Answer:
    """What the filesystem said: resolved path, st_mode, errno (0: fine), the xattr's text."""

    real: str
    mode: int
    errno: int
    value: str | None

    @property
    def is_dead(self) -> bool:
        """Whether this is a FUSE mount whose daemon is gone."""
        return self.errno in (errno.ENOTCONN, errno.ECONNABORTED)


def probe(
    path: str, xattr: str = "", *, timeout: float, user: tuple[int, int] | None = None
) -> Answer | None:
    """Resolve and stat ``path``, and read ``xattr`` if one is named; None after ``timeout`` s.
    ``user``: uid and gid as which to ask, which root may choose."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD, path, xattr],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        user=None if user is None else user[0],
        group=None if user is None else user[1],
        extra_groups=None if user is None else (),
    )
    try:
        output, _ = child.communicate(timeout=timeout)
        found = json.loads(output)
        # Bytes: the child, deaf to PYTHONUTF8, may read them as other letters than this process.
        real = os.fsdecode(bytes.fromhex(found.pop("real")))
        return Answer(real, **found)
    except subprocess.TimeoutExpired:
        return None
    except ValueError:  # it was killed, or no interpreter could start
        return Answer(os.path.abspath(path), 0, errno.EIO, None)
    finally:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_AFTER_KILL)
        if child.stdout is not None:
            child.stdout.close()


def probe_mount(mount: Mount, xattr: str, *, timeout: float, path: str = "") -> Answer | None:
    """As :func:`probe`, of ``mount``, asked by ``path`` or else where it is. One that its user
    alone may enter, not even root, is asked as that user."""
    place = path or mount.path
    answer = probe(place, xattr, timeout=timeout)
    locked = answer is not None and answer.errno == errno.EACCES
    if locked and mount.user is not None and os.geteuid() == 0:
        return probe(place, xattr, timeout=timeout, user=mount.user)
    return answer


def real_on_mount(path: str) -> str:
    """The resolved name of ``path``, which exists, on a mount of ours that answers.

    Raises :class:`MountError` in one line if one of this is not so.
    """
    mounts = read_mounts()
    place = resolved(path, mounts)
    _check_ours(place, path, mounts)
    answer = probe(place, timeout=ON_MOUNT_TIMEOUT)
    if answer is None:
        raise MountError(f"{path} does not answer within {ON_MOUNT_TIMEOUT:g} seconds")
    if answer.errno:
        raise MountError(f"{path}: {os.strerror(answer.errno)}")
    _check_ours(answer.real, path, mounts)  # a symlink inside of the mount may lead out of it
    return answer.real


def cached_at(path: str) -> str | None:
    """What the mount says of where the file at ``path`` is cached; None for what is no such file.

    Raises :class:`MountError` when the mount does not answer.
    """
    mounts = read_mounts()
    place = resolved(path, mounts)
    mount = mount_holding(place, mounts)
    if mount is None or not mount.is_ours:
        return None
    answer = probe(place, OBJECT_XATTR, timeout=ON_MOUNT_TIMEOUT)
    if answer is None:
        raise MountError(f"{path} does not answer within {ON_MOUNT_TIMEOUT:g} seconds")
    return answer.value


def _check_ours(place: str, shown: str, mounts: list[Mount]) -> None:
    mount = mount_holding(place, mounts)
    if mount is None or not mount.is_ours:
        raise MountError(f"{shown} is not on a netfsfuse mount")
