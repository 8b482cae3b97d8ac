"""A file that is opened when it must be: it never silently becomes another, and leaks nothing."""

from __future__ import annotations

import pytest
import trio

from netfsfuse.errors import Stale
from netfsfuse.smb.share.deferred import DeferredFile
from netfsfuse.smb.share.openfiles import OpenFiles
from netfsfuse.smb.wire.header import Command
from netfsfuse.types import FileAttr
from tests.smb.peer import Asked
from tests.smb.server import Node, Server, attr_of, serving, settled
from tests.smb.test_file import Reader

OLD = b"old bytes"


def derived(stamp: int, size: int = len(OLD), file_id: int = 7) -> FileAttr:
    """As Samba describes a file without a stored creation time."""
    return attr_of(file_id, size, stamp=stamp)._replace(creation=stamp)


def later(files: OpenFiles, attr: FileAttr, told: list[FileAttr]) -> DeferredFile:
    return DeferredFile(files, "f", attr, told.append)


@pytest.mark.parametrize(
    "there",
    [
        None,
        Node(derived(2000), b"new bytes"),  # it was given the number, or was written to
        Node(derived(1000, file_id=8), OLD),
        Node(attr_of(7, directory=True), entries=[]),
    ],
    ids=["gone", "a new file, or not", "another number", "a directory"],
)
async def test_what_may_be_another_file_is_not_read(there: Node | None) -> None:
    """For good, whatever is at its path afterwards."""
    server = Server({} if there is None else {"f": there})
    async with serving(server) as session:
        files, told = OpenFiles(session), list[FileAttr]()
        file = later(files, derived(1000), told)
        for _ in range(2):
            with pytest.raises(Stale):
                await file.query()
            assert not file.is_held
            for size in (5, 50):
                with pytest.raises(Stale):
                    await Reader(file).read(4, size)
        assert server.commands().count(Command.CREATE) == 1
        assert told == []
        await file.aclose()


@pytest.mark.parametrize(
    "now",
    [
        derived(1000),
        derived(1000)._replace(access=900, creation=900),  # read by others
        derived(1000)._replace(write=2000, change=2000, size=50),  # written to, its access time not
    ],
)
async def test_what_is_surely_the_file_is_held_and_lives_on(now: FileAttr) -> None:
    server = Server({"f": Node(now, b"now bytes, and more")})
    async with serving(server) as session:
        files, told = OpenFiles(session), list[FileAttr]()
        file = later(files, derived(1000), told)
        await file.hold()
        assert file.is_held
        assert told == ([now] if now.write == 2000 else [])
        server.nodes["f"] = Node(derived(3000), b"new")  # renamed over it
        assert await file.query() == now
        assert await Reader(file).read(0, 50) == b"now bytes, and more"
        assert server.commands().count(Command.CREATE) == 1
        await file.aclose()
        assert not files._open


async def test_a_close_while_it_is_being_opened_leaves_no_handle() -> None:
    server = Server({"f": Node(derived(1000), OLD)})
    async with serving(server) as session:
        files = OpenFiles(session)
        file = later(files, derived(1000), [])
        async with trio.open_nursery() as nursery:

            def hook(asked: Asked) -> None:
                if asked.command == Command.CREATE:
                    nursery.start_soon(file.aclose)

            server.hook = hook
            with pytest.raises(Stale):
                await file.hold()
        await settled(session)
        assert not server.handles
        assert not files._open


async def test_a_cancelled_close_leaves_no_handle() -> None:
    """As a release that its deadline has cancelled."""
    server = Server({"f": Node(derived(1000), OLD)})
    async with serving(server) as session:
        files = OpenFiles(session)
        file = later(files, derived(1000), [])
        await file.hold()
        with trio.CancelScope() as scope:
            scope.cancel()
            await file.aclose()
        await settled(session)
        assert not server.handles
        assert not files._open
