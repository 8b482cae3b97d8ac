"""Further connections for reads: opened when worth it, and never noticed but by their speed."""

from __future__ import annotations

import struct
from collections import Counter

import pytest
import trio
import trio.testing

from netfsfuse.errors import MountError
from netfsfuse.smb.connection.credits import CREDIT_BYTES
from netfsfuse.smb.session import channels, saturation
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share import siblings
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.smb.wire.header import Command
from netfsfuse.tasks import ServiceNursery
from tests.smb.peer import Asked
from tests.smb.server import Node, Server, attr_of, serving
from tests.smb.test_file import Reader
from tests.smb.test_openfiles import Frozen

CONTENT = bytes(range(256)) * 64
PIECE = 512


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first reads are reason enough for everything."""
    monkeypatch.setattr(saturation, "BUSY", 0)
    monkeypatch.setattr(saturation, "SECONDS", 0.0)
    monkeypatch.setattr(siblings, "EXTRA_HANDLE_MIN_BYTES", 0)


def one_file(kind: type[Server] = Server) -> Server:
    return kind({"f": Node(attr_of(7, len(CONTENT)), CONTENT)})


def reads(server: Server) -> Counter[int]:
    """READs by the number of the connection on which they came."""
    return Counter(
        struct.unpack_from("<Q", asked.body, 24)[0] // 1000
        for asked in server.asked
        if asked.command == Command.READ
    )


async def read_all(file: SmbFile, depth: int = 8) -> bytes:
    """All of it, ``depth`` pieces at a time."""
    pieces = dict.fromkeys(range(0, len(CONTENT), PIECE), b"")
    todo = iter(list(pieces))

    async def work() -> None:
        reader = Reader(file)
        for start in todo:
            pieces[start] = await reader.read(start, PIECE)

    async with trio.open_nursery() as nursery:
        for _ in range(depth):
            nursery.start_soon(work)
    return b"".join(pieces.values())


async def spread(server: Server, file: SmbFile, connections: int) -> None:
    """Read until reads have come on so many connections."""
    with trio.fail_after(30):
        while len(reads(server)) < connections:
            assert await read_all(file) == CONTENT


async def settled(session: Session, count: int) -> None:
    """Until so many connections are live."""
    with trio.fail_after(30):
        while session._stats.channels != count:
            await trio.sleep(0.01)


async def test_reads_are_spread_and_everything_else_is_not() -> None:
    server = one_file()
    async with serving(server, max_channels=3) as session:
        files = OpenFiles(session)
        file = await files.open("f")
        await spread(server, file, 3)
        assert session._stats.channels == server.dialled == 3
        assert session.read_capacity() > 2 * 60 * CREDIT_BYTES
        before = len(server.asked)
        assert await file.query() == file.attr
        assert len(server.asked) == before + 1
        assert Counter(opened.connection for opened in server.handles.values()) == {
            1: 1,
            2: 1,
            3: 1,
        }
        await file.aclose()
        assert server.handles == {}


async def test_one_that_fails_in_a_way_nobody_foresaw_is_tried_later() -> None:
    server = one_file()
    failures: list[None] = []
    async with serving(server, max_channels=2) as session:
        session.channels.nursery = ServiceNursery(
            session.channels.nursery,  # type: ignore[arg-type]
            lambda: failures.append(None),
        )
        files = OpenFiles(session)
        file = await files.open("f")
        server.refuse, server.refusals = ZeroDivisionError(), 1
        with trio.fail_after(30):
            while not failures:
                assert await read_all(file) == CONTENT
        assert session.channels._not_before > trio.current_time()
        session.channels._not_before = 0.0
        await spread(server, file, 2)
        await file.aclose()
    assert failures == [None]


async def test_by_default_there_is_one() -> None:
    server = one_file()
    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        for _ in range(3):
            assert await read_all(file) == CONTENT
        assert server.dialled == 1
        assert session.read_capacity() == 60 * CREDIT_BYTES
        await file.aclose()


async def test_a_channel_that_leads_to_another_file_is_not_used_for_it() -> None:
    server = one_file()
    async with serving(server, max_channels=2) as session:
        file = await SmbFile.open(session, "f")
        server.nodes["f"] = Node(attr_of(8, len(CONTENT)), bytes(len(CONTENT)))
        for _ in range(5):
            assert await read_all(file) == CONTENT
            await settled(session, 2)
        assert set(reads(server)) == {1}
        assert server.commands().count(Command.CREATE) == 2
        await file.aclose()


async def test_a_changed_file_is_not_the_same() -> None:
    server = one_file()
    async with serving(server, max_channels=2) as session:
        file = await SmbFile.open(session, "f")
        server.nodes["f"] = Node(attr_of(7, len(CONTENT), stamp=2000), CONTENT)
        for _ in range(5):
            await read_all(file)
            await settled(session, 2)
        assert set(reads(server)) == {1}
        await file.aclose()


async def test_the_loss_of_a_channel_is_nobodys_error_and_it_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "RETRY", 0.0)
    server = one_file()
    async with serving(server, max_channels=2) as session:
        file = await SmbFile.open(session, "f")
        await spread(server, file, 2)
        lost = [False]

        def hook(asked: Asked) -> bool | None:
            beside = asked.command == Command.READ and struct.unpack_from("<Q", asked.body, 24)
            if beside and beside[0] // 1000 == 2:
                lost[0] = True
                return False
            return None

        server.hook = hook
        with trio.fail_after(30):
            while not lost[0]:
                assert await read_all(file) == CONTENT
        assert session.number == 1
        await spread(server, file, 3)  # connection 3 is the new channel
        assert session._stats.reconnects == 0
        await file.aclose()


async def test_a_server_that_allows_no_second_connection_is_asked_rarely() -> None:
    server = one_file()
    async with serving(server, max_channels=4) as session:
        file = await SmbFile.open(session, "f")
        server.refuse = MountError("enough")
        for _ in range(5):
            assert await read_all(file) == CONTENT
            await trio.testing.wait_all_tasks_blocked(0.02)
        assert server.dialled == 2
        await file.aclose()


async def test_when_the_primary_is_lost_so_are_the_others() -> None:
    """A handle there would keep the server from showing what a file is now."""
    server = one_file()
    async with serving(server, max_channels=2) as session:
        file = await SmbFile.open(session, "f")
        await spread(server, file, 2)
        server._forget(1)
        await file.query()
        await settled(session, 1)
        with trio.fail_after(30):
            while {opened.connection for opened in server.handles.values()} != {3}:
                await trio.sleep(0.01)
        assert await read_all(file) == CONTENT
        await file.aclose()


async def test_an_idle_channel_is_closed_and_its_handles_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "IDLE", 0.05)
    server = one_file()
    async with serving(server, max_channels=2) as session:
        file = await SmbFile.open(session, "f")
        await spread(server, file, 2)
        await settled(session, 1)
        with trio.fail_after(30):
            while len(server.handles) > 1:
                await trio.sleep(0.01)
        assert Command.LOGOFF in server.commands()
        await spread(server, file, 3)
        await file.aclose()


async def test_a_channel_with_a_read_under_way_is_not_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = one_file()
    async with serving(server, max_channels=2) as session:
        file = await SmbFile.open(session, "f")
        await spread(server, file, 2)
        monkeypatch.setattr(channels, "IDLE", 0.02)
        lane = session.channels.lanes()[0]
        async with trio.open_nursery() as nursery:
            with session.channels.on(lane, 1):
                nursery.start_soon(session.channels._in_use, lane)
                with trio.move_on_after(0.3) as waited:
                    while nursery.child_tasks:
                        await trio.sleep(0.01)
                assert waited.cancelled_caught
        await file.aclose()


async def test_an_overlapping_open_sees_the_change_though_further_handles_were_open() -> None:
    server = one_file(Frozen)
    async with serving(server, max_channels=3) as session:
        files = OpenFiles(session)
        first = await files.open("f")
        await spread(server, first, 3)
        server.nodes["f"] = Node(attr_of(7, len(CONTENT), stamp=5000), CONTENT)
        second = await files.open("f")
        assert second.attr.write == first.attr.write == 5000
        assert len(server.handles) == 1
        await spread(server, first, 3)
        await first.aclose()
        assert await read_all(second) == CONTENT
        await second.aclose()
        assert not server.handles


async def test_closing_waits_for_a_handle_that_is_being_opened() -> None:
    """Or the server would still have it when the next open looks at the file."""
    server = one_file()
    async with serving(server, max_channels=2) as session:
        warm = await SmbFile.open(session, "f")
        await spread(server, warm, 2)
        await warm.aclose()
        file = await SmbFile.open(session, "f")
        lane = session.channels.lanes()[0]
        family = siblings.Siblings(file._handle, session.channels)
        file._handle.siblings = family
        family._begin(lane)  # asked for, and no answer yet
        await file.aclose()
        assert server.handles == {}
        assert server.commands()[-2:] == [Command.CLOSE, Command.CLOSE]


async def test_a_mount_that_ends_while_a_channel_is_being_opened() -> None:
    server = one_file()
    server_gate = trio.Event()
    async with serving(server, max_channels=2) as session:
        file = await SmbFile.open(session, "f")
        server.gate = server_gate
        assert await read_all(file) == CONTENT
        assert session.channels._opening == 1
        await file.aclose()
        server_gate.set()
        await settled(session, 2)
