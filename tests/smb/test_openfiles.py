"""Overlapping opens of one file: times are asked for while no handle of ours is open."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from netfsfuse.errors import NotFound, Stale
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.smb.wire.header import Command
from tests.smb.peer import Asked
from tests.smb.server import Node, Server, attr_of, serving, settled
from tests.smb.test_file import Reader

CONTENT = bytes(range(100))


async def test_a_file_opened_once_is_opened_once() -> None:
    """Opens that do not overlap cost one CREATE and one CLOSE each."""
    server = Server({"f": Node(attr_of(7, 100), CONTENT)})
    async with serving(server) as session:
        files = OpenFiles(session)
        for _ in range(2):
            await (await files.open("f")).aclose()
        await settled(session)
        assert server.commands().count(Command.CREATE) == 2
        assert server.commands().count(Command.CLOSE) == 2
        assert not files._open
        assert not files._queues


async def test_a_file_of_which_nothing_was_read_is_closed_without_a_wait() -> None:
    """Its bytes came with the open, so the server closes it before it looks at it again: who opens
    it anew in the same moment finds no handle in its way."""
    server = Server({"f": Node(attr_of(7, 100), CONTENT)})
    async with serving(server) as session:
        files = OpenFiles(session)
        for _ in range(3):
            file = await files.open("f", head=100)
            assert file.closes_at_once
            before = len(server.asked)
            await file.aclose()
            assert len(server.asked) == before
        assert server.commands() == [Command.CREATE, Command.READ, Command.CLOSE] * 2 + [
            Command.CREATE,
            Command.READ,
        ]
        file = await files.open("f")
        await Reader(file).read(0, 10)
        assert not file.closes_at_once
        await file.aclose()
        assert server.commands()[-1] == Command.CLOSE


async def test_an_open_of_an_open_file_leaves_no_older_handle() -> None:
    """Both share the handle that was made when none was open; the last one closes it."""
    server = Server({"f": Node(attr_of(7, 100), CONTENT)})
    async with serving(server) as session:
        files = OpenFiles(session)
        first = await files.open("f")
        server.nodes["f"].attr = attr_of(7, 100, stamp=5000)
        second = await files.open("f")
        assert len(server.handles) == 1
        assert first.attr == second.attr == server.nodes["f"].attr
        commands = server.commands()
        assert commands[-1] is Command.CREATE
        assert commands.count(Command.CLOSE) == commands.count(Command.CREATE) - 1
        await first.aclose()
        assert await second.query() == second.attr
        await second.aclose()
        await settled(session)
        assert not server.handles
        assert not files._open


async def test_many_opens_at_once_share_few_looks() -> None:
    """Whoever waits for its turn shares the outcome of an open that began after it asked."""
    server = Server({"f": Node(attr_of(7, 100), CONTENT)})
    async with serving(server) as session:
        files = OpenFiles(session)
        opened = []

        async def one() -> None:
            opened.append(await files.open("f"))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(one)
        assert len(opened) == 50
        assert server.commands().count(Command.CREATE) <= 4
        for file in opened:
            await file.aclose()
        await settled(session)
        assert not server.handles
        assert not files._open


async def test_a_refused_open_leaves_nothing() -> None:
    """Nor does it keep the name's turn."""
    server = Server({})
    async with serving(server) as session:
        files = OpenFiles(session)
        with pytest.raises(NotFound):
            await files.open("f")
        assert not files._open
        assert not files._queues


async def test_a_number_given_to_a_new_file_gives_it_no_readers() -> None:
    """A handle that died with its connection holds no FileId: the new file may have got it."""
    server = Server({"f": Node(attr_of(7, 4), b"old!")})
    async with serving(server) as session:
        files = OpenFiles(session)
        old = await files.open("f")
        server.drop()
        anew = attr_of(7, 4, stamp=2000)._replace(creation=2000)  # derived, as Samba does
        server.nodes["f"] = Node(anew, b"new!")
        new = await files.open("f")
        for _ in range(2):
            with pytest.raises(Stale):
                await Reader(old).read(0, 4)
            with pytest.raises(Stale):
                await old.query()
            assert await Reader(new).read(0, 4) == b"new!"
        await old.aclose()
        await new.aclose()
        assert not files._open


@pytest.mark.parametrize("lasting", [False, True])
async def test_a_connection_lost_between_two_looks_holds_no_number(lasting: bool) -> None:
    """What is there afterwards may be a new file under the old number: who cannot tell by the
    creation time is stale.
    """
    stamps = (2000, 2000) if lasting else (1000, 3000)  # creation, at the first look and after it
    first, later = (Node(attr_of(7, 4, stamp=s)._replace(creation=s), b"new!") for s in stamps)
    server = Server({"f": Node(attr_of(7, 4)._replace(creation=1000), b"old!")})

    def hook(asked: Asked) -> bool | None:
        if asked.command != Command.CLOSE or server.dialled > 1:
            return None
        server.nodes["f"] = later
        return False

    async with serving(server) as session:
        files = OpenFiles(session)
        old = await files.open("f")
        server.nodes["f"] = first
        server.hook = hook
        if lasting:
            new = await files.open("f")
            assert await Reader(new).read(0, 4) == b"new!"
            await new.aclose()
        else:
            with pytest.raises(Stale):
                await files.open("f")
        with pytest.raises(Stale):
            await Reader(old).read(0, 4)
        await old.aclose()
        assert server.dialled == 2
        assert not files._open


@pytest.mark.parametrize("folder", ["stands still", "has changed", "cannot be asked"])
async def test_a_number_given_away_while_nothing_holds_it_gives_no_reader(folder: str) -> None:
    """For a round trip, as a file that is open is opened again. A new file under its number looks
    like the old one changed; but then the directory has changed, too."""

    def derived(stamp: int) -> Node:
        return Node(attr_of(7, 4, stamp=stamp)._replace(creation=stamp), b"%04d" % stamp)

    root = Node(attr_of(2, directory=True), entries=[])
    server = Server({"f": derived(1000)} | ({} if folder == "cannot be asked" else {"": root}))

    def change(asked: Asked) -> None:
        """Nothing is open now: the file is written to, or made anew."""
        if asked.command == Command.CLOSE and not server.handles.keys() - {asked.body[8:24]}:
            server.nodes["f"] = derived(2000)
            if folder == "has changed":
                root.attr = attr_of(2, directory=True, stamp=2000)

    async with serving(server) as session:
        files = OpenFiles(session)
        old = await files.open("f")
        server.hook = change
        new = await files.open("f")
        assert await Reader(new).read(0, 4) == b"2000"
        if folder == "stands still":
            assert await Reader(old).read(0, 4) == b"2000"
        else:
            with pytest.raises(Stale):
                await Reader(old).read(0, 4)
        await old.aclose()
        await new.aclose()
        await settled(session)
        assert not server.handles
        assert not files._open


@pytest.mark.parametrize("number", [0, 2**64 - 1])
async def test_files_without_a_number_are_not_one_file(number: int) -> None:
    """[MS-FSCC] 2.1.10: a server without FileIds sends zeros, or ones."""
    names = {"a": b"aaaa", "b": b"bbbb"}
    server = Server({name: Node(attr_of(number, 4), data) for name, data in names.items()})
    await each_its_own(server, names)


async def test_one_number_on_two_volumes_is_two_files() -> None:
    """A share may hold several file systems, btrfs subvolumes say, whose numbers are the same."""
    names = {"a": b"aaaa", "b": b"bbbb"}
    attr = attr_of(257, 4)
    server = Server({n: Node(attr, data, volume=data[0]) for n, data in names.items()})
    await each_its_own(server, names)


async def each_its_own(server: Server, names: dict[str, bytes]) -> None:
    """Open all, then read all: each has its own bytes."""
    async with serving(server) as session:
        files = OpenFiles(session)
        opened = {name: await files.open(name) for name in names}
        for name, file in opened.items():
            assert await Reader(file).read(0, 4) == names[name]
            await file.aclose()
        assert not files._open


async def test_a_look_cut_short_costs_the_others_nothing() -> None:
    """Cancelled between giving up the old handle and having the new one."""
    server = Server({"f": Node(attr_of(7, 100), CONTENT)})
    async with serving(server) as session:
        files = OpenFiles(session)
        first = await files.open("f")
        scope = trio.CancelScope()
        seen: list[int] = []

        def hook(asked: Asked) -> None:
            seen.append(asked.command)
            if seen.count(Command.CREATE) == 2:
                scope.cancel()

        server.hook = hook
        with scope:
            await files.open("f")
        assert scope.cancelled_caught
        server.hook = lambda asked: None
        assert await Reader(first).read(0, 10) == CONTENT[:10]
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.handles) == 1
        await first.aclose()
        assert not files._open
        assert not files._queues


class Frozen(Server):
    """Samba: as long as a file is open, it shows what it was when the first handle was made."""

    def _create(self, number: int, asked: Asked) -> tuple[int, bytes]:
        held = list(self.handles.values())
        status, handle = super()._create(number, asked)
        if held:
            self.handles[handle].node = held[0].node
        return status, handle


@pytest.mark.parametrize("seed", range(20))
async def test_opens_by_several_names_at_once_all_see_the_change(seed: int) -> None:
    """Hard links, or names that differ in case: no open may look through another's handle."""
    server = Frozen({name: Node(attr_of(7, 100), CONTENT) for name in "abcd"})
    order = random.Random(seed).sample("abcd" * 2, 8)
    async with serving(server) as session:
        files = OpenFiles(session)
        opened = [await files.open("a")]
        server.nodes = {name: Node(attr_of(7, 100, stamp=5000), CONTENT) for name in "abcd"}
        stamps: list[int] = []

        async def one(name: str) -> None:
            opened.append(await files.open(name))
            stamps.append(opened[-1].attr.write)

        async with trio.open_nursery() as nursery:
            for name in order:
                nursery.start_soon(one, name)
        assert stamps == [5000] * len(order)
        assert len(server.handles) == 1
        for file in opened:
            await file.aclose()
        assert not files._open
