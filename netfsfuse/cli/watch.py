"""``netfsfuse watch``: what others change on the server, as it happens.

inotify sees only what local programs do. The mount tells what the server told it, as an attribute
of the directory (``stats.CHANGES_XATTR``), which is looked at ten times a second: a call that
waited there could not be interrupted, and would keep the mount busy.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import click

from netfsfuse.cli.probe import real_on_mount
from netfsfuse.cli.say import say
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import mount_holding, read_mounts
from netfsfuse.stats import CHANGES_XATTR

_GONE = (errno.ENOTCONN, errno.ESTALE, errno.ENOENT, errno.ENODEV, errno.ECONNABORTED)
_UNKNOWN = (errno.ENODATA, errno.EOPNOTSUPP)
_LATER = (errno.EIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENETUNREACH)
_PAUSE = 0.1


@click.command("watch")
@click.argument("directory", metavar="MOUNTPOINT[/DIR]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def watch_command(directory: str, as_json: bool) -> None:
    """Print what others change below a directory of a mount, until Ctrl-C.

    Paths count from the directory. "lost" means that changes before it were too many to be told, or
    that the server could not be reached for a while. What is done on a Samba server's own disk is
    told of the 96 directories next to the given one.
    """
    path = real_on_mount(directory)
    if not os.path.isdir(path):
        raise MountError(f"{directory} is not a directory")
    for change in _changes(path, directory):
        say(json.dumps(change) if as_json else _line(change))


def _is_mounted(path: str) -> bool:
    mount = mount_holding(path, read_mounts())
    return mount is not None and mount.is_ours


def _changes(path: str, shown: str) -> Iterator[dict[str, Any]]:
    last = -1
    while True:
        page = _page(path, shown, last)
        if page is None or not page["changes"]:
            time.sleep(_PAUSE)
        if page is None:
            continue
        if last < 0 <= page["next"]:
            say(f"watching {shown}", err=True)
        last = page["next"]
        for change in page["changes"]:
            yield {name: value for name, value in change.items() if value != ""}


def _page(path: str, shown: str, last: int) -> dict[str, Any] | None:
    """What came after ``last``; None when the server cannot be reached just now."""
    try:
        page: dict[str, Any] = json.loads(os.getxattr(path, f"{CHANGES_XATTR}{last}"))
    except OSError as error:
        if error.errno in _LATER:
            return None
        if error.errno in _GONE:
            raise MountError(f"{shown} is not there any more") from None
        if error.errno in _UNKNOWN:
            if not _is_mounted(path):
                raise MountError(f"{shown} is not there any more") from None
            raise MountError(f"the server of {shown} does not tell what changes") from None
        raise MountError(f"{shown}: {error.strerror}") from None
    return page


def _line(change: dict[str, Any]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change["when"]))
    renamed = f" -> {change['to']}" if "to" in change else ""
    return f"{when}  {change['kind']:<8}  {change.get('path', '')}{renamed}".rstrip()
