"""Requests are held back while writes that wait hold too much, and never for long."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from netfsfuse.fuse.backlog import PAUSE, STANDSTILL, Backlog, counted

MIB = 1 << 20


class Handlers:
    """A write that waits until it is let go."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self.go = trio.Event()
        self.fails = False

    @counted
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Doc."""
        await self.go.wait()
        if self.fails:
            raise ValueError("told to")
        return len(buf)


async def seconds(backlog: Backlog) -> float:
    """How long the next request is held back."""
    begun = trio.current_time()
    await backlog.room()
    return trio.current_time() - begun


async def test_room_waits_for_nothing_below_the_bound() -> None:
    backlog = Backlog(2 * MIB)
    backlog.add(2 * MIB - 1)
    assert not backlog.is_full
    with trio.testing.assert_no_checkpoints():
        await backlog.room()


async def test_an_answer_makes_room(autojump_clock: trio.testing.MockClock) -> None:
    backlog = Backlog(MIB)
    backlog.add(MIB)
    backlog.add(1)
    async with trio.open_nursery() as nursery:
        took: list[float] = []

        async def wait() -> None:
            took.append(await seconds(backlog))

        nursery.start_soon(wait)
        await trio.sleep(PAUSE / 4)
        backlog.remove(1)  # and it is full still
        await trio.sleep(PAUSE / 4)
        backlog.remove(MIB)
    assert took == [pytest.approx(PAUSE / 2)]
    assert backlog.held == 0


async def test_one_more_each_pause_and_all_after_a_standstill(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Whichever worker asks for it."""
    backlog = Backlog(MIB)
    backlog.add(MIB)
    begun = trio.current_time()
    let_in: list[float] = []

    async def work() -> None:
        while trio.current_time() - begun < STANDSTILL:
            await backlog.room()
            let_in.append(trio.current_time() - begun)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(work)
    assert let_in[:3] == [pytest.approx(PAUSE * n) for n in (1, 2, 3)]
    early = [at for at in let_in if at < STANDSTILL]
    assert len(early) == pytest.approx(STANDSTILL / PAUSE, abs=2)
    assert await seconds(backlog) == 0
    backlog.add(1)
    backlog.remove(1)  # a write was answered: the bound counts again
    assert await seconds(backlog) > 0


@pytest.mark.parametrize("how", ["answers", "fails", "is cancelled"])
async def test_data_counts_until_its_handler_has_ended(how: str) -> None:
    handlers = Handlers(Backlog(MIB))
    handlers.fails = how == "fails"

    async def write() -> None:
        try:
            assert await handlers.write(1, 0, bytes(MIB)) == MIB
        except ValueError:
            assert handlers.fails

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        assert handlers.backlog.is_full
        if how == "is cancelled":
            nursery.cancel_scope.cancel()
        handlers.go.set()
    assert handlers.backlog.held == 0
    assert Handlers.write.__name__ == "write"
