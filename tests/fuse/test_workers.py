"""Which worker reads next, for how long, and that always one does."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pyfuse3
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.fuse import workers as module
from netfsfuse.fuse.backlog import PAUSE, Backlog
from netfsfuse.fuse.workers import RESTING_MAX, SPIN, Spinning, Workers, installed

Handler = Callable[[], Awaitable[None]]


class Device:
    """/dev/fuse and the clock: requests are handlers, and each look takes a microsecond."""

    def __init__(self) -> None:
        self.requests: deque[Handler] = deque()
        self.vanishing = 0
        self.seconds = 0.0
        self.slept = 0
        self.looked = 0
        self.is_closed = False
        self.is_reading = False
        self._news = trio.Event()

    def clock(self) -> float:
        return self.seconds

    def ask(self, *handlers: Handler) -> None:
        """Requests of programs."""
        self.requests.extend(handlers)
        self._news.set()

    def close(self) -> None:
        """As pyfuse3's terminate."""
        self.is_closed = True
        self._news.set()

    def now(self) -> bool:
        self.seconds += 1e-6
        self.looked += 1
        self.is_reading = bool(self.requests)
        return self.is_reading

    def over(self) -> None:
        self.is_reading = False

    async def wait(self) -> None:
        self.slept += 1
        while not self.requests and not self.is_closed and not self.vanishing:
            self._news = trio.Event()
            await self._news.wait()
        if self.is_closed:
            raise trio.ClosedResourceError
        if self.vanishing:
            self.vanishing -= 1
        await trio.lowlevel.checkpoint()


class Session:
    """Workers on a device. ``alive``: session loops that run."""

    def __init__(self, backlog: Backlog | None = None) -> None:
        self.device = Device()
        self.backlog = backlog or Backlog()
        self.workers = Workers(self.device, self.backlog, self._loop, self.device.clock)
        self.alive = self.most_alive = 0
        self.answered: list[object] = []

    async def _loop(self) -> None:
        self.alive += 1
        self.most_alive = max(self.alive, self.most_alive)
        try:
            while await self.workers.wait_readable():
                await self.device.requests.popleft()()
        finally:
            self.alive -= 1

    def quick(self, name: object = None) -> Handler:
        """A request that is answered without waiting, in 100 us."""

        async def handler() -> None:
            self.device.seconds += 100e-6
            self.answered.append(name)

        return handler

    def slow(self, until: trio.Event, name: object = None) -> Handler:
        """One that waits."""

        async def handler() -> None:
            await until.wait()
            self.answered.append(name)

        return handler

    @asynccontextmanager
    async def served(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.workers.run)
            await trio.testing.wait_all_tasks_blocked()
            yield nursery
            nursery.cancel_scope.cancel()
        assert self.alive == 0


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_what_is_answered_without_waiting_takes_one_worker_and_one_sleep() -> None:
    session = Session()
    async with session.served():
        before = session.device.slept
        session.device.ask(*map(session.quick, range(9)))
        await settle()
        assert session.answered == list(range(9))
        assert session.most_alive == 1
        assert session.device.slept == before + 1


async def test_others_have_their_turn_behind_a_millisecond_of_requests() -> None:
    """Also when many workers come back from their handlers in one round of the loop."""
    session = Session()
    rounds = [0]

    async def other() -> None:
        while True:
            rounds.append(len(session.answered))
            await trio.lowlevel.checkpoint()

    together = trio.Event()
    async with session.served() as nursery:
        session.device.ask(*[session.slow(together) for _ in range(7)])
        await settle()
        nursery.start_soon(other)
        together.set()
        session.device.ask(*map(session.quick, range(100)))
        while len(session.answered) < 107:
            await trio.lowlevel.checkpoint()
    rounds.append(len(session.answered))
    per_turn = 11
    steps = [after - before for before, after in itertools.pairwise(rounds)]

    assert max(steps) <= 2 * per_turn + 7  # they run last in one round and first in the next


async def test_a_request_behind_one_that_waits_is_not_held_up() -> None:
    session = Session()
    go = trio.Event()
    async with session.served():
        session.device.ask(session.slow(go, "slow"), session.quick("quick"))
        await settle()
        assert session.answered == ["quick"]
        assert session.most_alive == 2
        go.set()
        await settle()
        assert session.answered == ["quick", "slow"]
        # Nobody is started anew for what comes then.
        session.device.ask(session.slow(go), session.quick())
        await settle()
        assert session.most_alive == 2


async def test_the_device_is_told_when_a_read_is_over() -> None:
    """Whether its handler waits, fails to, or has answered: else the alarm rings for ever."""
    session = Session()
    go = trio.Event()
    async with session.served():
        for handler in session.quick(), session.slow(go), session.quick():
            session.device.ask(handler)
            await settle()
            assert not session.device.is_reading
        go.set()
        await settle()
        assert not session.device.is_reading


async def test_as_many_handlers_as_may_be_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORKERS_MAX", 5)
    session = Session()
    first, second = trio.Event(), trio.Event()
    async with session.served():
        session.device.ask(session.slow(first), *[session.slow(second, n) for n in range(4)])
        session.device.ask(session.quick("last"))
        await settle()
        assert session.alive == 5
        assert session.answered == []
        first.set()
        await settle()
        assert session.answered == [None, "last"]
        second.set()
        await settle()
        session.device.ask(session.quick("then"))
        await settle()
        assert session.answered[-1] == "then"


async def test_few_workers_rest() -> None:
    session = Session()
    go = trio.Event()
    async with session.served():
        session.device.ask(*[session.slow(go) for _ in range(50)])
        await settle()
        assert session.alive == 51
        go.set()
        await settle()
        assert session.alive == RESTING_MAX + 1
        session.device.ask(session.quick("then"))
        await settle()
        assert session.answered[-1] == "then"


async def test_a_request_that_vanishes_is_not_read() -> None:
    session = Session()
    async with session.served():
        session.device.vanishing = 1
        session.device.ask()
        await settle()
        assert session.answered == []  # and the loop did not fail on an empty queue
        session.device.ask(session.quick("x"))
        await settle()
        assert session.answered == ["x"]


async def test_the_pause_of_a_full_backlog_is_made_by_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    backlog = Backlog(10)
    session = Session(backlog)
    go = trio.Event()
    async with session.served():
        session.device.ask(session.slow(go), session.slow(go))
        await trio.sleep(1)
        backlog.add(10)
        session.device.ask(*map(session.quick, range(4)))
        go.set()  # two more workers come back, and read nothing either
        begun = trio.current_time()
        while len(session.answered) < 2 + 4:
            await trio.sleep(PAUSE / 10)
        assert trio.current_time() - begun >= 4 * PAUSE
        backlog.remove(10)
        session.device.ask(*map(session.quick, range(4)))
        begun = trio.current_time()
        while len(session.answered) < 2 + 8:
            await trio.sleep(PAUSE / 10)
        assert trio.current_time() - begun < PAUSE


@pytest.mark.parametrize("how", ["closed", "ended first"])
async def test_the_end_leaves_what_is_under_way_to_its_end(how: str) -> None:
    session = Session()
    go = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.workers.run)
        session.device.ask(session.slow(go, 1), session.slow(go, 2), session.slow(go, 3))
        await settle()
        session.device.ask(session.quick())
        await settle()
        if how == "ended first":
            session.workers.end()
        session.device.close()
        await settle()
        assert session.alive == 3
        go.set()
    assert session.answered[0] is None
    assert set(session.answered[1:]) == {1, 2, 3}
    assert session.alive == 0


async def test_an_error_of_a_session_loop_ends_the_run() -> None:
    session = Session()

    async def fail() -> None:
        raise OSError("the device is gone")

    session.device.ask(session.slow(trio.Event()), fail)
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="is gone")):
        await session.workers.run()
    assert session.alive == 0


async def test_a_cancelled_handler_leaves_its_worker_to_the_next() -> None:
    """A scope within the handler, as a deadline's."""
    session = Session()

    async def in_time() -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await trio.sleep_forever()
        session.answered.append("late")

    scopes: list[trio.CancelScope] = []
    async with session.served():
        session.device.ask(in_time, session.quick("meanwhile"))
        await settle()
        scopes[0].cancel()
        await settle()
        session.device.ask(session.quick("then"))
        await settle()
    assert session.answered == ["meanwhile", "late", "then"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["quick", "slow", "finish", "turn"]), max_size=60))
def test_no_request_is_left_lying(steps: list[str]) -> None:
    """Whatever came before: as soon as all stand still every request was read, in order."""

    async def main() -> None:
        session = Session()
        read: list[int] = []
        waiting: deque[trio.Event] = deque()

        def noting(number: int, handler: Handler) -> Handler:
            async def noted() -> None:
                read.append(number)
                await handler()

            return noted

        async with session.served():
            asked = 0
            for step in steps:
                if step == "finish" and waiting:
                    waiting.popleft().set()
                elif step == "turn":
                    await settle()
                    assert read == list(range(asked))
                elif step == "slow":
                    waiting.append(trio.Event())
                    session.device.ask(noting(asked, session.slow(waiting[-1])))
                    asked += 1
                elif step == "quick":
                    session.device.ask(noting(asked, session.quick()))
                    asked += 1
            await settle()
            assert read == list(range(asked))
            assert len(session.answered) == asked - len(waiting)

    trio.run(main)


async def test_where_requests_follow_closely_the_next_is_looked_out_for() -> None:
    """For 40 us, and less and less often where none comes so soon."""
    session = Session()
    device = session.device
    async with session.served():
        device.ask(session.quick())  # none came so soon at the start: the next time but one
        await settle()
        before = device.seconds
        device.ask(session.quick())
        await settle()
        assert device.seconds - before == pytest.approx(100e-6 + SPIN, abs=5e-6)
        looked = device.looked
        for _ in range(100):
            device.ask(session.quick())
            await settle()
        assert device.looked - looked < 100 * 4 + 7 * SPIN / 1e-6


def test_spinning_is_tried_again_after_ever_more_requests() -> None:
    spinning = Spinning()
    assert spinning.is_due()
    pauses = []
    for _ in range(8):
        spinning.missed()
        pauses.append(0)
        while not spinning.is_due():
            pauses[-1] += 1
    assert pauses == [1, 3, 7, 15, 31, 63, 63, 63]
    spinning.found()
    assert spinning.is_due()
    assert spinning.is_due()


async def test_pyfuse3_asks_the_workers_while_they_are_installed() -> None:
    original = pyfuse3._wait_fuse_readable  # type: ignore[attr-defined]
    workers = Session().workers
    with installed(workers):
        assert pyfuse3._wait_fuse_readable == workers.wait_readable  # type: ignore[attr-defined]
    assert pyfuse3._wait_fuse_readable is original  # type: ignore[attr-defined]
