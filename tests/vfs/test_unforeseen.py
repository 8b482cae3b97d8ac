"""Background tasks that fail in ways nobody foresaw: the mount lives, and who waits is told."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.inodes.directory import CALM
from tests.vfs.fakes import Watch, mounted
from tests.vfs.test_ahead import grep, settle, tree, walk
from tests.vfs.test_feeds import begun, end, read
from tests.vfs.test_feeds import tree as feed_tree

Clock = trio.testing.MockClock
UNFORESEEN = OSError(24, "Too many open files")


@pytest.mark.parametrize("what", ["fetch", "list"])
async def test_what_is_fetched_ahead_is_asked_for_by_its_reader(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with mounted(tree(), watching=True) as vfs:
        await walk(vfs, 1)
        await trio.sleep(CALM + 1)
        plain = vfs.names.before
        readers = trio.lowlevel.current_task()

        def before(asked: str, path: str) -> None:
            if asked == what and trio.lowlevel.current_task() is not readers:
                raise UNFORESEEN

        vfs.names.before = before
        assert await grep(vfs) == 90
        vfs.names.before = plain
        assert vfs.stats.tasks.failed > 0
        vfs.failures = vfs.stats.tasks.failed


async def test_a_lookup_in_the_cache_that_fails_wakes_who_waits(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mounted(tree(), watching=True) as vfs:
        readers = trio.lowlevel.current_task()
        load_whole = vfs.cache.load_whole

        async def failing(files):
            if trio.lowlevel.current_task() is not readers:
                await trio.sleep(0.1)  # the reader waits for it by then
                raise UNFORESEEN
            return await load_whole(files)

        monkeypatch.setattr(vfs.cache, "load_whole", failing)
        with trio.fail_after(60):
            assert await grep(vfs) == 90
        assert vfs.stats.tasks.failed > 0
        vfs.failures = vfs.stats.tasks.failed


async def test_a_watch_that_fails_is_trusted_no_more(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mounted(tree(), watching=True) as vfs:
        directory = await vfs.lookup("d0")
        await walk(vfs, directory.number)
        assert directory.watched is not None
        watched = directory.watched

        async def failing(self: Watch) -> list[Change]:
            raise UNFORESEEN

        monkeypatch.setattr(Watch, "changes", failing)
        vfs.names.tell("d0", Change("f000", ChangeKind.MODIFIED))
        await settle()
        assert not watched.lives
        assert watched.all_changed(trio.current_time())
        assert vfs.stats.vfs.watches == len(vfs.names.watches)
        assert vfs.stats.tasks.failed == 1
        vfs.failures = 1


async def test_readers_along_are_told_of_a_loss(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mounted(feed_tree(), watching=True) as vfs:
        number, last = await begun(vfs)
        plain = Watch.changes

        async def failing(self: Watch) -> list[Change]:
            await plain(self)
            monkeypatch.setattr(Watch, "changes", plain)
            raise UNFORESEEN

        monkeypatch.setattr(Watch, "changes", failing)
        vfs.names.tell("d", Change("a", ChangeKind.CREATED))  # they wait in the plain one yet
        await settle()
        vfs.names.tell("d", Change("b", ChangeKind.CREATED))
        await trio.sleep(2)
        _, told = await read(vfs, number, last)
        assert ("lost", "", "") in told
        await end(vfs)
