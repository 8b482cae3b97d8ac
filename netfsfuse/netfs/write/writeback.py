"""Sending what is dirty in one file: when, in which order, and what comes of it.

One task per file, while something is dirty, decides what goes next and waits for room on the link;
each WRITE is a task of its own. A folio goes out

* when it is full;
* when a caller waits for it (fsync, close, O_SYNC, truncate), or a writer waits for memory;
* when nothing of the file is under way, unless it was written to last or grows in order: a run
  that goes on is worth waiting for, or each of its blocks would be cut in two and none stored;
* ``AGE`` seconds after its first byte.

What the server has becomes a folio of the mapping, as far as whole blocks are there, and is stored
in the cache from there. What it refuses is given up: the error is latched for all handles, the
bytes of other folios are not touched.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable

import trio

from netfsfuse.errors import Disconnected, NetfsError, ServerError
from netfsfuse.idle import Idle
from netfsfuse.netfs.demand import Demand
from netfsfuse.netfs.io.cache_changes import CacheChanges
from netfsfuse.netfs.io.contents import Contents
from netfsfuse.netfs.memory.folio import Folio
from netfsfuse.netfs.ops import WritableFile
from netfsfuse.netfs.write.dirty import DirtyFolio, DirtyFolios, DirtyState, Ticket
from netfsfuse.netfs.write.errseq import ErrSeq
from netfsfuse.netfs.write.outlet import Outlet
from netfsfuse.netfs.write.write_request import become_clean, log_lost, note_changed, send_folio
from netfsfuse.types import CACHE_BLOCK

log = logging.getLogger(__name__)

AGE = 1.0
"""Seconds that a byte waits for more at most."""


class Writeback:
    """The dirty folios of one file, and their way out through ``file``. ``i_size``: the file's size
    as programs see it."""

    def __init__(self, contents: Contents, file: WritableFile, outlet: Outlet) -> None:
        self.folios = DirtyFolios(outlet.wsize)
        self.errors = ErrSeq()
        self.i_size = contents.i_size
        self.changes = CacheChanges(contents, self._is_changing, lambda: self.i_size)
        self._contents = contents
        self._file = file
        self._outlet = outlet
        self._progressed = 0.0  # when a byte was answered last (trio)
        self._held_from: int | None = None
        self._resting: dict[DirtyFolio, None] = {}  # DIRTY and not due, oldest first
        self._ready: deque[DirtyFolio] = deque()  # due, in this order
        self._blocked: list[DirtyFolio] = []  # due, but for one under way that overlaps
        self._demands: dict[DirtyFolio, Demand] = {}  # of what queues or is under way
        self._queueing: Demand | None = None  # of what waits for room on the link
        self._under_way = 0
        self._tasks = 0
        self._idle = Idle()
        self._running = False
        self._over = False
        self._woken: trio.Event | None = None

    def rest(self, folio: DirtyFolio) -> None:
        """A new one. To be followed by :meth:`pump`."""
        self._outlet.dirty_files[self] = self._contents.debug_name
        self._resting[folio] = None
        if self._outlet.is_short:
            self.push(folio)

    def push(self, folio: DirtyFolio) -> None:
        """It is due: send it. To be followed by :meth:`pump`."""
        if folio in self._resting and not self._is_held(folio):
            del self._resting[folio]
            self._ready.append(folio)

    def press(self) -> None:
        """As ``DirtyFile.press``."""
        for folio in list(self._resting):
            self.push(folio)
        self.pump()

    def pump(self) -> None:
        """See that what is due is sent. No checkpoint."""
        folios = self.folios
        if not folios:
            self._outlet.forget(self)
            return
        if self._over:
            self._give_up_all()
            return
        if not self._demands and not self._ready:
            for folio in [f for f in self._resting if f is not folios.last and not f.extended]:
                self.push(folio)
        if not self._running and folios.dirty:
            self._start()
        elif self._ready and self._woken is not None:
            self._woken.set()

    async def wait(self, folios: Iterable[DirtyFolio], ticket: Ticket) -> None:
        """Send ``folios`` at once, and return when they and all that ``ticket`` waits for are GONE.
        Raises ``DeadlineExceeded`` when no byte was answered for 30 seconds."""
        for folio in list(folios):
            ticket.watch(folio)
            folio.urgent = True
            demand = self._demands.get(folio, self._queueing)
            if demand is not None:
                demand.raise_()
            self.push(folio)
        self.pump()
        if ticket.left:
            over = trio.Event()
            ticket.over = over.set
            await self._outlet.wait_moving(over, self._moved)

    def hold(self, start: int) -> None:
        """What begins at ``start`` or beyond is about to be cut off, or not: do not send it now,
        and store nothing of there."""
        self._held_from = start

    def release(self) -> None:
        """The end of :meth:`hold`."""
        self._held_from = None
        for folio in [folio for folio in self._resting if folio.urgent]:
            self.push(folio)
        if self._woken is not None:
            self._woken.set()
        self.pump()

    def cut(self, size: int) -> None:
        """The file ends at ``size`` now, on the server too. Nothing under way reaches beyond."""
        before = self.folios.size
        for folio in self.folios.cut(size):
            self._resting.pop(folio, None)
            self._drop(folio)
        self._outlet.stats.note_dirty(self.folios.size - before)
        self._outlet.serve()

    async def wait_idle(self) -> None:
        """Return when nothing is dirty, and what was written is stored, or will not be."""
        await self._idle.wait(lambda: self._tasks or self.folios)

    def _is_changing(self, start: int, end: int) -> bool:
        held = self._held_from
        if held is not None and end > held - held % CACHE_BLOCK:
            return True
        return self.folios.overlaps(start, end)

    def _is_held(self, folio: DirtyFolio) -> bool:
        return self._held_from is not None and folio.start >= self._held_from

    def _moved(self) -> float:
        """When something happened that this file waits for: others' requests may be before it."""
        return self._progressed if self._under_way else self._outlet.progressed

    def _begin(self) -> None:
        self._tasks += 1
        self._contents.begin()

    def _end(self) -> None:
        self._contents.end()
        self._tasks -= 1
        if not self._tasks:
            self._idle.wake()

    def _start(self) -> None:
        self._running = True
        self._begin()
        try:
            self._outlet.issuer.nursery.start_soon(self._run)
        except RuntimeError:  # the nursery is gone: so is the mount
            self._running = False
            self._over = True
            self._give_up_all()
            self._end()

    async def _run(self) -> None:
        try:
            while self.folios.dirty:
                folio = self._next()
                if folio is None:
                    await self._wait_due()
                else:
                    await self._dispatch(folio)
        except trio.Cancelled:
            self._over = True
            self._give_up_all()
            raise
        finally:
            self._running = False
            self._end()

    async def _dispatch(self, folio: DirtyFolio) -> None:
        """Wait for room on the link, and send it, if that may still be."""
        demand = self._queueing = self._demands[folio] = Demand(urgent=folio.urgent)
        length = folio.length
        era: int | None = None
        try:
            era = await self._enter(length, demand)
            if folio.state is DirtyState.DIRTY:
                if self._is_held(folio):
                    self._resting[folio] = None
                elif self.folios.may_send(folio):
                    self._send_soon(folio, length, era, demand)
                    era = None
                else:  # it grew over one that is under way
                    self._blocked.append(folio)
        finally:
            self._queueing = None
            if era is not None:
                self._outlet.pace.leave(length, era)
                del self._demands[folio]

    async def _enter(self, length: int, demand: Demand) -> int:
        outlet = self._outlet
        outlet.refresh()
        if outlet.pace.under_way + length > outlet.link.window:
            outlet.link.waited(trio.current_time())
        return await outlet.pace.enter(length, demand)

    def _next(self) -> DirtyFolio | None:
        while self._ready:
            folio = self._ready.popleft()
            if folio.state is not DirtyState.DIRTY:
                continue
            if self._is_held(folio):
                self._resting[folio] = None
            elif self.folios.may_send(folio):
                return folio
            else:
                self._blocked.append(folio)
        return None

    async def _wait_due(self) -> None:
        """Until something is due."""
        oldest = next(iter(self._resting), None)
        held = oldest is None or self._held_from is not None
        deadline = math.inf if held or oldest is None else oldest.since + AGE
        self._woken = trio.Event()
        try:
            with trio.move_on_at(deadline) as aged:
                await self._woken.wait()
        finally:
            self._woken = None
        if aged.cancelled_caught:
            now = trio.current_time()
            for folio in [f for f in self._resting if f.since + AGE <= now]:
                self.push(folio)

    def _send_soon(self, folio: DirtyFolio, length: int, era: int, demand: Demand) -> None:
        self.folios.send(folio)
        self._under_way += 1
        self._begin()
        try:
            self._outlet.issuer.nursery.start_soon(self._send, folio, length, era, demand)
        except RuntimeError:
            self._over = True
            self._outlet.pace.leave(length, era)
            self._settle(folio, Disconnected("the mount is being taken down"))
            self._end()

    async def _send(self, folio: DirtyFolio, length: int, era: int, demand: Demand) -> None:
        """Send one folio, settle it, and store what becomes of it."""
        error: NetfsError | None = Disconnected("the mount is being taken down")
        clean: Folio | None = None
        try:
            try:
                await self.changes.prepare(folio.start, folio.end)
                await send_folio(
                    self._file, folio, self._outlet, demand, lambda end: self._taken(folio, end)
                )
                error = None
            except NetfsError as failed:
                error = failed
            except Exception as failed:
                log.exception("%s: a write failed", self._contents.debug_name)
                error = ServerError(f"{type(failed).__name__}: {failed}")
            finally:
                self._outlet.pace.leave(length, era)
                clean = self._settle(folio, error)
            if clean is not None:
                await self._outlet.issuer.stores.store(self._contents, clean)
        finally:
            if clean is not None:
                clean.end_task()
            self._end()

    def _taken(self, folio: DirtyFolio, end: int) -> None:
        """The server has it up to ``end``. What is sent next scribbles on the bytes just below, so
        they are not read from here any more."""
        self._progressed = self._outlet.progressed = trio.current_time()
        if end < folio.end:
            self._outlet.stats.note_dirty(folio.start - end)
            note_changed(self._contents, folio.start, end)
            self.folios.shorten(folio, end)

    def _settle(self, folio: DirtyFolio, error: NetfsError | None) -> Folio | None:
        """It was answered. Returns the folio that it has become, to be stored, ``busy``."""
        contents, outlet = self._contents, self._outlet
        self._under_way -= 1
        del self._demands[folio]
        if error is None:
            note_changed(contents, folio.start, folio.end)
        else:  # some of it may be there nevertheless
            contents.mapping.outdate(folio.start, folio.end)
        length = folio.length
        self.folios.settle(folio, error)
        outlet.stats.note_dirty(-length)
        clean = None
        if error is not None:
            self._failed(folio, error)
        else:
            clean = become_clean(contents, outlet.issuer.pool, folio)
        self._drop(folio, keeps=clean is not None)
        outlet.serve()
        self._ready.extendleft(reversed(self._blocked))
        self._blocked.clear()
        self.pump()
        return clean

    def _drop(self, folio: DirtyFolio, *, keeps: bool = False) -> None:
        """Its buffer is not needed for it any more; ``keeps``: the reference is another's now."""
        if folio.withheld:
            self._outlet.issuer.pool.release_withheld(folio.buffer)
        if not keeps:
            folio.buffer.drop()

    def _failed(self, folio: DirtyFolio, error: NetfsError) -> None:
        self._outlet.stats.errors += 1
        if folio.behind:
            self.errors.set(error)
        self.i_size = max(self._contents.i_size, self.folios.end)
        log_lost(self._contents.debug_name, folio, error)

    def _give_up_all(self) -> None:
        """There is nothing any more that could send it."""
        error = Disconnected("the mount is being taken down")
        for folio in [folio for folio in self.folios.dirty if self.folios.may_send(folio)]:
            self._resting.pop(folio, None)
            self.folios.send(folio)
            self._under_way += 1
            self._demands[folio] = Demand(urgent=False)
            self._settle(folio, error)
