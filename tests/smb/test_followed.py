"""Links that the server follows by itself are told from files, where the server gives them away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import trio

from netfsfuse.errors import Disconnected
from netfsfuse.smb.connection.exchange import Reply, Request
from netfsfuse.smb.connection.transport import Transport
from netfsfuse.smb.share.directory import SmbListing
from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.smb.wire.header import FLAG_RELATED, Command
from tests.smb.caller import Caller
from tests.smb.peer import Asked, connected, parse_requests
from tests.smb.replies import error_body, reply
from tests.smb.server import TOO_MANY_OPENED_FILES, Node, Server, attr_of, serving, settled

INVALID_NAME = 0xC0000033


def server(*links: str, **more: int) -> Server:
    nodes = {
        "f": Node(attr_of(1, 3), b"abc"),
        "l": Node(attr_of(2, 3), b"def"),
        "d": Node(attr_of(3, directory=True), entries=[]),
        "ld": Node(attr_of(4, directory=True), entries=[]),
        "": Node(attr_of(9, directory=True), entries=[]),
    }
    return Server(nodes, links=set(links), **more)  # type: ignore[arg-type]


async def is_followed(namespace: SmbNamespace, path: str) -> bool:
    file, _ = await namespace.open(path)
    await file.aclose()
    return file.is_followed


@pytest.mark.parametrize("credits", [64, 1])
async def test_files_links_and_directories(credits: int) -> None:
    """Whatever is opened for the question is closed: ``serving`` counts."""
    there = server("l", "ld", credits=credits, keep=credits)
    async with serving(there) as session:
        namespace = SmbNamespace(session)
        assert [await is_followed(namespace, path) for path in ("f", "l", "f")] == [
            False,
            True,
            False,
        ]
        assert await namespace.fetch("l", 100) is None
        got = await namespace.fetch("f", 100)
        assert got is not None
        assert bytes(got[1]) == b"abc"
        for path, linked in (("d", False), ("ld", True)):
            listing = await SmbListing.open(session, path)
            assert await listing.next_page() == []
            assert listing.is_followed == linked
            await listing.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert there.questions.count(".") == 1
        assert not there.commands().count(Command.ECHO)


async def test_a_server_that_takes_any_name_so_is_not_believed() -> None:
    there = server("f", "l", "d", "ld", "")
    there.nodes["."] = there.nodes[""]
    there.links.add(".")
    async with serving(there) as session:
        namespace = SmbNamespace(session)
        await is_followed(namespace, "f")
        await trio.testing.wait_all_tasks_blocked()
        assert [await is_followed(namespace, path) for path in ("f", "l")] == [False, False]
        assert len(there.questions) == 2


async def test_a_server_that_refuses_the_name_is_asked_once() -> None:
    there = server()
    there.path_dot_refused = INVALID_NAME
    async with serving(there) as session:
        namespace = SmbNamespace(session)
        listing = await SmbListing.open(session, "d")  # Samba refuses a directory's so
        await listing.aclose()
        for _ in range(3):
            assert not await is_followed(namespace, "f")
        assert there.questions == ["d\\.", "f\\."]


async def test_the_question_after_an_open_that_is_refused() -> None:
    there = server("gone")
    there.nodes["gone"] = Node(attr_of(5), entries=[])
    async with serving(there) as session:
        with pytest.raises(Exception, match="gone"):
            await SmbNamespace(session).fetch("gone", 10)


async def test_the_handle_of_a_question_beside_a_refused_open_is_closed() -> None:
    """The server ran out of handles and had one again for the question."""
    there = server("l")
    refused = []

    def hook(asked: Asked) -> bytes | None:
        if asked.command == Command.CREATE and not refused:
            refused.append(asked)
            return reply(
                Command.CREATE, asked.message_id, error_body(), status=TOO_MANY_OPENED_FILES
            )
        return None

    async with serving(there) as session:
        namespace = SmbNamespace(session)
        session.scarcity.close_parked.append(lambda: 1)
        there.hook = hook
        file, _ = await namespace.open("l")
        assert refused
        await settled(session)
        assert len(there.handles) == 1
        await file.aclose()


async def test_the_question_is_a_message_of_its_own() -> None:
    """A server may refuse all of a message in which related and unrelated requests are mixed
    ([MS-SMB2] 3.3.5.2.7)."""
    async with connected() as line, trio.open_nursery() as nursery:
        create, close = Request(Command.CREATE, bytes(56)), Request(Command.CLOSE, bytes(24))
        question = replace(create, unrelated=True)
        nursery.start_soon(Caller(line, create, close, question, question).run)
        messages = [parse_requests(await line.peer.message()) for _ in range(2)]
        commands = [[asked.command for asked in message] for message in messages]
        assert commands == [[Command.CREATE, Command.CLOSE], [Command.CREATE, Command.CREATE]]
        related = [[bool(asked.flags & FLAG_RELATED) for asked in message] for message in messages]
        assert related == [[False, True], [False, False]]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("credits", [64, 1])
async def test_files_fetched_together_are_asked_together(credits: int) -> None:
    """With a single credit each is asked by itself, and a refusal is that of one file only."""
    there = server(*(f"l{n}" for n in range(10)), credits=credits, keep=credits)
    there.nodes |= {
        f"{kind}{n}": Node(attr_of(10 + n, 3), b"abc") for n in range(10) for kind in "fl"
    }
    names = [f"{kind}{n}" for n in range(10) for kind in "fl"]
    got: dict[str, bool] = {}
    async with serving(there) as session:
        namespace = SmbNamespace(session)

        async def fetch(name: str) -> None:
            got[name] = await namespace.fetch(name, 100) is not None

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(fetch, name)
        await settled(session)
        assert got == {name: name.startswith("f") for name in names}
        assert sorted(there.questioned) == ([4, 16] if credits > 1 else 20 * [1])


async def test_a_question_that_is_not_answered_makes_a_link_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = server()
    async with serving(there) as session:
        exchange = session.exchange

        async def failing(requests: Callable[[Transport], Sequence[Request]]) -> list[Reply]:
            if "Followed" in requests.__qualname__:
                raise Disconnected("gone")
            return await exchange(requests)

        monkeypatch.setattr(session, "exchange", failing)
        assert await SmbNamespace(session).fetch("f", 100) is None
