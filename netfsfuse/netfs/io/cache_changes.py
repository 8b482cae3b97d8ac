"""The cache object of a file that is written: at no time does it pass for content what is not.

What a change of the server's file will touch is discarded before the change is sent (``prepare``),
and nothing is stored of a range that is on its way to the server (``store``). So what is stored is
always what the server has, whenever this ends; a crash meanwhile costs the object, which is marked
as unfinished from the first change on.

The object has a size, and must follow that of the file. It is told only when something is to be
stored beyond it, and then of the size that the file is going to have as far as it was written, not
of each step: a hop to another thread for each MiB written would be as dear as the storing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.io.occupancy import SPAN_BLOCKS, bits
from netfsfuse.netfs.io.slow_cache import CACHE_TIMEOUT
from netfsfuse.netfs.memory.folio import Folio
from netfsfuse.netfs.ops import CacheObject
from netfsfuse.types import CACHE_BLOCK, ByteRange

log = logging.getLogger(__name__)


class MaybeStored:
    """PURE. The blocks of which it is not certain that they are not stored: at first all of a file
    of ``size`` bytes. 64 bytes for each 32 MiB that were touched."""

    def __init__(self, size: int) -> None:
        self._blocks = -(-size // CACHE_BLOCK)
        self.end = self._blocks * CACHE_BLOCK
        """Nothing is stored from here on."""
        self._spans: dict[int, int] = {}

    def any(self, start: int, end: int) -> bool:
        """Whether one that has a byte of ``[start, end)`` may be stored."""
        return any(self._bits(span) & mask for span, mask in _masks(start, min(end, self.end)))

    def all(self, start: int, end: int) -> bool:
        """Whether each of them may be."""
        return all(self._bits(span) & mask == mask for span, mask in _masks(start, end))

    def note(self, start: int, end: int, *, stored: bool) -> None:
        """Those that have a byte of ``[start, end)`` may be stored now, or certainly are not."""
        if stored:
            self.end = max(self.end, end + -end % CACHE_BLOCK)
        for span, mask in _masks(start, end):
            known = self._bits(span)
            self._spans[span] = known | mask if stored else known & ~mask

    def _bits(self, span: int) -> int:
        known = self._spans.get(span)
        if known is None:
            count = min(max(self._blocks - span * SPAN_BLOCKS, 0), SPAN_BLOCKS)
            known = (1 << count) - 1
        return known


def _masks(start: int, end: int) -> list[tuple[int, int]]:
    """The blocks of bytes ``[start, end)`` as bits of spans."""
    masks = []
    position, last = start // CACHE_BLOCK, -(-end // CACHE_BLOCK)
    while position < last:
        span, bit = divmod(position, SPAN_BLOCKS)
        count = min(last - position, SPAN_BLOCKS - bit)
        masks.append((span, bits(ByteRange(bit, bit + count))))
        position += count
    return masks


class CacheChanges:
    """One for each file that is open for writing. ``is_changing(start, end)``: whether a byte of
    that range is on its way to the server. ``written_size()``: what the file's size will be when
    all is there. An object that fails, or takes longer than ``CACHE_TIMEOUT``, is given up:
    ``contents.cache`` is None from then on, and nothing of it may be found again."""

    def __init__(
        self,
        contents: Contents,
        is_changing: Callable[[int, int], bool],
        written_size: Callable[[], int],
    ) -> None:
        self._contents = contents
        self._is_changing = is_changing
        self._written_size = written_size
        self._size = contents.i_size
        self._maybe = MaybeStored(contents.i_size)
        self._begun = False
        self._lock = trio.Lock()  # of ``_begun`` and ``_size``

    def may_ask(self, end: int) -> bool:
        """As ``StoreGuard.may_ask``."""
        return end == self._size if end % CACHE_BLOCK else end <= self._size

    async def prepare(self, start: int, end: int) -> None:
        """Bytes ``[start, end)`` are going to change on the server: no block that has one of them
        is stored any more when this returns, nor the last one if the file is going to grow. No
        checkpoint where that is so already. Never raises but for cancellation."""
        contents = self._contents
        cache = contents.cache
        if cache is None:
            return
        if not self._begun:
            async with self._lock:
                if not self._begun:
                    await self._ask(cache.begin_changes)
                    self._begun = True
        if end > contents.i_size:
            start = min(start, contents.i_size)
        if contents.cache is None or not self._maybe.any(start, end):
            return
        low = start - start % CACHE_BLOCK
        high = min(end + -end % CACHE_BLOCK, self._maybe.end)
        contents.occupancy.note(low, high, stored=False)
        if await self._ask(lambda: cache.discard(low, high)):
            self._maybe.note(low, high, stored=False)  # afterwards: others wait for it as well

    async def store(self, cache: CacheObject, folio: Folio) -> bool:
        """As ``StoreGuard.store``."""
        if not self._is_fit(folio):
            return False
        if self._begun and not await self._follow(cache, folio.end):
            return False
        if not self._is_fit(folio) or self._contents.cache is not cache:
            return False
        self._maybe.note(folio.start, folio.end, stored=True)
        stored = await cache.write(folio.start, folio.buffer.payload[: folio.length])
        return stored and self._maybe.all(folio.start, folio.end)

    async def finish(self) -> None:
        """Nothing more will be changed or stored: the object has the file's size when this returns.
        Never raises but for cancellation."""
        cache = self._contents.cache
        if cache is not None and self._begun:
            await self._resize(cache, lambda: self._contents.i_size)

    def _is_fit(self, folio: Folio) -> bool:
        low = folio.start - folio.start % CACHE_BLOCK
        high = folio.end + -folio.end % CACHE_BLOCK
        return not folio.outdated and not self._is_changing(low, high)

    async def _follow(self, cache: CacheObject, end: int) -> bool:
        """Let the object have such a size that what ends at ``end`` may be stored; False where it
        cannot: a last block that is not whole must end where the file will."""
        whole = not end % CACHE_BLOCK
        if whole and end <= self._size and not self._lock.locked():
            return True
        contents = self._contents
        await self._resize(cache, lambda: max(contents.i_size, self._written_size()))
        return end <= self._size if whole else end == self._size

    async def _resize(self, cache: CacheObject, size: Callable[[], int]) -> None:
        """``size`` is asked when no other is under way: what is stored meanwhile lies below it."""
        if self._size == size() and not self._lock.locked():
            return
        async with self._lock:
            wanted = size()
            if (
                self._size != wanted
                and self._contents.cache is cache
                and await self._ask(lambda: cache.resize(wanted))
            ):
                self._size = wanted

    async def _ask(self, call: Callable[[], Awaitable[bool]]) -> bool:
        """``call`` the object, and give it up where that fails."""
        contents = self._contents
        done = False
        try:
            with trio.move_on_after(CACHE_TIMEOUT):
                done = await call()
        except Exception:
            log.exception("%s: the cache failed", contents.debug_name)
        finally:
            if not done and contents.cache is not None:
                log.warning("%s: is not cached any more", contents.debug_name)
                contents.cache = None
        return done
