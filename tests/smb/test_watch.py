"""Watches: a CHANGE_NOTIFY that stands, answered when something happens."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.errors import Disconnected, NetfsError, NotSupported, ProtocolError
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.watch import SmbWatch
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.notify import parse_change_notify
from netfsfuse.types import Change, ChangeKind
from tests.smb import replies
from tests.smb.peer import Asked
from tests.smb.server import NOT_FOUND, Node, Server, attr_of, serving

NOTIFY_ENUM_DIR = 0x0000010C
NOTIFY_CLEANUP = 0x0000010B
NOT_SUPPORTED = 0xC00000BB


def directory() -> Server:
    return Server({"d": Node(attr_of(5, directory=True), entries=[])})


async def stands(server: Server, count: int = 1) -> None:
    while len(server.standing) < count:
        await trio.lowlevel.checkpoint()


def begun(session: Session, *, tree: bool = False) -> SmbWatch:
    watch = SmbWatch.begin(session, "d", tree=tree)
    assert watch is not None
    return watch


async def test_what_the_server_tells() -> None:
    """One after the other, and no answer is due in between, however long that takes."""
    server = directory()
    async with serving(server) as session:
        watch = begun(session)
        await watch.begun()
        await stands(server)
        await server.notify((1, "new"), (3, "old"), (4, "a"), (5, "b"), (2, "gone"), (9, "odd"))
        assert await watch.changes() == [
            Change("new", ChangeKind.CREATED),
            Change("old", ChangeKind.MODIFIED),
            Change("a", ChangeKind.RENAMED_FROM),
            Change("b", ChangeKind.RENAMED_TO),
            Change("gone", ChangeKind.REMOVED),
            Change("odd", ChangeKind.MODIFIED),
        ]
        await stands(server)
        await server.notify(status=NOTIFY_ENUM_DIR)
        assert await watch.changes() == []
        watch.close()


async def test_names_of_a_tree_are_local_paths() -> None:
    server = directory()
    async with serving(server) as session:
        watch = begun(session, tree=True)
        await stands(server)
        await server.notify((1, "sub\\deep\\a\uf022b"))
        assert await watch.changes() == [Change("sub/deep/a:b", ChangeKind.CREATED)]
        asked = next(each for each in server.asked if each.command == Command.CHANGE_NOTIFY)
        assert asked.body[2] == 1  # SMB2_WATCH_TREE
        watch.close()


async def test_nothing_waits_for_credits_that_stand() -> None:
    """With the interim reply a server gives the credit back; one that keeps it can be asked for so
    many only, and look-ups and reads go on beside them."""
    server = directory()

    def keep(asked: Asked) -> bytes | None:
        if asked.command != Command.CHANGE_NOTIFY or not keeping:
            return None
        return replies.interim(asked.command, asked.message_id, credits=0)

    keeping = False
    async with serving(server) as session:
        watches = [begun(session) for _ in range(10)]
        for watch in watches:
            await watch.begun()
        assert session.live is not None
        assert session.live.largest_charge >= 50
        keeping, server.hook = True, keep
        while len(watches) < 100 and (another := SmbWatch.begin(session, "d")) is not None:
            await another.begun()
            watches.append(another)
        assert len(watches) < 90
        assert session.live.largest_charge >= 8
        for watch in watches:
            watch.close()


@pytest.mark.parametrize("status", [NOTIFY_CLEANUP, NOT_SUPPORTED])
async def test_the_end_of_a_watch(status: int) -> None:
    server = directory()
    async with serving(server) as session:
        watch = begun(session)
        await stands(server)
        await server.notify(status=status)
        with pytest.raises(NotSupported if status == NOT_SUPPORTED else NetfsError):
            await watch.changes()
        watch.close()


async def test_a_directory_that_is_not_there() -> None:
    server = directory()

    def refuse(asked: Asked) -> bytes | None:
        if asked.command in (Command.CREATE, Command.CHANGE_NOTIFY):
            body = replies.error_body()
            return replies.reply(asked.command, asked.message_id, body, status=NOT_FOUND)
        return None

    async with serving(server) as session:
        server.hook = refuse
        watch = begun(session)
        with pytest.raises(NetfsError):
            await watch.changes()
        watch.close()


async def test_a_lost_connection_ends_it() -> None:
    server = directory()
    async with serving(server) as session:
        watch = begun(session)
        await stands(server)
        server.drop()
        with pytest.raises(Disconnected):
            await watch.changes()
        watch.close()
        assert SmbWatch.begin(session, "d") is None  # until somebody has connected again


@pytest.mark.parametrize("when", ["at once", "begun"])
async def test_closed_before_anything_happens(when: str) -> None:
    """Its handle is closed on the server, whether the answer has been seen or not."""
    server = directory()
    async with serving(server) as session:
        watch = begun(session)
        if when == "begun":
            await watch.begun()
        watch.close()
        watch.close()
        await stands(server)
        while server.handles:
            await trio.lowlevel.checkpoint()


@given(st.lists(st.tuples(st.integers(0, 20), st.text(max_size=40)), min_size=1))
def test_any_changes(changes: list[tuple[int, str]]) -> None:
    message = replies.reply(15, 1, replies.notify_body(changes))
    assert parse_change_notify(memoryview(message)) == changes


@given(st.binary(max_size=200))
def test_any_message(body: bytes) -> None:
    """Changes or a ProtocolError, in time."""
    with suppress(ProtocolError):
        parse_change_notify(memoryview(replies.reply(15, 1, body)))
