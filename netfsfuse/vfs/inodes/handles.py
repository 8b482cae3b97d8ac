"""Handles by number, and open directories."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

from netfsfuse.errors import Stale
from netfsfuse.types import DirEntry
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.ops import Listing


@dataclass(slots=True, eq=False)
class DirectoryHandle:
    """One open(2) of a directory.

    ``entries`` holds what was listed since the last rewind, so that telldir/seekdir positions stay
    valid; position N is entry N. ``asked``: when the listing began (trio clock), and ``pages`` from
    which entry on which moment counts. ``listing`` is None when there is nothing more to come.
    ``links``: which of the entries that may be links are, up to the position ``examined``.
    ``given``: names that a listing begun anew is not to give out again. ``lock``: one reader at a
    time fetches pages.
    """

    inode: Inode
    listing: Listing | None = None
    asked: float = 0.0
    entries: list[DirEntry] = field(default_factory=list)
    pages: list[tuple[int, float]] = field(default_factory=list)
    complete: bool = False
    used: bool = False
    links: dict[str, str | None] = field(default_factory=dict)
    examined: int = 0
    given: set[str] = field(default_factory=set)
    lock: trio.Lock = field(default_factory=trio.Lock)


H = TypeVar("H")


class HandleTable(Generic[H]):
    """fh -> handle. Numbers are never used twice."""

    def __init__(self) -> None:
        self._handles: dict[int, H] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._handles)

    def add(self, handle: H) -> int:
        """Register; returns the fh."""
        number = self._next
        self._next += 1
        self._handles[number] = handle
        return number

    def get(self, number: int) -> H:
        """The handle. Raises Stale for one that is closed."""
        try:
            return self._handles[number]
        except KeyError:
            raise Stale(f"file handle {number} is closed") from None

    def pop(self, number: int) -> H | None:
        """Take the handle out of the table."""
        return self._handles.pop(number, None)

    def numbers(self) -> list[int]:
        """The fh of all open handles."""
        return list(self._handles)
