"""Which directories are watched, and when one is given up for another."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.errors import AccessDenied, NotSupported
from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.watches import KEPT, REFUSED, WATCHES_MAX
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
        assert vfs.fs.inodes.get(101).watched is None


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
        assert vfs.fs.inodes.get(100).watched is None
        await use(vfs, 100)
        assert len(vfs.names.watches) == 1


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
