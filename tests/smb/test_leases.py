"""Leases against a server that breaks them at will."""

from __future__ import annotations

import struct

import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

from netfsfuse.errors import ProtocolError
from netfsfuse.smb.session.lease import Leases
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.share.leased import PARKED_MAX
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.smb.wire.header import Command
from netfsfuse.smb.wire.lease import pack_lease_context, parse_break
from netfsfuse.types import DirEntry
from tests.smb import replies
from tests.smb.server import Node, Server, attr_of, serving, settled
from tests.smb.test_file import Reader

READ, HANDLE = 1, 2
CONTENT = bytes(range(256)) * 256
SIZE = len(CONTENT)
ATTR = attr_of(7, SIZE)


def leasing(state: int = READ | HANDLE, **more: object) -> Server:
    return Server({"f": Node(ATTR, CONTENT)}, lease_state=state, **more)  # type: ignore[arg-type]


def counts(server: Server) -> tuple[int, int, int]:
    """CREATEs, CLOSEs, and acknowledged breaks."""
    done = server.commands()
    return (
        done.count(Command.CREATE),
        done.count(Command.CLOSE),
        done.count(Command.OPLOCK_BREAK),
    )


async def test_an_open_under_a_lease_costs_nothing() -> None:
    server = leasing()
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        first = await files.open("f", head=SIZE)
        assert bytes(first.whole or b"") == CONTENT
        second = await files.open("f", known=ATTR)
        assert second.attr == ATTR
        await first.aclose()
        await second.aclose()
        third = await files.open("f", known=ATTR)
        assert bytes(third.whole or b"") == CONTENT
        assert await third.query() == ATTR
        assert counts(server) == (1, 0, 0)
        await third.aclose()
        files.give_way("f")
        await settled(session)
        assert counts(server) == (1, 1, 0)
        assert len(session.leases) == 0


@pytest.mark.parametrize("how", ["opened anew", "connection lost"])
async def test_a_handle_that_is_replaced_leaves_nothing(how: str) -> None:
    """Neither its lease nor who hears of its break, who hears of the new handle's instead."""
    server = leasing()
    heard: list[str] = []
    async with serving(server) as session:
        files = OpenFiles(session, trust=60)
        first = await files.open("f", on_break=lambda: heard.append("first"))
        if how == "opened anew":
            second = await files.open("f")  # nothing is known of it: all look anew
            await second.aclose()
        else:
            server.drop()
            await Reader(first).read(0, 10)
        (handle,) = server.handles.values()
        await server.break_lease(handle.lease, 0)
        while not heard:
            await settled(session)
        assert heard == ["first"]
        await first.aclose()
        assert not files._hooks
        assert not files._leased
        assert not files._open


@pytest.mark.parametrize("state", [0, READ, HANDLE])
async def test_what_is_not_granted_is_not_used(state: int) -> None:
    """A handle is parked under both alone, and nothing is shared without the read lease."""
    server = leasing(state)
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        await (await files.open("f")).aclose()
        await (await files.open("f", known=ATTR)).aclose()
        await settled(session)
        assert counts(server) == (2, 2, 0)
        assert len(session.leases) == 0


async def test_what_is_parked_while_another_open_is_under_way_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else no name would lead to it, and it would stand in the way of a rename for a second."""
    server = leasing()
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        first = await files.open("f")
        really_open = SmbFile.open

        async def opened_meanwhile(*arguments: object, **more: object) -> SmbFile:
            second = await really_open(*arguments, **more)  # type: ignore[arg-type]
            await first.aclose()
            assert len(files._parked) == 1
            return second

        monkeypatch.setattr(SmbFile, "open", opened_meanwhile)
        second = await files.open("f")
        await second.aclose()
        assert [handle.name for handle in files._parked] == ["f"]
        files.give_way("f")
        await settled(session)
        assert not server.handles


async def test_a_small_file_is_not_parked() -> None:
    """Its handle would stand in the way of who deletes it, for nothing."""
    server = Server({"f": Node(attr_of(7, 100), CONTENT[:100])}, lease_state=READ | HANDLE)
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        await (await files.open("f")).aclose()
        await settled(session)
        assert counts(server) == (1, 1, 0)


async def test_a_parked_handle_is_closed_in_time() -> None:
    server = leasing()
    async with serving(server, closetimeo=0.05) as session:
        files = OpenFiles(session, trust=60)
        begin = trio.current_time()
        for count in (1, 2):
            await (await files.open("f")).aclose()
            while server.handles:
                await trio.lowlevel.checkpoint()
            assert trio.current_time() - begin >= 0.05 * count
            assert counts(server) == (count, count, 0)


async def test_nothing_is_trusted_for_longer_than_was_said() -> None:
    """The server's own users break no lease."""
    server = leasing()
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=0.05)
        await (await files.open("f")).aclose()
        server.nodes["f"].attr = attr_of(7, SIZE, stamp=5000)
        await trio.sleep(0.06)
        again = await files.open("f", known=ATTR)
        assert again.attr == server.nodes["f"].attr
        assert counts(server)[0] == 2
        await again.aclose()
        files.give_way("f")


async def test_what_is_known_to_be_another_is_asked_for() -> None:
    server = leasing()
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        await (await files.open("f")).aclose()
        for known in (attr_of(7, SIZE, stamp=4000), None):
            again = await files.open("f", known=known)
            await again.aclose()
        assert counts(server)[0] == 3
        files.give_way("f")


async def test_a_break_closes_what_is_parked() -> None:
    """Closing is the answer: the lease is gone with its last handle."""
    server = leasing()
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        heard: list[str] = []
        await (await files.open("f", on_break=lambda: heard.append("f"))).aclose()
        ((_, opened),) = server.handles.items()
        await server.break_lease(opened.lease, READ)
        while server.handles:
            await trio.lowlevel.checkpoint()
        await settled(session)
        assert counts(server) == (1, 1, 0)
        assert heard == ["f"]
        assert len(session.leases) == 0


@pytest.mark.parametrize("acknowledge", [False, True])
async def test_a_break_of_what_is_in_use(acknowledge: bool) -> None:
    """It is answered, readers go on, and nobody shares the handle any more."""
    server = leasing()
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        heard: list[str] = []
        file = await files.open("f", on_break=lambda: heard.append("f"))
        ((_, opened),) = server.handles.items()
        await server.break_lease(opened.lease, 0, acknowledge=acknowledge)
        while not heard:
            await trio.lowlevel.checkpoint()
        await settled(session)
        assert await file.query() == ATTR
        assert counts(server) == (1, 0, int(acknowledge))
        if acknowledge:
            (answer,) = [each for each in server.asked if each.command == Command.OPLOCK_BREAK]
            assert struct.unpack_from("<HHI16sI", answer.body) == (36, 0, 0, opened.lease, 0)
        other = await files.open("f", known=ATTR)
        assert counts(server)[0] > 1
        await other.aclose()
        await file.aclose()
        files.give_way("f")


async def test_a_break_before_the_answer_to_the_open() -> None:
    """The server may send it first, or we see it first."""
    server = leasing()
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)

        def hook(asked: object) -> None:
            for lease in list(session.leases._by_key.values()):
                session.leases.take_break(
                    memoryview(replies.lease_break(lease.key, 0)), lambda _: None
                )

        server.hook = hook  # type: ignore[assignment]
        file = await files.open("f")
        server.hook = lambda asked: None
        assert len(session.leases) == 0
        await file.aclose()
        await settled(session)
        assert counts(server) == (1, 1, 0)


async def test_a_lost_connection_ends_all_leases() -> None:
    server = leasing()
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        await (await files.open("f")).aclose()
        server.drop()
        again = await files.open("f", known=ATTR)
        assert await again.query() == ATTR
        assert len(session.leases) == 1
        await again.aclose()
        files.give_way("f")


async def test_parked_handles_are_bounded() -> None:
    names = [f"f{n}" for n in range(PARKED_MAX + 20)]
    nodes = {name: Node(attr_of(10 + n, SIZE), CONTENT) for n, name in enumerate(names)}
    server = Server(nodes, lease_state=READ | HANDLE)
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        for name in names:
            await (await files.open(name)).aclose()
        await settled(session)
        assert len(server.handles) == PARKED_MAX == len(session.leases)
        files.give_way_below("")
        while server.handles:
            await trio.lowlevel.checkpoint()
        assert len(session.leases) == 0


async def test_only_those_of_the_directory_give_way() -> None:
    nodes = {
        "a": Node(attr_of(2), entries=[DirEntry("f", ATTR)]),
        "a\\f": Node(ATTR, CONTENT),
        "ab\\f": Node(attr_of(8, SIZE), CONTENT),
    }
    server = Server(nodes, lease_state=READ | HANDLE)
    async with serving(server, closetimeo=60) as session:
        files = OpenFiles(session, trust=60)
        for name in ("a\\f", "ab\\f"):
            await (await files.open(name)).aclose()
        files.give_way_below("a")
        await settled(session)
        assert [opened.node for opened in server.handles.values()] == [nodes["ab\\f"]]
        files.give_way_below("ab")


@pytest.mark.parametrize("known", [True, False])
async def test_a_storm_of_breaks(known: bool) -> None:
    """20,000 breaks, as in a minute of hundreds a second, of one lease or of nobody's: an open
    file stays readable, and nothing grows."""
    server = leasing()
    async with serving(server, closetimeo=60, within=50) as session:
        files = OpenFiles(session, trust=60)
        file = await files.open("f")
        ((_, opened),) = server.handles.items()
        for number in range(20_000):
            key = opened.lease if known else struct.pack("<QQ", number, 99)
            await server.break_lease(key, 0)
            if not number % 1000:
                assert await file.query() == ATTR
        assert await file.query() == ATTR
        await settled(session)
        assert session.live is not None
        assert len(session.live._pending) == 0
        assert session._acknowledging == 0
        assert len(session.leases) <= 1
        assert session.leases.broken == 20_000
        await file.aclose()
        files.give_way("f")


@given(st.binary(max_size=120))
def test_any_message_as_a_break(body: bytes) -> None:
    """An answer or a ProtocolError, whatever comes."""
    leases = Leases(lambda *_: None)
    leases.version = 2
    leases.begin()
    message = memoryview(replies.reply(18, 2**64 - 1, body))
    try:
        leases.take_break(message, lambda _: None)
    except ProtocolError:
        assert len(body) < 44


@given(st.binary(min_size=16, max_size=16), st.integers(0, 7), st.booleans())
def test_a_break_is_read_right(key: bytes, state: int, acknowledge: bool) -> None:
    message = memoryview(replies.lease_break(key, state, acknowledge=acknowledge))
    assert parse_break(message) == (key, state, acknowledge)


def test_contexts() -> None:
    """Of both versions, 8-byte aligned where another may follow."""
    assert len(pack_lease_context(bytes(16), 3, version=1)) == 24 + 32
    assert len(pack_lease_context(bytes(16), 3, version=2)) == 24 + 52
