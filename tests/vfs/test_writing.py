"""Files that are made, written, cut and closed: bytes, sizes, times, errors, other clients."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from netfsfuse.errors import AccessDenied, AlreadyExists, DiskFull
from netfsfuse.vfs.files.file_writes import READING, Flags
from netfsfuse.vfs.files.written import WrittenFile
from tests.vfs.fakes import Node, dir_attr, file_attr, mounted
from tests.vfs.written_fakes import WritableFakes

Clock = trio.testing.MockClock
WRITING = Flags(writes=True)


def tree() -> dict[str, Node]:
    return {"f": Node(file_attr(11, 3), b"one"), "d": Node(dir_attr(10))}


def server(leases: bool = True) -> WritableFakes:
    return WritableFakes({"": Node(dir_attr(2)), **tree()}, leases=leases)


def hold(vfs, kind: str) -> trio.Event:
    """Calls of that kind wait on the server until the event is set."""
    release = trio.Event()

    async def wait(what: str, path: str) -> None:
        if what == kind:
            await release.wait()

    vfs.names.before = wait
    return release


async def create(vfs, name: str = "new", flags: Flags = WRITING, *, exclusive: bool = False):
    """As the kernel does it: the look-up counts."""
    inode, opened = await vfs.fs.create(1, name.encode(), flags, exclusive=exclusive)
    inode.nlookup += 1
    return inode, opened.fh


@pytest.mark.parametrize("leases", [True, False])
async def test_a_new_file_is_on_the_server_when_it_is_closed(
    leases: bool, autojump_clock: Clock
) -> None:
    async with mounted(names=server(leases)) as vfs:
        inode, fh = await create(vfs)
        await vfs.fs.write(fh, 0, b"hello ")
        await vfs.fs.write(fh, 6, b"world")
        assert (await vfs.fs.getattr(inode.number)).attr.size == 11
        assert bytes(await vfs.fs.read(fh, 0, 100)) == b"hello world"
        await vfs.fs.flush(fh)
        assert vfs.names.tree["new"].content == b"hello world"
        await vfs.fs.release(fh)
        assert vfs.names.written[-1].finished == 1
        vfs.names.asked.clear()
        assert (await vfs.fs.getattr(inode.number)).attr == vfs.names.tree["new"].attr
        assert vfs.names.asked == []
        assert await vfs.content(inode.number) == b"hello world"


async def test_what_is_written_waits_here_only_under_a_lease(autojump_clock: Clock) -> None:
    for leases, mode, behind in (
        (True, "strict", True),
        (False, "strict", False),
        (False, "loose", True),
        (True, "none", False),
    ):
        async with mounted(names=server(leases), mode=mode) as vfs:
            _, fh = await create(vfs)
            vfs.names.refuse = lambda start, length: DiskFull("full")
            if behind:
                await vfs.fs.write(fh, 0, b"x")
                with pytest.raises(DiskFull):
                    await vfs.fs.flush(fh)
            else:
                with pytest.raises(DiskFull):
                    await vfs.fs.write(fh, 0, b"x")
            vfs.names.refuse = lambda start, length: None
            await vfs.fs.release(fh)


async def test_an_error_is_told_once_to_each_handle_that_was_open(autojump_clock: Clock) -> None:
    async with mounted(names=server()) as vfs:
        inode, first = await create(vfs)
        second = (await vfs.fs.open(inode.number, WRITING)).fh
        vfs.names.refuse = lambda start, length: DiskFull("full")
        await vfs.fs.write(first, 0, b"lost")
        with pytest.raises(DiskFull):
            await vfs.fs.fsync(first)
        vfs.names.refuse = lambda start, length: None
        third = (await vfs.fs.open(inode.number, WRITING)).fh
        await vfs.fs.fsync(first)
        await vfs.fs.flush(third)
        with pytest.raises(DiskFull):
            await vfs.fs.flush(second)
        await vfs.fs.write(second, 0, b"kept")
        await vfs.fs.flush(second)
        assert vfs.names.tree["new"].content == b"kept"
        for fh in (first, second, third):
            await vfs.fs.release(fh)


async def test_readers_see_what_is_not_on_the_server_yet(autojump_clock: Clock) -> None:
    """Whether they opened before the writer, meanwhile, or read after it has closed."""
    async with mounted(names=server()) as vfs:
        await vfs.lookup("f")
        before = await vfs.fs.open(11)
        assert bytes(await vfs.fs.read(before.fh, 0, 9)) == b"one"
        writer = (await vfs.fs.open(11, WRITING)).fh
        await vfs.fs.write(writer, 1, b"N")
        vfs.names.asked.clear()
        meanwhile = await vfs.fs.open(11, READING)
        assert ("open", "f") not in vfs.names.asked
        for fh in (before.fh, meanwhile.fh, writer):
            assert bytes(await vfs.fs.read(fh, 0, 9)) == b"oNe"
        await vfs.fs.flush(writer)
        await vfs.fs.release(writer)
        assert vfs.names.written[-1].finished == 0  # a reader has it still
        await vfs.fs.release(meanwhile.fh)
        assert vfs.names.written[-1].finished == 1
        assert bytes(await vfs.fs.read(before.fh, 0, 9)) == b"oNe"
        await vfs.fs.release(before.fh)


@pytest.mark.parametrize("keeps_reads", [True, False])
async def test_another_client_gets_what_was_written(
    keeps_reads: bool, autojump_clock: Clock
) -> None:
    async with mounted(names=server()) as vfs:
        await vfs.lookup("f")
        fh = (await vfs.fs.open(11, WRITING)).fh
        await vfs.fs.write(fh, 3, b" two")
        assert vfs.names.tree["f"].content == b"one"
        dropped = []
        vfs.kernel.on_changed = lambda directory, changes: dropped.extend(changes)
        await vfs.names.want(keeps_reads=keeps_reads)
        assert vfs.names.tree["f"].content == b"one two"
        assert [change.name for change in dropped] == ([] if keeps_reads else ["f"])
        await vfs.fs.write(fh, 7, b"!")
        assert vfs.names.tree["f"].content == b"one two!"
        vfs.names.tree["f"].content = b"another's"
        assert bytes(await vfs.fs.read(fh, 0, 9)) == b"another's"
        await vfs.fs.release(fh)


async def test_a_late_answer_does_not_move_size_and_times_back(autojump_clock: Clock) -> None:
    async with mounted(names=server(leases=False), actimeo=0) as vfs:
        await vfs.lookup("f")
        fh = (await vfs.fs.open(11, WRITING)).fh
        old = vfs.names.tree["f"].attr
        held = trio.Event()

        async def stat() -> None:
            inode = await vfs.fs.getattr(11)
            assert inode.attr.size == 7

        async def wait(what: str, path: str) -> None:
            if what == "stat":
                await held.wait()

        vfs.names.before = wait
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stat)
            await trio.testing.wait_all_tasks_blocked()
            vfs.names.before = lambda what, path: None
            await vfs.fs.write(fh, 3, b" two")
            new = vfs.names.tree["f"].attr
            vfs.names.tree["f"].attr = old  # the answer is as old as the question
            held.set()
        vfs.names.tree["f"].attr = new
        await vfs.fs.release(fh)


async def test_size_and_times_of_a_file_that_is_written(autojump_clock: Clock) -> None:
    """Set without a handle, as tar and rsync do; the server is told with the data."""
    async with mounted(names=server()) as vfs:
        inode, fh = await create(vfs)
        await vfs.fs.write(fh, 0, b"12345")
        await vfs.fs.setattr(inode.number, size=3)
        assert inode.attr.size == 3
        await vfs.fs.setattr(inode.number, write=12345000, access=777000)
        assert (inode.attr.write, inode.attr.access) == (12345000, 777000)
        assert vfs.names.count("set_times") == 0
        await vfs.fs.flush(fh)
        assert vfs.names.count("set_times") == 1
        await vfs.fs.release(fh)
        attr = vfs.names.tree["new"].attr
        assert (attr.write, attr.access, attr.size) == (12345000, 777000, 3)
        assert inode.attr == attr


async def test_a_write_after_times_were_set_moves_them(autojump_clock: Clock) -> None:
    async with mounted(names=server()) as vfs:
        inode, fh = await create(vfs)
        await vfs.fs.setattr(inode.number, write=12345000)
        await vfs.fs.write(fh, 0, b"12345")
        shown = (await vfs.fs.getattr(inode.number)).attr.write
        assert shown > 12345000
        await vfs.fs.flush(fh)
        await vfs.fs.release(fh)
        assert vfs.names.tree["new"].attr.write == inode.attr.write == shown


async def test_a_time_of_the_server_does_not_go_back_at_a_change(autojump_clock: Clock) -> None:
    """Ours is cautious where the server's own will be shown: no earlier than what was shown."""
    names = server(leases=False)
    async with mounted(names=names) as vfs:
        inode, fh = await create(vfs)
        inode.attr = inode.attr._replace(write=inode.attr.write + 5_000_000)
        before = inode.attr.write
        await vfs.fs.setattr(inode.number, size=100)
        assert inode.attr.write >= before
        await vfs.fs.release(fh)


async def test_opens_that_make_and_cut(autojump_clock: Clock) -> None:
    async with mounted(names=server()) as vfs:
        with pytest.raises(AlreadyExists):
            await vfs.fs.create(1, b"f", WRITING, exclusive=True)
        await vfs.lookup("f")
        fh = (await vfs.fs.open(11, Flags.of(os.O_WRONLY | os.O_TRUNC))).fh
        assert vfs.names.tree["f"].content == b""
        await vfs.fs.write(fh, 0, b"new")
        await vfs.fs.flush(fh)
        await vfs.fs.release(fh)
        assert vfs.names.tree["f"].content == b"new"


async def test_appending_without_a_lease_finds_the_end_of_the_file(autojump_clock: Clock) -> None:
    async with mounted(names=server(leases=False)) as vfs:
        await vfs.lookup("f")
        fh = (await vfs.fs.open(11, Flags.of(os.O_WRONLY | os.O_APPEND))).fh
        node = vfs.names.tree["f"]
        node.content += b" another's"
        node.attr = node.attr._replace(size=len(node.content))
        await vfs.fs.write(fh, 3, b" ours")
        assert node.content == b"one another's ours"
        assert [what for what, _ in vfs.names.asked][-3:] == ["lock", "write", "unlock"]
        await vfs.fs.release(fh)


@pytest.mark.parametrize("leases", [True, False])
@pytest.mark.parametrize("stale", [0, 2, 3])
async def test_appending_goes_to_the_end_wherever_the_kernel_takes_it_to_be(
    leases: bool, stale: int, autojump_clock: Clock
) -> None:
    """open(2) with O_APPEND asks for nothing: the kernel may never have heard of the size."""
    async with mounted(names=server(leases=leases)) as vfs:
        await vfs.lookup("f")
        fh = (await vfs.fs.open(11, Flags.of(os.O_RDWR | os.O_APPEND))).fh
        await vfs.fs.write(fh, stale, b" two")
        await vfs.fs.write(fh, stale + 4, b" three")
        assert bytes(await vfs.fs.read(fh, 0, 100)) == b"one two three"
        await vfs.fs.flush(fh)
        assert vfs.names.tree["f"].content == b"one two three"
        await vfs.fs.release(fh)


async def test_without_pages_a_read_may_begin_behind_the_end(autojump_clock: Clock) -> None:
    """By whichever handle: the kernel, which keeps no pages, asks for what programs ask for."""
    async with mounted(names=server(), mode="none") as vfs:
        await vfs.lookup("f")
        fh = (await vfs.fs.open(11, Flags.of(os.O_RDWR))).fh
        assert bytes(await vfs.fs.read(fh, 4096, 100)) == b""
        assert bytes(await vfs.fs.read(fh, 1, 100)) == b"ne"
        await vfs.fs.release(fh)


async def test_pages_that_were_mapped_are_written_where_they_are(autojump_clock: Clock) -> None:
    """By any handle that the kernel has, one that appends too."""
    async with mounted(names=server(leases=False)) as vfs:
        await vfs.lookup("f")
        fh = (await vfs.fs.open(11, Flags.of(os.O_RDWR | os.O_APPEND))).fh
        await vfs.fs.write(fh, 3, b" two")
        await vfs.fs.write(fh, 0, b"ONE TWO")
        assert vfs.names.tree["f"].content == b"ONE TWO"
        await vfs.fs.write(fh, 7, b"!")
        assert vfs.names.tree["f"].content == b"ONE TWO!"
        await vfs.fs.release(fh)


@pytest.mark.parametrize("leases", [True, False])
async def test_so_they_are_where_an_open_has_cut_the_file(
    leases: bool, autojump_clock: Clock
) -> None:
    """The kernel knows it without being told, and tells pages by it."""
    async with mounted(names=server(leases)) as vfs:
        await vfs.lookup("f")
        fh = (await vfs.fs.open(11, Flags.of(os.O_RDWR | os.O_APPEND))).fh
        other = (await vfs.fs.open(11, Flags.of(os.O_RDWR | os.O_TRUNC))).fh
        await vfs.fs.write(fh, 0, b"t")
        await vfs.fs.write(fh, 0, b"T")
        await vfs.fs.flush(fh)
        assert vfs.names.tree["f"].content == b"T"
        await vfs.fs.release(other)
        await vfs.fs.release(fh)


async def test_a_file_that_is_opened_again_while_it_is_closed(autojump_clock: Clock) -> None:
    async with mounted(names=server()) as vfs:
        inode, fh = await create(vfs)
        await vfs.fs.write(fh, 0, b"data")
        release = hold(vfs, "finish")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(vfs.fs.release, fh)
            await trio.testing.wait_all_tasks_blocked()

            async def again() -> None:
                other = (await vfs.fs.open(inode.number, WRITING)).fh
                assert bytes(await vfs.fs.read(other, 0, 9)) == b"data"
                await vfs.fs.release(other)

            nursery.start_soon(again)
            await trio.testing.wait_all_tasks_blocked()
            assert len(vfs.names.written) == 1
            release.set()
        assert len(vfs.names.written) == 2


async def test_a_reader_that_comes_while_the_writer_is_closed(autojump_clock: Clock) -> None:
    """It waits, and has a handle of its own; one that was there before reads by its own, too."""
    async with mounted(names=server()) as vfs:
        await vfs.lookup("f")
        before = await vfs.fs.open(11)
        fh = (await vfs.fs.open(11, WRITING)).fh
        await vfs.fs.write(fh, 0, b"ONE")
        release = hold(vfs, "finish")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(vfs.fs.release, fh)
            await trio.testing.wait_all_tasks_blocked()
            assert bytes(await vfs.fs.read(before.fh, 0, 9)) == b"ONE"

            async def read() -> None:
                assert await vfs.content(11) == b"ONE"

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            release.set()
        await vfs.fs.release(before.fh)


async def test_a_name_whose_file_is_being_closed_is_removed_afterwards(
    autojump_clock: Clock,
) -> None:
    """close(2) returns before the kernel tells of it. One that is open for certain is not waited
    for: the server decides."""
    async with mounted(names=server()) as vfs:
        _, fh = await create(vfs)
        await vfs.fs.write(fh, 0, b"data")
        began = trio.current_time()
        await vfs.fs.mutations.unlink(1, b"new")
        assert trio.current_time() == began
        await vfs.fs.release(fh)
        _, fh = await create(vfs)
        await vfs.fs.flush(fh)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(vfs.fs.mutations.unlink, 1, b"new")
            await trio.testing.wait_all_tasks_blocked()
            vfs.names.asked.clear()
            await vfs.fs.let_go(fh)
        assert [what for what, _ in vfs.names.asked] == ["finish", "remove"]


async def test_no_time_is_shown_that_the_server_does_not_keep(autojump_clock: Clock) -> None:
    """While a file is being closed the server's own is waited for."""
    async with mounted(names=server()) as vfs:
        inode, fh = await create(vfs)
        await vfs.fs.write(fh, 0, b"data")
        await vfs.fs.flush(fh)
        release = hold(vfs, "finish")
        shown = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(vfs.fs.release, fh)
            await trio.testing.wait_all_tasks_blocked()

            async def stat() -> None:
                shown.append((await vfs.fs.getattr(inode.number)).attr)

            nursery.start_soon(stat)
            await trio.testing.wait_all_tasks_blocked()
            assert shown == []
            release.set()
        assert shown == [vfs.names.tree["new"].attr]


async def test_a_file_that_may_be_written_and_not_read(autojump_clock: Clock) -> None:
    async with mounted(names=server()) as vfs:
        await vfs.lookup("f")
        vfs.names.may_read = False
        with pytest.raises(AccessDenied):
            await vfs.fs.open(11, Flags.of(os.O_RDWR))
        fh = (await vfs.fs.open(11, Flags.of(os.O_WRONLY))).fh
        await vfs.fs.write(fh, 0, b"ONE")
        await vfs.fs.release(fh)
        assert vfs.names.tree["f"].content == b"ONE"


async def test_an_append_while_the_lease_is_given_back(autojump_clock: Clock) -> None:
    """It goes behind what was written before, though the server has not got that yet."""
    async with mounted(names=server()) as vfs:
        await vfs.lookup("f")
        fh = (await vfs.fs.open(11, Flags.of(os.O_WRONLY | os.O_APPEND))).fh
        await vfs.fs.write(fh, 3, b" two")
        release = hold(vfs, "write")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(vfs.names.want)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(vfs.fs.write, fh, 7, b" three")
            await trio.testing.wait_all_tasks_blocked()
            release.set()
        assert vfs.names.tree["f"].content == b"one two three"
        await vfs.fs.release(fh)


async def test_a_time_that_the_kernel_was_told_stays(autojump_clock: Clock) -> None:
    """By a look-up, which asks nobody: of an empty file that is cut to nothing the server moves no
    time, and the old one would come back."""
    async with mounted(names=server()) as vfs:
        vfs.names.tree["f"] = Node(file_attr(11, 0), b"")
        inode = await vfs.lookup("f")
        old = inode.attr.write
        opened = await vfs.fs.open(11, WRITING)
        assert isinstance(inode.written, WrittenFile)
        await inode.written.truncate(0)
        assert await vfs.lookup("f") is inode
        inode.written.told(inode.attr.size)
        assert (shown := inode.attr.write) > old
        await vfs.fs.release(opened.fh)
        assert vfs.names.tree["f"].attr.write == shown
        assert (await vfs.fs.getattr(11)).attr.write == shown


async def test_what_is_being_closed_is_not_told_for_long(autojump_clock: Clock) -> None:
    async with mounted(names=server()) as vfs:
        inode, fh = await create(vfs)
        await vfs.fs.write(fh, 0, b"data")
        release = hold(vfs, "finish")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(vfs.fs.release, fh)
            await trio.testing.wait_all_tasks_blocked()
            assert vfs.fs.attr_timeout(inode) == 0
            release.set()
        assert vfs.fs.attr_timeout(inode) > 0
