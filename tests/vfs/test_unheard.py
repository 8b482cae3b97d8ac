"""Files of whose changes the watch of their directory does not tell by their names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.inodes.directory import CALM, LINKS_MAX, Folder, Watched
from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock
MODIFIED, CREATED, REMOVED = ChangeKind.MODIFIED, ChangeKind.CREATED, ChangeKind.REMOVED


async def listed(vfs: Vfs, number: int = 1) -> None:
    fh = await vfs.fs.opendir(number)
    while batch := await vfs.fs.readdir(fh, 0 if not vfs.fs._listings.handles.get(fh).used else 99):
        for entry, position in batch:
            (await vfs.fs.bind_entry(fh, entry, position)).nlookup += 1
    await vfs.fs.releasedir(fh)


async def asked(vfs: Vfs, number: int) -> int:
    """How often the server is asked by an open of the file."""
    before = len(vfs.names.asked)
    opened = await vfs.fs.open(number)
    await vfs.fs.release(opened.fh)
    return len(vfs.names.asked) - before


async def known(vfs: Vfs, *numbers: int) -> None:
    """They were opened, and nothing has happened for a while."""
    await trio.sleep(CALM + 0.1)
    for number in numbers:
        await vfs.content(number)
        await trio.sleep(0.01)
        assert await asked(vfs, number) == 0


def tree() -> dict[str, Node]:
    return {
        "f": Node(file_attr(11, 3), b"one"),
        "g": Node(file_attr(12, 3), b"two"),
        "AUX~1": Node(file_attr(13, 3), b"aux"),
    }


async def test_a_link_that_the_server_follows_is_asked_for(autojump_clock: Clock) -> None:
    """At each open; its attributes are believed for no longer than without a watch."""
    link = Node(file_attr(14, 3), b"one", is_followed=True)
    async with mounted(tree() | {"link": link}, watching=True) as vfs:
        await listed(vfs)
        await known(vfs, 11)
        for content in (b"one", b"six"):
            link.content = content
            link.attr = file_attr(14, 3, age=3600.0 + content[0])
            assert await vfs.content(14) == content
        link.attr = file_attr(14, 7)
        await trio.sleep(1.1)
        assert (await vfs.fs.getattr(14)).attr.size == 7


async def test_a_link_that_leads_to_another_file_is_no_error(autojump_clock: Clock) -> None:
    """The listing had the first one's number: the kernel looks the name up after ESTALE."""
    link = Node(file_attr(14, 3), b"one", is_followed=True)
    async with mounted(tree() | {"link": link}, watching=True) as vfs:
        await listed(vfs)
        await trio.sleep(CALM + 0.1)
        vfs.names.tree["link"] = replace(link, attr=file_attr(15, 4), content=b"four")
        with pytest.raises(Exception, match="another file"):
            await vfs.fs.open(14)
        inode = await vfs.lookup("link")
        assert await vfs.content(inode.number) == b"four"


async def test_a_directory_behind_a_link_is_asked_for(autojump_clock: Clock) -> None:
    link = Node(dir_attr(20), is_followed=True)
    async with mounted({"link": link, "link/f": Node(file_attr(21))}, watching=True) as vfs:
        await listed(vfs)
        inode = await vfs.lookup("link")
        await listed(vfs, inode.number)
        await trio.sleep(CALM + 0.1)
        vfs.names.tree["link"] = Node(dir_attr(30))
        assert (await vfs.lookup("link")).number == 30


async def test_a_change_under_a_name_that_is_not_listed(autojump_clock: Clock) -> None:
    """It may be one of anything that is; the kernel is told so."""
    async with mounted(tree(), watching=True, actimeo=60.0) as vfs:
        await listed(vfs)
        await known(vfs, 11, 13)
        told: list[list[Change]] = []
        vfs.kernel.on_changed = lambda inode, changes: told.append(list(changes))
        change = Change("aux.txt", MODIFIED)
        vfs.names.tree["AUX~1"] = Node(file_attr(13, 5), b"later")
        vfs.names.tell("", change)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [[change], []]
        assert (await vfs.fs.getattr(13)).attr.size == 5
        assert await vfs.content(13) == b"later"
        await trio.sleep(CALM + 0.1)
        assert await asked(vfs, 11) > 0
        await known(vfs, 11)


async def test_a_new_file_says_nothing_of_others(autojump_clock: Clock) -> None:
    """While it is written, and without a listing."""
    async with mounted(tree(), watching=True) as vfs:
        await listed(vfs)
        await known(vfs, 11)
        vfs.names.tell("", Change("new", CREATED), Change("new", MODIFIED))
        await trio.testing.wait_all_tasks_blocked()
        assert vfs.fs.attr_timeout(vfs.fs.inodes.get(11)) > 0
        await trio.sleep(CALM + 0.1)
        assert await asked(vfs, 11) > 0  # it may have been made as a link of that one


async def test_links_in_one_directory(autojump_clock: Clock) -> None:
    both = Node(file_attr(14, 3), b"one")
    async with mounted(tree() | {"a": both, "b": both}, watching=True) as vfs:
        await listed(vfs)
        await known(vfs, 11, 14)
        name = vfs.fs.inodes.get(14).name
        both.attr, both.content = file_attr(14, 5), b"later"
        other = "a" if name == "b" else "b"
        vfs.names.tell("", Change(other, MODIFIED))
        await trio.testing.wait_all_tasks_blocked()
        assert (await vfs.fs.getattr(14)).attr.size == 5
        assert await vfs.content(14) == b"later"
        await known(vfs, 11)


async def test_links_in_two_directories(autojump_clock: Clock) -> None:
    both = Node(file_attr(14, 3), b"one")
    nodes = {"x": Node(dir_attr(20)), "y": Node(dir_attr(30)), "x/a": both, "y/b": both}
    async with mounted(nodes, watching=True) as vfs:
        await vfs.lookup("x")
        await vfs.lookup("y")
        await listed(vfs, 20)
        await listed(vfs, 30)
        await vfs.lookup("a", 20)
        await known(vfs, 14)
        both.attr, both.content = file_attr(14, 5), b"later"
        vfs.names.tell("y", Change("b", MODIFIED))
        await trio.testing.wait_all_tasks_blocked()
        assert (await vfs.fs.getattr(14)).attr.size == 5
        assert await vfs.content(14) == b"later"


async def test_the_other_name_of_a_file_is_asked_for(autojump_clock: Clock) -> None:
    """It was opened by one: nothing is known of who tells of the other."""
    both = Node(file_attr(14, 3), b"one")
    nodes = {"x": Node(dir_attr(20)), "x/a": both, "x/b": both}
    async with mounted(nodes, watching=True) as vfs:
        await vfs.lookup("x")
        await vfs.lookup("a", 20)
        await known(vfs, 14)
        await vfs.lookup("b", 20)
        await vfs.content(14)
        await vfs.lookup("a", 20)
        assert await asked(vfs, 14) > 0


async def test_unlisted_changes_in_a_directory_that_was_never_listed(
    autojump_clock: Clock,
) -> None:
    async with mounted(tree(), watching=True) as vfs:
        await vfs.lookup("f")
        await known(vfs, 11)
        vfs.names.tell("", Change("another", MODIFIED))
        await trio.sleep(CALM + 0.1)
        assert await asked(vfs, 11) > 0
        assert await asked(vfs, 11) == 0


def test_a_change_is_of_all_spellings() -> None:
    watched = Watched(1.0)
    watched.told([Change("ReadMe", MODIFIED), Change("e\u0301", MODIFIED)], 3.0)
    assert not watched.unchanged("README", 2.0)
    assert not watched.unchanged("É", 2.0)
    assert watched.unchanged("other", 2.0)


def test_what_a_listing_has_is_no_stranger() -> None:
    """Also if it was told while the listing was under way."""
    watched = Watched(1.0)
    assert not watched.told([Change("f", MODIFIED), Change("aux", CREATED)], 3.0, None, bool)
    assert watched.unchanged("g", 2.0)
    assert not watched.hears_of_all_since(2.0)
    watched.listed(Folder({"f": file_attr(1), "aux": file_attr(2)}, 2.0))
    assert watched.hears_of_all_since(2.0)
    folder = Folder({"g": file_attr(3)}, 2.0)
    assert watched.told([Change("f", MODIFIED)], 4.0, folder)
    assert not watched.unchanged("g", 3.5)
    assert watched.all_changed(3.5)
    assert not watched.all_changed(4.5)


def test_many_links_of_one_file_are_looked_at_once() -> None:
    """Told one by one they are no more than themselves, and of too many all may have changed."""
    names = [f"l{number}" for number in range(LINKS_MAX)]
    folder = Folder({name: file_attr(7) for name in names} | {"g": file_attr(8)}, 1.0)
    assert list(folder.links_of(names) or ()) == names
    watched = Watched(1.0)
    assert not watched.told([Change(name, REMOVED) for name in names], 3.0, folder)
    assert watched.unchanged("g", 2.0)
    folder = Folder({**folder.attrs, "one more": file_attr(7)}, 1.0)
    assert folder.links_of(names) is None
    assert watched.told([Change("l0", MODIFIED)], 4.0, folder)
    assert not watched.unchanged("g", 3.5)


async def test_each_name_of_a_file_is_told_once(autojump_clock: Clock) -> None:
    nodes = {f"l{number}": Node(file_attr(11, 3), b"one") for number in range(50)}
    async with mounted(nodes, watching=True) as vfs:
        await listed(vfs)
        told: list[str] = []
        vfs.kernel.on_changed = lambda _, changes: told.extend(change.name for change in changes)
        vfs.names.watches[0].send.send_nowait([Change(name, REMOVED) for name in list(nodes)[:40]])
        await trio.testing.wait_all_tasks_blocked()
        assert {name: told.count(name) for name in nodes}["l45"] == 1
        assert len(told) <= 2 * len(nodes)  # and once for the one name that the kernel knows it by
