"""What a mount says of itself in extended attributes, and what it answers to all other names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netfsfuse.errors import InvalidArgument, NoAttribute, NotSupported
from netfsfuse.stats import CHANGES_XATTR, OBJECT_XATTR, STATS_XATTR, VfsStats
from netfsfuse.vfs.feed.feeds import ChangeEvent, Page
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from netfsfuse.vfs.xattrs import ExtendedAttributes
from tests.vfs.fakes import dir_attr, file_attr

STATS = STATS_XATTR.encode()
OBJECT = OBJECT_XATTR.encode()
CHANGES = CHANGES_XATTR.encode()


class FakeFeeds:
    """Answers with one change, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def page(self, inode: Inode, after: int) -> Page:
        self.asked.append((inode.number, after))
        return Page(8, [ChangeEvent(1.5, "created", "a/b")])


def xattrs() -> tuple[Any, FakeFeeds]:
    inodes = InodeTable(dir_attr(1), VfsStats())
    inodes.add(Inode(7, inodes.root, "f", file_attr(7)))
    feeds = FakeFeeds()
    places = {7: {"object": "x"}}
    made = ExtendedAttributes(inodes, feeds, lambda: {"daemon": 5}, places.get)  # type: ignore[arg-type]
    return made, feeds


def test_the_root_describes_the_mount() -> None:
    made, _ = xattrs()
    assert json.loads(made.get(1, STATS)) == {"daemon": 5}


def test_a_cached_file_says_where() -> None:
    made, _ = xattrs()
    assert json.loads(made.get(7, OBJECT)) == {"object": "x"}
    with pytest.raises(NoAttribute):
        made.get(8, OBJECT)


@pytest.mark.parametrize(("after", "number"), [(b"-1", -1), (b"0", 0), (b"12", 12)])
def test_a_directory_tells_what_happened(after: bytes, number: int) -> None:
    made, feeds = xattrs()
    told = json.loads(made.get(1, CHANGES + after))
    assert told == {
        "next": 8,
        "changes": [{"when": 1.5, "kind": "created", "path": "a/b", "to": ""}],
    }
    assert feeds.asked == [(1, number)]


@pytest.mark.parametrize("after", [b"", b"x", b"1.5"])
def test_a_change_must_be_a_number(after: bytes) -> None:
    made, feeds = xattrs()
    with pytest.raises(InvalidArgument):
        made.get(1, CHANGES + after)
    assert feeds.asked == []


@pytest.mark.parametrize(("number", "name"), [(1, b"user.other"), (7, STATS), (7, b"security.x")])
def test_other_names_are_not_supported(number: int, name: bytes) -> None:
    made, _ = xattrs()
    with pytest.raises(NotSupported):
        made.get(number, name)
