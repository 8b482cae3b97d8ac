"""Running subrequests: each is one task of the service nursery, because readers share it.

A reader that is cancelled leaves its subrequests running, and whatever a subrequest raises is kept
in it for the readers that wait; nothing but cancellation ever escapes into the nursery.

Order matters: trio starts the tasks of one batch in either order, but on the wire the bytes
a reader waits for must go first and readahead in the order of the file. So a list of
subrequests is started as a chain, where each task spawns the next before it sends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

import trio

from netfsfuse.errors import Disconnected
from netfsfuse.netfs.io.collect import Verdict, assess, is_storable
from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.io.copy_to_cache import CopyToCache
from netfsfuse.netfs.io.pace import Pace
from netfsfuse.netfs.io.request import Outstanding, Source, State, Subrequest
from netfsfuse.netfs.io.slicing import Slice, gaps
from netfsfuse.netfs.io.slow_cache import SlowCache
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.netfs.memory.folio import Folio
from netfsfuse.netfs.memory.pool import BufferPool
from netfsfuse.netfs.ops import CacheObject, ServerFile
from netfsfuse.netfs.readahead import AheadConfig, Link
from netfsfuse.stats import Stats
from netfsfuse.tasks import ServiceNursery
from netfsfuse.types import CACHE_BLOCK, ByteRange

log = logging.getLogger(__name__)

CACHE_READ = 4 * 1024 * 1024
"""Bytes, largest read of the cache (or rsize, if that is less): a thread hop costs 50-100 us
whatever it reads."""


class Issuer:
    """What all files of a mount share: nursery, buffers, stores, counters, and what is known of the
    link. ``capacity()``: bytes of reads that the server's credits allow at once.
    """

    def __init__(
        self,
        *,
        nursery: ServiceNursery,
        pool: BufferPool,
        stats: Stats,
        ahead: AheadConfig,
        capacity: Callable[[], int],
    ) -> None:
        self.nursery = nursery
        self.pool = pool
        self.stats = stats
        self.rsize = ahead.rsize
        self.cache_read = min(CACHE_READ, ahead.rsize)
        self.ahead = ahead
        self.link = Link(ahead)
        self.pace = Pace(self.link)
        self._capacity = capacity
        self.stores = CopyToCache(lambda: self.link.window)
        self.slow_cache = SlowCache()

    def claim(
        self,
        contents: Contents,
        piece: Slice,
        buffer: Buffer,
        *,
        file: ServerFile,
        outstanding: Outstanding,
        debug_id: str,
        urgent: bool,
        paced: bool,
    ) -> Subrequest:
        """Enter a folio for ``piece`` into the mapping, taking over the caller's reference to
        ``buffer``, and return its subrequest. That must be handed to :meth:`start` before the next
        await. ``urgent``: a reader is going to wait for it. ``paced``: it belongs to a run, and
        waits for room on the link."""
        folio = Folio(piece.start, piece.length, buffer, owner=file)
        sub = Subrequest(
            folio,
            piece.source,
            file=file,
            outstanding=outstanding,
            debug_id=debug_id,
            urgent=urgent,
            paced=paced,
        )
        log.debug("R=%s %s %d+%d: %s", debug_id, piece.source, piece.start, piece.length, piece.why)
        folio.start_fill(sub)
        contents.begin()
        contents.mapping.attach(folio)
        outstanding.subrequests.add(sub)
        return sub

    def start(self, contents: Contents, subs: Iterable[Subrequest]) -> None:
        """Run claimed subrequests, sent in this order."""
        chain = deque(subs)
        if not chain:
            return
        try:
            self.nursery.start_soon(self._run_in_order, contents, chain)
        except RuntimeError:  # the nursery is gone: so is the mount
            for sub in chain:
                sub.folio.unmap()
                sub.settle(State.FAILED, Disconnected("the mount is being taken down"))
                self._release(contents, sub)

    async def _run_in_order(self, contents: Contents, chain: deque[Subrequest]) -> None:
        sub = chain.popleft()
        self.start(contents, chain)
        try:
            if sub.state is State.QUEUED:
                await self._fetch(contents, sub)
            if is_storable(
                whole=sub.folio.is_whole,
                from_server=sub.source is Source.SERVER,
                overrun=sub.folio.buffer.overrun,
                live=contents.live,
            ):
                await self.stores.store(contents, sub.folio)
        finally:
            self._release(contents, sub)

    def _release(self, contents: Contents, sub: Subrequest) -> None:
        sub.folio.end_task()
        contents.end()

    async def _fetch(self, contents: Contents, sub: Subrequest) -> None:
        """Fill and settle. Swallows the subrequest's own cancellation, not the nursery's."""
        sub.state = State.READING
        outcome = State.ABANDONED
        failure: Exception | None = None
        folio = sub.folio
        try:
            with sub.scope:
                outcome = await self._fill(contents, sub)
        except Exception as error:
            failure = error
            outcome = State.FAILED
        finally:
            whole = outcome is State.FILLED and sub.transferred == folio.length
            if not whole or folio.buffer.overrun:
                folio.unmap()  # the readers that wait have it pinned
            sub.settle(outcome, failure)
            del failure

    async def _fill(self, contents: Contents, sub: Subrequest) -> State:
        folio = sub.folio
        missing = [ByteRange(folio.start, folio.end)]
        if sub.source is Source.CACHE:
            missing = await self._read_cache(contents, sub)
            for part in missing:
                contents.occupancy.note(part.start, part.end, stored=False)
            if missing and sub.cache_only:
                return State.ABANDONED
            if missing:
                sub.source = Source.SERVER
        for part in missing:
            sub.transferred = part.start - folio.start
            if not await self._read_server(sub, part.end - folio.start):
                return State.ABANDONED if sub.scope.cancel_called else State.FILLED
        sub.transferred = folio.length
        return State.FILLED

    async def _read_server(self, sub: Subrequest, stop: int) -> bool:
        """Fill the buffer from ``transferred`` to ``stop``; False when the file ended before that,
        or ``sub`` was cancelled."""
        while sub.transferred < stop and not sub.scope.cancel_called:
            received = await self._ask_server(sub, stop - sub.transferred)
            verdict = assess(stop, sub.transferred, received)
            sub.transferred += received
            if verdict is Verdict.SHORT:
                return False
        return sub.transferred == stop

    async def _ask_server(self, sub: Subrequest, length: int) -> int:
        """One request of at most rsize, when it is its turn."""
        length = min(length, self.rsize)
        self.link.limit = self._capacity()
        era = await self.pace.enter(length, sub.demand) if sub.paced else 0
        try:
            await trio.lowlevel.checkpoint_if_cancelled()  # taken back in the moment of its turn
            return await self._ask_timed(sub, length)
        finally:
            if sub.paced:
                self.pace.leave(length, era)

    async def _ask_timed(self, sub: Subrequest, length: int) -> int:
        """One request now, timed for the link's sake."""
        link = self.link
        flight = link.started(trio.current_time(), length)
        try:
            folio, at = sub.folio, sub.transferred
            received = await sub.file.read(
                folio.start + at, length, folio.buffer, at, demand=sub.demand
            )
        except BaseException:
            link.abandoned(flight)
            raise
        link.finished(flight, trio.current_time(), received)
        return received

    async def _read_cache(self, contents: Contents, sub: Subrequest) -> list[ByteRange]:
        """What of ``sub`` the cache could not deliver.

        A bad block costs no other: after a read that failed the cache knows which one it was, and
        the others are read without it.
        """
        whole = ByteRange(sub.folio.start, sub.folio.end)
        good: list[ByteRange] = []
        try:
            if contents.guard is not None and not contents.guard.may_ask(whole.end):
                return [whole]
            if await _read_part(contents.cache, sub.folio, whole):
                return []
            if contents.cache is not None and whole.length > CACHE_BLOCK and not sub.cache_only:
                good = [
                    part
                    for part in await contents.cache.query_occupancy(*whole)
                    if part != whole and await _read_part(contents.cache, sub.folio, part)
                ]
        except Exception:
            log.exception("%s: cache read failed", contents.debug_name)
        finally:
            self.slow_cache.returned(sub)
        return gaps(whole, good)


async def _read_part(cache: CacheObject | None, folio: Folio, part: ByteRange) -> bool:
    target = folio.buffer.payload[part.start - folio.start : part.end - folio.start]
    return cache is not None and await cache.read(part.start, target)
