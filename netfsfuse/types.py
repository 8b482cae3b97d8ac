"""Plain values shared by all layers. Frozen, no behaviour beyond arithmetic; imports nothing."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

CACHE_BLOCK = 64 * 1024
"""Bytes: the granularity in which the cache stores and the helper reads. One SMB2 credit."""


class ByteRange(NamedTuple):
    """Half-open range of bytes ``[start, end)``. False when empty."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes in it."""
        return self.end - self.start

    def __bool__(self) -> bool:
        return self.end > self.start


class FileKind(enum.Enum):
    """What a directory entry is, as Linux sees it."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class Reach(enum.Enum):
    """Whether the server can be asked now."""

    UP = "up"
    SUSPECT = "suspect"  # it owes an answer, and nothing has come for a while
    DOWN = "down"  # there is no connection
    REFUSED = "refused"  # it does not let us in, and is not asked for a while


NO_TIME = -(10**21)
"""Stands where the server has no such time; before every time that a server can state."""

DIRECTORY = 1
READ_ONLY = 2
"""The server refuses to write to it, whatever its permissions say."""
MAY_BE_LINK = 4
"""The server marks it as something that may stand for another name; reading it as a link tells."""


class FileAttr(NamedTuple):
    """A file's attributes as the server last stated them.

    Times are nanoseconds since 1970-01-01 UTC, as fine as the server keeps them, negative before,
    ``NO_TIME`` where it has none: servers know years that 64 bits do not reach. ``file_id`` is the
    server's inode number, not a handle; 0 when the server has none. ``size`` and ``allocation`` are
    bytes. ``flags`` is a sum of ``DIRECTORY``, ``READ_ONLY`` and ``MAY_BE_LINK``.

    A tuple: one is made for every listed entry and kept for every inode, and this takes a third of
    a frozen dataclass's time, and no place in the garbage collector's lists.
    """

    file_id: int
    creation: int
    access: int
    write: int
    change: int
    size: int
    allocation: int
    flags: int

    @property
    def is_directory(self) -> bool:
        """Whether ``DIRECTORY`` is set."""
        return bool(self.flags & DIRECTORY)

    @property
    def is_read_only(self) -> bool:
        """Whether ``READ_ONLY`` is set."""
        return bool(self.flags & READ_ONLY)

    @property
    def may_be_link(self) -> bool:
        """Whether ``MAY_BE_LINK`` is set."""
        return bool(self.flags & MAY_BE_LINK)


class Coherency(NamedTuple):
    """The coherency record: a change of any member means that the content may have changed.

    ``creation`` is no evidence where the server derives it from the other times.
    """

    file_id: int
    creation: int
    change: int
    write: int
    size: int


def coherency_of(attr: FileAttr) -> Coherency:
    """The record to keep beside cached data of a file that the server described as ``attr``."""
    return Coherency(attr.file_id, attr.creation, attr.change, attr.write, attr.size)


def creation_is_derived(attr: FileAttr) -> bool:
    """Whether the creation time says no more than the other times do.

    A server that stores none may state the least of the others instead, which moves with the access
    time when the file is read.
    """
    return attr.creation == min(attr.access, attr.write, attr.change)


def same_content(known: Coherency, attr: FileAttr) -> bool:
    """Whether data read under ``known`` is still what the server holds now, by ``attr``.

    All five members must agree, except that a creation time which the server derives from the
    other times (:func:`creation_is_derived`) is not evidence: with FileId, change, write time and
    size equal it only says that the file was read.
    """
    now = coherency_of(attr)
    return known == now or (
        known._replace(creation=0) == now._replace(creation=0) and creation_is_derived(attr)
    )


class DirEntry(NamedTuple):
    """One name in a directory listing with the attributes that came with it."""

    name: str
    attr: FileAttr


class ChangeKind(enum.Enum):
    """What happened to a name."""

    CREATED = "created"
    REMOVED = "removed"
    MODIFIED = "modified"  # the content or the attributes of what it names
    RENAMED_FROM = "renamed"
    RENAMED_TO = "appeared"


class Change(NamedTuple):
    """Something happened to ``name``, a path below the directory that is watched."""

    name: str
    kind: ChangeKind

    @property
    def names(self) -> bool:
        """Whether a name came to be or went; otherwise what it leads to may have changed."""
        return self.kind is not ChangeKind.MODIFIED


class ServerTime(NamedTuple):
    """The server's clock, seconds since 1970: between ``earliest`` and ``latest``, by an answer
    that came ``measured`` seconds ago (infinite: none did)."""

    earliest: float
    latest: float
    measured: float


@dataclass(frozen=True, slots=True)
class VolumeStat:
    """Space on the server's volume: bytes in a unit, and units in all, free, and free to us."""

    unit: int
    total: int
    free: int
    available: int
