"""A listing gives every name once, whatever happens to the connection or to one of its readers."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import NotADirectory, NotFound, ServerBusy, ServerError
from netfsfuse.smb.share import directory as directories
from netfsfuse.smb.share.directory import SmbListing
from netfsfuse.smb.share.names import name_to_server
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


async def begun(listing: SmbListing) -> list[str]:
    """The names of the first two pages, which came with the handle."""
    return [entry.name for _ in range(2) for entry in await listing.next_page()]


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
        names = await begun(listing)
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
        names = await begun(listing)
        server.drop()
        with trio.CancelScope() as scope:
            server.hook = lambda asked: scope.cancel()
            await listing.next_page()
        assert scope.cancelled_caught
        server.hook = lambda asked: None
        assert names + await all_of(listing) == NAMES
        await listing.aclose()


async def test_a_refused_page_is_asked_again() -> None:
    server = directory(NAMES)
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        names = await begun(listing)
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
        assert await all_of(listing) == ["a.", "\uf029.", "b"]
        await listing.aclose()


async def test_names_as_no_server_should_list_them_are_sent_as_they_are_listed() -> None:
    """Two names of one directory stay two, and "." stays what it is."""
    names = ["R.E.M\uf029", "R.E.M.", "what ", "a|b", "a:b.", "plain.txt"]
    async with serving(directory([".", "..", *names])) as session:
        listing = await SmbListing.open(session, "d")
        listed = await all_of(listing)
        assert listed == names
        odd = session.odd_names
        sent = [name_to_server(name, odd) for name in listed]
        assert sent == ["R.E.M\uf029", "R.E.M.", "what ", "a|b", "a\uf022b\uf029", "plain.txt"]
        assert name_to_server("others.", odd) == "others\uf029"
        await listing.aclose()


async def test_a_small_directory_is_one_round_trip() -> None:
    server = directory(NAMES[:3], page=100)
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        assert await all_of(listing) == NAMES[:3]
        await listing.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.commands() == [
            Command.CREATE,
            Command.QUERY_DIRECTORY,
            Command.QUERY_DIRECTORY,
            Command.CLOSE,
        ]


async def test_the_next_pages_are_on_their_way() -> None:
    """In bursts that double: a round trip each, however long the directory is."""
    names = [f"{n:04}" for n in range(400)]
    server = directory(names, page=5)
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        await begun(listing)
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.asked) == 3 + 2  # nobody has asked for these
        got = await all_of(listing)
        assert got == names[8:]
        bursts = server.commands().count(Command.QUERY_DIRECTORY)
        assert bursts <= 81 + 8
        await listing.aclose()


async def test_closed_with_pages_on_their_way() -> None:
    server = directory(NAMES)
    async with serving(server) as session:
        for checkpoints in range(6):
            listing = await SmbListing.open(session, "d")
            await begun(listing)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            await listing.aclose()


async def test_a_listing_that_never_ends_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    server = directory(NAMES, page=5)
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        body = replies.output_body(
            replies.directory_output([DirEntry(name, attr_of(1)) for name in NAMES[:5]])
        )
        server.hook = lambda asked: (
            replies.reply(14, asked.message_id, body)
            if asked.command == Command.QUERY_DIRECTORY
            else None
        )
        assert set(await all_of(listing)) <= set(NAMES)
        assert caplog.text.count("repeats itself") == 1
        await listing.aclose()


async def test_a_listing_of_ever_new_names_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "LISTING_MAX", 3000)
    server = directory([f"{n:04}" for n in range(400)], page=5)
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        with pytest.raises(ServerError, match="more than can be held"):
            await all_of(listing)
        await listing.aclose()


async def test_entries_that_no_file_system_has(caplog: pytest.LogCaptureFixture) -> None:
    long, longer = "l" * 255, "\U0001f600" * 128
    server = directory(["", "a/b", "a\0b", "twice", "twice", long, long + "l", longer, "good"])
    server.nodes["d"].entries.append(DirEntry("huge", attr_of(9, 1 << 63)))  # type: ignore[union-attr]
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        assert await all_of(listing) == ["a\ufffdb", "twice", long, "good"]
        assert caplog.text.count("no file system has") == 1
        await listing.aclose()


@pytest.mark.parametrize("steady", [0, 2, 99], ids=["at rest", "for a moment", "for ever"])
async def test_a_link_that_grows_between_two_entries_is_one_file(steady: int) -> None:
    """Its size differs in one page. It is asked for again, and while it changes that says nothing;
    its FileId, and those of all other files, stay what they are."""
    entries = [DirEntry("a", attr_of(9, 5)), DirEntry("b", attr_of(9, 6, stamp=1100))]
    server = directory([])
    server.nodes["d"].entries = entries
    server.page = 100
    asked = 0

    def grow(one: Asked) -> None:
        nonlocal asked
        asked += one.command == Command.CREATE
        size = 6 + min(asked, steady)
        node = Node(attr_of(9, size, stamp=1100 + 100 * size))
        server.nodes |= {"d\\a": node, "d\\b": node}

    server.hook = grow
    async with serving(server) as session:
        for _ in range(2):
            listing = await SmbListing.open(session, "d")
            assert [entry.attr.file_id for entry in await listing.next_page()] == [9, 9]
            await listing.aclose()
        assert session.file_ids.trusted
        assert server.commands().count(Command.CREATE) <= 2 * (1 + 9)


@pytest.mark.parametrize("gone", ["a", "b"])
async def test_a_suspect_that_is_gone_proves_nothing(gone: str) -> None:
    entries = [DirEntry("a", attr_of(9, 5)), DirEntry("b", attr_of(9, 6))]
    server = directory([])
    server.nodes["d"].entries = entries
    server.nodes |= {f"d\\{name}": Node(attr) for name, attr in entries if name != gone}
    server.page = 100
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        assert [entry.attr.file_id for entry in await listing.next_page()] == [9, 9]
        assert session.file_ids.trusted
        await listing.aclose()


async def test_one_file_id_for_all_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """Hard links agree in everything but their names."""
    server = directory([])
    entries = [DirEntry("a", attr_of(9, 5)), DirEntry("b", attr_of(9, 5))]
    server.nodes["d"].entries = entries
    async with serving(server) as session:
        listing = await SmbListing.open(session, "d")
        assert [entry.attr.file_id for entry in await listing.next_page()] == [9]
        assert [entry.attr.file_id for entry in await listing.next_page()] == [9]
        await listing.aclose()
        entries.append(DirEntry("c", attr_of(9, 6)))
        server.nodes |= {f"d\\{name}": Node(attr) for name, attr in entries}
        server.page = 100
        listing = await SmbListing.open(session, "d")
        assert [entry.attr.file_id for entry in await listing.next_page()] == [0, 0, 0]
        assert caplog.text.count("known by their paths") == 1
        assert session.file_ids.seen(attr_of(5)).file_id == 0
        await listing.aclose()
