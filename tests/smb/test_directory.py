"""A listing gives every name once, whatever happens to the connection or to one of its readers."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import NotADirectory, NotFound, ServerBusy
from netfsfuse.smb.directory import SmbListing
from netfsfuse.smb.wire.header import Command
from netfsfuse.types import DirEntry
from tests.smb import replies
from tests.smb.peer import Asked
from tests.smb.server import Node, Server, attr_of, serving

NAMES = [f"name {n:02}" for n in range(17)]


def directory(names: list[str], **more: int) -> Server:
    entries = [DirEntry(name, attr_of(100 + n)) for n, name in enumerate(names)]
    return Server(
        {"d": Node(attr_of(7, directory=True), entries=entries), "f": Node(attr_of(8))}, **more
    )  # type: ignore[arg-type]


async def all_of(listing: SmbListing) -> list[str]:
    names = []
    while page := await listing.next_page():
        names += [entry.name for entry in page]
    assert await listing.next_page() == []
    return names


@pytest.mark.parametrize("count", [0, 1, 3, 17])
@pytest.mark.parametrize("page", [1, 2, 3, 100])
async def test_pages_of_any_size(count: int, page: int) -> None:
    """A page of 1 or 2 may hold nothing but "." and "..": that is not the end."""
    async with serving(directory(NAMES[:count], page=page)) as session:
        listing = await SmbListing.open(session, "d")
        assert await all_of(listing) == NAMES[:count]
        await listing.aclose()


@pytest.mark.parametrize("given", [0, 1, 2, 5])
async def test_lost_connection_gives_no_name_twice_and_leaves_none_out(given: int) -> None:
    server = directory(NAMES)
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        names = []
        for _ in range(given):
            names += [entry.name for entry in await listing.next_page()]
        server.drop()
        names += await all_of(listing)
        assert names == NAMES
        await listing.aclose()


async def test_connection_lost_in_the_middle_of_a_page() -> None:
    server = directory(NAMES)
    pages = 0

    def hook(asked: Asked) -> bool | None:
        nonlocal pages
        pages += asked.command == Command.QUERY_DIRECTORY
        return False if pages == 3 and len(server.commands()) == 5 else None

    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        server.hook = hook
        assert await all_of(listing) == NAMES
        await listing.aclose()


async def test_a_page_that_nobody_waited_for_is_not_left_out() -> None:
    """The server has moved on when a reader is cancelled in mid-page; its names must still come."""
    server = directory(NAMES)
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        names = [entry.name for entry in await listing.next_page()]
        with trio.CancelScope() as scope:
            server.hook = lambda asked: scope.cancel()  # answered, but too late
            await listing.next_page()
        assert scope.cancelled_caught
        server.hook = lambda asked: None
        assert names + await all_of(listing) == NAMES
        await listing.aclose()


async def test_cancelled_while_opening_again() -> None:
    """The handle of the dead connection must not be taken for one of the new."""
    server = directory(NAMES)
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        names = [entry.name for entry in await listing.next_page()]
        server.drop()
        with trio.CancelScope() as scope:
            server.hook = lambda asked: scope.cancel()
            await listing.next_page()
        assert scope.cancelled_caught
        server.hook = lambda asked: None
        await trio.testing.wait_all_tasks_blocked()
        server.handles.clear()  # that CREATE was answered into the void
        assert names + await all_of(listing) == NAMES
        await listing.aclose()


async def test_a_refused_page_is_asked_again() -> None:
    server = directory(NAMES)
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        names = [entry.name for entry in await listing.next_page()]
        body = replies.error_body()
        server.hook = lambda asked: replies.reply(14, asked.message_id, body, status=0xC0000205)
        with pytest.raises(ServerBusy):
            await listing.next_page()
        server.hook = lambda asked: None
        assert names + await all_of(listing) == NAMES
        await listing.aclose()


async def test_refusals_leave_no_handle_behind() -> None:
    server = directory(NAMES)
    async with serving(server) as session:
        with pytest.raises(NotFound):
            await SmbListing.open(session, "nothing")
        with pytest.raises(NotADirectory):
            await SmbListing.open(session, "f")
        server.hook = lambda asked: (
            replies.reply(14, asked.message_id, replies.error_body(), status=0xC0000205)
            if asked.command == Command.QUERY_DIRECTORY
            else None
        )
        with pytest.raises(ServerBusy):
            await SmbListing.open(session, "d")


async def test_names_that_would_lead_elsewhere_are_left_out() -> None:
    """U+F029 at the end stands for a dot: a server may list what would come out as ".."."""
    async with serving(directory(["a\uf029", "\uf029", "\uf029\uf029", "b"])) as session:
        listing = await SmbListing.open(session, "d")
        assert await all_of(listing) == ["a.", "b"]
        await listing.aclose()
