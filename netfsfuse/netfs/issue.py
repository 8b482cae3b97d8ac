"""Running subrequests: each is one task of the service nursery, because readers share it.

A reader that is cancelled leaves its subrequests running, and whatever a subrequest raises is kept
in it for those who wait; nothing but cancellation ever escapes into the nursery.

Order matters: trio starts the tasks of one batch in either order, but on the wire the bytes
somebody waits for must go first and readahead in the order of the file. So a list of
subrequests is started as a chain, where each task spawns the next before it sends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

import trio

from netfsfuse.errors import Disconnected
from netfsfuse.netfs.buffer import Buffer
from netfsfuse.netfs.collect import Verdict, assess, is_storable
from netfsfuse.netfs.contents import Contents
from netfsfuse.netfs.copy_to_cache import CopyToCache
from netfsfuse.netfs.ops import ServerFile
from netfsfuse.netfs.pool import BufferPool
from netfsfuse.netfs.request import Outstanding, Source, State, Subrequest
from netfsfuse.netfs.slicing import Slice
from netfsfuse.netfs.watch import CacheWatch
from netfsfuse.stats import Stats

log = logging.getLogger(__name__)


class Issuer:
    """What all files of a mount share: nursery, buffers, stores, counters. ``rsize`` in bytes."""

    def __init__(
        self, *, nursery: trio.Nursery, pool: BufferPool, stats: Stats, rsize: int
    ) -> None:
        self.nursery = nursery
        self.pool = pool
        self.stats = stats
        self.rsize = rsize
        self.stores = CopyToCache()
        self.watch = CacheWatch()

    def claim(
        self,
        contents: Contents,
        piece: Slice,
        buffer: Buffer,
        *,
        file: ServerFile,
        outstanding: Outstanding,
        debug_id: str,
    ) -> Subrequest:
        """Enter a subrequest for ``piece`` into the table, taking over the caller's reference to
        ``buffer``. It must be handed to :meth:`start` before the next await."""
        sub = Subrequest(
            piece.start,
            piece.length,
            piece.source,
            buffer,
            file=file,
            outstanding=outstanding,
            table=contents.table,
            debug_id=debug_id,
        )
        log.debug("R=%s %s %d+%d: %s", debug_id, piece.source, piece.start, piece.length, piece.why)
        buffer.hold()  # the task's
        sub.running = True
        contents.begin()
        contents.table.attach(sub)
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
                sub.error = Disconnected("the mount is being taken down")
                contents.table.detach(sub)
                sub.settle(State.FAILED)
                self._release(contents, sub)

    async def _run_in_order(self, contents: Contents, chain: deque[Subrequest]) -> None:
        sub = chain.popleft()
        self.start(contents, chain)
        try:
            if sub.state is State.QUEUED:
                await self._fetch(contents, sub)
            if is_storable(
                whole=sub.is_whole,
                from_server=sub.source is Source.SERVER,
                overrun=sub.buffer.overrun,
                live=contents.live,
            ):
                await self.stores.store(contents, sub)
        finally:
            self._release(contents, sub)

    def _release(self, contents: Contents, sub: Subrequest) -> None:
        sub.running = False
        if sub.let_go:
            contents.table.detach(sub)
        sub.buffer.drop()
        contents.end()

    async def _fetch(self, contents: Contents, sub: Subrequest) -> None:
        """Fill and settle. Swallows the subrequest's own cancellation, not the nursery's."""
        sub.state = State.READING
        outcome = State.ABANDONED
        try:
            with sub.scope:
                outcome = await self._fill(contents, sub)
        except Exception as error:
            sub.error = error
            outcome = State.FAILED
        finally:
            whole = outcome is State.FILLED and sub.transferred == sub.length
            if not whole or sub.buffer.overrun or not contents.live:
                contents.table.detach(sub)  # those who wait have it pinned
            sub.settle(outcome)

    async def _fill(self, contents: Contents, sub: Subrequest) -> State:
        if sub.source is Source.CACHE:
            if await self._read_cache(contents, sub):
                sub.transferred = sub.length
                return State.FILLED
            contents.occupancy.note(sub.start, sub.end, stored=False)
            if sub.cache_only:
                return State.ABANDONED
            sub.source = Source.SERVER
        while not sub.scope.cancel_called:
            received = await sub.file.read(
                sub.start + sub.transferred,
                sub.length - sub.transferred,
                sub.buffer,
                sub.transferred,
                urgent=sub.waiters > 0,
            )
            verdict = assess(sub.length, sub.transferred, received)
            sub.transferred += received
            if verdict is not Verdict.REISSUE:
                return State.FILLED
        return State.ABANDONED

    async def _read_cache(self, contents: Contents, sub: Subrequest) -> bool:
        cache = contents.cache
        if cache is None:
            return False
        try:
            return await cache.read(sub.start, sub.buffer.payload[: sub.length])
        except Exception:
            log.exception("%s: cache read failed", contents.debug_name)
            return False
        finally:
            self.watch.returned(sub)
