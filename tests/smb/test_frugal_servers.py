"""Servers that give little: few credits, few bytes at once, few handles. All works, only slower.

``serving`` checks that no handle is left in the end.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import Disconnected, MountError, NotFound, ServerBusy
from netfsfuse.smb.session.scarcity import LASTS
from netfsfuse.smb.session.session import Session
from netfsfuse.smb.share.leased import PARKED_SIZE_MIN
from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.smb.share.watch import SmbWatch
from netfsfuse.smb.wire.header import FLAG_RELATED, Command
from netfsfuse.smb.wire.lease import READ_HANDLE
from netfsfuse.types import DirEntry
from tests.smb.caller import Caller
from tests.smb.peer import connected, echo
from tests.smb.replies import reply
from tests.smb.server import Node, Server, attr_of, serving, settled
from tests.smb.test_file import Reader

SMALL = b"small file"
LARGE = bytes(range(256)) * 800
NAMES = [f"name {n:02}" for n in range(40)]


def server_of(**more: int) -> Server:
    entries = [DirEntry(name, attr_of(100 + n)) for n, name in enumerate(NAMES)]
    nodes = {
        "small": Node(attr_of(7, len(SMALL)), SMALL),
        "large": Node(attr_of(8, len(LARGE)), LARGE),
        "d": Node(attr_of(9, directory=True), entries=entries),
        "watched": Node(attr_of(10, directory=True), entries=[]),
    }
    return Server(nodes, **more)  # type: ignore[arg-type]


async def use(session: Session) -> None:
    """Whatever a mount asks of a server, many at a time."""
    namespace = SmbNamespace(session)

    async def stat() -> None:
        assert await namespace.stat("small") == attr_of(7, len(SMALL))
        with pytest.raises(NotFound):
            await namespace.stat("nothing")

    async def fetch() -> None:
        got = await namespace.fetch("small", 65536)
        assert got is not None
        attr, head = got
        assert (attr, bytes(head)) == (attr_of(7, len(SMALL)), SMALL)

    async def read() -> None:
        file, _ = await namespace.open("large", prefill=65536)
        reader, content = Reader(file), b""
        while part := await reader.read(len(content), 1 << 20):
            content += part
        assert content == LARGE
        await file.aclose()

    async def listing() -> None:
        opened = await namespace.list("d")
        names = []
        while page := await opened.next_page():
            names += [entry.name for entry in page]
        assert names == NAMES
        await opened.aclose()

    async with trio.open_nursery() as nursery:
        for work in (stat, read, fetch, listing) * 3:
            nursery.start_soon(work)


@pytest.mark.parametrize("credits", [1, 2, 3, 4, 5, 8])
async def test_few_credits(credits: int) -> None:
    server = server_of(credits=credits, keep=credits)
    async with serving(server) as session:
        await use(session)
        assert session.number == 1
    if credits == 1:
        assert not any(asked.flags & FLAG_RELATED for asked in server.asked)


@pytest.mark.parametrize("kept", [1, 2, 4])
async def test_credits_taken_back_in_use(kept: int) -> None:
    """What was sized for many, and waits, is asked for in pieces."""
    server = server_of(credits=64)
    async with serving(server) as session:
        watch = SmbWatch.begin(session, "watched")
        assert watch is not None
        await use(session)
        server.keep = kept
        for _ in range(3):
            await use(session)
        assert session.number == 1
        watch.close()


async def test_no_credit_left_is_a_lost_connection() -> None:
    """[MS-SMB2] 3.3.1.2 demands one: who waited for it would wait for ever."""
    async with connected(credits=1) as line, trio.open_nursery() as nursery:
        callers = [Caller(line, echo()), Caller(line, echo())]
        nursery.start_soon(callers[0].run)
        asked = await line.peer.request()
        nursery.start_soon(callers[1].run)
        await trio.testing.wait_all_tasks_blocked()
        await line.peer.answer(reply(13, asked.message_id, credits=0))
        with trio.fail_after(10):
            await callers[1].over.wait()
        assert callers[0].error is None
        assert isinstance(callers[1].error, Disconnected)
        assert "credits" in str(callers[1].error)


async def test_a_compound_sent_apart_is_cancelled_between_its_requests() -> None:
    server = server_of(credits=2, keep=2)
    async with serving(server) as session:
        namespace, scope = SmbNamespace(session), trio.CancelScope()

        def hook(asked: object) -> None:
            if server.commands()[-1] is Command.READ:
                scope.cancel()

        server.hook = hook  # type: ignore[assignment]
        with scope:
            await namespace.fetch("small", 65536)
        assert scope.cancelled_caught


@pytest.mark.parametrize("most", [4096, 10_000, 60_000])
async def test_few_bytes_at_once(most: int) -> None:
    server = server_of(max_read=most, max_transact=most)
    async with serving(server) as session:
        watch = SmbWatch.begin(session, "watched")
        assert watch is not None
        await watch.begun()
        await use(session)
        watch.close()


async def test_fewer_bytes_than_can_be_worked_with() -> None:
    server = server_of(max_transact=4095)
    with pytest.RaisesGroup(pytest.RaisesExc(MountError, match="less than 4096 bytes")):
        async with serving(server):
            raise AssertionError("connected")


async def test_parked_handles_give_way_to_an_open() -> None:
    content = bytes(PARKED_SIZE_MIN)
    nodes = {f"f{n}": Node(attr_of(7 + n, len(content)), content) for n in range(20)}
    server = Server(nodes, max_handles=5, lease_state=READ_HANDLE)
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        for name in nodes:
            file = await files.open(name)
            await file.aclose()
        assert server.commands().count(Command.CREATE) == 21
        await settled(session)
        assert server.handles == {}  # none was parked after that
        assert session.leases._by_key == {}


async def test_watches_give_way_to_an_open() -> None:
    server = server_of(max_handles=3)
    async with serving(server) as session:
        watches = [SmbWatch.begin(session, "watched") for _ in range(3)]
        told: list[str] = []

        async def wait(watch: SmbWatch) -> None:
            with pytest.raises(ServerBusy):
                await watch.changes()
            told.append("over")
            watch.close()

        async with trio.open_nursery() as nursery:
            for watch in watches:
                assert watch is not None
                nursery.start_soon(wait, watch)
            await trio.testing.wait_all_tasks_blocked()
            file = await OpenFiles(session).open("small")
        assert told == ["over"] * 3
        assert SmbWatch.begin(session, "watched") is None
        await file.aclose()
        session.scarcity._until -= LASTS
        again = SmbWatch.begin(session, "watched")
        assert again is not None
        await again.begun()
        again.close()
        assert session.scarcity.watches == set()


async def test_many_opens_at_once_where_handles_are_short() -> None:
    content = bytes(PARKED_SIZE_MIN)
    nodes = {f"f{n}": Node(attr_of(7 + n, len(content)), content) for n in range(10)}
    server = Server(nodes, max_handles=5, lease_state=READ_HANDLE)
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        opened = [await files.open(f"f{n}") for n in range(5)]
        for file in opened:
            await file.aclose()  # parked, all that there are

        async def one(name: str) -> None:
            file = await files.open(name)
            await file.aclose()

        async with trio.open_nursery() as nursery:
            for n in range(5, 10):
                nursery.start_soon(one, f"f{n}")


async def test_a_server_that_is_full_says_so() -> None:
    server = server_of(max_handles=0)
    async with serving(server) as session:
        with pytest.raises(ServerBusy):
            await OpenFiles(session).open("small")
        assert server.commands().count(Command.CREATE) == 1
