"""Answers that come late: what was learned since then stays, and so do the readers who saw it.

A kernel that is told an old size cuts off readers of the new content: a copy would end short.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from netfsfuse.types import FileAttr
from tests.vfs.fakes import Node, Vfs, file_attr, mounted

Clock = trio.testing.MockClock
GROWN = b"onetwo" * 20_000
"""More than comes with an open, so that there is a content to be retired."""

OLD, NEW = Node(file_attr(11, 3), b"one"), Node(file_attr(11, len(GROWN), age=1), GROWN)


@asynccontextmanager
async def grown_and_opened(vfs: Vfs) -> AsyncIterator[None]:
    """The file grows and is opened; at the end that reader still reads the new content."""
    vfs.names.tree["f"] = NEW
    opened = await vfs.fs.open(11)
    assert opened.attributes_changed
    assert bytes(await vfs.fs.read(opened.fh, 0, 6)) == GROWN[:6]
    content = vfs.contents._slots[11].content
    assert content is not None
    yield
    assert vfs.fs.inodes.get(11).attr == NEW.attr
    assert not content.netfs.retired
    assert bytes(await vfs.fs.read(opened.fh, 0, 6)) == GROWN[:6]
    await vfs.fs.release(opened.fh)


@pytest.mark.parametrize("how", ["getattr", "lookup"])
async def test_a_look_that_was_begun_before_the_open(how: str, autojump_clock: Clock) -> None:
    async with mounted({"f": OLD}) as vfs:
        await vfs.lookup("f")
        await trio.sleep(2)
        stat = vfs.names.stat

        async def slow(path: str) -> FileAttr:
            attr = await stat(path)
            await trio.sleep(1)
            return attr

        vfs.names.stat = slow  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            if how == "getattr":
                nursery.start_soon(vfs.fs.getattr, 11)
            else:
                nursery.start_soon(vfs.lookup, "f")
            await trio.sleep(0.5)
            async with grown_and_opened(vfs):
                await trio.sleep(1)


async def test_an_entry_that_was_listed_before_the_open(autojump_clock: Clock) -> None:
    """``find`` may take its time between two entries; their attributes are the listing's."""
    async with mounted({"f": OLD}) as vfs:
        await vfs.lookup("f")
        fh = await vfs.fs.opendir(1)
        ((entry, position),) = await vfs.fs.readdir(fh, 0)
        await trio.sleep(2)
        async with grown_and_opened(vfs):
            await trio.sleep(2)
            assert (await vfs.fs.bind_entry(fh, entry, position)).number == 11
        await trio.sleep(2)
        assert (await vfs.fs.readdir(fh, 0))[0][0].attr == NEW.attr  # listed anew
        await vfs.fs.releasedir(fh)


async def test_an_entry_of_a_file_that_was_made_anew_since(autojump_clock: Clock) -> None:
    """The old file's entry does not bring its generation back."""
    async with mounted({"f": OLD}, actimeo=0) as vfs:
        await vfs.lookup("f")
        opened = await vfs.fs.open(11)
        fh = await vfs.fs.opendir(1)
        ((entry, position),) = await vfs.fs.readdir(fh, 0)
        await trio.sleep(1)
        anew = file_attr(11, 6, born=10, age=5)
        vfs.names.tree["f"] = Node(anew, b"onetwo")
        assert (await vfs.lookup("f")).generation == anew.creation
        assert (await vfs.fs.bind_entry(fh, entry, position)).generation == anew.creation
        await vfs.fs.release(opened.fh)
        await vfs.fs.releasedir(fh)
