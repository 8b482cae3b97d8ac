"""Files that stay open are held open on the server, and are asked by their handles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from netfsfuse.errors import AccessDenied, Disconnected, Locked, Stale
from netfsfuse.vfs.files.holding import HELD_AFTER
from netfsfuse.vfs.prefetch.fetch import Fetch
from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock


@asynccontextmanager
async def opened_from_memory(
    *, times: int = 1, at_hand: bool = False
) -> AsyncIterator[tuple[Vfs, int]]:
    """A small file that is opened without a message; ``at_hand``: with its bytes."""
    tree = {"d": Node(dir_attr(10)), "d/f": Node(file_attr(11, 3), b"old")}
    async with mounted(tree, watching=True) as vfs:
        d = await vfs.lookup("d")
        await vfs.lookup("f", d.number)
        await vfs.content(11)
        await trio.sleep(2.5)
        await vfs.fs.getattr(11)
        if at_hand:
            fetch = Fetch(d, "f", vfs.names.tree["d/f"].attr, trio.current_time())
            fetch.head = memoryview(b"old")
            fetch.done.set()
            vfs.fs._ahead._fetches[10, "f"] = fetch
        vfs.names.asked.clear()
        opened = [await vfs.fs.open(11) for _ in range(times)]
        assert vfs.names.asked == []
        yield vfs, opened[0].fh
        for one in opened:
            await vfs.fs.release(one.fh)


async def test_a_file_closed_at_once_costs_nothing(autojump_clock: Clock) -> None:
    async with opened_from_memory() as (vfs, _):
        pass
    assert vfs.names.count("open") == 0


async def test_a_file_that_stays_open_is_held(autojump_clock: Clock) -> None:
    """Whatever becomes of its path then, it has attributes and bytes."""
    async with opened_from_memory() as (vfs, fh):
        await trio.sleep(2.1 * HELD_AFTER)
        assert vfs.names.asked == [("open", "d/f")]
        vfs.names.tree["d/f"] = Node(file_attr(12, 30, age=9), b"new")
        await trio.sleep(40)  # no watch is believed for so long
        for _ in range(2):
            assert (await vfs.fs.getattr(11)).attr.size == 3
            await trio.sleep(1.1)
        assert vfs.names.count("stat") == 1  # from then on the handle is asked
        assert await vfs.fs.read(fh, 0, 100) == b"old"
        with pytest.raises(Stale):  # the kernel looks the name up anew
            await vfs.fs.open(11)


@pytest.mark.parametrize("there", [None, Node(file_attr(11, 5, age=1, born=1), b"given")])
async def test_a_file_lost_before_it_was_held_is_what_it_was(
    there: Node | None, autojump_clock: Clock
) -> None:
    """Gone, or its number may be another file's."""
    async with opened_from_memory() as (vfs, fh):
        del vfs.names.tree["d/f"]
        if there is not None:
            vfs.names.tree["d/f"] = there
        await trio.sleep(40)
        assert (await vfs.fs.getattr(11)).attr.size == 3
        with pytest.raises(Stale):
            await vfs.fs.read(fh, 0, 100)  # no byte of it was at hand


@pytest.mark.parametrize("there", [None, Node(file_attr(11, 5, age=1, born=1), b"given")])
async def test_a_lost_file_that_came_with_its_open_is_read_on(
    there: Node | None, autojump_clock: Clock
) -> None:
    """Its own bytes are at hand, whatever is at its path now."""
    async with opened_from_memory(at_hand=True) as (vfs, fh):
        del vfs.names.tree["d/f"]
        if there is not None:
            vfs.names.tree["d/f"] = there
        await trio.sleep(40)
        assert vfs.names.count("open") == 1  # to be held, which failed
        for start in range(4):
            assert bytes(await vfs.fs.read(fh, start, 100)) == b"old"[start:]
        assert vfs.names.count("read") == 0


async def test_a_file_that_another_client_does_not_share_is_what_it_was(
    autojump_clock: Clock,
) -> None:
    """No fstat fails with EBUSY."""
    async with opened_from_memory() as (vfs, _):

        def locked(what: str, path: str) -> None:
            if what in ("open", "query"):
                raise Locked(path)

        vfs.names.before = locked
        vfs.names.tree["d/f"] = Node(file_attr(12, 5, age=9), b"other")
        await trio.sleep(40)
        assert (await vfs.fs.getattr(11)).attr.size == 3


async def test_holding_waits_for_a_server_that_is_away(autojump_clock: Clock) -> None:
    async with opened_from_memory() as (vfs, _):
        left = 3

        def away(what: str, path: str) -> None:
            nonlocal left
            left -= 1
            if left:
                raise Disconnected(path)

        vfs.names.before = away
        await trio.sleep(10)
        assert vfs.names.count("open") == 3


async def test_a_refusal_is_nobodys_error(autojump_clock: Clock) -> None:
    async with opened_from_memory(times=20) as (vfs, _):

        async def refuse(what: str, path: str) -> None:
            await trio.sleep(0.5)
            raise AccessDenied(path)

        vfs.names.before = refuse
        await trio.sleep(10)
        assert vfs.names.count("open") == 20


async def test_a_path_that_is_refused_now_leaves_an_open_file_alone(
    autojump_clock: Clock,
) -> None:
    async with mounted({"f": Node(file_attr(11, 3), b"old")}, actimeo=0) as vfs:
        await vfs.lookup("f")
        opened = await vfs.fs.open(11)

        def refuse(what: str, path: str) -> None:
            if what == "stat":
                raise AccessDenied(path)

        vfs.names.before = refuse
        assert (await vfs.fs.getattr(11)).attr.size == 3
        await vfs.fs.release(opened.fh)
        with pytest.raises(AccessDenied):
            await vfs.fs.getattr(11)
