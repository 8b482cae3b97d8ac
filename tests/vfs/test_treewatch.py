"""Every change below a directory is told once, whichever watch hears of it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from netfsfuse.errors import Disconnected, NetfsError, NotFound, NotSupported
from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.feed.treewatch import TreeWatch
from tests.vfs.fakes import FakeNamespace, Node, Watch, dir_attr, file_attr

MOST = 96


class Server(FakeNamespace):
    """Tells of a change as Samba does: by the watch of the changed directory, and, where an SMB
    client made it, by the tree's."""

    whole: Watch | None = None

    def watch(self, path: str, *, tree: bool = False) -> Watch | None:
        watch = super().watch(path, tree=tree)
        if tree:
            self.whole = watch
        return watch

    def own(self, directory: str) -> Watch | None:
        """The directory's own watch."""
        found = [each for each in self.watches if each.path == directory and each != self.whole]
        assert len(found) <= 1
        return found[0] if found else None

    def change(self, path: str, kind: ChangeKind) -> None:
        """An SMB client does this to ``top/path``."""
        directory, _, name = f"top/{path}".rpartition("/")
        own = self.own(directory)
        if own is not None:
            own.send.send_nowait([Change(name, kind)])
        assert self.whole is not None
        self.whole.send.send_nowait([Change(path, kind)])


@dataclass
class Watching:
    """A running watch of ``top``: what it told, and whether it has begun."""

    server: Server
    told: list[Sequence[Change]]
    begun: int = 0
    failure: NetfsError | None = None

    async def all_told(self) -> list[Change]:
        """Each change so far, in order, when there is nothing left to do."""
        await trio.testing.wait_all_tasks_blocked()
        return [change for changes in self.told for change in changes]

    def watched(self) -> set[str]:
        """The directories with a watch of their own."""
        return {each.path for each in self.server.watches if each is not self.server.whole}

    def _begin(self) -> None:
        self.begun += 1

    async def run(self, watch: TreeWatch) -> None:
        try:
            await watch.run(self._begin)
        except NetfsError as failed:
            self.failure = failed


def tree(*directories: str) -> dict[str, Node]:
    nodes = {"top": Node(dir_attr(1)), "elsewhere": Node(dir_attr(2))}
    nodes |= {f"top/{name}": Node(dir_attr(10 + n)) for n, name in enumerate(directories)}
    return nodes | {"top/file": Node(file_attr(3))}


@asynccontextmanager
async def watching(*directories: str, most: int = MOST, **more) -> AsyncIterator[Watching]:
    server = Server(tree(*directories), watching=True, **more)
    one = Watching(server, [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run, TreeWatch(server, "top", one.told.append, most=most))
        await trio.testing.wait_all_tasks_blocked()
        yield one
        nursery.cancel_scope.cancel()
    assert server.watches == []  # none is left behind, however it ended
    assert server.open_handles == []


async def test_each_directory_below_is_watched_by_itself() -> None:
    async with watching("a", "a/b", "c") as one:
        assert one.watched() == {"top", "top/a", "top/a/b", "top/c"}
        assert one.begun == 1
        assert one.told == []


async def test_it_has_begun_when_all_is_watched() -> None:
    gate = trio.Event()

    async def last_one_is_slow(what: str, path: str) -> None:
        if (what, path) == ("watch", "top/a/b"):
            await gate.wait()

    async with watching("a", "a/b", before=last_one_is_slow) as one:
        assert one.begun == 0
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert one.begun == 1


async def test_a_change_is_told_once_with_its_path() -> None:
    async with watching("a", "a/b") as one:
        one.server.change("a/b/f", ChangeKind.MODIFIED)
        one.server.change("file", ChangeKind.REMOVED)
        assert sorted(await one.all_told()) == [
            Change("a/b/f", ChangeKind.MODIFIED),
            Change("file", ChangeKind.REMOVED),
        ]


async def test_the_tree_speaks_for_those_beyond_the_bound() -> None:
    async with watching("a", "b", "c", "d", most=3) as one:
        assert len(one.watched()) == 3
        for name in "abcd":
            one.server.change(f"{name}/f", ChangeKind.MODIFIED)
        assert sorted(change.name for change in await one.all_told()) == [
            f"{name}/f" for name in "abcd"
        ]


async def test_of_a_new_directory_all_that_is_in_it_is_told() -> None:
    """It may have been filled before it was watched. What is below it is watched as well."""
    async with watching() as one:
        one.server.tree["top/new"] = Node(dir_attr(50))
        one.server.tree["top/new/deep"] = Node(dir_attr(51))
        one.server.tree["top/new/deep/f"] = Node(file_attr(52))
        one.server.change("new", ChangeKind.CREATED)
        assert await one.all_told() == [
            Change("new", ChangeKind.CREATED),
            Change("new/deep", ChangeKind.CREATED),
            Change("new/deep/f", ChangeKind.CREATED),
        ]
        assert one.watched() == {"top", "top/new", "top/new/deep"}


async def test_a_new_file_gets_no_watch() -> None:
    async with watching() as one:
        one.server.tree["top/new"] = Node(file_attr(50))
        one.server.change("new", ChangeKind.RENAMED_TO)
        assert await one.all_told() == [Change("new", ChangeKind.RENAMED_TO)]
        assert one.watched() == {"top"}


async def test_a_new_name_that_is_gone_again_is_no_failure() -> None:
    async with watching() as one:
        one.server.change("brief", ChangeKind.CREATED)
        assert await one.all_told() == [Change("brief", ChangeKind.CREATED)]
        assert one.failure is None


async def test_where_a_directorys_watch_ends_the_tree_speaks_for_it() -> None:
    async with watching("a") as one:
        own = one.server.own("top/a")
        assert own is not None
        own.send.send_nowait(None)
        await trio.testing.wait_all_tasks_blocked()
        assert one.watched() == {"top"}
        one.server.change("a/f", ChangeKind.MODIFIED)
        assert await one.all_told() == [Change("a/f", ChangeKind.MODIFIED)]
        assert one.failure is None


@pytest.mark.parametrize("of_tree", [True, False])
async def test_too_many_changes_to_tell_are_told_as_none(of_tree: bool) -> None:
    async with watching("a") as one:
        watch = one.server.whole if of_tree else one.server.own("top/a")
        assert watch is not None
        watch.send.send_nowait([])
        await trio.testing.wait_all_tasks_blocked()
        assert one.told == [[]]


async def test_the_end_of_the_trees_watch_is_its_own() -> None:
    async with watching("a") as one:
        assert one.server.whole is not None
        one.server.whole.send.send_nowait(None)
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(one.failure, Disconnected)
        assert one.server.watches == []


async def test_no_watch_to_be_had_is_an_outage() -> None:
    server = Server(tree(), watching=False)
    one = Watching(server, [])
    await one.run(TreeWatch(server, "top", one.told.append, most=MOST))
    assert isinstance(one.failure, Disconnected)
    assert ("stat", "top") in server.asked  # which connects again


@pytest.mark.parametrize(
    ("refused", "failure"), [("top", NotSupported), ("top/a", None), ("gone", None)]
)
async def test_only_the_tops_refusal_is_a_failure(
    refused: str, failure: type[NetfsError] | None
) -> None:
    def refuse(what: str, path: str) -> None:
        if what == "watch" and path == refused:
            raise NotSupported("this directory is not watched")
        if what == "list" and path == "top/a" and refused == "gone":
            raise NotFound(path)

    async with watching("a", "b", before=refuse) as one:
        assert type(one.failure) is (failure or type(None))
        if failure is None:
            assert one.begun == 1
            assert {"top", "top/b"} <= one.watched()


@pytest.mark.parametrize("seed", range(40))
async def test_changes_are_told_once_each_in_any_tree(seed: int) -> None:
    """Against a model: the multiset of what clients did, whatever the tree, the bound, the
    directories whose watches ended, and the order in which watches tell."""
    chance = random.Random(seed)
    directories = ["a"]
    for number in range(chance.randrange(12)):
        inside = chance.choice(["", *directories])
        directories.append(f"{inside}/d{number}".lstrip("/"))
    most = chance.randrange(1, 16)
    async with watching(*directories, most=most) as one:
        expected = []
        for number in range(60):
            directory = chance.choice(["", *directories])
            own = one.server.own(f"top/{directory}".rstrip("/"))
            if own is not None and directory and chance.random() < 0.05:
                await one.all_told()  # what it heard is told
                own.send.send_nowait(None)
                await one.all_told()
            path = f"{directory}/f{number}".lstrip("/")
            kind = chance.choice([ChangeKind.MODIFIED, ChangeKind.REMOVED])
            one.server.change(path, kind)
            expected.append(Change(path, kind))
            if chance.random() < 0.3:
                await one.all_told()
        assert sorted(await one.all_told()) == sorted(expected)
        assert len(one.watched()) <= most
