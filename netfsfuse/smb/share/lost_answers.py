"""PURE: what a look at a name says of a change whose answer was lost with the connection."""

from __future__ import annotations

import math

from netfsfuse.errors import Disconnected
from netfsfuse.types import FileAttr, ServerTime

_TICK = 0.05
"""Seconds by which a server may stamp a file earlier than its clock stands: Linux uses its tick."""


def is_new(attr: FileAttr, asked: ServerTime) -> bool:
    """Whether it was made after the server was ``asked`` for something, as far as its clock is
    known."""
    return asked.measured < math.inf and attr.creation / 1e9 >= asked.earliest - _TICK


def is_still(found: FileAttr, known: FileAttr | None, asked: ServerTime) -> bool:
    """Whether what is at a name is what was there when the server was ``asked`` to remove or rename
    it, ``known`` as that; else another client has made it since. Raises Disconnected where that
    cannot be told: a number may be given to a new file, and a creation time be made up."""
    if known is not None and known.file_id:
        if found.file_id != known.file_id:
            return False
        if found.creation == known.creation:
            return True
    if asked.measured < math.inf:
        if not is_new(found, asked):
            return True
        if found.creation / 1e9 > asked.latest:
            return False
    raise Disconnected("a change was not answered, and looking does not tell")
