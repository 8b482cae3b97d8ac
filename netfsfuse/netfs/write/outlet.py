"""What all files that are written share: memory for dirty bytes, and room on the link.

Dirty bytes may take half of the pool. A writer that gets no buffer waits in order of arrival until
one comes back from a WRITE that was answered, and holds none meanwhile; all files are told to send
what they have. Where nothing is dirty, so that none will come back, it takes a buffer as a reader
does, and waits until the server has it (``pool.py``: why no read waits for ever).

Writes go the other way than reads and have a window of their own, found out as that of reads is
(``readahead/link.py``), and a queue of their own before it; credits they share in the server file,
by their ``Demand``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import trio

from netfsfuse.errors import DeadlineExceeded
from netfsfuse.idle import Idle
from netfsfuse.netfs.io.issue import Issuer
from netfsfuse.netfs.io.pace import Pace
from netfsfuse.netfs.memory.buffer import Buffer
from netfsfuse.netfs.readahead import AheadConfig, Link
from netfsfuse.netfs.write.dirty import DirtyFolios
from netfsfuse.priority_gate import PriorityGate
from netfsfuse.types import CACHE_BLOCK

STILL = 30.0
"""Seconds without a byte answered after which a caller is told so. A deadline for the whole would
fail 64 MiB at 1 MB/s."""


class DirtyFile(Protocol):
    """A file with dirty bytes, in ``folios``."""

    folios: DirtyFolios

    def press(self) -> None:
        """Memory is short: send all there is."""
        ...


class _Room(NamedTuple):
    """What a writer waited for; ``buffer`` None: nothing is dirty, it must look elsewhere."""

    buffer: Buffer | None


class Outlet:
    """One per mount. ``wsize``: the largest WRITE, bytes. ``capacity()``: bytes of writes that the
    server allows at once, now."""

    def __init__(self, issuer: Issuer, *, wsize: int, capacity: Callable[[], int]) -> None:
        self.issuer = issuer
        self.wsize = wsize
        self.stats = issuer.stats.write
        self.progressed = 0.0
        """When a WRITE of any file was answered last (trio)."""
        self.dirty_files: dict[DirtyFile, str] = {}
        """The files that have dirty bytes, and their names for the log."""
        self._pool = issuer.pool
        self._capacity = capacity
        budget = max(self._pool.budget // 2 // CACHE_BLOCK * CACHE_BLOCK, CACHE_BLOCK)
        self.link = Link(AheadConfig(rsize=wsize, rasize=budget, budget=budget))
        self.pace = Pace(self.link)
        self._drained = Idle()
        self._gate: PriorityGate[_Room] = PriorityGate(self._grant, self._take_back)

    @property
    def is_short(self) -> bool:
        """Whether a writer waits for memory."""
        return self._gate.waiting > 0

    def buffer_nowait(self, size: int) -> Buffer | None:
        """A withheld buffer of at least ``size`` bytes, if one is to be had now and no writer waits
        for one. Give it back with :meth:`release`, or by ``pool.release_withheld``, and
        :meth:`serve`."""
        room = self._gate.take_nowait(size)
        return None if room is None else room.buffer

    async def buffer(self, size: int) -> Buffer | None:
        """The same when it is this caller's turn; None: nothing is dirty, so there will be none.

        The caller must hold no buffer. Raises ``DeadlineExceeded`` when nothing was answered for
        ``STILL`` seconds. Cancelled: nothing is held.
        """
        if not self._pool.withheld:
            return self.buffer_nowait(size)
        with self._gate.queue(size) as place:
            for file in list(self.dirty_files):
                file.press()
            await self.wait_moving(place.granted, lambda: self.progressed)
            assert place.grant is not None
            return place.grant.buffer

    def forget(self, file: DirtyFile) -> None:
        """It has no dirty bytes any more."""
        self.dirty_files.pop(file, None)
        if not self.dirty_files:
            self._drained.wake()

    async def drain(self) -> None:
        """Return when nothing is dirty in any file."""
        for file in list(self.dirty_files):
            file.press()
        await self._drained.wait(lambda: self.dirty_files)

    def release(self, buffer: Buffer) -> None:
        """The bytes of a withheld buffer are elsewhere or given up; drops the reference."""
        self._pool.release_withheld(buffer)
        buffer.drop()
        self.serve()

    def serve(self) -> None:
        """A withheld buffer was released: it is a waiting writer's turn."""
        self._gate.serve()
        if self._gate.waiting and not self._pool.withheld:
            self._gate.dismiss(_Room(None))

    async def wait_moving(self, over: trio.Event, moved: Callable[[], float]) -> None:
        """Return when ``over``. Raises ``DeadlineExceeded`` when for ``STILL`` seconds ``moved()``,
        the time of the last progress, has not changed."""
        began = trio.current_time()
        while not over.is_set():
            deadline = max(began, moved()) + STILL
            with trio.move_on_at(deadline):
                await over.wait()
            if not over.is_set() and trio.current_time() >= max(began, moved()) + STILL:
                raise DeadlineExceeded(f"the server took no byte for {STILL:g} s")

    def refresh(self) -> None:
        """Heed how much the server allows now."""
        self.link.limit = self._capacity()
        self.stats.window = self.link.window

    def _grant(self, size: int, rank: int) -> _Room | None:
        buffer = self._pool.acquire_withheld(size)
        return None if buffer is None else _Room(buffer)

    def _take_back(self, size: int, room: _Room) -> None:
        if room.buffer is not None:
            self.release(room.buffer)
