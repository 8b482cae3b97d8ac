"""What a cache needs beside its reads and stores: to be synced, culled, and to know what is used.

Two tasks, asleep while nothing happens, with threads of their own so that no read waits for them:

- ``SYNC_PERIOD`` after the first store since the last time, what was stored is synced, so that a
  power loss costs the last seconds and not all that a filesystem had not written yet. The same hop
  notes the use of what was opened and came from the kernel's page cache alone.
- When a store came upon "cull", and every ``LOOK_PERIOD`` in case others fill the disk, the culler
  works in steps of ``CULL_STEP`` with a pause after each, as long as stores are not refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import trio

import cachefiles
from cachefiles import Culler, Step
from netfsfuse.fscache.health import Health
from netfsfuse.stats import CacheStats

log = logging.getLogger(__name__)

SYNC_PERIOD = 1.0
LOOK_PERIOD = 30.0
CULL_STEP = 0.004
CULL_PAUSE = 0.016
"""Seconds: a fifth of one core at most while there is still room."""

STUCK_PAUSE = 10.0
BUSY_PAUSE = 0.5
USED_MAX = 4096

T = TypeVar("T")


class Maintenance:
    """Maintains one cache until :meth:`stop`. Lives on the loop; errors go to ``failed``."""

    def __init__(
        self,
        cache: cachefiles.Cache,
        volume: cachefiles.Volume,
        stats: CacheStats,
        health: Health,
        failed: Callable[[Exception], None],
    ) -> None:
        self._cache = cache
        self._volume = volume
        self._stats = stats
        self._health = health
        self._failed = failed
        self._space = cache.space
        self._culler = Culler(cache)
        self._limiters = trio.CapacityLimiter(1), trio.CapacityLimiter(1)
        self._scope = trio.CancelScope()
        self._ended: trio.Event | None = None
        self._changed = trio.Event()
        self._pressed = trio.Event()
        self._used: dict[bytes, None] = {}
        self._stuck = False

    def stored(self) -> None:
        """Something was stored, or refused for want of room."""
        self._changed.set()
        if self._space.culling or self._space.full:
            self._pressed.set()

    def used(self, key: bytes) -> None:
        """A file was used without the cache being asked."""
        if len(self._used) < USED_MAX:
            self._used[key] = None
            self._changed.set()

    async def run(self) -> None:
        """Tend. Returns after :meth:`stop`; may be cancelled."""
        self._ended = trio.Event()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_synced)
                    nursery.start_soon(self._keep_room)
        finally:
            self._culler.close()
            self._ended.set()

    async def stop(self) -> None:
        """End :meth:`run` and return when no thread of it is at work."""
        self._scope.cancel()
        if self._ended is not None:
            await self._ended.wait()

    async def _keep_synced(self) -> None:
        while True:
            await self._changed.wait()
            await trio.sleep(SYNC_PERIOD)
            self._changed = trio.Event()
            used, self._used = self._used, {}
            if not self._health.dead:
                await self._hop(0, partial(self._sync, used))

    def _sync(self, used: dict[bytes, None]) -> None:
        for key in used:
            self._volume.touch(key)
        self._cache.sync()

    async def _keep_room(self) -> None:
        while True:
            if not self._space.stale:
                with trio.move_on_after(LOOK_PERIOD):
                    await self._pressed.wait()
            self._pressed = trio.Event()
            await trio.sleep(LOOK_PERIOD if self._health.dead else await self._cull())

    async def _cull(self) -> float:
        """Cull until there is nothing to do; seconds to wait before the next look."""
        while True:
            before = self._culler.freed
            step = await self._hop(1, lambda: self._culler.step(CULL_STEP))
            self._stats.culled += self._culler.freed - before
            if step is Step.MORE:
                await trio.sleep(0 if self._space.full else CULL_PAUSE)
                continue
            if step is Step.STUCK and not self._stuck:
                log.warning("the cache is full and nothing in it may go: nothing more is stored")
            self._stuck = step is Step.STUCK
            if step is Step.BUSY:
                self._pressed.set()
                return BUSY_PAUSE
            return STUCK_PAUSE if step in (Step.STUCK, None) else 0.0

    async def _hop(self, which: int, work: Callable[[], T]) -> T | None:
        """``work`` in a thread; None when it failed."""
        try:
            return await trio.to_thread.run_sync(work, limiter=self._limiters[which])
        except Exception as error:  # whatever it is, it is the cache's and not the mount's
            self._failed(error)
            return None
