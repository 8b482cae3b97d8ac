"""Which inode a kept listing says that a name leads to."""

from __future__ import annotations

from netfsfuse.stats import VfsStats
from netfsfuse.vfs.inodes.directory import Folder
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.inodes.listed import NotKnown, inode_listed_as
from tests.vfs.fakes import dir_attr, file_attr


def tree() -> tuple[InodeTable, Inode, Inode]:
    """Two directories; ``f`` is known in the first, whose listing holds more."""
    inodes = InodeTable(dir_attr(1), VfsStats())
    first, second = (inodes.add(Inode(n, inodes.root, f"d{n}", dir_attr(n))) for n in (10, 11))
    inodes.add(Inode(20, first, "f", file_attr(20)))
    listed = {"f": file_attr(20), "g": file_attr(21), "sub": dir_attr(30), "up": dir_attr(11)}
    first.folder = Folder(listed, 0.0)
    return inodes, first, second


def test_what_the_listing_holds_and_the_kernel_knows() -> None:
    inodes, first, _ = tree()
    assert inode_listed_as(inodes, first, "f") is inodes.find(20)


def test_a_name_that_is_not_listed() -> None:
    inodes, first, second = tree()
    assert inode_listed_as(inodes, first, "nothing") is NotKnown.UNLISTED
    assert inode_listed_as(inodes, second, "f") is NotKnown.UNLISTED


def test_a_file_that_the_kernel_does_not_know() -> None:
    inodes, first, _ = tree()
    assert inode_listed_as(inodes, first, "g") is NotKnown.UNUSED


def test_a_file_that_is_known_by_another_directory() -> None:
    inodes, first, second = tree()
    known = inodes.find(20)
    assert known is not None
    known.parent = second
    assert inode_listed_as(inodes, first, "f") is NotKnown.UNUSED


def test_a_folder_may_have_another_number_by_this_name() -> None:
    inodes, first, _ = tree()
    assert inode_listed_as(inodes, first, "sub") is NotKnown.OTHER_NUMBER
    assert inode_listed_as(inodes, first, "up") is NotKnown.OTHER_NUMBER
