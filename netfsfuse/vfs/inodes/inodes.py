"""The inodes that the kernel knows.

An inode lives from its first look-up to the forget that takes its count to zero; the root lives as
long as the mount. Memory: about half a kilobyte each, attributes included. Where there are many,
those that a listing has told the kernel of, and that no call has used since, are *frozen* into a
few bytes, 290 in all (tests hold 200,000 and a million), and thawed when they are asked for.

A task that holds an :class:`Inode` across a wait may take it for the one of its number: only what
no other task can hold is frozen.

The kernel may drop a parent and still hold a child for a moment; children therefore refer to their
parent's object, not to its number.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator, Sequence
from typing import Protocol

from netfsfuse.errors import Stale
from netfsfuse.stats import VfsStats
from netfsfuse.types import FileAttr, FileKind, coherency_of, same_content
from netfsfuse.vfs.inodes import frozen
from netfsfuse.vfs.inodes.arrivals import Arrivals
from netfsfuse.vfs.inodes.directory import Folder, Watched
from netfsfuse.vfs.inodes.identity import ROOT_INODE, generation_of, inode_number

DROPPED_AFTER = 1.0
"""Seconds in which a process that was told to drop the kernel's pages of a file has done so."""


FREEZE_ABOVE = 50_000
"""Inodes. Freezing and thawing one takes 3 us, and saves 250 bytes."""


class OpenForWriting(Protocol):
    """A file that is open for writing here."""

    def shown(self) -> None:
        """A program is about to see size and times as they are here."""
        ...

    def told(self, size: int) -> None:
        """The kernel is told that the file has ``size`` bytes."""
        ...


class Inode:
    """One file, directory or link as the kernel was last told about it.

    ``attr`` was asked for at ``known_at`` and is believed until ``attr_until`` (trio clock). Its
    times and size have been the same since ``same_since``, and were others at ``moved_after``.
    ``pages`` are the attributes under which the kernel's page cache was last allowed to fill, None
    if never, and ``pages_since`` when others were dropped for them. ``target`` is a symlink's,
    ``folder`` and ``watched`` a directory's: its names, and what the server tells of it.
    ``former_names``: those, in directories, by which the kernel may still come here, until
    when.
    ``linked``: its path leads through a link that the server follows: no watch hears of it.
    ``alias``: its number is not the directory's FileId, which has another name (``aliases.py``).
    ``astray``: a file that is open, whose path leads to another or nowhere; its handles are asked.
    ``changed_at``: when our own last change of it was answered (trio clock): what was asked before
    that may be older, and is not believed. ``written``: it is open for writing here.
    ``is_ruled``: size and times are those that were made here, whatever the server says of them.
    """

    __slots__ = (
        "alias",
        "astray",
        "attr",
        "attr_until",
        "changed_at",
        "folder",
        "former_names",
        "generation",
        "is_ruled",
        "known_at",
        "linked",
        "moved_after",
        "name",
        "nlookup",
        "number",
        "pages",
        "pages_since",
        "parent",
        "same_since",
        "target",
        "watched",
        "written",
    )

    def __init__(self, number: int, parent: Inode | None, name: str, attr: FileAttr) -> None:
        self.number = number
        self.parent = parent
        self.name = name
        self.attr = attr
        self.attr_until = 0.0
        self.known_at = 0.0
        self.same_since = math.inf
        self.moved_after = -math.inf
        self.generation = generation_of(attr)
        self.nlookup = 0
        self.pages: FileAttr | None = None
        self.pages_since: float | None = None
        self.target: str | None = None
        self.folder: Folder | None = None
        self.watched: Watched | None = None
        self.former_names: dict[tuple[Inode, str], float] | None = None
        self.astray = False
        self.linked = False
        self.alias = False
        self.changed_at = -math.inf
        self.is_ruled = False
        self.written: OpenForWriting | None = None

    @property
    def kind(self) -> FileKind:
        """File, directory or symlink."""
        if self.target is not None:
            return FileKind.SYMLINK
        return FileKind.DIRECTORY if self.attr.is_directory else FileKind.FILE

    @property
    def path(self) -> str:
        """Path below the root of the mount, "" for the root itself."""
        names = []
        inode = self
        while inode.parent is not None:
            names.append(inode.name)
            inode = inode.parent
        return "/".join(reversed(names))

    def is_the_one(self, attr: FileAttr, path: str) -> bool:
        """Whether ``attr`` at ``path`` has the inode's number."""
        if self.alias:
            return attr.is_directory and attr.file_id == self.attr.file_id
        return inode_number(attr, path) == self.number

    @property
    def place(self) -> tuple[int, str]:
        """Where it was found last: the number of the directory, 0 for the root's, and the name."""
        return (0 if self.parent is None else self.parent.number, self.name)

    def path_of(self, name: str) -> str:
        """Path of ``name`` in this directory."""
        return f"{self.path}/{name}" if self.parent is not None else name

    def keeps_pages(self, attr: FileAttr, now: float) -> bool:
        """Whether an open as ``attr`` may leave the kernel's pages as they are.

        Not right after an open that told it to drop them: it does so in the process that opens,
        which may not have run yet, and the next to open would read them.
        """
        if self.pages is None or not same_content(coherency_of(self.pages), attr):
            self.pages_since = -math.inf if self.pages_since is None else now
            return False
        return self.pages_since is not None and now - self.pages_since > DROPPED_AFTER

    def holds(self, other: Inode) -> bool:
        """Whether ``other`` is this inode or lies below it, so that it cannot be moved in there.

        A server that follows its own symlinks, as Samba does, shows a directory inside itself.
        """
        inode: Inode | None = other
        while inode is not None and inode is not self:
            inode = inode.parent
        return inode is self

    def is_at(self, directory: Inode, name: str) -> bool:
        """Whether it was found last by ``name`` in ``directory``, or below that."""
        inode: Inode | None = self
        while inode is not None and (inode.parent is not directory or inode.name != name):
            inode = inode.parent
        return inode is not None


Frozen = tuple[Inode, bytes]
"""The parent, and the rest as ``frozen`` packs it."""


def _freeze(inode: Inode) -> bytes:
    times = inode.known_at, inode.attr_until
    return frozen.pack(inode.attr, inode.generation, *times, inode.nlookup, inode.name)


def _thaw(number: int, parent: Inode, record: bytes) -> Inode:
    attr, generation, known_at, until, nlookup, name = frozen.unpack(record)
    inode = Inode(number, parent, name, attr)
    inode.generation = generation
    inode.known_at, inode.attr_until, inode.nlookup = known_at, until, nlookup
    return inode


class InodeTable:
    """Number -> inode."""

    def __init__(self, root: FileAttr, stats: VfsStats) -> None:
        self._stats = stats
        self.root = Inode(ROOT_INODE, None, "", root)
        self._inodes: dict[int, Inode | Frozen] = {ROOT_INODE: self.root}
        self._arrivals = Arrivals(ROOT_INODE)
        self._peak = 0
        self._just_thawed: Inode | None = None  # and given to no other caller yet

    def __len__(self) -> int:
        return len(self._inodes)

    def __iter__(self) -> Iterator[Inode]:
        return (self._alive(number) for number in list(self._inodes))

    def _alive(self, number: int) -> Inode:
        """Raises KeyError."""
        known = self._inodes[number]
        if not isinstance(known, tuple):
            self._just_thawed = None
            return known
        inode = self._inodes[number] = self._just_thawed = _thaw(number, *known)
        return inode

    def numbers(self, size: int) -> Iterator[Sequence[int]]:
        """Of all inodes, ``size`` at a time. Between two steps the caller may wait: those that come
        meanwhile are left out, of those given some may be gone, and one may come twice."""
        return self._arrivals.steps(size)

    def parent_of(self, number: int) -> Inode | None:
        """The directory in which it is; None for the root, or where it is not known any more."""
        known = self._inodes.get(number)
        return known[0] if isinstance(known, tuple) else known.parent if known else None

    def name_of(self, number: int) -> str:
        """Its name there, "" where it is not known any more."""
        known = self._inodes.get(number)
        if isinstance(known, tuple):
            return frozen.name_of(known[1])
        return known.name if known else ""

    def in_use(self, number: int) -> Inode | None:
        """The inode, unless it is one that no call has used since a listing told of it."""
        known = self._inodes.get(number)
        return None if isinstance(known, tuple) else known

    def find(self, number: int) -> Inode | None:
        """The inode, None when the kernel does not know it."""
        return self._alive(number) if number in self._inodes else None

    def get(self, number: int) -> Inode:
        """The inode. Raises Stale for a number that was forgotten."""
        try:
            return self._alive(number)
        except KeyError:
            raise Stale(f"inode {number} is not known any more") from None

    def told(self, inode: Inode) -> None:
        """A listing has told the kernel of it: it may be frozen, if it is a file that no task but
        the caller can hold, who lets go of it."""
        if (
            len(self._inodes) > FREEZE_ABOVE
            and (inode.nlookup == 1 or inode is self._just_thawed)
            and inode.pages is None
            and inode.former_names is None
            and inode.changed_at == -math.inf
            and inode.parent is not None
            and inode.kind is FileKind.FILE
            and self._inodes.get(inode.number) is inode
        ):
            self._inodes[inode.number] = (inode.parent, _freeze(inode))
        self._just_thawed = None

    def add(self, inode: Inode) -> Inode:
        """Make a new inode known; its look-up count is still 0."""
        self._inodes[inode.number] = inode
        self._arrivals.add(inode.number, self._inodes)
        self._stats.inodes = len(self._inodes)
        self._peak = max(self._peak, len(self._inodes))
        return inode

    def discard_unknown(self, inode: Inode) -> None:
        """Drop an inode that was bound but never told to the kernel."""
        if inode.nlookup == 0 and inode is not self.root:
            if self._inodes.get(inode.number) is inode:
                del self._inodes[inode.number]
            self._stats.inodes = len(self._inodes)

    def forget(self, number: int, nlookup: int) -> Inode | None:
        """The kernel lets go of ``nlookup`` look-ups; the inode if that was all, None for one that
        was frozen. Never raises."""
        known = self._inodes.get(number)
        if isinstance(known, tuple) and frozen.nlookup_of(known[1]) <= nlookup:
            self._drop(number)
            return None
        inode = self.find(number)
        if inode is None or inode is self.root:
            return None
        inode.nlookup -= nlookup
        if inode.nlookup > 0:
            return None
        self._drop(number)
        return inode

    def _drop(self, number: int) -> None:
        del self._inodes[number]
        self._stats.inodes = len(self._inodes)
        self._shrink()

    def _shrink(self) -> None:
        """Give memory back when a table that was large has become small.

        A dict never shrinks by deletions; and only a collection empties the interpreter's free
        lists, whose objects, made between the inodes, hold on to the memory around them.
        """
        if self._peak > 4096 and len(self._inodes) * 4 < self._peak:
            self._inodes = dict(self._inodes)
            self._arrivals.tidy(self._inodes)
            self._peak = len(self._inodes)
            gc.collect()
