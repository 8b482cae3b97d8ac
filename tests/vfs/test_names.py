"""Look-ups and attributes: what the kernel is told, and when it is told to look again."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import AccessDenied, Disconnected, Locked, NotFound, ServerError, Stale
from netfsfuse.types import FileKind
from tests.vfs.fakes import Node, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock


async def test_lookup_of_what_is_there_and_what_is_not(autojump_clock: Clock) -> None:
    async with mounted({"d": Node(dir_attr(10)), "d/f": Node(file_attr(11, 5))}) as vfs:
        directory = await vfs.lookup("d")
        file = await vfs.lookup("f", directory.number)
        assert (file.number, file.path, file.kind) == (11, "d/f", FileKind.FILE)
        assert file.generation == file.attr.creation
        with pytest.raises(NotFound):
            await vfs.lookup("g", directory.number)
        assert vfs.stats.vfs.inodes == 3
        vfs.fs.forget(11, 1)
        vfs.fs.forget(10, 1)
        assert len(vfs.fs.inodes) == 1
        with pytest.raises(Stale):
            await vfs.fs.getattr(11)


async def test_failed_lookups_leave_no_inode(autojump_clock: Clock) -> None:
    async with mounted({"l": Node(file_attr(11, 1067), target="x")}) as vfs:

        def refuse(what: str, _path: str) -> None:
            if what == "read_link":
                raise ServerError("no")

        vfs.names.before = refuse
        with pytest.raises(ServerError):
            await vfs.lookup("l")
        with pytest.raises(NotFound):
            await vfs.lookup("n")
        assert len(vfs.fs.inodes) == 1


async def test_attributes_are_asked_again_when_they_are_old(autojump_clock: Clock) -> None:
    async with mounted({"f": Node(file_attr(11, 5))}, actimeo=3.0) as vfs:
        file = await vfs.lookup("f")
        vfs.names.tree["f"].attr = file_attr(11, 6, age=1)
        await trio.sleep(2.9)
        assert (await vfs.fs.getattr(11)).attr.size == 5
        assert vfs.names.count("stat") == 1
        await trio.sleep(0.2)
        assert (await vfs.fs.getattr(11)).attr.size == 6
        assert vfs.names.count("stat") == 2
        assert file.attr_until == trio.current_time() + 3.0


@pytest.mark.parametrize(
    "now",
    [
        None,
        Node(file_attr(12)),
        Node(dir_attr(11)),
    ],
    ids=["gone", "another number", "a directory"],
)
async def test_getattr_of_what_is_another_file_is_stale(
    now: Node | None, autojump_clock: Clock
) -> None:
    async with mounted({"f": Node(file_attr(11))}, actimeo=0) as vfs:
        inode = await vfs.lookup("f")
        generation = inode.generation
        del vfs.names.tree["f"]
        if now is not None:
            vfs.names.tree["f"] = now
        with pytest.raises(Stale):
            await vfs.fs.getattr(11)
        with pytest.raises(Stale):
            await vfs.fs.open(11)
        if now is not None and now.attr.file_id == 11:
            assert (await vfs.lookup("f")).generation == now.attr.creation != generation or (
                now.attr.creation == generation
            )


async def test_a_file_made_anew_under_a_number_nobody_has_open_is_new_content(
    autojump_clock: Clock,
) -> None:
    """And no other inode: the kernel would answer EIO to all who are just opening it (with a
    creation time that the server derives, every change in place looks so)."""
    async with mounted({"f": Node(file_attr(11, 3), b"old")}, actimeo=0) as vfs:
        inode = await vfs.lookup("f")
        generation = inode.generation
        assert await vfs.content(11) == b"old"
        vfs.names.tree["f"] = Node(file_attr(11, 3, born=10, age=5), b"new")
        assert await vfs.fs.getattr(11) is inode
        opened = await vfs.fs.open(11)
        assert not opened.keep_cache
        assert bytes(await vfs.fs.read(opened.fh, 0, 10)) == b"new"
        await vfs.fs.release(opened.fh)
        assert (await vfs.lookup("f")).generation == generation


async def test_a_number_that_moved_to_another_name_with_equal_times_keeps_nothing(
    autojump_clock: Clock,
) -> None:
    """A tree unpacked anew: sizes and times are as before, and the numbers dealt out anew."""
    base = file_attr(11, 3)
    attr = base._replace(creation=min(base.access, base.write, base.change))
    async with mounted({"f": Node(attr, b"one")}, actimeo=0) as vfs:
        await vfs.lookup("f")
        for _ in range(2):
            assert await vfs.content(11) == b"one"
        await trio.sleep(2)
        opened = await vfs.fs.open(11)
        assert opened.keep_cache
        await vfs.fs.release(opened.fh)
        vfs.names.tree = {"": vfs.names.tree[""], "g": Node(attr, b"two")}
        await vfs.lookup("g")
        opened = await vfs.fs.open(11)
        assert not opened.keep_cache
        assert bytes(await vfs.fs.read(opened.fh, 0, 10)) == b"two"
        await vfs.fs.release(opened.fh)


async def test_a_file_made_anew_gets_a_new_generation_and_keeps_no_pages(
    autojump_clock: Clock,
) -> None:
    """While the old one is open: its pages and its handles are not the new one's."""
    async with mounted({"f": Node(file_attr(11, 3), b"old")}, actimeo=0) as vfs:
        inode = await vfs.lookup("f")
        old = await vfs.fs.open(11)
        vfs.names.tree["f"] = Node(file_attr(11, 3, born=10, age=5), b"new")
        again = await vfs.lookup("f")
        assert again is inode
        assert inode.generation == file_attr(11, born=10).creation
        assert inode.pages is None
        new = await vfs.fs.open(11)
        assert not new.keep_cache
        assert bytes(await vfs.fs.read(new.fh, 0, 10)) == b"new"
        assert bytes(await vfs.fs.read(old.fh, 0, 10)) == b"old"
        await vfs.fs.release(old.fh)
        await vfs.fs.release(new.fh)


async def test_a_derived_creation_time_moves_in_a_living_file(autojump_clock: Clock) -> None:
    """Samba's made-up creation time follows a write; an open handle knows that the file lives."""
    base = file_attr(11, 3)
    born = base._replace(creation=base.write)
    async with mounted({"f": Node(born, b"one")}, actimeo=0) as vfs:
        inode = await vfs.lookup("f")
        opened = await vfs.fs.open(11)
        written = file_attr(11, 3, age=1)
        node = vfs.names.tree["f"]
        node.attr = written._replace(creation=written.write)
        node.content = b"two"
        assert (await vfs.fs.getattr(11)) is inode  # and not Stale
        assert inode.generation == born.creation
        assert vfs.names.count("query") >= 1
        await vfs.fs.release(opened.fh)
        node.attr = written._replace(creation=1, write=written.write + 9)
        assert (await vfs.fs.getattr(11)) is inode  # nobody has it open: a change of content
        opened = await vfs.fs.open(11)
        assert not opened.keep_cache
        await vfs.fs.release(opened.fh)


async def test_a_removed_file_that_is_open_has_attributes(autojump_clock: Clock) -> None:
    async with mounted({"f": Node(file_attr(11, 3), b"old")}, actimeo=0) as vfs:
        await vfs.lookup("f")
        opened = await vfs.fs.open(11)
        del vfs.names.tree["f"]
        assert (await vfs.fs.getattr(11)).attr.size == 3
        await vfs.fs.release(opened.fh)
        with pytest.raises(Stale):
            await vfs.fs.getattr(11)


async def test_links(autojump_clock: Clock) -> None:
    tree = {
        "l": Node(file_attr(11, 1067), target="where/to"),
        "f": Node(file_attr(12, 1067)),
        "secret": Node(file_attr(13, 1067), target="x"),
        "busy": Node(file_attr(14, 1067), target="x"),
    }
    async with mounted(tree, actimeo=0) as vfs:

        def refuse(what: str, path: str) -> None:
            if what == "read_link" and path in ("secret", "busy"):
                raise AccessDenied(path) if path == "secret" else Locked(path)

        vfs.names.before = refuse
        assert (await vfs.lookup("l")).kind is FileKind.SYMLINK
        assert vfs.fs.readlink(11) == "where/to"
        for name in ("f", "secret", "busy"):
            assert (await vfs.lookup(name)).kind is FileKind.FILE
        with pytest.raises(Stale):
            vfs.fs.readlink(12)
        vfs.names.tree["l"] = Node(file_attr(11, 1067, age=9), target="elsewhere")
        await vfs.fs.getattr(11)
        assert vfs.fs.readlink(11) == "elsewhere"
        vfs.names.tree["l"] = Node(file_attr(11, 1067, age=8))
        with pytest.raises(Stale):  # a file now: the kernel must look it up as one
            await vfs.fs.getattr(11)


async def test_a_directory_inside_itself_has_an_end(autojump_clock: Clock) -> None:
    """Samba follows ``ln -s . loop`` and shows the directory itself. A path that went in circles
    would hold up the whole mount for ever."""
    here = dir_attr(10)
    tree = {path: Node(here) for path in ("d", "d/loop", "d/loop/loop")} | {
        "d/sub": Node(dir_attr(11)),
        "d/sub/up": Node(here),
    }
    async with mounted(tree, actimeo=0) as vfs:
        d = await vfs.lookup("d")
        assert await vfs.lookup("loop", d.number) is d
        assert d.path == "d"
        sub = await vfs.lookup("sub", d.number)
        assert await vfs.lookup("up", sub.number) is d
        assert (d.path, sub.path) == ("d", "d/sub")
        assert await vfs.fs.getattr(10) is d


async def test_a_moved_file_is_reached_by_its_new_name(autojump_clock: Clock) -> None:
    async with mounted({"a": Node(file_attr(11, 1), b"x"), "d": Node(dir_attr(10))}) as vfs:
        inode = await vfs.lookup("a")
        d = await vfs.lookup("d")
        vfs.names.tree["d/b"] = vfs.names.tree.pop("a")
        assert await vfs.lookup("b", d.number) is inode
        assert inode.path == "d/b"
        assert inode.nlookup == 2
        with pytest.raises(Stale):  # the kernel may have come by the old name: it looks again
            await vfs.fs.open(11)
        assert await vfs.content(11) == b"x"


async def test_an_inode_forgotten_in_mid_lookup_is_known_afterwards(autojump_clock: Clock) -> None:
    """Asking an open handle takes a while; the kernel's forget may come in between."""
    async with mounted({"f": Node(file_attr(11, 3), b"abc")}, actimeo=0) as vfs:
        await vfs.lookup("f")
        opened = await vfs.fs.open(11)

        def forget(what: str, _path: str) -> None:
            if what == "query":
                vfs.fs.forget(11, 1)

        vfs.names.before = forget
        node = vfs.names.tree["f"]
        node.attr = file_attr(11, 3, age=1)._replace(creation=5)
        again = await vfs.lookup("f")
        assert vfs.fs.inodes.find(11) is again
        assert again.nlookup == 1
        await vfs.fs.release(opened.fh)


async def test_the_root_is_shown_while_the_server_is_away(autojump_clock: Clock) -> None:
    async with mounted(actimeo=0) as vfs:
        space = await vfs.fs.statfs()

        async def away(_what: str, _path: str) -> None:
            raise Disconnected("away")

        vfs.names.before = away
        assert (await vfs.fs.getattr(1)).attr == dir_attr(2)
        assert await vfs.fs.statfs() == space
        with pytest.raises(Disconnected):
            await vfs.lookup("f")

        async def silent(_what: str, _path: str) -> None:
            await trio.sleep_forever()

        vfs.names.before = silent
        begun = trio.current_time()
        await vfs.fs.getattr(1)
        await vfs.fs.statfs()
        assert trio.current_time() - begun < 10


async def test_forget_never_raises(autojump_clock: Clock) -> None:
    async with mounted() as vfs:
        for number in (0, 1, 99):
            vfs.fs.forget(number, 5)
        assert len(vfs.fs.inodes) == 1
