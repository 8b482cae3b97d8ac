"""Which directories are watched, and when one is given up for another."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import AccessDenied, NotSupported
from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.coherency.watches import KEPT, REFUSED, WATCHES_MAX
from netfsfuse.vfs.tree import listings as listings_module
from netfsfuse.vfs.tree.relisting import FROM
from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock


def many(count: int) -> dict[str, Node]:
    return {f"d{n}": Node(dir_attr(100 + n)) for n in range(count)}


async def use(vfs: Vfs, number: int) -> None:
    fh = await vfs.fs.opendir(number)
    await vfs.fs.releasedir(fh)
    await trio.testing.wait_all_tasks_blocked()


async def test_as_many_as_there_may_be(autojump_clock: Clock) -> None:
    """One used a moment ago is not given up; later the one used longest ago is."""
    async with mounted(many(WATCHES_MAX + 5), watching=True) as vfs:
        for n in range(WATCHES_MAX + 5):
            await vfs.lookup(f"d{n}")
            await use(vfs, 100 + n)
        assert len(vfs.names.watches) == vfs.stats.vfs.watches == WATCHES_MAX
        assert {watch.path for watch in vfs.names.watches} == {f"d{n}" for n in range(WATCHES_MAX)}
        await trio.sleep(KEPT + 1)
        await use(vfs, 100)
        await use(vfs, 100 + WATCHES_MAX + 1)
        paths = {watch.path for watch in vfs.names.watches}
        assert len(paths) == WATCHES_MAX
        assert {"d0", f"d{WATCHES_MAX + 1}"} <= paths
        assert "d1" not in paths
        given_up = vfs.fs.inodes.get(101).watched
        assert given_up is not None
        assert not given_up.lives


async def test_forgotten_with_its_directory(autojump_clock: Clock) -> None:
    async with mounted(many(2), watching=True) as vfs:
        await vfs.lookup("d0")
        await use(vfs, 100)
        assert len(vfs.names.watches) == 1
        vfs.fs.forget(100, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert vfs.names.watches == []
        assert vfs.stats.vfs.watches == 0


async def test_an_ended_one_is_begun_again(autojump_clock: Clock) -> None:
    async with mounted(many(1), watching=True) as vfs:
        await vfs.lookup("d0")
        await use(vfs, 100)
        vfs.names.watches[0].send.send_nowait(None)
        await trio.testing.wait_all_tasks_blocked()
        ended = vfs.fs.inodes.get(100).watched
        assert ended is not None
        assert not ended.lives
        await use(vfs, 100)
        assert len(vfs.names.watches) == 1


async def test_what_a_lost_one_did_not_tell_is_believed_no_longer(autojump_clock: Clock) -> None:
    """Also where attributes are believed for a minute. The kernel is told."""
    tree = many(1) | {"d0/f": Node(file_attr(7))}
    async with mounted(tree, actimeo=60.0, watching=True) as vfs:
        told: list[tuple[int, list[Change]]] = []
        vfs.kernel.on_changed = lambda inode, changes: told.append((inode.number, list(changes)))
        await vfs.lookup("d0")
        await use(vfs, 100)
        await vfs.lookup("f", 100)
        await trio.sleep(1)
        assert (await vfs.fs.getattr(7)).attr.size == 0
        vfs.names.watches[0].send.send_nowait(None)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [(100, [])]
        vfs.names.tree["d0/f"] = Node(tree["d0/f"].attr._replace(size=5))
        await trio.sleep(0.01)
        assert (await vfs.fs.getattr(7)).attr.size == 5
        assert vfs.fs.attr_timeout(vfs.fs.inodes.get(7)) > 0


async def test_what_one_told_is_still_true_when_it_was_given_up(autojump_clock: Clock) -> None:
    async with mounted(many(1) | {"d0/f": Node(file_attr(7))}, actimeo=60.0, watching=True) as vfs:
        await vfs.lookup("d0")
        await use(vfs, 100)
        await vfs.lookup("f", 100)
        await trio.sleep(1)
        vfs.names.watches[0].send.send_nowait([Change("f", ChangeKind.MODIFIED)])
        await trio.testing.wait_all_tasks_blocked()
        vfs.fs._watches.forget(vfs.fs.inodes.get(100))
        assert vfs.fs.attr_timeout(vfs.fs.inodes.get(7)) == 0.0
        await use(vfs, 100)
        assert vfs.fs.attr_timeout(vfs.fs.inodes.get(7)) == 0.0
        await trio.sleep(0.01)
        await vfs.fs.getattr(7)
        assert vfs.fs.attr_timeout(vfs.fs.inodes.get(7)) == 60.0


@pytest.mark.parametrize("changed", [0, 10, 50], ids=["all", "few", "many"])
async def test_many_changes_are_found_out_by_one_listing(
    changed: int, autojump_clock: Clock
) -> None:
    files = {f"d0/f{n}": Node(file_attr(1000 + n)) for n in range(50)}
    async with mounted(many(1) | files, actimeo=60.0, watching=True) as vfs:
        await vfs.lookup("d0")
        fh, position = await vfs.fs.opendir(100), 0
        while batch := await vfs.fs.readdir(fh, position):
            for entry, position in batch:
                (await vfs.fs.bind_entry(fh, entry, position)).nlookup += 1
        await vfs.fs.releasedir(fh)
        await trio.sleep(1)
        for path, node in files.items():
            vfs.names.tree[path] = Node(node.attr._replace(size=3))
        told = [Change(f"f{n}", ChangeKind.MODIFIED) for n in range(changed)]
        vfs.names.watches[0].send.send_nowait(told)
        await trio.testing.wait_all_tasks_blocked()
        vfs.names.asked.clear()
        await trio.sleep(1)
        for number in range(changed or 50):
            assert (await vfs.fs.getattr(1000 + number)).attr.size == 3
        asked = [what for what, _ in vfs.names.asked]
        assert asked.count("stat") == (10 if changed == 10 else FROM - 1)
        assert asked.count("list") == (0 if changed == 10 else 1)


@pytest.mark.parametrize("error", [AccessDenied, NotSupported])
async def test_refused(error: type[Exception], autojump_clock: Clock) -> None:
    """A directory that may not be watched is left alone for a while, a server that cannot tell for
    good."""
    async with mounted(many(2), watching=True) as vfs:
        begun: list[str] = []
        watch = vfs.names.watch

        def refusing(path: str, *, tree: bool = False) -> object:
            begun.append(path)
            made = watch(path, tree=tree)
            assert made is not None

            async def refuse() -> list[Change]:
                raise error(path)

            made.changes = refuse  # type: ignore[method-assign]
            return made

        vfs.names.watch = refusing  # type: ignore[assignment,method-assign]
        for name in ("d0", "d1"):
            await vfs.lookup(name)
        for _ in range(3):
            await use(vfs, 100)
        assert begun == ["d0"]
        await use(vfs, 101)
        await trio.sleep(REFUSED + 1)
        await use(vfs, 100)
        assert begun == (["d0", "d1", "d0"] if error is AccessDenied else ["d0"])


async def test_the_directory_of_an_opened_file_is_watched(autojump_clock: Clock) -> None:
    """And from then on opens come from memory, until something is told."""
    nodes = many(1) | {"d0/f": Node(file_attr(7, 3), b"one")}
    async with mounted(nodes, watching=True) as vfs:
        directory = await vfs.lookup("d0")
        file = await vfs.fs.lookup(directory.number, b"f")
        file.nlookup += 1
        assert await vfs.content(7) == b"one"
        asked = len(vfs.names.asked)
        await vfs.fs.release((await vfs.fs.open(7)).fh)
        assert len(vfs.names.asked) == asked
        vfs.names.tree["d0/f"] = Node(file_attr(7, 5, age=60), b"newer")
        vfs.names.tell("d0", Change("f", ChangeKind.MODIFIED))
        await trio.testing.wait_all_tasks_blocked()
        assert await vfs.content(7) == b"newer"


async def test_a_directory_grown_too_large_is_not_listed_for_each_few(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept of it is let go of with the first listing that is too long."""
    monkeypatch.setattr(listings_module, "FOLDER_MAX", 60)
    files = {f"d0/f{n}": Node(file_attr(1000 + n)) for n in range(50)}
    async with mounted(many(1) | files, actimeo=60.0, watching=True) as vfs:
        await vfs.lookup("d0")
        fh, position = await vfs.fs.opendir(100), 0
        while batch := await vfs.fs.readdir(fh, position):
            for entry, position in batch:
                (await vfs.fs.bind_entry(fh, entry, position)).nlookup += 1
        await vfs.fs.releasedir(fh)
        await trio.sleep(1)
        vfs.names.tree |= {f"d0/g{n}": Node(file_attr(2000 + n)) for n in range(50)}
        vfs.names.watches[0].send.send_nowait([])
        await trio.testing.wait_all_tasks_blocked()
        vfs.names.asked.clear()
        for number in range(50):
            await vfs.fs.getattr(1000 + number)
        assert [what for what, _ in vfs.names.asked].count("list") == 1
