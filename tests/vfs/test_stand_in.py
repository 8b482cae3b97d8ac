"""What is remembered stands in for a server that is away; what is not waits, and fails."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.errors import Disconnected, HostDown, NotFound
from netfsfuse.stats import VfsStats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import Change, Reach
from netfsfuse.vfs.coherency.stand_in import GRACE, StandIn
from netfsfuse.vfs.inodes.inodes import Inode
from tests.vfs.fake_namespace import FakeReachability
from tests.vfs.fakes import FakeNamespace, Node, Vfs, dir_attr, file_attr, mounted

Clock = trio.testing.MockClock
SOFT = 30.0
STEP = 0.1


def tree() -> dict[str, Node]:
    return {
        "f": Node(file_attr(11, 3), b"one"),
        "d": Node(dir_attr(12)),
        "d/g": Node(file_attr(13, 3), b"two"),
        "d/h": Node(file_attr(14, 5), b"three"),
        "other": Node(dir_attr(15)),
        "other/i": Node(file_attr(16, 1), b"i"),
    }


async def names_in(vfs: Vfs, number: int) -> list[str]:
    """As ``ls`` does it: the kernel is told of what is listed."""
    fh = await vfs.fs.opendir(number)
    try:
        position, names = 0, []
        while batch := await vfs.fs.readdir(fh, position):
            for entry, position in batch:
                (await vfs.fs.bind_entry(fh, entry, position)).nlookup += 1
                names.append(entry.name)
        return sorted(names)
    finally:
        await vfs.fs.releasedir(fh)


async def used(vfs: Vfs) -> None:
    """The root and ``d`` were listed, ``other`` and what is in it were looked up."""
    await names_in(vfs, 1)
    await names_in(vfs, 12)
    await vfs.lookup("i", parent=15)
    await vfs.fs.statfs()
    await vfs.fs.getattr(1)
    await trio.sleep(20.0)  # longer than anything is believed


Question = Callable[[Vfs], Awaitable[object]]

REMEMBERED: dict[str, Question] = {
    "stat of the root": lambda vfs: vfs.fs.getattr(1),
    "stat of a file": lambda vfs: vfs.fs.getattr(11),
    "stat of a directory": lambda vfs: vfs.fs.getattr(12),
    "a listed name": lambda vfs: vfs.lookup("g", parent=12),
    "a name that was used": lambda vfs: vfs.lookup("i", parent=15),
    "ls of a listed directory": lambda vfs: names_in(vfs, 12),
    "ls of the root": lambda vfs: names_in(vfs, 1),
    "df": lambda vfs: vfs.fs.statfs(),
    "opendir of what was never listed": lambda vfs: opened_and_closed(vfs, 15),
}

NOT_REMEMBERED: dict[str, Question] = {
    "a name that no listing holds": lambda vfs: vfs.lookup("absent", parent=12),
    "a name that was never asked for": lambda vfs: vfs.lookup("j", parent=15),
    "ls of what was never listed": lambda vfs: names_in(vfs, 15),
    "an open": lambda vfs: vfs.fs.open(11),
}


async def opened_and_closed(vfs: Vfs, number: int) -> None:
    await vfs.fs.releasedir(await vfs.fs.opendir(number))


async def seconds(vfs: Vfs, question: Question) -> float:
    begin = trio.current_time()
    await question(vfs)
    return trio.current_time() - begin


def fall_silent(names: FakeNamespace) -> None:
    """No answer any more; the first to wait for one has the server suspected in 1.9 s, and down in
    30 s."""
    reach = names.reachability

    async def wait(what: str, path: str) -> None:
        now = trio.current_time()
        if reach.reach is Reach.UP:
            with trio.move_on_at(now + 1.9):
                await trio.sleep_forever()
            if reach.reach is Reach.UP:
                reach.become(Reach.SUSPECT)
                reach.until = now + SOFT
        with trio.move_on_at(reach.until):
            await trio.sleep_forever()
        raise HostDown("silent")

    names.before = lambda what, path: wait(what, path)


def refuse(names: FakeNamespace) -> None:
    """The connection is reset, and no other is to be had."""
    reach = names.reachability
    reach.become(Reach.DOWN, trio.current_time() + SOFT)

    async def wait(what: str, path: str) -> None:
        with trio.move_on_at(reach.until):
            await trio.sleep_forever()
        raise HostDown("refused")

    names.before = lambda what, path: wait(what, path)


AWAY = {"silent": fall_silent, "refused": refuse}


@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize("first", REMEMBERED)
async def test_what_is_remembered_is_answered(away: str, first: str, autojump_clock: Clock) -> None:
    """At most 2.2 s once, then at once; the answers are the old ones, and counted."""
    async with mounted(tree()) as vfs:
        await used(vfs)
        AWAY[away](vfs.names)
        assert await seconds(vfs, REMEMBERED[first]) < 2.2
        counted = vfs.stats.vfs.from_memory
        assert counted > 0
        for question in REMEMBERED.values():
            assert await seconds(vfs, question) < 0.01
        assert vfs.stats.vfs.from_memory >= counted + 6
        assert await names_in(vfs, 12) == ["g", "h"]
        assert (await vfs.fs.getattr(11)).attr == vfs.names.tree["f"].attr
        assert (await vfs.lookup("i", parent=15)).number == 16


@pytest.mark.parametrize("away", AWAY)
async def test_what_is_not_remembered_waits_and_fails(away: str, autojump_clock: Clock) -> None:
    """At 30 s, later at once."""
    async with mounted(tree()) as vfs:
        await used(vfs)
        AWAY[away](vfs.names)
        begin = trio.current_time()

        async def failing(question: Question) -> None:
            with pytest.raises(HostDown):
                await question(vfs)
            assert trio.current_time() - begin == pytest.approx(SOFT, abs=0.2)

        async with trio.open_nursery() as nursery:
            for question in NOT_REMEMBERED.values():
                nursery.start_soon(failing, question)
        for question in NOT_REMEMBERED.values():
            with pytest.raises(HostDown):
                await question(vfs)
        assert trio.current_time() - begin < SOFT + 0.2


async def test_a_short_outage_shows_nothing_old(autojump_clock: Clock) -> None:
    """A server that was restarted within the grace is asked."""
    async with mounted(tree()) as vfs:
        await used(vfs)
        reach = vfs.names.reachability
        reach.become(Reach.DOWN)
        back = trio.Event()
        vfs.names.before = lambda what, path: back.wait()
        vfs.names.tree["f"].attr = file_attr(11, 7)
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                assert (await vfs.fs.getattr(11)).attr.size == 7

            nursery.start_soon(look)
            await trio.sleep(GRACE - 0.2)
            reach.become(Reach.UP)
            await trio.sleep(1.0)  # nor is it cut short afterwards
            back.set()
        assert vfs.stats.vfs.from_memory == 0


async def test_what_was_shown_meanwhile_is_asked_for_again(autojump_clock: Clock) -> None:
    async with mounted(tree()) as vfs:
        await used(vfs)
        refuse(vfs.names)
        vfs.names.tree["f"].attr = file_attr(11, 7)
        del vfs.names.tree["d/g"]
        assert (await vfs.fs.getattr(11)).attr.size == 3
        assert vfs.fs.attr_timeout(await vfs.fs.getattr(11)) == 0
        assert await names_in(vfs, 12) == ["g", "h"]
        vfs.names.before = lambda what, path: None
        vfs.names.reachability.become(Reach.UP)
        assert (await vfs.fs.getattr(11)).attr.size == 7
        assert await names_in(vfs, 12) == ["h"]
        with pytest.raises(NotFound):
            await vfs.lookup("g", parent=12)


async def test_a_listing_that_meets_silence_is_shown_as_it_was(autojump_clock: Clock) -> None:
    """The directory was opened when the server still answered, and its first page never comes."""
    async with mounted(tree()) as vfs:
        await used(vfs)
        fh = await vfs.fs.opendir(12)
        fall_silent(vfs.names)
        batch = await vfs.fs.readdir(fh, 0)
        assert sorted(entry.name for entry, _ in batch) == ["g", "h"]
        assert await vfs.fs.readdir(fh, 2) == []
        await vfs.fs.releasedir(fh)


async def test_what_was_removed_here_is_not_found_again(autojump_clock: Clock) -> None:
    """Though a program has it open, so that the kernel knows it."""
    async with mounted(tree()) as vfs:
        await vfs.lookup("i", parent=(await vfs.lookup("other")).number)
        await vfs.fs.mutations.unlink(15, b"i")
        refuse(vfs.names)
        with pytest.raises(HostDown):
            await vfs.lookup("i", parent=15)


async def test_what_is_not_heard_is_not_believed(autojump_clock: Clock) -> None:
    """A watch's word counts again when the server is heard: nothing has to be asked anew."""
    async with mounted(tree(), watching=True) as vfs:
        await used(vfs)
        await names_in(vfs, 12)
        await vfs.fs.getattr(13)
        reach, count = vfs.names.reachability, vfs.names.count
        before = count("stat"), count("list")
        await trio.sleep(5.0)
        await vfs.fs.getattr(13)
        await names_in(vfs, 12)
        assert (count("stat"), count("list")) == before
        reach.heard = False
        await vfs.fs.getattr(13)
        await names_in(vfs, 12)
        assert (count("stat"), count("list")) == (before[0] + 1, before[1] + 1)
        reach.heard = True
        await trio.sleep(5.0)
        await vfs.fs.getattr(13)
        await names_in(vfs, 12)
        assert (count("stat"), count("list")) == (before[0] + 1, before[1] + 1)


async def test_a_doubt_ends_the_trust_in_all_that_was_told(autojump_clock: Clock) -> None:
    """The kernel, too, is told to ask again."""
    async with mounted(tree(), watching=True) as vfs:
        await used(vfs)
        await names_in(vfs, 12)
        told: list[tuple[Inode, int]] = []

        def note(directory: Inode, changes: list[Change]) -> None:
            told.append((directory, len(changes)))

        vfs.kernel.on_changed = note  # type: ignore[assignment]
        for doubt in vfs.names.reachability.doubts:
            doubt()
        assert {directory.number for directory, changes in told if not changes} >= {1, 12}
        vfs.names.tree["d/g"].attr = file_attr(13, 9)
        assert (await vfs.fs.getattr(13)).attr.size == 9
        del vfs.names.tree["d/h"]
        assert await names_in(vfs, 12) == ["g"]


@settings(max_examples=150, deadline=None)
@given(
    takes=st.integers(1, 80),
    changes=st.lists(st.tuples(st.integers(1, 60), st.sampled_from(list(Reach))), max_size=5),
    is_known=st.booleans(),
)
def test_an_answer_comes_from_where_it_should(
    takes: int, changes: list[tuple[int, Reach]], is_known: bool
) -> None:
    """Against a model in steps of a tenth of a second: the server's answer if it takes ``takes``
    steps and no time lies before in which memory stands in; where nothing is known it is asked once
    more then, and heard to the end."""
    times = sorted({step * 2: reach for step, reach in changes}.items())

    def first_cut() -> int | None:
        reach, since = Reach.UP, math.inf
        pending = dict(times)
        for step in range(takes + 1):
            if step in pending:
                was, reach = reach, pending[step]
                if was is Reach.UP or reach is Reach.UP:
                    since = math.inf if reach is Reach.UP else step
            if reach is Reach.SUSPECT or (reach is not Reach.UP and step >= since + GRACE / STEP):
                return step
        return None

    async def run() -> None:
        reach, stats, asked = FakeReachability(), VfsStats(), 0
        begin = trio.current_time()

        async def question() -> str:
            nonlocal asked
            asked += 1
            await trio.sleep(takes * STEP + 0.01)
            return "server"

        async def remembered() -> str | None:
            return "memory" if is_known else None

        async def change() -> None:
            for step, to in times:
                await trio.sleep_until(begin + step * STEP)
                reach.become(to)

        async with trio.open_nursery() as nursery:
            stand_in = StandIn(reach, ServiceNursery(nursery), stats, remembered)
            nursery.start_soon(change)
            answer = await stand_in.ask(question, remembered)
            took = trio.current_time() - begin
            nursery.cancel_scope.cancel()
        cut = first_cut()
        if cut is not None and takes <= cut + 1 and asked == 1 and answer == "server":
            pass  # memory stands in within a step, and the server was as fast
        elif cut is None:
            assert (answer, asked, stats.from_memory) == ("server", 1, 0)
        elif is_known:
            assert (answer, asked, stats.from_memory) == ("memory", 1, 1)
            assert took <= cut * STEP + 2 * STEP
        else:
            assert (answer, asked, stats.from_memory) == ("server", 2, 0)
            assert not stand_in._asking

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_server_that_is_away_is_knocked_at(autojump_clock: Clock) -> None:
    """By one question at a time, where all others are answered from memory."""
    async with mounted(tree()) as vfs:
        await used(vfs)
        refuse(vfs.names)
        await vfs.fs.getattr(11)
        before = vfs.names.count("stat")
        for _ in range(5):
            await vfs.fs.getattr(11)
            await trio.sleep(1.0)
        assert vfs.names.count("stat") == before + 1


async def test_a_lost_question_that_is_remembered_raises_nothing(autojump_clock: Clock) -> None:
    async def lost() -> str:
        raise Disconnected("reset")

    async def remembered() -> str:
        return "memory"

    async def nothing() -> None:
        return None

    async with trio.open_nursery() as nursery:
        stand_in = StandIn(FakeReachability(), ServiceNursery(nursery), VfsStats(), lost)
        assert await stand_in.ask(lost, remembered) == "memory"
        with pytest.raises(Disconnected):
            await stand_in.ask(lost, nothing)
        stand_in.close()
