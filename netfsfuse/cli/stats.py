"""``netfsfuse stats``: the counters of a mount, which the mount itself serves as an xattr."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

import click

from netfsfuse.cli.arguments import mountpoint_argument
from netfsfuse.cli.place import resolved
from netfsfuse.cli.probe import Answer, probe
from netfsfuse.cli.sizes import format_size
from netfsfuse.errors import MountError
from netfsfuse.mountinfo import mount_holding, read_mounts
from netfsfuse.printable import printable
from netfsfuse.stats import STATS_XATTR

_TIMEOUT = 3.5  # seconds
_BYTE_NAMES = (
    *("bytes", "bytes_read", "bytes_stored", "bytes_written", "bytes_peak"),
    *("wire_received", "wire_sent", "window"),
)


@click.command("stats")
@mountpoint_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def stats_command(mountpoint: str, as_json: bool) -> None:
    """Show what a mount has done so far."""
    counters = read_stats(mountpoint)
    if as_json:
        click.echo(json.dumps(counters, indent=2))
    else:
        _print_table(counters)


def read_stats(mountpoint: str) -> dict[str, Any]:
    """The counters of the mount at, or above, ``mountpoint``. Raises :class:`MountError`."""
    mounts = read_mounts()
    place = resolved(mountpoint, mounts)
    mount = mount_holding(place, mounts)
    if mount is None or not mount.is_ours:
        raise MountError(f"{mountpoint} is not a netfsfuse mount")
    answer = probe(mount.path, STATS_XATTR, timeout=_TIMEOUT)
    if answer is None:
        raise MountError(f"{mount.path} does not answer within {_TIMEOUT:g} seconds")
    return _parse(mount.path, answer)


def _parse(path: str, answer: Answer) -> dict[str, Any]:
    if answer.is_dead:
        raise MountError(
            f"{path} is dead, its daemon is gone: `netfsfuse umount` or mount it again"
        )
    if answer.errno in (errno.ENODATA, errno.EOPNOTSUPP):
        raise MountError(f"{path} tells no statistics: another version of netfsfuse?")
    if answer.errno:
        raise MountError(f"{path}: {os.strerror(answer.errno)}")
    try:
        counters = json.loads(answer.value or "")
    except ValueError:
        counters = None
    if not isinstance(counters, dict):
        raise MountError(f"{path} tells its statistics in a form unknown to this version")
    return counters


def flatten(counters: dict[str, Any]) -> list[tuple[str, str]]:
    """(dotted name, value for a person) of every counter, in the order given."""
    rows: list[tuple[str, str]] = []
    for name, value in counters.items():
        if isinstance(value, dict):
            rows += [(f"{name}.{below}", shown) for below, shown in flatten(value)]
        else:
            rows.append((name, _shown(name, value)))
    return rows


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith(_BYTE_NAMES):
        return format_size(value)
    return f"{value:,}" if isinstance(value, int) and name != "pid" else str(value)


def _print_table(counters: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", overflow="fold")
    for name, value in flatten(counters):
        table.add_row(Text(printable(name)), Text(printable(value)))
    Console().print(table)
