"""Overlapping opens of one file: times are asked for while no handle of ours is open."""

from __future__ import annotations

import pytest
import trio

from netfsfuse.errors import NotFound
from netfsfuse.smb.openfiles import OpenFiles
from netfsfuse.smb.wire.header import Command
from tests.smb.server import Node, Server, attr_of, serving

CONTENT = bytes(range(100))


async def test_a_file_opened_once_is_opened_once() -> None:
    """Opens that do not overlap cost one CREATE and one CLOSE each."""
    server = Server({"f": Node(attr_of(7, 100), CONTENT)})
    async with serving(server) as session:
        files = OpenFiles(session)
        for _ in range(2):
            await (await files.open("f")).aclose()
        assert server.commands().count(Command.CREATE) == 2
        assert server.commands().count(Command.CLOSE) == 2
        assert not files._open
        assert not files._turns


async def test_an_open_of_an_open_file_leaves_no_older_handle() -> None:
    """Both share the handle that was made when none was open; the last one closes it."""
    server = Server({"f": Node(attr_of(7, 100), CONTENT)})
    async with serving(server) as session:
        files = OpenFiles(session)
        first = await files.open("f")
        server.nodes["f"].attr = attr_of(7, 100, stamp=5000)
        second = await files.open("f")
        assert len(server.handles) == 1
        assert first.attr == second.attr == server.nodes["f"].attr
        commands = server.commands()
        assert commands[-1] is Command.CREATE
        assert commands.count(Command.CLOSE) == commands.count(Command.CREATE) - 1
        await first.aclose()
        assert await second.query() == second.attr
        await second.aclose()
        assert not server.handles
        assert not files._open


async def test_many_opens_at_once_share_few_looks() -> None:
    """Whoever waits for its turn shares the outcome of an open that began after it asked."""
    server = Server({"f": Node(attr_of(7, 100), CONTENT)})
    async with serving(server) as session:
        files = OpenFiles(session)
        opened = []

        async def one() -> None:
            opened.append(await files.open("f"))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(one)
        assert len(opened) == 50
        assert server.commands().count(Command.CREATE) <= 4
        for file in opened:
            await file.aclose()
        assert not server.handles
        assert not files._open


async def test_a_refused_open_leaves_nothing() -> None:
    """Nor does it keep the name's turn."""
    server = Server({})
    async with serving(server) as session:
        files = OpenFiles(session)
        with pytest.raises(NotFound):
            await files.open("f")
        assert not files._open
        assert not files._turns
