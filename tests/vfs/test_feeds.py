"""Reading along: pages of what happened, what is lost, and when a feed ends."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import trio
import trio.testing

from netfsfuse.errors import NotADirectory, NotSupported
from netfsfuse.types import Change, ChangeKind, Reach
from netfsfuse.vfs.feed.feeds import FEEDS_MAX, IDLE, PAGE, PATH_MAX, REMEMBERED
from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock


def tree() -> dict[str, Node]:
    nodes = {"d": Node(dir_attr(10)), "d/sub": Node(dir_attr(11)), "d/f": Node(file_attr(12))}
    return nodes | {f"e{n}": Node(dir_attr(20 + n)) for n in range(FEEDS_MAX)}


async def begun(vfs: Vfs, name: str = "d") -> tuple[int, int]:
    """A feed's directory, and where it begins."""
    number = (await vfs.lookup(name)).number
    vfs.fs.feeds.page(vfs.fs.inodes.get(number), -1)
    await trio.testing.wait_all_tasks_blocked()
    return number, vfs.fs.feeds.page(vfs.fs.inodes.get(number), -1).next_seq


async def read(vfs: Vfs, number: int, after: int) -> tuple[int, list[tuple[str, str, str]]]:
    await trio.testing.wait_all_tasks_blocked()
    page = vfs.fs.feeds.page(vfs.fs.inodes.get(number), after)
    return page.next_seq, [(each.kind, each.path, each.to) for each in page.events]


async def end(vfs: Vfs) -> None:
    await trio.sleep(IDLE + 2)
    assert vfs.fs.feeds._feeds == {}
    assert vfs.names.watches == []


async def test_what_happens_is_told_in_order(autojump_clock: Clock) -> None:
    async with mounted(tree(), watching=True) as vfs:
        number, last = await begun(vfs)
        assert await read(vfs, number, last) == (last, [])
        vfs.names.tell("d", Change("new", ChangeKind.CREATED), Change("f", ChangeKind.MODIFIED))
        vfs.names.tell(
            "d/sub",
            Change("a", ChangeKind.RENAMED_FROM),
            Change("b", ChangeKind.RENAMED_TO),
            Change("c", ChangeKind.RENAMED_FROM),
        )
        next_seq, told = await read(vfs, number, last)
        own = [each for each in told if each[1] in ("new", "f")]
        assert own == [("created", "new", ""), ("modified", "f", "")]
        assert ("renamed", "sub/a", "sub/b") in told
        assert ("removed", "sub/c", "") in told  # to somewhere else
        assert len(told) == 4  # each once, though the tree's watch is told as well
        assert await read(vfs, number, next_seq) == (next_seq, [])
        assert (await read(vfs, number, last))[1] == told  # two readers, one feed
        await end(vfs)


async def test_a_slow_reader_is_told_of_the_loss(autojump_clock: Clock) -> None:
    async with mounted(tree(), watching=True) as vfs:
        number, last = await begun(vfs)
        for first in range(0, REMEMBERED + 200, 100):
            names = [f"n{first + n}" for n in range(100)]
            vfs.names.tell("d", *(Change(name, ChangeKind.MODIFIED) for name in names))
            await trio.testing.wait_all_tasks_blocked()
        next_seq, told = await read(vfs, number, last)
        assert told[0][0] == "lost"
        assert len(told) == PAGE + 1
        count = PAGE
        while told:
            next_seq, told = await read(vfs, number, next_seq)
            assert "lost" not in [kind for kind, _, _ in told]
            count += len(told)
        assert count == REMEMBERED
        await end(vfs)


async def test_the_servers_own_loss_is_told(autojump_clock: Clock) -> None:
    async with mounted(tree(), watching=True) as vfs:
        number, last = await begun(vfs)
        vfs.names.tell("d")
        assert "lost" in [kind for kind, _, _ in (await read(vfs, number, last))[1]]
        await end(vfs)


async def test_an_outage(autojump_clock: Clock) -> None:
    async with mounted(tree(), watching=True) as vfs:
        number, last = await begun(vfs)
        for watch in list(vfs.names.watches):
            watch.send.send_nowait(None)
        await trio.sleep(3)
        next_seq, told = await read(vfs, number, last)
        assert told == [("lost", "", "")]
        vfs.names.tell("d", Change("f", ChangeKind.MODIFIED))
        assert (await read(vfs, number, next_seq))[1] == [("modified", "f", "")]
        await end(vfs)


async def test_who_comes_back_late_is_told_of_the_loss(autojump_clock: Clock) -> None:
    async with mounted(tree(), watching=True) as vfs:
        number, last = await begun(vfs)
        await end(vfs)
        await read(vfs, number, last)
        assert (await read(vfs, number, last))[1] == [("lost", "", "")]
        await end(vfs)


async def test_refusals(autojump_clock: Clock) -> None:
    async with mounted(tree(), watching=True) as vfs:
        for n in range(FEEDS_MAX):
            await begun(vfs, f"e{n}")
        directory = await vfs.lookup("d")
        with pytest.raises(NotSupported):
            vfs.fs.feeds.page(directory, -1)
        file = await vfs.fs.lookup(directory.number, b"f")
        file.nlookup += 1
        with pytest.raises(NotADirectory):
            vfs.fs.feeds.page(file, -1)
        await end(vfs)


@pytest.mark.parametrize("letter", ["x", "\u5199", "\U0001f600", "\x01", "\udc80"])
async def test_an_answer_fits_into_an_attribute(autojump_clock: Clock, letter: str) -> None:
    """However long the names are, and however they are written."""
    longest = PATH_MAX // len(letter.encode("utf-8", "surrogatepass"))
    names = [letter * (longest - 4) + f"{n:04}" for n in range(150)]
    async with mounted(tree(), watching=True) as vfs:
        number, last = await begun(vfs)
        for name in names:
            vfs.names.tell(
                "d", Change("f", ChangeKind.RENAMED_FROM), Change(name, ChangeKind.RENAMED_TO)
            )
            vfs.names.tell(
                "d", Change(name, ChangeKind.RENAMED_FROM), Change(name, ChangeKind.RENAMED_TO)
            )
        told: list[str] = []
        while True:
            await trio.testing.wait_all_tasks_blocked()
            page = vfs.fs.feeds.page(vfs.fs.inodes.get(number), last)
            if not page.events:
                break
            last = page.next_seq
            told += [each.to for each in page.events]
            answer = {"next": last, "changes": [asdict(each) for each in page.events]}
            assert len(json.dumps(answer)) < 64 * 1024
        assert told == [name for name in names for _ in range(2)]
        await end(vfs)


async def test_each_doubt_is_told(autojump_clock: Clock) -> None:
    """The machine has slept, twice: each time something may not have been told."""
    async with mounted(tree(), watching=True) as vfs:
        number, last = await begun(vfs)
        for _ in range(2):
            for doubt in vfs.names.reachability.doubts:
                doubt()
            last, told = await read(vfs, number, last)
            assert told == [("lost", "", "")]
        vfs.names.reachability.become(Reach.DOWN)
        for doubt in vfs.names.reachability.doubts:
            doubt()
        assert await read(vfs, number, last) == (last, [])  # but when it is watched again
        vfs.names.reachability.become(Reach.UP)
        await end(vfs)


async def test_a_path_that_nobody_could_use_is_told_as_lost(autojump_clock: Clock) -> None:
    async with mounted(tree(), watching=True) as vfs:
        number, last = await begun(vfs)
        long = Change("x" * (PATH_MAX + 1), ChangeKind.RENAMED_FROM)
        vfs.names.tell("d", long, Change("f", ChangeKind.RENAMED_TO))
        assert (await read(vfs, number, last))[1] == [("lost", "", ""), ("created", "f", "")]
        await end(vfs)
