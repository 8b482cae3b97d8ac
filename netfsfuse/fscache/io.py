"""CacheOps over ``cachefiles``: the one place where blocking file I/O goes to threads.

A hop to a thread and back costs 50-100 us, as much as reading 64 KiB. So everything is done in one
hop a call, and what needs none makes none:

- :meth:`FsCache.acquire` makes no hop. The backing file is opened in the hop of the first call that
  needs it: a file that is opened and not read costs nothing.
- An object known to have stored nothing answers occupancy and reads at once.
- :meth:`CachedFile.aclose` makes no hop either: the next one on its way closes what was let go,
  unless ``DROPPED_MAX`` wait already.

Cancellation. A thread cannot be stopped while it fills or stores a caller's memory. A hop that
has begun is therefore waited for (``abandon_on_cancel=False``), so a cancelled caller gets control,
and with it the right to reuse its buffer, only when no thread touches that any more. A hop still
waiting for a thread is cancelled at once. A hung disk hangs these callers; that is the price.

Threads touch the objects of ``cachefiles``, which are made for it, and the queue of dropped ones;
counters and all else here belong to the loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

import cachefiles
from netfsfuse.fscache import cookie
from netfsfuse.fscache.health import Health
from netfsfuse.netfs.ops import CacheObject
from netfsfuse.stats import CacheStats
from netfsfuse.types import ByteRange, FileAttr, coherency_of, same_content

THREADS = 4
"""Stores and cached reads at once. Two keep up with a cold read of 0.7 GB/s on two cores (measured
with 1 MiB stores); two more keep a reader of cached data from waiting behind them."""

DROPPED_MAX = 16
"""Objects let go that may wait, two descriptors each, for a hop to close them."""

T = TypeVar("T")


@dataclass(slots=True)
class _Done(Generic[T]):
    """What a hop brings back: what it opened, if it had to, and its result or its error."""

    opened: cachefiles.Object | None = None
    replaced: bool = False
    value: T | None = None
    error: Exception | None = None


class FsCache:
    """The cache of one mounted share, or none at all (``volume=None``).

    Owns ``cache`` and closes it. Lives on one trio loop. ``subdir``: the folder of the share that
    is mounted, since two mounts of one share may share a cache.
    """

    def __init__(
        self,
        cache: cachefiles.Cache | None,
        volume: cachefiles.Volume | None,
        stats: CacheStats,
        *,
        subdir: str = "",
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.stats = stats
        self._subdir = subdir
        self.health = Health(clock)
        self.volume = volume
        self._cache = cache
        self._limiter = trio.CapacityLimiter(THREADS)
        self._dropped: deque[cachefiles.Object] = deque()
        self._open: dict[bytes, set[CachedFile]] = {}
        stats.enabled = volume is not None

    async def acquire(self, attr: FileAttr, path: str) -> CacheObject:
        """The cached file for what the server says now is ``attr`` at ``path``. Never raises.

        Objects of the same file that were acquired under other content find nothing and store
        nothing from here on. What is on disk of other content is dropped before it is looked at.
        """
        if self.volume is None or self.health.dead or not 0 <= attr.size < 2**63:
            return NoCachedFile()
        key = cookie.object_key(attr, f"{self._subdir}/{path}")
        others = self._open.setdefault(key, set())
        for other in others:
            if not same_content(other.coherency, attr):
                other.superseded = True
        acquired = CachedFile(self, key, attr)
        others.add(acquired)
        return acquired

    async def aclose(self) -> None:
        """Wait for calls under way, close everything and free the directory. Idempotent.

        Shielded from cancellation. Objects still held find and store nothing from here on.
        """
        if self._cache is None:
            return
        cache, self._cache, self.volume = self._cache, None, None
        tokens = [object() for _ in range(THREADS)]
        with trio.CancelScope(shield=True):
            for token in tokens:
                await self._limiter.acquire_on_behalf_of(token)
            for token in tokens:
                self._limiter.release_on_behalf_of(token)
            for held in [held for files in self._open.values() for held in files]:
                await held.aclose()
            await self.run(cache.close)

    async def run(self, work: Callable[[], T]) -> T:
        """``work`` in a thread; the same hop first closes what was let go."""

        def in_thread() -> T:
            with suppress(IndexError):  # empty, perhaps because another thread was quicker
                while True:
                    self._dropped.popleft().close()
            return work()

        return await trio.to_thread.run_sync(
            in_thread, limiter=self._limiter, abandon_on_cancel=False
        )

    async def drop(self, dropped: cachefiles.Object) -> None:
        """Close ``dropped`` some time soon; at once if nothing comes after."""
        self._dropped.append(dropped)
        if len(self._dropped) >= DROPPED_MAX or self._cache is None:
            with trio.CancelScope(shield=True):
                await self.run(lambda: None)

    def forget(self, key: bytes, file: CachedFile) -> None:
        """``file`` is closed."""
        files = self._open.get(key, set())
        files.discard(file)
        if not files:
            self._open.pop(key, None)

    def failed(self, error: Exception) -> None:
        """Count and judge what a hop brought back."""
        self.stats.errors += 1
        if isinstance(error, cachefiles.CacheError):
            self.health.failed(error)
        else:
            self.health.broken(error)
        if self.health.dead:
            self.stats.enabled = False


class CachedFile:
    """``CacheObject`` of one acquire; the first call that needs its backing file opens it."""

    __slots__ = ("_attr", "_closed", "_key", "_object", "_owner", "coherency", "superseded")

    def __init__(self, owner: FsCache, key: bytes, attr: FileAttr) -> None:
        self.coherency = coherency_of(attr)
        self.superseded = False  # acquired again under other content
        self._owner = owner
        self._key = key
        self._attr = attr
        self._object: cachefiles.Object | None = None
        self._closed = False

    async def query_occupancy(self, start: int, end: int) -> list[ByteRange]:
        """See ``CacheObject``."""
        if not self._may_hold_data:
            return []
        found = await self._call(lambda file: file.occupancy(start, end))
        return [] if found is None or self._over else [ByteRange(*extent) for extent in found]

    async def read(self, start: int, target: memoryview) -> bool:
        """See ``CacheObject``."""
        stats = self._owner.stats
        filled = self._may_hold_data and await self._call(lambda file: file.read(start, target))
        if not filled or self._over:
            stats.misses += 1
            return False
        stats.bytes_read += len(target)
        return True

    async def write(self, start: int, data: memoryview) -> bool:
        """See ``CacheObject``."""
        owner = self._owner
        if self._over or not owner.health.storing:
            return False
        if not await self._call(lambda file: file.write(start, data)):
            return False
        owner.health.stored()
        owner.stats.bytes_stored += len(data)
        return True

    async def aclose(self) -> None:
        """See ``CacheObject``. Usually without a thread; shielded where it needs one."""
        if self._closed:
            return
        self._closed = True
        self._owner.forget(self._key, self)
        if self._object is not None:
            held, self._object = self._object, None
            await self._owner.drop(held)

    @property
    def _over(self) -> bool:
        owner = self._owner
        return self._closed or self.superseded or owner.volume is None or owner.health.dead

    @property
    def _may_hold_data(self) -> bool:
        return not self._over and (self._object is None or self._object.has_files)

    async def _call(self, work: Callable[[cachefiles.Object], T]) -> T | None:
        """``work`` on the backing file in a thread; None when that failed, which is noted."""
        volume = self._owner.volume
        if volume is None:
            return None
        done = await self._owner.run(lambda: self._in_thread(volume, work))
        if done.replaced:
            self._owner.stats.invalidated += 1
        if done.error is not None:
            self._owner.failed(done.error)
        if done.opened is not None:
            if self._object is None and not self._closed:
                self._object = done.opened
            else:  # two calls opened it at once, or it was closed meanwhile
                await self._owner.drop(done.opened)
        return done.value

    def _in_thread(
        self, volume: cachefiles.Volume, work: Callable[[cachefiles.Object], T]
    ) -> _Done[T]:
        done = _Done[T]()
        try:
            file = self._object
            if file is None:
                attr = self._attr
                file, found = volume.open(
                    self._key, attr.size, cookie.coherency_bytes(attr), self._matches
                )
                done.opened = file
                done.replaced = found is cachefiles.Found.REPLACED
            done.value = work(file)
        except Exception as error:  # anything: a read must not fail because its cache did
            done.error = error
        return done

    def _matches(self, stored: bytes) -> bool:
        known = cookie.coherency_from(stored)
        return known is not None and same_content(known, self._attr)


class NoCachedFile:
    """``CacheObject`` where there is no cache: nothing is found, nothing stored."""

    __slots__ = ()

    async def query_occupancy(self, start: int, end: int) -> list[ByteRange]:
        """Nothing."""
        return []

    async def read(self, start: int, target: memoryview) -> bool:
        """Not there."""
        return False

    async def write(self, start: int, data: memoryview) -> bool:
        """Not stored."""
        return False

    async def aclose(self) -> None:
        """Nothing to let go."""
