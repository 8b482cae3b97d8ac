"""Files that are made, though the answer may be lost."""

from __future__ import annotations

import pytest
import trio

from netfsfuse.errors import (
    AlreadyExists,
    BeingRemoved,
    Disconnected,
    InvalidArgument,
    NameTooLong,
    NotFound,
)
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.smb.share import creation
from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.smb.wire.header import Command
from tests.smb import replies
from tests.smb.peer import Asked
from tests.smb.server import NEWBORN, Node, Server, attr_of, serving
from tests.smb.test_real_samba import session_to
from tests.smb.test_writable import Holding, namespace_of

DELETE_PENDING = 0xC0000056


def losing(server: Server, times: int, *, done: bool) -> None:
    """The answers to the first CREATEs are lost, which the server has ``done`` or not."""

    def hook(asked: Asked) -> bool | None:
        nonlocal times
        if asked.command != Command.CREATE or not times:
            return None
        times -= 1
        if done:
            server.nodes.setdefault("f", Node(server.newborn))
        return False

    server.hook = hook


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("done", [False, True])
async def test_our_own_success_is_no_collision(exclusive: bool, done: bool) -> None:
    server = Server({})
    losing(server, 1, done=done)
    async with serving(server) as session:
        namespace = SmbNamespace(session)
        file, made = await namespace.create("f", exclusive=exclusive, holder=Holding())
        assert made
        assert file.attr == server.newborn
        await file.finish()
        assert session.number == 2


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("there", [attr_of(7), NEWBORN._replace(size=1)])
async def test_what_others_have_made_is_theirs(exclusive: bool, there: object) -> None:
    """It is older, or not empty."""
    server = Server({"f": Node(there)})  # type: ignore[arg-type]
    losing(server, 1, done=False)
    async with serving(server) as session:
        namespace = SmbNamespace(session)
        if exclusive:
            with pytest.raises(AlreadyExists):
                await namespace.create("f", exclusive=True, holder=Holding())
        else:
            file, made = await namespace.create("f", exclusive=False, holder=Holding())
            assert not made
            await file.finish()


async def test_it_is_tried_twice_and_no_more() -> None:
    server = Server({})
    losing(server, 3, done=False)
    async with serving(server) as session:
        with pytest.raises(Disconnected):
            await SmbNamespace(session).create("f", exclusive=True, holder=Holding())
        assert server.commands().count(Command.CREATE) == 2


@pytest.mark.parametrize("times", [3, 1000])
async def test_a_name_that_is_being_removed_is_waited_for(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the last client has closed the file, and not for ever."""
    monkeypatch.setattr(creation, "REMOVED_SECONDS", 0.3)
    server = Server({})
    asked = 0

    def hook(asking: Asked) -> bytes | None:
        nonlocal asked
        if asking.command != Command.CREATE:
            return None
        asked += 1
        if asked > times:
            return None
        body = replies.error_body()
        return replies.reply(asking.command, asking.message_id, body, status=DELETE_PENDING)

    server.hook = hook
    async with serving(server) as session:
        begin = trio.current_time()
        if times == 3:
            file, made = await SmbNamespace(session).create("f", exclusive=True, holder=Holding())
            assert made
            await file.finish()
        else:
            with pytest.raises(BeingRemoved):
                await SmbNamespace(session).create("f", exclusive=True, holder=Holding())
            assert trio.current_time() - begin >= 0.2
            assert asked < 20


async def test_refusals(samba: PrivateSamba) -> None:
    (samba.path / "there").write_bytes(b"1")
    async with session_to(samba) as session:
        namespace = namespace_of(session)
        with pytest.raises(AlreadyExists):
            await namespace.create("there", exclusive=True, holder=Holding())
        file, made = await namespace.create("there", exclusive=False, holder=Holding())
        assert not made
        assert file.attr.size == 1
        await file.finish()
        with pytest.raises(NotFound):
            await namespace.create("none/below", exclusive=False, holder=Holding())
        with pytest.raises(NotFound):
            await namespace.open_writing("none", holder=Holding())
        with pytest.raises(NameTooLong):
            await namespace.create("x" * 256, exclusive=False, holder=Holding())
        with pytest.raises(NameTooLong):  # for the server's disk
            await namespace.create("\u00e4" * 200, exclusive=False, holder=Holding())
        assert len(session.leases) == 0
    async with serving(refusing(0xC0000033)) as session:  # OBJECT_NAME_INVALID
        with pytest.raises(InvalidArgument):
            await SmbNamespace(session).create("f", exclusive=True, holder=Holding())


def refusing(status: int) -> Server:
    """A server that refuses every CREATE with ``status``."""
    server = Server({})
    server.hook = lambda asked: (
        replies.reply(asked.command, asked.message_id, replies.error_body(), status=status)
        if asked.command == Command.CREATE
        else None
    )
    return server
