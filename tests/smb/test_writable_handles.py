"""Handles of files that are written, on a server in memory: which are opened, shared, closed."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
import trio
import trio.testing

from netfsfuse.errors import AccessDenied, DiskFull, ServerError
from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.smb.wire.create import FILE_READ_DATA
from netfsfuse.smb.wire.header import Command
from tests.smb import replies
from tests.smb.peer import Asked
from tests.smb.server import (
    FILE_CLOSED,
    Node,
    Server,
    attr_of,
    serving,
    settled,
)
from tests.smb.test_file import Reader
from tests.smb.test_writable import Holding, Writer

READ, HANDLE, WRITE = 1, 2, 4
ALL = READ | HANDLE | WRITE
CONTENT = bytes(range(256)) * 256
ATTR = attr_of(7, len(CONTENT))
DENIED, DISK_FULL = 0xC0000022, 0xC000007F


def server_of(state: int = ALL, **more: object) -> Server:
    """One file, whose WRITEs are answered as if all was taken."""
    server = Server({"f": Node(ATTR, CONTENT)}, lease_state=state, **more)  # type: ignore[arg-type]
    server.hook = taking()
    return server


def refuse(asked: Asked, status: int) -> bytes:
    return replies.reply(asked.command, asked.message_id, replies.error_body(), status=status)


def taking(
    before: Callable[[Asked], bytes | bool | None] = lambda asked: None,
) -> Callable[[Asked], bytes | bool | None]:
    """A hook that answers WRITEs, unless ``before`` answers them."""

    def hook(asked: Asked) -> bytes | bool | None:
        done = before(asked)
        if done is None and asked.command == Command.WRITE:
            (length,) = struct.unpack_from("<I", asked.body, 4)
            body = struct.pack("<HHIIHH", 17, 0, length, 0, 0, 0)
            return replies.reply(9, asked.message_id, body, credits=asked.charge)
        return done

    return hook


async def test_a_file_that_may_not_be_read_is_opened_for_writing_alone() -> None:
    """Readers have handles of their own, if they may at all, and the writer's stays as it is."""

    def deny_reading(asked: Asked) -> bytes | None:
        if asked.command == Command.CREATE and b"\\." not in asked.raw.replace(b"\0", b""):
            (access,) = struct.unpack_from("<I", asked.body, 24)
            if access & FILE_READ_DATA:
                return refuse(asked, DENIED)
        return None

    server = server_of()
    server.hook = taking(deny_reading)
    async with serving(server) as session:
        namespace = SmbNamespace(session, lease_trust=60)
        file = await namespace.open_writing("f", holder=Holding())
        assert not file.may_read
        assert file.is_leased
        await Writer(file).write(0, b"new")
        with pytest.raises(AccessDenied):
            await namespace.open("f")
        server.hook = taking()
        reader, _ = await namespace.open("f")
        assert reader.handle is not file.handle
        assert len(server.handles) == 2
        await Writer(file).write(0, b"new")
        await reader.aclose()
        await file.finish()
        assert not namespace._files._open


@pytest.mark.parametrize("parked", [True, False])
async def test_a_parked_handle_gives_way_to_a_writer(parked: bool) -> None:
    server = server_of()
    async with serving(server, closetimeo=60) as session:
        namespace = SmbNamespace(session, lease_trust=60)
        if parked:
            reader, _ = await namespace.open("f")
            await reader.aclose()
            assert len(server.handles) == 1
        file = await namespace.open_writing("f", known=ATTR, holder=Holding())
        assert len(server.handles) == 1
        assert file.is_leased
        reader, _ = await namespace.open("f", on_break=lambda: None)
        assert len(server.handles) == 1
        await reader.aclose()
        await file.aclose()
        await settled(session)
        assert not server.handles
        assert not namespace._files._hooks
        assert not namespace._files._parked
        assert len(session.leases) == 0


async def test_what_the_server_has_closed_is_opened_and_written_again() -> None:
    """It did nothing where it did not know the handle."""
    refused: list[int] = []

    def closed_once(asked: Asked) -> bytes | None:
        if asked.command == Command.WRITE and not refused:
            refused.append(asked.message_id)
            server.handles.clear()
            return refuse(asked, FILE_CLOSED)
        return None

    server = server_of()
    server.hook = taking(closed_once)
    async with serving(server) as session:
        namespace = SmbNamespace(session, lease_trust=60)
        file = await namespace.open_writing("f", holder=Holding())
        await Writer(file).write(0, b"new")
        assert server.commands().count(Command.WRITE) == 2
        assert server.commands().count(Command.CREATE) == 2
        assert file.is_leased
        await file.finish()


async def test_refusals_of_a_write() -> None:
    server = server_of()
    async with serving(server) as session:
        file = await SmbNamespace(session).open_writing("f", holder=Holding())
        writer = Writer(file)
        server.hook = lambda asked: (
            refuse(asked, DISK_FULL) if asked.command == Command.WRITE else None
        )
        with pytest.raises(DiskFull):
            await writer.write(0, b"new")
        nothing = struct.pack("<HHIIHH", 17, 0, 0, 0, 0, 0)
        server.hook = lambda asked: (
            replies.reply(9, asked.message_id, nothing) if asked.command == Command.WRITE else None
        )
        with pytest.raises(ServerError):
            await writer.write(0, b"new")
        for buffer in writer.buffers:
            assert buffer.references == 1
        assert session._stats.bytes_written == 0
        await file.finish()


async def test_a_file_is_made_when_parked_handles_have_given_way() -> None:
    server = server_of(max_handles=1)
    async with serving(server, closetimeo=60) as session:
        namespace = SmbNamespace(session, lease_trust=60)
        reader, _ = await namespace.open("f")
        await reader.aclose()
        file, made = await namespace.create("new", exclusive=True, holder=Holding())
        assert made
        await file.finish()


async def test_a_write_asks_no_more_than_credits_allow() -> None:
    server = server_of(credits=7)
    async with serving(server) as session:
        file = await SmbNamespace(session).open_writing("f", holder=Holding())
        await Writer(file).write(0, bytes(1 << 20))
        writes = [each for each in server.asked if each.command == Command.WRITE]
        assert max(each.charge for each in writes) == 3
        starts = [struct.unpack_from("<Q", each.body, 8)[0] for each in writes]
        assert starts == list(range(0, 1 << 20, 3 * 65536))
        await file.finish()


async def test_readers_keep_the_writers_handle_where_no_other_is_to_be_had() -> None:
    def denied(asked: Asked) -> bytes | None:
        return refuse(asked, DENIED) if asked.command == Command.CREATE else None

    server = server_of()
    async with serving(server) as session:
        namespace = SmbNamespace(session, lease_trust=60)
        file = await namespace.open_writing("f", holder=Holding())
        shared = file.share()
        server.hook = taking(denied)
        assert await file.finish() is None
        server.hook = taking()
        assert shared.handle.lease is not None
        assert shared.handle.lease.holder is None
        assert await Reader(shared).read(0, 10) == CONTENT[:10]
        await shared.aclose()
        await settled(session)
        assert not server.handles


class Slow(Holding):
    """Gives back when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.done = trio.Event()

    async def give_back(self, *, keeps_reads: bool) -> None:
        await super().give_back(keeps_reads=keeps_reads)
        await self.done.wait()


def acknowledged(server: Server) -> list[int]:
    """The states with which breaks were answered."""
    return [
        struct.unpack_from("<HHI16sI", each.body)[4]
        for each in server.asked
        if each.command == Command.OPLOCK_BREAK
    ]


async def test_breaks_while_one_is_answered_are_answered_with_it() -> None:
    """What the server took meanwhile is given back, too; it is answered once, when all is."""
    server = server_of()
    async with serving(server) as session:
        namespace, holder = SmbNamespace(session, lease_trust=60), Slow()
        file = await namespace.open_writing("f", holder=holder)
        heard: list[None] = []
        reader, _ = await namespace.open("f", on_break=lambda: heard.append(None))
        (key,) = {opened.lease for opened in server.handles.values()}
        for state in (READ | HANDLE, READ | HANDLE, 0):
            await server.break_lease(key, state)
            await settled(session)
            assert not file.is_leased
            assert holder.asked == [True]
            assert acknowledged(server) == []
        assert len(heard) == 3
        holder.done.set()
        while not acknowledged(server):
            await settled(session)
        assert holder.asked == [True, False]
        assert acknowledged(server) == [0]
        # A later one finds nothing to take, and is answered all the same.
        await server.break_lease(key, 0)
        while len(acknowledged(server)) < 2:
            await settled(session)
        await reader.aclose()
        await file.finish()


async def test_an_open_during_a_break_is_not_granted_what_is_being_taken() -> None:
    """The server still states what was held before it was answered."""
    server = server_of()
    server.nodes["g"] = Node(ATTR, CONTENT)
    async with serving(server) as session:
        namespace, holder = SmbNamespace(session, lease_trust=60), Slow()
        file = await namespace.open_writing("f", known=ATTR, holder=holder)
        (key,) = {opened.lease for opened in server.handles.values()}
        await server.break_lease(key, READ | HANDLE)
        await settled(session)
        other = await namespace.open_writing("g", known=ATTR, holder=Holding())
        assert {opened.lease for opened in server.handles.values()} == {key}
        assert not other.is_leased
        assert not file.is_leased
        holder.done.set()
        await other.finish()
        await file.finish()


async def test_a_writer_that_is_done_owes_no_answer() -> None:
    """Its CLOSE is one."""
    server = server_of()
    async with serving(server) as session:
        holder = Slow()
        file = await SmbNamespace(session, lease_trust=60).open_writing("f", holder=holder)
        (key,) = {opened.lease for opened in server.handles.values()}
        await server.break_lease(key, 0)
        await settled(session)
        await file.finish()
        holder.done.set()
        await trio.testing.wait_all_tasks_blocked()
        await settled(session)
        assert acknowledged(server) == []
        assert len(session.leases) == 0
