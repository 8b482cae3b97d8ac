"""The argument that every subcommand shares: the mount point.

No path here is of click's own type for them, which calls ``stat`` on what it is given.
"""

from __future__ import annotations

import click

from netfsfuse.errors import UsageError


def _not_empty(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Refuse "": as a path it would mean the current directory, and is a variable left unset."""
    if not value:
        raise UsageError("the mount point is an empty text")
    return value


mountpoint_argument = click.argument("mountpoint", type=str, callback=_not_empty)
"""Decorates a command with its MOUNTPOINT."""
