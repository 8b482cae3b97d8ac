"""What is fetched before it is asked for, and when it is given out."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import Stale
from netfsfuse.types import Change, ChangeKind, FileAttr
from netfsfuse.vfs.inodes.directory import CALM
from netfsfuse.vfs.inodes.inodes import Inode
from netfsfuse.vfs.prefetch.prefetch import HELD, WINDOW_MAX, Ahead
from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock


def tree(directories: int = 3, files: int = 30, size: int = 100) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for directory in range(directories):
        nodes[f"d{directory}"] = Node(dir_attr(1000 + directory))
        for number in range(files):
            file_id = 10_000 * (directory + 1) + number
            content = f"{directory}/{number}:".encode().ljust(size, b".")
            nodes[f"d{directory}/f{number:03}"] = Node(file_attr(file_id, size), content)
    return nodes


async def walk(vfs: Vfs, number: int) -> dict[str, int]:
    """List a directory as the kernel does it: names with inode numbers, each counted."""
    fh = await vfs.fs.opendir(number)
    found: dict[str, int] = {}
    position = 0
    while batch := await vfs.fs.readdir(fh, position):
        for entry, position in batch:
            inode = await vfs.fs.bind_entry(fh, entry, position)
            inode.nlookup += 1
            found[entry.name] = inode.number
    await vfs.fs.releasedir(fh)
    return found


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def grep(vfs: Vfs, number: int = 1) -> int:
    """Depth first, in the order of the listing; how many files were read, each of them right."""
    read = 0
    for name, child in (await walk(vfs, number)).items():
        inode = vfs.fs.inodes.get(child)
        if inode.attr.is_directory:
            read += await grep(vfs, child)
            continue
        assert await vfs.content(child) == vfs.names.tree[inode.path].content, name
        await settle()
        read += 1
    return read


async def test_a_walk_is_foreseen(autojump_clock: Clock) -> None:
    """After the first files everything is there when it is asked for, across directories."""
    async with mounted(tree(), watching=True) as vfs:
        assert await grep(vfs) == 90
        assert vfs.names.count("fetch") + vfs.names.count("open") == 90  # each once
        assert vfs.names.count("open") <= 3  # before a walk was seen
        assert vfs.stats.vfs.fetched >= 85
        assert vfs.stats.vfs.wasted == 0
        asked = len(vfs.names.asked)
        for directory in ("d0", "d1", "d2"):
            parent = (await vfs.fs.lookup(1, directory.encode())).number
            for number in (await walk(vfs, parent)).values():  # the kernel has the bytes
                opened = await vfs.fs.open(number)
                await vfs.fs.release(opened.fh)
        assert len(vfs.names.asked) == asked  # nothing at all the second time
        assert len(vfs.cache.kept) == 90


async def test_known_files_are_not_looked_through_at_each_open(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a file among them that has changed is fetched ahead all the same."""
    looked: list[str] = []
    is_wanted = Ahead._is_wanted

    def noting(self: Ahead, directory: Inode, name: str, attr: FileAttr) -> bool:
        looked.append(name)
        return is_wanted(self, directory, name, attr)

    async with mounted(tree(1, 500), watching=True) as vfs:
        assert await grep(vfs) == 500
        monkeypatch.setattr(Ahead, "_is_wanted", noting)
        parent = (await vfs.fs.lookup(1, b"d0")).number
        numbers = list((await walk(vfs, parent)).values())
        vfs.fs.inodes.get(numbers[400]).pages = None
        before = vfs.stats.vfs.fetched
        for number in numbers[:400]:
            await vfs.fs.release((await vfs.fs.open(number)).fh)
        await settle()
    assert len(looked) < 3 * 400
    assert vfs.stats.vfs.fetched == before + 1


async def test_what_is_stored_is_not_fetched(autojump_clock: Clock) -> None:
    """One compound without a READ in a mount that has not opened the file yet."""
    nodes = tree()
    async with mounted(nodes, watching=True) as vfs:
        for path, node in nodes.items():
            if node.content:
                vfs.cache.kept[path] = (node.attr, node.content)
        sizes: list[int] = []
        fetch = vfs.names.fetch

        async def noted(path: str, size: int) -> object:
            sizes.append(size)
            return await fetch(path, size)

        vfs.names.fetch = noted  # type: ignore[method-assign]
        assert await grep(vfs) == 90
        assert set(sizes) == {0}


async def test_what_has_changed_since_is_not_given_out(autojump_clock: Clock) -> None:
    async with mounted(tree(1), watching=True) as vfs:
        await walk(vfs, 1)
        files = await walk(vfs, 1000)
        names = list(files)
        for name in names[:5]:
            await vfs.content(files[name])
            await settle()
        assert vfs.stats.vfs.fetched > 3
        victim = names[5]
        vfs.names.tree[f"d0/{victim}"] = Node(file_attr(files[victim], 3, age=60), b"new")
        vfs.names.tell("d0", Change(victim, ChangeKind.MODIFIED))
        await settle()
        assert await vfs.content(files[victim]) == b"new"


async def test_nothing_is_fetched_without_a_watch(autojump_clock: Clock) -> None:
    """An open must see what another client has written."""
    async with mounted(tree(), watching=False) as vfs:
        assert await grep(vfs) == 90
        assert (vfs.names.count("fetch"), vfs.names.count("open")) == (0, 90)
        assert vfs.stats.vfs.fetched <= 2  # listings


async def test_nor_where_somebody_else_is_at_work(autojump_clock: Clock) -> None:
    async with mounted(tree(1), watching=True) as vfs:
        await walk(vfs, 1)
        files = list((await walk(vfs, 1000)).values())
        vfs.names.tell("d0", Change("f029", ChangeKind.MODIFIED))
        await settle()
        for number in files[:10]:
            await vfs.content(number)
            await settle()
        assert vfs.stats.vfs.fetched == 0
        await trio.sleep(CALM + 0.1)
        for number in files[10:20]:
            await vfs.content(number)
            await settle()
        assert vfs.stats.vfs.fetched > 0


async def test_large_files_are_left_to_their_readers(autojump_clock: Clock) -> None:
    async with mounted(tree(1, 20, size=70_000), watching=True) as vfs:
        await walk(vfs, 1)
        for number in (await walk(vfs, 1000)).values():
            await vfs.content(number)
            await settle()
        assert vfs.stats.vfs.fetched == 0


@pytest.mark.parametrize("slow", [0.0, 0.05])
async def test_the_window_is_bounded(slow: float, autojump_clock: Clock) -> None:
    """A fast reader over a long link fills it, and no more."""
    async with mounted(tree(1, 400), watching=True) as vfs:
        under_way, most = 0, 0
        fetch = vfs.names.fetch

        async def slowly(path: str, size: int) -> object:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await trio.sleep(slow)
            under_way -= 1
            return await fetch(path, size)

        vfs.names.fetch = slowly  # type: ignore[method-assign]
        await walk(vfs, 1)
        for number in (await walk(vfs, 1000)).values():
            await vfs.content(number)
        assert most <= WINDOW_MAX + 1
        if slow:
            assert most > WINDOW_MAX / 2


async def test_what_nobody_comes_for_is_dropped(autojump_clock: Clock) -> None:
    async with mounted(tree(2), watching=True) as vfs:
        await walk(vfs, 1)
        first, second = await walk(vfs, 1000), await walk(vfs, 1001)
        for number in list(first.values())[:6]:
            await vfs.content(number)
            await settle()
        await trio.sleep(HELD + 1)
        for number in list(second.values())[:6]:
            await vfs.content(number)
            await settle()
        assert vfs.stats.vfs.wasted > 0
        assert len(vfs.fs._ahead._fetches) <= WINDOW_MAX


async def test_a_fetch_that_fails_is_the_openers_affair(autojump_clock: Clock) -> None:
    async with mounted(tree(1), watching=True) as vfs:
        await walk(vfs, 1)
        files = await walk(vfs, 1000)
        for name in list(files)[10:12]:
            del vfs.names.tree[f"d0/{name}"]
        failed = 0
        for number in files.values():
            try:
                await vfs.content(number)
            except Stale:
                failed += 1
            await settle()
        assert failed == 2
