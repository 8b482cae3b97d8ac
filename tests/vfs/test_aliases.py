"""A directory under two names is two to the kernel; one that was renamed is the same."""

from __future__ import annotations

import trio
import trio.testing

from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock


def tree() -> dict[str, Node]:
    real, sub, file = Node(dir_attr(10)), Node(dir_attr(11)), Node(file_attr(12, 3), b"abc")
    return {
        "real": real,
        "real/sub": sub,
        "real/sub/f": file,
        "link": real,
        "link/sub": sub,
        "link/sub/f": file,
    }


async def bound(vfs: Vfs, name: str) -> int:
    """By a listing of the root."""
    fh = await vfs.fs.opendir(1)
    for entry, position in await vfs.fs.readdir(fh, 0):
        inode = await vfs.fs.bind_entry(fh, entry, position)
        inode.nlookup += 1
        if entry.name == name:
            number = inode.number
    await vfs.fs.releasedir(fh)
    return number


async def test_two_names_are_two_numbers_that_stay(autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=0) as vfs:
        real, link = await vfs.lookup("real"), await vfs.lookup("link")
        assert real.number == 10 != link.number
        assert (real.path, link.path) == ("real", "link")
        subs = [(await vfs.lookup("sub", each.number)).number for each in (real, link)]
        assert subs[0] == 11 != subs[1]
        files = [(await vfs.lookup("f", number)).number for number in subs]
        assert files == [12, 12]  # as hard links are
        assert await vfs.content(12) == b"abc"
        assert (await vfs.fs.getattr(link.number)) is link
        assert (await vfs.lookup("link")) is link
        assert (await bound(vfs, "real"), await bound(vfs, "link")) == (10, link.number)
        assert (real.path, link.path) == ("real", "link")
        vfs.fs.forget(link.number, link.nlookup)
        vfs.fs.forget(10, real.nlookup)
        assert (await vfs.lookup("link")).number == link.number


async def test_a_link_that_leads_elsewhere_now_is_another(autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=0) as vfs:
        await vfs.lookup("real")
        await vfs.lookup("link")
        vfs.names.tree["link"] = Node(dir_attr(20))
        assert (await vfs.lookup("link")).number == 20


async def test_a_renamed_directory_is_the_same(autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=0) as vfs:
        real = await vfs.lookup("real")
        names = vfs.names.tree
        del names["link"]
        names["new"] = names.pop("real")
        assert await vfs.lookup("new") is real
        assert real.path == "new"
        names["again"] = names.pop("new")
        assert await bound(vfs, "again") == 10


async def test_what_lies_in_itself_by_a_second_name_has_an_end(autojump_clock: Clock) -> None:
    here = Node(dir_attr(10))
    loops = {"a": here, "b": here, "b/sub": Node(dir_attr(11)), "b/sub/up": here}
    async with mounted(loops, actimeo=0) as vfs:
        await vfs.lookup("a")
        b = await vfs.lookup("b")
        sub = await vfs.lookup("sub", b.number)
        assert await vfs.lookup("up", sub.number) is b


async def test_a_listing_that_is_older_than_a_rename_makes_no_alias(autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=0) as vfs:
        names = vfs.names.tree
        real = await vfs.lookup("real")
        fh = await vfs.fs.opendir(1)
        batch = await vfs.fs.readdir(fh, 0)
        (entry, position) = next(each for each in batch if each[0].name == "link")
        names["link"] = Node(dir_attr(20))
        assert (await vfs.fs.bind_entry(fh, entry, position)).number == real.number
        await vfs.fs.releasedir(fh)
        assert (await vfs.lookup("link")).number == 20
        assert await vfs.lookup("real") is real
