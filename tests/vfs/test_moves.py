"""An open comes by number alone: never is a file read by a name that leads to another one now."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import Stale
from netfsfuse.vfs.inodes.inodes import Inode
from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock


def hear(vfs: Vfs) -> list[tuple[str, str]]:
    """The names that the kernel is made to drop."""
    dropped = []

    def drop(directory: Inode, name: str) -> None:
        dropped.append((directory.path, name))

    vfs.kernel.on_drop = drop
    return dropped


async def test_two_names_exchanged(autojump_clock: Clock) -> None:
    """The kernel comes by "b", whose number is at "a" now: it has to look the name up anew."""
    async with mounted({"b": Node(file_attr(11, 3), b"old")}) as vfs:
        dropped = hear(vfs)
        await vfs.lookup("b")
        tree = vfs.names.tree
        tree["a"], tree["b"] = tree["b"], Node(file_attr(12, 3), b"new")
        await vfs.lookup("a")
        with pytest.raises(Stale):
            await vfs.fs.open(11)
        assert dropped == [("", "b")]
        assert await vfs.content(11) == b"old"  # by "a", after the look-up that follows ESTALE
        assert await vfs.content((await vfs.lookup("b")).number) == b"new"


async def test_a_name_that_is_gone(autojump_clock: Clock) -> None:
    async with mounted({"b": Node(file_attr(11, 3), b"old")}) as vfs:
        dropped = hear(vfs)
        await vfs.lookup("b")
        vfs.names.tree["a"] = vfs.names.tree.pop("b")
        await vfs.lookup("a")
        with pytest.raises(Stale):
            await vfs.fs.open(11)
        assert dropped == [("", "b")]


async def test_links_of_one_file_are_asked_for_once(autojump_clock: Clock) -> None:
    node = Node(file_attr(11, 3), b"one")
    async with mounted({"a": node, "b": node}) as vfs:
        dropped = hear(vfs)
        await vfs.lookup("a")
        await vfs.lookup("b")
        asked = vfs.names.count("stat")
        for _ in range(2):
            assert await vfs.content(11) == b"one"
        assert vfs.names.count("stat") == asked + 1
        assert not dropped


async def test_a_name_is_asked_for_as_long_as_the_kernel_believes_it(
    autojump_clock: Clock,
) -> None:
    async with mounted({"b": Node(file_attr(11, 3), b"old")}, actimeo=3) as vfs:
        dropped = hear(vfs)
        await vfs.lookup("b")
        vfs.names.tree["a"] = vfs.names.tree.pop("b")
        await vfs.lookup("a")
        await trio.sleep(3.1)
        assert await vfs.content(11) == b"old"
        assert not dropped


async def test_back_at_the_first_name(autojump_clock: Clock) -> None:
    """Then it is the second that is left."""
    async with mounted({"b": Node(file_attr(11, 3), b"one")}) as vfs:
        dropped = hear(vfs)
        tree = vfs.names.tree
        await vfs.lookup("b")
        tree["a"] = tree.pop("b")
        await vfs.lookup("a")
        tree["b"] = tree.pop("a")
        await vfs.lookup("b")
        with pytest.raises(Stale):
            await vfs.fs.open(11)
        assert dropped == [("", "a")]


async def test_directories_exchanged(autojump_clock: Clock) -> None:
    """A file below a directory that the kernel may have come to by its old name."""
    tree = {"b": Node(dir_attr(10)), "b/f": Node(file_attr(11, 3), b"old")}
    async with mounted(tree) as vfs:
        dropped = hear(vfs)
        directory = await vfs.lookup("b")
        now = vfs.names.tree
        now["a"], now["a/f"] = now.pop("b"), now.pop("b/f")
        now["b"], now["b/f"] = Node(dir_attr(20)), Node(file_attr(21, 3), b"new")
        await vfs.lookup("a")
        await vfs.lookup("f", directory.number)
        with pytest.raises(Stale):
            await vfs.fs.open(11)
        assert dropped == [("", "b")]
        assert await vfs.content(11) == b"old"


async def test_the_kernel_comes_again_only_once(autojump_clock: Clock) -> None:
    """Refused at "a", since its number is another now: the look-up finds the one known as "b"."""
    tree = {"a": Node(file_attr(10, 3), b"one"), "b": Node(file_attr(11, 3), b"two")}
    async with mounted(tree) as vfs:
        dropped = hear(vfs)
        await vfs.lookup("a")
        await vfs.lookup("b")
        now = vfs.names.tree
        now["a"], now["b"] = now["b"], Node(file_attr(12, 3), b"new")
        with pytest.raises(Stale):
            await vfs.fs.open(10)
        assert (await vfs.lookup("a")).number == 11
        assert await vfs.content(11) == b"two"
        assert dropped == [("", "b")]
