"""What the command hands to the process that stays: a way to say "ready", and the secrets.

Two file descriptors, numbered in the environment: a pipe to report on, and a memfd with the
credentials and the notices not yet shown as JSON. A memfd has no name and no size limit worth the
name, and only this user's processes could reach it; it is closed as soon as it is read.

The report is ``ok\\n`` followed by notices, a line each, or ``error\\n`` followed by one line;
the end of file ends it. An end of file with nothing before it means that the process died.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass

from netfsfuse.config import Credentials
from netfsfuse.errors import MountError

READY_FD = "NETFSFUSE_READY_FD"
SECRET_FD = "NETFSFUSE_SECRET_FD"


@dataclass(frozen=True, slots=True)
class Handover:
    """What a process found when it started; fields are None when nothing was handed over."""

    ready_fd: int | None = None
    credentials: Credentials | None = None
    notices: tuple[str, ...] = ()


def store_secrets(credentials: Credentials, notices: list[str]) -> int:
    """An inheritable memfd with both. The caller closes it."""
    fd = os.memfd_create("netfsfuse", 0)
    try:
        text = json.dumps({"credentials": asdict(credentials), "notices": notices})
        with open(fd, "wb", closefd=False) as file:
            file.write(text.encode())
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def take_handover(environ: MutableMapping[str, str]) -> Handover:
    """Take over what the parent left, removing it from ``environ``.

    Neither descriptor reaches a child of ours. Raises :class:`MountError` when the variables do
    not name what a parent of ours leaves.
    """
    ready, secret = environ.pop(READY_FD, None), environ.pop(SECRET_FD, None)
    try:
        ready_fd = None if ready is None else int(ready)
        if ready_fd is not None:
            os.set_inheritable(ready_fd, False)
        if secret is None:
            return Handover(ready_fd)
        with open(int(secret), "rb") as file:
            content = json.load(file)
        return Handover(ready_fd, Credentials(**content["credentials"]), tuple(content["notices"]))
    except (OSError, ValueError, TypeError, KeyError):
        raise MountError(f"{READY_FD} and {SECRET_FD} are for netfsfuse's own use") from None


class Reporter:
    """Says once, on the pipe to the parent, how mounting went. Without a pipe says nothing."""

    def __init__(self, ready_fd: int | None) -> None:
        self._fd = ready_fd

    @property
    def pending(self) -> bool:
        """Whether a parent is still waiting for a word."""
        return self._fd is not None

    def ok(self, notices: list[str]) -> None:
        """The mount answers. Raises :class:`MountError` when the parent has gone away."""
        self._say("\n".join(["ok", *notices]))

    def error(self, line: str) -> None:
        """Mounting failed with ``line``."""
        with contextlib.suppress(MountError):
            self._say(f"error\n{line}")

    def _say(self, text: str) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            os.write(fd, text.encode(errors="backslashreplace"))
        except OSError:
            raise MountError("the mount command went away before the mount was ready") from None
        finally:
            os.close(fd)
