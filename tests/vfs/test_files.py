"""Opening, reading and closing files: right bytes, no stale pages, no handle left behind."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import IsADirectory, Stale
from netfsfuse.vfs.inodes.inodes import DROPPED_AFTER
from netfsfuse.vfs.ops import SMALL
from tests.vfs.fakes import NOW, Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock


def tree() -> dict[str, Node]:
    return {"f": Node(file_attr(11, 3), b"one"), "d": Node(dir_attr(10))}


def write(vfs: Vfs, content: bytes, *, age: float = 60.0) -> None:
    """Another client writes to the file."""
    node = vfs.names.tree["f"]
    vfs.names.tree["f"] = Node(file_attr(11, len(content), age=age), content)
    node.removed = True


async def test_pages_stay_only_while_nothing_changed(autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        for keep, changed in ((False, False), (True, False)):
            opened = await vfs.fs.open(11)
            assert (opened.keep_cache, opened.attributes_changed) == (keep, changed)
            await vfs.fs.release(opened.fh)
        await trio.sleep(1)
        write(vfs, b"two", age=0.5)
        opened = await vfs.fs.open(11)
        assert (opened.keep_cache, opened.attributes_changed) == (False, True)
        assert bytes(await vfs.fs.read(opened.fh, 0, 10)) == b"two"
        await vfs.fs.release(opened.fh)
        # Whoever was told to drop the old pages may not have run yet: none to the next either.
        for keep in (False, True):
            opened = await vfs.fs.open(11)
            assert (opened.keep_cache, opened.attributes_changed) == (keep, False)
            await vfs.fs.release(opened.fh)
            await trio.sleep(DROPPED_AFTER + 0.1)


async def test_pages_filled_before_a_getattr_saw_the_change_are_dropped(
    autojump_clock: Clock,
) -> None:
    async with mounted(tree(), actimeo=0) as vfs:
        await vfs.lookup("f")
        assert await vfs.content(11) == b"one"
        write(vfs, b"two")
        await vfs.fs.getattr(11)
        opened = await vfs.fs.open(11)
        assert (opened.keep_cache, opened.attributes_changed) == (False, False)
        await vfs.fs.release(opened.fh)


async def test_a_read_by_somebody_else_changes_nothing(autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        await vfs.content(11)
        kept = dict(vfs.cache.kept)
        node = vfs.names.tree["f"]
        node.attr = node.attr._replace(access=node.attr.access + 10**7)
        opened = await vfs.fs.open(11)
        assert opened.keep_cache
        await vfs.fs.release(opened.fh)
        assert (vfs.cache.kept, vfs.cache.acquired) == (kept, [])  # it is stored already


async def test_handles_of_one_file_share_one_content(autojump_clock: Clock) -> None:
    large = bytes(SMALL + 1)
    async with mounted({"f": Node(file_attr(11, len(large)), large)}) as vfs:
        await vfs.lookup("f")
        first, second = await vfs.fs.open(11), await vfs.fs.open(11)
        assert bytes(await vfs.fs.read(first.fh, 0, 3)) == large[:3]
        assert bytes(await vfs.fs.read(second.fh, 0, 3)) == large[:3]
        assert vfs.names.count("read") + vfs.names.count("fetch") <= 2  # one of each open at most
        assert len(vfs.cache.acquired) == 1
        await vfs.fs.release(first.fh)
        assert vfs.cache.closed == 0
        await vfs.fs.release(second.fh)
        assert vfs.cache.closed == 1


async def test_handles_of_a_small_file_share_what_came_with_its_open(autojump_clock: Clock) -> None:
    """Also one that was opened without bytes. No cache object is opened, and reads are counted."""
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        first, second = await vfs.fs.open(11), await vfs.fs.open(11)
        assert vfs.names.count("open") == 2
        await vfs.fs.release(first.fh)
        assert bytes(await vfs.fs.read(second.fh, 1, 10)) == b"ne"
        assert (vfs.names.count("read"), vfs.cache.acquired) == (0, [])
        assert vfs.cache.kept == {"f": (vfs.names.tree["f"].attr, b"one")}
        assert (vfs.stats.application.reads, vfs.stats.application.bytes) == (1, 2)
        await vfs.fs.release(second.fh)
        assert vfs.contents._slots == {}
        assert vfs.cache.used == ["f", "f"]


@pytest.mark.parametrize("how", ["open", "getattr", "lookup", "listing"])
async def test_a_change_retires_what_was_read_before(how: str, autojump_clock: Clock) -> None:
    """Whoever hears of it first; the handle that is open goes on by itself, to its own file."""
    async with mounted(tree(), actimeo=0) as vfs:
        await vfs.lookup("f")
        old = await vfs.fs.open(11)
        assert bytes(await vfs.fs.read(old.fh, 0, 3)) == b"one"
        write(vfs, b"two!")
        if how == "getattr":
            await vfs.fs.getattr(11)
        elif how == "lookup":
            await vfs.lookup("f")
        elif how == "listing":
            fh = await vfs.fs.opendir(1)
            for entry, position in await vfs.fs.readdir(fh, 0):
                await vfs.fs.bind_entry(fh, entry, position)
            await vfs.fs.releasedir(fh)
        else:
            await vfs.fs.release((await vfs.fs.open(11)).fh)
        before = vfs.names.count("read")
        assert bytes(await vfs.fs.read(old.fh, 0, 3)) == b"one"  # its own, from the server
        assert vfs.names.count("read") == before + 1
        assert await vfs.content(11) == b"two!"
        await vfs.fs.release(old.fh)


async def test_a_file_just_written_is_shared_with_nobody_and_cached_nowhere(
    autojump_clock: Clock,
) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        write(vfs, b"now", age=0.01)
        first, second = await vfs.fs.open(11), await vfs.fs.open(11)
        assert not first.keep_cache
        assert not second.keep_cache
        vfs.names.tree["f"].content = b"NOW"  # in the same tick: no time tells
        assert bytes(await vfs.fs.read(first.fh, 0, 3)) == b"NOW"
        vfs.names.tree["f"].content = b"now"
        assert bytes(await vfs.fs.read(second.fh, 0, 3)) == b"now"
        assert (vfs.cache.kept, vfs.cache.acquired) == ({}, [])
        await vfs.fs.release(first.fh)
        await vfs.fs.release(second.fh)
        await trio.sleep(1)
        vfs.clock[0] = NOW + 1
        opened = await vfs.fs.open(11)
        assert not opened.keep_cache  # what was read in that tick proves nothing
        assert vfs.cache.kept == {"f": (vfs.names.tree["f"].attr, b"now")}
        await vfs.fs.release(opened.fh)


async def test_times_that_last_are_settled_whatever_the_servers_clock(
    autojump_clock: Clock,
) -> None:
    async with mounted(tree()) as vfs:
        vfs.clock[0] = NOW - 3603  # written 3 s from now, by a clock that runs behind
        await vfs.lookup("f")
        await vfs.content(11)
        assert vfs.cache.kept == {}
        await trio.sleep(0.1)
        await vfs.content(11)
        assert list(vfs.cache.kept) == ["f"]


async def test_times_that_came_a_moment_ago_are_not_old_whatever_they_claim(
    autojump_clock: Clock,
) -> None:
    """The server's clock was set back while we were mounted."""
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        await trio.sleep(10)
        write(vfs, b"now", age=1800.0)
        await vfs.content(11)
        assert vfs.cache.kept == {}
        vfs.names.tree["f"].content = b"NOW"  # in the same tick: no time tells
        await trio.sleep(1)
        assert await vfs.content(11) == b"NOW"
        assert list(vfs.cache.kept) == ["f"]


async def test_refused_opens(autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        await vfs.lookup("d")
        with pytest.raises(IsADirectory):
            await vfs.fs.open(10)
        with pytest.raises(Stale):
            await vfs.fs.open(99)
        del vfs.names.tree["f"]
        with pytest.raises(Stale):
            await vfs.fs.open(11)
        with pytest.raises(Stale):
            await vfs.fs.read(1, 0, 10)
        await vfs.fs.release(1)  # twice is nothing


async def test_an_open_that_finds_another_file_gives_its_handle_back(
    autojump_clock: Clock,
) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        vfs.names.tree["f"] = Node(file_attr(12, 3), b"two")
        with pytest.raises(Stale):
            await vfs.fs.open(11)
        assert vfs.names.open_handles == []


@pytest.mark.parametrize("pause", ["open", "query", "read_link", "acquire"])
async def test_an_open_that_is_cancelled_leaves_nothing(pause: str, autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        holder = await vfs.fs.open(11)
        await trio.sleep(2)
        node = vfs.names.tree["f"]
        node.attr = file_attr(11, 1067, age=1)._replace(creation=file_attr(11, age=1).write)

        async def stop(what: str, _path: str) -> None:
            if what == pause:
                await trio.sleep(100)

        vfs.names.before = stop
        vfs.cache.pause = 100.0 if pause == "acquire" else 0.0
        with trio.move_on_after(1) as scope:
            await vfs.fs.open(11)
        assert scope.cancelled_caught
        assert len(vfs.names.open_handles) == 1
        vfs.names.before = lambda what, path: None
        await vfs.fs.release(holder.fh)


async def test_a_release_that_is_cancelled_still_releases(autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        opened = await vfs.fs.open(11)
        with trio.CancelScope() as scope:
            scope.cancel()
            await vfs.fs.release(opened.fh)


async def test_what_the_kernel_left_open_is_let_go_at_the_end(autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        await vfs.fs.open(11)
        await vfs.fs.opendir(1)
        await vfs.fs.aclose()
        assert vfs.stats.vfs.handles == 0
        vfs.names.open_handles.clear()  # those end with the session


async def test_a_small_file_read_as_it_was_written_is_not_kept(autojump_clock: Clock) -> None:
    """The answer took its time over a long link: by then the times are old, the bytes are not."""
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        write(vfs, b"now", age=0.01)
        fetch = vfs.names.fetch

        async def far(path: str, size: int) -> object:
            got = await fetch(path, size)
            await trio.sleep(0.3)
            vfs.clock[0] = NOW + 0.3
            return got

        vfs.names.fetch = far  # type: ignore[method-assign]
        opened = await vfs.fs.open(11)
        vfs.names.tree["f"].content = b"NOW"  # in the same tick
        assert bytes(await vfs.fs.read(opened.fh, 0, 3)) == b"NOW"
        assert vfs.cache.kept == {}
        await vfs.fs.release(opened.fh)
