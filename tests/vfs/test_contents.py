"""One content for all handles of a file under one record, whatever is cancelled when."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from netfsfuse.config import ReadConfig
from netfsfuse.netfs import Netfs
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from netfsfuse.stats import Stats
from netfsfuse.types import FileAttr
from netfsfuse.vfs.contents import Contents
from tests.vfs.fakes import FakeCache, FakeObject, file_attr

Clock = trio.testing.MockClock


class OneAtATime(FakeCache):
    """A cache whose objects of one record must never be open twice, and take a while to close."""

    def __init__(self) -> None:
        super().__init__(pause=0.1)
        self.open: list[FileAttr] = []
        self.strict = True

    async def acquire(self, attr: FileAttr, path: str) -> FakeObject:
        await trio.sleep(self.pause)
        assert not self.strict or attr not in self.open, "opened again before it was closed"
        self.acquired.append(attr)
        self.open.append(attr)
        return SlowObject(self, attr)


class SlowObject(FakeObject):
    """Takes a while to close, and is closed once however often it is asked to."""

    def __init__(self, cache: OneAtATime, attr: FileAttr) -> None:
        super().__init__(cache, attr.file_id)
        self._attr = attr

    async def aclose(self) -> None:
        if self.closed:
            return
        with trio.CancelScope(shield=True):
            await trio.sleep(0.2)
        assert isinstance(self._cache, OneAtATime)
        self._cache.open.remove(self._attr)
        await super().aclose()


def table(nursery: trio.Nursery) -> tuple[Contents, OneAtATime]:
    cache = OneAtATime()
    netfs = Netfs(
        nursery=nursery, config=ReadConfig(), stats=Stats(), rsize=1 << 20, capacity=lambda: 1 << 30
    )
    return Contents(netfs, cache), cache


async def test_an_open_during_the_close_waits_for_it(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        contents, cache = table(nursery)
        attr = file_attr(7)
        first = await contents.acquire(7, attr, "f", settled=True)
        async with trio.open_nursery() as closing:
            closing.start_soon(contents.release, 7, first)
            await trio.testing.wait_all_tasks_blocked()
            second = await contents.acquire(7, attr, "f", settled=True)
        assert second is not first
        assert not second.netfs.retired
        await contents.release(7, second)
        assert cache.closed == 2


async def test_a_close_that_hangs_is_waited_for_once_and_not_for_long(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen disk: meanwhile all that is read of the file comes from the server, kept nowhere."""
    plain, thawed = SlowObject.aclose, trio.Event()

    async def hanging(self: SlowObject) -> None:
        with trio.CancelScope(shield=True):
            await thawed.wait()
        await plain(self)

    monkeypatch.setattr(SlowObject, "aclose", hanging)
    async with trio.open_nursery() as nursery:
        contents, cache = table(nursery)
        attr = file_attr(7)
        first = await contents.acquire(7, attr, "f", settled=True)
        nursery.start_soon(contents.release, 7, first)
        await trio.testing.wait_all_tasks_blocked()
        for patience in (CACHE_TIMEOUT, 0.0, 0.0):
            before = trio.current_time()
            alone = await contents.acquire(7, attr, "f", settled=True)
            assert trio.current_time() - before == pytest.approx(patience)
            assert alone.netfs.retired
            nursery.start_soon(contents.release, 7, alone)
        thawed.set()
        await trio.sleep(1)
        again = await contents.acquire(7, attr, "f", settled=True)
        assert not again.netfs.retired
        await contents.release(7, again)
    assert cache.open == []
    assert contents._slots == {}


async def test_a_content_taken_up_again_before_it_closed_lives_on(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        contents, cache = table(nursery)
        attr = file_attr(7)
        first = await contents.acquire(7, attr, "f", settled=True)
        slot = contents._slots[7]
        got = []

        async def take() -> None:
            got.append(await contents.acquire(7, attr, "f", settled=True))

        async with slot.lock:  # both wait; the open is first
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(contents.release, 7, first)
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert got == [first]
        assert first.netfs._closed is None
        assert (first.users, cache.closed) == (1, 0)
        await contents.release(7, first)
        assert cache.closed == 1


async def test_what_is_at_hand_waits_for_no_cache_object(autojump_clock: Clock) -> None:
    """Neither for one that is being closed nor for one that is being opened; none is orphaned, so
    that it would go on when the file has changed."""
    async with trio.open_nursery() as nursery:
        contents, cache = table(nursery)
        attr = file_attr(7, 3)
        first = await contents.acquire(7, attr, "f", settled=True)
        nursery.start_soon(contents.release, 7, first)
        await trio.testing.wait_all_tasks_blocked()
        filled = contents.prefilled(7, attr, "f", memoryview(b"one"))
        assert contents.prefilled(7, attr, "f", memoryview(b"one")) is filled
        assert len(cache.acquired) == 1
        contents.changed(7, file_attr(7, 3, age=1))
        assert filled.netfs.retired
        for _ in range(2):
            await contents.release(7, filled)
        await trio.sleep(1)
        assert contents._slots == {}
        opened = []

        async def take() -> None:
            opened.append(await contents.acquire(7, attr, "f", settled=True))

        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        filled = contents.prefilled(7, attr, "f", memoryview(b"one"))
        await trio.sleep(1)
        assert filled.netfs.retired  # the one that has the table's place now is asked
        assert not opened[0].netfs.retired
        await contents.release(7, filled)
        await contents.release(7, opened[0])
        assert contents._slots == {}


@pytest.mark.parametrize("leased", [True, False])
async def test_what_is_not_shared_ends_when_the_file_is_written(
    leased: bool, autojump_clock: Clock
) -> None:
    """A reader that opened it in the tick of its last change keeps no bytes of its own."""
    attr = file_attr(7)
    async with trio.open_nursery() as nursery:
        contents, _ = table(nursery)
        reading = await contents.acquire(7, attr, "f", settled=False)
        other = await contents.acquire(7, attr, "f", settled=False)
        assert reading is not other
        if leased:
            writing = await contents.acquire_writing(7, attr, "f")
            assert not writing.netfs.retired
        else:
            contents.retire(7)
            writing = contents.stale(attr, "f")
        assert reading.netfs.retired
        assert other.netfs.retired
        for content in (reading, other, writing):
            await contents.release(7, content)
        assert not contents._slots


async def test_what_is_not_shared_ends_when_the_file_is_seen_to_be_another(
    autojump_clock: Clock,
) -> None:
    """With a content that is shared beside it, and without."""
    attr = file_attr(7)
    async with trio.open_nursery() as nursery:
        contents, _ = table(nursery)
        alone = await contents.acquire(7, attr, "f", settled=False)
        contents.changed(7, attr)
        assert not alone.netfs.retired
        contents.changed(7, attr._replace(size=attr.size + 1))
        assert alone.netfs.retired
        beside = await contents.acquire(7, attr, "f", settled=False)
        shared = await contents.acquire(7, attr, "f", settled=True)
        contents.changed(7, attr._replace(size=attr.size + 1))
        assert beside.netfs.retired
        assert shared.netfs.retired
        for content in (alone, beside, shared):
            await contents.release(7, content)
        assert not contents._slots


async def test_a_changed_file_gets_a_new_content(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        contents, _ = table(nursery)
        old = await contents.acquire(7, file_attr(7), "f", settled=True)
        new = await contents.acquire(7, file_attr(7, age=1), "f", settled=True)
        assert old.netfs.retired
        assert not new.netfs.retired
        contents.changed(7, file_attr(7, age=1))
        assert not new.netfs.retired
        contents.changed(7, file_attr(7, age=0.5))
        assert new.netfs.retired
        await contents.release(7, old)
        await contents.release(7, new)
        assert contents._slots == {}


@pytest.mark.parametrize("impatient", [False, True])
@pytest.mark.parametrize("seed", range(20))
async def test_random_schedules(seed: int, impatient: bool, autojump_clock: Clock) -> None:
    """Opens, closes, changes and cancellations at random times: nothing leaks, nobody hangs, and
    nobody holds a content that is closed. While the file stays what it is and nobody is cancelled
    in mid-release, no object is opened again before it was closed."""
    chance = random.Random(seed)
    async with trio.open_nursery() as nursery:
        contents, cache = table(nursery)
        cache.strict = not impatient
        version = [file_attr(7, age=100)]

        async def user(delay: float, patience: float, hold: float) -> None:
            await trio.sleep(delay)
            content = None
            try:
                with trio.move_on_after(patience):
                    attr = version[0]
                    settled = chance.random() < 0.8
                    if chance.random() < 0.3:
                        content = contents.prefilled(7, attr, "f", memoryview(b""))
                    else:
                        content = await contents.acquire(7, attr, "f", settled=settled)
                    assert content.netfs._closed is None
                    assert content.users > 0
                    await trio.sleep(hold)
                    assert content.netfs._closed is None
            finally:
                if content is not None:
                    with trio.move_on_after(chance.choice([0, 0.05]) if impatient else 100):
                        await contents.release(7, content)

        async def change(delay: float, number: int) -> None:
            await trio.sleep(delay)
            version[0] = file_attr(7, age=90 - number)
            chance.choice([contents.retire, lambda n: contents.changed(n, version[0])])(7)

        async with trio.open_nursery() as users:
            for _ in range(40):
                patience = chance.choice([0.05, 0.15, 0.4, 100.0])
                users.start_soon(user, chance.random() * 3, patience, chance.random())
            for number in range(3 if impatient else 0):
                users.start_soon(change, chance.random() * 3, number)
        await trio.sleep(10)
        assert contents._slots == {}
        assert cache.open == []
        assert cache.closed == len(cache.acquired)
        assert not nursery.child_tasks
