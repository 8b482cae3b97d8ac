"""Calls that wait for something in the kernel, so that one that waits holds up no other.

A lane takes values by key: the key is what a call would wait for. The values of one key go together
and in order, in a thread; those of other keys do not wait for it, as long as no more than
``THREADS`` keys wait at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

import trio

log = logging.getLogger(__name__)

THREADS = 16
VALUES_MAX = 8192
"""Waiting values of one key: twice what ``Absent`` remembers.
Further ones are left to the kernel's own timeouts."""

V = TypeVar("V")


async def in_thread(call: Callable[[], None], limiter: trio.CapacityLimiter | None = None) -> None:
    """Run ``call``, which raises nothing. Where there is no thread to be had the kernel is not
    told, and its own timeouts tell it then."""
    try:
        await trio.to_thread.run_sync(call, limiter=limiter, abandon_on_cancel=False)
    except RuntimeError as failed:
        log.debug("the kernel is not told of changes: %s", failed)


class Lane(Generic[V]):
    """``call(key, values)`` runs in a thread, and raises nothing; ``done(key, values)`` on the loop
    afterwards. :meth:`put` may be called at any time, :meth:`run` once."""

    def __init__(
        self,
        call: Callable[[int, Sequence[V]], None],
        done: Callable[[int, Sequence[V]], None] = lambda _key, _values: None,
    ) -> None:
        self._call = call
        self._done = done
        self._waiting: dict[int, dict[V, None]] = {}
        self._busy: set[int] = set()
        self._news = trio.Event()
        self._limiter = trio.CapacityLimiter(THREADS)

    def put(self, key: int, value: V) -> bool:
        """Have ``value`` told; False where too many wait already. Twice before it is told is once.
        Never waits."""
        values = self._waiting.setdefault(key, {})
        if len(values) >= VALUES_MAX and value not in values:
            return False
        values[value] = None
        self._news.set()
        return True

    def discard(self, key: int) -> None:
        """Forget the values of ``key`` that are still to be told."""
        self._waiting.pop(key, None)

    def holds(self, key: int, value: V) -> bool:
        """Whether ``value`` is still to be told."""
        return value in self._waiting.get(key, ())

    async def run(self) -> None:
        """Tell, until cancelled; then the calls under way are waited for."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._news.wait()
                self._news = trio.Event()
                while len(self._busy) < THREADS and (key := self._next()) is not None:
                    self._busy.add(key)
                    nursery.start_soon(self._tell, key, list(self._waiting.pop(key)))

    def _next(self) -> int | None:
        """A key that does not wait already; looks at ``THREADS`` of them at most."""
        return next((key for key in self._waiting if key not in self._busy), None)

    async def _tell(self, key: int, values: Sequence[V]) -> None:
        try:
            await in_thread(partial(self._call, key, values), self._limiter)
            self._done(key, values)
        finally:
            self._busy.discard(key)
            self._news.set()
