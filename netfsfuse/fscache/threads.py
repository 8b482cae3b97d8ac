"""Hops to threads, for the cache of one mount: how many at once, and what they take along.

Cancellation. A thread cannot be stopped while it fills or stores a caller's memory. A hop that has
a thread is therefore waited for, so a cancelled caller gets control, and with it the right to reuse
its buffer, only when no thread touches that any more. A hop still waiting for a thread is cancelled
at once. A hung disk hangs these callers; that is the price.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

import trio

import cachefiles

THREADS = 4
"""Hops at once, of a mount."""

STORING = 2
"""Hops at once that store, of a mount: the others are for readers, who do not wait behind them."""

DROPPED_MAX = 16
"""Objects let go that may wait, three descriptors each, for a hop to close them."""

T = TypeVar("T")


class Threads:
    """Belongs to one trio loop; only the queue of what was let go is touched by threads."""

    def __init__(self) -> None:
        self._all = trio.CapacityLimiter(THREADS)
        self._storing = trio.CapacityLimiter(STORING)
        self._never_full = trio.CapacityLimiter(THREADS)  # behind the others: trio wants one
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
        begun = False

        def in_thread() -> T:
            nonlocal begun
            begun = True
            with suppress(IndexError):  # empty, perhaps because another thread was quicker
                while True:
                    self._dropped.popleft().close()
            return work()

        limiters = [self._storing, self._all] if storing else [self._all]
        async with AsyncExitStack() as held:
            for limiter in limiters:
                await held.enter_async_context(limiter)
            begin()
            try:
                with trio.CancelScope(shield=True):
                    return await trio.to_thread.run_sync(in_thread, limiter=self._never_full)
            except RuntimeError as failed:
                if begun:
                    raise
                raise cachefiles.CacheError(f"no thread for the cache: {failed}") from failed
        raise AssertionError("not reached")  # a limiter swallows nothing, which mypy cannot know

    async def drop(self, dropped: cachefiles.Object, *, now: bool) -> None:
        """Close ``dropped`` with the next hop; with ``now``, or when many wait, at once."""
        self._dropped.append(dropped)
        if now or len(self._dropped) >= DROPPED_MAX:
            with trio.CancelScope(shield=True), suppress(cachefiles.CacheError):
                await self.run(lambda: None)

    async def drain(self) -> None:
        """Wait for the hops under way, and those that wait for a thread now."""
        tokens = [object() for _ in range(THREADS)]
        for token in tokens:
            await self._all.acquire_on_behalf_of(token)
        for token in tokens:
            self._all.release_on_behalf_of(token)
