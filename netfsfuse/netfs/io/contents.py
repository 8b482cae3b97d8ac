"""What the mount holds of one file: blocks in memory and in flight, and what the cache has.

``live`` is the one question that everything late must ask: once the inode is retired (the server's
file is another now) nothing enters memory or cache any more, whenever it was sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import trio

from netfsfuse.idle import Idle
from netfsfuse.netfs.io.occupancy import SPAN, OccupancyMap
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT, SlowCache
from netfsfuse.netfs.memory.folio import Folio
from netfsfuse.netfs.memory.mapping import Mapping
from netfsfuse.netfs.memory.pool import BufferPool
from netfsfuse.netfs.ops import CacheObject
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import CACHE_BLOCK, ByteRange

log = logging.getLogger(__name__)


class StoreGuard(Protocol):
    """What stands between a file that is being written and its cache object."""

    def may_ask(self, end: int) -> bool:
        """Whether the object knows of a block that ends at ``end``: the last one is cut at the
        file's size, which the object has not always followed yet."""
        ...

    async def store(self, cache: CacheObject, folio: Folio) -> bool:
        """Store ``folio``, if its bytes are the file's when that begins; whether it was."""
        ...


class Contents:
    """State of one file under one coherency record, shared by all its handles.

    ``i_size`` changes by :meth:`resize` alone. ``cache``: the cache object as long as it may be
    asked and written. ``prefill``: all ``i_size`` bytes, where they came with the open; then no
    other source is asked. ``guard``: set while the file is written. ``readers``: open handles.
    Tasks of the service nursery that work for this file are counted by ``begin``/``end``.
    """

    def __init__(
        self,
        *,
        i_size: int,
        cache: CacheObject | None,
        pool: BufferPool,
        nursery: ServiceNursery,
        slow_cache: SlowCache,
        debug_name: str,
    ) -> None:
        self.i_size = i_size
        self.cache = cache
        self.prefill: memoryview | None = None
        self.guard: StoreGuard | None = None
        self.debug_name = debug_name
        self.mapping = Mapping(pool)
        self.occupancy = OccupancyMap()
        self.readers = 0
        self.retired = False
        self._nursery = nursery
        self._slow_cache = slow_cache
        self._queries: dict[int, trio.Event] = {}
        self._tasks = 0
        self._idle = Idle()

    @property
    def live(self) -> bool:
        """Whether what arrives may be kept."""
        return not self.retired

    def resize(self, i_size: int, *, keeps_cache: bool = False) -> None:
        """The file has ``i_size`` bytes from now on; what lies below the smaller of both sizes is
        unchanged. No checkpoint.

        The folios from the block of that smaller size on leave the mapping: their end was cut at
        the old size, or lies beyond the new one. A read under way ends at the smaller of the size
        it began with and the present one, or is answered by what it had pinned already; one that
        begins now sees the new size. The cache object was opened for the old size: unless the
        caller sees to it (``keeps_cache``), it is neither asked nor written any more, except for
        what it was handed already.
        """
        if i_size < 0:
            raise ValueError(f"a file of {i_size} bytes")
        if i_size != self.i_size:
            if i_size < self.i_size:
                self.mapping.detach_from(i_size // CACHE_BLOCK)
            else:  # as with each WRITE of a new file: one block is looked at, not all
                self.mapping.outdate(self.i_size - self.i_size % CACHE_BLOCK, self.i_size)
            self.i_size = i_size
            if not keeps_cache:
                self.cache = None
            self.prefill = None

    def stored_hint(self) -> Callable[[int], bool] | None:
        """For slicing: tells of a block whether to ask the cache for it; None: do not ask."""
        if self.cache is None or self._slow_cache.bypass:
            return None
        return self.occupancy.is_stored

    def ask_cache(self, wanted: ByteRange) -> list[trio.Event]:
        """Start asking the cache about whatever of ``wanted`` is not known; does not wait.

        Returns one event for each answer that is still to come.
        """
        cache = self.cache
        if cache is None or self._slow_cache.bypass or self.retired:
            return []
        answers = []
        for span in self.occupancy.unknown(wanted):
            answer = self._queries.get(span)
            if answer is None:
                answer = trio.Event()
                self._nursery.start_soon(self._query, cache, span, answer)
                self._queries[span] = answer
                self.occupancy.asking(span)
                self.begin()
            answers.append(answer)
        return answers

    async def learn(self, wanted: ByteRange) -> None:
        """Return when it is known what the cache has of ``wanted``, or it takes too long to say.

        No checkpoint if it is known. The query belongs to the service nursery: cancelling one
        reader leaves it to the others.
        """
        for answer in self.ask_cache(wanted):
            if self._slow_cache.bypass:
                return
            with trio.move_on_after(CACHE_TIMEOUT):
                await answer.wait()
            if not answer.is_set():
                log.warning("%s: the cache does not answer, going on without", self.debug_name)
                self._slow_cache.give_up(answer)

    async def _query(self, cache: CacheObject, span: int, answer: trio.Event) -> None:
        stored: list[ByteRange] = []
        try:
            if self.cache is cache:
                end = (span + 1) * SPAN
                if self.guard is None or self.guard.may_ask(self.i_size):
                    end = min(end, self.i_size)
                stored = await cache.query_occupancy(span * SPAN, end)
        except Exception:
            log.exception("%s: cache query failed", self.debug_name)
        finally:
            self.occupancy.learn(span, stored)
            del self._queries[span]
            self._slow_cache.returned(answer)
            answer.set()
            self.end()

    def begin(self) -> None:
        """A task of the service nursery starts to work for this file."""
        self._tasks += 1

    def end(self) -> None:
        """It ended."""
        self._tasks -= 1
        if not self._tasks:
            self._idle.wake()

    async def wait_idle(self) -> None:
        """Return when no task works for this file (at once, without a checkpoint, if none does)."""
        await self._idle.wait(lambda: self._tasks)
