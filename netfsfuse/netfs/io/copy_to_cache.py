"""Storing what came from the server, behind the readers' back.

The task that filled a subrequest goes on to store it from the same buffer, after its readers have
been woken. Until that is done the task's buffer reference keeps the bytes in memory, so they are
not fetched again. When ``BACKLOG`` bytes wait here nothing more is read ahead from the server, and
a reader in order waits too: a cache slower than the server slows it down to its own pace. Without
that wait the reader asks for each piece when it is already late, in small requests, until all
buffers wait here. A cache that hangs stops no reader for longer than ``ROOM_TIMEOUT``, and once;
once no store has come back for ``CACHE_TIMEOUT`` nothing waits here any more, and nothing is
stored until one does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from netfsfuse.idle import Idle
from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from netfsfuse.netfs.memory.folio import Folio
from netfsfuse.netfs.ops import CacheObject

log = logging.getLogger(__name__)

STORES = 6
"""Stores handed to the cache at once. It bounds its threads itself, and what queues there goes in
one hop, which costs more CPU (200-300 us) than writing a MiB; three seldom queued (measured)."""

LEAST_BACKLOG = 24 * 1024 * 1024
"""Bytes that may wait to be stored, or be stored, before readahead pauses: ``STORES`` of
4 MiB. Buffers then come back while the CPU's cache still has them, and a fast link does not fill
the whole budget with what the reader has had already (111 MiB of buffers before, measured)."""

MOST_BACKLOG = 56 * 1024 * 1024
"""Bytes it may grow to. What is in flight (32 MiB at least) then fits beside it into the 96 MiB of
buffers that readahead may have."""

BACKLOG_WINDOWS = 2
"""The backlog in windows of the link: one burst that is being stored, and the next."""

ROOM_TIMEOUT = 1.0
"""Seconds a reader waits for stores to catch up. A disk of 30 MB/s has made room by then."""


class CopyToCache:
    """The stores of one mount. ``window()``: bytes that the link has in flight when it is full."""

    def __init__(self, window: Callable[[], int]) -> None:
        self._window = window
        self.least_backlog, self.most_backlog = LEAST_BACKLOG, MOST_BACKLOG
        self.pending = 0
        """Folios that wait for their store, or are being stored."""
        self.waiting = 0
        """Bytes of them."""
        self._slots = trio.Semaphore(STORES)
        self._drained = Idle()
        self._room: trio.Event | None = None
        self._stuck = False  # nothing was stored for ``ROOM_TIMEOUT``
        self._returned = 0.0  # when a store came back last (trio)
        self._hangs = False

    async def store(self, contents: Contents, folio: Folio) -> None:
        """Store a filled folio. Never raises but for cancellation: not stored is not fatal."""
        cache = contents.cache
        if cache is None:
            return
        self.pending += 1
        self.waiting += folio.length
        try:
            if await self._take_slot():
                try:
                    await self._write(contents, cache, folio)
                finally:
                    self._hangs = False
                    self._returned = trio.current_time()
                    self._slots.release()
        except Exception:
            log.exception("%s: store failed", contents.debug_name)
        finally:
            self.pending -= 1
            self.waiting -= folio.length
            self._stuck = False
            if self._room is not None and not self.is_behind:
                self._room.set()
                self._room = None
            if not self.pending:
                self._drained.wake()

    async def _write(self, contents: Contents, cache: CacheObject, folio: Folio) -> None:
        if not contents.live or contents.cache is not cache or folio.outdated:
            return
        if contents.guard is not None:
            stored = await contents.guard.store(cache, folio)
        else:
            stored = await cache.write(folio.start, folio.buffer.payload[: folio.length])
        if stored:
            contents.occupancy.note(folio.start, folio.end, stored=True)

    async def _take_slot(self) -> bool:
        """Wait for one of ``STORES``; False when they hang."""
        began = trio.current_time()
        while not self._hangs:
            with trio.move_on_at(max(began, self._returned) + CACHE_TIMEOUT) as waiting:
                await self._slots.acquire()
            if not waiting.cancelled_caught:
                return True
            self._hangs = trio.current_time() >= self._returned + CACHE_TIMEOUT
        return False

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that nothing more should be read ahead for the time being."""
        if self.waiting < self.least_backlog:
            return False
        return self.waiting >= min(BACKLOG_WINDOWS * self._window(), self.most_backlog)

    async def wait_room(self) -> None:
        """Return when it is not behind any more, or hangs. No checkpoint if it is not."""
        if not self.is_behind or self._stuck:
            return
        if self._room is None:
            self._room = trio.Event()
        with trio.move_on_after(ROOM_TIMEOUT) as waiting:
            await self._room.wait()
        if waiting.cancelled_caught:
            self._stuck = True

    async def drain(self) -> None:
        """Return when nothing waits to be stored."""
        await self._drained.wait(lambda: self.pending)
