"""Open files and open directories, by file handle number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

from netfsfuse.errors import Stale
from netfsfuse.netfs import NetfsFile
from netfsfuse.types import DirEntry
from netfsfuse.vfs.contents import Content
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.ops import Listing, OpenFile


@dataclass(slots=True, eq=False)
class FileHandle:
    """One open(2) of a file: the server's handle, and once it is read beyond what came with the
    open its reader and the content that it shares.

    ``generation``: the inode's when it was opened, see ``Inode``. ``settled``: what is read may be
    kept. ``direct``: it was opened with O_DIRECT, so that answers
    go past the kernel's pages. ``lock``: one reader begins.
    """

    inode: Inode
    file: OpenFile
    settled: bool
    direct: bool = False
    generation: int = 0
    content: Content | None = None
    reader: NetfsFile | None = None
    lock: trio.Lock = field(default_factory=trio.Lock)

    @property
    def closes_at_once(self) -> bool:
        """Whether closing it waits for nothing, neither for the server nor for what it reads."""
        return self.reader is None and self.file.closes_at_once


@dataclass(slots=True, eq=False)
class DirectoryHandle:
    """One open(2) of a directory.

    ``entries`` holds what was listed since the last rewind, so that telldir/seekdir positions stay
    valid; position N is entry N. ``asked``: when the listing began (trio clock), and ``pages`` from
    which entry on which moment counts. ``listing`` is None when there is nothing more to come.
    ``links``: which of the entries that may be links are, up to the position ``examined``.
    ``lock``: one reader at a time fetches pages.
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

    def all(self) -> list[H]:
        """All open handles."""
        return list(self._handles.values())
