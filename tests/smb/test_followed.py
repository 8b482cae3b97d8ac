"""Links that the server follows by itself are told from files, where the server gives them away."""

from __future__ import annotations

import pytest
import trio

from netfsfuse.smb.directory import SmbListing
from netfsfuse.smb.namespace import SmbNamespace
from netfsfuse.smb.wire.header import Command
from tests.smb.server import Node, Server, attr_of, serving

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
    file = await namespace.open(path)
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
