"""What was made and removed here a moment ago, for listings that were asked for before. PURE, clock
passed in.

A listing that is under way while a name is made or removed may show it or not, and the watch's word
of it is not taken for another client's (``echoes.py``). So what is kept of the listing, and what is
shown of it from then on, is put right by what was done since it was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from netfsfuse.types import FileAttr
from netfsfuse.vfs.inodes.inodes import Inode

REMEMBERED = 60.0
"""Seconds; a listing that took longer is not kept."""

MOST = 20_000
"""Names of one directory."""


class _Names:
    __slots__ = ("names", "unknown_at")

    def __init__(self) -> None:
        self.names: dict[str, tuple[float, FileAttr | None]] = {}  # changed longest ago first
        self.unknown_at = -math.inf  # when something changed that is not among them


class RecentChanges:
    """By directory and name: when it was changed last, and what is there now."""

    def __init__(self) -> None:
        self._directories: dict[Inode, _Names] = {}  # changed longest ago first
        self._last: dict[Inode, float] = {}

    def _of(self, directory: Inode, now: float) -> _Names:
        known = self._directories.pop(directory, None) or _Names()
        self._directories[directory] = known
        self._last[directory] = now
        while self._last[oldest := next(iter(self._directories))] < now - REMEMBERED:
            del self._directories[oldest], self._last[oldest]
        return known

    def note(self, directory: Inode, name: str, attr: FileAttr | None, now: float) -> None:
        """``name`` is ``attr``, None for gone, by what was answered ``now``."""
        known = self._of(directory, now)
        known.names.pop(name, None)
        known.names[name] = now, attr
        while known.names:
            first = next(iter(known.names))
            when = known.names[first][0]
            if when >= now - REMEMBERED and len(known.names) <= MOST:
                return
            known.unknown_at = max(known.unknown_at, when)
            del known.names[first]

    def note_unknown(self, directory: Inode, now: float) -> None:
        """A name was changed ``now`` that listings show otherwise."""
        self._of(directory, now).unknown_at = now

    def put_right(
        self, directory: Inode, attrs: dict[str, FileAttr], asked: float, now: float
    ) -> bool:
        """Change ``attrs``, listed as of ``asked``, into what is there now as far as our own
        changes go. False where that is not known."""
        if now - asked > REMEMBERED:
            return False
        known = self._directories.get(directory)
        if known is None:
            return True
        if asked <= known.unknown_at:
            return False
        for name, attr in self._since(known, asked):
            if attr is None:
                attrs.pop(name, None)
            else:
                attrs[name] = attr
        return True

    def _since(self, known: _Names, asked: float) -> Iterator[tuple[str, FileAttr | None]]:
        for name in reversed(known.names):
            when, attr = known.names[name]
            if when < asked:
                return
            yield name, attr

    def forget(self, directory: Inode) -> None:
        """The kernel has forgotten the directory."""
        if self._directories.pop(directory, None) is not None:
            del self._last[directory]

    def knows(self, directory: Inode) -> bool:
        """Whether anything is remembered of the directory."""
        return directory in self._directories

    def is_made(self, directory: Inode, name: str) -> bool:
        """Whether ``name`` was made or changed a moment ago, and is there."""
        known = self._directories.get(directory)
        return known is not None and known.names.get(name, (0.0, None))[1] is not None

    def is_gone(self, directory: Inode, name: str, asked: float) -> bool:
        """Whether ``name`` was removed since a listing was ``asked`` for that shows it."""
        known = self._directories.get(directory)
        if known is None:
            return False
        when, attr = known.names.get(name, (-math.inf, None))
        return attr is None and asked <= when
