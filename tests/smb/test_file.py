"""An open file outlives its connection, if it is still the same file; otherwise it is stale."""

from __future__ import annotations

import pytest
import trio

from netfsfuse.errors import Disconnected, IsADirectory, NotFound, ServerBusy, Stale
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.wire.header import Command
from tests.smb import replies
from tests.smb.peer import Asked
from tests.smb.server import FILE_CLOSED, Node, Server, attr_of, serving

CONTENT = bytes(range(256)) * 4096


class Reader:
    """A file with a buffer."""

    def __init__(self, file: SmbFile) -> None:
        self.file = file
        self.buffer = Buffer(1 << 20, lambda _: None)

    async def read(self, start: int, length: int) -> bytes:
        got = await self.file.read(start, length, self.buffer, 0, demand=Demand(urgent=True))
        return bytes(self.buffer.payload[:got])


def one_file() -> Server:
    return Server({"f": Node(attr_of(7, len(CONTENT)), CONTENT)})


async def test_reads_and_the_end_of_file() -> None:
    async with serving(one_file()) as session:
        file = await SmbFile.open(session, "f")
        assert file.attr == attr_of(7, len(CONTENT))
        reader = Reader(file)
        assert await reader.read(1000, 500) == CONTENT[1000:1500]
        assert await reader.read(len(CONTENT) - 10, 500) == CONTENT[-10:]
        assert await reader.read(len(CONTENT), 500) == b""
        assert await file.query() == file.attr
        await file.aclose()
        with pytest.raises(Stale):
            await reader.read(0, 1)


async def test_refusals_are_raised() -> None:
    server = Server({"d": Node(attr_of(8, directory=True), entries=[])})
    async with serving(server) as session:
        with pytest.raises(NotFound):
            await SmbFile.open(session, "nothing")
        with pytest.raises(IsADirectory):
            await SmbFile.open(session, "d")


async def test_a_read_costs_no_more_credits_than_the_server_grants() -> None:
    server = one_file()
    server.credits = 7
    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        got = await Reader(file).read(0, 1 << 20)
        assert got == CONTENT[: 3 * 65536]
        assert server.asked[-1].charge == 3
        await file.aclose()


async def test_reopened_on_a_new_connection_once_for_all_readers() -> None:
    server = one_file()
    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        server.drop()
        readers = [Reader(file) for _ in range(8)]
        got: list[bytes] = []

        async def read(reader: Reader) -> None:
            got.append(await reader.read(5, 10))

        async with trio.open_nursery() as nursery:
            for reader in readers:
                nursery.start_soon(read, reader)
        assert got == [CONTENT[5:15]] * 8
        assert server.commands().count(Command.CREATE) == 2
        await file.aclose()


async def test_a_handle_that_the_server_closed_is_opened_again_once_and_none_leaks() -> None:
    """Many reads may be told FILE_CLOSED; only the first of them means the handle we have now."""
    server = one_file()
    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        server.handles.clear()
        got: list[bytes] = []

        async def read() -> None:
            got.append(await Reader(file).read(0, 4))

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(read)
        assert got == [CONTENT[:4]] * 8
        assert server.commands().count(Command.CREATE) == 2
        await file.aclose()


async def test_a_server_that_closes_every_handle_is_not_asked_for_ever() -> None:
    server = one_file()

    def hook(asked: Asked) -> bytes | None:
        if asked.command != Command.READ:
            return None
        body = replies.error_body()
        return replies.reply(8, asked.message_id, body, status=FILE_CLOSED)

    async with serving(server) as session:
        server.hook = hook
        file = await SmbFile.open(session, "f")
        with pytest.raises(Stale):
            await Reader(file).read(0, 4)
        assert server.commands().count(Command.READ) == 2
        server.handles.clear()
        await file.aclose()


CHANGED = {
    "written to": (Node(attr_of(7, 4, stamp=2000), b"new!"), True),
    "read by others": (Node(attr_of(7, 4)._replace(access=3000), b"same"), True),
    "another file": (Node(attr_of(8, 4), b"new!"), False),
    "made anew with the same FileId": (Node(attr_of(7, 4)._replace(creation=900), b"new!"), False),
    "gone": (None, False),
    "a directory": (Node(attr_of(9, directory=True), entries=[]), False),
}


@pytest.mark.parametrize("what", CHANGED)
async def test_what_is_at_the_path_after_a_reconnect(what: str) -> None:
    node, is_same = CHANGED[what]
    server = Server({"f": Node(attr_of(7, 4), b"same")})
    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        server.drop()
        del server.nodes["f"]
        if node is not None:
            server.nodes["f"] = node
        reader = Reader(file)
        if is_same:
            assert node is not None
            assert await reader.read(0, 10) == node.content
        else:
            for _ in range(2):
                with pytest.raises(Stale):
                    await reader.read(0, 10)
            assert server.commands().count(Command.READ) == 0
        await file.aclose()


async def test_stale_stays_stale_when_the_old_file_comes_back() -> None:
    server = Server({"f": Node(attr_of(7, 4), b"same")})
    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        server.drop()
        node = server.nodes.pop("f")
        with pytest.raises(Stale):
            await Reader(file).read(0, 4)
        server.nodes["f"] = node
        with pytest.raises(Stale):
            await Reader(file).read(0, 4)
        await file.aclose()


async def test_a_busy_server_makes_no_handle_stale() -> None:
    server = one_file()
    busy = [True]

    def hook(asked: Asked) -> bytes | None:
        if asked.command == Command.CREATE and busy.pop():
            body = replies.error_body()
            return replies.reply(5, asked.message_id, body, status=0xC0000205)
        return None

    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        server.hook = hook
        server.drop()
        with pytest.raises(ServerBusy):
            await Reader(file).read(0, 4)
        busy.append(False)
        assert await Reader(file).read(0, 4) == CONTENT[:4]
        await file.aclose()


async def test_a_read_that_loses_its_connection_again_and_again_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("netfsfuse.smb.session.lifecycle.SOFT", 0.3)
    server = one_file()
    server.hook = lambda asked: False if asked.command == Command.READ else None
    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        with pytest.raises(Disconnected):
            await Reader(file).read(0, 4)
        assert 2 <= server.commands().count(Command.READ) <= 5
        await file.aclose()


async def test_a_handle_of_a_dead_connection_is_not_closed_on_the_new_one() -> None:
    server = one_file()
    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        server.drop()
        other = await SmbFile.open(session, "f")
        await file.aclose()
        assert Command.CLOSE not in server.commands()
        await other.aclose()


async def test_each_error_of_a_stale_file_is_its_own() -> None:
    """One raised again and again would hold on to what each of its readers had at hand."""
    server = Server({"f": Node(attr_of(7, 4), b"same")})
    async with serving(server) as session:
        file = await SmbFile.open(session, "f")
        server.drop()
        del server.nodes["f"]
        errors = []
        for _ in range(3):
            with pytest.raises(Stale) as caught:
                await Reader(file).read(0, 4)
            errors.append(caught.value)
        assert len(set(map(id, errors))) == 3
        assert str(errors[0]) == str(errors[2])
        await file.aclose()
