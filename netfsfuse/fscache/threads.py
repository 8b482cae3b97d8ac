"""Hops to threads, for the cache of one mount: how many at once, and what they take along.

Cancellation. A thread cannot be stopped while it fills or stores a caller's memory. A hop that has
a thread is therefore waited for, so a cancelled caller gets control, and with it the right to reuse
its buffer, only when no thread touches that any more. A hop still waiting for a thread is cancelled
at once. A hung disk hangs these callers, which are tasks that no caller waits for without a limit
of time; that is the price. What fills memory of its own (:meth:`Threads.ask`) is left to itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar, cast

import trio

import cachefiles
from netfsfuse.fscache.health import Health

THREADS = 4
"""Hops at once, of a mount."""

STORING = 2
"""Hops at once that store, of a mount: the others are for readers, which do not wait behind
them."""

DROPPED_MAX = 16
"""Objects let go that may wait, three descriptors each, for a hop to close them."""

T = TypeVar("T")


class _Hop:
    """trio's limiter for one hop: it waits for a token of each of ``limiters``, calls ``begin``,
    and gives the tokens back when the thread is done, whether a caller has waited for it or not."""

    def __init__(
        self,
        limiters: Sequence[trio.CapacityLimiter],
        begin: Callable[[], None],
        health: Health,
    ) -> None:
        self._limiters = limiters
        self._begin = begin
        self._health = health

    async def acquire_on_behalf_of(self, _borrower: object) -> None:
        with ExitStack() as taken:
            for limiter in self._limiters:
                await limiter.acquire_on_behalf_of(self)
                taken.callback(limiter.release_on_behalf_of, self)
            self._begin()
            taken.pop_all()
        self._health.began(self)

    def release_on_behalf_of(self, _borrower: object) -> None:
        self._health.returned(self)
        for limiter in self._limiters:
            limiter.release_on_behalf_of(self)


class Threads:
    """Belongs to one trio loop; only the queue of what was let go is touched by threads. ``health``
    hears of each hop."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._all = trio.CapacityLimiter(THREADS)
        self._storing = trio.CapacityLimiter(STORING)
        self._dropped: deque[cachefiles.Object] = deque()

    async def run(
        self,
        work: Callable[[], T],
        *,
        storing: bool = False,
        begin: Callable[[], None] = lambda: None,
    ) -> T:
        """``work`` in a thread; the same hop first closes what was let go.

        May be cancelled while it waits for a thread. When it has one, ``begin`` is called on the
        loop, and from there on nothing but the end of ``work`` ends the call. Raises what ``work``
        raises, and CacheError when the system gives us no thread.
        """
        limiters = [self._storing, self._all] if storing else [self._all]
        return await self._hop(work, _Hop(limiters, begin, self._health), leave=False)

    async def ask(self, work: Callable[[], T]) -> T:
        """The same of ``work`` that touches no memory of the caller's: cancelled, it is left to its
        thread, and its result is dropped."""
        turn = _Hop([self._all], lambda: None, self._health)
        return await self._hop(work, turn, leave=True)

    async def _hop(self, work: Callable[[], T], turn: _Hop, *, leave: bool) -> T:
        begun = False

        def in_thread() -> T:
            nonlocal begun
            begun = True
            with suppress(IndexError):  # empty, perhaps because another thread was quicker
                while True:
                    self._dropped.popleft().close()
            return work()

        try:
            return await trio.to_thread.run_sync(
                in_thread, limiter=cast(trio.CapacityLimiter, turn), abandon_on_cancel=leave
            )
        except RuntimeError as failed:
            if begun:
                raise
            raise cachefiles.CacheError(f"no thread for the cache: {failed}") from failed

    async def drop(self, dropped: cachefiles.Object, *, now: bool) -> None:
        """Close ``dropped`` with the next hop; with ``now``, or when many wait, at once."""
        self._dropped.append(dropped)
        if now or (len(self._dropped) >= DROPPED_MAX and not self._health.hangs):
            with trio.CancelScope(shield=True), suppress(cachefiles.CacheError):
                await self.run(lambda: None)

    async def drain(self) -> None:
        """Wait for the hops under way, and those that wait for a thread now."""
        tokens = [object() for _ in range(THREADS)]
        for token in tokens:
            await self._all.acquire_on_behalf_of(token)
        for token in tokens:
            self._all.release_on_behalf_of(token)
