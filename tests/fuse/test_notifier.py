"""Telling the kernel: nothing that waits in it holds up the rest, and nothing is left out."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pyfuse3
import pytest
import trio

from netfsfuse import tasks as tasks_module
from netfsfuse.fuse import lane as lane_module
from netfsfuse.fuse import notifier as notifier_module
from netfsfuse.fuse.absent import PROMISE, REMEMBERED, Absent
from netfsfuse.fuse.lane import THREADS
from netfsfuse.fuse.notifier import Notifier
from netfsfuse.fuse.postponed import PAUSE
from netfsfuse.stats import VfsStats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.inodes import inodes as inodes_module
from netfsfuse.vfs.inodes.directory import Folder
from netfsfuse.vfs.inodes.inodes import Inode, InodeTable
from tests.vfs.fakes import dir_attr, file_attr

SECONDS = 5.0
"""Of patience: all of it takes milliseconds."""


@dataclass
class Kernel:
    """What it was told. Calls that wait for an inode in ``locked`` do so until it is unlocked."""

    attributes: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    entries: list[tuple[int, bytes]] = field(default_factory=list)
    locked: dict[int, threading.Event] = field(default_factory=dict)

    def invalidate_inode(self, number: int, attr_only: bool) -> None:
        if attr_only:
            self.attributes.append(number)
        else:
            self._wait(number)
            self.pages.append(number)

    def invalidate_entry(self, parent: int, name: bytes) -> None:
        self._wait(parent)
        self.entries.append((parent, name))

    def _wait(self, number: int) -> None:
        if (lock := self.locked.get(number)) is not None:
            assert lock.wait(SECONDS)


@dataclass
class Told:
    notifier: Notifier
    inodes: InodeTable
    kernel: Kernel

    def directory(self, number: int) -> Inode:
        return self.inodes.add(Inode(number, self.inodes.root, f"d{number}", dir_attr(number)))

    def file(self, number: int, directory: Inode, *, listed: bool = True) -> Inode:
        """A file whose pages the kernel may have."""
        attr = file_attr(number)
        inode = self.inodes.add(Inode(number, directory, f"f{number}", attr))
        inode.pages, inode.nlookup = attr, 1
        if listed:
            directory.folder = directory.folder or Folder({}, 0.0)
            directory.folder.attrs[inode.name] = attr
        return inode

    def modified(self, *files: Inode) -> None:
        for each in files:
            assert each.parent is not None
            self.notifier.changed(each.parent, [Change(each.name, ChangeKind.MODIFIED)])


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(pyfuse3, "invalidate_inode", kernel.invalidate_inode)
    monkeypatch.setattr(pyfuse3, "invalidate_entry", kernel.invalidate_entry)
    return kernel


@asynccontextmanager
async def telling(kernel: Kernel) -> AsyncIterator[Told]:
    table = InodeTable(dir_attr(2), VfsStats())
    notifier = Notifier(table)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.run)
        try:
            yield Told(notifier, table, kernel)
        finally:
            for lock in kernel.locked.values():
                lock.set()
            await notifier.stop()


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(SECONDS):
        while not condition():
            await trio.sleep(0.001)


async def test_a_file_whose_read_is_slow_holds_up_no_other(kernel: Kernel) -> None:
    async with telling(kernel) as told:
        files = [told.file(100 + n, told.inodes.root) for n in range(THREADS + 20)]
        slow = files[: THREADS - 1]
        kernel.locked = {each.number: threading.Event() for each in slow}
        told.modified(*slow)
        await until(lambda: len(kernel.attributes) == len(slow))
        told.modified(*files)
        told.notifier.changed(told.inodes.root, [Change("new", ChangeKind.CREATED)])
        await until(lambda: {each.number for each in files} <= set(kernel.attributes))
        await until(lambda: set(kernel.pages) == {each.number for each in files[len(slow) :]})
        await until(lambda: kernel.entries == [(1, b"new")])
        kernel.locked[slow[0].number].set()
        await until(lambda: slow[0].number in kernel.pages)


async def test_attributes_wait_for_nothing(kernel: Kernel) -> None:
    async with telling(kernel) as told:
        files = [told.file(100 + n, told.inodes.root) for n in range(2 * THREADS)]
        kernel.locked = {each.number: threading.Event() for each in files}
        told.modified(*files)
        await until(lambda: set(kernel.attributes) == {each.number for each in files})
        assert kernel.pages == []


async def test_a_look_up_that_is_slow_holds_up_its_own_directory_alone(kernel: Kernel) -> None:
    async with telling(kernel) as told:
        slow, other = told.directory(10), told.directory(11)
        kernel.locked[10] = threading.Event()
        told.notifier.changed(slow, [Change("a", ChangeKind.CREATED)])
        await until(lambda: 10 in kernel.attributes)
        with trio.fail_after(SECONDS):
            await told.notifier.drop_entry(other, "b")
        assert kernel.entries == [(11, b"b")]
        kernel.locked[10].set()
        await until(lambda: (10, b"a") in kernel.entries)


async def test_what_an_open_has_just_told_is_told_again_after_a_pause(kernel: Kernel) -> None:
    """Else the kernel throws away the answer that the open's reader asks for, and reads with the
    size of before."""
    async with telling(kernel) as told:
        renewed, other = (told.file(100 + n, told.inodes.root) for n in range(2))
        begin = trio.current_time()
        told.notifier.renewed(renewed.number)
        told.modified(renewed, other)
        await until(lambda: kernel.attributes == [101])
        await until(lambda: 100 in kernel.attributes)
        assert trio.current_time() - begin >= PAUSE
        assert kernel.attributes == [101, 100]
        await until(lambda: sorted(kernel.pages) == [100, 101])


async def test_a_later_open_does_what_the_news_would_have_done(kernel: Kernel) -> None:
    """Each open of a file that changes all the time is the kernel's only news of it, and after the
    last change it is told."""
    async with telling(kernel) as told:
        file = told.file(100, told.inodes.root)
        begin = trio.current_time()
        while trio.current_time() - begin < 3 * PAUSE:
            told.notifier.renewed(file.number)
            told.modified(file)
            await trio.sleep(0.005)
            assert kernel.attributes == kernel.pages == [] or trio.current_time() - begin > PAUSE
        last = trio.current_time()
        told.modified(file)
        await until(lambda: kernel.attributes and kernel.pages)
        assert trio.current_time() - last < SECONDS / 2


async def test_pages_that_wait_for_a_thread_are_not_dropped_behind_an_open(kernel: Kernel) -> None:
    async with telling(kernel) as told:
        files = [told.file(100 + n, told.inodes.root) for n in range(THREADS + 1)]
        kernel.locked = {each.number: threading.Event() for each in files[:-1]}
        told.modified(*files)
        last = files[-1].number
        await until(lambda: told.notifier._pages.holds(last, None))
        told.notifier.renewed(last)
        for lock in kernel.locked.values():
            lock.set()
        await until(lambda: len(kernel.pages) == THREADS)
        await trio.sleep(0.02)
        assert last not in kernel.pages


async def test_too_many_changes_to_tell_concern_all_that_is_there(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inodes that were frozen, links, and names that are not there; nothing of other directories,
    and no entry that somebody may work in."""
    monkeypatch.setattr(inodes_module, "FREEZE_ABOVE", 0)
    monkeypatch.setattr(notifier_module, "SWEEP_STEP", 3)
    async with telling(kernel) as told:
        changed, other = told.directory(10), told.directory(11)
        inside = [told.file(100 + n, changed, listed=False) for n in range(8)]
        for each in inside[4:]:
            each.pages = None
            told.inodes.told(each)
            assert told.inodes.in_use(each.number) is None
        link = told.file(120, changed)
        link.target = "elsewhere"
        told.inodes.add(Inode(130, changed, "sub", dir_attr(130)))
        told.file(200, other)
        for directory in (10, 11):
            assert told.notifier.absent(directory, b"none", 60.0) == 60.0
        told.notifier.changed(changed, [])
        expected = {10, *(each.number for each in inside), 120, 130}
        await until(lambda: set(kernel.attributes) == expected)
        await until(lambda: set(kernel.entries) == {(10, b"none"), (10, b"f120")})
        await until(lambda: set(kernel.pages) == {100, 101, 102, 103, 120})
        assert all(told.inodes.in_use(each.number) is None for each in inside[4:])


async def test_more_names_than_are_remembered_concern_their_directory(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier_module, "PENDING_MAX", 10)
    async with telling(kernel) as told:
        directory = told.directory(10)
        files = [told.file(100 + n, directory) for n in range(50)]
        told.modified(*files)
        await until(lambda: {each.number for each in files} <= set(kernel.attributes))


async def test_a_file_that_no_listing_told_of(kernel: Kernel) -> None:
    async with telling(kernel) as told:
        directory = told.directory(10)
        one, _other = (told.file(100 + n, directory, listed=False) for n in range(2))
        told.modified(one)
        await until(lambda: kernel.pages == [100])
        assert kernel.attributes == [100]


def test_absent_names_are_remembered_as_long_as_they_are_believed() -> None:
    absent = Absent()
    assert absent.told(10, b"short", PROMISE, now=0.0) == PROMISE
    assert absent.told(10, b"a", 60.0, now=0.0) == 60.0
    assert absent.told(11, b"a", 60.0, now=0.0) == 60.0
    assert absent.take([10, 12]) == [(10, b"a")]
    assert absent.take([10]) == []


def test_too_many_absent_names_are_believed_for_a_moment() -> None:
    absent = Absent()
    for number in range(REMEMBERED):
        assert absent.told(10, b"%d" % number, 60.0, now=0.0) == 60.0
    assert absent.told(10, b"more", 60.0, now=59.0) == PROMISE
    assert absent.told(10, b"more", 60.0, now=60.0) == 60.0
    assert absent.take([10]) == [(10, b"more")]


async def test_a_new_name_is_told_in_all_spellings(kernel: Kernel) -> None:
    """The server finds it under each of them, and the kernel was told that it was not there."""
    async with telling(kernel) as told:
        root = told.inodes.root
        for name in (b"foo", b"Foo", b"bar"):
            told.notifier.absent(root.number, name, 60.0)
        told.notifier.changed(root, [Change("FOO", ChangeKind.CREATED)])
        await until(lambda: {name for _, name in kernel.entries} == {b"FOO", b"foo", b"Foo"})


def test_a_spelling_is_forgotten_with_its_name() -> None:
    absent = Absent()
    absent.told(10, b"foo", 60.0, now=0.0)
    absent.told(10, b"FOO", 60.0, now=0.0)
    assert sorted(absent.spellings(10, "Foo")) == [b"FOO", b"foo"]
    assert absent.spellings(10, "foo") == absent.take([10]) == []
    absent.told(10, b"foo", 60.0, now=0.0)
    absent.told(11, b"bar", 60.0, now=100.0)
    assert absent._spellings == {(11, "bar"): {b"bar"}}


async def test_a_name_for_which_there_is_no_room_is_not_waited_for(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "VALUES_MAX", 2)
    async with telling(kernel) as told:
        root = told.inodes.root
        kernel.locked = {root.number: threading.Event()}
        names = [b"n%d" % number for number in range(4)]
        told.notifier._names.put(root.number, b"first")
        await until(lambda: not told.notifier._names.holds(root.number, b"first"))
        taken = [told.notifier._names.put(root.number, name) for name in names]
        assert taken == [True, True, False, False]
        with trio.fail_after(0.5):  # less than it waits for the kernel
            await told.notifier.drop_entry(root, "more")
        assert told.notifier._waiting == {}


async def test_it_goes_on_after_a_failure(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks_module, "AGAIN_FIRST", 0.01)
    table = InodeTable(dir_attr(2), VfsStats())
    notifier = Notifier(table)
    tell, failures = notifier._tell, [OSError()]

    async def failing(found: object) -> None:
        if failures:
            raise failures.pop()
        await tell(found)  # type: ignore[arg-type]

    monkeypatch.setattr(notifier, "_tell", failing)
    async with trio.open_nursery() as nursery:
        ServiceNursery(nursery).keep_running(notifier.run)
        for name in ("lost", "told"):
            notifier.changed(table.root, [Change(name, ChangeKind.CREATED)])
            await until(lambda: not failures)
        await until(lambda: (1, b"told") in kernel.entries)
        await notifier.stop()
