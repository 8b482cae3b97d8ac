"""What our own changes make of what is known: no question, no news for the kernel, and what other
clients change at the same time is still seen."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from netfsfuse.errors import (
    AlreadyExists,
    Disconnected,
    InvalidArgument,
    NotEmpty,
    NotFound,
    Stale,
)
from netfsfuse.types import Change, ChangeKind
from netfsfuse.vfs.coherency.echoes import ECHO_SECONDS
from netfsfuse.vfs.coherency.watches import WATCHES_MAX
from netfsfuse.vfs.inodes.directory import CALM
from netfsfuse.vfs.ops import SMALL
from netfsfuse.vfs.tree import own_changes
from tests.vfs.fakes import Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock
DIR = 50


@asynccontextmanager
async def known(*, watching: bool = True, actimeo: float = 60.0) -> AsyncIterator[Vfs]:
    """A directory ``d`` with a file ``d/f`` (100) and a directory ``d/s`` (60), listed."""
    tree = {
        "d": Node(dir_attr(DIR)),
        "d/f": Node(file_attr(100, 3), b"abc"),
        "d/s": Node(dir_attr(60)),
    }
    async with mounted(tree, watching=watching, actimeo=actimeo) as vfs:
        vfs.news = []  # type: ignore[attr-defined]
        vfs.kernel.on_changed = lambda directory, changes: vfs.news.append(changes)  # type: ignore[attr-defined]
        await vfs.lookup("d")
        await vfs.lookup("f", DIR)
        await vfs.lookup("s", DIR)
        assert await listed(vfs, 60) == []
        assert await listed(vfs) == ["f", "s"]
        await trio.sleep(CALM + 1)
        vfs.names.asked.clear()
        yield vfs
        await trio.testing.wait_all_tasks_blocked()


async def listed(vfs: Vfs, number: int = DIR) -> list[str]:
    fh = await vfs.fs.opendir(number)
    found = []
    while batch := await vfs.fs.readdir(fh, len(found)):
        found += [entry.name for entry, _ in batch]
    await vfs.fs.releasedir(fh)
    await trio.testing.wait_all_tasks_blocked()
    return sorted(found)


async def missing(vfs: Vfs, name: str, parent: int = DIR) -> bool:
    try:
        await vfs.lookup(name, parent)
    except NotFound:
        return True
    return False


async def change(vfs: Vfs) -> None:
    """One change of each kind."""
    made = await vfs.fs.mutations.mkdir(DIR, b"new")
    made.nlookup += 1
    await vfs.fs.mutations.rename(DIR, b"f", made.number, b"g", 0)
    await vfs.fs.mutations.rename(made.number, b"g", made.number, b"h", 0)
    await vfs.fs.mutations.rmdir(DIR, b"s")


async def test_own_changes_cost_nothing_but_themselves(autojump_clock: Clock) -> None:
    async with known() as vfs:
        await change(vfs)
        assert [what for what, _ in vfs.names.asked] == [
            "make_directory",
            "rename",
            "rename",
            "remove",
        ]
        vfs.names.asked.clear()
        await trio.testing.wait_all_tasks_blocked()  # all is echoed
        assert await listed(vfs) == ["new"]
        assert await missing(vfs, "f")
        assert await missing(vfs, "s")
        new = await vfs.lookup("new", DIR)
        assert new.attr.is_directory
        f = vfs.fs.inodes.get(100)
        assert (f.path, f.attr.size) == ("d/new/h", 3)
        await vfs.fs.getattr(100)
        await vfs.fs.getattr(DIR)
        await vfs.fs.getattr(new.number)
        assert vfs.names.asked == []
        assert vfs.news == []  # type: ignore[attr-defined]


async def test_a_directory_shows_when_its_names_changed(autojump_clock: Clock) -> None:
    async with known() as vfs:
        before = (await vfs.fs.getattr(DIR)).attr
        for call in (
            vfs.fs.mutations.unlink(DIR, b"f"),
            vfs.fs.mutations.rmdir(DIR, b"s"),
            vfs.fs.mutations.mkdir(DIR, b"t"),
        ):
            await call
            now = (await vfs.fs.getattr(DIR)).attr
            assert now.write > before.write
            assert now.change > before.change
            before = now
        assert vfs.names.count("stat") == 0


async def test_where_the_clock_is_not_known_the_directory_is_asked(autojump_clock: Clock) -> None:
    async with known() as vfs:
        vfs.names.clock_known = False
        await vfs.fs.mutations.unlink(DIR, b"f")
        await vfs.fs.getattr(DIR)
        assert ("stat", "d") in vfs.names.asked


@pytest.mark.parametrize("kind", [ChangeKind.CREATED, ChangeKind.REMOVED, ChangeKind.RENAMED_TO])
async def test_what_others_do_at_the_same_time_is_seen(
    kind: ChangeKind, autojump_clock: Clock
) -> None:
    async with known() as vfs:
        await change(vfs)
        vfs.names.tree["d/other"] = Node(file_attr(101))
        vfs.names.tell("d", Change("other", kind))
        await trio.testing.wait_all_tasks_blocked()
        assert vfs.news[0] == [Change("other", kind)]  # type: ignore[attr-defined]
        assert await listed(vfs) == ["new", "other"]


async def test_a_name_that_another_client_makes_again_is_seen(autojump_clock: Clock) -> None:
    async with known() as vfs:
        await vfs.fs.mutations.unlink(DIR, b"f")
        await trio.testing.wait_all_tasks_blocked()
        assert await missing(vfs, "f")
        vfs.names.tree["d/f"] = Node(file_attr(102))
        vfs.names.tell("d", Change("f", ChangeKind.CREATED))
        await trio.testing.wait_all_tasks_blocked()
        assert (await vfs.lookup("f", DIR)).number == 102


async def test_what_another_client_removed_before_us(autojump_clock: Clock) -> None:
    """Its news comes while ours is under way, which then is refused."""
    async with known() as vfs:
        del vfs.names.tree["d/f"]

        async def tell() -> None:
            vfs.names.tell("d", Change("f", ChangeKind.REMOVED))
            await trio.testing.wait_all_tasks_blocked()

        vfs.names.before = lambda what, path: tell() if what == "remove" else None
        with pytest.raises(NotFound):
            await vfs.fs.mutations.unlink(DIR, b"f")
        assert [Change("f", ChangeKind.REMOVED)] in vfs.news  # type: ignore[attr-defined]
        assert await listed(vfs) == ["s"]


async def test_a_modification_told_with_ours_ends_the_watch_s_word(autojump_clock: Clock) -> None:
    """The server may tell two clients' as one: then it is believed for its lifetime only."""
    async with known(actimeo=5.0) as vfs:
        f = vfs.fs.inodes.get(100)
        await vfs.fs.mutations.setattr(f, write=10**18)
        await trio.testing.wait_all_tasks_blocked()
        vfs.names.tree["d/f"].attr = file_attr(100, 4, age=0)
        vfs.names.asked.clear()
        assert (await vfs.fs.getattr(100)).attr.write == 10**18
        assert vfs.names.asked == []
        await trio.sleep(5.1)
        assert (await vfs.fs.getattr(100)).attr.size == 4
        assert vfs.news == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("age", [60.0, 0.001])
@pytest.mark.parametrize("back", [False, True])
async def test_a_handle_sees_what_was_cut_by_path(
    age: float, back: bool, autojump_clock: Clock
) -> None:
    """Also where it was opened in the tick of an earlier change, so that its bytes are its own, and
    where size and times are soon what they were."""
    size = SMALL + 3
    async with known() as vfs:
        node = vfs.names.tree["d/f"]
        attr = node.attr = file_attr(100, size, age=age)
        node.content = b"x" * size
        await vfs.lookup("f", DIR)
        reader = await vfs.fs.open(100)
        assert bytes(await vfs.fs.read(reader.fh, 0, size)) == b"x" * size
        f = vfs.fs.inodes.get(100)
        await vfs.fs.mutations.setattr(f, size=1)
        if back:
            await vfs.fs.mutations.setattr(f, size=size)
            node.attr = attr
        assert bytes(await vfs.fs.read(reader.fh, 0, 3)) == (b"x\0\0" if back else b"x")
        await vfs.fs.release(reader.fh)


async def test_a_later_modification_is_anothers(autojump_clock: Clock) -> None:
    async with known() as vfs:
        f = vfs.fs.inodes.get(100)
        await vfs.fs.mutations.setattr(f, size=2)
        await trio.sleep(ECHO_SECONDS)
        vfs.names.tell("d", Change("f", ChangeKind.MODIFIED))
        await trio.testing.wait_all_tasks_blocked()
        assert vfs.news == [[Change("f", ChangeKind.MODIFIED)]]  # type: ignore[attr-defined]


@pytest.mark.parametrize("call", ["mkdir", "unlink", "rmdir", "rename"])
async def test_what_may_have_been_done_is_asked_for(call: str, autojump_clock: Clock) -> None:
    async with known() as vfs:

        async def lose() -> None:
            raise Disconnected("lost")

        vfs.names.before = lambda what, path: lose() if what not in ("stat", "list") else None
        name = {"mkdir": b"new", "unlink": b"f", "rmdir": b"s", "rename": b"f"}[call]
        arguments = (DIR, name, DIR, b"g", 0) if call == "rename" else (DIR, name)
        with pytest.raises(Disconnected):
            await getattr(vfs.fs.mutations, call)(*arguments)
        vfs.names.before = lambda what, path: None
        vfs.names.asked.clear()
        assert await missing(vfs, name.decode()) is (call == "mkdir")
        assert ("stat", f"d/{name.decode()}") in vfs.names.asked
        assert vfs.news  # type: ignore[attr-defined]


async def test_a_call_that_is_cancelled_leaves_nothing_believed(autojump_clock: Clock) -> None:
    async with known() as vfs:

        async def wait(what: str, path: str) -> None:
            if what == "remove":
                await trio.sleep_forever()

        vfs.names.before = wait
        with trio.move_on_after(1):
            await vfs.fs.mutations.unlink(DIR, b"f")
        await vfs.lookup("f", DIR)
        assert ("stat", "d/f") in vfs.names.asked


async def test_a_refusal_that_says_nothing_new(autojump_clock: Clock) -> None:
    async with known() as vfs:
        vfs.names.tree["d/s/x"] = Node(file_attr(103))
        with pytest.raises(NotEmpty):
            await vfs.fs.mutations.rmdir(DIR, b"s")
        vfs.names.asked.clear()
        await vfs.lookup("s", DIR)
        assert vfs.names.asked == []


async def test_a_name_that_was_there_unheard_of(autojump_clock: Clock) -> None:
    async with known() as vfs:
        vfs.names.tree["d/new"] = Node(dir_attr(70))
        with pytest.raises(AlreadyExists):
            await vfs.fs.mutations.mkdir(DIR, b"new")
        assert (await vfs.lookup("new", DIR)).number == 70


async def test_flags_of_rename(autojump_clock: Clock) -> None:
    async with known() as vfs:
        with pytest.raises(AlreadyExists):
            await vfs.fs.mutations.rename(DIR, b"f", DIR, b"s", 1)
        for flags in (2, 3, 4):
            with pytest.raises(InvalidArgument):
                await vfs.fs.mutations.rename(DIR, b"f", DIR, b"s", flags)


async def test_watches_and_listings_give_way(autojump_clock: Clock) -> None:
    """And come back by use, by the new path; a reader goes on where it was."""
    async with known() as vfs:
        for n in range(10):
            vfs.names.tree[f"d/s/n{n}"] = Node(file_attr(200 + n))
        vfs.names.tell("d/s", Change("n0", ChangeKind.CREATED))
        await trio.testing.wait_all_tasks_blocked()
        fh = await vfs.fs.opendir(60)
        first = await vfs.fs.readdir(fh, 0)
        assert len(vfs.names.open_handles) == 1
        assert {watch.path for watch in vfs.names.watches} == {"d", "d/s"}

        def nothing_is_open(what: str, path: str) -> None:
            if what == "rename":
                assert vfs.names.open_handles == []
                assert {watch.path for watch in vfs.names.watches} == {"d"}

        vfs.names.before = nothing_is_open
        await vfs.fs.mutations.rename(DIR, b"s", DIR, b"t", 0)
        found = [entry.name for entry, _ in first]
        while batch := await vfs.fs.readdir(fh, len(found)):
            found += [entry.name for entry, _ in batch]
        assert sorted(found) == [f"n{n}" for n in range(10)]
        await vfs.fs.releasedir(fh)
        await listed(vfs, 60)
        assert {watch.path for watch in vfs.names.watches} == {"d", "d/t"}
        assert vfs.fs.inodes.get(60).path == "d/t"


async def test_an_unlinked_file_is_no_longer_at_its_path(autojump_clock: Clock) -> None:
    async with known() as vfs:
        await vfs.fs.mutations.unlink(DIR, b"f")
        vfs.names.tree["d/f"] = Node(file_attr(104))
        with pytest.raises(Stale):
            await vfs.fs.getattr(100)


async def test_a_listing_under_way_is_put_right(autojump_clock: Clock) -> None:
    async with known(watching=False, actimeo=5.0) as vfs:
        await trio.sleep(6)
        fh = await vfs.fs.opendir(DIR)
        await vfs.fs.mutations.unlink(DIR, b"f")
        await vfs.fs.mutations.mkdir(DIR, b"new")
        position = 0
        shown = set()
        while batch := await vfs.fs.readdir(fh, position):
            for entry, position in batch:
                if not vfs.fs.is_gone(fh, entry, position):
                    shown.add(entry.name)
        await vfs.fs.releasedir(fh)
        assert "f" not in shown
        assert await listed(vfs) == ["new", "s"]


async def test_space_is_asked_for_again_after_a_change(autojump_clock: Clock) -> None:
    async with known() as vfs:
        await vfs.fs.statfs()
        await trio.sleep(5)
        await vfs.fs.statfs()
        assert vfs.names.count("statfs") == 1
        await vfs.fs.mutations.unlink(DIR, b"f")
        await vfs.fs.statfs()
        assert vfs.names.count("statfs") == 2


async def test_names_made_in_a_new_directory_cost_no_question(autojump_clock: Clock) -> None:
    """From the second on: it is watched and listed, and goes on to be right."""
    async with known() as vfs:
        new = await vfs.fs.mutations.mkdir(DIR, b"new")
        new.nlookup += 1
        for number in range(20):
            assert await missing(vfs, f"n{number}", new.number)
            await vfs.fs.mutations.mkdir(new.number, f"n{number}".encode())
            await trio.testing.wait_all_tasks_blocked()
        assert vfs.names.count("stat") == 1
        assert vfs.names.count("list") == 1
        assert await listed(vfs, new.number) == sorted(f"n{number}" for number in range(20))
        vfs.names.tree["d/new/other"] = Node(dir_attr(500))
        vfs.names.tell("d/new", Change("other", ChangeKind.CREATED))
        await trio.testing.wait_all_tasks_blocked()
        assert (await vfs.lookup("other", new.number)).number == 500


async def test_a_large_directory_is_not_listed_for_a_name(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_changes, "FORESEEN_MAX", 1)
    async with known(watching=False, actimeo=1.0) as vfs:
        await vfs.fs.mutations.mkdir(DIR, b"new")
        await vfs.fs.mutations.mkdir(1, b"new")
        await trio.testing.wait_all_tasks_blocked()
        assert vfs.names.count("list") == 0


@pytest.mark.parametrize("first", [0, 1])
async def test_of_two_changes_under_way_the_later_counts(first: int, autojump_clock: Clock) -> None:
    """Whichever is answered first; what is not known for certain is asked for."""
    async with known() as vfs:
        f = vfs.fs.inodes.get(100)
        sent = [trio.current_time() + 0.001, trio.current_time() + 0.002]
        await trio.sleep(1)
        attrs = [f.attr._replace(size=10), f.attr._replace(size=20)]
        vfs.names.tree["d/f"].attr = attrs[1]
        for which in (first, 1 - first):
            vfs.fs._own.modified(f, attrs[which], asked=sent[which])
            await trio.sleep(0.5)
        assert (await vfs.fs.getattr(100)).attr.size == 20
        assert await listed(vfs) == ["f", "s"]
        assert (await vfs.lookup("f", DIR)).attr.size == 20


async def test_what_is_written_is_expected_of_a_watch_that_begins_later(
    autojump_clock: Clock,
) -> None:
    async with known() as vfs:
        f = vfs.fs.inodes.get(100)
        vfs.fs._watches.give_way(vfs.fs.inodes.root, "d")
        with vfs.fs._own.expect(f, modified=math.inf):
            await listed(vfs)
            vfs.names.tell("d", *[Change("f", ChangeKind.MODIFIED)] * 9)
            await trio.testing.wait_all_tasks_blocked()
        vfs.names.tell("d", Change("f", ChangeKind.MODIFIED))
        await trio.testing.wait_all_tasks_blocked()
        assert vfs.news == []  # type: ignore[attr-defined]
        vfs.names.tell("d", Change("f", ChangeKind.REMOVED))
        await trio.testing.wait_all_tasks_blocked()
        assert vfs.news == [[Change("f", ChangeKind.REMOVED)]]  # type: ignore[attr-defined]


async def test_expectations_are_not_kept(autojump_clock: Clock) -> None:
    async with mounted({f"d{n}": Node(dir_attr(100 + n)) for n in range(1200)}) as vfs:
        for number in range(1200):
            directory = await vfs.lookup(f"d{number}")
            with vfs.fs._own.expect(directory, "f"):
                pass
            await trio.sleep(0.1)
        assert len(vfs.fs._watches._echoes) <= 2 * WATCHES_MAX + 1


async def test_nothing_is_kept_of_a_directory_that_the_kernel_forgot(autojump_clock: Clock) -> None:
    """One object among a thousand inodes keeps their memory from going back to the system."""
    async with known() as vfs:
        new = await vfs.fs.mutations.mkdir(DIR, b"new")
        new.nlookup += 1
        for name in (b"a", b"b"):
            await vfs.fs.mutations.mkdir(new.number, name)
        await trio.testing.wait_all_tasks_blocked()
        assert new in vfs.fs._watches._echoes
        assert vfs.fs._listings.recent.knows(new)
        vfs.fs.forget(new.number, new.nlookup)
        assert new not in vfs.fs._watches._echoes
        assert new not in vfs.fs._watches._entries
        assert not vfs.fs._listings.recent.knows(new)
        assert new not in vfs.fs._listings._kept
