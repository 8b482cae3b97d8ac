"""Listings: every name once, positions that stay valid, one fetch for all readers of a handle."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import NotADirectory, ServerError, Stale
from tests.vfs.fakes import Node, Vfs, file_attr, mounted

Clock = trio.testing.MockClock


def tree(count: int = 300) -> dict[str, Node]:
    return {f"n{n:03}": Node(file_attr(100 + n)) for n in range(count)}


async def listed(vfs: Vfs, fh: int, position: int = 0) -> list[str]:
    names = []
    while batch := await vfs.fs.readdir(fh, position):
        names += [entry.name for entry, position in batch]
        position = batch[-1][1]
    return names


@pytest.mark.parametrize("count", [0, 1, 4, 127, 128, 129, 300])
async def test_every_name_once(count: int, autojump_clock: Clock) -> None:
    async with mounted(tree(count)) as vfs:
        fh = await vfs.fs.opendir(1)
        assert await listed(vfs, fh) == list(tree(count))
        await vfs.fs.releasedir(fh)


async def test_a_listing_stats_nothing(autojump_clock: Clock) -> None:
    async with mounted(tree(50)) as vfs:
        fh = await vfs.fs.opendir(1)
        for entry, position in await vfs.fs.readdir(fh, 0):
            inode = await vfs.fs.bind_entry(fh, entry, position)
            inode.nlookup += 1
            await vfs.fs.getattr(inode.number)
        assert vfs.names.count("stat") == 0
        await vfs.fs.releasedir(fh)


async def test_positions_stay_valid(autojump_clock: Clock) -> None:
    """telldir and seekdir: back and forth within what one open has listed."""
    names = list(tree())
    async with mounted(tree()) as vfs:
        fh = await vfs.fs.opendir(1)
        batch = await vfs.fs.readdir(fh, 200)
        assert batch[0][0].name == names[200]
        assert batch[0][1] == 201
        del vfs.names.tree["n010"]
        assert (await vfs.fs.readdir(fh, 10))[0][0].name == "n010"
        assert await listed(vfs, fh, 150) == names[150:]
        assert await vfs.fs.readdir(fh, 5000) == []
        await vfs.fs.releasedir(fh)


async def test_rewinddir_lists_anew(autojump_clock: Clock) -> None:
    async with mounted(tree(10)) as vfs:
        fh = await vfs.fs.opendir(1)
        assert len(await listed(vfs, fh)) == 10
        vfs.names.tree["new"] = Node(file_attr(999))
        assert "new" in await listed(vfs, fh)
        assert vfs.names.count("list") == 2
        assert vfs.names.open_handles == []  # both were listed to their ends
        await vfs.fs.releasedir(fh)


async def test_two_readers_of_one_handle_share_the_pages(autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        fh = await vfs.fs.opendir(1)
        first = await vfs.fs.readdir(fh, 0)
        got: list[list[str]] = []

        async def read() -> None:
            got.append(await listed(vfs, fh, len(first)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(read)
        assert got == [list(tree())[len(first) :]] * 2
        assert vfs.names.count("page") == 300 // 4 + 1
        await vfs.fs.releasedir(fh)


async def test_a_failed_page_is_asked_again(autojump_clock: Clock) -> None:
    async with mounted(tree(20)) as vfs:
        fh = await vfs.fs.opendir(1)

        def fail(what: str, _path: str) -> None:
            if what == "page" and vfs.names.count("page") == 3:
                raise ServerError("busy")

        vfs.names.before = fail
        assert (await vfs.fs.readdir(fh, 0))[-1][1] == 4
        assert (await vfs.fs.readdir(fh, 4))[-1][1] == 8
        with pytest.raises(ServerError):
            await vfs.fs.readdir(fh, 8)
        assert await listed(vfs, fh, 8) == list(tree(20))[8:]
        await vfs.fs.releasedir(fh)


async def test_bound_in_vain_is_forgotten_at_once(autojump_clock: Clock) -> None:
    async with mounted(tree(20)) as vfs:
        known = await vfs.lookup("n003")
        fh = await vfs.fs.opendir(1)
        for entry, position in await vfs.fs.readdir(fh, 0):
            inode = await vfs.fs.bind_entry(fh, entry, position)
            vfs.fs.inodes.discard_unknown(inode)
        assert set(vfs.fs.inodes) == {vfs.fs.inodes.root, known}
        await vfs.fs.releasedir(fh)


async def test_refused_listings(autojump_clock: Clock) -> None:
    async with mounted(tree(1)) as vfs:
        file = await vfs.lookup("n000")
        with pytest.raises(NotADirectory):
            await vfs.fs.opendir(file.number)
        del vfs.names.tree[""]
        with pytest.raises(Stale):
            await vfs.fs.opendir(1)
        with pytest.raises(Stale):
            await vfs.fs.readdir(77, 0)
        await vfs.fs.releasedir(77)
