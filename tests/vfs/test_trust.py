"""cache=strict, loose and none: who is asked at an open, and what is kept."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.vfs.fakes import Node, Vfs, file_attr, mounted

Clock = trio.testing.MockClock


def tree() -> dict[str, Node]:
    return {"f": Node(file_attr(11, 3), b"one")}


async def reopen(vfs: Vfs) -> int:
    """Open and close it; how many questions that was."""
    before = len(vfs.names.asked)
    opened = await vfs.fs.open(11)
    await vfs.fs.release(opened.fh)
    return len(vfs.names.asked) - before


async def test_strict_asks_at_every_open(autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        await vfs.lookup("f")
        assert [await reopen(vfs) for _ in range(3)] == [1, 1, 1]


async def test_loose_asks_as_often_as_the_lifetime_says(autojump_clock: Clock) -> None:
    async with mounted(tree(), mode="loose", actimeo=5.0) as vfs:
        await vfs.lookup("f")
        assert [await reopen(vfs) for _ in range(3)] == [1, 0, 0]
        await trio.sleep(5.1)
        assert [await reopen(vfs) for _ in range(3)] == [1, 0, 0]


async def test_none_keeps_nothing(autojump_clock: Clock) -> None:
    """Every read is the server's, under one handle as well; nothing is stored."""
    async with mounted(tree(), mode="none") as vfs:
        await vfs.lookup("f")
        opened = await vfs.fs.open(11)
        assert not opened.keep_cache
        for content in (b"one", b"two", b"six"):
            vfs.names.tree["f"].content = content
            assert bytes(await vfs.fs.read(opened.fh, 0, 3)) == content
        await vfs.fs.release(opened.fh)
        assert vfs.names.count("read") >= 3
        assert vfs.cache.kept == {}
        assert vfs.cache.acquired == []
        assert await reopen(vfs) == 1


@pytest.mark.parametrize("mode", ["strict", "loose", "none"])
async def test_a_change_is_seen_after_the_lifetime(mode: str, autojump_clock: Clock) -> None:
    async with mounted(tree(), mode=mode, actimeo=2.0) as vfs:
        await vfs.lookup("f")
        assert await vfs.content(11) == b"one"
        vfs.names.tree["f"] = Node(file_attr(11, 5, age=60), b"newer")
        await trio.sleep(2.1)
        assert await vfs.content(11) == b"newer"
