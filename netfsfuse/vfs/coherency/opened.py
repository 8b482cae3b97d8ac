"""Which files were opened with success, and as what. PURE.

The server has then said that we may read them, and that no watch elsewhere would tell of their
changes. That counts for the name by which each was opened last: it may have others, of which
another directory's watch is told. Under a watch that tells of nothing they need not be
asked for again, even if the kernel has forgotten their inodes meanwhile.
"""

from __future__ import annotations

from netfsfuse.types import FileAttr
from netfsfuse.vfs.coherency import trust
from netfsfuse.vfs.coherency.reason import Reason

Place = tuple[int, str]
"""The number of a directory, and a name in it."""

REMEMBERED = 65_536
"""Files; some 20 MB if the kernel and the listings have forgotten them all."""


class OpenedFiles:
    """Inode number -> attributes at the last open; those opened longest ago are forgotten first."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._attrs: dict[int, tuple[FileAttr, int]] = {}

    def note(self, number: int, attr: FileAttr, place: Place) -> None:
        """It was opened as ``attr``, by its name at ``place``."""
        if not attr.file_id:  # a number made from a path may be shared
            return
        self._attrs.pop(number, None)
        self._attrs[number] = attr, hash(place)
        if len(self._attrs) > self._most:
            del self._attrs[next(iter(self._attrs))]

    def move(self, number: int, place: Place) -> None:
        """It has another name, at ``place``, by our own doing."""
        if (known := self._attrs.get(number)) is not None:
            self._attrs[number] = known[0], hash(place)

    def forget(self, number: int) -> None:
        """What it was opened as proves nothing."""
        self._attrs.pop(number, None)

    def judge(self, number: int, attr: FileAttr, place: Place) -> tuple[bool, Reason]:
        """Whether it was opened there with the content that ``attr`` stands for, and why."""
        known = self._attrs.get(number)
        if known is None:
            return trust.opened_before(None, attr, same_place=False)
        before, where = known
        return trust.opened_before(before, attr, same_place=where == hash(place))
