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


class FileAttr(NamedTuple):
    """A file's attributes as the server last stated them.

    Times are FILETIME ticks: 100 ns since 1601-01-01 UTC, 0 when the server has none. ``file_id``
    is the server's inode number (QFid / IndexNumber), not the SMB2 handle; 0 when the server has
    none. ``size`` and ``allocation`` are bytes. ``attributes`` are the [MS-FSCC] 2.6 flags.

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
    attributes: int
    reparse_tag: int = 0

    @property
    def is_directory(self) -> bool:
        """Whether FILE_ATTRIBUTE_DIRECTORY is set."""
        return bool(self.attributes & 0x10)

    @property
    def is_reparse(self) -> bool:
        """Whether FILE_ATTRIBUTE_REPARSE_POINT is set."""
        return bool(self.attributes & 0x400)


class Coherency(NamedTuple):
    """The coherency record: a change of any member means that the content may have changed.

    ``creation`` needs care, see :func:`same_content`.
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
    """Whether the server seems to make up the creation time from the other times.

    Samba without a stored creation time reports min(access, write, change): measured on 4.17, the
    first read of a new file moves its access time (relatime) and with it the "creation" time.
    """
    return attr.creation == min(attr.access, attr.write, attr.change)


def same_content(known: Coherency, attr: FileAttr) -> bool:
    """Whether data read under ``known`` is still what the server holds now, by ``attr``.

    All five members must agree, except that a creation time which the server derives from the
    other times (:func:`creation_is_derived`) is not evidence: with FileId, change, write time and
    size equal it only says that somebody read the file.
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
