"""Files that may be links: asked for many at once, and once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from netfsfuse.errors import AccessDenied, Disconnected, ServerError
from netfsfuse.types import FileAttr, FileKind, ServerTime
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.tree.links import AT_ONCE, Links
from tests.vfs.fakes import NOW, FakeNamespace, Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock

FILES = 300


def server_now() -> ServerTime:
    return ServerTime(NOW, NOW, measured=0.0)


def tree(size: int = 1067) -> dict[str, Node]:
    nodes = {f"d/{n:04}": Node(file_attr(100 + n, size)) for n in range(FILES)}
    nodes["d/0007"].target = "where/to"
    return {"d": Node(dir_attr(10)), **nodes}


async def ls(vfs: Vfs, number: int) -> list[Inode]:
    """As readdirplus."""
    fh = await vfs.fs.opendir(number)
    inodes = []
    position = 0
    while batch := await vfs.fs.readdir(fh, position):
        for entry, position in batch:
            inode = await vfs.fs.bind_entry(fh, entry, position)
            inode.nlookup += 1
            inodes.append(inode)
    await vfs.fs.releasedir(fh)
    return inodes


def slow(vfs: Vfs, seconds: float = 0.01) -> list[int]:
    """Answer after a while; returns a list of how many were asked together."""
    together = [0, 0]

    async def answer() -> None:
        together[0] += 1
        together[1] = max(together)
        await trio.sleep(seconds)
        together[0] -= 1

    vfs.names.before = lambda what, path: answer() if what == "read_link" else None
    return together


async def test_all_of_a_listing_are_asked_at_once_and_once(autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=0) as vfs:
        vfs.names.page = 500
        together = slow(vfs)
        d = await vfs.lookup("d")
        begun = trio.current_time()
        for _ in range(3):
            inodes = await ls(vfs, d.number)
            assert [i.kind for i in inodes].count(FileKind.SYMLINK) == 1
            assert inodes[7].target == "where/to"
        assert trio.current_time() - begun < 0.01 * (FILES / AT_ONCE + 5)
        assert 1 < together[1] <= AT_ONCE
        assert vfs.names.count("read_link") == FILES
        assert (await vfs.lookup("0007", d.number)).target == "where/to"
        assert vfs.names.count("read_link") == FILES


async def test_what_was_changed_is_asked_again(autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=0) as vfs:
        vfs.names.page = 500
        d = await vfs.lookup("d")
        await ls(vfs, d.number)
        vfs.names.tree["d/0008"] = Node(file_attr(108, 1067, age=9), target="new")
        vfs.names.tree["d/0007"] = Node(file_attr(107, 1067, age=9))
        inodes = await ls(vfs, d.number)
        assert (inodes[7].target, inodes[8].target) == (None, "new")
        assert vfs.names.count("read_link") == FILES + 2


async def test_what_may_change_unseen_is_asked_each_time(autojump_clock: Clock) -> None:
    """The same tick of the server's clock may have seen another link."""
    nodes = tree()
    nodes["d/0003"].attr = file_attr(103, 1067, age=0)
    async with mounted(nodes, actimeo=0) as vfs:
        d = await vfs.lookup("d")
        for _ in range(2):
            await ls(vfs, d.number)
        assert vfs.names.count("read_link") == FILES + 1


async def test_it_counts_when_it_was_asked_for(autojump_clock: Clock) -> None:
    """Over a long link the tick of the last change is over when the answer comes."""
    names = FakeNamespace({"a": Node(file_attr(1, 1067, age=0))})
    clock = [NOW]
    links = Links(names, lambda: ServerTime(clock[0], clock[0], measured=0.0))

    async def answer() -> None:
        clock[0] += 1.0

    names.before = lambda what, path: answer() if what == "read_link" else None
    await links.target("a", names.tree["a"].attr)
    names.before = lambda what, path: None
    names.tree["a"].target = "somewhere"
    assert await links.target("a", names.tree["a"].attr) == "somewhere"


@pytest.mark.parametrize("failure", [AccessDenied, ServerError])
async def test_a_refusal_concerns_one_file(failure: type[Exception], autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=0) as vfs:
        vfs.names.page = 500

        def refuse(what: str, path: str) -> None:
            if (what, path) == ("read_link", "d/0005"):
                raise failure(path)

        vfs.names.before = refuse
        d = await vfs.lookup("d")
        if failure is AccessDenied:  # shown as a file
            assert (await ls(vfs, d.number))[5].kind is FileKind.FILE
        else:
            fh = await vfs.fs.opendir(d.number)
            batch = await vfs.fs.readdir(fh, 0)
            await vfs.fs.bind_entry(fh, *batch[4])
            with pytest.raises(ServerError):
                await vfs.fs.bind_entry(fh, *batch[5])
            await vfs.fs.releasedir(fh)


async def test_a_server_that_is_away_is_told_once(autojump_clock: Clock) -> None:
    async with mounted(tree(), actimeo=0) as vfs:
        vfs.names.page = 500
        d = await vfs.lookup("d")

        async def away(what: str, path: str) -> None:
            if what == "read_link":
                await trio.sleep(5)
                raise Disconnected(path)

        vfs.names.before = away
        fh = await vfs.fs.opendir(d.number)
        begun = trio.current_time()
        batch: Sequence = await vfs.fs.readdir(fh, 0)
        with pytest.raises(Disconnected):
            await vfs.fs.bind_entry(fh, *batch[0])
        assert trio.current_time() - begun < 20
        await vfs.fs.releasedir(fh)


def derived(file_id: int) -> FileAttr:
    attr = file_attr(file_id, 1067)
    return attr._replace(creation=attr.write)


async def test_a_tree_unpacked_anew_is_asked_again(autojump_clock: Clock) -> None:
    """Its numbers are dealt out anew among names, and sizes and times are the same."""
    names = FakeNamespace(
        {"a": Node(derived(1), target="one"), "b": Node(derived(2), target="two")}
    )
    links = Links(names, server_now)
    assert [await links.target(name, names.tree[name].attr) for name in "ab"] == ["one", "two"]
    names.tree = {"a": Node(derived(2), target="one"), "b": Node(derived(1), target="two")}
    assert [await links.target(name, names.tree[name].attr) for name in "ab"] == ["one", "two"]


async def test_memory_is_bounded(autojump_clock: Clock) -> None:
    names = FakeNamespace({str(n): Node(file_attr(n, 1067)) for n in range(1, 30)})
    links = Links(names, server_now, most=10)
    for name, node in names.tree.items():
        await links.target(name, node.attr)
    assert len(links._kept) == 10
    await links.target("29", names.tree["29"].attr)
    assert names.count("read_link") == 29


async def test_what_cannot_be_remembered_is_asked_once_a_listing(autojump_clock: Clock) -> None:
    """The kernel takes fewer entries at a time than are asked for together."""
    nodes = {"d": Node(dir_attr(10))}
    nodes |= {f"d/{n:04}": Node(file_attr(100 + n, 1067, age=0)) for n in range(FILES)}
    async with mounted(nodes, actimeo=0) as vfs:
        d = await vfs.lookup("d")
        fh, position = await vfs.fs.opendir(d.number), 0
        while batch := await vfs.fs.readdir(fh, position):
            position = batch[len(batch) // 2][1]
        await vfs.fs.releasedir(fh)
        assert vfs.names.count("read_link") == FILES
