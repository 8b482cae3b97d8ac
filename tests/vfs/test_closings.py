"""What is left to do when the kernel has closed a file: nobody waits for it, and it ends."""

from __future__ import annotations

import math

import trio
import trio.testing

from netfsfuse.vfs.files.closings import CLOSE_SECONDS, Closings
from netfsfuse.vfs.files.handle import FileHandles
from netfsfuse.vfs.inodes.inodes import Inode
from tests.vfs.fakes import Node, OpenFile, file_attr, mounted

Clock = trio.testing.MockClock


async def test_the_kernel_is_answered_before_the_server_has_closed(autojump_clock: Clock) -> None:
    tree = {"f": Node(file_attr(11, 200_000), bytes(200_000))}
    async with mounted(tree) as vfs:
        number = (await vfs.lookup("f")).number
        opened = await vfs.fs.open(number)
        await vfs.fs.read(opened.fh, 0, 1000)
        plain, closing = OpenFile.aclose, trio.Event()

        async def slow(self: OpenFile) -> None:
            await closing.wait()
            await plain(self)

        OpenFile.aclose = slow  # type: ignore[method-assign]
        try:
            with trio.fail_after(1):
                await vfs.fs.let_go(opened.fh)
            assert vfs.stats.vfs.handles == 0
            await trio.testing.wait_all_tasks_blocked()
            assert vfs.names.open_handles
            closing.set()
            await trio.testing.wait_all_tasks_blocked()
            assert not vfs.names.open_handles
        finally:
            OpenFile.aclose = plain  # type: ignore[method-assign]
        await vfs.fs.let_go(opened.fh)  # twice is nothing


async def test_a_small_file_that_was_at_hand_needs_no_task(autojump_clock: Clock) -> None:
    tree = {"f": Node(file_attr(11, 100), bytes(100))}
    async with mounted(tree, watching=True) as vfs:
        number = (await vfs.lookup("f")).number
        await vfs.content(number)
        opened = await vfs.fs.open(number)
        tasks = trio.lowlevel.current_statistics().tasks_living
        await vfs.fs.let_go(opened.fh)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert not vfs.names.open_handles


async def test_what_hangs_is_cancelled_in_time(autojump_clock: Clock) -> None:
    over: list[float] = []

    async def hanging() -> None:
        try:
            await trio.sleep(math.inf)
        finally:
            over.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        closings = Closings(nursery, FileHandles())  # type: ignore[arg-type]
        begun = trio.current_time()
        file = Inode(5, None, "", file_attr(5))
        closings.begin(file, hanging)
        await trio.sleep(CLOSE_SECONDS + 1)
        assert over == [begun + CLOSE_SECONDS]
        for _ in range(3):
            closings.begin(file, hanging)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(CLOSE_SECONDS / 2):
            await closings.aclose()
        assert len(over) == 4
        await closings.aclose()
