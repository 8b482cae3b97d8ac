"""Which inode a kept listing says that a name leads to, for those who tell of changes. PURE."""

from __future__ import annotations

from enum import Enum, auto

from netfsfuse.vfs.inodes.identity import inode_number
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable


class NotKnown(Enum):
    """Why no inode is known by a name."""

    UNLISTED = auto()  # no listing of the directory is kept, or it does not hold the name
    OTHER_NUMBER = auto()  # a folder, which may be known under a number of its own by this name
    UNUSED = auto()  # a file that the kernel does not know, or by another name


def inode_listed_as(inodes: InodeTable, directory: Inode, name: str) -> Inode | NotKnown:
    """The inode of ``name`` in ``directory``, if the listing holds it and the kernel knows it by
    that directory."""
    folder = directory.folder
    attr = None if folder is None else folder.attrs.get(name)
    if attr is None:
        return NotKnown.UNLISTED
    inode = inodes.find(inode_number(attr, directory.path_of(name)))
    if inode is not None and inode.parent is directory:
        return inode
    return NotKnown.OTHER_NUMBER if attr.is_directory else NotKnown.UNUSED
