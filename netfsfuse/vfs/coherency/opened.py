"""Which files were opened with success, and as what. PURE.

The server has then said that we may read them, and that no watch elsewhere would tell of their
changes. That counts for the name by which each was opened last: it may have others, of which
another directory's watch is told. Under a watch that tells of nothing they need not be
asked for again, even if the kernel has forgotten their inodes meanwhile.
"""

from __future__ import annotations

from netfsfuse.types import FileAttr, coherency_of, same_content

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

    def forget(self, number: int) -> None:
        """What it was opened as proves nothing."""
        self._attrs.pop(number, None)

    def knows(self, number: int, attr: FileAttr, place: Place) -> bool:
        """Whether it was opened there with the content that ``attr`` stands for."""
        if (known := self._attrs.get(number)) is None:
            return False
        before, where = known
        return where == hash(place) and same_content(coherency_of(before), attr)
