"""PURE: names as a server has listed them which no name should be.

Samba with ``mangled names = no`` lists what is on its disk. Such names are sent to it as they were
listed, so that what a listing showed can be looked up again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_DIRECTS = (":", "\\", "/", "\0")
"""Sent as they are they would lead to another file, or to a stream of one."""

_ODD = re.compile(r'["*<>?|\x01-\x1f]|(?: |[^\0.]\.+|\.{3,})(?=\0|$)')

ODD_MAX = 10_000


class OddNames:
    """Those of one share. The first ``ODD_MAX`` are remembered."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def note(self, names: Sequence[str]) -> None:
        """The server has listed them."""
        if _ODD.search("\0".join(names)) is None:
            return
        for name in names:
            is_safe = not any(mark in name for mark in _DIRECTS)
            if is_safe and len(self._names) < ODD_MAX and _ODD.search(name):
                self._names.add(name)
