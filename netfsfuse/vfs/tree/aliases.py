"""Directories that the server shows under several names, and the numbers that tell them apart.

A server that follows its own symlinks, or does not mind case, finds one directory by several names,
with one FileId. The kernel allows a directory one name only: shown one number by two names it moves
the directory from one to the other, and with it the working directories of processes. So the name
that came second gets a number of its own, made of directory, name and FileId, and keeps it as long
as it is remembered. A directory that was renamed is found by its old name no more, and keeps its
number; one renamed in case only is still found, and gets another. What lies inside itself is shown
as itself, which the kernel refuses: so every walk ends.
"""

from __future__ import annotations

from netfsfuse.errors import AccessDenied, NotADirectory, NotFound
from netfsfuse.types import FileAttr
from netfsfuse.vfs.inodes.identity import inode_number
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.ops import Namespace

KEPT_MAX = 10_000


class Aliases:
    """Finds and remembers the further names of directories."""

    def __init__(self, namespace: Namespace, inodes: InodeTable) -> None:
        self._namespace = namespace
        self._inodes = inodes
        self._known: dict[tuple[int, str], int] = {}  # FileIds; found longest ago first

    def is_alias(self, parent: Inode, name: str, attr: FileAttr) -> bool:
        """Whether ``name`` is known to be a further name of the directory ``attr``."""
        if not self._known or not attr.is_directory:
            return False
        return self._known.get((parent.number, name)) == attr.file_id

    def number(self, parent: Inode, name: str, attr: FileAttr) -> int:
        """The number of what is found at ``name``, as far as is known."""
        if self.is_alias(parent, name, attr):
            of_its_own = f"{parent.number}/{name}/{attr.file_id}"
            return inode_number(attr._replace(file_id=0), of_its_own)
        return inode_number(attr, "" if attr.file_id else parent.path_of(name))

    def forget(self, parent: Inode, name: str) -> None:
        """Another directory may have ``name`` from now on, or none."""
        self._known.pop((parent.number, name), None)

    async def find(self, parent: Inode, name: str, attr: FileAttr) -> int:
        """The number of what is found at ``name``. Asks the server whether a directory that was
        known by another name is found by both now: what a listing says may be older than a rename.
        Raises NetfsError."""
        number = self.number(parent, name, attr)
        inode = self._inodes.find(number) if attr.is_directory and attr.file_id else None
        if (
            inode is None
            or inode is self._inodes.root
            or (inode.parent, inode.name) == (parent, name)
            or not inode.attr.is_directory
        ):
            return number
        above: Inode | None = parent
        while above is not None:
            if above.attr.file_id == attr.file_id:
                return above.number
            above = above.parent
        for path in (inode.path, parent.path_of(name)):
            try:
                there = await self._namespace.stat(path)
            except (NotFound, NotADirectory, AccessDenied):
                return number
            if there.file_id != attr.file_id:
                return number
        if len(self._known) >= KEPT_MAX:
            del self._known[next(iter(self._known))]
        self._known[parent.number, name] = attr.file_id
        return self.number(parent, name, attr)
