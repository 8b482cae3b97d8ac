"""The tasks that read requests from /dev/fuse and see them answered, and which of them reads next.

Each worker is one of pyfuse3's session loops: it waits until there is a request
(:meth:`Workers.wait_readable`, in place of pyfuse3's own), reads it, runs its handler, and waits
again. Most requests of a busy mount are answered from memory, and then what stands round them costs
more than they do: with a worker in epoll for each request a WRITE of 4 KiB took seven system calls
and three turns of trio's loop, twice the time of its handler. So:

* A worker that has answered a request looks at once whether there is another, and takes it in the
  same step. Where requests follow closely upon each other it even looks for ``SPIN`` seconds, as
  long as that is found to help.
* That ends ``TURN`` seconds after the loop last went round, whatever ran since. Then the loop goes
  round once, and the other tasks of the process run.
* One worker is *on duty*: it sees to it that the next request is read, in epoll when there is none.
  When the handler that it runs waits for something, and not before, the duty passes on to a
  worker that rests, or a new one. The others rest when they find no request.

The kernel hands requests out in the order in which they came, to whichever worker reads.

While the data of waiting writes is as much as may be (``backlog``) the worker on duty makes the
pauses, and the others read nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from types import coroutine
from typing import Any, Protocol

import pyfuse3
import trio

from netfsfuse.fuse.backlog import Backlog

TURN = 0.001
"""Seconds after which other tasks have their turn. They wait twice that at most: a turn that was
nearly over, and one of theirs."""

SPIN = 40e-6
"""Seconds. Sleeping and waking cost 40 us of CPU, and the program that waits for it as long again:
``grep -r`` of 2,000 files of 4 KiB took 0.52 s so, 0.59 with 15 us and 0.72 without (0.66 before
all that is told above), and the daemon 0.48, 0.50 and 0.57 s of CPU."""

WORKERS_MAX = 1000
"""Handlers at a time: a thousand readers wait for the server, not for each other."""

RESTING_MAX = 8
"""Workers that rest; each has a buffer of 1 MiB, as far as it was ever used."""

_NEVER = -(1 << 31)
"""pyfuse3's ``max_tasks``: it starts no workers of its own."""

SessionLoop = Callable[[], Coroutine[Any, Any, None]]


class Requests(Protocol):
    """Where requests come from: ``FuseReadable``, whose contract it is."""

    def now(self) -> bool: ...

    def over(self) -> None: ...

    async def wait(self) -> None: ...


class _Worker:
    """``is_between``: it waits for a request and not in a handler."""

    __slots__ = ("is_between", "task")

    def __init__(self) -> None:
        self.is_between = False
        self.task: trio.lowlevel.Task | None = None


class LoopTurn(trio.abc.Instrument):
    """When trio's loop last went round, in seconds of ``clock``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begun = clock()

    def after_io_wait(self, timeout: float) -> None:
        """trio calls it once each round."""
        self.begun = self._clock()


class Spinning:
    """Whether it is worth looking again and again for the next request. Pure."""

    def __init__(self) -> None:
        self._pause = 0
        self._skipped = 0

    def is_due(self) -> bool:
        """To be asked once for each request that was not there at once."""
        if self._skipped < self._pause:
            self._skipped += 1
            return False
        return True

    def found(self) -> None:
        """The request came."""
        self._pause = 0

    def missed(self) -> None:
        """It did not: the next attempt is made after twice as many requests as this one was."""
        self._skipped = 0
        self._pause = min(2 * self._pause + 1, 63)


class Workers:
    """One for a session. ``requests``: the session's; ``loop``: makes one worker's session loop."""

    def __init__(
        self,
        requests: Requests,
        backlog: Backlog,
        loop: SessionLoop,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._requests = requests
        self._backlog = backlog
        self._loop = loop
        self._clock = clock
        self._turn = LoopTurn(clock)
        self._spinning = Spinning()
        self._nursery: trio.Nursery | None = None
        self._count = 0
        self._resting: list[_Worker] = []  # the last one has rested for the shortest time
        self._on_duty: _Worker | None = None
        self._running = _Worker()  # that is or was
        self._surplus: set[_Worker] = set()
        self._ended = False

    async def run(self) -> None:
        """Serve until the session has ended. Raises what a session loop raises, which ends it."""
        trio.lowlevel.add_instrument(self._turn)
        try:
            async with trio.open_nursery() as self._nursery:
                self._on_duty = self._start()
        finally:
            self._ended = True
            trio.lowlevel.remove_instrument(self._turn)

    def end(self) -> None:
        """Have no more requests read. Those under way go on."""
        self._ended = True
        while self._resting:
            self._wake(self._resting.pop())

    # -- a worker's life ----------------------------------------------------------------------

    def _start(self) -> _Worker:
        assert self._nursery is not None
        worker = _Worker()
        self._count += 1
        self._nursery.start_soon(self._work, worker, name="FUSE worker")
        return worker

    async def _work(self, worker: _Worker) -> None:
        try:
            await self._driven(worker, self._loop())
        finally:
            self._count -= 1
            if worker in self._surplus:
                self._surplus.remove(worker)
            else:  # the session has ended, or all are cancelled
                self.end()

    @coroutine
    def _driven(
        self, worker: _Worker, loop: Coroutine[Any, Any, None]
    ) -> Generator[Any, Any, None]:
        """Run ``loop``, and see when it waits."""
        step, value = loop.send, None
        while True:
            self._running = worker
            try:
                trap = step(value)
            except StopIteration:
                return
            self._requests.over()
            if self._on_duty is worker and not worker.is_between:
                self._hand_over()
            try:
                step, value = loop.send, (yield trap)
            except BaseException as error:
                step, value = loop.throw, error

    def _hand_over(self) -> None:
        """The worker on duty has something else to wait for."""
        self._on_duty = None
        if self._ended:
            return
        if self._resting:
            self._on_duty = self._resting.pop()
            self._wake(self._on_duty)
        elif self._count < WORKERS_MAX:
            self._on_duty = self._start()

    # -- between two requests -----------------------------------------------------------------

    async def wait_readable(self) -> bool:
        """Whether there is a request, which is to be read at once; False when the caller, one of
        the session loops, is to end."""
        self._requests.over()
        if self._ended:
            return False
        if self._is_at_hand():
            return True
        worker = self._running
        worker.is_between = True
        try:
            if self._on_duty is not worker and not await self._take_duty(worker):
                return False
            return await self._watch()
        except trio.ClosedResourceError:
            self.end()
            return False
        finally:
            worker.is_between = False

    def _is_at_hand(self) -> bool:
        """Whether a request is there, or comes in a moment, and the turn is not over."""
        over = self._turn.begun + TURN
        clock, now = self._clock, self._requests.now
        if clock() >= over or self._backlog.is_full:
            return False
        if now():
            return True
        if not self._spinning.is_due():
            return False
        until = min(clock() + SPIN, over)
        while clock() < until:
            if now():
                self._spinning.found()
                return True
        self._spinning.missed()
        return False

    async def _take_duty(self, worker: _Worker) -> bool:
        """Return when ``worker`` is on duty; False when it is to end."""
        if self._on_duty is None:
            self._on_duty = worker
            return True
        if len(self._resting) >= RESTING_MAX:
            self._surplus.add(worker)
            return False

        def abort(_raise_cancel: Any) -> trio.lowlevel.Abort:
            self._resting.remove(worker)
            return trio.lowlevel.Abort.SUCCEEDED

        worker.task = trio.lowlevel.current_task()
        self._resting.append(worker)
        await trio.lowlevel.wait_task_rescheduled(abort)
        return not self._ended

    def _wake(self, worker: _Worker) -> None:
        assert worker.task is not None
        trio.lowlevel.reschedule(worker.task)

    async def _watch(self) -> bool:
        """As :meth:`wait_readable`, for the worker on duty."""
        if self._requests.now():
            await trio.lowlevel.checkpoint()
        else:
            await self._requests.wait()
        while not self._ended:
            if self._backlog.is_full:
                await self._backlog.room()
            if self._requests.now():
                return True
            await self._requests.wait()
        return False


def session_loop() -> Coroutine[Any, Any, None]:
    """One of pyfuse3's."""
    loop: Coroutine[Any, Any, None] = pyfuse3._session_loop(None, 0, _NEVER)  # type: ignore[attr-defined]
    return loop


@contextmanager
def installed(workers: Workers) -> Iterator[None]:
    """Have pyfuse3's session loops ask ``workers`` meanwhile."""
    original = pyfuse3._wait_fuse_readable  # type: ignore[attr-defined]
    pyfuse3._wait_fuse_readable = workers.wait_readable  # type: ignore[attr-defined]
    try:
        yield
    finally:
        pyfuse3._wait_fuse_readable = original  # type: ignore[attr-defined]
